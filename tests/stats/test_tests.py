"""Tests of a difference against brute force, scipy and examples worked by hand."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from bench import metrics
from bench.stats import tests as paired


def test_crossed_t_without_unit_variance_is_scipys_paired_t_test() -> None:
    first, second = np.array([0.5, 0.7, 0.6, 0.9]), np.array([0.4, 0.5, 0.55, 0.6])
    values = np.repeat((first - second)[:, None], 5, axis=1)
    assert paired.t_test(values) == pytest.approx(stats.ttest_rel(first, second).pvalue)


def test_equal_arms_give_p_one_and_a_constant_difference_gives_no_p() -> None:
    assert paired.t_test(np.zeros((2, 3))) == 1
    assert np.isnan(paired.t_test(np.full((2, 3), 0.25)))
    # A tenth and its rounding error are one constant, not overwhelming evidence.
    assert np.isnan(paired.t_test(np.array([[0.1, 0.1, 0.3 - 0.2], [0.1, 0.3 - 0.2, 0.1]])))


def test_sign_flip_visits_every_sign_once_when_it_can() -> None:
    differences = np.array([0.3, -0.1, 0.25, 0.4, 0.05])
    observed = abs(differences.mean())
    extreme = [abs(np.dot(s, differences) / 5) >= observed - 1e-12 for s in product((1, -1), repeat=5)]
    found = paired.flip_differences(differences, np.random.default_rng(0), 100)
    assert found.exact
    assert found.p == sum(extreme) / 32
    assert found.smallest_p == 2 / 32


@pytest.mark.parametrize("pairs", [2, 3, 5, 6])
def test_all_differences_of_one_sign_reach_the_smallest_p(pairs: int) -> None:
    found = paired.flip_differences(np.arange(1.0, pairs + 1), np.random.default_rng(0), 1000)
    assert found.p == found.smallest_p == paired.smallest_p_over_seeds(pairs) == 2 / 2**pairs


def test_drawn_signs_agree_with_scipys_permutation_test() -> None:
    differences = np.random.default_rng(8).normal(0.4, 1, 25)
    found = paired.flip_differences(differences, np.random.default_rng(0), 4000)
    oracle = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=4000, rng=np.random.default_rng(1)
    )
    assert not found.exact
    assert found.smallest_p == 1 / 4001
    # Both are Monte Carlo with standard error below 0.008.
    assert found.p == pytest.approx(oracle.pvalue, abs=0.03)


def test_a_drawn_p_is_never_zero() -> None:
    found = paired.flip_differences(np.full(30, 1.0), np.random.default_rng(0), 200)
    assert found.p == 1 / 201


def test_false_alarms_of_the_exact_test_stay_below_the_level() -> None:
    generator = np.random.default_rng(3)
    p = [paired.flip_differences(generator.normal(size=7), generator, 128).p for _ in range(500)]
    # The attainable size at 0.05 is 6 / 128 = 0.047; three standard errors over 500 are 0.028.
    assert np.mean(np.array(p) <= 0.05) <= 0.047 + 0.028


def test_exchanging_units_recomputes_the_score_from_exchanged_counts() -> None:
    generator = np.random.default_rng(6)
    first, second = (metrics.class_totals(generator.integers(0, 30, (2, 4, 3, 3))) for _ in range(2))

    def score(totals: np.ndarray) -> np.ndarray:
        return metrics.value_of(totals, "mIoU", ("a", "b", "c"))

    def difference(swap: tuple[int, ...]) -> float:
        a, b = first.copy(), second.copy()
        for unit, swapped in enumerate(swap):
            if swapped:
                a[:, unit], b[:, unit] = second[:, unit], first[:, unit]
        return float((score(a.sum(axis=1)) - score(b.sum(axis=1))).mean())

    observed = abs(difference((0, 0, 0, 0)))
    extreme = [abs(difference(swap)) >= observed - 1e-12 for swap in product((0, 1), repeat=4)]
    found = paired.flip_units(first, second, score, np.random.default_rng(0), 100)
    assert found.p == sum(extreme) / 16


def test_holm_steps_down_as_worked_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 = 0.04, 0.06, 0.06, 0.04, made non-decreasing.
    assert paired.holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_holm_cuts_at_one_and_keeps_the_untestable_as_a_member() -> None:
    adjusted = paired.holm([0.6, np.nan, 0.02])
    assert adjusted[0] == 1 and np.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.06)


def test_three_seeds_cannot_reach_five_per_cent_with_an_exact_test() -> None:
    assert not paired.reachable(paired.smallest_p_over_seeds(3), 1, 0.05)
    assert paired.reachable(paired.smallest_p_over_seeds(6), 1, 0.05)
    assert not paired.reachable(paired.smallest_p_over_seeds(6), 2, 0.05)


def test_the_paired_t_is_scipys_and_says_nothing_where_nothing_varies() -> None:
    first, second = np.array([0.5, 0.7, 0.6, 0.9]), np.array([0.4, 0.5, 0.55, 0.6])
    found = paired.paired_t(first - second)
    oracle = stats.ttest_rel(first, second)
    assert (found.statistic, found.p) == pytest.approx((oracle.statistic, oracle.pvalue))
    assert paired.paired_t(np.zeros(3)).p == 1
    assert np.isnan(paired.paired_t(np.full(3, 0.1)).p) and np.isnan(paired.paired_t(np.ones(1)).p)


@pytest.mark.parametrize(
    "differences",
    [[0.3, -0.1, 0.25, 0.4, 0.05], [0.2, 0.2, -0.1, 0.4], [0.3, 0.0, 0.1, 0.2]],
    ids=["untied", "tied", "zero"],
)
def test_signed_ranks_are_exact_with_few_pairs_ties_or_not(differences: list[float]) -> None:
    left = np.array([d for d in differences if d])
    ranks = stats.rankdata(np.abs(left))
    sums = [
        sum(r for r, s in zip(ranks, signs, strict=True) if s > 0)
        for signs in product((1, -1), repeat=len(left))
    ]
    middle = ranks.sum() / 2
    observed = abs(sum(ranks[left > 0]) - middle)
    found = paired.signed_ranks(np.array(differences))
    assert found.p == pytest.approx(np.mean([abs(s - middle) >= observed - 1e-12 for s in sums]))
    assert found.exact and found.smallest_p == 2 / 2 ** len(left)


def test_signed_ranks_of_many_pairs_are_scipys() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1, 30)
    found = paired.signed_ranks(differences)
    oracle = stats.wilcoxon(differences)
    assert (found.statistic, found.p) == pytest.approx((oracle.statistic, oracle.pvalue))
    assert paired.signed_ranks(np.zeros(4)).p == 1


def test_the_attainable_size_is_the_largest_multiple_of_the_smallest_p() -> None:
    # 2/64 = 0.031 at 6 pairs; 1/512 at 10 pairs: 25 of them; none at 5.
    assert paired.attainable_size(6, 0.05) == 2 / 64
    assert paired.attainable_size(10, 0.05) == 25 / 512
    assert paired.attainable_size(5, 0.05) == 0
    assert paired.attainable_size(2, 0.5) == 0.5
