"""Forecasts against scipy, brute force and simulation."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy import stats

from bench.stats.forecast import EQUIVALENCE, GAIN, forecast_rows, forecast_text
from bench.stats.power import (
    Spread,
    detectable,
    power_of_equivalence,
    power_of_t,
    seeds_needed,
    spread_of,
    units_needed,
)
from bench.stats.verdicts import Claim
from bench.study.schema import Comparison

SEEDS_ONLY = Spread(between_seeds=4.0, between_units=0.0, residual=0.0, seeds=5, units=20)


def _draw(spread: Spread, number: int, generator: np.random.Generator) -> np.ndarray:
    shape = (number, spread.seeds, spread.units)
    of_seeds = np.sqrt(spread.between_seeds) * generator.normal(size=(number, spread.seeds, 1))
    of_units = np.sqrt(spread.between_units) * generator.normal(size=(number, 1, spread.units))
    return of_seeds + of_units + np.sqrt(spread.residual) * generator.normal(size=shape)


def test_where_seeds_alone_vary_power_is_that_of_the_t_test() -> None:
    # Standard error 2 / sqrt(5), 4 degrees of freedom; simulated with scipy's own test.
    drawn = 2 * np.random.default_rng(0).normal(size=(40_000, 5)) + 3
    found = np.mean(stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05)
    assert power_of_t(3.0, SEEDS_ONLY, 0.05) == pytest.approx(found, abs=0.01)
    assert power_of_t(0.0, SEEDS_ONLY, 0.05) == pytest.approx(0.05, abs=1e-6)


def test_power_of_equivalence_is_that_of_two_t_tests() -> None:
    drawn = 2 * np.random.default_rng(1).normal(size=(40_000, 5)) + 0.5
    inside = [
        stats.ttest_1samp(drawn, edge, axis=1, alternative=side).pvalue < 0.05
        for edge, side in ((-4.0, "greater"), (4.0, "less"))
    ]
    found = np.mean(inside[0] & inside[1])
    assert power_of_equivalence(4.0, SEEDS_ONLY, 0.05, off=0.5) == pytest.approx(found, abs=0.01)
    # At the edge it is the test's size or less.
    assert power_of_equivalence(4.0, SEEDS_ONLY, 0.05, off=4.0) <= 0.05 + 1e-3


def test_the_spread_is_recovered_from_values() -> None:
    true = Spread(between_seeds=1.0, between_units=9.0, residual=4.0, seeds=30, units=400)
    found = spread_of(_draw(true, 1, np.random.default_rng(2))[0])
    # Standard errors: sqrt(2/29) = 26 %, sqrt(2/399) = 7 %, below 2 %.
    assert found.between_seeds == pytest.approx(1.0, rel=0.6)
    assert found.between_units == pytest.approx(9.0, rel=0.2)
    assert found.residual == pytest.approx(4.0, rel=0.05)


def test_what_is_detectable_is_found_with_the_probability_asked_for() -> None:
    spread = Spread(between_seeds=0.3, between_units=6.0, residual=4.0, seeds=4, units=50)
    gain = detectable(spread, 0.05)
    assert power_of_t(gain, spread, 0.05) == pytest.approx(0.8, abs=1e-4)
    assert np.isnan(detectable(replace(spread, seeds=1), 0.05))


def test_the_fewest_seeds_and_units_are_found_by_brute_force() -> None:
    spread = Spread(between_seeds=1.0, between_units=20.0, residual=8.0, seeds=3, units=100)
    power = partial(power_of_t, 1.5, level=0.05)
    brute = [n for n in range(2, 60) if power(replace(spread, seeds=n)) >= 0.8]
    assert seeds_needed(power, spread) == brute[0] > 3
    easier = partial(power_of_t, 4.0, level=0.05)
    brute = [n for n in range(2, 200) if easier(replace(spread, seeds=8, units=n)) >= 0.8]
    assert units_needed(easier, replace(spread, seeds=8)) == brute[0]


def test_no_number_of_seeds_helps_where_the_units_are_the_limit() -> None:
    # Endless seeds leave sqrt(20 / 100) = 0.45; a gain of 0.3 is out of reach.
    spread = Spread(between_seeds=1.0, between_units=20.0, residual=8.0, seeds=3, units=100)
    assert seeds_needed(partial(power_of_t, 0.3, level=0.05), spread) is None


def _row(values: np.ndarray) -> dict[str, object]:
    names = dict.fromkeys(
        ["dataset", "backbone", "treatment", "baseline", "pixels", "classes", "question"], "x"
    )
    seeds, units = values.shape
    return names | {
        "metric": "mIoU",
        "estimate": float(values.mean()),
        "seeds": seeds,
        "units": units,
        "_values": values,
    }


def _claim(low: float, high: float) -> Claim:
    texts = dict.fromkeys(["claim", "backbone", "arm", "averaging", "source", "reading"], "x")
    return Claim(**texts, dataset="x", baseline="rgb", metric="mIoU", low=low, high=high, kind="gain")


def test_a_contrast_is_forecast_against_nothing_and_against_the_papers_gain() -> None:
    values = 0.02 + 0.01 * np.random.default_rng(0).normal(size=(3, 40))
    comparison = Comparison(treatment="csp", primary="rgb", margin=0.005)
    gain, same = forecast_rows([_row(values)], [_claim(0.008, 0.016)], comparison)
    assert (gain["claim"], gain["assumed"]) == (GAIN, 0.008)
    # Half the paper's range and the margin.
    assert (same["claim"], same["half_width"]) == (EQUIVALENCE, pytest.approx(0.009))
    assert gain["power"] == power_of_t(0.008, spread_of(values), 0.05)
    (only,) = forecast_rows([_row(values)], [], comparison)
    assert only["assumed"] == pytest.approx(values.mean()) and "observed" in only["statement"]
    assert forecast_rows([_row(values[:1])], [], comparison) == []
    text = forecast_text([gain, same])
    assert len(text.splitlines()) == 3 and "gain over 0 (at +0.80)" in text
