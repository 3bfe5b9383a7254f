"""What a design can find: power of the crossed t and of the two one-sided tests, and how many seeds or units would do.

Everything follows from three variances observed so far: between seeds, between units, and what is left. A forecast
from few seeds is as uncertain as the variances themselves: it says what order of effort is wanted, and repeats no
test. Power at the observed effect says nothing that its p-value does not (J. M. Hoenig and D. M. Heisey, The abuse of
power, Am. Stat. 2001); the effects assumed here are the paper's, where it reports one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, stats

from bench.stats.intervals import Floats, crossed_components

TARGET = 0.8
"""Power at which a claim counts as decidable."""
MOST = 100_000
"""Seeds or units beyond which a search gives up."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Variances of one value [seed, unit] by source, and the design that they are seen in."""

    between_seeds: float
    between_units: float
    residual: float
    seeds: int
    units: int

    def error_and_df(self) -> tuple[float, float]:
        """Return the standard error that the design has, and the degrees of freedom of its t interval."""
        rest = self.residual / (self.seeds * self.units)
        seed, unit = self.between_seeds / self.seeds + rest, self.between_units / self.units + rest
        total = seed + unit - rest
        if total <= 0:
            return 0.0, np.inf
        weight = seed / (seed + unit)
        return float(np.sqrt(total)), 1 / (weight / (self.seeds - 1) + (1 - weight) / (self.units - 1))


def spread_of(values: Floats) -> Spread:
    """Return the spread of `values` (seeds, units; at least 2 x 2), each variance at least 0."""
    seeds, units = values.shape
    parts = crossed_components(values)
    rest = float(parts.residual)
    return Spread(
        between_seeds=max(0.0, float(parts.seed) - rest) * seeds,
        between_units=max(0.0, float(parts.unit) - rest) * units,
        residual=rest * seeds * units,
        seeds=seeds,
        units=units,
    )


def power_of_t(gain: float, spread: Spread, level: float) -> float:
    """Return the probability that a true `gain` gives a two-sided p below `level`: the noncentral t."""
    error, df = spread.error_and_df()
    if error == 0:
        return 1.0 if gain else level
    shift, bound = gain / error, stats.t.ppf(1 - level / 2, df)
    return float(np.nansum([stats.nct.sf(bound, df, shift), stats.nct.cdf(-bound, df, shift)]))


def power_of_equivalence(half_width: float, spread: Spread, level: float, off: float = 0.0) -> float:
    """Return the probability that two one-sided tests of size `level` place a value within +-`half_width`.

    `off` is where the true value lies from the middle. The 1 - 2 level interval, estimate +- t * error, must lie
    inside; the estimate is normal and the error varies as a chi of df degrees of freedom, averaged over 400 quantiles.
    """
    error, df = spread.error_and_df()
    if error == 0:
        return float(abs(off) < half_width)
    shares = (np.arange(400) + 0.5) / 400
    drawn = error * np.sqrt(stats.chi2.ppf(shares, df) / df)
    room = np.maximum(half_width - stats.t.ppf(1 - level, df) * drawn, 0.0)
    inside = stats.norm.cdf((room - off) / error) - stats.norm.cdf((-room - off) / error)
    return float(inside.mean())


def detectable(spread: Spread, level: float, target: float = TARGET) -> float:
    """Return the smallest true gain found with probability `target`; NaN for one seed, or where nothing varies."""
    error = spread.error_and_df()[0] if spread.seeds > 1 else 0.0
    if error == 0:
        return float("nan")
    high = error
    while power_of_t(high, spread, level) < target:
        high *= 2
    return float(optimize.brentq(lambda gain: power_of_t(gain, spread, level) - target, 0.0, high, rtol=1e-6))


def seeds_needed(power: Callable[[Spread], float], spread: Spread, target: float = TARGET) -> int | None:
    """Return the fewest seeds, at the units there are, that reach `target`; None if no number does."""
    return _fewest(lambda number: power(replace(spread, seeds=number)), target)


def units_needed(power: Callable[[Spread], float], spread: Spread, target: float = TARGET) -> int | None:
    """Return the fewest units, at the seeds there are, that reach `target`; None if no number does."""
    return _fewest(lambda number: power(replace(spread, units=number)), target)


def _fewest(power: Callable[[int], float], target: float) -> int | None:
    """Return the smallest number from 2 with at least the power, by doubling and halving: power grows with it."""
    high = 2
    while power(high) < target:
        if high >= MOST:
            return None
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= target else (middle, high)
    return high
