"""Preparation: the right module for a dataset, its arrays under their final name, the manifest last."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from bench.catalog.index import CATALOG
from bench.data.acquire import read_acquired
from bench.data.manifest import ClassificationManifest, SegmentationManifest
from bench.data.prepare import folder, imagenet, isaid, mfnet, photographs, potsdam, pst900
from bench.data.prepare.arrays import write_collection
from bench.data.prepare.collection import Collection
from bench.data.prepare.labels import IGNORE
from bench.data.staging import staged
from bench.errors import BenchError, RequestError
from bench.record import sha256_file
from bench.study.datasets import PretrainData, Target

INSIDE = "prepared"
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
) -> None:
    """Turn the raw files of a segmentation dataset into arrays below `out/prepared/` and write
    `out/manifest.json`.

    `raw`: the unpacked archives, or the user's own folder (source `folder`), described by the file
    `description` (unset: `dataset.yaml` in it). `out` holds the `acquired.json` whose sources the manifest
    repeats. At scale full the catalogue's counts are asserted. Raises BenchError, naming file and value, for
    raw files that do not fit, leaving no array and no manifest.
    """
    (out / "manifest.json").unlink(missing_ok=True)
    sources = read_acquired(out / "acquired.json").sources
    described = description or raw / "dataset.yaml"
    collection = _collect(name, target, raw, described, scale)
    if target.source == "folder" and not described.resolve().is_relative_to(raw.resolve()):
        sources = [*sources, _source(described)]
    with staged(out / INSIDE) as arrays:
        found = write_collection(collection, arrays, INSIDE)
    SegmentationManifest(
        dataset=name,
        scale=scale,
        digest=digest,
        spec=spec,
        channels=[asdict(channel) for channel in collection.channels],
        classes=[
            {"index": i, "name": c.name, "colour": list(c.colour)} for i, c in enumerate(collection.classes)
        ],
        ignore_index=IGNORE,
        unit=collection.unit,
        label_variants=list(collection.label_variants),
        splits={split: list(ids) for split, ids in collection.splits.items()},
        evaluation_split=collection.evaluation_split,
        sources=sources,
        **found,
    ).write(out / "manifest.json")


def prepare_classification(
    name: str, data: PretrainData, raw: Path, out: Path, *, digest: str, spec: dict[str, Any], scale: str
) -> None:
    """Pack the photographs of the classification data below `out/prepared/` and write `out/manifest.json`.

    `raw`: ImageNet's unpacked archives, or a user's own folder (source `folders`). Mean and std are
    ImageNet's published ones at scale full and measured on the training split otherwise. Raises BenchError as
    above.
    """
    (out / "manifest.json").unlink(missing_ok=True)
    sources = read_acquired(out / "acquired.json").sources
    full = scale == "full"
    photos = imagenet.collect_folders(raw) if data.source == "folders" else imagenet.collect_archives(raw)
    if full and data.source == "imagenet1k":
        imagenet.check_counts(photos, raw)
    size = data.size if data.form == "decoded" else None
    with staged(out / INSIDE) as arrays:
        train, total = photographs.pack(
            photos.splits["train"], "train", arrays, INSIDE, size=size, measure=not full
        )
        val, _ = photographs.pack(photos.splits["val"], "val", arrays, INSIDE, size=size, measure=False)
    ClassificationManifest(
        dataset=name,
        scale=scale,
        digest=digest,
        spec=spec,
        classes=[{"index": i, "wnid": wnid, "name": label} for i, (wnid, label) in enumerate(photos.classes)],
        form=data.form,
        size=size,
        mean=IMAGENET_MEAN if total is None else total.mean.tolist(),
        std=IMAGENET_STD if total is None else total.std.tolist(),
        splits={"train": train, "val": val},
        sources=sources,
    ).write(out / "manifest.json")


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
