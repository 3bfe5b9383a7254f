"""The bootstrap against scipy's, and what its resamples share."""

import numpy as np
import pytest
from scipy import stats

from bench import metrics
from bench.stats import bootstrap
from bench.stats.bootstrap import acceleration, bca_shares, bootstrap_interval, bootstrap_weights
from bench.stats.panels import Panel, Sums, interval_of


def test_bca_of_a_ratio_agrees_with_scipys() -> None:
    # Units of unequal size and a skewed share of hits: a ratio of sums, which scipy resamples in pairs.
    generator = np.random.default_rng(2)
    pixels = np.rint(np.exp(generator.normal(5, 1, 15)))
    hits = np.rint(pixels * generator.beta(6, 1, 15))
    totals = np.stack([hits, pixels], axis=-1)[None]

    def ratio(sums: np.ndarray) -> np.ndarray:
        return (sums[..., 0] / sums[..., 1])[..., None]

    measure = Sums(totals=totals, groups=(0,), parts=ratio)
    found = interval_of([(1.0, measure)], 0.05, 9999, np.random.default_rng(0))
    oracle = stats.bootstrap(
        (hits, pixels), lambda h, p, axis: h.sum(axis) / p.sum(axis), paired=True, vectorized=True, method="BCa", rng=1
    )  # fmt: skip
    low, high = oracle.confidence_interval
    width = high - low
    assert (found.bca.low, found.bca.high) == pytest.approx((low, high), abs=0.03 * width)
    # The correction is there: the percentile interval lies elsewhere by more than that.
    assert abs(found.percentile.low - found.bca.low) > 0.05 * width
    assert found.bca.method == "bootstrap over units (one trained model), BCa"


def test_acceleration_is_the_third_over_the_second_moment_of_both_samples() -> None:
    # Seeds' means 1, 2, 6 (around 3: -2, -1, 3), each a third; units' means 3, 3: nothing.
    values = np.array([[1.0, 1.0], [2.0, 2.0], [6.0, 6.0]])
    second, third = (4 + 1 + 9) / 9, (-8 - 1 + 27) / 27
    assert acceleration(values) == pytest.approx(third / second**1.5 / 6)
    assert acceleration(np.ones((2, 3))) == 0


def test_without_bias_and_skewness_bca_is_the_percentile_interval() -> None:
    drawn = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert bca_shares(np.array([0.05, 0.95]), 0.0, drawn, 0.0) == pytest.approx([0.05, 0.95])
    # All on one side: no bias can be told.
    assert bca_shares(np.array([0.05, 0.95]), 9.0, drawn, 0.1) == pytest.approx([0.05, 0.95])


def test_all_arms_share_the_weights_of_seeds_and_units() -> None:
    generator = np.random.default_rng(5)
    totals = metrics.class_totals(generator.integers(0, 1000, (2, 7, 3, 3)))
    arm = Panel(totals=totals, groups=(0, 1), metric="mIoU", classes=("a", "b", "c"), leave_out=())
    found = interval_of([(1.0, arm), (-1.0, arm)], 0.05, 300, np.random.default_rng(0))
    # The same arm twice differs by nothing in every resample, which independent weights would not give.
    assert (found.percentile.low, found.percentile.high, found.default.high) == (0, 0, 0)


def test_weights_are_counts_of_draws_with_replacement() -> None:
    of_seeds, of_units = bootstrap_weights(3, 5, 1201, np.random.default_rng(0))
    assert of_seeds.shape == (1201, 3) and of_units.shape == (1201, 5)
    assert (of_units.sum(axis=1) == 5).all() and (of_seeds.sum(axis=1) == 3).all()
    # Multinomial: mean 1, variance 1 - 1/5; a mean over 6005 cells has a standard error near 0.012.
    assert of_units.var() == pytest.approx(0.8, abs=0.05)


def test_the_number_of_rows_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    totals = metrics.class_totals(np.random.default_rng(5).integers(0, 1000, (2, 7, 3, 3)))

    def score(drawn: np.ndarray) -> np.ndarray:
        return metrics.value_of(drawn, "mF1", ("a", "b", "c"))

    of_units = bootstrap_weights(2, 7, 50, np.random.default_rng(0))[1]
    whole = bootstrap.resampled_scores(totals, of_units, score)
    assert np.array_equal(whole, bootstrap.resampled_scores(totals, of_units, score, rows=7))


def test_resamples_without_a_score_are_left_out() -> None:
    per_seed = np.array([[1.0], [np.nan], [3.0]])
    found = bootstrap_interval(2.0, per_seed, np.ones((3, 1)), 0.5)
    assert (found.low, found.high) == (1.5, 2.5)
    none = bootstrap_interval(2.0, np.full((3, 1), np.nan), np.ones((3, 1)), 0.5)
    assert np.isnan([none.low, none.high]).all()
