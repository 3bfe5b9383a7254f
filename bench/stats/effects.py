"""Sizes of an effect over paired seeds, free of the score's unit."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from bench.stats.intervals import ROUNDING, Floats


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Effect sizes of treatment minus baseline; NaN where seeds are too few or nothing varies."""

    paired_d: float
    """Mean over standard deviation of the paired differences: how steady the gain is."""
    hedges_g: float
    """`paired_d` with the correction for few pairs."""
    standardised: float
    """Mean difference over the pooled standard deviation of both arms' seeds: how large beside the noise of seeds."""
    improvement: float
    """Probability that a seed of the treatment beats a seed of the baseline, ties half."""


def effect_of(treatment: Floats, baseline: Floats) -> Effect:
    """Return the effect sizes of two arms' scores (seeds,), paired by place.

    J. Cohen's d for pairs with L. V. Hedges' exact correction (Distribution theory for Glass's estimator of
    effect size, J. Educ. Stat. 1981) on seeds - 1 degrees of freedom; the probability of improvement of R.
    Agarwal et al. (Deep reinforcement learning at the edge of the statistical precipice, NeurIPS 2021), which
    is Mann and Whitney's U over the number of pairs of seeds.
    """
    if len(treatment) != len(baseline):
        raise ValueError(f"{len(treatment)} and {len(baseline)} seeds; expected pairs")
    gain, number = treatment - baseline, len(treatment)
    d = _ratio(gain.mean(), gain.std(ddof=1)) if number > 1 else np.nan
    pooled = np.sqrt((treatment.var(ddof=1) + baseline.var(ddof=1)) / 2) if number > 1 else np.nan
    above = (treatment[:, None] > baseline[None, :]).mean()
    equal = (treatment[:, None] == baseline[None, :]).mean()
    return Effect(
        paired_d=d,
        hedges_g=d * small_sample(number - 1) if number > 2 else np.nan,
        standardised=_ratio(gain.mean(), pooled) if number > 1 else np.nan,
        improvement=float(above + equal / 2),
    )


def small_sample(df: int) -> float:
    """Return Hedges' correction for `df` degrees of freedom, at least 2: about 1 - 3 / (4 df - 1)."""
    logarithm = special.gammaln(df / 2) - special.gammaln((df - 1) / 2)
    return float(np.exp(logarithm) / np.sqrt(df / 2))


def _ratio(mean: float, spread: float) -> float:
    return float(mean / spread) if spread > ROUNDING else np.nan
