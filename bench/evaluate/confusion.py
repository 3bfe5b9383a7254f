"""The confusion matrix of one label map: int64 counts, [target, prediction], on the host or on the device."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import BenchError


def confusion(
    target_HW: NDArray[np.uint8], prediction_HW: NDArray[np.uint8], num_classes: int, ignore_index: int = 255
) -> NDArray[np.int64]:
    """Count the pixels of every pair of classes.

    `target_HW` and `prediction_HW`: uint8 class ids of equal shape. Pixels whose target is `ignore_index` are
    left out, whatever is predicted there. Returns int64 counts[target, prediction], shape (num_classes,
    num_classes), whose sum is the number of pixels that are not ignored.

    Raises BenchError if the shapes differ, a map is not uint8, or a counted label is no class; the message
    names the value.
    """
    if target_HW.shape != prediction_HW.shape:
        raise BenchError(
            f"the target has shape {target_HW.shape}, the prediction {prediction_HW.shape}; "
            "they must cover the same pixels"
        )
    for name, labels in (("target", target_HW), ("prediction", prediction_HW)):
        if labels.dtype != np.uint8:
            raise BenchError(f"the {name} is {labels.dtype}; expected class ids in uint8")
    if not 0 < num_classes <= ignore_index <= 255:
        raise BenchError(
            f"num_classes {num_classes}, ignore_index {ignore_index}: "
            "expected 0 < num_classes <= ignore_index <= 255"
        )
    # Two bytes packed into 16 bits are one of 65,536 bins: a single pass counts every pair, the ignored and
    # the impossible too, and needs no mask.
    packed = (target_HW.astype(np.uint16) << 8) | prediction_HW
    return _checked(np.bincount(packed.ravel(), minlength=1 << 16), num_classes, ignore_index)


def confusion_on_device(
    target_HW: NDArray[np.uint8], prediction_HW: Tensor, num_classes: int, ignore_index: int = 255
) -> NDArray[np.int64]:
    """Count as `confusion` does, where the prediction is: uint8 ids on any device; the labels are sent there.

    On the CPU this is `confusion` itself. Integer counts: every device gives the same.
    """
    if prediction_HW.device.type == "cpu":
        return confusion(target_HW, prediction_HW.numpy(), num_classes, ignore_index)
    target = torch.from_numpy(target_HW).to(prediction_HW.device, non_blocking=True)
    packed = target.to(torch.int32).mul_(256).add_(prediction_HW)
    pairs = torch.bincount(packed.flatten(), minlength=1 << 16)
    return _checked(pairs.cpu().numpy(), num_classes, ignore_index)


def _checked(flat: NDArray[np.int64], num_classes: int, ignore_index: int) -> NDArray[np.int64]:
    """Return the counts of the classes; BenchError if a counted label is none."""
    pairs = flat.reshape(256, 256)
    pairs[ignore_index] = 0
    counts = pairs[:num_classes, :num_classes].astype(np.int64)
    if counts.sum() != pairs.sum():
        _refuse(pairs, num_classes, ignore_index)
    return counts


def _refuse(pairs: NDArray[np.int64], num_classes: int, ignore_index: int) -> None:
    """Raise BenchError for the first label, target before prediction, that is no class."""
    for name, totals in (("target", pairs.sum(axis=1)), ("prediction", pairs.sum(axis=0))):
        for value in range(num_classes, 256):
            if totals[value]:
                allowed = f"0..{num_classes - 1}" + (
                    f" and {ignore_index} (ignored)" if name == "target" else ""
                )
                raise BenchError(
                    f"the {name} holds label {value} in {totals[value]} counted pixels; expected {allowed}: "
                    "prepare the data again, or correct the number of classes"
                )
