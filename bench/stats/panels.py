"""Trained models as the statistics see them: one value a repetition and unit, whatever was measured.

A measure is anything that can be summed over units and turned into a score: confusion counts, pixels near edges, hits
under a shifted spectrum. It gives its values [repetition, unit] for the crossed interval and its scores under
resampled units for the bootstrap; differences and averages of measures are weighted sums of both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench import metrics
from bench.stats import bootstrap, intervals
from bench.stats.intervals import Floats, Interval
from bench.stats.scores import Evaluated
from bench.study.schema import Repetitions


class Measured(Protocol):
    """What intervals ask of the trained models of one arm."""

    def values(self) -> Floats:
        """Return [repetition, unit] whose mean over units is each repetition's score."""
        ...

    def resampled(self, of_units: Floats) -> Floats:
        """Return the score of each repetition under unit weights (resamples, units): (resamples, repetitions)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Any score of sums over units: `totals` (models, units, ...), `parts` maps (..., sums) to (..., classes).

    The score is the mean over the classes that are not NaN.
    """

    totals: NDArray[Any]
    groups: tuple[int, ...]
    """The independent repetition that each trained model belongs to: 0, 1, ..."""
    parts: Callable[[Any], Floats]

    def score(self, totals: Any) -> Floats:
        """Return the score of sums (..., sums)."""
        return metrics.mean_over_classes(self.parts(totals))

    def values(self) -> Floats:
        """Return score plus jackknife influence, [repetition, unit]."""
        return grouped(intervals.leave_one_out(self.totals, self.parts).T, self.groups).T

    def resampled(self, of_units: Floats) -> Floats:
        """Return the score in each resample of the units, [resample, repetition]."""
        return grouped(bootstrap.resampled_scores(self.totals, of_units, self.score), self.groups)


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
        """Return score plus jackknife influence, [repetition, unit]; each row's mean is the repetition's score."""
        influence = metrics.influence_of(
            self.totals, self.metric, self.classes, self.leave_out, leave_one_out=True
        )
        return grouped((self.score(self.totals.sum(axis=1))[:, None] + influence).T, self.groups).T

    def resampled(self, of_units: Floats) -> Floats:
        """Return the score in each resample of the units, [resample, repetition]."""
        return grouped(bootstrap.resampled_scores(self.totals, of_units, self.score), self.groups)


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
    return Panel(
        totals=metrics.class_totals(evaluated.counts[rule][list(cells)]),
        groups=repetitions_of(evaluated, cells, design),
        metric=metric,
        classes=evaluated.classes,
        leave_out=leave_out,
    )


def repetitions_of(evaluated: Evaluated, cells: Sequence[int], design: Repetitions) -> tuple[int, ...]:
    """Return the independent repetition of each cell: 0, 1, ..."""
    repetition = [
        evaluated.cells[i].seed // (design.finetune if grouped_by_pretraining(design) else 1) for i in cells
    ]
    order = sorted(set(repetition))
    return tuple(order.index(r) for r in repetition)


def grouped_by_pretraining(design: Repetitions) -> bool:
    """Return whether pre-trainings, not fine-tunings, are the seeds of the statistics."""
    return design.design == "nested" and design.pretrain > 1


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """The intervals of one value, and the values [repetition, unit] that they speak of."""

    default: Interval
    percentile: Interval
    bca: Interval
    values: Floats


def interval_of(
    terms: Sequence[tuple[float, Measured]], level: float, resamples: int, generator: np.random.Generator
) -> Intervals:
    """Return the intervals of a weighted sum of measures.

    With several repetitions the default is the crossed interval; with one trained model a cell the percentile
    bootstrap over units serves, unless there is but one unit. All measures share the bootstrap's weights; with no
    `resamples` its intervals are NaN.
    """
    values = sum(weight * p.values() for weight, p in terms)
    assert isinstance(values, np.ndarray)
    seeds, units = values.shape
    default = intervals.t_interval(values, level)
    of_seeds, of_units = bootstrap.bootstrap_weights(seeds, units, resamples, generator)
    per_seed = sum(weight * p.resampled(of_units) for weight, p in terms)
    assert isinstance(per_seed, np.ndarray)
    percentile = bootstrap.bootstrap_interval(default.estimate, per_seed, of_seeds, level)
    bca = bootstrap.bootstrap_interval(default.estimate, per_seed, of_seeds, level, values=values)
    if values.size == 1:
        percentile = bca = default
    elif seeds == 1 and resamples:
        default = percentile
    return Intervals(default=default, percentile=percentile, bca=bca, values=values)
