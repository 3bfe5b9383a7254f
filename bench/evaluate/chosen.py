"""Which scenes are shown as pictures: by a rule over counts, not by eye.

Predictions are kept of candidates, before anything is known of them: all scenes of a small split, else evenly spaced
ones. Of these the figures show the scene where the treatment gains most over the baseline, the one where it loses
most, and the median between them. The gain of a scene is the difference of the headline metric of its own counts, over
the classes it has, of the networks that are shown: the first repetition of each arm.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.metrics import class_totals, value_of
from bench.study.recipes import Evaluation

EXAMPLE_SIDE = 512
"""Of a larger sample the middle is shown, so many pixels a side."""
EXAMPLES = 3
"""Scenes that are shown."""
ALL = 64
"""A split of so many scenes is kept whole."""
CANDIDATES = 24
"""Of a larger split so many are kept."""
ROLES = ("largest gain", "median", "largest loss")


def candidates(samples: Sequence[str]) -> list[str]:
    """Return the scenes of a split whose predictions are kept."""
    return list(samples) if len(samples) <= ALL else _spaced(samples, CANDIDATES)


def chosen(
    samples: Sequence[str],
    kept: Sequence[str],
    counts: Mapping[str, NDArray[np.int64]],
    contrast: tuple[str, str] | None,
    classes: Sequence[str],
    settings: Evaluation,
) -> tuple[list[str], dict[str, Any]]:
    """Return the scenes to be shown, and by which rule, as the record says it.

    `counts`: of each arm's first repetition [scene, C, C] by the primary pixel rule, scenes as in `samples`;
    `contrast`: treatment and baseline. Without both arms, or if no scene has a score under both, scenes are evenly
    spaced.
    """
    gains: dict[str, float] = {}
    if contrast is not None and all(arm in counts for arm in contrast):
        left_out = tuple(list(classes).index(name) for name in settings.leave_out)
        places = [list(samples).index(name) for name in kept]
        of_arm = [
            value_of(class_totals(counts[arm][places]), settings.metric, tuple(classes), left_out)
            for arm in contrast
        ]
        gains = {
            name: float(gain)
            for name, gain in zip(kept, of_arm[0] - of_arm[1], strict=True)
            if np.isfinite(gain)
        }
    if not gains:
        names = _spaced(kept, EXAMPLES)
        return names, {"rule": "evenly spaced in the split", "scenes": dict.fromkeys(names, "")}
    assert contrast is not None
    # Ties stand in the order of the split.
    order = sorted(gains, key=lambda name: -gains[name])
    roles = dict(zip(ROLES, (order[0], order[len(order) // 2], order[-1]), strict=True))
    scenes = {name: role for role, name in reversed(list(roles.items()))}
    names = [name for name in order if name in scenes]
    spaced = f"{len(gains)} of {len(samples)} scenes, evenly spaced in the split"
    return names, {
        "rule": "largest gain, median and largest loss of the treatment over the baseline on a scene",
        "candidates": "all scenes of the split" if len(gains) == len(samples) else spaced,
        "treatment": contrast[0],
        "baseline": contrast[1],
        "metric": settings.metric,
        "pixels": settings.primary,
        "scenes": {name: scenes[name] for name in names},
        "gains": {name: gains[name] for name in names},
    }


def shown_part(shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of a sample that pictures show: the middle, EXAMPLE_SIDE pixels at most."""
    starts = [max(0, (length - EXAMPLE_SIDE) // 2) for length in shape]
    rows, columns = (slice(s, min(s + EXAMPLE_SIDE, n)) for s, n in zip(starts, shape, strict=True))
    return rows, columns


def _spaced(names: Sequence[str], count: int) -> list[str]:
    return [names[i] for i in np.linspace(0, len(names) - 1, min(count, len(names))).astype(int)]
