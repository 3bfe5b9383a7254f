"""A dataset's scores in the paper's layout, and every convention side by side."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench.report.formats import dagger, deviation, interval, is_marked, mean_of, only, percent
from bench.report.layout import Cell, Table
from bench.report.numbers import Numbers, backbone_label, class_scores, dataset_label, gains, paper_best

Place = tuple[str, str]
"""Backbone and arm of a column; the arm is `GAIN` in the column of the gain over the deciding baseline."""
GAIN = ""
CONVENTIONS = ("mIoU", "mF1", "OA")
"""Metrics in the order of their rows."""


def dataset_table(numbers: Numbers, dataset: str, classes: pd.DataFrame) -> Table:
    """Return one dataset in the paper's layout: backbones x arms across, classes and the mean down.

    `classes` (compare/classes.csv, may be empty) gives each class's gain over the deciding baseline. Below the
    mean: its spread over seeds, the treatment's gain over each arm with its interval, and the distance to the
    paper's best value.
    """
    study, compare = numbers.study, numbers.study.compare
    head = only(numbers.headline, dataset=dataset)
    places = [
        (backbone, arm)
        for backbone in study.backbones
        if (dataset, backbone) in study.places
        for arm in (*study.named_at(dataset, backbone), GAIN)
    ]
    found = {
        (backbone, str(row["baseline"])): row
        for backbone in study.backbones
        for _, row in gains(numbers, dataset, backbone).iterrows()
    }
    rows = _class_rows(numbers, dataset, places, only(classes, dataset=dataset, baseline=compare.primary))
    breaks = frozenset({len(rows), len(rows) + 2})
    runs = {place: only(head, backbone=place[0], arm=place[1]) for place in places}
    name = numbers.headline_name(dataset)
    decisive = {
        (backbone, GAIN): gain_cell(found[backbone, compare.primary], compare.level)
        for backbone in study.backbones
        if (backbone, compare.primary) in found
    }
    means = {place: Cell(percent(mean_of(runs[place]))) for place in places if place[1]}
    spread = {place: Cell(deviation(runs[place]["value"])) for place in places if place[1]}
    rows += [_row(name, places, means | decisive), _row("SD over seeds", places, spread)]
    against = {place: gain_cell(row, compare.level) for place, row in found.items()}
    rows.append(_row(f"{compare.treatment} - arm", places, against))
    for end, words in (("low", f"{numbers.level_name}, from"), ("high", "to")):
        rows.append(
            _row(words, places, {k: Cell(percent(row[end], signed=True)) for k, row in found.items()})
        )
    best = paper_best(numbers, dataset)
    of_paper = ""
    if best is not None:
        paper = float(best["paper_low"])
        treated = [place for place in places if place[1] == compare.treatment]
        apart = {place: Cell(percent(mean_of(runs[place]) - paper, signed=True)) for place in treated}
        rows.append(_row("minus the paper's best", places, apart))
        of_paper = f" The paper's best is {percent(paper)}; its backbone is not visible."
    score = study.evaluate[dataset].metric.removeprefix("m")
    return Table(
        name=f"dataset_{dataset}",
        title=numbers.titled(
            f"{dataset_label(study, dataset)}: {score} by class, {name} and the gain of {compare.treatment}, in per "
            "cent, mean over repetitions."
        ),
        columns=("Class", *(arm or "gain" for _, arm in places)),
        groups=("", *(backbone_label(backbone) for backbone, _ in places)),
        keys=1,
        rows=tuple(rows),
        breaks=breaks,
        notes=(
            f"gain: {compare.treatment} minus {compare.primary}, the baseline declared before the runs. "
            f"{numbers.setting_of(dataset)} SD: ddof = 1.{of_paper}",
            "n/a: the class has no target and no predicted pixel in the whole split, or one value has no spread.",
            *numbers.marks_notes(cell.mark for row in rows for cell in row),
        ),
    )


def _class_rows(
    numbers: Numbers, dataset: str, places: Sequence[Place], gained: pd.DataFrame
) -> list[tuple[Cell, ...]]:
    """Return a row a class: the mean of each arm, and the gain where the comparison gives one."""
    per_class, level = class_scores(numbers, dataset), numbers.study.compare.level
    means = per_class.groupby(["metric", "backbone", "arm"], sort=False)["value"].mean()
    gain = {(row["metric"], row["backbone"]): row for _, row in gained.iterrows()}
    rows = []
    for metric in per_class["metric"].drop_duplicates():
        cells = {(b, a): Cell(percent(means.get((metric, b, a), math.nan))) for b, a in places if a}
        for backbone in numbers.study.backbones:
            row = gain.get((metric, backbone))
            if row is not None:
                bold = bool(pd.notna(row["p_holm"]) and row["p_holm"] < level)
                cells[backbone, GAIN] = Cell(percent(row["estimate"], signed=True), bold)
        rows.append(_row(str(metric).split("/", 1)[1].replace("_", " "), places, cells))
    return rows


def _row(name: str, places: Sequence[Place], cells: Mapping[Place, Cell]) -> tuple[Cell, ...]:
    return (Cell(name), *(cells.get(place, Cell("")) for place in places))


def gain_cell(row: "pd.Series[Any]", level: float) -> Cell:
    """Return a comparison's estimate in points, with the emphasis that its statistics allow."""
    return Cell(percent(row["estimate"], signed=True), is_marked(row, level), dagger(row))


def conventions_table(numbers: Numbers) -> Table:
    """Return the gain over the deciding baseline under every convention that was counted, the headline among them."""
    study, compare = numbers.study, numbers.study.compare
    rows, marks = [], set[str]()
    scores = numbers.scores[~numbers.scores["metric"].str.contains("/")]
    keys = ["dataset", "backbone", "pixels", "classes", "metric"]
    means = scores.groupby([*keys, "arm"], sort=False)["value"].mean()
    primary = scores.groupby(keys, sort=False)["primary"].any()
    gained = only(numbers.comparisons, baseline=compare.primary, treatment=compare.treatment)
    gains_of = {tuple(row[key] for key in keys): row for _, row in gained.iterrows()}
    places = [*study.datasets, *study.backbones]

    def order(key: tuple[str, ...]) -> tuple[object, ...]:
        dataset, backbone, pixels, classes, metric = key
        rules = study.evaluate[dataset].pixels if dataset in study.evaluate else ()
        return (
            *(
                (name not in places, places.index(name) if name in places else 0)
                for name in (dataset, backbone)
            ),
            (rules.index(pixels) if pixels in rules else len(rules), classes != "all", classes),
            CONVENTIONS.index(metric) if metric in CONVENTIONS else len(CONVENTIONS),
        )

    for key in sorted(primary.index, key=order):
        names = [dataset_label(study, key[0]), backbone_label(key[1]), *map(str, key[2:])]
        cells = [*map(Cell, names), *(Cell(percent(means.get((*key, arm), math.nan))) for arm in study.named)]
        item = gains_of.get(key)
        if item is None:
            cells += [Cell("n/a"), Cell("n/a")]
        else:
            marks.add(dagger(item))
            cells += [gain_cell(item, compare.level), Cell(interval(item["low"], item["high"]))]
        rows.append((*cells, Cell("headline" if primary[key] else "")))
    gain = f"{compare.treatment} - {compare.primary}"
    columns = (
        "Dataset",
        "Backbone",
        "Pixels",
        "Classes",
        "Metric",
        *study.named,
        gain,
        numbers.level_name,
        "",
    )
    return Table(
        name="conventions",
        title=numbers.titled(
            "Every convention that was counted, side by side, in per cent, mean over repetitions."
        ),
        columns=columns,
        keys=5,
        left=frozenset({len(columns) - 1}),
        rows=tuple(rows),
        notes=(
            f"{numbers.setting} One prediction gives every row: Pixels says which labels or windows count, "
            "Classes which classes are in the mean; pixels of a class left out still count as errors of the others.",
            *numbers.marks_notes(marks),
        ),
    )
