"""Which part of a target to look at, and how much of each class there is: one pass over the labels.

Axes: `labels_HW` class ids, 255 where ignored; `pixels[class]` counts, the last entry the ignored ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bench.data.store import SegmentationStore
from bench.errors import BenchError

WHOLE = 1300
"""Pixels: a scene whose longer side is at most this long is shown whole; a larger one in tiles."""
TILE = 512
"""Pixels: about the side of a tile of a larger scene."""
VISIBLE = 0.01
"""Share of a tile's pixels from which on a class counts as shown; below, it counts in proportion."""


@dataclass(frozen=True)
class Tile:
    """A window of a sample with its pixels per class, int64 [classes + 1], the ignored ones last."""

    sample: str
    unit: str
    top: int
    left: int
    height: int
    width: int
    whole: bool
    pixels: NDArray[np.int64]


@dataclass(frozen=True)
class ClassCounts:
    """What a split holds of each class."""

    samples: int
    pixels: NDArray[np.int64]
    """int64 [classes + 1]: pixels by class, the ignored ones last."""
    images: NDArray[np.int64]
    """int64 [classes + 1]: samples with at least one such pixel."""


def tiles(store: SegmentationStore, sample: str, variant: str) -> list[Tile]:
    """Cut a sample into tiles that touch and do not overlap, so that their counts add up to the sample's.

    Raises BenchError, naming sample and value, for a label that is neither a class nor 255.
    """
    height, width = store.shape(sample)
    whole = max(height, width) <= WHOLE
    rows, columns = ([0, side] if whole else _cuts(side) for side in (height, width))
    labels_HW = store.labels(sample, variant)
    found = []
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            pixels = _counted(labels_HW[top:bottom, left:right], store, sample)
            place = (top, left, bottom - top, right - left)
            found.append(Tile(sample, store.unit(sample), *place, whole, pixels))
    return found


def _cuts(side: int) -> list[int]:
    parts = max(1, round(side / TILE))
    return [side * part // parts for part in range(parts + 1)]


def _counted(labels_HW: NDArray[np.uint8], store: SegmentationStore, sample: str) -> NDArray[np.int64]:
    counts = np.bincount(labels_HW.ravel(), minlength=256)
    ignored = store.manifest.ignore_index
    pixels = np.append(counts[: store.num_classes], counts[ignored]).astype(np.int64)
    if pixels.sum() != counts.sum():
        known = {*range(store.num_classes), ignored}
        strange = next(value for value in np.flatnonzero(counts).tolist() if value not in known)
        raise BenchError(
            f"{store.path}: the labels of {sample} hold {strange}, expected 0 to {store.num_classes - 1} or "
            f"{ignored}; run prepare again"
        )
    return pixels


def count_classes(
    store: SegmentationStore, variant: str
) -> tuple[dict[str, ClassCounts], Mapping[str, list[Tile]]]:
    """Return what each split holds of each class, in the order train, val, test, and the tiles of each split.

    Mirrored samples are counted like any other, since a training sees them; splits without samples are left
    out.
    """
    order = ("train", "val", "test")
    names = sorted(store.manifest.splits, key=lambda name: (order.index(name) if name in order else 3, name))
    counts, cut = dict[str, ClassCounts](), dict[str, list[Tile]]()
    for split in names:
        samples = [tiles(store, sample, variant) for sample in store.split(split)]
        if not samples:
            continue
        by_sample = np.stack([np.sum([tile.pixels for tile in parts], axis=0) for parts in samples])
        counts[split] = ClassCounts(
            len(samples), by_sample.sum(axis=0), (by_sample > 0).sum(axis=0, dtype=np.int64)
        )
        cut[split] = [tile for parts in samples for tile in parts]
    return counts, cut


def most_classes(candidates: Sequence[Tile], wanted: int) -> list[Tile]:
    """Choose tiles that together show the most classes: greedily, one tile a sample.

    A class is shown in full from VISIBLE of a tile's pixels on. Each next tile is the one that adds most to
    what the chosen ones show; where none adds anything, the count starts afresh. Among equals comes first
    what is of a unit not yet shown, then what stands farthest from the chosen ones in the split's list (its
    neighbours are often the next frames of one film), then what is listed first. No chance, no hand.
    """
    chosen: list[Tile] = []
    left = list(enumerate(candidates))
    places: list[int] = []
    shown = np.zeros(len(candidates[0].pixels) - 1) if candidates else np.zeros(0)
    while left and len(chosen) < wanted:
        shares = np.stack([tile.pixels[:-1] / tile.pixels.sum() for _, tile in left])
        seen = np.minimum(shares / VISIBLE, 1.0)
        gains = np.maximum(seen - shown, 0.0).sum(axis=1)
        if gains.max() <= 0 and shown.any():
            shown = np.zeros_like(shown)
            continue
        units = {tile.unit for tile in chosen}
        used = [tile.unit in units for _, tile in left]
        apart = [min((abs(place - other) for other in places), default=0) for place, _ in left]
        best = int(np.lexsort((-np.array(apart), np.array(used), -np.round(gains, 9)))[0])
        shown = np.maximum(shown, seen[best])
        places.append(left[best][0])
        chosen.append(left[best][1])
        left = [(place, tile) for place, tile in left if tile.sample != chosen[-1].sample]
    return chosen
