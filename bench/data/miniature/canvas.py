"""What the miniature's pictures are drawn on: one canvas of colour, label, height and heat, and what sees it.

A canvas holds the world (what is where, how high, how warm); a sensor turns it into 8-bit pictures with its own
level, gain and drift, drawn afresh for every picture. So one value of one channel says little, while contrast
with the surroundings says much.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from bench.data.miniature.shapes import SHAPES
from bench.data.miniature.textures import TEXTURES, Field, smooth_noise

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Colour = NDArray[np.float32]
FAINT = 0.5
"""Contrast of grounds, on which objects stand out."""


@dataclass(frozen=True)
class Canvas:
    """The world under the sensors; arrays share (height, width) and are drawn on in place."""

    colour_HWC: Field
    """Reflectance in red, green, blue, about 0 to 1."""
    tone_HW: Field
    """The grey texture under the colour."""
    label_HW: Bytes
    height_HW: Field
    """Metres above the ground."""
    heat_HW: Field
    """Warmth above the surroundings, 1 for a person."""
    living_HW: Field
    """Share of living leaves, which reflect the near infrared."""
    taken_HW: Mask
    """Where an object stands already."""


def any_colour(generator: np.random.Generator) -> Colour:
    """Return any colour, all hues alike: three reflectances in [0.2, 0.9]."""
    return generator.uniform(0.2, 0.9, 3).astype(np.float32)


def vivid_colour(generator: np.random.Generator) -> Colour:
    """Return any bright colour, all hues alike: three reflectances, the largest in [0.6, 0.95]."""
    colour = generator.uniform(0.1, 1.0, 3)
    return np.asarray(colour / colour.max() * generator.uniform(0.6, 0.95), np.float32)


def dull_colour(generator: np.random.Generator, tinge: float = 0.1) -> Colour:
    """Return the colour of some ground: a grey in [0.2, 0.5] with a tinge of any hue."""
    return (generator.uniform(0.2, 0.5) + generator.uniform(-tinge, tinge, 3)).astype(np.float32)


def blank(generator: np.random.Generator, shape: tuple[int, int], texture: str, colour: Colour) -> Canvas:
    """Return a canvas of class 0 wholly covered by one texture in one colour."""
    empty = np.zeros(shape, np.float32)
    canvas = Canvas(
        colour_HWC=np.zeros((*shape, 3), np.float32),
        tone_HW=empty.copy(),
        label_HW=np.zeros(shape, np.uint8),
        height_HW=empty.copy(),
        heat_HW=0.12 * smooth_noise(generator, shape, 6.0),
        living_HW=empty.copy(),
        taken_HW=np.zeros(shape, np.bool_),
    )
    cover(generator, canvas, np.ones(shape, np.bool_), texture, colour, contrast=FAINT)
    return canvas


def cover(
    generator: np.random.Generator, canvas: Canvas, mask: Mask, texture: str, colour: Colour, *,
    label: int | None = None, height: float = 0.0, living: float = 0.0, contrast: float = 1.0,
) -> None:  # fmt: skip
    """Lay a texture in one colour over the masked ground; crowns and rubble (height > 0) bulge by their texture.

    `contrast` scales the texture's departure from an even surface.
    """
    tone = 1 + contrast * (TEXTURES[texture](generator, canvas.label_HW.shape) - 1)
    _lay(canvas, (slice(None), slice(None)), mask, tone, colour, label)
    canvas.height_HW[mask] = height * (0.6 + 0.4 * tone[mask])
    canvas.living_HW[mask] = living


def stamp(
    canvas: Canvas, shape: str, centre: tuple[float, float], half: float, angle: float, colour: Colour, *,
    label: int | None = None, height: float = 0.0, heat: float = 0.0,
) -> None:  # fmt: skip
    """Draw one object: `centre` as (row, column), `half` its half length in pixels, `angle` in radians."""
    window, rows, columns = _window(canvas, centre, half * 1.25)
    cosine, sine = np.cos(angle) / half, np.sin(angle) / half
    u = (columns * cosine + rows * sine).astype(np.float32)
    v = (rows * cosine - columns * sine).astype(np.float32)
    mask, tone = SHAPES[shape](u, v)
    _lay(canvas, window, mask, tone, colour, label)
    canvas.height_HW[window][mask] = height
    canvas.heat_HW[window][mask] = heat * (0.85 + 0.3 * v[mask])
    canvas.living_HW[window][mask] = 0.0
    canvas.taken_HW[window] |= mask


def free_place(
    generator: np.random.Generator, canvas: Canvas, half: float, within: Mask | None = None
) -> tuple[float, float] | None:
    """Return a (row, column) round which `half` pixels are free (and whose centre is `within`), or None."""
    rows, columns = canvas.label_HW.shape
    edge = min(half * 0.9, rows / 2 - 1, columns / 2 - 1)
    for _ in range(40):
        centre = generator.uniform(edge, rows - edge), generator.uniform(edge, columns - edge)
        window, y, x = _window(canvas, centre, half)
        fits = within is None or within[int(centre[0]), int(centre[1])]
        if fits and not (canvas.taken_HW[window] & (np.hypot(y, x) < half)).any():
            return centre
    return None


def blob(
    generator: np.random.Generator, shape: tuple[int, int], centre: tuple[float, float], radius: float
) -> Mask:
    """Return a round region with a wavering outline."""
    y, x = np.indices(shape, dtype=np.float32)
    waver = 0.18 * radius * smooth_noise(generator, shape, max(radius / 2.5, 1.0))
    mask: Mask = np.hypot(y - centre[0], x - centre[1]) + waver < radius
    return mask


def photograph(generator: np.random.Generator, canvas: Canvas, gain: float = 1.0) -> Bytes:
    """Return the RGB picture: reflectance times light that drifts over the scene, blur, noise; uint8 (H, W, 3)."""
    light = gain * (1 + 0.1 * drift(generator, canvas.label_HW.shape))
    seen = gaussian_filter(canvas.colour_HWC * light[:, :, None], (0.4, 0.4, 0))
    return digital(seen * 255 + generator.normal(0, 6, seen.shape))


def thermograph(generator: np.random.Generator, canvas: Canvas, level: float, gain: float) -> Field:
    """Return the thermal picture in digital numbers: level, gain times warmth, drift, noise; float32 (H, W)."""
    warmth = gaussian_filter(canvas.heat_HW + 0.08 * canvas.tone_HW, 0.6)
    field = level + gain * warmth + 18 * drift(generator, warmth.shape) + generator.normal(0, 3, warmth.shape)
    return np.asarray(field, np.float32)


def drift(generator: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Return a plane tilted in a random direction, between about -1 and 1."""
    y, x = np.indices(shape, dtype=np.float32)
    a, b = generator.uniform(-1, 1, 2)
    return np.asarray(a * (2 * y / shape[0] - 1) + b * (2 * x / shape[1] - 1), np.float32)


def digital(values: NDArray[np.floating]) -> Bytes:
    """Return values rounded and clipped to 0..255."""
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _window(
    canvas: Canvas, centre: tuple[float, float], reach: float
) -> tuple[tuple[slice, slice], NDArray[np.floating], NDArray[np.floating]]:
    """Return the slices of a square of pixels round `centre`, and their offsets from it in rows and columns."""
    spans: Sequence[tuple[int, int]] = [
        (max(0, int(middle - reach)), min(size, int(middle + reach) + 2))
        for middle, size in zip(centre, canvas.label_HW.shape, strict=True)
    ]
    (top, bottom), (left, right) = spans
    rows, columns = np.mgrid[top:bottom, left:right].astype(np.float32)
    return (slice(top, bottom), slice(left, right)), rows - centre[0], columns - centre[1]


def _lay(
    canvas: Canvas, window: tuple[slice, slice], mask: Mask, tone: Field, colour: Colour, label: int | None
) -> None:
    canvas.colour_HWC[window][mask] = np.clip(colour * tone[mask, None], 0, 1.2)
    canvas.tone_HW[window][mask] = tone[mask]
    if label is not None:
        canvas.label_HW[window][mask] = label
