"""Drawn studies on which the statistics are tried: confusion counts of two arms with known true scores.

Real ratios, no linear stand-in. A unit has a size (heavy-tailed unless equal) and a share of each of five classes, the
rarest of which most units may lack; a class is hit with a logistic probability in which arm, seed, unit and what is
left (seed and unit together) are normal effects, half common to all classes and half of a class's own; what is missed
falls on the other classes. The truth is the score over endless units, averaged over endless seeds: unit effects are
integrated by Gauss and Hermite, seed effects by a Sobol sequence.

Axes: `totals[repetition, arm, seed, unit, 3, class]`, arm 0 the treatment.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from bench import metrics
from bench.stats.intervals import Floats

CLASSES = ("ground", "building", "tree", "car", "rare")
SHARES = np.array([0.55, 0.25, 0.14, 0.05, 0.01])
LOGITS = np.array([3.0, 2.0, 1.5, 1.0, 0.5])
"""Logit of a class's recall without any effect."""
_SPILL = np.tile(np.sqrt(SHARES), (5, 1)) * (1 - np.eye(5))
SPILL = _SPILL / _SPILL.sum(axis=1, keepdims=True)
"""Where missed pixels of a class fall: [target, prediction]."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What a drawn study is like; standard deviations in logits."""

    seeds: int
    units: int
    seed: float
    unit: float
    residual: float
    gain: float = 0.2
    """Treatment minus baseline in logits."""
    present: tuple[float, ...] = (1.0, 1.0, 0.9, 0.6, 0.06)
    """Share of units that hold a class."""
    sizes: float = 1.0
    """Standard deviation of the logarithm of a unit's size; 0: all equal."""
    samples: int = 1
    """Samples in a unit, which share its effect."""
    pretrainings: int | None = None
    """Nested designs: the seeds are spread over so many pre-trainings, each with an effect of its own."""
    pretraining: float = 0.0
    """Standard deviation of that effect."""
    shared: float = 0.5
    """Share of the unit effect's variance that both arms have in common."""


def draw(scenario: Scenario, repetitions: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Return totals [repetition, arm, seed, sample, 3, class] and the effects of the last pre-training.

    The samples of a unit stand beside each other. The effects are [repetition, arm, 1, class], in logits.
    """
    s, normal, classes = scenario, generator.normal, len(CLASSES)
    samples, own = s.units * s.samples, np.sqrt(0.5)
    target = _pixels(s, (repetitions, samples), generator)[:, None, None]

    def effect(*shape: int) -> Floats:
        """Return a standard normal effect, half common to all classes, half of each class's own."""
        found: Floats = own * (normal(size=(*shape, 1)) + normal(size=(*shape, classes)))
        return found

    of_seed = s.seed * effect(repetitions, 2, s.seeds, 1)
    first = np.zeros((repetitions, 2, 1, classes))
    if s.pretrainings is not None:
        of_each = s.pretraining * effect(repetitions, 2, s.pretrainings, 1)
        of_seed = of_seed + np.repeat(of_each, s.seeds // s.pretrainings, axis=2)
        first = of_each[:, :, -1]
    common, apart = np.sqrt(s.shared), np.sqrt(1 - s.shared)
    of_unit = s.unit * (
        common * effect(repetitions, 1, 1, s.units) + apart * effect(repetitions, 2, 1, s.units)
    )
    logit = LOGITS + of_seed + np.repeat(of_unit, s.samples, axis=3)
    logit = logit + s.residual * normal(size=(repetitions, 2, s.seeds, samples, classes))
    logit[:, 0] += s.gain
    hits = np.rint(target * expit(logit))
    missed = target - hits
    predicted = hits + np.rint(missed @ SPILL)
    return np.stack([hits, np.broadcast_to(target, hits.shape), predicted], axis=-2), first


def to_units(totals: Floats, samples: int) -> Floats:
    """Sum the samples of each unit: [..., unit * sample, 3, class] to [..., unit, 3, class]."""
    *lead, number, sums, classes = totals.shape
    found: Floats = totals.reshape(*lead, number // samples, samples, sums, classes).sum(axis=-3)
    return found


def _pixels(s: Scenario, shape: tuple[int, ...], generator: np.random.Generator) -> Floats:
    """Return target pixels by class (*shape, class)."""
    shares = _shares(s, shape, generator)
    sizes = 1e4 * np.exp(s.sizes * generator.normal(size=shape))
    found: Floats = np.rint(sizes[..., None] * shares)
    return found


def _shares(s: Scenario, shape: tuple[int, ...], generator: np.random.Generator) -> Floats:
    present = np.array(s.present)
    amount = generator.gamma(2.0, 0.5, (*shape, len(present))) * SHARES / present
    amount *= generator.random((*shape, len(present))) < present
    found: Floats = amount / amount.sum(axis=-1, keepdims=True)
    return found


def truth(scenario: Scenario, metric: str = "mIoU", points: int = 4096) -> tuple[float, float]:
    """Return the true score of treatment and baseline: the mean over endless seeds of the score on endless units."""
    s = scenario
    drawn = stats.norm.ppf(stats.qmc.Sobol(len(CLASSES) + 1, rng=1).random(points))
    spread = np.hypot(s.seed, s.pretraining)
    effects = spread * np.sqrt(0.5) * (drawn[:, :1] + drawn[:, 1:])
    treatment, baseline = (float(_scores(s, effects + gain, metric).mean()) for gain in (s.gain, 0.0))
    return treatment, baseline


def truth_given(scenario: Scenario, first: Floats, metric: str = "mIoU", points: int = 128) -> Floats:
    """Return the true gain [repetition] of one pre-training's weights, whose effects are `first`: endless fine-tunings
    of them.
    """
    s = scenario
    drawn = stats.norm.ppf(stats.qmc.Sobol(len(CLASSES) + 1, rng=1).random(points))
    effects = s.seed * np.sqrt(0.5) * (drawn[:, :1] + drawn[:, 1:])
    arms = [
        _scores(s, first[:, arm] + effects + gain, metric).mean(axis=-1)
        for arm, gain in ((0, s.gain), (1, 0.0))
    ]
    found: Floats = arms[0] - arms[1]
    return found


def _scores(s: Scenario, effects: Floats, metric: str) -> Floats:
    """Return the score over endless units (...) at logit effects (..., class)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    spread = np.hypot(s.unit, s.residual)
    target = _shares(s, (200_000,), np.random.default_rng(0)).mean(axis=0)
    recall = (expit((LOGITS + effects)[..., None] + spread * nodes) * (weights / weights.sum())).sum(axis=-1)
    hits = target * recall
    predicted = hits + (target - hits) @ SPILL
    totals = np.stack([hits, np.broadcast_to(target, hits.shape), predicted], axis=-2)
    return metrics.value_of(totals, metric, CLASSES)


def values_of(totals: Floats | NDArray[np.int64], metric: str = "mIoU") -> Floats:
    """Return score plus jackknife influence [repetition, arm, seed, unit]."""
    score: Floats = metrics.value_of(totals.sum(axis=-3), metric, CLASSES)
    influence: Floats = metrics.influence_of(totals, metric, CLASSES, leave_one_out=True)
    found: Floats = score[..., None] + influence
    return found
