"""How well edges are placed: Boundary IoU, boundary F1 and the confusion near edges, as counts that can be added.

All are defined by chessboard distance d on label maps, and found for all classes in one pass:

    edge band      x is in the band of width d of map L if a pixel within distance d has another label than x
                   (the frame of the image counts as another label; ignored pixels count as none)
    Boundary IoU   of class c: |B_c(target) and B_c(prediction)| / |B_c(target) or B_c(prediction)|,
                   B_c(L) = pixels of label c in the band of L             (Cheng et al., arXiv 2103.16562)
    boundary F1    contour pixels (the band of width 1) of class c: precision is the share of the prediction's
                   within distance d of one of the target's, recall the reverse  (Csurka et al., BMVC 2013)
    near, inside   the confusion matrix of the pixels in the target's band, and of the rest

Sums over images come before ratios, as for IoU. Arithmetic in numpy alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.evaluate.confusion import confusion

IGNORE = 255
ROWS = 1024
"""Rows taken at once, and their neighbours within reach."""
MOST_CLASSES = 64
"""Contours of all classes are held in the bits of one integer a pixel."""

Ids = NDArray[np.uint8]


@dataclass(frozen=True)
class EdgeCounts:
    """Counts of one image at one width, each int64 and additive over images.

    `iou` [C, 3]: pixels of a class in both bands, in the target's, in the prediction's. `contour` [C, 4]: contour
    pixels of the prediction that are matched, all of them; of the target matched, all of them. `near` [C, C]:
    confusion [target, prediction] of the pixels in the target's band.
    """

    iou: NDArray[np.int64]
    contour: NDArray[np.int64]
    near: NDArray[np.int64]

    def __add__(self, other: "EdgeCounts") -> "EdgeCounts":
        return EdgeCounts(self.iou + other.iou, self.contour + other.contour, self.near + other.near)


def edge_counts(target_HW: Ids, prediction_HW: Ids, num_classes: int, width: int) -> EdgeCounts:
    """Count bands and contours of width `width` (pixels, 1 or more); ignored pixels (255) are nowhere counted.

    Raises BenchError for maps of different shapes, a width below 1, or more classes than an integer has bits.
    """
    if target_HW.shape != prediction_HW.shape:
        raise BenchError(
            f"the target has shape {target_HW.shape}, the prediction {prediction_HW.shape}; they must cover the same "
            "pixels"
        )
    if width < 1 or not 0 < num_classes <= MOST_CLASSES:
        raise BenchError(
            f"boundary width {width}, {num_classes} classes: expected a width of 1 pixel or more and at most "
            f"{MOST_CLASSES} classes"
        )
    height, found = len(target_HW), None
    # Contours that match lie within `width`, and a pixel is a contour by its own neighbour.
    reach = width + 1
    for top in range(0, height, ROWS):
        bottom = min(top + ROWS, height)
        first, last = max(0, top - reach), min(height, bottom + reach)
        edges = (first == 0, last == height)
        block = _block(
            target_HW[first:last], prediction_HW[first:last], num_classes, width, edges,
            slice(top - first, bottom - first),
        )  # fmt: skip
        found = block if found is None else found + block
    assert found is not None
    return found


def _block(
    target: Ids, prediction: Ids, classes: int, width: int, edges: tuple[bool, bool], rows: slice
) -> EdgeCounts:
    """Return the counts of the inner `rows` of a block; `edges` says whether it begins and ends the image."""
    kept = target != IGNORE
    bands = [band(ids, width, edges)[rows] for ids in (target, prediction)]
    contours = [band(ids, 1, edges) & kept for ids in (target, prediction)]
    bits = [_bits(ids, contour, classes) for ids, contour in zip((target, prediction), contours, strict=True)]
    near = [
        _spread(_spread(part, width, np.bitwise_or, 0, 0), width, np.bitwise_or, 1, 0)[rows] for part in bits
    ]
    target, prediction, kept = target[rows], prediction[rows], kept[rows]
    contours = [contour[rows] for contour in contours]
    matched = [
        (around & _bits(ids, contour, classes)) != 0
        for contour, ids, around in zip(contours, (target, prediction), near[::-1], strict=True)
    ]

    def by_class(ids: Ids, where: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(ids[where], minlength=classes)[:classes].astype(np.int64)

    both = bands[0] & bands[1] & (target == prediction) & kept
    return EdgeCounts(
        np.stack(
            [
                by_class(target, both),
                by_class(target, bands[0] & kept),
                by_class(prediction, bands[1] & kept),
            ],
            axis=1,
        ),
        np.stack(
            [
                by_class(prediction, matched[1]),
                by_class(prediction, contours[1]),
                by_class(target, matched[0]),
                by_class(target, contours[0]),
            ],
            axis=1,
        ),
        confusion(np.where(bands[0], target, IGNORE).astype(np.uint8), prediction, classes),
    )


def _bits(ids: Ids, where: NDArray[np.bool_], classes: int) -> NDArray[Any]:
    """Return 2 to the power of each pixel's class `where` asked for, else 0, in the narrowest type that holds it."""
    kinds = ((np.uint8, 8), (np.uint16, 16), (np.uint32, 32), (np.uint64, 64))
    kind = next(kind for kind, size in kinds if classes <= size)
    powers = np.array([1 << index if index < classes else 0 for index in range(256)], kind)
    return powers[ids] * where


def band(ids_HW: Ids, width: int, edges: tuple[bool, bool] = (True, True)) -> NDArray[np.bool_]:
    """Say of each pixel whether another label lies within chessboard distance `width`: bool [H, W].

    The frame of the image counts as another label, above and below only where `edges` says that the image ends
    there. Ignored pixels (255) are neither in a band nor do they make one.
    """
    ignored = ids_HW == IGNORE
    highest = _square(np.where(ignored, 0, ids_HW).astype(np.uint8), width, np.maximum, 0)
    lowest = _square(ids_HW, width, np.minimum, IGNORE)
    found: NDArray[np.bool_] = highest != lowest
    found[:, :width] = found[:, max(0, ids_HW.shape[1] - width) :] = True
    if edges[0]:
        found[:width] = True
    if edges[1]:
        found[max(0, len(ids_HW) - width) :] = True
    found[ignored] = False
    return found


def _square(
    values: NDArray[Any], width: int, best: Callable[..., NDArray[Any]], outside: int
) -> NDArray[Any]:
    return _spread(_spread(values, width, best, 0, outside), width, best, 1, outside)


def _spread(
    values: NDArray[Any], width: int, best: Callable[..., NDArray[Any]], axis: int, outside: int
) -> NDArray[Any]:
    """Return the best value (maximum, minimum, or) within `width` along one axis, by doubling the reach.

    A window of 2d + 1 takes about log2(2d + 1) passes over the array instead of 2d; `outside` never wins.
    """
    around = [(0, 0), (0, 0)]
    around[axis] = (width, width)
    found = np.pad(values, around, constant_values=outside)
    if axis == 1:
        found = found.T
    length, reach = 2 * width + 1, 1
    while 2 * reach <= length:
        found = best(found[:-reach], found[reach:])
        reach *= 2
    if reach < length:
        rest = length - reach
        found = best(found[:-rest], found[rest:])
    return found.T if axis == 1 else found
