"""Training crops of scenes: which scene or patch an epoch visits, and what a visit becomes."""

import random
from typing import NoReturn

import numpy as np

from bench.data.assembly import Arrays, Samples
from bench.data.colours import distort_colours, rgb_planes
from bench.data.patches import Window
from bench.data.store import SegmentationStore
from bench.data.transforms import (
    IGNORE,
    RETRIES,
    Crop_CHW,
    Labels_HW,
    Span,
    dominated,
    draw_spans,
    pad,
    resize_image,
    resize_labels,
)
from bench.errors import BenchError
from bench.seeds import seed_for
from bench.study.recipes import FinetuneRecipe


class SceneSamples(Samples):
    """Training crops: float32 [C, crop, crop] in stored units and uint8 labels [crop, crop].

    Under a patch geometry an epoch visits each patch of the training split once and a crop stays inside its patch,
    as if the patches had been cut and stored; one that reaches beyond a small scene is filled up with image 0 and
    label 255 first. Without a geometry an epoch visits each scene in proportion to its area, once at least: as
    often as crops fit into it.
    """

    def __init__(self, store: SegmentationStore, recipe: FinetuneRecipe, labels: str, seed: int) -> None:
        self.store, self.recipe, self.labels, self.seed = store, recipe, labels, seed
        self.patch = store.patch or 0
        self.visits: list[tuple[str, Window]] = []
        for name in store.split("train"):
            height, width = store.shape(name)
            times = 1 if self.patch else max(1, round(height * width / recipe.crop**2))
            self.visits += [(name, window) for window in store.windows(name) for _ in range(times)]
        # Pixels to fill up with, after the augmentation: 0 once normalised.
        self.mean = np.asarray(store.mean, dtype=np.float32)
        self.classes = len(store.classes)
        self.planes = rgb_planes(store.channels) if recipe.photometric else []
        self.sample_bytes = (4 * len(self.mean) + 1) * recipe.crop**2

    def sample(self, epoch: int, index: int) -> Arrays:
        """Return one crop.

        A crop of which one class holds `max_class_share` or more is drawn again, ten times at most; only the
        one that is kept has its pixels read. Raises BenchError for a label that is no class, by scene and value.
        """
        recipe, (name, window) = self.recipe, self.visits[index]
        draw = random.Random(seed_for("augment", self.seed, epoch, index))
        ratio = draw.uniform(*recipe.scale_range)
        shape = window[2:]
        if self.patch:
            shape = (self.patch, self.patch)
            ratio = int(self.patch * ratio) / self.patch  # mmsegmentation cuts the new size to whole pixels
        for _ in range(RETRIES + 1):
            rows, columns = draw_spans(shape, recipe.crop, ratio, draw)
            targets = resize_labels(self._labels(name, window, rows, columns), rows, columns)
            if recipe.max_class_share >= 1 or not dominated(targets, recipe.max_class_share):
                break
        # One more than the ids: 255, which is ignored, becomes 0.
        if int((targets + np.uint8(1)).max()) > self.classes:
            self._refuse(name, targets)
        image = self._image(name, window, rows, columns)
        if draw.random() < recipe.flip:
            image, targets = image[..., ::-1], targets[:, ::-1]
        image, targets = np.ascontiguousarray(image), np.ascontiguousarray(targets)
        if self.planes:  # last of all draws, so that switching it on changes no other
            distort_colours(image, self.planes, draw)
        return pad(image, targets, recipe.crop, self.mean)

    def _refuse(self, name: str, targets: Labels_HW) -> NoReturn:
        """Raise BenchError for the largest label that is no class."""
        value = int(targets[targets != IGNORE].max())
        raise BenchError(
            f"{self.store.path}, scene {name}: the labels hold {value} in {int((targets == value).sum())} pixels of a "
            f"crop; expected 0..{self.classes - 1} and {IGNORE} (ignored): prepare the data again"
        )

    def _labels(self, name: str, window: Window, rows: Span, columns: Span) -> Labels_HW:
        """Return the labels that a crop needs of a scene's window."""
        if self._small(window):
            return self._filled_labels(name, window)[rows.window(), columns.window()]
        down, across = _shifted(rows, window[0]), _shifted(columns, window[1])
        return self.store.labels(name, self.labels, down, across)

    def _image(self, name: str, window: Window, rows: Span, columns: Span) -> Crop_CHW:
        """Return the resized crop of a scene's window."""
        if self._small(window):
            top, left, height, width = window
            pixels = self.store.pixels(name, slice(top, top + height), slice(left, left + width))
            patch = np.zeros((self.patch, self.patch, pixels.shape[2]), dtype=np.float32)
            patch[:height, :width] = pixels
            return resize_image(patch[rows.window(), columns.window()], rows, columns)
        image = np.empty((len(self.mean), rows.size, columns.size), dtype=np.float32)
        down, across = _shifted(rows, window[0]), _shifted(columns, window[1])
        for channels, stored in self.store.parts(name, down, across):
            image[channels] = resize_image(stored, rows, columns)
        for channel, mean, std in self.store.per_tile(name):
            image[channel] = (image[channel] - mean) / std
        return image

    def _small(self, window: Window) -> bool:
        """Say whether a patch reaches beyond its scene."""
        return self.patch > 0 and window[2:] != (self.patch, self.patch)

    def _filled_labels(self, name: str, window: Window) -> Labels_HW:
        top, left, height, width = window
        found = self.store.labels(name, self.labels, slice(top, top + height), slice(left, left + width))
        patch = np.full((self.patch, self.patch), IGNORE, dtype=np.uint8)
        patch[:height, :width] = found
        return patch


def _shifted(span: Span, first: int) -> slice:
    window = span.window()
    return slice(first + window.start, first + window.stop)
