"""Treatment minus each other arm: values per seed and unit, interval and tests, one row a contrast and
metric.

What a repetition is decides the question. `matched`: pre-training k goes with fine-tuning k, and the seeds
speak of the method. `nested`: fine-tunings of one pre-training are averaged if there are several
pre-trainings, which then are the seeds; with one pre-training the fine-tunings are the seeds, and the
statement is about *these pre-trained weights*.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import metrics
from bench.seeds import seed_for
from bench.stats import intervals, tests
from bench.stats.intervals import Floats, Interval
from bench.stats.scores import Evaluated, class_sets
from bench.study.recipes import Evaluation
from bench.study.schema import Comparison, Repetitions


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The trained models of one arm under one metric: int64 totals [seed, unit, 3, class], seeds as
    trained.
    """

    totals: NDArray[np.int64]
    groups: tuple[int, ...]
    """The independent repetition that each trained model belongs to: 0, 1, ..."""
    metric: str
    classes: tuple[str, ...]
    leave_out: tuple[int, ...]

    def score(self, totals: Any) -> Floats:
        """Return the metric of totals (..., 3, C)."""
        return metrics.value_of(totals, self.metric, self.classes, self.leave_out)

    def values(self) -> Floats:
        """Return score plus influence value, [repetition, unit]; each row's mean is the repetition's
        score.
        """
        influence = metrics.influence_of(self.totals, self.metric, self.classes, self.leave_out)
        return grouped((self.score(self.totals.sum(axis=1))[:, None] + influence).T, self.groups).T

    def resampled(self, of_units: Floats) -> Floats:
        """Return the score in each resample of the units, [resample, repetition]."""
        return grouped(intervals.resampled_scores(self.totals, of_units, self.score), self.groups)


def grouped(values: Floats, groups: Sequence[int]) -> Floats:
    """Average the last axis over the members of each group: (..., models) to (..., groups)."""
    member = np.array([[float(group == number) for group in groups] for number in range(max(groups) + 1)])
    averaged: Floats = values @ (member / member.sum(axis=1, keepdims=True)).T
    return averaged


def paired(evaluated: Evaluated, *arms: str) -> list[list[int]]:
    """Return for each arm the cells whose seeds all of the arms have, in the same order."""
    by_seed = [{evaluated.cells[i].seed: i for i in evaluated.of_arm(arm)} for arm in arms]
    common = sorted(set.intersection(*(set(cells) for cells in by_seed)))
    return [[cells[seed] for seed in common] for cells in by_seed]


def panel(
    evaluated: Evaluated,
    cells: Sequence[int],
    design: Repetitions,
    metric: str,
    rule: str,
    leave_out: tuple[int, ...],
) -> Panel:
    """Return the chosen cells as a panel; nested designs with several pre-trainings are grouped by
    pre-training.
    """
    repetition = [
        evaluated.cells[i].seed // (design.finetune if grouped_by_pretraining(design) else 1) for i in cells
    ]
    order = sorted(set(repetition))
    return Panel(
        totals=evaluated.totals(rule)[list(cells)],
        groups=tuple(order.index(r) for r in repetition),
        metric=metric,
        classes=evaluated.classes,
        leave_out=leave_out,
    )


def grouped_by_pretraining(design: Repetitions) -> bool:
    """Return whether pre-trainings, not fine-tunings, are the seeds of the statistics."""
    return design.design == "nested" and design.pretrain > 1


def question(design: Repetitions, seeds: int) -> str:
    """Return what the test of a contrast with so many independent repetitions asks."""
    if seeds == 1:
        return tests.MODELS
    one = design.design == "nested" and design.pretrain == 1
    return tests.WEIGHTS if one else tests.METHOD


def scope(design: Repetitions, seeds: int, units: int) -> str:
    """Return the sentence part that says what an interval speaks of."""
    of_units = f"{units} test unit{'s' * (units > 1)}"
    if design.design == "matched" or grouped_by_pretraining(design):
        return f"{seeds} pre-training{'s' * (seeds > 1)} and {of_units}"
    return f"for one pre-training: {seeds} fine-tuning{'s' * (seeds > 1)} and {of_units}"


def interval_of(
    terms: Sequence[tuple[float, Panel]], level: float, resamples: int, generator: np.random.Generator
) -> tuple[Interval, Interval, Floats]:
    """Return default interval, bootstrap interval and values [repetition, unit] of a weighted sum of panels.

    With several repetitions the default is the crossed interval; with one trained model a cell the bootstrap
    over units serves, unless there is but one unit. All panels share the bootstrap's weights; with no
    `resamples` the bootstrap interval is NaN.
    """
    values = sum(weight * p.values() for weight, p in terms)
    assert isinstance(values, np.ndarray)
    seeds, units = values.shape
    default = intervals.t_interval(values, level)
    of_seeds, of_units = intervals.bootstrap_weights(seeds, units, resamples, generator)
    per_seed = sum(weight * p.resampled(of_units) for weight, p in terms)
    assert isinstance(per_seed, np.ndarray)
    bootstrap = intervals.bootstrap_interval(default.estimate, per_seed, of_seeds, level)
    if values.size == 1:
        bootstrap = default
    elif seeds == 1:
        default = bootstrap
    return default, bootstrap, values


def comparison_rows(
    evaluated: Evaluated, evaluation: Evaluation, comparison: Comparison, design: Repetitions
) -> list[dict[str, Any]]:
    """Return the rows of comparisons.csv for one dataset and backbone, Holm's correction still open."""
    if comparison.treatment not in evaluated.arms:
        return []
    sets = class_sets(evaluated, evaluation)
    headline = (evaluation.metric, evaluation.primary, list(sets)[-1])
    rows = []
    for baseline in evaluated.arms:
        if baseline == comparison.treatment:
            continue
        for rule in sorted(evaluated.counts):
            wanted = [(metric, title) for metric in metrics.MEANS for title in sets] + [("OA", "all")]
            for metric, title in wanted:
                key = (metric, rule, title)
                row = partial(_row, evaluated, comparison, design, baseline, key, sets[title])
                rows.append(row(headline=key == headline))
    return [row for row in rows if row]


def _row(
    evaluated: Evaluated,
    comparison: Comparison,
    design: Repetitions,
    baseline: str,
    key: tuple[str, str, str],
    leave_out: tuple[int, ...],
    *,
    headline: bool,
) -> dict[str, Any]:
    metric, rule, title = key
    both = paired(evaluated, comparison.treatment, baseline)
    if not both[0]:
        return {}
    treated, base = (panel(evaluated, cells, design, metric, rule, leave_out) for cells in both)
    digests = [tuple(evaluated.cells[i].digest for i in cells) for cells in both]
    seeds, units = max(treated.groups) + 1, len(evaluated.units)
    row: dict[str, Any] = {
        "dataset": evaluated.dataset,
        "backbone": evaluated.backbone,
        "treatment": comparison.treatment,
        "baseline": baseline,
        "metric": metric,
        "pixels": rule,
        "classes": title,
        "treatment_value": float(treated.values().mean()),
        "baseline_value": float(base.values().mean()),
        "level": comparison.level,
        "seeds": seeds,
        "units": units,
        "decides": headline and baseline == comparison.primary,
        "same_run": digests[0] == digests[1],
        "_headline": headline,
        "_digests": digests,
    }
    if row["same_run"]:
        return row | {"estimate": 0.0, "method": "same run", "statement": "both arms are one run: no test"}
    if np.isnan(row["treatment_value"] - row["baseline_value"]):
        return row | {
            "method": "undefined",
            "statement": "the score is undefined: no class of the mean occurs",
        }
    # Simulation is kept for the headline, and for designs in which nothing else can answer.
    simulated = headline or seeds == 1
    interval, bootstrap, values = interval_of(
        [(1.0, treated), (-1.0, base)],
        comparison.level,
        comparison.resamples if simulated else 0,
        # One seed a dataset: every arm and backbone is resampled with the same weights.
        np.random.default_rng(seed_for("bootstrap", evaluated.dataset, comparison.seed)),
    )
    row |= {
        "estimate": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "df": interval.df,
        "method": interval.method,
        "question": question(design, seeds),
        "statement": scope(design, seeds, units),
    }
    signs = np.random.default_rng(seed_for("sign-flip", evaluated.dataset, comparison.seed))
    if simulated:
        models = tests.flip_units(treated.totals, base.totals, treated.score, signs, comparison.resamples)
        row |= {"p_models": models.p, "bootstrap_low": bootstrap.low, "bootstrap_high": bootstrap.high}
        if seeds == 1:
            return row | {"p": models.p, "smallest_p": models.smallest_p}
    over_seeds = tests.flip_differences(values.mean(axis=1), signs, comparison.resamples)
    return row | {"p": tests.t_test(values), "p_seeds": over_seeds.p, "smallest_p": over_seeds.smallest_p}


def correct(rows: Iterable[dict[str, Any]], comparison: Comparison) -> list[dict[str, Any]]:
    """Add Holm's correction and the reachability guard to the rows of all datasets and backbones.

    Three families, declared before the runs by the study's keys: `primary`, the headline metric against the
    pre-declared baseline; `other baselines`, the headline metric against the other arms; `secondary`, all
    else. A run shown under several names is one member; where another name is the primary baseline's own run,
    it belongs to `primary`.
    """
    found = list(rows)
    primary = {
        (r["dataset"], r["backbone"]): r["_digests"][1] for r in found if r["baseline"] == comparison.primary
    }
    members: dict[str, dict[tuple[Any, ...], list[dict[str, Any]]]] = {}
    for row in found:
        if row["same_run"] or "p" not in row:
            continue
        place = (row["dataset"], row["backbone"])
        if not row["_headline"]:
            family = "secondary"
        else:
            family = "primary" if row["_digests"][1] == primary.get(place) else "other baselines"
        key = (*place, row["metric"], row["pixels"], row["classes"], row["_digests"][1])
        members.setdefault(family, {}).setdefault(key, []).append(row)
    for family, contrasts in members.items():
        adjusted = tests.holm([same[0]["p"] for same in contrasts.values()])
        for same, p in zip(contrasts.values(), adjusted, strict=True):
            for row in same:
                row |= {"family": f"{family} ({len(contrasts)})", "p_holm": p}
                row["statement"] += _guard(row, len(contrasts), comparison.level)
    return found


def _guard(row: dict[str, Any], family: int, level: float) -> str:
    if tests.reachable(row["smallest_p"], family, level):
        return ""
    kind = "the sign-flip test over units" if row["seeds"] == 1 else "an exact test over the seeds"
    return (
        f"; {kind} cannot fall below p = {row['smallest_p']:.3g}, the first threshold is {level / family:.3g}"
    )
