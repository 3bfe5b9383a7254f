"""Sliding-window prediction in bands: windows cover the scene, logits are averaged where they overlap.

Windows are visited line by line across the shorter side of the scene, and what no later line touches is
finished and handed on. So the logits of one band are held, `window` pixels high, and never those of the whole
scene. How many lines a band has, and how many windows share a forward pass, is a matter of memory alone: the sums
are added up in one order. Axes: C channel or class, H row, W column.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.transforms import Span
from bench.errors import BenchError, RequestError
from bench.evaluate.scenes import Scene, StoredScene, TensorScene, resized, scaled

Model = Callable[[Tensor], Any]
"""Normalised windows [N, C, h, w] to logits [N, classes, h, w]; a module is in evaluation mode."""
Seen = Callable[[int, int, Tensor], None]
"""Told of each window by itself: top, left, logits [classes, h, w]."""


@dataclass(frozen=True, kw_only=True)
class Sliding:
    """How a scene is covered, and what memory allows."""

    window: int
    """Side of a window in pixels."""
    stride: int
    classes: int
    batch: int = 1
    """Windows in one forward pass; a fact of the machine."""
    memory: int = 1 << 30
    """Bytes that a band may take: logits, visits, and what their argmax needs; a fact of the machine."""

    def __post_init__(self) -> None:
        """Raise BenchError unless the windows leave no pixel out and the ids fit a byte."""
        if not 0 < self.stride <= self.window:
            raise BenchError(
                f"window {self.window}, stride {self.stride}: expected 0 < stride <= window, so that no pixel is "
                "left out"
            )
        if not 0 < self.classes <= 255:
            raise BenchError(
                f"{self.classes} classes do not fit label maps of 0..254 with 255 for ignored pixels"
            )

    def band_bytes(self, shape: Sequence[int], length: int | None = None) -> int:
        """Return the bytes that a band of `length` rows or columns takes; unset: of one line of windows.

        A pixel has float32 sums and a number of visits; its argmax a float32, an int64 and a uint8.
        """
        across = min(shape)  # bands follow each other along the longer side
        held = min(self.window, max(shape)) if length is None else length
        return (4 * self.classes + 4 + 13) * across * held

    def lines(self, shape: Sequence[int]) -> int:
        """Return how many lines of windows a band may have. Raises RequestError if not even one fits."""
        self.require([shape])
        held = min(self.window, max(shape))
        return 1 + (self.memory // self.band_bytes(shape, 1) - held) // self.stride

    def require(self, shapes: Sequence[Sequence[int]]) -> None:
        """Raise RequestError unless the memory holds a line of windows over each of these shapes at once.

        The first is the scene's own.
        """
        needed = sum(self.band_bytes(shape) for shape in shapes)
        if needed > self.memory:
            height, width = shapes[0]
            seen = "" if len(shapes) == 1 else ", in all its views,"
            raise RequestError(
                f"BENCH_EVAL_MEMORY allows {self.memory / 2**20:.0f} MiB for logits; one line of windows over a scene "
                f"of {height} x {width} pixels in {self.classes} classes{seen} takes {needed / 2**20:.0f}: raise it, "
                "or lower the window in the study"
            )


def window_starts(size: int, window: int, stride: int) -> list[int]:
    """Return the first pixel of each window along one axis of `size` pixels.

    Windows start every `stride` pixels; the last is shifted back to end at the border. One window, cut to the
    scene, serves a scene no larger than it.
    """
    last = max(size - window, 0)
    return [*range(0, last, stride), last]


def logit_bands(
    model: Model, scene: Scene, how: Sliding, seen: Seen | None = None, *, along: int | None = None
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield (rows, columns, mean logits) of successive bands, which together are the scene.

    Logits are float32 [classes, h, w] on the device, valid until the next band is asked for. Bands are rows of a
    tall scene and columns of a wide one (`along` 0 or 1; unset: as the scene is). `seen` is told of each window
    before it is averaged with others. Raises BenchError if the model is in training mode, or if its logits have
    another shape than the window.
    """
    if getattr(model, "training", False):
        raise BenchError(
            "the model is in training mode, where a forward pass is random; call model.eval() first"
        )
    shape = scene.shape
    along = _along(shape) if along is None else along
    starts = [window_starts(side, how.window, how.stride) for side in shape]
    held, lines = min(how.window, shape[along]), how.lines(shape)
    length = min(shape[along], held + (lines - 1) * how.stride)
    totals: Tensor | None = None
    visits: Tensor | None = None
    base = 0
    for number, start in enumerate(starts[along]):
        for places, logits in _line(model, scene, how, start, starts[1 - along], along):
            if totals is None or visits is None:
                size = (length, shape[1]) if along == 0 else (shape[0], length)
                totals = logits.new_zeros((how.classes, *size), dtype=torch.float32)
                visits = logits.new_zeros(size, dtype=torch.float32)
            for (top, left), one in zip(places, logits, strict=True):
                if seen is not None:
                    seen(top, left, one)
                height, width = one.shape[1:]
                first = (top - base, left) if along == 0 else (top, left - base)
                here = (..., slice(first[0], first[0] + height), slice(first[1], first[1] + width))
                totals[here] += one
                visits[here] += 1
        assert totals is not None and visits is not None
        more = number + 1 < len(starts[along])
        end = starts[along][number + 1] if more else shape[along]
        if more and end + held - base <= length:
            continue  # the next line fits into this band too
        done = end - base
        band = totals.narrow(along + 1, 0, done)
        band.div_(visits.narrow(along, 0, done))
        spans = [slice(0, side) for side in shape]
        spans[along] = slice(base, end)
        yield spans[0], spans[1], band
        if more:
            _move_up(totals, along + 1, done)
            _move_up(visits, along, done)
        base = end


def _along(shape: Sequence[int]) -> int:
    """Return the axis along which bands follow each other: the longer one."""
    return 0 if shape[0] >= shape[1] else 1


@torch.inference_mode()
def _line(
    model: Model, scene: Scene, how: Sliding, start: int, across: Sequence[int], along: int
) -> Iterator[tuple[list[tuple[int, int]], Tensor]]:
    """Yield the places and logits of the windows of one line, `batch` at a time."""
    height, width = (min(how.window, side) for side in scene.shape)
    places = [(start, other) if along == 0 else (other, start) for other in across]
    for first in range(0, len(places), how.batch):
        some = places[first : first + how.batch]
        windows = torch.stack([scene.window(top, left, height, width) for top, left in some])
        logits = model(windows)
        expected = (len(some), how.classes, *windows.shape[2:])
        if logits.shape != expected:
            raise BenchError(f"the model gave logits {tuple(logits.shape)} for a window; expected {expected}")
        yield some, logits[..., :height, :width]


def _move_up(held: Tensor, axis: int, done: int) -> None:
    """Move what is not finished to the front, and clear the rest."""
    size = held.shape[axis]
    # Piece by piece, so that what is read has not been written yet, without a copy of the whole.
    for first in range(done, size, done):
        count = min(done, size - first)
        held.narrow(axis, first - done, count).copy_(held.narrow(axis, first, count))
    held.narrow(axis, max(0, size - done), min(done, size)).zero_()


@dataclass(frozen=True)
class Views:
    """Test-time augmentation: the scene at each ratio, and each window mirrored too if `flip`."""

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    @property
    def plain(self) -> bool:
        """Say whether the scene is seen once, as it is."""
        return self.scales == (1.0,) and not self.flip


def id_bands(
    model: Model, scene: Scene, how: Sliding, views: Views | None = None, seen: Seen | None = None
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield (rows, columns, class ids) of successive bands: uint8 [h, w] on the device.

    Equal logits go to one of the tied classes. With several `views` the probabilities are averaged: logits of each
    view are brought back to the scene's size bilinearly, then softmax, then the mean (mmsegmentation's SegTTAModel).
    `seen` is told of each window, of the plain view only. Raises BenchError as `logit_bands`, and for scales of a
    scene that cannot be resized.
    """
    views = views or Views()
    bands = (
        logit_bands(model, scene, how, seen)
        if views.plain
        else _mean_probabilities(model, scene, how, views, seen)
    )
    for rows, columns, scores in bands:
        # max(0).indices gives what argmax(0) gives, and costs a third of it on the CPU.
        yield rows, columns, scores.max(0).indices.to(torch.uint8)


def predict(
    model: Model, scene: Scene, how: Sliding, views: Views | None = None, seen: Seen | None = None
) -> NDArray[np.uint8]:
    """Return the class ids of a scene, uint8 [H, W] on the host: the bands of `id_bands` together."""
    ids_HW = np.empty(scene.shape, np.uint8)
    for rows, columns, ids in id_bands(model, scene, how, views, seen):
        ids_HW[rows, columns] = ids.cpu().numpy()
    return ids_HW


def predict_image(
    model: Model, image_CHW: Tensor, window: int, stride: int, classes: int
) -> NDArray[np.uint8]:
    """Return the class ids, uint8 [H, W], of a normalised image that is in memory."""
    return predict(model, TensorScene(image_CHW), Sliding(window=window, stride=stride, classes=classes))


# -- several views -------------------------------------------------------------------------------------------


def _mean_probabilities(
    model: Model, scene: Scene, how: Sliding, views: Views, seen: Seen | None
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield bands of the probabilities, averaged over the views; every view advances by the same band."""
    along = _along(scene.shape)
    models: list[Model] = [model, lambda windows: model(windows.flip(-1)).flip(-1)] if views.flip else [model]
    readers = []
    # Each view holds a band, and beside it what the resizing has not passed yet; their mean is one more.
    held = [scaled(scene.shape, ratio) for ratio in views.scales for _ in models]
    how.require([scene.shape, *held, *held])
    for ratio in views.scales:
        view = scene
        if ratio != 1.0:
            if not isinstance(scene, StoredScene):
                raise BenchError(f"scale {ratio}: only a scene in stored units can be resized")
            view = resized(scene, ratio)
        for index, each in enumerate(models):
            told = seen if ratio == 1.0 and index == 0 else None
            one_line = replace(how, memory=how.band_bytes(view.shape))
            bands = logit_bands(each, view, one_line, told, along=along)
            readers.append(_Resizer(bands, view.shape, scene.shape, along))
    for start in range(0, scene.shape[along], how.stride):
        stop = min(start + how.stride, scene.shape[along])
        total = readers[0].take(start, stop).softmax(0)
        for reader in readers[1:]:
            total += reader.take(start, stop).softmax(0)
        spans = [slice(0, side) for side in scene.shape]
        spans[along] = slice(start, stop)
        yield spans[0], spans[1], total.div_(len(readers))


class _Resizer:
    """The bands of a view of size `source`, resized bilinearly to the scene's size `target` as they come."""

    def __init__(
        self,
        bands: Iterator[tuple[slice, slice, Tensor]],
        source: Sequence[int],
        target: Sequence[int],
        along: int,
    ) -> None:
        self.bands, self.along, self.source, self.target = bands, along, source, target
        self.base = 0
        self.held: Tensor | None = None

    @torch.inference_mode()
    def take(self, start: int, stop: int) -> Tensor:
        """Return rows (or columns) start..stop-1 of the resized logits; `start` never goes back."""
        axis = self.along + 1
        span = Span(self.source[self.along], self.target[self.along], start, stop - start)
        low, high, weight = span.bilinear()
        while self.held is None or self.base + self.held.shape[axis] <= high[-1]:
            fresh = next(self.bands)[2]
            self.held = fresh.clone() if self.held is None else torch.cat([self.held, fresh], dim=axis)
        drop = int(low[0]) - self.base
        self.held = self.held.narrow(axis, drop, self.held.shape[axis] - drop).clone()
        self.base += drop
        rows = _between(self.held, axis, low - self.base, high - self.base, weight)
        other = 1 - self.along
        if self.source[other] == self.target[other]:
            return rows
        across = Span(self.source[other], self.target[other], 0, self.target[other])
        return _between(rows, other + 1, *across.bilinear())


def _between(
    logits: Tensor, axis: int, low: NDArray[np.int64], high: NDArray[np.int64], weight: NDArray[np.float32]
) -> Tensor:
    """Return the points between the entries `low` and `high` of one axis."""
    first, second = (
        logits.index_select(axis, torch.from_numpy(places).to(logits.device)) for places in (low, high)
    )
    shape = [1] * logits.ndim
    shape[axis] = len(weight)
    return torch.lerp(first, second, torch.from_numpy(weight).to(logits.device).view(shape))
