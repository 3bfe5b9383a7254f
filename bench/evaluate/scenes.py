"""What a prediction reads: windows of one scene, normalised and on the device, however large the scene is.

A scene is never held whole: a window is read from the memory-mapped arrays when it is asked for. A resized scene
is a scene again. Axes: C channel, H row, W column.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.store import SegmentationStore
from bench.data.transforms import Span, normalise, resize_image

Read = Callable[[slice, slice], NDArray[np.float32]]
"""Rows and columns of an image to its pixels: float32 [C, h, w] in stored units."""
Change = Callable[[Tensor], Tensor]
"""What is done to a window in stored units, [C, h, w], before it is normalised: see `spectral`."""


class Scene(Protocol):
    """A picture of `shape` (H, W) that gives windows of itself."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        ...

    def window(self, top: int, left: int, height: int, width: int) -> Tensor:
        """Return a window inside the scene: normalised float32 [C, height, width] on the device."""
        ...


@dataclass(frozen=True, kw_only=True)
class StoredScene:
    """A scene in stored units that is read in windows, normalised by `mean` and `std` ([C], on `device`).

    With `least`, a window is filled up to so many pixels a side, below and to the right, with stored 0, as
    patches of small images are published; the logits there are cut off by whoever predicts.
    """

    shape: tuple[int, int]
    read: Read
    mean: Tensor
    std: Tensor
    device: torch.device
    change: Change | None = None
    least: int = 0

    def window(self, top: int, left: int, height: int, width: int) -> Tensor:
        """Return a window, normalised: float32 [C, height, width], or larger where it is filled up."""
        pixels = self.read(slice(top, top + height), slice(left, left + width))
        pixels_CHW = torch.from_numpy(pixels).to(self.device)
        if self.change is not None:
            pixels_CHW = self.change(pixels_CHW)
        if height < self.least or width < self.least:
            short = (0, max(0, self.least - width), 0, max(0, self.least - height))
            pixels_CHW = torch.nn.functional.pad(pixels_CHW, short)
        return normalise(pixels_CHW[None], self.mean, self.std)[0]


@dataclass(frozen=True)
class TensorScene:
    """A normalised picture that is in memory already: [C, H, W]."""

    image: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.image.shape[1]), int(self.image.shape[2])

    def window(self, top: int, left: int, height: int, width: int) -> Tensor:
        """Return a view of the window."""
        return self.image[:, top : top + height, left : left + width]


def stored(
    store: SegmentationStore,
    name: str,
    mean: Tensor,
    std: Tensor,
    *,
    change: Change | None = None,
    least: int = 0,
) -> StoredScene:
    """Return a sample of the prepared data as a scene."""

    def read(rows: slice, columns: slice) -> NDArray[np.float32]:
        return np.ascontiguousarray(store.pixels(name, rows, columns).transpose(2, 0, 1))

    return StoredScene(
        shape=store.shape(name), read=read, mean=mean, std=std, device=mean.device, change=change, least=least
    )


def scaled(shape: tuple[int, int], ratio: float) -> tuple[int, int]:
    """Return the shape of a scene that is `ratio` times as large on each side, 1 pixel at least."""
    return max(1, round(ratio * shape[0])), max(1, round(ratio * shape[1]))


def resized(scene: StoredScene, ratio: float) -> StoredScene:
    """Return a scene `ratio` times as large on each side, resized bilinearly window by window.

    Its windows are those of the whole scene resized at once; only the pixels that they need are read.
    """
    height, width = scaled(scene.shape, ratio)

    def read(rows: slice, columns: slice) -> NDArray[np.float32]:
        down = Span(scene.shape[0], height, rows.start, rows.stop - rows.start)
        across = Span(scene.shape[1], width, columns.start, columns.stop - columns.start)
        window_CHW = scene.read(down.window(), across.window())
        return resize_image(window_CHW.transpose(1, 2, 0), down, across)

    return StoredScene(
        shape=(height, width),
        read=read,
        mean=scene.mean,
        std=scene.std,
        device=scene.device,
        change=scene.change,
        least=scene.least,
    )
