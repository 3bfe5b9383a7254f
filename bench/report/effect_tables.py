"""Tables of the gain beyond its headline: every interval and effect size, and the gain on parts of the test data."""

import math

import pandas as pd

from bench.report.formats import NONE, interval, percent
from bench.report.layout import Cell, Table
from bench.report.numbers import Numbers, backbone_label, dataset_label, gains


def effects_table(numbers: Numbers) -> Table:
    """Return each headline gain with the intervals of the bootstrap beside the default, and its effect sizes."""
    study, rows = numbers.study, list[tuple[Cell, ...]]()
    for dataset in study.datasets:
        for backbone in study.backbones:
            for _, row in gains(numbers, dataset, backbone).iterrows():
                if row["same_run"]:
                    continue
                names = [dataset_label(study, dataset), backbone_label(backbone), str(row["baseline"])]
                ends = [
                    interval(row.get(f"{before}low", math.nan), row.get(f"{before}high", math.nan))
                    for before in ("", "bootstrap_", "bca_")
                ]
                sizes = [
                    _number(row.get(key)) for key in ("paired_d", "hedges_g", "standardised", "improvement")
                ]
                shown = [
                    percent(row["estimate"], signed=True),
                    *ends,
                    *sizes,
                    percent(row.get("detectable", math.nan)),
                ]
                rows.append(tuple(map(Cell, [*names, *shown])))
    level = f"{100 * (1 - study.compare.level):g} %"
    return Table(
        name="effects",
        title=numbers.titled(
            f"Gain of {study.compare.treatment} over each baseline in points: {level} intervals of three kinds, effect "
            "sizes."
        ),
        columns=(
            *("Dataset", "Backbone", "Baseline", "gain", "crossed t", "bootstrap", "BCa"),
            *("d", "g", "over SD", "P(better)", "detectable"),
        ),
        keys=3,
        rows=tuple(rows),
        notes=(
            f"{numbers.setting} crossed t: the interval of all other tables; bootstrap, BCa: seeds and units drawn "
            f"anew {study.compare.resamples:,} times, percentiles and bias-corrected, which cover too little with few "
            "seeds; with one trained model a cell the units alone are drawn.",
            "d: mean over SD of the paired seeds' gains; g: d corrected for few seeds; over SD: gain over the pooled "
            "SD of both arms' seeds; P(better): probability that a seed of the treatment beats one of the baseline; "
            "detectable: the gain that this design finds with probability 0.8. n/a: too few seeds, or nothing varies.",
        ),
    )


def subsets_table(numbers: Numbers, subsets: pd.DataFrame) -> Table:
    """Return the treatment against each baseline on each group of samples that the study names: day, night."""
    study, rows = numbers.study, list[tuple[Cell, ...]]()
    order = {name: i for i, name in enumerate([*study.datasets, *study.backbones, *study.arms])}
    by_place = sorted(
        (row for _, row in subsets.iterrows()),
        key=lambda row: [order.get(str(row[key]), -1) for key in ("dataset", "backbone")],
    )
    for row in by_place:
        names = [dataset_label(study, str(row["dataset"])), backbone_label(str(row["backbone"]))]
        words = [*names, str(row["subset"]), str(row["metric"]), str(row["baseline"])]
        values = [percent(row["treatment_value"]), percent(row["baseline_value"])]
        tail = [percent(row["estimate"], signed=True), interval(row["low"], row["high"])]
        units = NONE if pd.isna(row["units"]) else f"{row['units']:.0f}"
        rows.append(tuple(map(Cell, [*words, *values, *tail, units])))
    return Table(
        name="subsets",
        title=numbers.titled(
            f"{study.compare.treatment} against each baseline on parts of the test data, in per cent."
        ),
        columns=(
            *("Dataset", "Backbone", "Subset", "Metric", "Baseline", study.compare.treatment, "baseline"),
            *("gain", numbers.level_name, "Units"),
        ),
        keys=5,
        rows=tuple(rows),
        notes=(f"{numbers.setting} Intervals are not corrected for their number.",),
    )


def _number(value: float | None) -> str:
    return NONE if value is None or pd.isna(value) else f"{value:.2f}"
