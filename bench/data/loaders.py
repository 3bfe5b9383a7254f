"""Batches of prepared data, each a function of (seed, epoch, index) and of nothing else.

A sample is named by a key (epoch, index); the stream of keys is a function of the seed and can be entered at
any step; what a key becomes depends on the key alone. So the number of loader processes, of ranks and of
micro-batches, and whether a run was interrupted, change nothing. Images go to the device as uint8 (classification)
or float32 (scenes), still in stored units; strategy, normalisation and mixing happen there.
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import cycle, islice

import numpy as np
import torch
from torch import Tensor

from bench.data.assembly import Arrays, MicroBatch, Samples, assembled
from bench.data.decoding import Resize, decode
from bench.data.keys import InOrder, KeyStream
from bench.data.scenes import SceneSamples
from bench.data.store import ClassificationStore, SegmentationStore
from bench.data.transforms_classification import EvalTransform, TrainTransform
from bench.errors import BenchError
from bench.seeds import seed_for
from bench.study.recipes import FinetuneRecipe, PretrainRecipe

Steps = Generator[Iterator[MicroBatch]]
"""For each step its micro-batches. Whoever may fail before the last closes this, which ends the loader processes."""


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
        self,
        store: ClassificationStore,
        split: str,
        transform: TrainTransform | EvalTransform,
        seed: int,
        resize: Resize = "pillow",
    ) -> None:
        self.store, self.split, self.transform, self.seed, self.resize = (
            store,
            split,
            transform,
            seed,
            resize,
        )
        self.sample_bytes = 3 * transform.crop**2 + 8

    def sample(self, epoch: int, index: int) -> Arrays:
        """Return one transformed photograph and its class. Raises BenchError for a label that is no class."""
        stored = self.store.stored(self.split, index)
        photograph = decode(stored, self.resize, self.store.place(self.split, index))
        pixels = self.transform(photograph, seed_for("augment", self.seed, epoch, index))
        label = self.store.label(self.split, index)
        if not 0 <= label < self.store.num_classes:
            raise BenchError(
                f"{self.store.place(self.split, index)}: has the label {label}; expected "
                f"0..{self.store.num_classes - 1}: prepare the data again"
            )
        return pixels, np.int64(label)


def training_images(
    store: ClassificationStore,
    recipe: PretrainRecipe,
    *,
    seed: int,
    start: int,
    stop: int,
    workers: int,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
    micro: int | None = None,
) -> Steps:
    """Yield for each step `start` .. `stop` - 1 this rank's micro-batches: uint8 [b, 3, crop, crop] and int64 [b].

    The global batch of a step is the same for all ranks; which part of it is whose, and in what pieces, says
    `keys.micro_batches`. What is left unread of a step is skipped. An epoch drops what is left after its whole
    batches, as the published recipes do.
    """
    count, size = store.count("train"), recipe.batch_size
    transform = TrainTransform(recipe.crop, recipe.scale_min, recipe.randaugment, tuple(store.mean))
    per_epoch = size * steps_per_epoch(count, size)
    keys = KeyStream(
        count, size, seed, start=start, stop=stop, per_epoch=per_epoch, rank=rank, world=world, micro=micro
    )
    return _by_step(ImageSamples(store, "train", transform, seed, recipe.resize), keys, workers, device)


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
    rank: int = 0,
    world: int = 1,
    micro: int | None = None,
) -> Steps:
    """Yield for each iteration `start` .. `stop` - 1 this rank's micro-batches: images [b, C, crop, crop] and labels.

    Images are float32 in stored units, labels uint8 [b, crop, crop], padding holds the mean; `labels` names
    the label variant, 255 is ignored. Ranks and pieces as in `training_images`. Raises BenchError where photometric
    distortion is asked for and the data have no 8-bit colour planes.
    """
    samples = SceneSamples(store, recipe, labels, seed)
    count, size = len(samples.visits), recipe.batch_size
    keys = KeyStream(count, size, seed, start=start, stop=stop, rank=rank, world=world, micro=micro)
    return _by_step(samples, keys, workers, device)


def validation_images(
    store: ClassificationStore,
    *,
    batch_size: int,
    crop: int,
    ratio: float,
    workers: int,
    device: torch.device,
    resize: Resize = "pillow",
    first: int = 0,
    stop: int | None = None,
) -> Generator[tuple[Tensor, Tensor]]:
    """Yield the validation images `first` .. `stop` - 1 once, in stored order: uint8 [B, 3, crop, crop] and int64 [B].

    B is `batch_size`, and what is left in the last batch; `stop` unset: to the end. Short side resized to
    crop / ratio, then the central crop.
    """
    samples = ImageSamples(store, "val", EvalTransform(crop, ratio), 0, resize)
    keys = InOrder(store.count("val") if stop is None else stop, batch_size, first=first)
    sizes, total = map(len, keys.pieces()), keys.stop - keys.first
    return assembled(samples, keys, sizes, total=total, largest=batch_size, workers=workers, device=device)


def _by_step(samples: Samples, keys: KeyStream, workers: int, device: torch.device) -> Steps:
    """Yield for each step the iterator of its micro-batches; what is left of one is passed over before the next."""
    pieces = keys.pieces
    largest, whole, steps = max(map(len, pieces)), sum(map(len, pieces)), keys.stop - keys.start
    sizes = islice(cycle(len(piece) for piece in pieces), len(keys))
    with closing(
        assembled(samples, keys, sizes, total=whole * steps, largest=largest, workers=workers, device=device)
    ) as batches:
        for _ in range(steps):
            step = (MicroBatch(piece.start, *next(batches)) for piece in pieces)
            yield step
            for _ in step:
                pass
