"""From files to figures for what is measured beyond the headline: edges, spectra, confusion, gains by class."""

import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.record import read_record
from bench.report import robustness
from bench.report.extra_tables import arms_of, disturbance_words, probe_order, read_extra
from bench.report.formats import only
from bench.report.heatmaps import confusions
from bench.report.numbers import Numbers, backbone_label, dataset_label
from bench.report.style import BASELINES, TREATMENT, arm_colours
from bench.stats.measures import PLAIN, parts_of
from bench.study.disturbances import channel_names


def spectral_plate(numbers: Numbers, compare: Path) -> Figure:
    """Return the robustness curves of the fine-tuned networks."""
    study, frame = numbers.study, _labelled(numbers, compare, "spectral")
    datasets = [(dataset_label(study, name), name) for name in study.datasets]
    channels = {label: study.datasets[name].channels for label, name in datasets}
    place = [
        probe_order(probe, strength, channels[dataset])
        for dataset, probe, strength in frame[["dataset", "probe", "strength"]].itertuples(index=False)
    ]
    # Datasets and backbones keep the study's order: sorting is stable within each panel.
    order = frame.iloc[sorted(range(len(frame)), key=lambda row: place[row])]
    words = [disturbance_words(*pair) for pair in zip(order["probe"], order["strength"], strict=True)]
    arms = arms_of(numbers, frame)
    return robustness.spectral(
        order.assign(disturbance=words),
        arms,
        arm_colours(list(study.arms), study.compare.treatment),
        title="Fine-tuned networks under disturbed channels",
        stamp=numbers.stamp,
        note="Markers: mean over repetitions; dots: single runs; thin line: the arm's score as it is. Same scenes "
        f"throughout, evenly spaced in the split. Silenced: the channel holds its mean. {numbers.runs}.",
    )


def classifier_plate(numbers: Numbers) -> Figure:
    """Return the robustness curves of the pre-trained classifiers: a row of panels a number of channels."""
    study, frame = numbers.study, numbers.top1
    frame = frame[(frame["order"] == "natural") | frame["order"].str.contains("/", regex=False)]
    frame = frame[frame["backbone"].isin(study.backbones)]
    if not frame["order"].str.contains("/", regex=False).any():
        raise BenchError(
            f"study {study.study}: top1.csv has no disturbed channel to draw though the study asks for some; "
            "evaluate the classifiers and compare again"
        )
    kinds = [(PLAIN, "") if order == "natural" else parts_of(order) for order in frame["order"]]
    channels = channel_names(int(frame["channels"].max()))
    label = frame["label"] if "label" in frame else frame["strategy"]
    place = [
        (count, list(study.backbones).index(backbone), probe_order(*kind, channels))
        for count, backbone, kind in zip(frame["channels"], frame["backbone"], kinds, strict=True)
    ]
    drawn = pd.DataFrame({
        "dataset": [f"n = {count}" for count in frame["channels"]],
        "backbone": [backbone_label(name) for name in frame["backbone"]],
        "arm": [re.sub(r"-\d+ch$", "", name) for name in label],
        "disturbance": [disturbance_words(*kind) for kind in kinds],
        "metric": "top-1",
        "value": frame["value"].to_numpy(),
    }).iloc[sorted(range(len(place)), key=place.__getitem__)]  # fmt: skip
    arms = sorted(dict.fromkeys(drawn["arm"]), key=lambda arm: arm != "rgb")
    palette = (BASELINES[0], TREATMENT, *BASELINES[1:])
    return robustness.spectral(
        drawn,
        arms,
        dict(zip(arms, palette * len(arms), strict=False)),
        title="Pre-trained classifiers under disturbed channels",
        stamp=numbers.stamp,
        note="Channels of the natural arrangement R G B R G, one disturbed at a time. Markers: mean over pre-training "
        "seeds; dots: single runs; thin line: top-1 as it is. Silenced: the channel holds its mean. Validation images.",
    )


def boundary_plate(numbers: Numbers, compare: Path) -> Figure:
    """Return the headline metric near edges against inside, by width."""
    study, frame = numbers.study, _labelled(numbers, compare, "boundary")
    frame = frame[frame["region"].isin(["near", "inside"])]
    return robustness.boundary(
        frame,
        arms_of(numbers, frame),
        arm_colours(list(study.arms), study.compare.treatment),
        title="Near edges against inside",
        stamp=numbers.stamp,
        note="Near: pixels within the width of an edge of the target (or the frame of the image); inside: the rest. "
        f"Markers: mean over repetitions; dots: single runs. {numbers.runs}.",
    )


MEASURED: dict[str, Callable[[Numbers, Path], Figure]] = {
    "boundary": boundary_plate,
    "spectral": spectral_plate,
}
"""Figure of each measure in `bench.study.outputs.measured`."""


def _labelled(numbers: Numbers, compare: Path, name: str) -> pd.DataFrame:
    """Return compare/<name>.csv in the study's order, with datasets and backbones as they are written."""
    study, frame = numbers.study, read_extra(compare, name)
    parts = [
        only(frame, dataset=dataset, backbone=backbone).assign(
            dataset=dataset_label(study, dataset), backbone=backbone_label(backbone)
        )
        for dataset in study.datasets
        for backbone in study.backbones
    ]
    found = pd.concat(parts, ignore_index=True)
    if found.empty:
        raise BenchError(
            f"{compare / name}.csv: no row to draw though the study measures it; "
            "evaluate and compare it again"
        )
    return found


def class_gains(numbers: Numbers, dataset: str, classes: pd.DataFrame) -> pd.DataFrame:
    """Return backbone, class, estimate, low and high of the gains over the deciding baseline by class."""
    compare = numbers.study.compare
    rows = only(classes, dataset=dataset, treatment=compare.treatment, baseline=compare.primary)
    return pd.DataFrame({
        "backbone": rows["backbone"].map(backbone_label),
        "class": rows["metric"].str.split("/", n=1).str[1],
        **{name: rows[name].astype(np.float64) for name in ("estimate", "low", "high")},
    })  # fmt: skip


def confusion_plate(numbers: Numbers, results: Path, dataset: str) -> Figure:
    """Return the confusion of deciding baseline and treatment, summed over scenes and repetitions, on each backbone."""
    study = numbers.study
    rule, arms = study.evaluate[dataset].primary, [study.compare.primary, study.compare.treatment]
    maps, backbones, classes = list[list[NDArray[np.int64]]](), list[str](), list[str]()
    for backbone in study.backbones:
        folder = results / "evaluate" / dataset / backbone
        if (dataset, backbone) not in study.places:
            continue
        if numbers.partial and not (folder / "record.json").exists():
            continue
        extra = read_record(folder / "record.json").extra
        counts = _counts(folder / "counts.npz", rule)
        cells = [[i for i, cell in enumerate(extra["cells"]) if arm in cell["names"]] for arm in arms]
        if all(cells):
            maps.append([counts[of].sum(axis=(0, 1)) for of in cells])
            backbones.append(backbone_label(backbone))
            classes = list(extra["classes"])
    if not maps:
        raise BenchError(
            f"{results / 'evaluate' / dataset}: no backbone has counts of both {arms[0]} and {arms[1]}; "
            "run the study first"
        )
    return confusions(
        maps, backbones, arms, classes,
        title=f"{dataset_label(study, dataset)}: confusion, share of each target class in per cent",
        stamp=numbers.stamp,
        note=f"Each row adds up to 100; shares below half a per cent are not written. Pixel rule {rule}, summed over "
        f"scenes and repetitions. Grey: the class has no target pixel. {numbers.runs}.",
    )  # fmt: skip


def _counts(path: Path, rule: str) -> NDArray[np.int64]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found: NDArray[np.int64] = arrays[f"counts/{rule}"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise BenchError(f"{path}: no counts to draw ({error}); run `bench evaluate` again") from None
    return found
