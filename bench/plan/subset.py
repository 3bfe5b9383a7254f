"""The most useful part of a study that a budget holds: few contrasts with enough seeds before many with one.

The rule, in this order, each step taking what is cheapest first for as long as it fits:

1. the treatment and the primary baseline on one more dataset and backbone, with as many repetitions as an exact test
   over seeds needs to fall below the level (2 / 2^n), or as the study has;
2. one more baseline there, with the same repetitions;
3. one more repetition of all arms that were taken there.

What is done already costs nothing, and a shared pre-training is paid for once.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from bench.plan.price import Prices
from bench.study.jobs import FinetuneRun
from bench.study.runs import Runs

K = TypeVar("K")


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Fine-tunings that are kept, in words and as the `exclude` that leaves the others out."""

    kept: frozenset[str]
    """Folders of the kept fine-tunings."""
    hours: float
    seeds: int
    """Repetitions that the first step asks for."""
    least: float | None
    """Hours of the cheapest contrast where not even that one fits, else None."""
    exclude: list[dict[str, object]]


def enough_seeds(level: float) -> int:
    """Return the repetitions from which an exact paired test can reach `level`: the least n with 2 / 2^n <= level."""
    return math.ceil(math.log2(2 / level) - 1e-12)


def propose(runs: Runs, found: Prices, budget: float) -> Proposal:
    """Return the subset that the rule takes within `budget` hours of the device."""
    study = runs.study
    wanted = enough_seeds(study.compare.level)
    taken = _Basket(runs, found)
    decisive = (study.compare.treatment, study.compare.primary)
    places = {place: cells for place, cells in runs.places.items() if _has(cells, decisive)}
    first = {place: _first(cells, wanted) for place, cells in places.items()}
    blocks = {place: _of(cells, decisive, first[place]) for place, cells in places.items()}
    least = min((taken.cost(cells) for cells in blocks.values()), default=None)
    kept = taken.fill(blocks, budget)
    others = {
        (place, arm): _of(places[place], (arm,), first[place])
        for place in kept
        for arm in study.arms
        if arm not in decisive
    }
    taken.fill({key: cells for key, cells in others.items() if cells}, budget)
    for number in range(max((len(_order(cells)) for cells in places.values()), default=0)):
        more = {}
        for place in kept:
            order, arms = _order(places[place]), taken.arms_of(places[place])
            if wanted <= number < len(order):
                more[place] = _of(places[place], arms, {order[number]})
        taken.fill(more, budget)
    hours = taken.hours
    return Proposal(
        kept=frozenset(taken.cells),
        hours=hours,
        seeds=max((len(numbers) for numbers in first.values()), default=0),
        least=None if kept else least,
        exclude=_exclude(runs, taken.cells),
    )


class _Basket:
    """What is taken so far, and what more of it would cost."""

    def __init__(self, runs: Runs, found: Prices) -> None:
        self.found, self.cells, self.started, self.hours = found, set[str](), set[str](), 0.0
        self.share = {
            run.folder: found.hours(counts.folder) / len(counts.finetunings)
            for counts in runs.evaluations
            for run in counts.finetunings
        }
        self.reading = {
            run.folder: found.hours(read.folder) / len(read.pretrainings)
            for read in runs.classifiers
            for run in read.pretrainings
        }

    def cost(self, cells: Iterable[FinetuneRun]) -> float:
        """Return the hours that taking these besides would add."""
        new = {run.folder: run for run in cells if run.folder not in self.cells}
        starts = {run.pretrain.folder for run in new.values() if run.pretrain} - self.started
        trained = sum(self.found.hours(name) + self.share[name] for name in new)
        return trained + sum(self.found.hours(name) + self.reading[name] for name in starts)

    def take(self, cells: Iterable[FinetuneRun]) -> None:
        cells = list(cells)
        self.hours += self.cost(cells)
        self.cells |= {run.folder for run in cells}
        self.started |= {run.pretrain.folder for run in cells if run.pretrain}

    def fill(self, blocks: dict[K, list[FinetuneRun]], budget: float) -> list[K]:
        """Take block after block, the cheapest first, as long as one fits; return what was taken."""
        left, kept = dict(blocks), list[K]()
        while left:
            key = min(left, key=lambda one: self.cost(left[one]))
            if self.hours + self.cost(left[key]) > budget:
                break
            self.take(left.pop(key))
            kept.append(key)
        return kept

    def arms_of(self, cells: Iterable[FinetuneRun]) -> tuple[str, ...]:
        """Return the arms of which anything was taken here."""
        return tuple({name: None for run in cells if run.folder in self.cells for name in run.names})


def _has(cells: Iterable[FinetuneRun], arms: tuple[str, ...]) -> bool:
    names = {name for run in cells for name in run.names}
    return all(arm in names for arm in arms)


def _order(cells: Iterable[FinetuneRun]) -> list[int]:
    """Return the repetitions of a place, pre-trainings taking turns: those are the seeds where there are several."""
    of_start: dict[int, list[int]] = {}
    for run in cells:
        start = run.pretrain.repetition if run.pretrain else -1
        if run.repetition not in of_start.setdefault(start, []):
            of_start[start].append(run.repetition)
    if len(of_start) > 1:
        of_start.pop(-1, None)  # scratch has the repetitions of the others
    longest = max((len(numbers) for numbers in of_start.values()), default=0)
    turns = [numbers[i] for i in range(longest) for numbers in of_start.values() if i < len(numbers)]
    return list(dict.fromkeys(turns))


def _first(cells: Iterable[FinetuneRun], wanted: int) -> set[int]:
    return set(_order(cells)[:wanted])


def _of(cells: Iterable[FinetuneRun], arms: tuple[str, ...], numbers: set[int]) -> list[FinetuneRun]:
    return [run for run in cells if run.repetition in numbers and any(arm in run.names for arm in arms)]


def _exclude(runs: Runs, kept: set[str]) -> list[dict[str, object]]:
    """Return the patterns of `grid.exclude` that leave out every fine-tuning but the kept."""
    found: list[dict[str, object]] = []
    used = {run.dataset for run in runs.finetunings if run.folder in kept}
    gone = [dataset for dataset in runs.study.datasets if dataset not in used]
    if gone:
        found.append({"dataset": gone})
    for (dataset, backbone), cells in runs.places.items():
        place: dict[str, object] = {"dataset": dataset, "backbone": backbone}
        if dataset in gone or not cells:
            continue
        if not any(run.folder in kept for run in cells):
            found.append(place)
            continue
        dropped: dict[tuple[int, ...], list[str]] = {}
        for arm in dict.fromkeys(name for run in cells for name in run.names):
            own = [run for run in cells if arm in run.names]
            numbers = tuple(run.repetition for run in own if run.folder not in kept)
            if numbers:
                key = () if len(numbers) == len(own) else numbers
                dropped.setdefault(key, []).append(arm)
        for numbers, arms in dropped.items():
            found.append(place | {"arm": arms} | ({"repetition": list(numbers)} if numbers else {}))
    return found
