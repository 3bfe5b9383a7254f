"""Grey textures of the miniature: a tone field, about 1 on average, that multiplies whatever colour it meets.

Pre-training pictures and target scenes share these textures; the colours under them are chosen elsewhere, so
that texture is what carries over from the one to the other. All functions take a generator and a (height,
width) and return float32 in about [0.2, 1.8].
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Field = NDArray[np.float32]
Texture = Callable[[np.random.Generator, tuple[int, int]], Field]


def smooth_noise(generator: np.random.Generator, shape: tuple[int, int], sigma: float) -> Field:
    """Return Gaussian noise blurred over `sigma` pixels, standardised to mean 0 and deviation 1."""
    noise = gaussian_filter(generator.standard_normal(shape, dtype=np.float32), sigma, mode="wrap")
    return _field((noise - noise.mean()) / max(float(noise.std()), 1e-6))


def asphalt(generator: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Return a nearly even surface: fine faint grain."""
    return _tone(
        1.0 + 0.05 * smooth_noise(generator, shape, 0.5) + 0.05 * smooth_noise(generator, shape, 8.0)
    )


def grass(generator: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Return low vegetation: strong grain at the scale of one or two pixels."""
    return _tone(1.0 + 0.25 * smooth_noise(generator, shape, 0.7))


def canopy(generator: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Return tree crowns: round bright blobs of some four pixels, parted by dark gaps."""
    blobs = smooth_noise(generator, shape, 1.8)
    return _tone(1.0 + 0.45 * np.tanh(2.0 * blobs) + 0.08 * smooth_noise(generator, shape, 0.5))


def ripples(generator: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Return water: wavy crests, five to seven pixels apart, in one direction."""
    phase = _along(generator, shape, generator.uniform(4.5, 6.5)) + 1.1 * smooth_noise(generator, shape, 4.0)
    return _tone(1.0 + 0.3 * np.sin(phase))


def rows(generator: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Return a field in rows: straight sharp stripes, four to five pixels apart."""
    stripe = np.where(np.sin(_along(generator, shape, generator.uniform(3.8, 5.2))) > 0, 1.3, 0.65)
    return _tone(stripe + 0.08 * smooth_noise(generator, shape, 0.5))


def rock(generator: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Return rough rock: dark creases over slow swells."""
    creases = np.abs(smooth_noise(generator, shape, 2.5))
    return _tone(0.75 + 0.25 * creases + 0.15 * smooth_noise(generator, shape, 8.0))


def curb(generator: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Return a kerb or a bridge's deck: coarse blocks in turn dark and bright, with a fine grain."""
    y, x = np.indices(shape, dtype=np.float32)
    block = np.floor(y / 4 + generator.uniform(0, 4)) % 2 == np.floor(x / 4 + generator.uniform(0, 4)) % 2
    return _tone(np.where(block, 1.4, 0.6) + 0.08 * smooth_noise(generator, shape, 0.5))


def rubble(generator: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Return rubble: hard-edged patches of two tones, two or three pixels wide, in no order."""
    return _tone(np.where(smooth_noise(generator, shape, 1.0) > 0, 1.5, 0.5))


def bricks(generator: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Return a facade: a regular grid of dark windows."""
    y, x = np.indices(shape, dtype=np.float32)
    pitch = generator.uniform(7.0, 10.0)
    dark = (((y + generator.uniform(0, pitch)) % pitch) < 0.45 * pitch) & (
        ((x + generator.uniform(0, pitch)) % pitch) < 0.5 * pitch
    )
    return _tone(np.where(dark, 0.55, 1.1) + 0.05 * smooth_noise(generator, shape, 0.5))


TEXTURES: dict[str, Texture] = {
    "asphalt": asphalt,
    "grass": grass,
    "canopy": canopy,
    "ripples": ripples,
    "rows": rows,
    "rock": rock,
    "bricks": bricks,
    "curb": curb,
    "rubble": rubble,
}


def _along(generator: np.random.Generator, shape: tuple[int, int], period: float) -> Field:
    """Return the phase of a plane wave of `period` pixels in a random direction."""
    y, x = np.indices(shape, dtype=np.float32)
    angle = generator.uniform(0, np.pi)
    phase = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period) + generator.uniform(0, 2 * np.pi)
    return _field(phase)


def _tone(values: NDArray[Any]) -> Field:
    return _field(np.clip(values, 0.2, 1.8))


def _field(values: NDArray[Any]) -> Field:
    field: Field = values.astype(np.float32)
    return field
