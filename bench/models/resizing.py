"""Bilinear resizing and pooling to a grid: torch's own, or the same as matrix products.

torch has no deterministic backward on CUDA for either. Both are linear and separable, though: one matrix for the
rows and one for the columns, and a product with a matrix has a deterministic backward. So where
`torch.are_deterministic_algorithms_enabled()` says that bits matter more than time, that is how they are computed,
at least in float32 whatever autocast says, and equal to torch's but for rounding.

Axes: N image, C channel, H row, W column.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def resize(x_NCHW: Tensor, size: Sequence[int]) -> Tensor:
    """Resize bilinearly to (H, W), pixel centres aligned (`align_corners=False`)."""
    if torch.are_deterministic_algorithms_enabled():
        rows, columns = (bilinear(n, wanted) for n, wanted in zip(x_NCHW.shape[2:], size, strict=True))
        return _product(x_NCHW, rows, columns)
    return F.interpolate(x_NCHW, size=tuple(size), mode="bilinear", align_corners=False)


def pool(x_NCHW: Tensor, cells: int) -> Tensor:
    """Average over a grid of cells x cells: [N, C, cells, cells]. Cells overlap where they do not divide the map."""
    if torch.are_deterministic_algorithms_enabled():
        rows, columns = (averages(n, cells) for n in x_NCHW.shape[2:])
        return _product(x_NCHW, rows, columns)
    return F.adaptive_avg_pool2d(x_NCHW, cells)


def _product(x_NCHW: Tensor, rows: NDArray[np.float32], columns: NDArray[np.float32]) -> Tensor:
    """Return rows @ x @ columns.T for each map, in the type of `x_NCHW`."""
    kind = torch.promote_types(x_NCHW.dtype, torch.float32)
    down, across = (torch.from_numpy(matrix).to(x_NCHW.device, kind) for matrix in (rows, columns))
    with torch.autocast(x_NCHW.device.type, enabled=False):
        found: Tensor = down @ (x_NCHW.to(kind) @ across.T)
    return found.to(x_NCHW.dtype)


@lru_cache(maxsize=256)
def bilinear(size: int, wanted: int) -> NDArray[np.float32]:
    """Return the matrix [wanted, size] that resizes one axis: two weights a row, which sum to 1.

    Point i lies at (i + 1/2) size / wanted - 1/2, not before the first pixel, and the last pixel goes on beyond its
    centre. In float32, as torch computes it.
    """
    scale = np.float32(size) / np.float32(wanted)
    place = np.maximum(scale * (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5), 0)
    low = np.minimum(place.astype(np.int64), size - 1)
    share = (place - low).astype(np.float32)
    matrix = np.zeros((wanted, size), np.float32)
    each = np.arange(wanted)
    matrix[each, low] += 1 - share
    matrix[each, np.minimum(low + 1, size - 1)] += share
    return matrix


@lru_cache(maxsize=256)
def averages(size: int, cells: int) -> NDArray[np.float32]:
    """Return the matrix [cells, size] whose row i averages floor(i size / cells) .. ceil((i + 1) size / cells) - 1."""
    matrix = np.zeros((cells, size), np.float32)
    for cell in range(cells):
        start, stop = cell * size // cells, -(-(cell + 1) * size // cells)
        matrix[cell, start:stop] = 1 / (stop - start)
    return matrix
