"""Intervals for a score, or a difference of scores, over trained models (seeds) and test units, which are
crossed.

Axes: `values[seed, unit]` float64. A score that is a plain mean over units gives them directly; for a ratio
such as mIoU, `values[s, i]` is the score of seed s plus the influence value of unit i
(`bench.metrics.influence_of`), so that the mean over units of row s is the score of seed s exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

CROSSED = "crossed variance components, Satterthwaite t"
SEEDS_ONLY = "t over seeds (one unit)"
UNITS_ONLY = "t over units (one trained model)"
BOOTSTRAP = "two-level bootstrap over seeds and units, percentile"
BOOTSTRAP_UNITS = "bootstrap over units (one trained model), percentile"
NONE = "none (one trained model, one unit)"

ROUNDING = 1e-13
"""A standard error of a fraction below this is rounding: nothing varies."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its interval; `low`, `high` and `df` are NaN where the design gives none."""

    estimate: float
    low: float
    high: float
    df: float
    method: str


@dataclass(frozen=True, kw_only=True)
class Components:
    """Variance of the grand mean of `values[seed, unit]`, by source; all in squared units of the score."""

    estimate: float
    seed: float
    unit: float
    residual: float
    total: float
    df: float


def crossed_components(values: Floats) -> Components:
    """Return the variance components of the mean of `values` (seeds x units, at least 2 x 2), ddof = 1
    throughout.

        v_seed = var_s(mean_i) / ns      v_unit = var_i(mean_s) / ni
        v_res  = sum (d - row - col + mean)^2 / ((ns-1)(ni-1)) / (ns ni)
        v      = max(v_seed + v_unit - v_res, v_seed, v_unit)
        df     = v^2 / (v_seed^2/(ns-1) + v_unit^2/(ni-1))

    Estimators of the two-way random-effects model (J. Cornfield and J. W. Tukey, Average values of mean
    squares in factorials, Ann. Math. Statist. 1956) with the degrees of freedom of F. E. Satterthwaite (An
    approximate distribution of estimates of variance components, Biometrics Bulletin 1946). `df` is NaN where
    nothing varies. Raises ValueError for fewer than two seeds or units.
    """
    ns, ni = values.shape
    if ns < 2 or ni < 2:
        raise ValueError(f"crossed components need at least 2 seeds and 2 units, found {ns} and {ni}")
    rows, columns, mean = values.mean(axis=1), values.mean(axis=0), values.mean()
    seed = float(rows.var(ddof=1) / ns)
    unit = float(columns.var(ddof=1) / ni)
    rest = values - rows[:, None] - columns[None, :] + mean
    residual = float((rest**2).sum() / ((ns - 1) * (ni - 1)) / (ns * ni))
    total = max(seed + unit - residual, seed, unit)
    spread = seed**2 / (ns - 1) + unit**2 / (ni - 1)
    df = total**2 / spread if spread > 0 else np.nan
    return Components(estimate=float(mean), seed=seed, unit=unit, residual=residual, total=total, df=df)


def t_terms(values: Floats) -> tuple[float, float, float, str]:
    """Return estimate, standard error, degrees of freedom and method that `values` (seeds x units) allow.

    Two or more of each: crossed components. One unit: t over seeds; one seed: t over units; one of each:
    standard error and degrees of freedom are NaN. Raises ValueError for values that are not finite.
    """
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"values have shape {values.shape}; expected seeds x units, at least one of each")
    if not np.isfinite(values).all():
        raise ValueError("values hold NaN or infinity: the score is undefined for some trained model")
    ns, ni = values.shape
    if ns > 1 and ni > 1:
        found = crossed_components(values)
        return found.estimate, _spread(np.sqrt(found.total)), found.df, CROSSED
    flat, number = values.ravel(), values.size
    if number == 1:
        return float(flat[0]), np.nan, np.nan, NONE
    error = _spread(flat.std(ddof=1) / np.sqrt(number))
    return float(flat.mean()), error, float(number - 1), SEEDS_ONLY if ni == 1 else UNITS_ONLY


def _spread(error: float) -> float:
    return float(error) if error > ROUNDING else 0.0


def t_interval(values: Floats, level: float) -> Interval:
    """Return the 1 - `level` interval of the mean of `values` (seeds x units), by the method the design
    allows.

    Where nothing varies the interval is the estimate itself, with no degrees of freedom.
    """
    estimate, error, df, method = t_terms(values)
    if error == 0:
        return Interval(estimate=estimate, low=estimate, high=estimate, df=np.nan, method=method)
    half = float(stats.t.ppf(1 - level / 2, df)) * error
    return Interval(estimate=estimate, low=estimate - half, high=estimate + half, df=df, method=method)


Weights = tuple[Floats, Floats]


def bootstrap_weights(seeds: int, units: int, resamples: int, generator: np.random.Generator) -> Weights:
    """Draw how often each seed and each unit occurs in every resample.

    Returns (resamples, seeds) and (resamples, units), float64 whole numbers. Seeds and units are drawn with
    replacement and independently, as befits a crossed design (A. B. Owen, The pigeonhole bootstrap, Ann.
    Appl. Stat. 2007). The same weights serve all arms, so that differences stay paired.
    """
    of_units = generator.multinomial(units, np.full(units, 1 / units), size=resamples)
    of_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    return of_seeds.astype(np.float64), of_units.astype(np.float64)


def resampled_scores(
    totals: NDArray[np.int64], of_units: Floats, score: Callable[[Floats], Floats], rows: int = 1000
) -> Floats:
    """Return the score of each trained model in each resample: float64 (resamples, seeds).

    `totals`: int64 (seeds, units, 3, C); `score` maps totals (..., 3, C) to (...). The resampled totals are
    one matrix product of weights and totals, taken `rows` resamples at a time to bound the memory; they are
    whole numbers below 2**53 and so exact.
    """
    seeds, units, sums, classes = totals.shape
    flat = totals.transpose(1, 0, 2, 3).reshape(units, -1).astype(np.float64)
    chunks = [np.zeros((0, seeds))]
    for start in range(0, len(of_units), rows):
        drawn = of_units[start : start + rows] @ flat
        chunks.append(score(drawn.reshape(-1, seeds, sums, classes)))
    return np.concatenate(chunks)


def bootstrap_interval(estimate: float, per_seed: Floats, of_seeds: Floats, level: float) -> Interval:
    """Return the 1 - `level` percentile interval of the two-level bootstrap.

    `per_seed`: the score (or difference) of each seed in each resample of the units, (resamples, seeds);
    `of_seeds` are the seeds' weights. With one seed only the units are resampled, and the method says so. A
    resample in which the score is undefined is left out; with none left the interval is NaN.
    """
    values = (per_seed * of_seeds).sum(axis=1) / of_seeds.sum(axis=1)
    values = values[np.isfinite(values)]
    method = BOOTSTRAP if per_seed.shape[1] > 1 else BOOTSTRAP_UNITS
    if values.size == 0:
        return Interval(estimate=estimate, low=np.nan, high=np.nan, df=np.nan, method=method)
    low, high = np.quantile(values, [level / 2, 1 - level / 2])
    return Interval(estimate=estimate, low=float(low), high=float(high), df=np.nan, method=method)
