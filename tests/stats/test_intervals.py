"""Intervals cover what they claim to cover, and reduce to known cases."""

import numpy as np
import pytest
from scipy import stats

from bench import metrics
from bench.stats import bootstrap, intervals
from bench.stats.bootstrap import bootstrap_interval, bootstrap_weights, resampled_scores
from bench.stats.intervals import crossed_components, t_interval


def test_components_of_a_two_by_two_table_are_those_derived_by_hand() -> None:
    # rows 1, 5 (mean 3): v_seed = 8 / 2 = 4; columns 2, 4: v_unit = 2 / 2 = 1; additive but for the corner:
    # residuals +-0: 0 2 / 4 6 is row + column exactly, so v_res = 0 and v = 4 + 1 = 5.
    found = crossed_components(np.array([[0.0, 2.0], [4.0, 6.0]]))
    assert (found.estimate, found.seed, found.unit, found.residual, found.total) == (3, 4, 1, 0, 5)
    # Shares 4/5 and 1/5, one degree of freedom each: 1 / df = 0.8 / 1 + 0.2 / 1.
    assert found.df == pytest.approx(1)
    interval = t_interval(np.array([[0.0, 2.0], [4.0, 6.0]]), 0.05)
    half = stats.t.ppf(0.975, 1) * np.sqrt(5)
    assert (interval.low, interval.high) == pytest.approx((3 - half, 3 + half))


def test_residual_variance_is_counted_once() -> None:
    # Rows 1, 5.5: v_seed = 10.125 / 2; columns 2, 4.5: v_unit = 3.125 / 2; each residual is +-0.25, so that
    # v_res = 4 * 0.0625 / 1 / 4, which is inside both of the others and taken off once.
    found = crossed_components(np.array([[0.0, 2.0], [4.0, 7.0]]))
    assert (found.seed, found.unit, found.residual) == (5.0625, 1.5625, 0.0625)
    assert found.total == 5.0625 + 1.5625 - 0.0625
    # Pure interaction: rows and columns are 0, so v_seed = v_unit = 0; the maximum keeps v from going below.
    found = crossed_components(np.array([[1.0, -1.0], [-1.0, 1.0]]))
    assert (found.seed, found.unit, found.total) == (0, 0, 0)
    assert found.residual == pytest.approx(1.0)


def test_without_unit_variance_the_interval_is_the_paired_t_over_seeds() -> None:
    per_seed = np.array([0.1, 0.4, 0.2, 0.25])
    values = np.repeat(per_seed[:, None], 6, axis=1)
    found = t_interval(values, 0.05)
    expected = stats.ttest_rel(per_seed, np.zeros(4)).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.df == pytest.approx(3)


def test_without_seed_variance_the_interval_is_the_t_over_units() -> None:
    per_unit = np.array([0.1, 0.4, 0.2, 0.25, -0.1])
    found = t_interval(np.repeat(per_unit[None], 3, axis=0), 0.1)
    expected = stats.ttest_1samp(per_unit, 0).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("shape", "method"),
    [
        ((3, 4), intervals.CROSSED),
        ((3, 1), intervals.SEEDS_ONLY),
        ((1, 4), intervals.UNITS_ONLY),
        ((1, 1), intervals.NONE),
    ],
)
def test_the_method_is_the_one_the_design_allows_and_is_named(shape: tuple[int, int], method: str) -> None:
    found = t_interval(np.random.default_rng(0).normal(size=shape), 0.05)
    assert found.method == method
    assert np.isnan(found.low) == (shape == (1, 1))


def test_undefined_values_are_refused_rather_than_averaged() -> None:
    with pytest.raises(ValueError, match="NaN"):
        t_interval(np.array([[0.0, np.nan]]), 0.05)


@pytest.mark.parametrize(
    ("seeds", "units", "spread"),
    [(3, 60, (1.0, 2.0, 2.0)), (3, 60, (0.05, 6.0, 4.0)), (6, 14, (0.5, 2.0, 1.0))],
    ids=["seeds dominate", "units dominate", "few units"],
)
def test_crossed_interval_covers_the_true_difference(
    seeds: int, units: int, spread: tuple[float, float, float]
) -> None:
    generator = np.random.default_rng(11)
    repetitions, true = 600, 0.7
    covered = 0
    for _ in range(repetitions):
        values = (
            true
            + spread[0] * generator.normal(size=(seeds, 1))
            + spread[1] * generator.normal(size=(1, units))
            + spread[2] * generator.normal(size=(seeds, units))
        )
        found = t_interval(values, 0.05)
        covered += found.low <= true <= found.high
    # Nominal 0.95; at least 0.93 less three standard errors of a share over 600 repetitions (0.027).
    assert 0.903 <= covered / repetitions <= 0.995


def test_t_over_seeds_alone_would_not_pass_the_coverage_test() -> None:
    generator = np.random.default_rng(11)
    covered = 0
    for _ in range(300):
        values = 6 * generator.normal(size=(1, 60)) + 4 * generator.normal(size=(3, 60))
        found = t_interval(values.mean(axis=1)[:, None], 0.05)
        covered += found.low <= 0 <= found.high
    assert covered / 300 < 0.85


def _score(totals: np.ndarray) -> np.ndarray:
    return metrics.value_of(totals, "mIoU", ("a", "b", "c"))


def test_resampled_scores_equal_the_loop_over_resamples_bit_for_bit() -> None:
    generator = np.random.default_rng(5)
    totals = metrics.class_totals(generator.integers(0, 1000, (2, 7, 3, 3)))
    of_seeds, of_units = bootstrap_weights(2, 7, 40, generator)
    found = resampled_scores(totals, of_units, _score, rows=16)
    for resample in range(40):
        for seed in range(2):
            drawn = np.repeat(np.arange(7), of_units[resample].astype(int))
            expected = _score(sum(totals[seed, unit] for unit in drawn))
            assert found[resample, seed] == expected
    assert (of_seeds.sum(axis=1) == 2).all() and (of_units.sum(axis=1) == 7).all()


def test_bootstrap_of_one_seed_resamples_units_alone_and_says_so() -> None:
    per_seed = np.arange(100, dtype=np.float64)[:, None]
    found = bootstrap_interval(49.5, per_seed, np.ones((100, 1)), 0.1)
    assert found.method == f"{bootstrap.BOOTSTRAP_UNITS}, percentile"
    assert (found.low, found.high) == pytest.approx((4.95, 94.05))


def test_bootstrap_percentiles_agree_with_scipy_in_spread() -> None:
    generator = np.random.default_rng(2)
    hits = generator.integers(20, 80, 30)
    counts = np.zeros((1, 30, 2, 2), dtype=np.int64)
    counts[0, :, 0, 0], counts[0, :, 0, 1] = hits, 100 - hits
    totals = metrics.class_totals(counts)
    of_seeds, of_units = bootstrap_weights(1, 30, 4000, np.random.default_rng(0))

    def accuracy(drawn: np.ndarray) -> np.ndarray:
        return metrics.value_of(drawn, "OA", ("a", "b"))

    found = bootstrap_interval(0.5, resampled_scores(totals, of_units, accuracy), of_seeds, 0.05)
    oracle = stats.bootstrap((hits / 100,), np.mean, n_resamples=4000, method="percentile", rng=1)
    assert found.low == pytest.approx(oracle.confidence_interval.low, abs=0.006)
    assert found.high == pytest.approx(oracle.confidence_interval.high, abs=0.006)


def test_bootstrap_weights_follow_the_generator_and_nothing_else() -> None:
    np.random.seed(1)
    first = bootstrap_weights(3, 5, 10, np.random.default_rng(4))
    np.random.seed(2)
    second = bootstrap_weights(3, 5, 10, np.random.default_rng(4))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
