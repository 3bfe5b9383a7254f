"""More than two arms: average ranks over blocks, Friedman's test and Nemenyi's comparisons of every pair.

A block is a dataset and backbone on which every ranked arm ran; its scores are the means over the repetitions. Two
backbones on one dataset share its test units, so that blocks are not quite independent: the tests say how steady
an order is over datasets and backbones, and each block's own difference is tested elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from bench.stats.intervals import Floats


@dataclass(frozen=True, kw_only=True)
class Friedman:
    """Friedman's chi-square with its p, and the p of the F of Iman and Davenport, which is less conservative."""

    statistic: float
    p: float
    p_iman_davenport: float


def block_ranks(scores: Floats) -> Floats:
    """Return the ranks of the arms within each block, 1 the best, ties averaged; `scores` (blocks, arms)."""
    ranks: Floats = stats.rankdata(-scores, axis=1, method="average")
    return ranks


def friedman(scores: Floats) -> Friedman:
    """Test whether every arm has the same expected rank; `scores` (blocks, arms), at least 2 x 3.

    M. Friedman (JASA 1937) by scipy, corrected for ties; R. L. Iman and J. M. Davenport (Comm. Statist. 1980): F = (n -
    1) Q / (n (k - 1) - Q) on k - 1 and (k - 1)(n - 1) degrees of freedom. Where all arms tie in every block
    nothing can be told and p is 1.
    """
    blocks, arms = scores.shape
    if (np.ptp(block_ranks(scores), axis=1) == 0).all():
        return Friedman(statistic=0.0, p=1.0, p_iman_davenport=1.0)
    found = stats.friedmanchisquare(*scores.T)
    statistic, most = float(found.statistic), blocks * (arms - 1)
    if most - statistic < 1e-9:
        p_f = 0.0
    else:
        ratio = (blocks - 1) * statistic / (most - statistic)
        p_f = float(stats.f.sf(ratio, arms - 1, (arms - 1) * (blocks - 1)))
    return Friedman(statistic=statistic, p=float(found.pvalue), p_iman_davenport=p_f)


def rank_error(blocks: int, arms: int) -> float:
    """Return the standard error of a difference of two average ranks, over the square root of 2 (as q counts it)."""
    return float(np.sqrt(arms * (arms + 1) / (12 * blocks)))


@cache
def nemenyi_p(difference: float, blocks: int, arms: int) -> float:
    """Return the p of a difference of two average ranks, corrected for all pairs of arms.

    P. Nemenyi (1963): the studentised range of `arms` normal variables, as J. Demsar uses it (Statistical
    comparisons of classifiers over multiple data sets, JMLR 2006).
    """
    return float(stats.studentized_range.sf(abs(difference) / rank_error(blocks, arms), arms, np.inf))


def critical_difference(blocks: int, arms: int, level: float) -> float:
    """Return the difference of average ranks from which Nemenyi's p lies below `level`."""
    return float(stats.studentized_range.ppf(1 - level, arms, np.inf)) * rank_error(blocks, arms)


def rank_rows(
    blocks: Mapping[str, Mapping[str, float]], level: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of ranks.csv and posthoc.csv from block -> arm -> score; none below three arms or two blocks.

    Ranks need a score of each arm in each block. Where a study leaves an arm out on some dataset, either the arm or
    those blocks are left out, whichever keeps more scores, and the statement names them.
    """
    arms, used = _table(blocks)
    if len(arms) < 3 or len(used) < 2:
        return [], []
    scores = np.array([[blocks[block][arm] for arm in arms] for block in used])
    ranks = block_ranks(scores)
    mean, test = ranks.mean(axis=0), friedman(scores)
    least = critical_difference(len(used), len(arms), level)
    shared = {"blocks": len(used), "level": level, "critical_difference": least}
    gone = [f"without {', '.join(names)}" for names in (_left(blocks, arms), _skipped(blocks, used)) if names]
    statement = "; ".join([f"over {', '.join(used)}", *gone])
    rows = [
        shared
        | {
            "arm": arm,
            "average_rank": float(mean[i]),
            "best_in": int((ranks[:, i] == ranks.min(axis=1)).sum()),
            "arms": len(arms),
            "friedman": test.statistic,
            "p_friedman": test.p,
            "p_iman_davenport": test.p_iman_davenport,
            "statement": statement,
        }
        for i, arm in enumerate(arms)
    ]
    pairs = []
    for (i, first), (j, second) in combinations(enumerate(arms), 2):
        difference = float(mean[i] - mean[j])
        # Rounded, since equal differences of average ranks are many, and each p costs an integral.
        p = nemenyi_p(round(abs(difference), 12), len(used), len(arms))
        pairs.append(
            shared | {"first": first, "second": second, "rank_difference": difference, "p_nemenyi": p}
        )
    return rows, pairs


def _table(blocks: Mapping[str, Mapping[str, float]]) -> tuple[list[str], list[str]]:
    """Return the arms and the blocks that hold a score for each of them, with as many scores as there can be."""
    every = sorted({arm for scores in blocks.values() for arm in scores})
    held = {arm: {block for block in blocks if np.isfinite(blocks[block].get(arm, np.nan))} for arm in every}
    choices = []
    for size in sorted({len(found) for found in held.values()}):
        arms = [arm for arm in every if len(held[arm]) >= size]
        common = sorted(set.intersection(*(held[arm] for arm in arms)))
        if len(arms) >= 3 and len(common) >= 2:
            choices.append((len(arms) * len(common), arms, common))
    return max(choices, key=lambda choice: choice[0])[1:] if choices else ([], [])


def _left(blocks: Mapping[str, Mapping[str, float]], arms: Sequence[str]) -> list[str]:
    return sorted({arm for scores in blocks.values() for arm in scores} - set(arms))


def _skipped(blocks: Mapping[str, Mapping[str, float]], used: Sequence[str]) -> list[str]:
    return sorted(set(blocks) - set(used))
