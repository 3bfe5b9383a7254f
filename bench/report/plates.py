"""The figures of one study, drawn from its results folder and written: the edge between files and figures."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.errors import BenchError
from bench.record import read_record
from bench.report import figures, grid_figures, style
from bench.report.examples import read_examples, rule_words
from bench.report.inference_tables import read_optional
from bench.report.losses import key_of, read_losses
from bench.report.measured_plates import MEASURED, class_gains, classifier_plate, confusion_plate
from bench.report.numbers import (
    Numbers,
    backbone_label,
    class_scores,
    dataset_label,
    gains,
    paper_gain,
    read_numbers,
)
from bench.report.overview import claim_texts, counted, overview, sorted_claims
from bench.report.pictures import Example, panels
from bench.study.jobs import FinetuneRun, PretrainRun
from bench.study.outputs import measured
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


def draw(
    numbers: Numbers, results: Path, *, compare: Path | None = None, pictures: bool = True
) -> Iterator[tuple[str, Figure]]:
    """Yield the name and the figure of every figure of the study, without `pictures` none that shows scenes.

    `compare`: folder of the finished numbers; unset: the one in `results`.
    """
    study, compare = numbers.study, compare or results / "compare"
    runs = Runs(study)
    yield "overview", _overview(numbers)
    yield "forest", _forest(numbers)
    yield "top1", _top1(numbers)
    if study.spectral:
        yield "top1_spectral", classifier_plate(numbers)
    yield "curves_pretrain", _pretrain_curves(numbers, results, runs)
    yield "curves_finetune", _finetune_curves(numbers, results, runs)
    for name in measured(study):
        yield name, MEASURED[name](numbers, compare)
    for dataset in study.datasets:
        yield f"per_class_{dataset}", _per_class(numbers, compare, dataset)
    for dataset in study.datasets:
        yield f"confusion_{dataset}", confusion_plate(numbers, results, dataset)
    for dataset in study.datasets if pictures else ():
        yield f"pictures_{dataset}", _pictures(numbers, results, dataset)
    if study.factors:
        yield "grid_effects", grid_figures.effects(numbers)
        yield "grid_interactions", grid_figures.heat_maps(numbers)


def _overview(numbers: Numbers) -> Figure:
    study = numbers.study
    claims = pd.DataFrame(
        [
            claim_texts(row, dataset_label(study, str(row["dataset"])), backbone_label(str(row["backbone"])))
            for _, row in sorted_claims(numbers.verdicts).iterrows()
        ]
    )
    if claims.empty:
        raise BenchError(f"study {study.study}: verdicts.csv holds no claim; run `bench compare` again")
    level = f"{100 * (1 - 2 * study.compare.level):g} %"
    return overview(
        claims,
        title=f"{counted(claims['verdict'])}.",
        stamp=numbers.stamp,
        note=f"Per cent or points; below each number its {level} interval, "
        f"from which the verdict is read. {numbers.runs}.",
    )


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
    # The arrangements drawn for `random` are shown one by one: random1, random2, ...
    names = numbers.top1["order"]
    drawn_one = names.str.fullmatch(r"random\d+").astype(bool)
    frame = numbers.top1.assign(order=names.where(~drawn_one, "random"))
    if drawn_one.any():
        # Their mean is what the bar shows.
        frame = frame[names != "random"]
    frame = frame[frame["order"].isin(orders) & frame["backbone"].isin(backbones)]
    if frame.empty:
        raise BenchError(
            f"study {numbers.study.study}: top1.csv has no row to draw; run `bench compare` again"
        )
    label = frame["label"] if "label" in frame else frame["strategy"]
    frame = frame.assign(
        # csp-batch-4ch is another pre-training than csp-4ch.
        name=[str(name).removesuffix(f"-{n}ch") for name, n in zip(label, frame["channels"], strict=True)],
        panel=frame["backbone"].map(backbones.index),
        baseline=frame["strategy"] != "rgb",
        place=frame["order"].map(orders.index),
    ).sort_values(["panel", "baseline", "strategy", "name", "channels", "place"], kind="stable")
    drawn = pd.DataFrame({
        "backbone": frame["backbone"].map(backbone_label),
        "group": frame["name"] + "\nn = " + frame["channels"].astype(str),
        "order": frame["order"],
        "value": frame["value"],
    })  # fmt: skip
    words = " and ".join(filter(None, [", ".join(orders[:-1]), orders[-1]]))
    title = f"Top-1 of the pre-trained classifiers in {words} channel order"
    dots = "a dot each run and drawn order" if "random" in orders else "dots: single runs"
    weights = numbers.classifier_weights
    note = f"Bars: mean over pre-training seeds; {dots}; validation images; {weights}."
    return figures.top1(drawn, title=title, stamp=numbers.stamp, note=note)


def _logged(numbers: Numbers, results: Path, jobs: Sequence[Training]) -> list[tuple[Training, pd.DataFrame]]:
    """Return each run with its loss as x (step) and y; a run without one is an error unless PARTIAL."""
    found = read_losses(jobs, results)
    missing = [key_of(job) for job in jobs if key_of(job) not in found]
    if missing and not numbers.partial:
        raise BenchError(
            f"{results / missing[0]}/log.csv: no readable log; run `bench {jobs[0].stage}` for it again"
        )
    if not found:
        raise BenchError(
            f"study {numbers.study.study}: no log.csv of any run of this stage; run the study first"
        )
    there = [(job, found[key_of(job)]) for job in jobs if key_of(job) in found]
    return [(job, pd.DataFrame({"x": values[0], "y": values[1]})) for job, values in there]


def _pretrain_curves(numbers: Numbers, results: Path, runs: Runs) -> Figure:
    trained = [run for run in runs.pretrainings if run.published is None]
    title = "Training loss of the pre-trainings"
    if not trained:
        words = "This study pre-trains nothing: published weights stand in, or its arms start from scratch."
        return figures.nothing(words, title=title, stamp=numbers.stamp)
    parts = [
        loss.assign(row="", column=backbone_label(run.backbone), line=run.label, run=run.repetition)
        for run, loss in _logged(numbers, results, trained)
    ]
    frame = pd.concat(parts, ignore_index=True)
    lines = list(dict.fromkeys(frame["line"]))
    palette = (style.BASELINES[0], style.TREATMENT, *style.BASELINES[1:])
    return figures.curves(
        frame,
        dict(zip(lines, palette * len(lines), strict=False)),
        x="step",
        y="loss",
        title=title,
        stamp=numbers.stamp,
        note="Taken with mixed labels, smoothing and drop path on, so it does not fall to zero.",
    )


def _finetune_curves(numbers: Numbers, results: Path, runs: Runs) -> Figure:
    study = numbers.study
    parts = [
        loss.assign(
            row=dataset_label(study, run.dataset),
            column=backbone_label(run.backbone),
            line=run.arm,
            run=run.repetition,
        )
        for run, loss in _logged(numbers, results, runs.finetunings)
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


def _per_class(numbers: Numbers, compare: Path, dataset: str) -> Figure:
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
    frame = frame[frame["arm"].isin(study.named)]
    arms = [arm for arm in study.named if (frame["arm"] == arm).any()]
    metric = rows["metric"].iloc[0].split("/")[0]
    return figures.per_class(
        frame,
        arms,
        style.arm_colours(list(study.arms), study.compare.treatment),
        metric=metric,
        gains=class_gains(numbers, dataset, read_optional(compare, "classes")),
        gain_name=f"{study.compare.treatment} - {study.compare.primary}",
        title=f"{dataset_label(study, dataset)}: {metric} by class",
        stamp=numbers.stamp,
        note=f"Bars: mean over repetitions; dots: single runs. Beside them the gain over {study.compare.primary} with "
        f"its interval, not corrected for the number of classes. No bar: the class has no target and no predicted "
        f"pixel. {numbers.setting_of(dataset)}",
    )


def _pictures(numbers: Numbers, results: Path, dataset: str) -> Figure:
    study, examples = numbers.study, list[Example]()
    classes, colours, rules = list[str](), list[list[int]](), list[dict[str, Any] | None]()
    for backbone in study.backbones:
        folder = results / "evaluate" / dataset / backbone
        if (dataset, backbone) not in study.places:
            continue
        if numbers.partial and not (folder / "examples.npz").exists():
            continue
        extra = read_record(folder / "record.json").extra
        try:
            channels, classes, colours = (list(extra[name]) for name in ("channels", "classes", "colours"))
        except KeyError as error:
            raise BenchError(f"{folder}/record.json: lacks {error}; run `bench evaluate` again") from None
        rule = extra.get("examples_rule")
        rules.append(rule)
        examples += read_examples(folder, channels, list(study.named), backbone_label(backbone), rule)
    return panels(
        examples,
        classes,
        colours,
        contrast=(study.compare.treatment, study.compare.primary),
        title=f"{dataset_label(study, dataset)}: input channels, target, prediction of each arm",
        stamp=numbers.stamp,
        note="The first repetition of each arm. Extra channels: grey from the 1st to the 99th percentile. "
        + rule_words(next(filter(None, rules), None)),
    )
