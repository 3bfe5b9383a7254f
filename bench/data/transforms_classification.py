"""How a photograph becomes a classifier's input on the host: uint8 in, uint8 out, three channels.

All that is random about a sample follows from one seed, so a sample does not depend on which process makes it, or
on what was made before. How a box is resized is another matter (decoding.py).
"""

import math
import random
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from bench.data.decoding import Box, Photograph
from bench.errors import BenchError

ASPECT = (3 / 4, 4 / 3)
"""Range of width over height of a random crop."""


def random_crop_box(width: int, height: int, scale_min: float, draw: random.Random) -> Box:
    """Draw the box of RandomResizedCrop: area share U(scale_min, 1), log aspect U(log 3/4, log 4/3).

    The place is uniform. A box that does not fit is drawn again, ten times; then the largest central box
    within the aspect range is taken. Szegedy et al., Going deeper with convolutions (2015), in torchvision's
    form.
    """
    log_aspect = [math.log(bound) for bound in ASPECT]
    for _ in range(10):
        area = width * height * draw.uniform(scale_min, 1.0)
        aspect = math.exp(draw.uniform(*log_aspect))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = draw.randint(0, width - w), draw.randint(0, height - h)
            return left, top, left + w, top + h
    aspect = min(max(width / height, ASPECT[0]), ASPECT[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


class Policy(Protocol):
    """What is used of timm's RandAugment; its choice has no weights, which no policy of a study can ask for."""

    ops: list[Callable[[Image.Image], Image.Image]]
    num_layers: int


class TrainTransform:
    """Random resized crop, flip with probability 1/2, RandAugment where the recipe names a timm policy."""

    def __init__(self, crop: int, scale_min: float, randaugment: str | None, mean: tuple[float, ...]) -> None:
        """`crop`: side of the result in pixels; `mean` (0..255): what RandAugment fills with."""
        self.crop, self.scale_min = crop, scale_min
        self.augment = randaugment_policy(randaugment, crop, mean) if randaugment else None

    def __call__(self, photograph: Photograph, seed: int) -> NDArray[np.uint8]:
        """Return the augmented picture, uint8 [3, crop, crop]; `seed` alone decides about it."""
        draw = random.Random(seed)
        box = random_crop_box(*photograph.size, self.scale_min, draw)
        image = photograph.resized((self.crop, self.crop), box)
        if draw.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.augment is not None:
            image = _seeded(self.augment, image, draw.getrandbits(32))
        return planes_CHW(image)


class EvalTransform:
    """Short side resized to crop / ratio, then the central crop."""

    def __init__(self, crop: int, ratio: float) -> None:
        self.crop, self.short = crop, math.floor(crop / ratio)

    def __call__(self, photograph: Photograph, seed: int = 0) -> NDArray[np.uint8]:
        """Return the central picture, uint8 [3, crop, crop]; nothing is random, `seed` is not read."""
        width, height = photograph.size
        short = min(width, height)
        # Whole numbers, as in torchvision: the long side is cut down, never rounded up.
        size = (self.short * width // short, self.short * height // short)
        image = photograph.resized(size)
        left, top = round((size[0] - self.crop) / 2), round((size[1] - self.crop) / 2)
        return planes_CHW(image.crop((left, top, left + self.crop, top + self.crop)))


def planes_CHW(image: Image.Image) -> NDArray[np.uint8]:
    """Return an RGB picture as uint8 [3, height, width]. Pillow sorts the planes faster than numpy does."""
    planes = [np.frombuffer(image.tobytes("raw", plane), np.uint8) for plane in "RGB"]
    return np.stack(planes).reshape(3, image.height, image.width)


def randaugment_policy(policy: str, crop: int, mean: tuple[float, ...]) -> Policy:
    """Return timm's RandAugment for a policy string (rand-m9-mstd0.5-inc1), with timm's training settings.

    Raises BenchError for a policy that timm cannot read, and under a Pillow that refuses `posterize` with 0
    bits, for which these policies ask within some hundred pictures.
    """
    from timm.data.auto_augment import rand_augment_transform

    try:
        ImageOps.posterize(Image.new("RGB", (1, 1)), 0)
    except ValueError:
        raise BenchError(
            f"randaugment {policy}: this Pillow refuses posterize with 0 bits, which the policy asks for; "
            "install Pillow 11.3 to 12.1"
        ) from None
    # timm.data.transforms_imagenet_train: translation up to 0.45 of the side, bicubic, filled with the mean
    # colour.
    settings: dict[str, Any] = {
        "translate_const": int(crop * 0.45),
        "img_mean": tuple(min(255, round(value)) for value in mean),
        "interpolation": Image.Resampling.BICUBIC,
    }
    try:
        augment: Policy = rand_augment_transform(policy, settings)
    except (AssertionError, ValueError, KeyError) as error:
        raise BenchError(
            f"randaugment {policy!r} is no RandAugment policy of timm ({error}); try rand-m9-mstd0.5-inc1"
        ) from None
    return augment


def _seeded(policy: Policy, image: Image.Image, seed: int) -> Image.Image:
    """Apply RandAugment, which draws from Python's global generator, under a seed; leave that as it was.

    timm's own call draws the operations from numpy's global generator, whose state is dear to save; they are drawn
    here, alike: with replacement, all with the same probability.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        for operation in random.choices(policy.ops, k=policy.num_layers):
            image = operation(image)
    finally:
        random.setstate(state)
    return image
