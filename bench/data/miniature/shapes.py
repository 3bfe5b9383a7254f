"""The objects of the miniature, as grey shapes in their own coordinates.

A shape takes `u` (along the object, -1 to 1, its front at +1) and `v` (across it; downwards for upright things)
on a grid of pixels and returns `(mask, tone)`: where the object is, and the factor on its colour there. Windows,
wheels, ridges and lines are tone, so that an object is known by its form and pattern in any colour.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float32]
Mask = NDArray[np.bool_]
Shape = Callable[[Grid, Grid], tuple[Mask, Grid]]


def car_from_above(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a small vehicle from above: a rounded box with two dark windscreens."""
    mask = (np.abs(u) ** 6 + np.abs(v / 0.52) ** 6) < 1
    windows = (((u > 0.12) & (u < 0.42)) | ((u > -0.78) & (u < -0.5))) & (np.abs(v) < 0.42)
    return mask, _paint(u, (windows, 0.15), (np.abs(v) > 0.44, 0.7))


def truck_from_above(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a large vehicle from above: a ribbed trailer, a gap and a cab."""
    mask = (np.abs(u) < 1) & (np.abs(v) < 0.34) & ~((np.abs(u - 0.5) < 0.05) & (np.abs(v) > 0.12))
    ribs = (u < 0.45) & (np.sin(22 * u) > 0.2)
    return mask, _paint(u, (ribs, 0.6), (np.abs(u - 0.5) < 0.05, 0.2), (np.abs(u - 0.78) < 0.08, 0.2))


def car_from_side(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a car from the side: body, cabin with dark windows, two wheels."""
    body = (np.abs(u) < 1) & (v > -0.12) & (v < 0.42)
    cabin = (np.abs(u + 0.05) < 0.62 - 0.4 * (-0.12 - v)) & (v > -0.58) & (v <= -0.12)
    wheels = (np.hypot(np.abs(u) - 0.56, v - 0.4) < 0.24) & (v < 0.68)
    windows = cabin & (v > -0.48) & (np.abs(u + 0.05) > 0.05) & (np.abs(u + 0.05) < 0.44)
    return body | cabin | wheels, _paint(u, (windows, 0.2), (wheels, 0.1), (v < -0.52, 1.2))


def person(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a person: bright head, torso with arms, two dark legs."""
    head = np.hypot(u, v + 0.76) < 0.23
    torso = (u / 0.4) ** 2 + ((v + 0.18) / 0.42) ** 2 < 1
    legs = (np.abs(np.abs(u) - 0.17) < 0.13) & (v > 0.1) & (v < 1)
    return head | torso | legs, _paint(u, (legs, 0.45), (head, 1.5))


def plane(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return an aeroplane from above: fuselage, swept wings, tail."""
    across = np.abs(v)
    fuselage = (u**2 + (v / 0.17) ** 2) < 1
    wings = (across < 0.97) & (u < 0.34 - 0.55 * across) & (u > -0.1 - 0.45 * across)
    tail = (across < 0.42) & (u < -0.66 - 0.3 * across) & (u > -0.95 - 0.1 * across)
    return fuselage | wings | tail, _paint(u, (wings & ~fuselage, 0.8), (fuselage & (u > 0.8), 0.3))


def boat(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a boat from above: a hull with a pointed bow, a dark deck, a bright cabin."""
    beam = 0.4 * np.where(u > -0.2, 1 - ((u + 0.2) / 1.2) ** 2, 1.0)
    mask = (np.abs(u) < 1) & (np.abs(v) < beam)
    deck = np.abs(v) < beam - 0.14
    cabin = (u > -0.7) & (u < -0.15) & (np.abs(v) < 0.2)
    return mask, _paint(u, (deck, 0.45), (cabin, 1.5))


def tank(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a round tank from above: a rim, a lid lit from one side, a hatch."""
    radius = np.hypot(u, v)
    tone = (1.0 + 0.45 * u).astype(np.float32)
    tone[(radius > 0.74) & (radius < 0.88)] = 0.3
    tone[radius < 0.16] = 0.35
    return radius < 1, tone


def roof(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a gabled roof: a lit and a shaded half, a ridge, courses of tiles."""
    mask = (np.abs(u) < 1) & (np.abs(v) < 0.68)
    tone = np.where(v > 0, 1.15, 0.6) * np.where(np.sin(28 * v) > 0.3, 0.85, 1.05)
    tone[np.abs(v) < 0.07] = 1.6
    return mask, tone.astype(np.float32)


def court(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a tennis court: bright lines and a net on an even ground."""
    mask = (np.abs(u) < 1) & (np.abs(v) < 0.58)
    border = (np.abs(np.abs(u) - 0.84) < 0.06) | (np.abs(np.abs(v) - 0.44) < 0.06)
    inside = (np.abs(u) < 0.9) & (np.abs(v) < 0.5)
    lines = (border | (np.abs(np.abs(u) - 0.42) < 0.05) | ((np.abs(v) < 0.05) & (np.abs(u) < 0.42))) & inside
    return mask, _paint(u, (lines, 1.8), (np.abs(u) < 0.05, 0.3))


def roundabout(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a roundabout: a bright kerb, a dark ring of road, an island with a second kerb."""
    radius = np.hypot(u, v)
    return radius < 1, _paint(
        u, (radius > 0.52, 0.45), (np.abs(radius - 0.52) < 0.08, 1.7), (radius > 0.9, 1.5)
    )


def pool(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a swimming pool: a bright rim round rippled water."""
    size = np.abs(u) ** 4 + np.abs(v / 0.62) ** 4
    return size < 1, _paint(u, (np.sin(11 * u + 3 * np.sin(5 * v)) > 0, 0.65), (size > 0.5, 1.7))


def backpack(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a backpack: a rounded body, a framed pocket, a lid line, a loop on top."""
    body = (np.abs(u / 0.68) ** 4 + np.abs((v - 0.1) / 0.88) ** 4) < 1
    loop = np.abs(np.hypot(u, v + 0.78) - 0.2) < 0.09
    frame = (np.abs(u) < 0.5) & (np.abs(v - 0.48) < 0.34)
    pocket = (np.abs(u) < 0.38) & (np.abs(v - 0.48) < 0.22)
    lid = np.abs(v + 0.2) < 0.07
    return body | loop, _paint(u, (frame, 0.3), (pocket, 1.25), (lid, 0.3))


def extinguisher(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a fire extinguisher: a slim bottle with a bright label, neck, lever."""
    bottle = (np.abs(u) < 0.36) & (v > -0.45) & (v < 1) & (np.hypot(u, np.minimum(v + 0.12, 0)) < 0.36)
    neck = (np.abs(u) < 0.13) & (v > -0.75) & (v < -0.4)
    lever = (np.abs(v + 0.78) < 0.12) & (u > -0.2) & (u < 0.6)
    label = bottle & (v > 0.1) & (v < 0.5)
    return bottle | neck | lever, _paint(u, (u > 0.16, 0.65), (label, 1.7), (neck | lever, 0.25))


def drill(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a hand drill: a barrel with a thin bit, a handle, a battery."""
    barrel = (np.abs(v + 0.45) < 0.27) & (u > -0.85) & (u < 0.45)
    bit = (np.abs(v + 0.45) < 0.1) & (u >= 0.45) & (u < 1)
    handle = (np.abs(u + 0.45 + 0.15 * v) < 0.2) & (v > -0.25) & (v < 0.75)
    battery = (np.abs(u + 0.45) < 0.42) & (v > 0.6) & (v < 1)
    vents = barrel & (u < -0.4) & (np.sin(26 * u) > 0)
    return barrel | bit | handle | battery, _paint(u, (bit, 0.5), (battery, 0.3), (vents, 0.4))


def bike(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a bicycle from the side: two dark-rimmed wheels, a frame, a handlebar."""
    radius = np.hypot(np.abs(u) - 0.55, v - 0.3)
    frame = _segment(u, v, (-0.55, 0.3), (-0.15, -0.25)) | _segment(u, v, (-0.15, -0.25), (0.42, -0.3))
    frame |= _segment(u, v, (0.55, 0.3), (0.38, -0.6)) | _segment(u, v, (0.0, 0.35), (0.42, -0.3))
    frame |= _segment(u, v, (-0.25, -0.5), (0.0, 0.35)) | _segment(u, v, (-0.4, -0.5), (-0.1, -0.5))
    return (radius < 0.45) | frame, _paint(
        u, (radius < 0.45, 1.3), (np.abs(radius - 0.36) < 0.1, 0.15), (frame, 0.5)
    )


def cone(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a traffic cone: a banded triangle on a foot."""
    body = (np.abs(u) < 0.14 + 0.22 * (v + 1)) & (np.abs(v) < 1)
    foot = (np.abs(u) < 0.8) & (v > 0.75) & (v < 1)
    bands = (np.abs(v + 0.45) < 0.17) | (np.abs(v - 0.25) < 0.17)
    return body | foot, _paint(u, (bands, 1.8), (v > 0.75, 0.35))


def car_stop(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a wheel stop: a low block in slanted stripes."""
    mask = (np.abs(u) < 1) & (np.abs(v) < 0.36)
    return mask, _paint(u, (np.sin(9 * (u + v)) > 0, 0.3), (v < -0.2, 1.4))


def bump(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a speed bump: a long strip of blocks, dark and bright in turn in two rows."""
    mask = (np.abs(u) < 1) & (np.abs(v) < 0.2)
    return mask, _paint(u, ((np.sin(14 * u) > 0) ^ (v > 0), 0.25), (np.abs(v) > 0.17, 0.6))


def guardrail(u: Grid, v: Grid) -> tuple[Mask, Grid]:
    """Return a guardrail: two beams on posts."""
    posts = np.cos(12 * u) > 0.8
    mask = (np.abs(u) < 1) & (np.abs(v) < 0.22)
    return mask, _paint(u, (np.abs(v) < 0.07, 0.35), (posts, 0.6))


SHAPES: dict[str, Shape] = {
    shape.__name__: shape
    for shape in (
        car_from_above, truck_from_above, car_from_side, person, plane, boat, tank, roof, court, roundabout, pool,
        backpack, extinguisher, drill, bike, cone, car_stop, bump, guardrail,
    )
}  # fmt: skip


def _paint(like: Grid, *layers: tuple[Mask, float]) -> Grid:
    """Return tone 1 everywhere, overpainted by each (where, tone) in turn."""
    tone = np.ones_like(like)
    for where, value in layers:
        tone[where] = value
    return tone


def _segment(u: Grid, v: Grid, start: tuple[float, float], end: tuple[float, float]) -> Mask:
    """Return the pixels within a bar's half-width of the line from `start` to `end`."""
    du, dv = end[0] - start[0], end[1] - start[1]
    along = np.clip(((u - start[0]) * du + (v - start[1]) * dv) / (du * du + dv * dv), 0, 1)
    mask: Mask = np.hypot(u - start[0] - along * du, v - start[1] - along * dv) < 0.1
    return mask
