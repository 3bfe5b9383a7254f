"""Tests of a paired difference, each named after the question that it answers.

*The method differs*, *these pre-trained weights differ*: crossed t over seeds and units. *These trained
models differ*: sign-flip over units. *On these test units* the method or the weights differ: sign-flip, t and
signed ranks over the paired seeds, the exact ones with the smallest p that they can reach. Holm's step-down
corrects a declared family.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.stats.intervals import Floats, t_terms

METHOD = "the method differs"
WEIGHTS = "these pre-trained weights differ"
MODELS = "these trained models differ"
ON_UNITS = ", on these test units"
"""Added to the question of a test over seeds alone: it takes the units as given."""


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Result of a sign-flip test: two-sided p, the smallest p the design can give, and whether it is
    exact.
    """

    p: float
    smallest_p: float
    exact: bool


def t_test(values: Floats) -> float:
    """Return the two-sided p of a zero mean of `values` (seeds x units), from the same t as the interval.

    NaN where the design gives no standard error, or where nothing varies around a difference that is not
    zero; 1 where every difference is zero.
    """
    estimate, error, df, _ = t_terms(values)
    if error == 0:
        return 1.0 if estimate == 0 else np.nan
    return float(2 * stats.t.sf(abs(estimate) / error, df))


def sign_flip(
    statistic: Callable[[Floats], Floats],
    pairs: int,
    generator: np.random.Generator,
    resamples: int,
    rows: int = 2000,
) -> Flip:
    """Test whether the arms of a paired design may be exchanged within each pair (two-sided sign-flip test).

    `statistic` maps signs (m, pairs) of +1 and -1 to (m,) values; all +1 is the observed value. With 2**pairs
    <= `resamples` every sign vector is visited and the test is exact; otherwise `resamples` vectors are drawn
    and p = (1 + as extreme) / (1 + resamples), which keeps the level (B. Phipson and G. K. Smyth, Permutation
    p-values should never be zero, 2010). Values equal up to rounding count as equally extreme.
    """
    exact = pairs < 60 and 2**pairs <= resamples
    number = 2**pairs if exact else resamples
    unchanged: Floats = np.ones((1, pairs))
    observed = float(abs(statistic(unchanged)[0]))
    bound = observed - 1e-9 * max(observed, 1e-3)
    extreme = 0
    for start in range(0, number, rows):
        stop = min(start + rows, number)
        if exact:
            bits = (np.arange(start, stop)[:, None] >> np.arange(pairs)[None, :]) & 1
        else:
            bits = generator.integers(0, 2, size=(stop - start, pairs))
        # An undefined statistic (no class left) counts as extreme, against the difference.
        signs: Floats = np.where(bits == 1, -1.0, 1.0)
        extreme += int((~(np.abs(statistic(signs)) < bound)).sum())
    if exact:
        return Flip(p=extreme / number, smallest_p=min(1.0, 2 / number), exact=True)
    return Flip(p=(1 + extreme) / (1 + number), smallest_p=1 / (1 + number), exact=False)


def flip_differences(differences: Floats, generator: np.random.Generator, resamples: int) -> Flip:
    """Sign-flip test of the mean of paired `differences` (pairs,): exact where 2**pairs <= `resamples`."""
    pairs = len(differences)
    return sign_flip(lambda signs: signs @ differences / pairs, pairs, generator, resamples)


def flip_units(
    treatment: NDArray[np.int64],
    baseline: NDArray[np.int64],
    score: Callable[[Floats], Floats],
    generator: np.random.Generator,
    resamples: int,
) -> Flip:
    """Test *these trained models differ*: the arms' predictions are exchanged within units and the score
    recomputed.

    `treatment`, `baseline`: int64 totals (seeds, units, 3, C), trained models paired by seed; `score` maps
    totals (..., 3, C) to (...). A unit is exchanged in all seeds at once, since it is the unit that is drawn.
    No linearisation: half the sum plus the signed half differences are the exchanged totals, exactly.
    """
    seeds, units, sums, classes = treatment.shape
    middle = (treatment + baseline).sum(axis=1) / 2
    half = ((treatment - baseline) / 2).transpose(1, 0, 2, 3).reshape(units, -1)

    def difference(signs: Floats) -> Floats:
        moved = (signs @ half).reshape(-1, seeds, sums, classes)
        found: Floats = (score(middle + moved) - score(middle - moved)).mean(axis=-1)
        return found

    return sign_flip(difference, units, generator, resamples)


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Result of a test over paired differences: statistic, two-sided p, the smallest p it can give, exactness."""

    statistic: float
    p: float
    smallest_p: float
    exact: bool


def paired_t(differences: Floats) -> Paired:
    """Return scipy's one-sample t-test of paired `differences` (pairs,), two-sided.

    NaN below two pairs, and where nothing varies around a difference that is not zero.
    """
    if len(differences) < 2:
        return Paired(statistic=np.nan, p=np.nan, smallest_p=0.0, exact=False)
    if np.ptp(differences) < 1e-13:
        p = 1.0 if abs(differences[0]) < 1e-13 else np.nan
        return Paired(statistic=np.nan, p=p, smallest_p=0.0, exact=False)
    found = stats.ttest_1samp(differences, 0.0)
    return Paired(statistic=float(found.statistic), p=float(found.pvalue), smallest_p=0.0, exact=False)


def signed_ranks(differences: Floats) -> Paired:
    """Return scipy's Wilcoxon signed-rank test of paired `differences` (pairs,), two-sided.

    Zeros are dropped, as Wilcoxon did; the statistic is the smaller sum of ranks. Exact to 16 pairs left, ties or
    not (every sign is visited); beyond that scipy's choice: exact without ties to 50 pairs, else the normal
    approximation with its tie correction.
    """
    left = differences[differences != 0]
    if len(left) == 0:
        return Paired(statistic=0.0, p=1.0, smallest_p=1.0, exact=True)
    if len(left) <= 16:
        every = stats.PermutationMethod(n_resamples=2 ** len(left))
        found = stats.wilcoxon(left, method=every if _tied(left) else "exact")
    else:
        found = stats.wilcoxon(left, correction=False, method="auto")
    exact = len(left) <= 16 or (len(left) <= 50 and not _tied(left))
    smallest = min(1.0, 2.0 ** (1 - len(left))) if exact else 0.0
    return Paired(statistic=float(found.statistic), p=float(found.pvalue), smallest_p=smallest, exact=exact)


def _tied(differences: Floats) -> bool:
    return len(np.unique(np.abs(differences))) < len(differences)


def attainable_size(pairs: int, level: float) -> float:
    """Return the largest p of an exact sign-flip test over `pairs` untied differences that is at most `level`.

    Its p-values are multiples of 2 / 2**pairs, so that this is its true rate of false alarms at `level`; 0 if even the
    smallest lies above.
    """
    step = 2.0 ** (1 - pairs)
    return float(np.floor(level / step + 1e-12) * step)


def smallest_p_over_seeds(pairs: int) -> float:
    """Return the smallest two-sided p of an exact paired test over `pairs` seeds: 2 / 2**pairs."""
    return min(1.0, 2.0 ** (1 - pairs))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted over one family by Holm's step-down rule, in the order given.

    Sorted ascending, the k-th of m (from 0) is multiplied by m - k, made non-decreasing and cut at 1 (S.
    Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 1979). NaN stays NaN and
    still counts as a member: it was declared, and failing to compute it must not help the others.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(len(p), np.nan)
    highest = 0.0
    for rank, index in enumerate(np.argsort(p, kind="stable")):
        if np.isnan(p[index]):
            break
        highest = max(highest, min(1.0, (len(p) - rank) * float(p[index])))
        adjusted[index] = highest
    return [float(value) for value in adjusted]


def reachable(smallest_p: float, family: int, level: float) -> bool:
    """Return whether a test whose p is at least `smallest_p` can pass Holm's first threshold, level /
    family.
    """
    return smallest_p <= level / family
