"""Treatment minus each other arm: values per seed and unit, interval and tests, one row a contrast and
metric.

What a repetition is decides the question. `matched`: pre-training k goes with fine-tuning k, and the seeds
speak of the method. `nested`: fine-tunings of one pre-training are averaged if there are several
pre-trainings, which then are the seeds; with one pre-training the fine-tunings are the seeds, and the
statement is about *these pre-trained weights*.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from bench import metrics
from bench.errors import BenchError
from bench.seeds import seed_for
from bench.stats import tests
from bench.stats.effects import effect_of
from bench.stats.intervals import Floats
from bench.stats.panels import grouped_by_pretraining, interval_of, paired, panel
from bench.stats.power import detectable, spread_of
from bench.stats.scores import Evaluated, class_sets
from bench.study.recipes import Evaluation
from bench.study.schema import Comparison, Repetitions

Key = tuple[str, str, str]
"""Metric, pixel rule, class set."""


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


def comparison_rows(
    evaluated: Evaluated, evaluation: Evaluation, comparison: Comparison, design: Repetitions
) -> list[dict[str, Any]]:
    """Return the rows of comparisons.csv for one dataset and backbone, Holm's correction still open."""
    sets = class_sets(evaluated, evaluation)
    headline = headline_of(evaluated, evaluation)
    wanted = [
        (metric, rule, title)
        for rule in sorted(evaluated.counts)
        for metric, title in [(m, t) for m in metrics.MEANS for t in sets] + [("OA", "all")]
    ]
    rows = []
    for baseline in _baselines(evaluated, comparison):
        for key in wanted:
            row = _row(evaluated, comparison, design, baseline, key, sets[key[2]], headline=key == headline)
            rows += [row] if row else []
    leading = [row for row in rows if row["_headline"]]
    best = max((row["baseline_value"] for row in leading if not row["same_run"]), default=np.nan)
    for row in leading:
        row["best_baseline"] = bool(row["baseline_value"] == best)
    return rows


def class_rows(
    evaluated: Evaluated, evaluation: Evaluation, comparison: Comparison, design: Repetitions
) -> list[dict[str, Any]]:
    """Return the rows of classes.csv: the score behind the headline, class by class, primary pixel rule."""
    rows = []
    for baseline in _baselines(evaluated, comparison):
        for name in evaluated.classes:
            key = (f"{metrics.MEANS[evaluation.metric]}/{name}", evaluation.primary, "all")
            row = _row(evaluated, comparison, design, baseline, key, (), plain=True)
            rows += [row | {"_family": "per class"}] if row else []
    return rows


def subset_rows(
    evaluated: Evaluated, evaluation: Evaluation, comparison: Comparison, design: Repetitions
) -> list[dict[str, Any]]:
    """Return the rows of subsets.csv: headline metric and OA on each group of samples that the study names.

    Raises BenchError for a group that no sample has.
    """
    rows = []
    for subset in evaluation.subsets:
        if subset not in evaluated.groups:
            raise BenchError(
                f"evaluate.{evaluated.dataset}.subsets: no sample of {evaluated.dataset}/{evaluated.backbone} is in a "
                f"group {subset!r}; there are {sorted(evaluated.groups) or 'none'}: correct the study, or run the "
                "evaluation again if it is older than the groups"
            )
        part = evaluated.groups[subset]
        left_out = class_sets(part, evaluation)
        headline = headline_of(part, evaluation)
        for baseline in _baselines(part, comparison):
            for key in (headline, ("OA", evaluation.primary, "all")):
                row = _row(part, comparison, design, baseline, key, left_out[key[2]], plain=True)
                rows += [row | {"subset": subset}] if row else []
    return rows


def headline_of(evaluated: Evaluated, evaluation: Evaluation) -> Key:
    """Return metric, pixel rule and class set of the headline number."""
    return evaluation.metric, evaluation.primary, list(class_sets(evaluated, evaluation))[-1]


def _baselines(evaluated: Evaluated, comparison: Comparison) -> list[str]:
    if comparison.treatment not in evaluated.arms:
        return []
    return [arm for arm in evaluated.arms if arm != comparison.treatment]


def _row(
    evaluated: Evaluated,
    comparison: Comparison,
    design: Repetitions,
    baseline: str,
    key: Key,
    leave_out: tuple[int, ...],
    *,
    headline: bool = False,
    plain: bool = False,
) -> dict[str, Any]:
    """Return one contrast; `plain`: by t alone, without simulation, effect sizes or power."""
    metric, rule, title = key
    both = paired(evaluated, comparison.treatment, baseline)
    if not both[0]:
        return {}
    treated, base = (panel(evaluated, cells, design, metric, rule, leave_out) for cells in both)
    digests = [tuple(evaluated.cells[i].digest for i in cells) for cells in both]
    seeds, units = max(treated.groups) + 1, len(evaluated.units)
    per_seed = [arm.values().mean(axis=1) for arm in (treated, base)]
    row: dict[str, Any] = {
        "dataset": evaluated.dataset,
        "backbone": evaluated.backbone,
        "treatment": comparison.treatment,
        "baseline": baseline,
        "metric": metric,
        "pixels": rule,
        "classes": title,
        "treatment_value": float(per_seed[0].mean()),
        "baseline_value": float(per_seed[1].mean()),
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
        reason = "no class of the mean occurs" if metric in metrics.MEANS else "the class does not occur"
        reason = "every pixel is ignored" if metric == "OA" else reason
        return row | {"method": "undefined", "statement": f"the score is undefined: {reason}"}
    # Simulation is kept for the headline, and for designs in which nothing else can answer.
    simulated = (headline or seeds == 1) and not plain
    found = interval_of(
        [(1.0, treated), (-1.0, base)],
        comparison.level,
        comparison.resamples if simulated else 0,
        # One seed a dataset: every arm and backbone is resampled with the same weights.
        np.random.default_rng(seed_for("bootstrap", evaluated.dataset, comparison.seed)),
    )
    asked = question(design, seeds)
    row |= {name: getattr(found.default, name) for name in ("estimate", "low", "high", "df", "method")}
    row |= {"question": asked, "statement": scope(design, seeds, units)}
    if plain:
        return row | {"p": tests.t_test(found.values)}
    row |= asdict(effect_of(*per_seed))
    if seeds > 1 and units > 1:
        row["detectable"] = detectable(spread_of(found.values), comparison.level)
    signs = np.random.default_rng(seed_for("sign-flip", evaluated.dataset, comparison.seed))
    over_units = None
    if simulated:
        row |= {"bootstrap_low": found.percentile.low, "bootstrap_high": found.percentile.high}
        row |= {"bca_low": found.bca.low, "bca_high": found.bca.high}
        over_units = tests.flip_units(treated.totals, base.totals, treated.score, signs, comparison.resamples)
        row["p_models"] = over_units.p
    gains = found.values.mean(axis=1)
    over_seeds = tests.flip_differences(gains, signs, comparison.resamples)
    if seeds == 1 and over_units is not None:
        row |= {"p": over_units.p, "smallest_p": over_units.smallest_p}
    else:
        crossed = tests.t_test(found.values)
        row |= {"p": crossed, "p_seeds": over_seeds.p, "smallest_p": over_seeds.smallest_p}
    if headline:
        row["_values"] = found.values
        row["_tests"] = _tests(row, comparison, found.values, over_units, over_seeds)
    return row


def _tests(
    row: dict[str, Any],
    comparison: Comparison,
    values: Floats,
    over_units: tests.Flip | None,
    over_seeds: tests.Flip,
) -> list[dict[str, Any]]:
    """Return the rows of tests.csv of one contrast: every test, with the question it answers."""
    seeds, units = values.shape
    asked, found = row["question"], []
    if over_units is not None:
        found.append(("sign-flip over units", tests.MODELS, units, over_units, np.nan))
    if seeds > 1:
        if units > 1:
            plain = tests.Flip(p=row["p"], smallest_p=0.0, exact=False)
            found.append(("crossed t", asked, seeds, plain, np.nan))
        given = asked + tests.ON_UNITS
        found.append(("sign-flip over seeds", given, seeds, over_seeds, np.nan))
        for name in comparison.tests:
            one = (tests.paired_t if name == "paired-t" else tests.signed_ranks)(values.mean(axis=1))
            flip = tests.Flip(p=one.p, smallest_p=one.smallest_p, exact=one.exact)
            found.append((f"{name.replace('-', ' ')} over seeds", given, seeds, flip, one.statistic))
    names = "dataset backbone treatment baseline metric pixels classes".split()
    return [
        {name: row[name] for name in names}
        | {
            "test": test,
            "question": words,
            "statistic": statistic,
            "p": flip.p,
            "smallest_p": flip.smallest_p,
            "pairs": pairs,
            "exact": flip.exact,
            "reachable": tests.reachable(flip.smallest_p, 1, comparison.level),
        }
        for test, words, pairs, flip, statistic in found
    ]


def correct(rows: Iterable[dict[str, Any]], comparison: Comparison) -> list[dict[str, Any]]:
    """Add Holm's correction and the reachability guard to the rows of all datasets and backbones.

    Families, declared before the runs by the study's keys: `primary`, the headline metric against the
    pre-declared baseline in the decisive places; `other places`, the same elsewhere; `other baselines`, the headline
    metric against the other arms; `per class`, each class's score; `secondary`, all else. A run shown under several
    names is one member; where another name is the primary baseline's own run, it belongs to `primary`.
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
            family = row.get("_family", "secondary")
        else:
            decisive = not comparison.decisive or "/".join(place) in comparison.decisive
            family = "primary" if decisive else "other places"
            if row["_digests"][1] != primary.get(place):
                family = "other baselines"
        key = (*place, row["metric"], row["pixels"], row["classes"], row["_digests"][1])
        members.setdefault(family, {}).setdefault(key, []).append(row)
    for family, contrasts in members.items():
        adjusted = tests.holm([same[0]["p"] for same in contrasts.values()])
        for same, p in zip(contrasts.values(), adjusted, strict=True):
            for row in same:
                row |= {"family": f"{family} ({len(contrasts)})", "p_holm": p}
                row["statement"] += (
                    _guard(row, len(contrasts), comparison.level) if "smallest_p" in row else ""
                )
    return found


def _guard(row: dict[str, Any], family: int, level: float) -> str:
    if tests.reachable(row["smallest_p"], family, level):
        return ""
    kind = "the sign-flip test over units" if row["seeds"] == 1 else "an exact test over the seeds"
    return (
        f"; {kind} cannot fall below p = {row['smallest_p']:.3g}, the first threshold is {level / family:.3g}"
    )
