"""Scenes to arrays: the checks, files and statistics that all segmentation datasets share, in one pass."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.catalog.entry import Channel
from bench.data.prepare.collection import Collection, Handled, Scene
from bench.data.prepare.labels import IGNORE, check_ids
from bench.errors import BenchError
from bench.progress import tracked

ROWS = 512
"""Rows taken into float64 at once."""


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations per channel, float64."""

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of both samples together (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        delta = other.mean - self.mean
        return Moments(
            count,
            self.mean + delta * (other.count / count),
            self.squares + other.squares + delta**2 * (self.count * other.count / count),
        )

    @property
    def std(self) -> NDArray[np.float64]:
        """The population standard deviation."""
        return np.sqrt(self.squares / self.count)


def moments(image_HWC: NDArray[Any]) -> Moments:
    """Return the moments of each channel over the pixels of an image of any dtype, in stored units."""
    found: Moments | None = None
    for top in range(0, len(image_HWC), ROWS):
        rows = image_HWC[top : top + ROWS].astype(np.float64).reshape(-1, image_HWC.shape[2])
        mean = rows.mean(axis=0)
        block = Moments(len(rows), mean, ((rows - mean) ** 2).sum(axis=0))
        found = block if found is None else found.merge(block)
    assert found is not None
    return found


def write_collection(collection: Collection, folder: Path, inside: str) -> dict[str, Any]:
    """Write the arrays of all samples into `folder` and return the manifest's fields that follow from them.

    `inside` is the folder's final name, as it stands in the manifest. One .npy an image and dtype (HWC,
    values as published) and one a label variant (HW, uint8 ids). Statistics are over all pixels of the
    training split, ignored ones too, since the network sees them; a flipped sample counts again. Raises
    BenchError, naming the file, for planes that differ in size, a dtype other than declared, a value that is
    no number, a foreign label.
    """
    groups = _dtype_groups(collection.channels)
    written: dict[str, dict[str, Any]] = {}
    found: dict[str, tuple[list[Moments], NDArray[np.int64]]] = {}
    handled: list[Handled] = list(collection.handled)
    training = {collection.flips.get(sample, sample) for sample in collection.splits["train"]}
    for sample in tracked(collection.sources, "prepare", "samples"):
        scene = collection.read(sample)
        shape = _check(scene, sample, collection.channels)
        arrays = []
        means = []
        for dtype, indices in groups.items():
            image_HWC = np.stack([scene.planes[collection.channels[i].name].array for i in indices], axis=-1)
            name = f"{sample}.{dtype}.npy"
            np.save(folder / name, np.ascontiguousarray(image_HWC))
            arrays.append({"file": f"{inside}/{name}", "channels": indices})
            if sample in training:
                means.append(moments(image_HWC))
        labels = {}
        for variant in collection.label_variants:
            plane = scene.labels[variant]
            ids_HW = check_ids(plane.array, len(collection.classes), collection.ignore_index, plane.path)
            np.save(folder / f"{sample}.{variant}.npy", ids_HW)
            labels[variant] = f"{inside}/{sample}.{variant}.npy"
            if sample in training and variant == collection.training_labels:
                pixels = np.bincount(ids_HW.ravel(), minlength=IGNORE + 1)[: len(collection.classes)]
                found[sample] = (means, pixels)
        handled.extend(scene.handled)
        written[sample] = {"shape": list(shape), "arrays": arrays, "labels": labels}
    mean, std, class_pixels = _statistics(collection, groups, found)
    return {
        "samples": {
            sample: _entry(collection, sample, written)
            for ids in collection.splits.values()
            for sample in ids
        },
        "mean": mean,
        "std": std,
        "class_pixels": {"train": class_pixels},
        "handled": [asdict(item) for item in handled],
    }


def _dtype_groups(channels: Sequence[Channel]) -> dict[str, list[int]]:
    """Return the channels' indices by dtype, in order of first appearance: one file each."""
    groups: dict[str, list[int]] = {}
    for index, channel in enumerate(channels):
        groups.setdefault(channel.dtype, []).append(index)
    return groups


def _check(scene: Scene, sample: str, channels: Iterable[Channel]) -> tuple[int, int]:
    """Return the sample's height and width, the same for all its planes and labels."""
    planes = [*scene.planes.values(), *scene.labels.values()]
    first = planes[0]
    for plane in planes:
        if plane.array.shape != first.array.shape:
            sizes = [" x ".join(map(str, found.array.shape)) for found in (plane, first)]
            raise BenchError(
                f"{plane.path}: {sizes[0]} pixels (height x width), but {first.path} of the same sample "
                f"{sample} has "
                f"{sizes[1]}; all channels and labels of a sample have one size"
            )
    for channel in channels:
        plane = scene.planes[channel.name]
        if plane.array.dtype != np.dtype(channel.dtype):
            raise BenchError(
                f"{plane.path}: values of type {plane.array.dtype}, but channel {channel.name} is declared "
                f"{channel.dtype}; declare what is stored, or convert the file"
            )
        if channel.dtype == "float32" and not np.isfinite(plane.array).all():
            count = int((~np.isfinite(plane.array)).sum())
            raise BenchError(
                f"{plane.path}: {count} values of channel {channel.name} are no numbers; fill them in first"
            )
    height, width = first.array.shape
    return height, width


def _statistics(
    collection: Collection,
    groups: dict[str, list[int]],
    found: dict[str, tuple[list[Moments], NDArray[np.int64]]],
) -> tuple[list[float], list[float], list[int]]:
    mean, std = np.zeros(len(collection.channels)), np.zeros(len(collection.channels))
    sources = [collection.flips.get(sample, sample) for sample in collection.splits["train"]]
    for place, indices in enumerate(groups.values()):
        total = found[sources[0]][0][place]
        for sample in sources[1:]:
            total = total.merge(found[sample][0][place])
        mean[indices], std[indices] = total.mean, total.std
    for channel, centre, spread in zip(collection.channels, mean, std, strict=True):
        if spread == 0:
            raise BenchError(
                f"channel {channel.name} is {centre:g} in every pixel of the training split; "
                f"it holds nothing and cannot be normalised: leave it out"
            )
    pixels = np.sum([found[sample][1] for sample in sources], axis=0)
    return mean.tolist(), std.tolist(), pixels.tolist()


def _entry(collection: Collection, sample: str, written: dict[str, dict[str, Any]]) -> dict[str, Any]:
    source = collection.flips.get(sample, sample)
    entry = {
        **written[source],
        "unit": collection.units.get(source, source),
        "flip": sample in collection.flips,
    }
    if source in collection.groups:
        entry["group"] = collection.groups[source]
    return entry
