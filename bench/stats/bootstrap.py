"""The two-level bootstrap: trained models (seeds) and test units are drawn anew, counts are summed, the metric is
computed again. A resample is a row of weights, so that all resamples are one matrix product.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.stats.intervals import Floats, Interval

PERCENTILE, BCA = "percentile", "BCa"
BOOTSTRAP = "two-level bootstrap over seeds and units"
BOOTSTRAP_UNITS = "bootstrap over units (one trained model)"

Weights = tuple[Floats, Floats]


def bootstrap_weights(seeds: int, units: int, resamples: int, generator: np.random.Generator) -> Weights:
    """Draw how often each seed and each unit occurs in every resample.

    Returns (resamples, seeds) and (resamples, units), float64 whole numbers. Seeds and units are drawn with
    replacement and independently, as befits a crossed design (A. B. Owen, The pigeonhole bootstrap, Ann.
    Appl. Stat. 2007). The same weights serve all arms, so that differences stay paired.
    """
    of_units, of_seeds = (_occurrences(number, resamples, generator) for number in (units, seeds))
    return of_seeds, of_units


def _occurrences(number: int, resamples: int, generator: np.random.Generator) -> Floats:
    """Return how often each of `number` things occurs in as many draws: (resamples, number)."""
    found = np.empty((resamples, number))
    for start in range(0, resamples, ROWS):
        rows = min(ROWS, resamples - start)
        drawn = generator.integers(0, number, size=(rows, number), dtype=np.int32)
        drawn += np.arange(rows, dtype=np.int32)[:, None] * number
        found[start : start + rows] = np.bincount(drawn.ravel(), minlength=rows * number).reshape(
            rows, number
        )
    return found


ROWS = 500
"""Resamples at a time: bounds the memory."""


def resampled_scores(
    totals: NDArray[np.int64] | Floats,
    of_units: Floats,
    score: Callable[[Any], Floats],
    rows: int = ROWS,
) -> Floats:
    """Return the score of each trained model in each resample: float64 (resamples, seeds).

    `totals`: (seeds, units, ...) such as (seeds, units, 3, C); `score` maps totals (..., 3, C) to (...). The
    resampled totals are one matrix product of weights and totals, taken `rows` resamples at a time to bound
    the memory; counts are whole numbers below 2**53 and so exact.
    """
    seeds, units, *sums = totals.shape
    flat = np.ascontiguousarray(np.moveaxis(totals, 1, 0).reshape(units, -1), dtype=np.float64)
    found = np.empty((len(of_units), seeds))
    for start in range(0, len(of_units), rows):
        drawn = of_units[start : start + rows] @ flat
        found[start : start + rows] = score(drawn.reshape(-1, seeds, *sums))
    return found


def bootstrap_interval(
    estimate: float,
    per_seed: Floats,
    of_seeds: Floats,
    level: float,
    *,
    values: Floats | None = None,
) -> Interval:
    """Return the 1 - `level` interval of the two-level bootstrap: percentile, or BCa where `values` are given.

    `per_seed`: the score (or difference) of each seed in each resample of the units, (resamples, seeds);
    `of_seeds` are the seeds' weights. With one seed only the units are resampled, and the method says so. A
    resample in which the score is undefined is left out; with none left the interval is NaN.

    BCa corrects the percentiles for bias and for skewness (B. Efron, Better bootstrap confidence intervals,
    JASA 1987). `values` (seeds, units), as for the t interval, give the acceleration: third over second moments
    of the influence of every seed and every unit, two independent samples (A. C. Davison and D. V. Hinkley,
    Bootstrap Methods and their Application, 1997, section 5.3).
    """
    drawn = (per_seed * of_seeds).sum(axis=1) / of_seeds.sum(axis=1)
    drawn = drawn[np.isfinite(drawn)]
    words = BOOTSTRAP if per_seed.shape[1] > 1 else BOOTSTRAP_UNITS
    method = f"{words}, {PERCENTILE if values is None else BCA}"
    if drawn.size == 0:
        return Interval(estimate=estimate, low=np.nan, high=np.nan, df=np.nan, method=method)
    shares = np.array([level / 2, 1 - level / 2])
    if values is not None:
        shares = bca_shares(shares, estimate, drawn, acceleration(values))
    low, high = np.quantile(drawn, shares)
    return Interval(estimate=estimate, low=float(low), high=float(high), df=np.nan, method=method)


def bca_shares(shares: Floats, estimate: float, drawn: Floats, skew: float) -> Floats:
    """Return where BCa reads the distribution of the resampled values instead of at `shares`.

    Values equal to the estimate count half. Where every resample lies on one side of it the bias cannot be
    told, and the percentiles are kept.
    """
    below = float((drawn < estimate).mean() + (drawn == estimate).mean() / 2)
    if not 0 < below < 1:
        return shares
    bias = stats.norm.ppf(below)
    moved = bias + stats.norm.ppf(shares)
    found: Floats = stats.norm.cdf(bias + moved / (1 - skew * moved))
    return found


def acceleration(values: Floats) -> float:
    """Return BCa's acceleration from `values` (seeds, units): each seed's and each unit's influence on the mean."""
    second = third = 0.0
    for means in (values.mean(axis=1), values.mean(axis=0)):
        around = (means - means.mean()) / len(means)
        second += float((around**2).sum())
        third += float((around**3).sum())
    return third / second**1.5 / 6 if second > 0 else 0.0
