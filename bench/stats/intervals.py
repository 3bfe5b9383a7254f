"""Intervals for a score, or a difference of scores, over trained models (seeds) and test units, which are
crossed.

Axes: `values[..., seed, unit]` float64. A score that is a plain mean over units gives them directly; for any
other, `values[s, i]` is the score of seed s plus what unit i adds to it (`bench.metrics.influence_of` in closed
form for scores of counts, `leave_one_out` for any score of sums over units), so that the mean over units of row
s is the score of seed s exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.metrics import jackknife_scale, mean_over_classes

Floats = NDArray[np.float64]

CROSSED = "crossed variance components, t"
SEEDS_ONLY = "t over seeds (one unit)"
UNITS_ONLY = "t over units (one trained model)"
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
    """Variance of the grand mean of `values[..., seed, unit]`, by source, in squared units of the score.

    Each has the leading axes of the values.
    """

    estimate: Any
    seed: Any
    unit: Any
    residual: Any
    total: Any
    df: Any


def crossed_components(values: Floats) -> Components:
    """Return the variance components of the mean of `values` (..., seeds, units; at least 2 x 2), ddof = 1
    throughout.

        v_seed = var_s(mean_i) / ns      v_unit = var_i(mean_s) / ni
        v_res  = sum (d - row - col + mean)^2 / ((ns-1)(ni-1)) / (ns ni)
        v      = max(v_seed + v_unit - v_res, v_seed, v_unit)
        1/df   = w / (ns-1) + (1-w) / (ni-1),   w = v_seed / (v_seed + v_unit)

    Estimators of the two-way random-effects model (J. Cornfield and J. W. Tukey, Average values of mean
    squares in factorials, Ann. Math. Statist. 1956). F. E. Satterthwaite's degrees of freedom (Biometrics
    Bulletin 1946) weigh with w^2 and (1-w)^2, and with two or three seeds promise more than an estimated w can
    keep; linear weights, by which W. G. Cochran interpolates between quantiles of t (Approximate significance
    levels of the Behrens-Fisher test, Biometrics 1964), do keep it. `bench benchmark calibration` shows what
    this covers. `df` is NaN where nothing varies. Raises ValueError for fewer than two seeds or units.
    """
    ns, ni = values.shape[-2:]
    if ns < 2 or ni < 2:
        raise ValueError(f"crossed components need at least 2 seeds and 2 units, found {ns} and {ni}")
    rows, columns = values.mean(axis=-1, keepdims=True), values.mean(axis=-2, keepdims=True)
    mean = rows.mean(axis=-2, keepdims=True)
    seed = rows[..., 0].var(axis=-1, ddof=1) / ns
    unit = columns[..., 0, :].var(axis=-1, ddof=1) / ni
    rest = values - rows - columns + mean
    residual = (rest**2).sum(axis=(-1, -2)) / ((ns - 1) * (ni - 1)) / (ns * ni)
    total = np.maximum(seed + unit - residual, np.maximum(seed, unit))
    both = seed + unit
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = seed / both
        df = np.where(both > 0, 1 / (weight / (ns - 1) + (1 - weight) / (ni - 1)), np.nan)
    parts = {"estimate": mean[..., 0, 0], "seed": seed, "unit": unit, "residual": residual}
    parts |= {"total": total, "df": df}
    return Components(**{name: part[()] for name, part in parts.items()})


def leave_one_out(totals: Floats | NDArray[np.int64], score: Callable[[Any], Floats]) -> Floats:
    """Return score plus what each unit adds to it, (seeds, units), for any `score` of sums over units.

    `totals`: (seeds, units, ...), whose sum over units is what `score` maps from (..., sums) to (..., parts); the
    value is the mean over the parts (classes) that are not NaN. Unit i adds what they lose without it, times
    sqrt(n (n - 1)), centred (see `bench.metrics.influence_of`); a part that only unit i holds adds 0.
    """
    whole = totals.sum(axis=1, keepdims=True)
    parts = score(whole)
    lost = jackknife_scale(totals.shape[1]) * np.nan_to_num(parts - score(whole - totals))
    lost = np.where(np.isnan(parts), np.nan, lost - lost.mean(axis=1, keepdims=True))
    found: Floats = mean_over_classes(parts) + mean_over_classes(lost)
    return found


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
