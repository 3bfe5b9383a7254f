"""Preparation: the right module for a dataset, its arrays under their final name, the manifest last."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from bench.catalog.entry import Geometry
from bench.catalog.index import CATALOG
from bench.data.acquire import read_acquired
from bench.data.manifest import ClassificationManifest, SegmentationManifest, code_version
from bench.data.own_folder import require_unchanged
from bench.data.patches import patch_windows
from bench.data.prepare import folder, imagenet, isaid, mfnet, photographs, potsdam, pst900
from bench.data.prepare.arrays import write_collection
from bench.data.prepare.collection import Collection
from bench.data.prepare.description import geometry_of
from bench.data.prepare.holdout import hold_out, hold_out_photographs
from bench.data.prepare.labels import IGNORE
from bench.data.prepare.workbench import Workbench
from bench.errors import BenchError, RequestError
from bench.record import digest_of, sha256_file
from bench.study.datasets import PretrainData, Target

VERSION = 2
"""Raised when the arrays change without the package's version; what an older one had finished is made anew."""
IMAGENET_MEAN = [123.675, 116.28, 103.53]
IMAGENET_STD = [58.395, 57.12, 57.375]
"""Of ImageNet's training split on 0..255, as published weights use them; smaller data are measured."""


def prepare_target(
    name: str,
    target: Target,
    raw: Path,
    out: Path,
    *,
    digest: str,
    spec: dict[str, Any],
    scale: str,
    description: Path | None = None,
    workers: int = 0,
) -> None:
    """Turn the raw files of a segmentation dataset into arrays below `out/prepared/` and write
    `out/manifest.json`.

    `raw`: the unpacked archives, or the user's own folder (source `folder`), described by the file
    `description` (unset: `dataset.yaml` in it). `out` holds the `acquired.json` whose sources the manifest
    repeats. At scale full the catalogue's counts are asserted. `workers` processes share the files (0 or 1: this
    one), and the result does not depend on their number. What a killed or failed run had finished is kept beside
    `prepared/`, and not made again. Raises BenchError, naming file and value, for raw files that do not fit, and
    for a full disk, leaving no `prepared/` and no manifest.
    """
    (out / "manifest.json").unlink(missing_ok=True)
    sources = _sources(name, raw, out)
    described = description or raw / "dataset.yaml"
    collection = _collect(name, target, raw, described, scale)
    if target.selection == "holdout":
        # By what the data are, not by the study's key of them: the same units in every study.
        collection = hold_out(collection, target.holdout, target.path or target.source or name)
    if target.source == "folder" and not described.resolve().is_relative_to(raw.resolve()):
        sources = [*sources, _source(described)]
    geometry = _geometry(name, target, described)
    with _work(out, digest, sources) as workbench:
        found = write_collection(collection, target.per_tile, workbench, workers=workers)
        if target.source == "folder":
            _check_classes(name, collection, found["class_pixels"]["train"])
        patches = _count_patches(collection, found["samples"], geometry)
        if scale == "full" and (target.split, target.selection) == ("official", "official"):
            _check_patches(name, geometry, patches)
        workbench.publish()
        SegmentationManifest(
            dataset=name,
            scale=scale,
            digest=digest,
            spec=spec,
            channels=[asdict(channel) for channel in collection.channels],
            classes=[
                {"index": i, "name": c.name, "colour": list(c.colour)}
                for i, c in enumerate(collection.classes)
            ],
            ignore_index=IGNORE,
            unit=collection.unit,
            label_variants=list(collection.label_variants),
            splits={split: list(ids) for split, ids in collection.splits.items()},
            evaluation_split=collection.evaluation_split,
            selection=target.selection,
            geometry=None
            if geometry is None
            else {"name": geometry.name, "patch": geometry.patch, "stride": geometry.stride},
            patches=patches,
            sources=sources,
            **found,
        ).write(out / "manifest.json")


def prepare_classification(
    name: str,
    data: PretrainData,
    raw: Path,
    out: Path,
    *,
    digest: str,
    spec: dict[str, Any],
    scale: str,
    workers: int = 0,
) -> None:
    """Pack the photographs of the classification data below `out/prepared/` and write `out/manifest.json`.

    `raw`: ImageNet's unpacked archives, or a user's own folder (source `folders`). At scale full,
    ImageNet (its archives, or folders of its 1,000 synsets) is counted, and mean and std are its published ones; of
    all else they are measured on the training split. `workers`, resuming and errors as above.
    """
    (out / "manifest.json").unlink(missing_ok=True)
    sources = _sources(name, raw, out)
    photos = imagenet.collect_folders(raw) if data.source == "folders" else imagenet.collect_archives(raw)
    published = scale == "full" and (data.source == "imagenet1k" or imagenet.is_imagenet(photos))
    if published:
        imagenet.check_counts(photos, raw)
    if data.holdout is not None:
        photos = hold_out_photographs(photos, data.holdout)
    size = data.size if data.form == "decoded" else None
    with _work(out, digest, sources) as workbench:
        train, total, train_handled = photographs.pack(
            photos.splits["train"], "train", workbench, size=size, measure=not published, workers=workers
        )
        val, _, val_handled = photographs.pack(
            photos.splits["val"], "val", workbench, size=size, measure=False, workers=workers
        )
        workbench.publish()
        ClassificationManifest(
            dataset=name,
            scale=scale,
            digest=digest,
            spec=spec,
            classes=[
                {"index": i, "wnid": wnid, "name": label} for i, (wnid, label) in enumerate(photos.classes)
            ],
            form=data.form,
            size=size,
            mean=IMAGENET_MEAN if total is None else total.mean.tolist(),
            std=IMAGENET_STD if total is None else total.std.tolist(),
            splits={"train": train, "val": val},
            handled=[*train_handled, *val_handled],
            sources=sources,
        ).write(out / "manifest.json")


def _sources(name: str, raw: Path, out: Path) -> list[dict[str, Any]]:
    """Return what was acquired. Raises BenchError if a user's own folder is not as it was then."""
    acquired = read_acquired(out / "acquired.json")
    if acquired.kind == "folder":
        require_unchanged(name, raw, acquired.sources, out / "acquired.json")
    return acquired.sources


@contextmanager
def _work(out: Path, digest: str, sources: list[dict[str, Any]]) -> Iterator[Workbench]:
    """Yield the workbench of a preparation, and say what to do where the disk fails it."""
    key = digest_of({"version": VERSION, "digest": digest, "code": code_version()}, _fingerprints(sources))
    try:
        workbench = Workbench(out, key)
        yield workbench
        workbench.clear()
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise BenchError(
            f"{out}: cannot write the prepared arrays: {error.strerror or error}{place}; what is finished is kept: "
            "make room there, or give it back its rights, and run prepare again"
        ) from None


def _fingerprints(sources: list[dict[str, Any]]) -> dict[str, str]:
    return {item["path"]: item["sha256"] for item in sources}


def _geometry(name: str, target: Target, description: Path) -> Geometry | None:
    """Return the patch geometry that the study asks for; None for whole scenes."""
    if target.source == "folder":
        return geometry_of(target, description)
    if target.geometry == "whole":
        return None
    known = {item.name: item for item in CATALOG[target.source or name].geometries}
    if target.geometry not in known:
        raise RequestError(
            f"dataset {name}: geometry {target.geometry!r} is none of {', '.join(['whole', *known])}"
        )
    return known[target.geometry]


def _count_patches(
    collection: Collection, samples: dict[str, Any], geometry: Geometry | None
) -> dict[str, int]:
    """Return the number of patches in each split that has samples."""
    if geometry is None:
        return {}
    counts = {}
    for split, ids in collection.splits.items():
        if ids:
            shapes = [samples[sample]["shape"] for sample in ids]
            counts[split] = sum(
                len(patch_windows(height, width, geometry.patch, geometry.stride)) for height, width in shapes
            )
    return counts


def _check_patches(name: str, geometry: Geometry | None, patches: dict[str, int]) -> None:
    """Raise BenchError unless the published data give the published numbers of patches."""
    if geometry is not None and geometry.counts and patches != geometry.counts:
        raise BenchError(
            f"{name}: geometry {geometry.name} gives {patches} patches by split, published are {geometry.counts}; "
            "images are missing or of another size: acquire it again"
        )


def _check_classes(name: str, collection: Collection, pixels: list[int]) -> None:
    """Raise BenchError for a class that no training label shows: it cannot be learnt, and is likely misread."""
    absent = [c.name for c, count in zip(collection.classes, pixels, strict=True) if count == 0]
    if absent:
        ignored = f", and {collection.ignore_index} is ignored" if collection.ignore_index is not None else ""
        raise BenchError(
            f"{name}: no pixel of the training split's {len(collection.splits['train'])} labels is of class "
            f"{', '.join(absent)} (classes are 0..{len(pixels) - 1} in the labels{ignored}): correct the labels, "
            "ignore_index or classes of the description, or the split"
        )


def _collect(name: str, target: Target, raw: Path, description: Path, scale: str) -> Collection:
    source = target.source or name
    if not raw.is_dir():
        raise BenchError(f"{raw}: no such folder; run acquire for {name} first")
    if source == "folder":
        return folder.collect(raw, target, description)
    modules: dict[str, Callable[[Path, Target], Collection]] = {
        "isaid": isaid.collect,
        "mfnet": mfnet.collect,
        "pst900": pst900.collect,
        "potsdam": partial(potsdam.collect, partial=scale == "miniature"),
    }
    if source not in modules:
        raise RequestError(f"dataset {name}: source {source!r} is none of {', '.join(modules)} and folder")
    try:
        collection = modules[source](raw, target)
    except BenchError as error:
        raise type(error)(f"{name}: {error}") from None
    expected = CATALOG[source].expected_counts
    if scale == "full" and collection.published != expected:
        raise BenchError(
            f"{name}: {raw} holds {dict(collection.published)} samples by split, published are {expected}; "
            "acquire it again"
        )
    return collection


def _source(path: Path) -> dict[str, Any]:
    return {"path": path.name, "bytes": path.stat().st_size, "sha256": sha256_file(path)}
