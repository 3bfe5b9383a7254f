"""How a scene becomes a segmenter's training crop: resize, crop, flip, pad; any number of channels.

Only the part of the scene that the crop shows is read. Axes: stored windows are HWC in their stored type, the
crop is CHW float32, labels are HW uint8 with 255 for ignored; r is the resize ratio, (H, W) the scene or patch,
(rH, rW), rounded, the resized one, in which the crop is cut.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Window_HWC = NDArray[Any]
Crop_CHW = NDArray[np.float32]
Labels_HW = NDArray[np.uint8]

IGNORE = 255
RETRIES = 10
"""How often a crop dominated by one class is drawn again (mmsegmentation's RandomCrop)."""
ROWS = 32
"""Rows resized at a time, so that intermediate rows stay in the cache."""


@dataclass(frozen=True)
class Span:
    """Where one axis of a crop comes from.

    `size` pixels from `start` on, of a scene of `source` pixels resized to `target`.
    """

    source: int
    target: int
    start: int
    size: int

    def window(self) -> slice:
        """Return the source pixels that the crop needs."""
        low, high, _ = self.bilinear()
        return slice(int(low[0]), int(high[-1]) + 1)

    def bilinear(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Return for each pixel the two source pixels beside it and the weight of the second.

        Pixel centres correspond: s = (t + 1/2) source / target - 1/2, clamped to the scene, as in
        `interpolate(mode="bilinear", align_corners=False)` and OpenCV's INTER_LINEAR.
        """
        at = (np.arange(self.start, self.start + self.size) + 0.5) * (self.source / self.target) - 0.5
        at = at.clip(0, self.source - 1)
        low = np.floor(at).astype(np.int64)
        return low, np.minimum(low + 1, self.source - 1), (at - low).astype(np.float32)

    def nearest(self) -> NDArray[np.int64]:
        """Return for each pixel the source pixel that holds its centre.

        So labels lie where the image lies. OpenCV's INTER_NEAREST would take floor(t source / target), up to half
        a source pixel beside the image.
        """
        at = (np.arange(self.start, self.start + self.size) + 0.5) * (self.source / self.target)
        nearest: NDArray[np.int64] = np.minimum(np.floor(at).astype(np.int64), self.source - 1)
        return nearest


def draw_spans(shape: Sequence[int], crop: int, ratio: float, draw: random.Random) -> tuple[Span, Span]:
    """Draw where a crop lies in a scene of `shape` (H, W) resized by `ratio`: its rows and its columns.

    A side shorter than the crop is taken whole; `pad` makes up for it.
    """
    spans = []
    for source in shape[:2]:
        target = max(1, int(ratio * source + 0.5))  # half up, as mmcv rounds sizes
        size = min(crop, target)
        spans.append(Span(source, target, draw.randint(0, target - size), size))
    return spans[0], spans[1]


def dominated(labels: Labels_HW, max_share: float) -> bool:
    """Say whether one class holds `max_share` or more of the labelled pixels, or is alone, or none is there."""
    counts = np.bincount(labels.reshape(-1), minlength=IGNORE + 1)[:IGNORE]
    present = counts[counts > 0]
    return len(present) < 2 or bool(present.max() >= max_share * present.sum())


def resize_image(window: Window_HWC, rows: Span, columns: Span) -> Crop_CHW:
    """Resize the window that a crop needs bilinearly: float32 [C, rows.size, columns.size].

    `window` is the part of the scene that `Span.window` names, of any real type and layout. Equals resizing the
    whole scene in float32 and cutting the crop out of it.
    """
    (top, bottom, down), (left, right, across) = rows.bilinear(), columns.bilinear()
    top, bottom = top - top[0], bottom - top[0]
    left, right = left - left[0], right - left[0]
    resized_CHW = np.empty((window.shape[2], rows.size, columns.size), dtype=np.float32)
    for first in range(0, rows.size, ROWS):
        some = slice(first, first + ROWS)
        mixed = _between(window[top[some]], window[bottom[some]], down[some, None, None])
        mixed = _between(mixed.take(left, axis=1), mixed.take(right, axis=1), across[None, :, None])
        resized_CHW[:, some] = mixed.transpose(2, 0, 1)
    return resized_CHW


def _between(one: NDArray[Any], other: NDArray[Any], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one + (other - one) * weight in float32; may write into its arguments, which are copies."""
    low, high = one.astype(np.float32, copy=False), other.astype(np.float32, copy=False)
    high -= low
    high *= weight
    low += high
    return low


def resize_labels(window: Labels_HW, rows: Span, columns: Span) -> Labels_HW:
    """Resize the window of labels that a crop needs to the nearest: uint8 [rows.size, columns.size]."""
    return window[np.ix_(rows.nearest() - rows.window().start, columns.nearest() - columns.window().start)]


def pad(
    image_CHW: Crop_CHW, labels: Labels_HW, size: int, fill: NDArray[np.float32]
) -> tuple[Crop_CHW, Labels_HW]:
    """Fill a crop up to `size` pixels a side, below and to the right.

    The image is filled with `fill` [C] (the channels' means, which normalise to 0), the labels with 255.
    """
    height, width = labels.shape
    if (height, width) == (size, size):
        return image_CHW, labels
    full = np.empty((len(fill), size, size), dtype=np.float32)
    full[:] = fill[:, None, None]
    full[:, :height, :width] = image_CHW
    targets = np.full((size, size), IGNORE, dtype=np.uint8)
    targets[:height, :width] = labels
    return full, targets


def normalise(images_NCHW: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return (images - mean) / std in float32, on the images' device.

    `mean` and `std` are in stored units, [C] for all images or [N, C] for each (the statistics that follow a
    channel plan).
    """
    device = images_NCHW.device
    shift, scale = (value.to(device, torch.float32)[..., None, None] for value in (mean, std))
    # One new tensor and not three: on the CPU fresh memory costs more than the arithmetic.
    return images_NCHW.to(torch.float32, copy=True).sub_(shift).div_(scale)
