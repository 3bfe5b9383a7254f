"""What the statistics cost: the paired bootstrap of a large dataset, and a comparison's other parts, on one core."""

import resource
import statistics
import time
from functools import partial

import numpy as np

from bench import metrics
from bench.benchmark.measure import Row, interleaved
from bench.stats import bootstrap
from bench.stats.intervals import Floats
from bench.stats.panels import Panel, interval_of
from bench.stats.tests import flip_units

SEEDS, UNITS, NUMBER, RESAMPLES = 3, 450, 16, 10_000
CLASSES = tuple(f"class {i}" for i in range(NUMBER))
LOOPED = 100
"""Resamples that the loop is timed on; its time grows with their number."""


def panels() -> list[Panel]:
    """Return two arms of three trained models on 450 units of 16 classes, drawn from a seed."""
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 2000, (2, SEEDS, UNITS, NUMBER, NUMBER))
    counts += 20_000 * np.eye(NUMBER, dtype=np.int64)
    return [
        Panel(
            totals=metrics.class_totals(arm), groups=(0, 1, 2), metric="mIoU", classes=CLASSES, leave_out=()
        )
        for arm in counts
    ]


def looped(arms: list[Panel], resamples: int) -> Floats:
    """Return the resampled gains as a loop draws them: units by index, their counts summed, one resample at a time."""
    generator = np.random.default_rng(0)
    found = np.empty(resamples)
    for i in range(resamples):
        seeds, units = (generator.integers(0, number, number) for number in (SEEDS, UNITS))
        first, second = (arm.score(arm.totals[seeds][:, units].sum(axis=1)).mean() for arm in arms)
        found[i] = first - second
    return found


def peak_megabytes() -> float:
    """Return the most memory this process has held, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def vectorised(arms: list[Panel]) -> None:
    """Draw 10,000 resamples of both arms and read both intervals off them."""
    terms = [(1.0, arms[0]), (-1.0, arms[1])]
    interval_of(terms, 0.05, RESAMPLES, np.random.default_rng(0))


def measure() -> list[Row]:
    """Return times, their ratio and the memory that 10,000 resamples take."""
    arms = panels()
    before = peak_megabytes()
    vectorised(arms)
    grown = peak_megabytes() - before
    seconds = interleaved(
        {"weights": partial(vectorised, arms), "loop": partial(looped, arms, LOOPED)}, rounds=5
    )
    loop = seconds["loop"] * RESAMPLES / LOOPED
    on_core = []
    for _ in range(5):
        began = time.process_time()
        vectorised(arms)
        on_core.append(time.process_time() - began)
    signs = interleaved(
        {
            "signs": lambda: flip_units(
                arms[0].totals, arms[1].totals, arms[0].score, np.random.default_rng(0), RESAMPLES
            ),
            "draw": lambda: bootstrap.bootstrap_weights(SEEDS, UNITS, RESAMPLES, np.random.default_rng(0)),
        },
        rounds=3,
    )
    size = f"{RESAMPLES} resamples, {UNITS} units, {NUMBER} classes, {SEEDS} seeds, two arms"
    return [
        Row(what="paired two-level intervals", value=seconds["weights"], unit="s", note=size),
        Row(
            what="paired two-level intervals, one core's time",
            value=statistics.median(on_core),
            unit="s",
            limit="at most 0.5",
            note="a busy neighbour does not count",
        ),
        Row(what="their memory", value=grown, unit="MB", limit="at most 300", note="growth of the peak"),
        Row(what="loop over resamples", value=loop, unit="s", note=f"from {LOOPED} resamples"),
        Row(
            what="loop over resamples / matrix product",
            value=loop / seconds["weights"],
            unit="ratio",
            limit="at least 20",
        ),
        Row(what="sign-flip over units", value=signs["signs"], unit="s", note=size),
        Row(what="drawing the weights", value=signs["draw"], unit="s"),
    ]
