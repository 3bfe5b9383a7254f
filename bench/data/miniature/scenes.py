"""The drawn target scenes: one function a dataset, from a generator to channels and labels.

Object colours are drawn at random, unlike those of the classification pictures: a network may lean on colour there
and gains nothing from it here, while shape and texture serve in both. Thermal and height follow the objects, under
a level and a gain that change from scene to scene.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.data.miniature.canvas import (
    FAINT,
    Bytes,
    Canvas,
    Colour,
    any_colour,
    blank,
    blob,
    cover,
    digital,
    drift,
    dull_colour,
    free_place,
    photograph,
    stamp,
    thermograph,
)  # fmt: skip
from bench.data.miniature.textures import Field, smooth_noise

GROUNDS = ("asphalt", "grass", "rock", "asphalt", "grass", "rock", "canopy", "ripples")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One drawn scene; planes that a dataset does not publish stay None. All arrays share (height, width)."""

    rgb_HWC: Bytes
    label_HW: Bytes
    thermal_HW: Field | None = None
    """Digital numbers before clipping."""
    infrared_HW: Bytes | None = None
    surface_HW: Field | None = None
    """Metres above the ellipsoid."""
    above_HW: Field | None = None
    """Metres above the ground."""
    depth_HW: Field | None = None
    """Metres from the camera."""


@dataclass(frozen=True)
class Kind:
    """One kind of object in a target: its label, shape, half length in pixels, and what else is known of it."""

    label: int
    shape: str
    half: tuple[float, float]
    turn: float = np.pi
    """Largest rotation either way, radians."""
    heat: tuple[float, float] = (-0.3, 0.4)


ISAID_KINDS = (
    Kind(1, "boat", (12, 16)),
    Kind(2, "tank", (9, 12)),
    Kind(4, "court", (13, 16)),
    Kind(8, "truck_from_above", (14, 18)),
    Kind(9, "car_from_above", (9, 11)),
    Kind(11, "pool", (10, 13)),
    Kind(12, "roundabout", (11, 14)),
    Kind(14, "plane", (14, 18)),
)

MFNET_KINDS = (
    Kind(1, "car_from_side", (14, 20), 0.0, (0.6, 1.1)),
    Kind(2, "person", (12, 16), 0.1, (0.8, 1.2)),
    Kind(3, "bike", (12, 15), 0.1),
    Kind(5, "car_stop", (11, 14), 0.1),
    Kind(7, "cone", (8, 11), 0.0),
    Kind(8, "bump", (20, 26), 0.0),
)
MFNET_CURVE, MFNET_GUARDRAIL = 4, Kind(6, "guardrail", (16, 20), 0.0)

PST900_KINDS = (
    Kind(1, "extinguisher", (14, 18), 0.6),
    Kind(2, "backpack", (13, 17), 0.5),
    Kind(3, "drill", (14, 18), 0.8),
    Kind(4, "person", (17, 22), np.pi, (0.7, 1.2)),
)

IMPERVIOUS, BUILDING, LOW_VEGETATION, TREE, CAR, CLUTTER = range(6)


def isaid_scene(generator: np.random.Generator, shape: tuple[int, int], wanted: Sequence[Kind]) -> Scene:
    """Return a scene seen from above, with one object of each wanted kind and others as there is room."""
    canvas = blank(generator, shape, _ground(generator), dull_colour(generator, 0.2))
    for _ in range(int(generator.integers(1, 3))):
        centre = generator.uniform(0, shape[0]), generator.uniform(0, shape[1])
        region = blob(generator, shape, centre, generator.uniform(0.2, 0.5) * max(shape))
        cover(generator, canvas, region, _ground(generator), dull_colour(generator, 0.2), contrast=FAINT)
    count = shape[0] * shape[1] // 800
    extra = [ISAID_KINDS[i] for i in generator.integers(0, len(ISAID_KINDS), count)]
    _furnish(generator, canvas, wanted, extra)
    return Scene(rgb_HWC=photograph(generator, canvas), label_HW=canvas.label_HW)


def mfnet_scene(
    generator: np.random.Generator, shape: tuple[int, int], wanted: Sequence[Kind], *, night: bool
) -> Scene:
    """Return a street scene with thermal: people and cars are warm, and so are a few things that are neither."""
    canvas = blank(generator, shape, "asphalt", dull_colour(generator, 0.2))
    y, x = np.indices(shape, dtype=np.float32)
    horizon = generator.uniform(0.25, 0.4) * shape[0]
    cover(generator, canvas, y < horizon, str(generator.choice(["bricks", "canopy"])), dull_colour(generator, 0.2),
          contrast=FAINT)  # fmt: skip
    foot, slope = generator.uniform(0.1, 0.9) * shape[1], generator.uniform(-0.8, 0.8)
    curb = (np.abs(x - foot - slope * (y - shape[0])) < 4.0) & (y >= horizon)
    cover(generator, canvas, curb, "curb", any_colour(generator), label=MFNET_CURVE)
    _warm_spots(generator, canvas)
    extra = [MFNET_KINDS[i] for i in generator.choice(6, 6, p=[0.2, 0.3, 0.15, 0.15, 0.15, 0.05])]
    _furnish(generator, canvas, wanted, extra)
    gain = generator.uniform(0.25, 0.45) if night else generator.uniform(0.7, 1.1)
    thermal = thermograph(generator, canvas, generator.uniform(60, 140), generator.uniform(35, 75))
    return Scene(rgb_HWC=photograph(generator, canvas, gain), label_HW=canvas.label_HW, thermal_HW=thermal)


def pst900_scene(
    generator: np.random.Generator,
    shape: tuple[int, int],
    wanted: Sequence[Kind],
    *,
    rock: Colour,
    level: float,
) -> Scene:
    """Return an underground scene: rock in lamp light, a tunnel's mouth, thermal and depth.

    `rock` and `level` (the thermal camera's) are those of the bag, shared by all its frames.
    """
    canvas = blank(generator, shape, "rock", rock)
    y, x = np.indices(shape, dtype=np.float32)
    middle = generator.uniform(0.3, 0.7) * shape[1]
    floor = y > generator.uniform(0.55, 0.7) * shape[0]
    cover(generator, canvas, floor, "asphalt", rock * generator.uniform(0.6, 1.3))
    mouth = blob(generator, shape, (0.45 * shape[0], middle), generator.uniform(0.15, 0.3) * shape[0])
    cover(generator, canvas, mouth, "asphalt", rock * 0.25)
    _warm_spots(generator, canvas)
    extra = [PST900_KINDS[i] for i in generator.integers(0, 4, 3)]
    _furnish(generator, canvas, wanted, extra)
    lamp = np.exp(
        -(((y / shape[0] - 0.6) ** 2 + ((x - middle) / shape[1]) ** 2) / generator.uniform(0.2, 0.5))
    )
    canvas.colour_HWC[:] *= (0.5 + 0.5 * lamp)[:, :, None]
    thermal = thermograph(generator, canvas, level + generator.normal(0, 12), generator.uniform(35, 75))
    depth = 3 + 14 * mouth - 0.03 * y + 0.4 * smooth_noise(generator, shape, 8.0) - 0.5 * canvas.taken_HW
    return Scene(
        rgb_HWC=photograph(generator, canvas, generator.uniform(0.7, 1.1)),
        label_HW=canvas.label_HW,
        thermal_HW=thermal,
        depth_HW=np.maximum(depth, 0.5).astype(np.float32),
    )


def potsdam_scene(generator: np.random.Generator, shape: tuple[int, int]) -> Scene:
    """Return a town from above with infrared and heights; every class is in every scene."""
    canvas = blank(generator, shape, "grass", any_colour(generator))
    canvas.label_HW[:] = LOW_VEGETATION
    canvas.living_HW[:] = 0.8
    y, x = np.indices(shape, dtype=np.float32)
    for across in (x, y):
        middle, slope = generator.uniform(0.2, 0.8) * shape[0], generator.uniform(-0.2, 0.2)
        road = np.abs(across - middle - slope * (y + x - across)) < generator.uniform(9, 13)
        cover(generator, canvas, road, "asphalt", any_colour(generator), label=IMPERVIOUS)
    road = canvas.label_HW == IMPERVIOUS
    # Cars first: the road is theirs, and no tile may lack them.
    for _ in range(7):
        half = generator.uniform(7, 9)
        if (centre := free_place(generator, canvas, half, road)) is not None:
            angle = generator.uniform(-np.pi, np.pi)
            stamp(canvas, "car_from_above", centre, half, angle, any_colour(generator), label=CAR, height=1.5)
    for _ in range(int(generator.integers(4, 7))):
        half = generator.uniform(10, 20)
        if (centre := free_place(generator, canvas, half, ~road)) is not None:
            angle = generator.uniform(-np.pi, np.pi)
            stamp(canvas, "roof", centre, half, angle, any_colour(generator), label=BUILDING,
                  height=generator.uniform(3, 8))  # fmt: skip
    for label, texture, count, height in ((CLUTTER, "rubble", 3, 1.5), (TREE, "canopy", 6, 5.0)):
        for _ in range(count):
            radius = generator.uniform(9, 14)
            if (centre := free_place(generator, canvas, radius, ~road)) is None:
                radius = 5.0
                centre = free_place(generator, canvas, radius)
            if centre is not None:
                region = blob(generator, shape, centre, radius) & ~canvas.taken_HW
                cover(generator, canvas, region, texture, any_colour(generator), label=label,
                      height=height * generator.uniform(0.7, 1.4), living=0.9 * (label == TREE))  # fmt: skip
                canvas.taken_HW[:] |= region
    leaves = canvas.tone_HW * (0.3 + 0.25 * canvas.living_HW + 0.3 * canvas.colour_HWC.mean(2))
    infrared = generator.uniform(-20, 30) + generator.uniform(160, 270) * leaves * (
        1 + 0.1 * drift(generator, shape)
    )
    terrain = generator.uniform(30, 56) + 2.5 * drift(generator, shape)
    return Scene(
        rgb_HWC=photograph(generator, canvas, generator.uniform(0.7, 1.1)),
        label_HW=canvas.label_HW,
        infrared_HW=digital(infrared + generator.normal(0, 5, shape)),
        surface_HW=(terrain + canvas.height_HW + generator.normal(0, 0.08, shape)).astype(np.float32),
        above_HW=canvas.height_HW,
    )


def _ground(generator: np.random.Generator) -> str:
    return str(generator.choice(GROUNDS))


def _furnish(
    generator: np.random.Generator, canvas: Canvas, wanted: Sequence[Kind], extra: Sequence[Kind]
) -> None:
    """Stamp one object of every wanted kind, then the extra ones where there is room."""
    for index, kind in enumerate([*wanted, *extra]):
        half = generator.uniform(*kind.half)
        centre = free_place(generator, canvas, half)
        if centre is None:
            if index >= len(wanted):
                continue
            centre = canvas.label_HW.shape[0] * generator.uniform(0.3, 0.7), canvas.label_HW.shape[1] / 2
        angle, heat = generator.uniform(-kind.turn, kind.turn), generator.uniform(*kind.heat)
        stamp(canvas, kind.shape, centre, half, angle, any_colour(generator), label=kind.label, heat=heat)


def _warm_spots(generator: np.random.Generator, canvas: Canvas) -> None:
    """Warm a few patches that are no object, so that warmth alone names nothing."""
    shape = canvas.label_HW.shape
    for _ in range(int(generator.integers(2, 5))):
        centre = generator.uniform(0, shape[0]), generator.uniform(0, shape[1])
        patch: NDArray[np.bool_] = blob(generator, shape, centre, generator.uniform(5, 14))
        canvas.heat_HW[patch] += generator.uniform(0.4, 1.2)
