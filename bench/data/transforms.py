"""How a scene becomes a segmenter's training crop: resize, crop, flip, distort, pad; any number of channels.

Only the part of the scene that the crop shows is read. Axes: images are HWC in stored units (float32 once
resized), labels HW uint8 with 255 for ignored; r is the resize ratio, (H, W) the scene, (round(rH),
round(rW)) the resized scene, in which the crop is cut.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Image_HWC = NDArray[Any]
Labels_HW = NDArray[np.uint8]

IGNORE = 255
RETRIES = 10
"""How often a crop dominated by one class is drawn again (mmsegmentation's RandomCrop)."""


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
        `interpolate(mode="bilinear", align_corners=False)`.
        """
        at = (np.arange(self.start, self.start + self.size) + 0.5) * (self.source / self.target) - 0.5
        at = at.clip(0, self.source - 1)
        low = np.floor(at).astype(np.int64)
        return low, np.minimum(low + 1, self.source - 1), (at - low).astype(np.float32)

    def nearest(self) -> NDArray[np.int64]:
        """Return for each pixel the source pixel that holds its centre."""
        at = (np.arange(self.start, self.start + self.size) + 0.5) * (self.source / self.target)
        nearest: NDArray[np.int64] = np.minimum(np.floor(at).astype(np.int64), self.source - 1)
        return nearest


def draw_spans(shape: Sequence[int], crop: int, ratio: float, draw: random.Random) -> tuple[Span, Span]:
    """Draw where a crop lies in a scene of `shape` (H, W) resized by `ratio`: its rows and its columns.

    A side shorter than the crop is taken whole; `pad` makes up for it.
    """
    spans = []
    for source in shape[:2]:
        target = max(1, round(ratio * source))
        size = min(crop, target)
        spans.append(Span(source, target, draw.randint(0, target - size), size))
    return spans[0], spans[1]


def dominated(labels: Labels_HW, max_share: float) -> bool:
    """Say whether one class holds `max_share` or more of the labelled pixels, or is alone, or none is there."""
    counts = np.bincount(labels.reshape(-1), minlength=IGNORE + 1)[:IGNORE]
    present = counts[counts > 0]
    return len(present) < 2 or bool(present.max() >= max_share * present.sum())


def resize_image(window: Image_HWC, rows: Span, columns: Span) -> NDArray[np.float32]:
    """Resize the window that a crop needs bilinearly: float32 [rows.size, columns.size, C].

    `window` is the part of the scene that `Span.window` names. Equals resizing the whole scene and cutting
    the crop out of it.
    """
    (top, bottom, down), (left, right, across) = rows.bilinear(), columns.bilinear()
    above, below = window[top - top[0]].astype(np.float32), window[bottom - top[0]].astype(np.float32)
    mixed = above + (below - above) * down[:, None, None]
    before, after = mixed[:, left - left[0]], mixed[:, right - left[0]]
    resized: NDArray[np.float32] = before + (after - before) * across[None, :, None]
    return resized


def resize_labels(window: Labels_HW, rows: Span, columns: Span) -> Labels_HW:
    """Resize the window of labels that a crop needs to the nearest: uint8 [rows.size, columns.size]."""
    return window[np.ix_(rows.nearest() - rows.window().start, columns.nearest() - columns.window().start)]


def pad(
    image: NDArray[np.float32], labels: Labels_HW, crop: int, mean: NDArray[np.float32]
) -> tuple[NDArray[np.float32], Labels_HW]:
    """Fill a crop up to `crop` pixels a side, below and to the right.

    The image is filled with each channel's mean, which normalises to 0, the labels with 255.
    """
    height, width = labels.shape
    if (height, width) == (crop, crop):
        return image, labels
    full = np.broadcast_to(mean, (crop, crop, len(mean))).copy()
    full[:height, :width] = image
    targets = np.full((crop, crop), IGNORE, dtype=np.uint8)
    targets[:height, :width] = labels
    return full, targets


def distort_colours(
    image: NDArray[np.float32], planes: Sequence[int], draw: random.Random
) -> NDArray[np.float32]:
    """Distort brightness, contrast, saturation and hue of the three 8-bit `planes`; copy the others.

    mmsegmentation's PhotoMetricDistortion: each with probability 1/2: brightness + U(-32, 32), contrast times
    U(0.5, 1.5) (before or after the colours), saturation times U(0.5, 1.5), hue + U(-18, 18) of 180.
    """
    rgb = image[..., list(planes)]
    contrast_first = draw.random() < 0.5
    if draw.random() < 0.5:
        rgb = (rgb + draw.uniform(-32, 32)).clip(0, 255)
    contrast = draw.uniform(0.5, 1.5) if draw.random() < 0.5 else 1.0
    if contrast_first:
        rgb = (rgb * contrast).clip(0, 255)
    saturation = draw.uniform(0.5, 1.5) if draw.random() < 0.5 else 1.0
    hue = draw.uniform(-18, 18) / 180 if draw.random() < 0.5 else 0.0
    if saturation != 1.0 or hue:
        hsv = np.asarray(Image.fromarray(rgb.round().astype(np.uint8)).convert("HSV")).astype(np.float32)
        hsv[..., 0] = (hsv[..., 0] + hue * 256) % 256  # Pillow's circle has 256 steps
        hsv[..., 1] = (hsv[..., 1] * saturation).clip(0, 255)
        turned = Image.fromarray(hsv.astype(np.uint8), mode="HSV").convert("RGB")
        rgb = np.asarray(turned).astype(np.float32)
    if not contrast_first:
        rgb = (rgb * contrast).clip(0, 255)
    result = image.copy()
    result[..., list(planes)] = rgb
    return result


def normalise(images_NCHW: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return (images - mean) / std in float32, on the images' device.

    `mean` and `std` are in stored units, [C] for all images or [N, C] for each (the statistics that follow a
    channel plan).
    """
    device = images_NCHW.device
    shift, scale = (value.to(device, torch.float32)[..., None, None] for value in (mean, std))
    return images_NCHW.to(torch.float32).sub(shift).div(scale)
