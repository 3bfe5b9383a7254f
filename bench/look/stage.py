"""Pictures of a study's prepared data: one dataset on request, all of them for the report."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bench.catalog.index import CATALOG
from bench.data.store import ClassificationStore, SegmentationStore
from bench.errors import BenchError, RequestError
from bench.look.channels import photograph_distributions, target_distributions
from bench.look.grid import Sheet, require_png
from bench.look.histograms import channel_figure, class_figure, photograph_figure
from bench.look.scenes import count_classes, most_classes
from bench.look.sheets import photograph_sheet, photographs_by_class, scene_sheet
from bench.report.style import write
from bench.study.jobs import DataRun
from bench.study.runs import Runs

SOURCES = 3
"""Channels of a photograph."""
SCENES = 6
"""Samples on a contact sheet."""
STAMPS = {"full": "", "small": "SMALL SCALE", "miniature": "MINIATURE"}


def picture_data(runs: Runs, name: str, out: Path) -> None:
    """Write the contact sheet of one dataset of the study as a PNG.

    Raises RequestError if the study has no such dataset or `out` is no .png, BenchError if its data are not
    prepared.
    """
    require_png(out)
    drawn = data_figures(runs, _data(runs, name))
    next(picture for _, picture in drawn if isinstance(picture, Sheet)).write(out)


def picture_strategies(runs: Runs, name: str, out: Path) -> None:
    """Write what every strategy makes of a few photographs as a PNG, for as many channels as dataset `name` has.

    The photographs are the study's classification data. Raises as `picture_data`.
    """
    require_png(out)
    _data(runs, name)
    target = runs.study.datasets.get(name)
    strategies(runs, SOURCES if target is None else len(target.channels)).write(out)


def look_at_study(runs: Runs, out: Path) -> None:
    """Write all pictures of the study's prepared data below `out`, last the strategies for its most channels."""
    for data in (*runs.target_data.values(), runs.pretrain_data):
        for kind, drawn in data_figures(runs, data):
            if isinstance(drawn, Sheet):
                drawn.write(out / data.name / f"{kind}.png")
            else:
                write(drawn, out / data.name / kind)
    most = max(len(target.channels) for target in runs.study.datasets.values())
    strategies(runs, most).write(out / "strategies.png")


def data_figures(runs: Runs, data: DataRun) -> Iterator[tuple[str, Figure | Sheet]]:
    """Yield `sheet`, `classes` and `channels` of one dataset; what is not asked for is not drawn."""
    path = _manifest(data)
    if data.name == runs.pretrain_data.name:
        return _classification(runs, data, path)
    return _segmentation(runs, data, path)


def _segmentation(runs: Runs, data: DataRun, path: Path) -> Iterator[tuple[str, Figure | Sheet]]:
    store = SegmentationStore(path, digest=data.digest)
    label, stamp = title_of(data), STAMPS[data.scale]
    variant = runs.study.datasets[data.name].labels
    counts, tiles = count_classes(store, variant)
    mirrored = {sample for sample, entry in store.manifest.samples.items() if entry["flip"]}
    candidates = [tile for tile in tiles["train"] if tile.sample not in mirrored]
    yield (
        "sheet",
        scene_sheet(
            store,
            most_classes(candidates, SCENES),
            title=f"{label}: what the network sees, and what it is to find",
            stamp=stamp,
            note="Training scenes, chosen by rule: each next one adds most to the classes shown so far.",
        ),
    )
    variants = store.manifest.label_variants
    words = f" Labels: {variant}." if len(variants) > 1 else ""
    yield (
        "classes",
        class_figure(
            counts,
            [entry["name"] for entry in store.classes],
            title=f"{label}: pixels and images of each class",
            stamp=stamp,
            note=f"Counted over every pixel; a mirrored image counts like any other.{words}",
        ),
    )
    found, looked = target_distributions(store)
    yield (
        "channels",
        channel_figure(
            found, title=f"{label}: values of each channel", stamp=stamp, note=_channel_note(looked)
        ),
    )


def _classification(runs: Runs, data: DataRun, path: Path) -> Iterator[tuple[str, Figure | Sheet]]:
    store = ClassificationStore(path, digest=data.digest)
    label, stamp = title_of(data), STAMPS[data.scale]
    yield "sheet", photograph_sheet(store, "train", title=f"{label}: photographs by class", stamp=stamp)
    counts = {
        split: np.array([len(members) for members in photographs_by_class(store, split)])
        for split in ("train", "val")
    }
    yield (
        "classes",
        photograph_figure(
            counts,
            [entry["name"].replace("_", " ") for entry in store.classes],
            title=f"{label}: photographs of each class",
            stamp=stamp,
        ),
    )
    found, looked = photograph_distributions(store)
    yield (
        "channels",
        channel_figure(
            found, title=f"{label}: values of each channel", stamp=stamp, note=_channel_note(looked)
        ),
    )


def strategies(runs: Runs, n: int) -> Sheet:
    """Return the picture of what every strategy does, for `n` channels."""
    from bench.look.strategies import strategy_figure  # torch: only where it is needed

    data = runs.pretrain_data
    store = ClassificationStore(_manifest(data), digest=data.digest)
    return strategy_figure(
        store,
        "train",
        n,
        seed=runs.study.seed,
        title=f"What each strategy makes of a photograph, for n = {n} channels",
        stamp=STAMPS[data.scale],
    )


def title_of(data: DataRun) -> str:
    """Return the catalogue's title of a dataset, or the name it has in the study."""
    return CATALOG[data.source].title if data.source in CATALOG else data.name


def _data(runs: Runs, name: str) -> DataRun:
    known = [*runs.target_data, runs.pretrain_data.name]
    if name not in known:
        raise RequestError(
            f"{name}: the study {runs.study.study} has {', '.join(known)}; another may have it"
        )
    return runs.data(name)


def _manifest(data: DataRun) -> Path:
    path = Path(data.manifest)
    if not path.exists():
        words = f"--study FILE --dataset {data.name}"
        raise BenchError(
            f"{path}: {data.name} is not prepared for the study {data.study}; run `python -m bench acquire "
            f"{words}` and `python -m bench prepare {words}` with its file, then this again"
        )
    return path


def _channel_note(looked: str) -> str:
    return f"Mean and standard deviation (sd): those that normalise the network's input. The rest: {looked}."
