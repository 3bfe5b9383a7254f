"""Do the statistics keep their word? Coverage, false alarms, equivalence and power on drawn studies with known truth.

Every share carries a Monte Carlo error; a limit has twice that error taken off. The figures are counts of outcomes from
fixed seeds, so that they are the same on every machine.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench import metrics
from bench.benchmark.measure import Row
from bench.benchmark.simulation import CLASSES, Scenario, draw, to_units, truth, truth_given, values_of
from bench.seeds import seed_for
from bench.stats import bootstrap, intervals
from bench.stats.intervals import Floats
from bench.stats.power import power_of_t, spread_of
from bench.stats.tests import attainable_size, flip_differences, flip_units
from bench.stats.verdicts import REPRODUCED, judge

LEVEL = 0.05
PRESENT = {14: (1.0, 1.0, 1.0, 0.9, 0.5), 400: (1.0, 1.0, 0.9, 0.6, 0.06)}
"""Share of units that hold each class: tiles hold most of them, frames lack the rare one."""
REGIMES = {
    "seeds dominate": {14: (0.7, 0.4, 0.3), 400: (0.25, 0.5, 0.4)},
    "balanced": {14: (0.35, 0.7, 0.5), 400: (0.1, 0.8, 0.5)},
    "units dominate": {14: (0.03, 1.0, 0.5), 400: (0.01, 1.0, 0.5)},
}
"""Standard deviations of seeds, units and the rest in logits, by number of units."""
BATCH = 30_000
"""Seeds times samples drawn at once: bounds the memory."""


def scenario(units: int, seeds: int, regime: str) -> Scenario:
    """Return the drawn study of a regime."""
    seed, unit, residual = REGIMES[regime][units]
    return Scenario(seeds=seeds, units=units, seed=seed, unit=unit, residual=residual, present=PRESENT[units])


def batches(s: Scenario, repetitions: int, role: str, most: int = BATCH) -> Iterator[tuple[Floats, Floats]]:
    """Yield drawn totals and effects of the pre-trainings, a batch at a time, from one generator a role."""
    generator = np.random.default_rng(seed_for("calibration", role))
    size = max(1, most // (s.seeds * s.units * s.samples))
    for start in range(0, repetitions, size):
        yield draw(s, min(size, repetitions - start), generator)


def gains(s: Scenario, repetitions: int, role: str, metric: str = "mIoU") -> Floats:
    """Return the gain's values [repetition, seed, unit] of drawn studies."""
    found = [values_of(to_units(totals, s.samples), metric) for totals, _ in batches(s, repetitions, role)]
    values = np.concatenate(found)
    return values[:, 0] - values[:, 1]


def ends(values: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return middle and half width of the default interval of each repetition."""
    parts = intervals.crossed_components(values)
    half: Floats = stats.t.ppf(1 - level / 2, parts.df) * np.sqrt(parts.total)
    return parts.estimate, half


def seeds_alone(values: Floats) -> tuple[Floats, Floats]:
    """Return middle and half width of t over the seeds' scores: the spread that papers report."""
    means, seeds = values.mean(axis=-1), values.shape[-2]
    half = stats.t.ppf(1 - LEVEL / 2, seeds - 1) * means.std(axis=-1, ddof=1) / np.sqrt(seeds)
    return means.mean(axis=-1), half


def units_alone(values: Floats) -> tuple[Floats, Floats]:
    """Return middle and half width of the normal interval over units, seeds averaged."""
    means, units = values.mean(axis=-2), values.shape[-1]
    half = stats.norm.ppf(1 - LEVEL / 2) * means.std(axis=-1, ddof=1) / np.sqrt(units)
    return means.mean(axis=-1), half


METHODS: dict[str, Callable[[Floats], tuple[Floats, Floats]]] = {
    "default": ends,
    "t over seeds": seeds_alone,
    "normal over units": units_alone,
}


def monte_carlo(share: float, repetitions: int) -> float:
    """Return the standard error of a share counted over so many repetitions."""
    return float(np.sqrt(share * (1 - share) / repetitions))


def coverage_rows(repetitions: int, resampled: int) -> list[Row]:
    """Return coverage and width by units, seeds and regime: the default, what the field uses, both bootstraps."""
    rows = []
    for units in PRESENT:
        for regime in REGIMES:
            for seeds in (3, 6, 10):
                s = scenario(units, seeds, regime)
                place = f"{units} units, {seeds} seeds, {regime}"
                treatment, baseline = truth(s)
                values = gains(s, repetitions, place)
                parts = intervals.crossed_components(values)
                noise = float(np.mean(parts.residual))
                between = float(np.mean(parts.seed)) - noise, float(np.mean(parts.unit))
                share = f"{100 * between[0] / sum(between):.0f} % of the variance between seeds"
                for name, method in METHODS.items():
                    middle, half = method(values)
                    hit = np.abs(middle - (treatment - baseline)) <= half
                    rows += _covered(place, name, hit, 2 * half, share, regime)
                rows += _bootstrapped(s, place, treatment - baseline, resampled)
    return rows


def _covered(
    place: str, name: str, hit: NDArray[Any], width: Floats, note: str, regime: str = ""
) -> list[Row]:
    covered = float(hit.mean())
    note = f"{note}; mean width {100 * float(np.mean(width)):.2f} points; {hit.size} repetitions"
    what = f"covers: {name}; {place}"
    if name != "default":
        return [Row(what=what, value=covered, unit="share", note=note)]
    rows = [
        Row(
            what=what,
            value=covered,
            unit="share",
            limit=f"at least {0.93 - 2 * monte_carlo(0.93, hit.size):.3f}",
            note=note,
        )
    ]
    if "dominate" in regime:
        limit = f"at most {0.97 + 2 * monte_carlo(0.97, hit.size):.3f}"
        rows.append(Row(what=f"not too wide: {name}; {place}", value=covered, unit="share", limit=limit))
    return rows


def _bootstrapped(s: Scenario, place: str, true: float, repetitions: int) -> list[Row]:
    generator = np.random.default_rng(seed_for("calibration", "bootstrap", place))
    found: dict[str, list[tuple[bool, float]]] = {"percentile": [], "BCa": []}
    for batch, _ in batches(s, repetitions, f"{place}, resampled"):
        values = values_of(batch)
        for totals, value in zip(batch, values[:, 0] - values[:, 1], strict=True):
            of_seeds, of_units = bootstrap.bootstrap_weights(s.seeds, s.units, 1000, generator)
            arms = [bootstrap.resampled_scores(arm, of_units, _score) for arm in totals]
            drawn, estimate = arms[0] - arms[1], float(value.mean())
            for name, given in (("percentile", None), ("BCa", value)):
                one = bootstrap.bootstrap_interval(estimate, drawn, of_seeds, LEVEL, values=given)
                found[name].append((one.low <= true <= one.high, one.high - one.low))
    rows = []
    for name, outcomes in found.items():
        hit, width = (np.array(part) for part in zip(*outcomes, strict=True))
        rows += _covered(place, f"two-level bootstrap, {name}", hit, width, "1,000 resamples")
    return rows


def _score(totals: Floats) -> Floats:
    return metrics.value_of(totals, "mIoU", CLASSES)


def further_rows(repetitions: int) -> list[Row]:
    """Return coverage of other scores, of equal units, of correlated samples and of nested designs."""
    rows = []
    for units in PRESENT:
        s = scenario(units, 3, "balanced")
        for metric in ("mF1", "OA", "IoU/rare", "F1/car"):
            true = np.subtract(*truth(s, metric))
            values = gains(s, repetitions, f"{metric} {units}", metric)
            # Where the class occurs nowhere there is no score and no interval.
            values = values[np.isfinite(values).all(axis=(1, 2))]
            middle, half = ends(values)
            place = f"gain in {metric}; {units} units, 3 seeds, balanced"
            rows += _covered(place, "default", np.abs(middle - true) <= half, 2 * half, "another score")
        arm = np.concatenate(
            [values_of(totals)[:, 0] for totals, _ in batches(s, repetitions, f"one arm {units}")]
        )
        middle, half = ends(arm)
        hit = np.abs(middle - truth(s)[0]) <= half
        rows += _covered(
            f"value of one arm; {units} units, 3 seeds, balanced", "default", hit, 2 * half, "mIoU"
        )
    equal = replace(scenario(14, 3, "units dominate"), sizes=0.0, present=(1.0, 1.0, 1.0, 0.9, 0.9))
    middle, half = ends(gains(equal, repetitions, "equal"))
    hit = np.abs(middle - np.subtract(*truth(equal))) <= half
    rows += _covered("14 units of equal size, 3 seeds, units dominate", "default", hit, 2 * half, "mIoU")
    rows += _correlated(repetitions)
    return rows + _nested(repetitions)


def _correlated(repetitions: int) -> list[Row]:
    """Samples of one source are alike: intervals over sources cover, intervals over samples do not."""
    s = Scenario(seeds=3, units=20, samples=10, seed=0.03, unit=1.0, residual=0.5, sizes=0.5)
    true = np.subtract(*truth(s))
    rows = []
    for name, samples, words in (("default", s.samples, "sources"), ("default on samples", 1, "samples")):
        found = []
        for totals, _ in batches(s, repetitions, "correlated"):
            values = values_of(to_units(totals, samples))
            middle, half = ends(values[:, 0] - values[:, 1])
            found.append(np.stack([np.abs(middle - true) <= half, 2 * half]))
        hit, width = np.concatenate(found, axis=1)
        place = f"20 sources of 10 samples, 3 seeds, the unit is one of {words}"
        rows += _covered(place, name, hit, width, "samples of a source share its effect")
    return rows


def _nested(repetitions: int) -> list[Row]:
    """One pre-training: its weights are covered, the method is not; several: their averages cover the method."""
    one = Scenario(
        seeds=3, units=100, seed=0.1, unit=0.8, residual=0.5, sizes=0.5, pretrainings=1, pretraining=0.25
    )
    method = np.subtract(*truth(one))
    these, general, widths = [], [], []
    for totals, first in batches(one, repetitions, "nested"):
        values = values_of(totals)
        middle, half = ends(values[:, 0] - values[:, 1])
        these.append(np.abs(middle - truth_given(one, first)) <= half)
        general.append(np.abs(middle - method) <= half)
        widths.append(2 * half)
    width = np.concatenate(widths)
    place = "one pre-training, 3 fine-tunings, 100 units"
    rows = _covered(
        f"{place}, these weights", "default", np.concatenate(these), width, "what the verdict says"
    )
    note = "what it does not say"
    rows += _covered(f"{place}, the method", "default taken for more", np.concatenate(general), width, note)
    four = replace(one, seeds=8, pretrainings=4)
    found = []
    for totals, _ in batches(four, repetitions, "nested, four"):
        values = values_of(totals)
        gain = values[:, 0] - values[:, 1]
        middle, half = ends(gain.reshape(len(gain), 4, 2, -1).mean(axis=2))
        found.append(np.stack([np.abs(middle - method) <= half, 2 * half]))
    hit, width = np.concatenate(found, axis=1)
    place = "4 pre-trainings, 2 fine-tunings each, averaged, 100 units, the method"
    return rows + _covered(place, "default", hit, width, "grouped by pre-training")


def false_alarm_rows(repetitions: int, simulated: int) -> list[Row]:
    """Return how often each test finds a difference where, for the question it names, there is none."""
    rows = []
    for units in PRESENT:
        for regime in REGIMES:
            for seeds in (3, 6):
                s = replace(scenario(units, seeds, regime), gain=0.0)
                middle, half = ends(gains(s, repetitions, f"null {units} {regime} {seeds}"))
                rows += _alarms(
                    f"crossed t, the method; {units} units, {seeds} seeds, {regime}", np.abs(middle) > half
                )
    generator = np.random.default_rng(seed_for("calibration", "sign-flip"))
    # Trained models that do not differ: predictions of both arms may be exchanged within any unit.
    same = replace(scenario(14, 3, "units dominate"), seed=0.0, gain=0.0)
    for resamples, words, exact in ((999, "drawn signs", False), (2**14, "every sign", True)):
        number = simulated if not exact else simulated // 4
        p = []
        for batch, _ in batches(same, number, f"models {words}"):
            for totals in batch:
                p.append(flip_units(totals[0], totals[1], _score, generator, resamples).p)
        rows += _alarms(
            f"sign-flip over units, these trained models; 14 units, {words}", np.array(p) <= LEVEL
        )
    # The method on these units: both arms share the units' effects, and seeds alone make them differ.
    given = replace(scenario(14, 6, "seeds dominate"), gain=0.0, unit=0.0, residual=0.0, shared=1.0)
    for seeds in (6, 10):
        means = gains(replace(given, seeds=seeds), repetitions, f"on these units {seeds}").mean(axis=-1)
        rows += _alarms(
            f"paired t over seeds, on these units; {seeds} seeds",
            np.asarray(stats.ttest_1samp(means, 0, axis=1).pvalue) <= LEVEL,
        )
        flips = [flip_differences(one, generator, 2**seeds).p <= LEVEL for one in means[:simulated]]
        rows += _alarms(
            f"sign-flip over seeds, exact; {seeds} seeds", np.array(flips), attainable_size(seeds, LEVEL)
        )
    return rows


def _alarms(what: str, alarms: NDArray[Any], exact: float | None = None) -> list[Row]:
    rate, error = float(alarms.mean()), monte_carlo(LEVEL, alarms.size)
    if exact is not None:
        off = abs(rate - exact)
        note = f"rate {rate:.4f}, attainable {exact:.4f}; {alarms.size} repetitions"
        return [
            Row(
                what=f"off its attainable size: {what}",
                value=off,
                unit="share",
                limit=f"at most {2.5 * monte_carlo(exact, alarms.size):.4f}",
                note=note,
            )
        ]
    note = f"{alarms.size} repetitions"
    off = 0.01 + 2 * error
    most, least = f"at most {LEVEL + off:.3f}", f"at least {LEVEL - off:.3f}"
    return [
        Row(what=f"false alarms: {what}", value=rate, unit="share", limit=most, note=note),
        Row(what=f"not too few: {what}", value=rate, unit="share", limit=least),
    ]


def decision_rows(repetitions: int) -> list[Row]:
    """Return how often equivalence is claimed at its edge, and whether power is as forecast."""
    rows = []
    for units in PRESENT:
        for regime in REGIMES:
            s = scenario(units, 3, regime)
            true = float(np.subtract(*truth(s)))
            values = gains(s, repetitions, f"decide {units} {regime}")
            middle, half = ends(values, 2 * LEVEL)
            # The widest case for a mistake: a margin of four standard errors, the truth on its edge.
            margin = 4 * float(middle.std())
            found = [
                judge("gain", _interval(m, h), true - margin, true - margin, margin)[0] == REPRODUCED
                for m, h in zip(middle, half, strict=True)
            ]
            place = f"{units} units, 3 seeds, {regime}"
            limit = f"at most {LEVEL + 2 * monte_carlo(LEVEL, len(found)):.3f}"
            rows.append(
                Row(
                    what=f"reproduced, wrongly, at the margin; {place}",
                    value=float(np.mean(found)),
                    unit="share",
                    limit=limit,
                )
            )
            for seeds in (3, 6):
                rows.append(
                    _power(replace(s, seeds=seeds), f"{units} units, {seeds} seeds, {regime}", repetitions)
                )
    return rows


def _interval(middle: float, half: float) -> intervals.Interval:
    return intervals.Interval(estimate=middle, low=middle - half, high=middle + half, df=np.nan, method="")


def _power(s: Scenario, place: str, repetitions: int) -> Row:
    """Compare how often a true gain is found with what `bench power` says, given the spread as it is on average."""
    values = gains(s, repetitions, f"power {place}")
    true = float(np.subtract(*truth(s)))
    middle, half = ends(values)
    found = float((np.abs(middle) > half).mean())
    spreads = [spread_of(one) for one in values[:400]]
    average = replace(
        spreads[0],
        between_seeds=float(np.mean([one.between_seeds for one in spreads])),
        between_units=float(np.mean([one.between_units for one in spreads])),
        residual=float(np.mean([one.residual for one in spreads])),
    )
    said = power_of_t(true, average, LEVEL)
    note = f"found in {found:.3f}, forecast {said:.3f}"
    return Row(
        what=f"power off its forecast; {place}",
        value=abs(found - said),
        unit="share",
        limit="at most 0.1",
        note=note,
    )


def measure() -> list[Row]:
    """Return every figure; a few minutes on one core."""
    rows = coverage_rows(2000, 150)
    rows += further_rows(1500)
    rows += false_alarm_rows(2000, 1200)
    return rows + decision_rows(1000)
