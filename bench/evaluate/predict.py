"""Sliding-window prediction: windows cover the image, logits are averaged where they overlap.

Axes: N image, C channel or class, H row, W column.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import BenchError


def window_starts(size: int, window: int, stride: int) -> list[int]:
    """Return the first pixel of each window along one axis of `size` pixels.

    Windows start every `stride` pixels; the last is shifted back to end at the border. One window, cut to the
    image, serves an image no larger than it. Raises BenchError unless 0 < stride <= window, for a wider
    stride leaves gaps.
    """
    if not 0 < stride <= window:
        raise BenchError(
            f"window {window}, stride {stride}: expected 0 < stride <= window, so that no pixel is left out"
        )
    last = max(size - window, 0)
    return [*range(0, last, stride), last]


@torch.inference_mode()
def window_logits(
    model: Callable[[Tensor], Any], image_NCHW: Tensor, window: int, stride: int, num_classes: int
) -> Tensor:
    """Return the mean over windows of the logits at each pixel: [N, num_classes, H, W], float32.

    The result is on the image's device. `model` maps a normalised window [N, C, h, w] of at most
    `window` a side to logits [N, num_classes, h, w]; a module is in evaluation mode. Raises BenchError if
    it is not, or if its logits have another shape.
    """
    if getattr(model, "training", False):
        raise BenchError(
            "the model is in training mode, where a forward pass is random; call model.eval() first"
        )
    count, _, height, width = image_NCHW.shape
    total = image_NCHW.new_zeros((count, num_classes, height, width), dtype=torch.float32)
    visits = image_NCHW.new_zeros((height, width), dtype=torch.float32)
    for top in window_starts(height, window, stride):
        for left in window_starts(width, window, stride):
            here = (..., slice(top, top + window), slice(left, left + window))
            crop = image_NCHW[here]
            logits = model(crop)
            expected = (count, num_classes, *crop.shape[2:])
            if logits.shape != expected:
                raise BenchError(
                    f"the model gave logits {tuple(logits.shape)} for a window; expected {expected}"
                )
            total[here] += logits
            visits[here] += 1
    return total.div_(visits)


@torch.inference_mode()
def predict(
    model: Callable[[Tensor], Any], image: Tensor, window: int, stride: int, num_classes: int
) -> NDArray[np.uint8]:
    """Return the class ids of a normalised image: uint8, [H, W] for [C, H, W] and [N, H, W] for [N, C, H, W].

    `window` and `stride` are in pixels. The image must be on the model's device; the ids are on the host.
    Equal logits go to one of the tied classes. Raises BenchError for more than 255 classes, or as
    `window_logits`.
    """
    if num_classes > 255:
        raise BenchError(f"{num_classes} classes do not fit label maps of 0..254 with 255 for ignored pixels")
    batch = image if image.ndim == 4 else image[None]
    logits_NCHW = window_logits(model, batch, window, stride, num_classes)
    # max(1).indices gives what argmax(1) gives, and costs a third of it on the CPU.
    ids_NHW: NDArray[np.uint8] = logits_NCHW.max(1).indices.to(torch.uint8).cpu().numpy()
    return ids_NHW if image.ndim == 4 else ids_NHW[0]
