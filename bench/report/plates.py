"""The figures of one study, drawn from its results folder and written: the edge between files and figures."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.errors import BenchError
from bench.record import read_record
from bench.report import figures, style
from bench.report.numbers import (
    Numbers,
    backbone_label,
    class_scores,
    dataset_label,
    gains,
    paper_gain,
    read_numbers,
)
from bench.report.pictures import Example, panels
from bench.study.jobs import FinetuneRun, Job, PretrainRun
from bench.study.runs import Runs
from bench.study.schema import Study

Training = TypeVar("Training", PretrainRun, FinetuneRun)


def write_figures(study: Study, results: Path, out: Path, *, partial: bool = False) -> list[Path]:
    """Write every figure of the study as PNG and PDF into `out` and return the paths.

    `results` is the study's own folder (results/<study>) with compare/, pretrain/, finetune/ and evaluate/.
    Raises BenchError if a run is missing and `partial` is not given.
    """
    numbers = read_numbers(study, results / "compare", partial=partial)
    return [path for name, figure in draw(numbers, results) for path in style.write(figure, out / name)]


def draw(numbers: Numbers, results: Path) -> Iterator[tuple[str, Figure]]:
    """Yield the name and the figure of every figure of the study."""
    study = numbers.study
    runs = Runs(study, str(results.parent))
    yield "forest", _forest(numbers)
    yield "top1", _top1(numbers)
    yield "curves_pretrain", _pretrain_curves(numbers, runs)
    yield "curves_finetune", _finetune_curves(numbers, runs)
    for dataset in study.datasets:
        yield f"per_class_{dataset}", _per_class(numbers, dataset)
    for dataset in study.datasets:
        yield f"pictures_{dataset}", _pictures(numbers, results, dataset)


def _forest(numbers: Numbers) -> Figure:
    study, rows = numbers.study, []
    for dataset in study.datasets:
        for backbone in study.backbones:
            claim = paper_gain(numbers, dataset, backbone)
            paper = (np.nan, np.nan) if claim is None else (claim["paper_low"], claim["paper_high"])
            found = gains(numbers, dataset, backbone)
            for _, row in found[~found["same_run"]].iterrows():
                values = {name: row[name] for name in ("baseline", "estimate", "low", "high", "decides")}
                label = f"{dataset_label(study, dataset)} (n = {len(study.datasets[dataset].channels)})"
                place = {"dataset": label, "backbone": backbone_label(backbone)}
                rows.append({**place, **values, "paper_low": paper[0], "paper_high": paper[1]})
    if not rows:
        raise BenchError(f"study {study.study}: no comparison to draw; run `bench compare` again")
    treatment, level = study.compare.treatment, 100 * (1 - study.compare.level)
    return figures.forest(
        pd.DataFrame(rows),
        style.arm_colours(list(study.arms), treatment),
        title=f"Gain of {treatment} over each baseline, with {level:g} % intervals",
        stamp=numbers.stamp,
        note=f"{numbers.setting} Filled: the baseline declared before the runs.",
    )


def _top1(numbers: Numbers) -> Figure:
    orders, backbones = list(numbers.study.orders), list(numbers.study.backbones)
    frame = numbers.top1[numbers.top1["order"].isin(orders) & numbers.top1["backbone"].isin(backbones)]
    if frame.empty:
        raise BenchError(
            f"study {numbers.study.study}: top1.csv has no row to draw; run `bench compare` again"
        )
    frame = frame.assign(
        panel=frame["backbone"].map(backbones.index),
        baseline=frame["strategy"] != "rgb",
        place=frame["order"].map(orders.index),
    ).sort_values(["panel", "baseline", "strategy", "channels", "place"], kind="stable")
    drawn = pd.DataFrame({
        "backbone": frame["backbone"].map(backbone_label),
        "group": frame["strategy"].astype(str) + "\nn = " + frame["channels"].astype(str),
        "order": frame["order"],
        "value": frame["value"],
    })  # fmt: skip
    title = "Top-1 of the pre-trained classifiers when the channel order is reversed"
    note = "Bars: mean over pre-training seeds; dots: single runs; validation images; last weights."
    return figures.top1(drawn, title=title, stamp=numbers.stamp, note=note)


def _loss(job: Job) -> pd.DataFrame:
    """Return the loss that a run logged, as x (step) and y."""
    path = Path(job.folder) / "log.csv"
    try:
        frame = pd.read_csv(path)
        return pd.DataFrame({"x": frame["step"], "y": frame["loss"]})
    except (FileNotFoundError, pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise BenchError(f"{path}: no readable log ({error}); run `bench {job.stage}` for it again") from None
    except KeyError as error:
        raise BenchError(
            f"{path}: expected columns step and loss, found no {error}; run `bench {job.stage}` again"
        ) from None


def _logged(numbers: Numbers, jobs: Sequence[Training]) -> list[tuple[Training, pd.DataFrame]]:
    there = [job for job in jobs if not numbers.partial or (Path(job.folder) / "log.csv").exists()]
    if not there:
        raise BenchError(
            f"study {numbers.study.study}: no log.csv of any run of this stage; run the study first"
        )
    return [(job, _loss(job)) for job in there]


def _pretrain_curves(numbers: Numbers, runs: Runs) -> Figure:
    parts = [
        loss.assign(row="", column=backbone_label(run.backbone), line=run.label, run=run.repetition)
        for run, loss in _logged(numbers, runs.pretrainings)
    ]
    frame = pd.concat(parts, ignore_index=True)
    lines = list(dict.fromkeys(frame["line"]))
    palette = (style.BASELINES[0], style.TREATMENT, *style.BASELINES[1:])
    return figures.curves(
        frame,
        dict(zip(lines, palette * len(lines), strict=False)),
        x="step",
        y="loss",
        title="Training loss of the pre-trainings",
        stamp=numbers.stamp,
        note="Taken with mixed labels, smoothing and drop path on, so it does not fall to zero.",
    )


def _finetune_curves(numbers: Numbers, runs: Runs) -> Figure:
    study = numbers.study
    parts = [
        loss.assign(
            row=dataset_label(study, run.dataset),
            column=backbone_label(run.backbone),
            line=run.arm,
            run=run.repetition,
        )
        for run, loss in _logged(numbers, runs.finetunings)
    ]
    return figures.curves(
        pd.concat(parts, ignore_index=True),
        style.arm_colours(list(study.arms), study.compare.treatment),
        x="step",
        y="loss",
        title="Training loss of the fine-tunings, a line a run",
        stamp=numbers.stamp,
        note="Arms that share a run are drawn once, under the first of their names.",
    )


def _per_class(numbers: Numbers, dataset: str) -> Figure:
    study = numbers.study
    rows = class_scores(numbers, dataset)
    if rows.empty:
        raise BenchError(
            f"study {study.study}: scores.csv has no per-class rows of {dataset}; run `bench compare` again"
        )
    frame = pd.DataFrame({
        "backbone": rows["backbone"].map(backbone_label),
        "arm": rows["arm"],
        "class": rows["metric"].str.split("/", n=1).str[1],
        "value": rows["value"],
    })  # fmt: skip
    arms = [arm for arm in study.arms if (frame["arm"] == arm).any()]
    metric = rows["metric"].iloc[0].split("/")[0]
    return figures.per_class(
        frame,
        arms,
        style.arm_colours(list(study.arms), study.compare.treatment),
        metric=metric,
        title=f"{dataset_label(study, dataset)}: {metric} by class",
        stamp=numbers.stamp,
        note=f"Bars: mean over repetitions; dots: single runs. {numbers.runs}.",
    )


def _pictures(numbers: Numbers, results: Path, dataset: str) -> Figure:
    study, examples, named = numbers.study, [], dict[str, list[str]]()
    colours: list[list[int]] = []
    for backbone in study.backbones:
        folder = results / "evaluate" / dataset / backbone
        if numbers.partial and not (folder / "examples.npz").exists():
            continue
        extra = read_record(folder / "record.json").extra
        try:
            named = {name: list(extra[name]) for name in ("channels", "classes")}
            colours = extra["colours"]
            examples += _examples(folder / "examples.npz", list(study.arms), backbone_label(backbone))
        except (KeyError, FileNotFoundError) as error:
            raise BenchError(
                f"{folder}: no examples to picture ({error}); run `bench evaluate` again"
            ) from None
    return panels(
        examples,
        named.get("channels", []),
        named.get("classes", []),
        colours,
        title=f"{dataset_label(study, dataset)}: input channels, target, prediction of each arm",
        stamp=numbers.stamp,
        note="One seed an arm. Extra channels: grey from the 1st to the 99th percentile.",
    )


def short(sample: str) -> str:
    """Return a sample id that fits beside a small picture: its beginning and its end if it is long."""
    return sample if len(sample) <= 12 else f"{sample[:6]}…{sample[-5:]}"


def _examples(path: Path, arms: list[str], backbone: str) -> list[Example]:
    with np.load(path, allow_pickle=False) as stored:
        ids = sorted(key.split("/", 1)[1] for key in stored.files if key.startswith("target/"))
        return [
            Example(
                label=f"{backbone}\n{short(sample)}",
                image_HWC=stored[f"image/{sample}"],
                target_HW=stored[f"target/{sample}"],
                predictions={
                    arm: stored[f"prediction/{arm}/{sample}"]
                    for arm in arms
                    if f"prediction/{arm}/{sample}" in stored.files
                },
            )
            for sample in ids
        ]
