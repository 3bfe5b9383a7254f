"""The read side of prepared data: samples and crops from memory-mapped arrays, photographs by index.

Light: no torch. A handle is opened once and kept, up to a number well below the usual limit of open files;
handles are not carried over when a store is pickled to a loader process.
"""

import os
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from bench.data.manifest import ClassificationManifest, M, SegmentationManifest, read_manifest, require_digest
from bench.data.patches import Window, patch_windows
from bench.data.pictures import read_rgb
from bench.errors import BenchError

Part = tuple[list[int], NDArray[Any]]
"""Some of the channels, and a window of them in their stored type."""

HANDLES = 256
"""Arrays kept open by one store; a mapped array holds a file descriptor."""


class _Arrays:
    """Memory-mapped .npy files by path, the least recently used closed first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened: OrderedDict[str, NDArray[Any]] = OrderedDict()

    def __getitem__(self, file: str) -> NDArray[Any]:
        if file in self.opened:
            self.opened.move_to_end(file)
            return self.opened[file]
        try:
            array: NDArray[Any] = np.load(self.folder / file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise BenchError(
                f"{self.folder / file}: not readable as an array ({error}); run prepare again"
            ) from None
        self.opened[file] = array
        if len(self.opened) > HANDLES:
            self.opened.popitem(last=False)
        return array

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "opened": OrderedDict()}


class _Packed:
    """Files of which parts are read at given places, each opened once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened: dict[str, int] = {}

    def read(self, file: str, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to `stop`. Not by mapping: that reads a large file page by page."""
        try:
            if file not in self.opened:
                self.opened[file] = descriptor = os.open(self.folder / file, os.O_RDONLY)
                weakref.finalize(self, os.close, descriptor)
            content = os.pread(self.opened[file], stop - start, start)
        except OSError as error:
            raise BenchError(f"{self.folder / file}: not readable ({error}); run prepare again") from None
        if len(content) != stop - start:
            raise BenchError(
                f"{self.folder / file}: ends before byte {stop}, which the offsets name; run prepare again"
            )
        return content

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "opened": {}}


class _Store(Generic[M]):
    """A manifest and the arrays beside it."""

    def __init__(self, path: Path, model: type[M], digest: str | None) -> None:
        self.path = path
        self.manifest = read_manifest(path, model, digest=digest)
        self._arrays = _Arrays(path.parent)

    def require(self, digest: str) -> None:
        """Raise BenchError unless the data were prepared under `digest`."""
        require_digest(self.manifest, digest, self.path)

    @property
    def classes(self) -> list[dict[str, Any]]:
        """The classes in index order."""
        return self.manifest.classes

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.manifest.classes)

    @property
    def mean(self) -> list[float]:
        """Mean per channel of the training split, in stored units."""
        return self.manifest.mean

    @property
    def std(self) -> list[float]:
        """Standard deviation per channel of the training split, in stored units."""
        return self.manifest.std


class SegmentationStore(_Store[SegmentationManifest]):
    """Samples of a prepared target: images HWC float32 in stored units, labels HW uint8 by variant."""

    def __init__(self, path: Path, *, digest: str | None = None) -> None:
        super().__init__(path, SegmentationManifest, digest)

    @property
    def channels(self) -> list[dict[str, str]]:
        """The channels (name, unit, dtype) in the order of the image's last axis."""
        return self.manifest.channels

    @property
    def evaluation_split(self) -> str:
        """The split that is scored."""
        return self.manifest.evaluation_split

    def split(self, name: str, group: str | None = None) -> list[str]:
        """Return the sample ids of a split, in the manifest's order; of one `group` (day, night) if it is given."""
        if name not in self.manifest.splits:
            raise BenchError(f"{self.path}: no split {name!r}; it has {', '.join(self.manifest.splits)}")
        samples = list(self.manifest.splits[name])
        if group is None:
            return samples
        if group not in (found := {self.group(sample) for sample in samples}):
            names = ", ".join(sorted(known for known in found if known)) or "no groups"
            raise BenchError(f"{self.path}: split {name} has no group {group!r}; it has {names}")
        return [sample for sample in samples if self.group(sample) == group]

    @property
    def patch(self) -> int | None:
        """Side of the patches of the geometry under which the data were prepared; None: whole scenes."""
        geometry = self.manifest.geometry
        return None if geometry is None else int(geometry["patch"])

    def windows(self, sample: str) -> list[Window]:
        """Return the patches of a scene as (top, left, height, width); the whole scene where there is no geometry."""
        height, width = self.shape(sample)
        geometry = self.manifest.geometry
        if geometry is None:
            return [(0, 0, height, width)]
        return patch_windows(height, width, int(geometry["patch"]), int(geometry["stride"]))

    def shape(self, sample: str) -> tuple[int, int]:
        """Return height and width in pixels."""
        height, width = self._sample(sample)["shape"]
        return int(height), int(width)

    def unit(self, sample: str) -> str:
        """Return the unit that the statistics resample."""
        return str(self._sample(sample)["unit"])

    def group(self, sample: str) -> str | None:
        """Return the group, such as day or night, of a dataset that has groups."""
        found = self._sample(sample).get("group")
        return None if found is None else str(found)

    def image(self, sample: str) -> NDArray[np.float32]:
        """Return the whole image, float32 HWC."""
        return self.pixels(sample, slice(None), slice(None))

    def pixels(self, sample: str, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Return a window of the image, float32 HWC, reading only its rows; per-tile channels standardised."""
        parts = self.parts(sample, rows, columns)
        image_HWC = np.empty((*parts[0][1].shape[:2], len(self.manifest.channels)), np.float32)
        for channels, window_HWC in parts:
            image_HWC[..., channels] = window_HWC
        for channel, mean, std in self.per_tile(sample):
            image_HWC[..., channel] = (image_HWC[..., channel] - mean) / std
        return image_HWC

    def parts(self, sample: str, rows: slice, columns: slice) -> list[Part]:
        """Return views of a window as it is stored: channels, and HWC of their type, for each file of the sample.

        Nothing is copied, converted or standardised; a view must not be written to.
        """
        return [
            (part["channels"], self._window(sample, part["file"], rows, columns))
            for part in self._sample(sample)["arrays"]
        ]

    @property
    def per_tile_channels(self) -> list[str]:
        """The names of the channels that each scene standardises by itself."""
        first = next(iter(self.manifest.samples.values()), {})
        return sorted(first.get("statistics", {}))

    def per_tile(self, sample: str) -> list[tuple[int, np.float32, np.float32]]:
        """Return the channels that the scene's own mean and std standardise: (channel, mean, std), stored units.

        No std is 0: a scene without variation in such a channel cannot be prepared.
        """
        found = self._sample(sample).get("statistics", {})
        return [
            (place, np.float32(found[channel["name"]][0]), np.float32(found[channel["name"]][1]))
            for place, channel in enumerate(self.manifest.channels)
            if channel["name"] in found
        ]

    def labels(
        self, sample: str, variant: str, rows: slice = slice(None), columns: slice = slice(None)
    ) -> NDArray[np.uint8]:
        """Return a window of the labels of `variant`, uint8 HW; the whole map if no window is given."""
        files = self._sample(sample)["labels"]
        if variant not in files:
            raise BenchError(f"{self.path}: no labels {variant!r}; it has {', '.join(files)}")
        return np.array(self._window(sample, files[variant], rows, columns), order="C")

    def crop(
        self, sample: str, top: int, left: int, height: int, width: int
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.uint8]]]:
        """Return a window of the image and of its labels in every variant."""
        rows, columns = slice(top, top + height), slice(left, left + width)
        labels = {name: self.labels(sample, name, rows, columns) for name in self.manifest.label_variants}
        return self.pixels(sample, rows, columns), labels

    def _sample(self, sample: str) -> dict[str, Any]:
        try:
            return self.manifest.samples[sample]
        except KeyError:
            raise BenchError(f"{self.path}: no sample {sample!r}") from None

    def _window(self, sample: str, file: str, rows: slice, columns: slice) -> NDArray[Any]:
        """Return a view of a mapped array. ValueError for a window that is empty or leaves the image."""
        array, shape = self._arrays[file], self.shape(sample)
        if array.shape[:2] != shape:
            raise BenchError(
                f"{self._arrays.folder / file}: holds {array.shape[:2]}, the manifest says {shape}; "
                "run prepare again"
            )
        (top, bottom), (left, right) = _bounds(rows, shape[0]), _bounds(columns, shape[1])
        if not self._sample(sample)["flip"]:
            return array[top:bottom, left:right]
        # A mirrored sample shares its source's files: the window is mirrored into them, and then back.
        return array[top:bottom, shape[1] - right : shape[1] - left][:, ::-1]


def _bounds(window: slice, length: int) -> tuple[int, int]:
    start = 0 if window.start is None else window.start
    stop = length if window.stop is None else window.stop
    if window.step not in (None, 1) or not 0 <= start < stop <= length:
        raise ValueError(
            f"window {start}:{stop} of an axis of {length} pixels; expected 0 <= start < stop <= {length}"
        )
    return start, stop


class ClassificationStore(_Store[ClassificationManifest]):
    """Photographs of the prepared classification data, by split and index."""

    def __init__(self, path: Path, *, digest: str | None = None) -> None:
        super().__init__(path, ClassificationManifest, digest)
        self._packed = _Packed(path.parent)
        for split, entry in self.manifest.splits.items():
            labels = len(self._arrays[entry["labels"]])
            offsets = entry.get("offsets")
            images = len(self._arrays[entry["images"]]) if offsets is None else len(self._arrays[offsets]) - 1
            if not labels == images == entry["count"]:
                raise BenchError(
                    f"{path}: {entry['count']} photographs in {split}, but {labels} labels and "
                    f"{images} images in the arrays; run prepare again"
                )

    def count(self, split: str) -> int:
        """Return the number of photographs in a split."""
        return int(self._split(split)["count"])

    def stored(self, split: str, index: int) -> bytes | NDArray[np.uint8]:
        """Return a photograph as it is stored: the file's bytes, or uint8 [size, size, 3] if stored decoded."""
        entry = self._split(split)
        if "offsets" not in entry:
            return np.array(self._arrays[entry["images"]][index])
        start, stop = (int(place) for place in self._arrays[entry["offsets"]][index : index + 2])
        return self._packed.read(entry["images"], start, stop)

    def place(self, split: str, index: int) -> str:
        """Return where a photograph lies, for messages."""
        return f"{self.path.parent / self._split(split)['images']}, photograph {index}"

    def image(self, split: str, index: int) -> NDArray[np.uint8]:
        """Return a photograph as RGB, uint8 HWC: size x size if stored decoded, else of its own size."""
        stored = self.stored(split, index)
        return np.array(read_rgb(stored, self.place(split, index))) if isinstance(stored, bytes) else stored

    def label(self, split: str, index: int) -> int:
        """Return the class index of a photograph."""
        return int(self._arrays[self._split(split)["labels"]][index])

    def _split(self, split: str) -> dict[str, Any]:
        if split not in self.manifest.splits:
            raise BenchError(f"{self.path}: no split {split!r}; it has {', '.join(self.manifest.splits)}")
        entry: dict[str, Any] = self.manifest.splits[split]
        return entry
