"""Effect sizes by hand and by scipy."""

import numpy as np
import pytest
from scipy import stats

from bench.stats.effects import effect_of, small_sample


def test_effect_sizes_worked_by_hand() -> None:
    # Gains 1, 2, 3: mean 2, SD 1. Arms 3, 5, 7 (variance 4) and 2, 3, 4 (variance 1): pooled SD sqrt(2.5).
    found = effect_of(np.array([3.0, 5.0, 7.0]), np.array([2.0, 3.0, 4.0]))
    assert found.paired_d == pytest.approx(2)
    # Hedges' correction for 2 degrees of freedom: gamma(1) / (sqrt(1) gamma(1/2)) = 1 / sqrt(pi).
    assert found.hedges_g == pytest.approx(2 / np.sqrt(np.pi))
    assert found.standardised == pytest.approx(2 / np.sqrt(2.5))
    # 3 beats 2 and ties 3; 5 and 7 beat all: (1 + 0.5 + 3 + 3) / 9.
    assert found.improvement == pytest.approx(7.5 / 9)


def test_the_correction_is_hedges_approximation_for_many_pairs() -> None:
    assert small_sample(40) == pytest.approx(1 - 3 / (4 * 40 - 1), abs=1e-4)


def test_improvement_is_mann_and_whitneys_u_over_the_pairs_of_seeds() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.integers(0, 6, (2, 9)).astype(float)
    u = stats.mannwhitneyu(first, second).statistic
    assert effect_of(first, second).improvement == pytest.approx(u / 81)


def test_one_seed_or_none_that_varies_gives_no_size() -> None:
    one = effect_of(np.array([0.5]), np.array([0.4]))
    assert np.isnan([one.paired_d, one.hedges_g, one.standardised]).all() and one.improvement == 1
    same = effect_of(np.full(3, 0.3), np.full(3, 0.1))
    assert np.isnan([same.paired_d, same.standardised]).all()
    two = effect_of(np.array([0.5, 0.7]), np.array([0.4, 0.5]))
    assert np.isnan(two.hedges_g) and np.isfinite(two.paired_d)
    with pytest.raises(ValueError, match="expected pairs"):
        effect_of(np.zeros(2), np.zeros(3))
