"""Labels: palette colours to class ids, and ids checked against the classes.

A colour is looked up in a table over all 2^24 colours, so a picture is decoded in one pass whatever the
number of classes, and a colour outside the palette cannot be taken for one inside.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.catalog.entry import Colour, LabelClass
from bench.errors import BenchError

IGNORE = 255
"""The ignore id of every prepared label."""
UNKNOWN = 254
"""Table value of a colour that is in no palette; never written."""
PIXELS = 1 << 18
"""Pixels decoded at once: their keys stay in the cache, and a source image may have 10^9 pixels."""


@lru_cache(maxsize=4)
def _table(colours: tuple[Colour, ...], ignored: tuple[Colour, ...]) -> NDArray[np.uint8]:
    if len(colours) > UNKNOWN:
        raise BenchError(f"{len(colours)} classes; prepared labels hold at most {UNKNOWN}")
    table = np.full(1 << 24, UNKNOWN, np.uint8)
    for index, (red, green, blue) in enumerate(colours):
        table[red << 16 | green << 8 | blue] = index
    for red, green, blue in ignored:
        table[red << 16 | green << 8 | blue] = IGNORE
    return table


def ids_of_colours(
    colours_HW3: NDArray[np.uint8], classes: Sequence[LabelClass], path: Path, ignored: Sequence[Colour] = ()
) -> NDArray[np.uint8]:
    """Return the class ids (HW, 255 for an `ignored` colour) of a label picture.

    Raises BenchError, naming the file `path`, the most frequent colour outside the palette and its pixels.
    """
    if colours_HW3.dtype != np.uint8 or colours_HW3.ndim != 3 or colours_HW3.shape[2] != 3:
        raise BenchError(
            f"{path}: a label picture of shape {colours_HW3.shape} and type {colours_HW3.dtype}; expected "
            "8-bit RGB"
        )
    table = _table(tuple(entry.colour for entry in classes), tuple(ignored))
    height, width = colours_HW3.shape[:2]
    ids_HW = np.empty((height, width), np.uint8)
    rows = max(1, PIXELS // max(width, 1))
    # Four bytes a pixel, the least first and the highest always 0: read as one number they are the key.
    bytes_HW4 = np.zeros((min(rows, height), width, 4), np.uint8)
    unknown: dict[int, int] = {}
    for top in range(0, height, rows):
        block, ids = colours_HW3[top : top + rows], ids_HW[top : top + rows]
        part = bytes_HW4[: len(block)]
        part[..., 2], part[..., 1], part[..., 0] = block[..., 0], block[..., 1], block[..., 2]
        keys = part.view("<u4")[..., 0]
        np.take(table, keys, out=ids, mode="clip")  # no key lies outside; "raise" would copy first
        outside = ids == UNKNOWN
        if outside.any():
            for key, count in zip(*np.unique(keys[outside], return_counts=True), strict=True):
                unknown[int(key)] = unknown.get(int(key), 0) + int(count)
    if unknown:
        key, count = max(unknown.items(), key=lambda item: (item[1], -item[0]))
        colour = (key >> 16, key >> 8 & 255, key & 255)
        others = f"; {len(unknown) - 1} other colours too" if len(unknown) > 1 else ""
        palette = ", ".join(f"{entry.name} {entry.colour}" for entry in classes)
        raise BenchError(
            f"{path}: colour {colour} on {count} pixels is in no class{others}; the palette is {palette}: "
            "acquire the file again, or repair it"
        )
    return ids_HW


def check_ids(
    ids_HW: NDArray[Any], num_classes: int, ignore_index: int | None, path: Path
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return labels that are ids already as uint8, the pixels of `ignore_index` set to 255, and the pixels of
    each class.

    Raises BenchError, naming file, value and count, for an id that is no class.
    """
    if ids_HW.dtype not in (np.uint8, np.uint16):
        raise BenchError(f"{path}: labels of type {ids_HW.dtype}; expected whole numbers of 8 or 16 bits")
    if num_classes > UNKNOWN:
        raise BenchError(f"{num_classes} classes; prepared labels hold at most {UNKNOWN}")
    counts = _histogram(ids_HW)
    allowed = np.zeros(len(counts), bool)
    allowed[:num_classes] = True
    if ignore_index is not None and ignore_index < len(counts):
        allowed[ignore_index] = True
    outside = np.flatnonzero((counts > 0) & ~allowed)
    if len(outside):
        ignore = "" if ignore_index is None else f" and {ignore_index} (ignore)"
        raise BenchError(
            f"{path}: label {outside[0]} on {counts[outside[0]]} pixels; this dataset has "
            f"0..{num_classes - 1}{ignore}: correct the file or the classes"
        )
    pixels = counts[:num_classes]
    if ids_HW.dtype == np.uint8 and ignore_index in (None, IGNORE):
        return ids_HW, pixels
    table = np.arange(len(counts)).astype(np.uint8)
    if ignore_index is not None and ignore_index < len(table):
        table[ignore_index] = IGNORE
    return table[ids_HW], pixels


def _histogram(ids_HW: NDArray[Any]) -> NDArray[np.int64]:
    """Return how often each of the 2^8 or 2^16 values occurs."""
    flat = np.ascontiguousarray(ids_HW).reshape(-1)
    if flat.dtype == np.uint8 and len(flat) % 2 == 0:
        # Two labels at a time: half as many steps, and both margins of the joint counts are the counts.
        pairs = _counted(flat.view(np.uint16)).reshape(256, 256)
        found: NDArray[np.int64] = pairs.sum(axis=0) + pairs.sum(axis=1)
        return found
    return _counted(flat)


def _counted(flat: NDArray[Any]) -> NDArray[np.int64]:
    bins = 1 << 8 * flat.dtype.itemsize
    counts = np.zeros(bins, np.int64)
    for start in range(0, len(flat), PIXELS):
        counts += np.bincount(flat[start : start + PIXELS], minlength=bins)
    return counts
