"""Our value for each number of the paper, with interval, verdict and reason: the rows of verdicts.csv."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bench import metrics
from bench.seeds import seed_for
from bench.stats import contrasts, intervals, panels
from bench.stats.classifiers import Classified
from bench.stats.intervals import Floats, Interval
from bench.stats.power import TARGET, power_of_equivalence, power_of_t, seeds_needed, spread_of, units_needed
from bench.stats.scores import Evaluated, class_sets
from bench.stats.stated import Stated
from bench.stats.verdicts import (
    INCONCLUSIVE,
    NOT_COMPARABLE,
    SCALES,
    Claim,
    judge,
    points,
    tost,
)
from bench.study.recipes import Evaluation
from bench.study.schema import Comparison, Repetitions


class NotComparable(Exception):
    """The study holds nothing that the claim speaks of; the message says what is wanting."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the study has to say on a claim: interval at 1 - 2 x level, values [repetition, unit], remarks."""

    interval: Interval
    values: Floats
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that a study measured, with what it declared beforehand."""

    evaluated: Sequence[Evaluated]
    classified: Sequence[Classified]
    evaluations: Mapping[str, Evaluation]
    comparison: Comparison
    design: Repetitions
    scale: str
    stated: Stated | None = None
    """What the paper states, held against the study; unset: nothing is known to differ."""

    def of(self, claim: Claim) -> Finding:
        """Return the study's finding on a claim; raises NotComparable with the reason if there is none."""
        return self._top1(claim) if claim.metric.startswith("top1/") else self._segmentation(claim)

    def _segmentation(self, claim: Claim) -> Finding:
        found = [e for e in self.evaluated if e.dataset == claim.dataset]
        if not found:
            raise NotComparable(f"the study has no evaluated dataset {claim.dataset}")
        found = [e for e in found if self._enters(claim, e.backbone)]
        if not found:
            raise NotComparable(f"the study has no backbone {claim.backbone} on {claim.dataset}")
        baseline = None if claim.kind == "absolute" else self.comparison.primary
        for arm in [claim.arm] if baseline is None else [claim.arm, baseline]:
            if any(not e.of_arm(arm) for e in found):
                raise NotComparable(f"the study has no arm {arm} on {claim.dataset}")
        terms = [self._terms(claim, e, baseline) for e in found]
        if claim.backbone == "best":
            means = [sum(weight * p.values().mean() for weight, p in t) for t in terms]
            chosen = int(np.argmax(means))
            found, terms = [found[chosen]], [terms[chosen]]
        shapes = {t[0][1].values().shape for t in terms}
        if len(shapes) > 1 or len({e.units for e in found}) > 1:
            raise NotComparable(f"the backbones on {claim.dataset} differ in their repetitions or units")
        flat = [(weight / len(terms), p) for t in terms for weight, p in t]
        if any(np.isnan(p.values()).any() for _, p in flat):
            raise NotComparable(f"{claim.metric} is undefined: no class of the mean occurs")
        generator = np.random.default_rng(seed_for("bootstrap", claim.dataset, self.comparison.seed))
        level = 2 * self.comparison.level
        found_interval = panels.interval_of(flat, level, self.comparison.resamples, generator)
        interval, values = found_interval.default, found_interval.values
        evaluation = self.evaluations[claim.dataset]
        remarks = [f"{', '.join(e.backbone for e in found)}; {evaluation.primary} labels"]
        if evaluation.leave_out and claim.metric in metrics.MEANS:
            remarks.append(f"mean without {', '.join(evaluation.leave_out)}")
        if claim.backbone == "best":
            remarks.append("the backbone with the highest value, chosen after the runs")
        remarks.append(contrasts.scope(self.design, *values.shape))
        if baseline is not None:
            remarks.append(self._against_each(claim, found, baseline))
        return Finding(interval=interval, values=values, remarks=tuple(remarks))

    def _enters(self, claim: Claim, backbone: str) -> bool:
        """Say whether a backbone's numbers enter a claim: the one it names; of the others the paper's networks."""
        if claim.backbone not in ("best", "average"):
            return backbone == claim.backbone
        return self.stated is None or self.stated.counts(claim, backbone)

    def _terms(self, claim: Claim, e: Evaluated, baseline: str | None) -> list[tuple[float, panels.Panel]]:
        evaluation = self.evaluations[e.dataset]
        left_out = list(class_sets(e, evaluation).values())[-1]
        arms = [claim.arm] if baseline is None else [claim.arm, baseline]
        cells = panels.paired(e, *arms)
        if not cells[0]:
            raise NotComparable(f"{' and '.join(arms)} share no seed on {e.dataset}/{e.backbone}")
        try:
            held = [
                panels.panel(e, c, self.design, claim.metric, evaluation.primary, left_out) for c in cells
            ]
            held[0].values()
        except ValueError as error:
            raise NotComparable(str(error)) from None
        return list(zip((1.0, -1.0), held, strict=False))

    def _against_each(self, claim: Claim, found: Sequence[Evaluated], primary: str) -> str:
        """Return the gain against each baseline in words: the pre-declared one decides, the others are
        seen.
        """
        words = []
        for arm in sorted(set.intersection(*(set(e.arms) for e in found)) - {claim.arm}):
            try:
                terms = [self._terms(claim, e, arm) for e in found]
            except NotComparable:
                continue
            gain = float(np.mean([sum(weight * p.values().mean() for weight, p in t) for t in terms]))
            words.append(f"{points(gain)} against {arm}{' (decides)' if arm == primary else ''}")
        return ", ".join(words)

    def _top1(self, claim: Claim) -> Finding:
        order = claim.metric.removeprefix("top1/")
        found = [c for c in self.classified if self._enters(claim, c.backbone)]
        arms = [claim.arm] if claim.baseline is None else [claim.arm, claim.baseline]
        signs = {"absolute": (1.0,), "drop": (-1.0, 1.0)}.get(claim.kind, (1.0, -1.0))
        rows = []
        for classified in found:
            values = [classified.values(arm, order) for arm in arms]
            common = sorted(set.intersection(*(set(v) for v in values)))
            if not common:
                raise NotComparable(
                    f"no {' and '.join(arms)} classifiers in {order} order for {classified.backbone}"
                )
            rows.append(
                np.array([sum(s * v[seed] for s, v in zip(signs, values, strict=True)) for seed in common])
            )
        if not rows:
            raise NotComparable("the study has no top-1 of these classifiers")
        if len({row.shape for row in rows}) > 1:
            repeated = ", ".join(f"{c.backbone} {len(row)}" for c, row in zip(found, rows, strict=True))
            raise NotComparable(
                f"the backbones differ in their pre-trainings ({repeated}), so none are averaged"
            )
        best = claim.backbone == "best"
        values_over = max(rows, key=lambda row: float(row.mean())) if best else np.mean(rows, axis=0)
        interval = intervals.t_interval(values_over, 2 * self.comparison.level)
        seeds, images = values_over.shape
        of = f"{seeds} pre-training{'s' * (seeds > 1)} and {images} image{'s' * (images > 1)}"
        remarks = (f"{', '.join(c.backbone for c in found)}; {of}",)
        return Finding(interval=interval, values=values_over, remarks=remarks)

    def _equivalence(self, claim: Claim, finding: Finding) -> float:
        """Return the p of the two one-sided tests; NaN for an ordering and where units alone were resampled."""
        if claim.low is None or claim.high is None or len(finding.values) < 2:
            return float("nan")
        estimate, error, df, _ = intervals.t_terms(finding.values)
        margin = self.comparison.margin
        return tost(estimate, error, df, claim.low - margin, claim.high + margin)

    def _deciding(self, claim: Claim, values: Floats) -> str:
        """Return what would decide: how many seeds or units, if the truth is the paper's, and where the spread lies."""
        seeds, units = values.shape
        runs = (
            "fine-tunings"
            if self.design.design == "nested" and self.design.pretrain == 1
            else "pre-trainings"
        )
        if seeds < 2 or units < 2:
            return f"more {runs if seeds < 2 else 'test units'} would tell more"
        spread, level = spread_of(values), self.comparison.level
        parts = spread.between_seeds / seeds, spread.between_units / units
        if sum(parts) == 0:
            return ""
        share = parts[0] / sum(parts)
        if claim.low is None or claim.high is None:
            power = partial(power_of_t, self.comparison.margin, level=2 * level)
            assumed = "the true difference is the margin"
        else:
            width = (claim.high - claim.low) / 2 + self.comparison.margin
            power = partial(power_of_equivalence, width, level=level)
            assumed = "the paper is right"
        found = ((seeds_needed(power, spread), runs), (units_needed(power, spread), "test units"))
        enough = [f"{number} {what}" for number, what in found if number]
        words = " or ".join(enough) if enough else "no number of seeds or units alone"
        wanted = runs if share > 0.5 else "test units"
        return (
            f"if {assumed}, {words} would decide with probability {TARGET:g}; {100 * share:.0f} % of the spread is "
            f"between {runs}: more {wanted} would tell most"
        )

    def _departures(self, claim: Claim) -> str:
        """Return in what a study of full scale departs from what the paper states; empty where it does not."""
        return "; ".join(self.stated.departures(claim)) if self.stated else ""

    def rows(self, claims: Sequence[Claim]) -> Iterator[dict[str, Any]]:
        """Yield one row a claim, as in verdicts.csv. The interval is at 1 - 2 x level, that of the two
        tests.
        """
        for claim in claims:
            row: dict[str, Any] = {
                "claim": claim.claim,
                "dataset": claim.dataset,
                "backbone": claim.backbone,
                "kind": claim.kind,
                "metric": claim.metric,
                "paper_low": claim.low,
                "paper_high": claim.high,
                "margin": self.comparison.margin,
                "level": self.comparison.level,
            }
            scale = SCALES.get(self.scale)
            try:
                finding = self.of(claim)
            except NotComparable as error:
                yield row | {
                    "verdict": NOT_COMPARABLE,
                    "reason": f"{scale}; {error}" if scale else str(error),
                }
                continue
            hurdle = scale or self._departures(claim)
            interval = finding.interval
            row |= {"value": interval.estimate, "low": interval.low, "high": interval.high}
            row |= {"p_equivalence": self._equivalence(claim, finding)}
            if hurdle:
                verdict, why = NOT_COMPARABLE, hurdle
            else:
                verdict, why = judge(claim.kind, interval, claim.low, claim.high, self.comparison.margin)
                if verdict == INCONCLUSIVE and (deciding := self._deciding(claim, finding.values)):
                    why += f"; {deciding}"
            yield row | {"verdict": verdict, "reason": "; ".join([why, *finding.remarks])}
