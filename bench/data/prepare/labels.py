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
ROWS = 512
"""Rows decoded at once: a source image may have 10^9 pixels."""


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
    ids_HW = np.empty(colours_HW3.shape[:2], np.uint8)
    unknown: dict[int, int] = {}
    for top in range(0, len(ids_HW), ROWS):
        keys = _keys(colours_HW3[top : top + ROWS])
        ids = ids_HW[top : top + ROWS]
        np.take(table, keys, out=ids)
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
            f"{path}: colour {colour} on {count} pixels is in no class{others}; the palette is {palette}"
        )
    return ids_HW


def _keys(colours_HW3: NDArray[np.uint8]) -> NDArray[np.int64]:
    wide = colours_HW3.astype(np.int64)
    keys: NDArray[np.int64] = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return keys


def check_ids(
    ids_HW: NDArray[Any], num_classes: int, ignore_index: int | None, path: Path
) -> NDArray[np.uint8]:
    """Return labels that are ids already as uint8, the pixels of `ignore_index` set to 255.

    Raises BenchError, naming file, value and count, for an id that is no class.
    """
    if not np.issubdtype(ids_HW.dtype, np.integer):
        raise BenchError(f"{path}: labels of type {ids_HW.dtype}; expected whole numbers")
    if num_classes > UNKNOWN:
        raise BenchError(f"{num_classes} classes; prepared labels hold at most {UNKNOWN}")
    ignored = np.zeros(ids_HW.shape, bool) if ignore_index is None else ids_HW == ignore_index
    outside = ~ignored & ((ids_HW < 0) | (ids_HW >= num_classes))
    if outside.any():
        values, counts = np.unique(ids_HW[outside], return_counts=True)
        ignore = "" if ignore_index is None else f" and {ignore_index} (ignore)"
        raise BenchError(
            f"{path}: label {values[0]} on {counts[0]} pixels; this dataset has "
            f"0..{num_classes - 1}{ignore}: "
            f"correct the file or the classes"
        )
    return np.where(ignored, IGNORE, ids_HW).astype(np.uint8)
