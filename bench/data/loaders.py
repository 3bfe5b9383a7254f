"""Batches of prepared data, each a function of (seed, epoch, index) and of nothing else.

A sample is named by a key (epoch, index); the stream of keys is a function of the seed and can be entered at
any step; what a key becomes depends on the key alone. So the number of loader processes, and whether a run
was interrupted, change nothing. Images go to the device as uint8 (classification) or float32 (scenes), still
in stored units; strategy, normalisation and mixing happen there.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from bench.data.store import ClassificationStore, SegmentationStore
from bench.data.transforms import (
    RETRIES,
    distort_colours,
    dominated,
    draw_spans,
    pad,
    resize_image,
    resize_labels,
)
from bench.data.transforms_classification import EvalTransform, TrainTransform
from bench.errors import BenchError
from bench.seeds import seed_for
from bench.study.recipes import FinetuneRecipe, PretrainRecipe

Key = tuple[int, int]
"""(epoch, index)"""
Arrays = tuple[NDArray[Any], NDArray[Any] | np.int64]
"""One sample: its image, its label or label map."""


class KeyStream(Sampler[list[Key]]):
    """The batches of keys from step `start` up to `stop`; each epoch is a permutation of `count` indices.

    An epoch shows its first `per_epoch` indices (unset: all); a batch may take the end of one epoch and the
    beginning of the next. Step s holds the keys s * batch_size .. (s + 1) * batch_size - 1 of the endless
    stream.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, *, start: int, stop: int, per_epoch: int | None = None
    ) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.start, self.stop, self.per_epoch = start, stop, per_epoch or count
        self._order = lru_cache(maxsize=2)(self._permutation)

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng(seed_for("order", self.seed, epoch)).permutation(self.count)

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        for step in range(self.start, self.stop):
            places = (divmod(step * self.batch_size + j, self.per_epoch) for j in range(self.batch_size))
            yield [(epoch, int(self._order(epoch)[place])) for epoch, place in places]


class Samples(Dataset[list[Arrays]]):
    """What a loader process holds: makes each sample from its key. Can be pickled."""

    def sample(self, epoch: int, index: int) -> Arrays:
        """Return the sample that a key names."""
        raise NotImplementedError

    def __getitems__(self, keys: Sequence[Key]) -> list[Arrays]:
        return [self.sample(*key) for key in keys]


def _stack(samples: list[Arrays]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*samples, strict=True)
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))


def _load(
    samples: Samples, keys: Sampler[list[Key]], workers: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of `keys` in order, on the device."""
    pinned = device.type == "cuda"
    loader: DataLoader[list[Arrays]] = DataLoader(
        samples,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=_stack,
        pin_memory=pinned,
        prefetch_factor=4 if workers else None,
        # A generator of its own, since the loader would otherwise draw from the global one.
        generator=torch.Generator().manual_seed(0),
    )
    for images, labels in loader:
        yield images.to(device, non_blocking=pinned), labels.to(device, non_blocking=pinned)


# -- classification ------------------------------------------------------------------------------------------


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Return the whole batches in an epoch. Raises BenchError if there is not one."""
    if batch_size > count:
        raise BenchError(
            f"batch_size {batch_size} exceeds the {count} training images: an epoch would hold no whole "
            "batch; lower batch_size in the recipe"
        )
    return count // batch_size


class ImageSamples(Samples):
    """Photographs of a split as uint8 [3, crop, crop] and their class; seeded by (seed, epoch, index)."""

    def __init__(
        self, store: ClassificationStore, split: str, transform: TrainTransform | EvalTransform, seed: int
    ) -> None:
        self.store, self.split, self.transform, self.seed = store, split, transform, seed

    def sample(self, epoch: int, index: int) -> Arrays:
        """Return one transformed photograph and its class."""
        photograph = Image.fromarray(self.store.image(self.split, index))
        pixels = self.transform(photograph, seed_for("augment", self.seed, epoch, index))
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)), np.int64(self.store.label(self.split, index))


def training_images(
    store: ClassificationStore,
    recipe: PretrainRecipe,
    *,
    seed: int,
    start: int,
    stop: int,
    workers: int,
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield augmented global batches for steps `start` .. `stop`: uint8 [B, 3, crop, crop] and int64 [B].

    An epoch drops what is left after its whole batches, as the published recipes do.
    """
    count, size = store.count("train"), recipe.batch_size
    transform = TrainTransform(recipe.crop, recipe.scale_min, recipe.randaugment, tuple(store.mean))
    per_epoch = size * steps_per_epoch(count, size)
    keys = KeyStream(count, size, seed, start=start, stop=stop, per_epoch=per_epoch)
    return _load(ImageSamples(store, "train", transform, seed), keys, workers, device)


class InOrder(Sampler[list[Key]]):
    """Indices 0 .. count - 1 in batches, the last one short."""

    def __init__(self, count: int, batch_size: int) -> None:
        self.count, self.batch_size = count, batch_size

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        for first in range(0, self.count, self.batch_size):
            yield [(0, index) for index in range(first, min(first + self.batch_size, self.count))]


def validation_images(
    store: ClassificationStore,
    *,
    batch_size: int,
    crop: int,
    ratio: float,
    workers: int,
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the validation images once, in stored order: uint8 [B, 3, crop, crop] and int64 [B].

    B is `batch_size`, and what is left in the last batch.     Short side resized to crop / ratio, then the
    central crop.
    """
    samples = ImageSamples(store, "val", EvalTransform(crop, ratio), seed=0)
    return _load(samples, InOrder(store.count("val"), batch_size), workers, device)


# -- segmentation --------------------------------------------------------------------------------------------


class SceneSamples(Samples):
    """Training crops of scenes: float32 [C, crop, crop] in stored units and uint8 labels [crop, crop].

    An epoch visits each scene in proportion to its area, once at least: as often as crops fit into it.
    """

    def __init__(self, store: SegmentationStore, recipe: FinetuneRecipe, labels: str, seed: int) -> None:
        self.store, self.recipe, self.labels, self.seed = store, recipe, labels, seed
        self.visits = [
            name for name in store.split("train") for _ in range(_visits(store.shape(name), recipe.crop))
        ]
        self.mean = np.asarray(store.mean, dtype=np.float32)
        self.planes = rgb_planes(store.channels) if recipe.photometric else []

    def sample(self, epoch: int, index: int) -> Arrays:
        """Return one crop.

        A crop of which one class holds `max_class_share` or more is drawn again, ten times at most; only the
        one that is kept has its pixels read.
        """
        recipe, name = self.recipe, self.visits[index]
        draw = random.Random(seed_for("augment", self.seed, epoch, index))
        ratio = draw.uniform(*recipe.scale_range)
        for _ in range(RETRIES + 1):
            rows, columns = draw_spans(self.store.shape(name), recipe.crop, ratio, draw)
            window = self.store.labels(name, self.labels, rows.window(), columns.window())
            targets = resize_labels(window, rows, columns)
            if recipe.max_class_share >= 1 or not dominated(targets, recipe.max_class_share):
                break
        image = resize_image(self.store.pixels(name, rows.window(), columns.window()), rows, columns)
        if draw.random() < recipe.flip:
            image, targets = image[:, ::-1], targets[:, ::-1]
        if self.planes:  # last of all draws, so that switching it on changes no other
            image = distort_colours(image, self.planes, draw)
        image, targets = pad(image, targets, recipe.crop, self.mean)
        return np.ascontiguousarray(image.transpose(2, 0, 1)), np.ascontiguousarray(targets)


def training_crops(
    store: SegmentationStore,
    recipe: FinetuneRecipe,
    *,
    labels: str,
    seed: int,
    start: int,
    stop: int,
    workers: int,
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield augmented batches for iterations `start` .. `stop`: images [B, C, crop, crop] and labels.

    Images are float32 in stored units, labels uint8 [B, crop, crop], padding holds the mean; `labels` names
    the label variant, 255 is ignored. Raises BenchError where photometric distortion is asked for and the
    data have no 8-bit colour planes.
    """
    samples = SceneSamples(store, recipe, labels, seed)
    keys = KeyStream(len(samples.visits), recipe.batch_size, seed, start=start, stop=stop)
    return _load(samples, keys, workers, device)


def _visits(shape: Sequence[int], crop: int) -> int:
    return max(1, round(shape[0] * shape[1] / crop**2))


def rgb_planes(channels: Sequence[Mapping[str, str]]) -> list[int]:
    """Return where red, green and blue are. Raises BenchError unless all three are 8-bit channels."""
    places = {channel["name"]: place for place, channel in enumerate(channels) if channel["dtype"] == "uint8"}
    if missing := {"red", "green", "blue"} - places.keys():
        raise BenchError(
            f"photometric distortion needs 8-bit channels red, green and blue; missing: "
            f"{', '.join(sorted(missing))}; set photometric: false in the recipe of this dataset"
        )
    return [places[name] for name in ("red", "green", "blue")]
