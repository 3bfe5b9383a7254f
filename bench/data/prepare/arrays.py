"""Scenes to arrays: the checks, files and statistics that all segmentation datasets share, one sample at a time."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.catalog.entry import Channel
from bench.data.prepare.collection import Collection, Handled, Scene
from bench.data.prepare.labels import check_ids
from bench.data.prepare.processes import each
from bench.data.prepare.statistics import Moments, Tally
from bench.data.prepare.workbench import INSIDE, Workbench
from bench.errors import BenchError
from bench.progress import Progress

PIXELS = 1 << 18
"""Pixels interleaved, measured and written at once."""


@dataclass(frozen=True, kw_only=True)
class SampleTask:
    """What another process needs to know to prepare any sample of a collection."""

    read: Callable[[str], Scene]
    channels: tuple[Channel, ...]
    num_classes: int
    ignore_index: int | None
    label_variants: tuple[str, ...]
    workbench: Workbench


def write_collection(
    collection: Collection, per_tile: Sequence[str], workbench: Workbench, *, workers: int
) -> dict[str, Any]:
    """Write the arrays of all samples and return the manifest's fields that follow from them.

    One .npy an image and dtype (HWC, values as published) and one a label variant (HW, uint8 ids). Statistics are
    over all pixels of the training split, ignored ones too, since the network sees them; a flipped sample counts
    again. Channels in `per_tile` get mean and std a sample instead, and 0 and 1 for the whole. Samples that are
    finished already are not made again. Raises BenchError, naming the file, for planes that differ in size, a
    dtype other than declared, a value that is no number, a foreign label.
    """
    task = SampleTask(
        read=collection.read,
        channels=collection.channels,
        num_classes=len(collection.classes),
        ignore_index=collection.ignore_index,
        label_variants=collection.label_variants,
        workbench=workbench,
    )
    found = {sample: workbench.finished(sample) for sample in collection.sources}
    missing = [sample for sample, result in found.items() if result is None]
    with Progress("prepare", len(found), start=len(found) - len(missing), unit="samples") as progress:
        for sample, result in zip(
            missing, each(partial(write_sample, task), missing, workers=workers), strict=True
        ):
            found[sample] = result
            progress.update()
    mean, std, class_pixels = _statistics(collection, per_tile, found)
    shared = [
        Handled("unit-in-two-splits", unit, len(splits)) for unit, splits in collection.shared_units.items()
    ]
    handled = [asdict(item) for item in (*collection.handled, *shared)]
    return {
        "samples": {
            sample: _entry(collection, sample, found, per_tile)
            for ids in collection.splits.values()
            for sample in ids
        },
        "mean": mean,
        "std": std,
        "class_pixels": {"train": class_pixels},
        "handled": handled + [item for sample in found for item in found[sample]["handled"]],
    }


def write_sample(task: SampleTask, sample: str) -> dict[str, Any]:
    """Read, check and write one sample, and return what the manifest needs of it, as JSON holds it."""
    scene = task.read(sample)
    height, width = _check(scene, sample, task.channels)
    arrays: list[dict[str, Any]] = []
    moments = []
    for dtype, indices in dtype_groups(task.channels).items():
        planes = [scene.planes[task.channels[index].name] for index in indices]
        name, tally = f"{sample}.{dtype}.npy", Tally(len(planes), np.dtype(dtype))
        rows = max(1, PIXELS // width)
        with task.workbench.npy(name, dtype, (height, width, len(planes))) as stream:
            for top in range(0, height, rows):
                block_HWC = np.stack([plane.array[top : top + rows] for plane in planes], axis=-1)
                if dtype == "float32":
                    for channel, plane in enumerate(planes):
                        if lost := int((~np.isfinite(block_HWC[..., channel])).sum()):
                            total = lost + int((~np.isfinite(plane.array[top + rows :])).sum())
                            raise BenchError(
                                f"{plane.path}: {total} values of channel {task.channels[indices[channel]].name} "
                                "are no numbers; fill them in first"
                            )
                tally.add(block_HWC)
                stream.write(block_HWC.data)
        arrays.append({"file": f"{INSIDE}/{name}", "channels": indices})
        moments.append(tally.moments().as_json())
    labels, pixels = {}, {}
    for variant in task.label_variants:
        plane = scene.labels[variant]
        ids_HW, counts = check_ids(plane.array, task.num_classes, task.ignore_index, plane.path)
        labels[variant] = task.workbench.save(f"{sample}.{variant}.npy", ids_HW)
        pixels[variant] = counts.tolist()
    result = {
        "shape": [height, width],
        "arrays": arrays,
        "labels": labels,
        "moments": moments,
        "pixels": pixels,
        "handled": [asdict(item) for item in scene.handled],
    }
    files = [plane.path for plane in (*scene.planes.values(), *scene.labels.values())]
    names = [Path(file).name for file in (*(array["file"] for array in arrays), *labels.values())]
    task.workbench.note(sample, files, names, result)
    return result


def dtype_groups(channels: Sequence[Channel]) -> dict[str, list[int]]:
    """Return the channels' indices by dtype, in order of first appearance: one file each."""
    groups: dict[str, list[int]] = {}
    for index, channel in enumerate(channels):
        groups.setdefault(channel.dtype, []).append(index)
    return groups


def _check(scene: Scene, sample: str, channels: Sequence[Channel]) -> tuple[int, int]:
    """Return the sample's height and width, the same for all its planes and labels."""
    planes = [*scene.planes.values(), *scene.labels.values()]
    first = planes[0]
    for plane in planes:
        if plane.array.shape != first.array.shape:
            sizes = [" x ".join(map(str, found.array.shape)) for found in (plane, first)]
            raise BenchError(
                f"{plane.path}: {sizes[0]} pixels (height x width), but {first.path} of the same sample "
                f"{sample} has {sizes[1]}; all channels and labels of a sample have one size"
            )
    for channel in channels:
        plane = scene.planes[channel.name]
        if plane.array.dtype != np.dtype(channel.dtype):
            raise BenchError(
                f"{plane.path}: values of type {plane.array.dtype}, but channel {channel.name} is declared "
                f"{channel.dtype}; declare what is stored, or convert the file"
            )
    height, width = first.array.shape
    return height, width


def _moments(collection: Collection, result: dict[str, Any]) -> Moments:
    """Return a sample's moments of all channels, in the channels' order."""
    mean, squares = np.zeros(len(collection.channels)), np.zeros(len(collection.channels))
    parts = [Moments.from_json(value) for value in result["moments"]]
    for indices, part in zip(dtype_groups(collection.channels).values(), parts, strict=True):
        mean[indices], squares[indices] = part.mean, part.squares
    return Moments(parts[0].count, mean, squares)


def _statistics(
    collection: Collection, per_tile: Sequence[str], found: dict[str, dict[str, Any]]
) -> tuple[list[float], list[float], list[int]]:
    sources = [collection.flips.get(sample, sample) for sample in collection.splits["train"]]
    total = _moments(collection, found[sources[0]])
    for sample in sources[1:]:
        total = total.merge(_moments(collection, found[sample]))
    mean, std = total.mean.copy(), total.std
    for index, channel in enumerate(collection.channels):
        if std[index] == 0:
            raise BenchError(
                f"channel {channel.name} is {mean[index]:g} in every pixel of the training split; "
                f"it holds nothing and cannot be normalised: leave it out"
            )
        if channel.name in per_tile:
            mean[index], std[index] = 0.0, 1.0
    pixels = np.sum([found[sample]["pixels"][collection.training_labels] for sample in sources], axis=0)
    return mean.tolist(), std.tolist(), pixels.tolist()


def _entry(
    collection: Collection, sample: str, found: dict[str, dict[str, Any]], per_tile: Sequence[str]
) -> dict[str, Any]:
    source = collection.flips.get(sample, sample)
    result = found[source]
    entry: dict[str, Any] = {key: result[key] for key in ("shape", "arrays", "labels")}
    entry |= {"unit": collection.unit_of(sample), "flip": sample in collection.flips}
    if source in collection.groups:
        entry["group"] = collection.groups[source]
    if per_tile:
        own = _moments(collection, result)
        entry["statistics"] = {}
        for index, channel in enumerate(collection.channels):
            if channel.name not in per_tile:
                continue
            if own.squares[index] == 0:
                raise BenchError(
                    f"channel {channel.name} is {own.mean[index]:g} in every pixel of sample {sample}; it cannot be "
                    "standardised by itself: leave it out of per_tile"
                )
            entry["statistics"][channel.name] = [float(own.mean[index]), float(own.std[index])]
    return entry
