"""Photometric distortion of the red, green and blue planes of a crop; the other planes are left alone.

The published transform (mmsegmentation's PhotoMetricDistortion) works on 8-bit pictures and cuts every
intermediate result to 8 bits; so does this one, step by step. Hue, saturation and value are OpenCV's 8-bit ones:
hue in 0..179 (two degrees a step), saturation and value in 0..255. Axes: RGB planes are [3, ...].
"""

import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError

Planes_3X = NDArray[np.uint8]
Draw = random.Random

HUES = 180
"""Steps of the circle of hues."""
BLOCK = 1 << 15
"""Pixels worked on at a time, so that intermediate planes stay in the cache."""
BITS = 12
HALF = 1 << (BITS - 1)
"""Hue is rounded in whole numbers of 1 / 2**12, halves up."""


def _rounded(values: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.rint(np.where(np.isfinite(values), values, 0)).astype(np.int32)


with np.errstate(divide="ignore"):
    PER_SPREAD = _rounded((HUES << BITS) / (6.0 * np.arange(256)))
    _per_value = _rounded((255 << BITS) / np.arange(256.0))
SATURATION = ((np.arange(256) * _per_value[:, None] + HALF) >> BITS).clip(0, 255).astype(np.float32)
"""Saturation [value, spread], 0..255."""


def rgb_planes(channels: Sequence[Mapping[str, str]]) -> list[int]:
    """Return where red, green and blue are. Raises BenchError unless all three are 8-bit channels."""
    places = {channel["name"]: place for place, channel in enumerate(channels) if channel["dtype"] == "uint8"}
    if missing := {"red", "green", "blue"} - places.keys():
        raise BenchError(
            f"photometric distortion needs 8-bit channels red, green and blue; missing: "
            f"{', '.join(sorted(missing))}; set photometric: false in the recipe of this dataset"
        )
    return [places[name] for name in ("red", "green", "blue")]


def distort_colours(image_CHW: NDArray[np.float32], planes: Sequence[int], draw: Draw) -> None:
    """Distort brightness, contrast, saturation and hue of the three 8-bit `planes` of a crop, in place.

    In this order, each with probability 1/2: brightness + U(-32, 32); contrast times U(0.5, 1.5), now or at the
    end, which is drawn too; saturation times U(0.5, 1.5); hue + one of -18 .. 17 steps of 180. The planes are
    rounded to 8 bits first, as a picture resized in 8 bits is.
    """
    planes = list(planes)
    before, after = list[Callable[[Planes_3X], Planes_3X]](), list[Callable[[Planes_3X], Planes_3X]]()
    if draw.random() < 0.5:
        before.append(_by_table(1.0, draw.uniform(-32, 32)))
    contrast_first = draw.random() < 0.5
    contrast = _by_table(draw.uniform(0.5, 1.5), 0.0) if draw.random() < 0.5 else None
    saturation = draw.uniform(0.5, 1.5) if draw.random() < 0.5 else None
    hue = draw.randint(-18, 17) if draw.random() < 0.5 else None
    if contrast is not None:
        (before if contrast_first else after).append(contrast)
    if saturation is not None:
        before.append(TurnColours(saturation=saturation))
    if hue is not None:
        before.append(TurnColours(hue=hue))
    if not (steps := before + after):
        return
    flat = image_CHW.reshape(len(image_CHW), -1)
    for first in range(0, flat.shape[1], BLOCK):
        part = slice(first, first + BLOCK)
        rgb = np.rint(flat[planes, part]).clip(0, 255).astype(np.uint8)
        for step in steps:
            rgb = step(rgb)
        flat[planes, part] = rgb


def _by_table(factor: float, shift: float) -> Callable[[Planes_3X], Planes_3X]:
    """Return the map of each 8-bit value v to factor * v + shift, clipped and cut to 8 bits."""
    values = np.arange(256, dtype=np.float32) * np.float32(factor) + np.float32(shift)
    table = values.clip(0, 255).astype(np.uint8)
    return lambda rgb: table[rgb]


class TurnColours:
    """Multiply the saturation of colours and move their hue by steps of two degrees.

    Through hue, saturation and value of 8 bits each, rounded on the way there and cut on the way back as OpenCV
    does.
    """

    def __init__(self, *, saturation: float = 1.0, hue: int = 0) -> None:
        cut = (
            np.floor((SATURATION * np.float32(saturation)).clip(0, 255)) if saturation != 1.0 else SATURATION
        )
        self.chroma = (cut * np.arange(256, dtype=np.float32)[:, None] / np.float32(255)).reshape(-1)
        # Around the circle each of the three stays at value, falls by the chroma and rises again.
        circle = (np.arange(HUES) + hue) % HUES / (HUES / 6)
        places = (circle + np.array([[5], [3], [1]])) % 6
        self.falls = np.minimum(places, 4 - places).clip(0, 1).astype(np.float32)

    def __call__(self, rgb_3X: Planes_3X) -> Planes_3X:
        """Return the turned colours of uint8 planes, red, green and blue on the first axis."""
        red, green, blue = rgb_3X
        value = np.maximum(np.maximum(red, green), blue)
        spread = value - np.minimum(np.minimum(red, green), blue)
        # Where between two of red, green and blue a colour lies, from the strongest on, in units of its spread.
        r, g, b, wide = (plane.astype(np.int16) for plane in (red, green, blue, spread))
        beside = np.where(value == green, b - r + 2 * wide, r - g + 4 * wide)
        beside = np.where(value == red, g - b, beside)
        hue = (beside * PER_SPREAD.take(spread) + HALF) >> BITS
        hue += HUES * (hue < 0)
        chroma = self.chroma.take((value.astype(np.uint16) << 8) | spread)
        turned = np.empty_like(rgb_3X)
        for plane, falls in enumerate(self.falls):
            fall = falls.take(hue)
            fall *= chroma
            turned[plane] = value - fall
        return turned
