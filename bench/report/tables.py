"""The tables of a study, built from finished numbers. Fractions become per cent here and nowhere earlier.

Bold is used in one sense only, and the note under the table says it: the Holm-adjusted p lies below the
study's level. Same numbers, same bytes; cost, which has clock time in it, stands in a table of its own.
"""

from pathlib import Path

import pandas as pd

from bench.record import write_text
from bench.report.layout import Cell, Table, to_csv, to_html, to_latex, to_markdown, to_text
from bench.report.numbers import (
    Numbers,
    backbone_label,
    class_scores,
    dataset_label,
    gains,
    paper_gain,
    read_numbers,
    read_table,
)
from bench.study.schema import Study

NONE = "n/a"


def percent(value: float, *, signed: bool = False) -> str:
    """Return a fraction as per cent with two decimals; `n/a` for NaN, never a negative zero."""
    if pd.isna(value):
        return NONE
    text = f"{100 * value:+.2f}" if signed else f"{100 * value:.2f}"
    return text.replace("-", "+" if signed else "") if float(text) == 0 else text


def interval(low: float, high: float) -> str:
    """Return an interval of fractions as [low, high] in per cent."""
    return NONE if pd.isna(low) or pd.isna(high) else f"[{percent(low)}, {percent(high)}]"


def p_value(value: float) -> str:
    """Return a p-value with three decimals, or `<0.001`."""
    if pd.isna(value):
        return NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def is_marked(row: pd.Series, level: float) -> bool:
    """Say whether the statistics allow emphasis: two different runs, and the adjusted p below the level."""
    return bool(not row["same_run"] and pd.notna(row["p_holm"]) and row["p_holm"] < level)


def _title(numbers: Numbers, text: str) -> str:
    return f"{numbers.stamp}. {text}" if numbers.stamp else text


def _bold_note(numbers: Numbers) -> str:
    level = numbers.study.compare.level
    return f"Bold (a star in plain text): the p-value after Holm's correction lies below {level:g}."


def _seeds_mean(rows: pd.DataFrame) -> float:
    return float(rows["value"].mean()) if len(rows) else float("nan")


def _of(frame: pd.DataFrame, **names: str) -> pd.DataFrame:
    for column, value in names.items():
        frame = frame[frame[column] == value]
    return frame


def main_table(numbers: Numbers) -> Table:
    """Return the main table: a row a dataset and backbone, a column an arm, the gain and its verdict."""
    study, compare = numbers.study, numbers.study.compare
    rows = []
    for dataset in study.datasets:
        for backbone in study.backbones:
            head = _of(numbers.headline, dataset=dataset, backbone=backbone)
            found = _of(gains(numbers, dataset, backbone), baseline=compare.primary)
            gain = found.iloc[0] if len(found) else None
            claim = paper_gain(numbers, dataset, backbone)
            cells = [Cell(dataset_label(study, dataset)), Cell(backbone_label(backbone))]
            cells += [Cell(study.evaluate[dataset].metric)]
            cells += [Cell(percent(_seeds_mean(_of(head, arm=arm)))) for arm in study.arms]
            if gain is None:
                cells += [Cell(NONE), Cell(NONE)]
            else:
                estimate = percent(gain["estimate"], signed=True)
                cells += [
                    Cell(estimate, is_marked(gain, compare.level)),
                    Cell(interval(gain["low"], gain["high"])),
                ]
            rows.append((*cells, Cell("no claim" if claim is None else str(claim["verdict"]))))
    gain_name = f"{compare.treatment} - {compare.primary}"
    columns = ("Dataset", "Backbone", "Metric", *study.arms, gain_name, _level_name(study), "Verdict")
    return Table(
        name="main",
        title=_title(
            numbers,
            f"Test scores in per cent, mean over repetitions; gain of {gain_name.replace(' - ', ' over ')}.",
        ),
        columns=columns,
        keys=3,
        left=frozenset({len(columns) - 1}),
        rows=tuple(rows),
        notes=(
            f"{numbers.setting} The verdict compares the gain with the paper's; one on the average of the "
            "backbones stands on each row.",
            _bold_note(numbers),
        ),
    )


def _level_name(study: Study) -> str:
    return f"{100 * (1 - study.compare.level):g} % interval"


def per_class_table(numbers: Numbers) -> Table:
    """Return the per-class scores: a row a dataset, backbone and class, a column an arm."""
    study, rows = numbers.study, []
    for dataset in study.datasets:
        scores = class_scores(numbers, dataset)
        for backbone in study.backbones:
            cell = _of(scores, backbone=backbone)
            for name in cell["metric"].drop_duplicates():
                one = _of(cell, metric=name)
                keys = [dataset_label(study, dataset), backbone_label(backbone), *name.split("/", 1)[::-1]]
                means = [percent(_seeds_mean(_of(one, arm=arm))) for arm in study.arms]
                rows.append(tuple(Cell(text) for text in (*keys, *means)))
    return Table(
        name="per_class",
        title=_title(numbers, "Per-class test scores in per cent, mean over repetitions."),
        columns=("Dataset", "Backbone", "Class", "Metric", *study.arms),
        keys=4,
        rows=tuple(rows),
        notes=(f"{numbers.runs}.", "n/a: the class has no target and no predicted pixel in the whole split."),
    )


def comparisons_table(numbers: Numbers) -> Table:
    """Return the treatment against each baseline on the headline metric, with interval, test and question."""
    study, level, rows = numbers.study, numbers.study.compare.level, []
    for dataset in study.datasets:
        for backbone in study.backbones:
            for _, row in gains(numbers, dataset, backbone).iterrows():
                keys = [dataset_label(study, dataset), backbone_label(backbone), str(row["baseline"])]
                estimate = Cell(percent(row["estimate"], signed=True), is_marked(row, level))
                cells = [percent(row["treatment_value"]), percent(row["baseline_value"])]
                tail = [interval(row["low"], row["high"]), p_value(row["p"]), p_value(row["p_holm"])]
                words = ["yes" if row["decides"] else "", str(row["question"]), str(row["statement"])]
                rows.append((*map(Cell, keys), *map(Cell, cells), estimate, *map(Cell, (*tail, *words))))
    treatment = study.compare.treatment
    columns = ("Dataset", "Backbone", "Baseline", treatment, "baseline", "gain", _level_name(study))
    return Table(
        name="comparisons",
        title=_title(numbers, f"{treatment} against each baseline, headline metric in per cent."),
        columns=(*columns, "p", "p (Holm)", "decides", "Question", "Statement"),
        keys=3,
        left=frozenset({len(columns) + 3, len(columns) + 4}),
        rows=tuple(rows),
        notes=(
            numbers.setting,
            "decides: the baseline declared before the runs.",
            _bold_note(numbers),
        ),
    )


def top1_table(numbers: Numbers) -> Table:
    """Return top-1 of the pre-trained classifiers by channel order, and what reversing the order costs."""
    frame, rows = numbers.top1, []
    orders = [order for order in numbers.study.orders if order in set(frame["order"])]
    means = frame.groupby(["backbone", "strategy", "channels", "order"], sort=False)["value"].mean()
    seeds = frame.groupby(["backbone", "strategy", "channels"], sort=False)["seed"].nunique()
    for backbone in numbers.study.backbones:
        for found, strategy, channels in sorted(
            (key for key in seeds.index if key[0] == backbone), key=lambda key: (key[1] != "rgb", *key[1:])
        ):
            value = {order: means.get((found, strategy, channels, order), float("nan")) for order in orders}
            rgb = means.get((found, "rgb", 3, "natural"), float("nan"))
            keys = [
                backbone_label(backbone),
                str(strategy),
                str(channels),
                str(seeds[found, strategy, channels]),
            ]
            cells = [percent(value[order]) for order in orders]
            cells += [percent(value["natural"] - rgb, signed=True) if strategy != "rgb" else ""]
            if "reversed" in orders:
                cells.append(percent(value["reversed"] - value["natural"], signed=True))
            rows.append(tuple(Cell(text) for text in (*keys, *cells)))
    tail = ("reversed - natural",) if "reversed" in orders else ()
    return Table(
        name="top1",
        title=_title(numbers, "Top-1 accuracy of the pre-trained classifiers in per cent, by channel order."),
        columns=("Backbone", "Strategy", "Channels", "Seeds", *orders, "natural - rgb", *tail),
        keys=2,
        rows=tuple(rows),
        notes=("Mean over pre-training seeds; last weights; validation images; no interval is given.",),
    )


def claims_table(numbers: Numbers) -> Table:
    """Return every claim of the paper with its verdict."""
    study, rows = numbers.study, []
    for _, row in numbers.verdicts.iterrows():
        signed = row["kind"] in ("gain", "ordering")
        low, high = (percent(row[name], signed=signed) for name in ("paper_low", "paper_high"))
        keys = [str(row["claim"]), dataset_label(study, row["dataset"]), backbone_label(row["backbone"])]
        paper = "in words" if row["kind"] == "ordering" else low if low == high else f"{low} to {high}"
        numbers_here = [paper, percent(row["value"], signed=signed), interval(row["low"], row["high"])]
        words = [
            *keys,
            str(row["kind"]),
            str(row["metric"]),
            *numbers_here,
            str(row["verdict"]),
            str(row["reason"]),
        ]
        rows.append(tuple(map(Cell, words)))
    level, margin = numbers.study.compare.level, 100 * study.compare.margin
    return Table(
        name="claims",
        title=_title(numbers, "The paper's claims and what this study says to each, in per cent."),
        columns=(
            "Claim",
            "Dataset",
            "Backbone",
            "Kind",
            "Metric",
            "Paper",
            "Here",
            "Interval",
            "Verdict",
            "Reason",
        ),
        keys=5,
        left=frozenset({8, 9}),
        rows=tuple(rows),
        notes=(
            f"Reproduced: within {margin:g} points of the paper's number by two one-sided tests "
            f"at {level:g}, read off the {100 * (1 - 2 * level):g} % interval shown. Drop: RGB minus CSP.",
            f"{numbers.runs}.",
        ),
    )


def cost_table(numbers: Numbers, cost: pd.DataFrame) -> Table:
    """Return time and memory by stage and device. Not reproducible to the byte: it holds clock time."""
    rows = []
    for (stage, device), group in cost.groupby(["stage", "device"], sort=False, dropna=False):
        seconds, peak = group["wall_seconds"], group["peak_memory_bytes"]
        words = [str(stage), str(device), str(len(group)), f"{seconds.sum():.1f}", f"{seconds.max():.1f}"]
        rows.append(tuple(map(Cell, [*words, f"{peak.max() / 2**20:.0f}"])))
    return Table(
        name="cost",
        title=_title(numbers, "Cost by stage."),
        columns=("Stage", "Device", "Jobs", "Wall s, sum", "Wall s, longest", "Peak MiB"),
        keys=2,
        rows=tuple(rows),
        notes=(
            "Wall time and peak memory as the jobs' receipts give them; jobs may have run beside each other.",
        ),
    )


def all_tables(numbers: Numbers, compare: Path) -> list[Table]:
    """Return every table of the study, in the order of `bench.study.outputs.TABLES`."""
    tables = [main_table(numbers), per_class_table(numbers), comparisons_table(numbers)]
    tables += [top1_table(numbers), claims_table(numbers)]
    return [*tables, cost_table(numbers, read_table(compare / "cost.csv"))]


def write_tables(study: Study, compare: Path, out: Path, *, partial: bool = False) -> list[Path]:
    """Write each table as CSV, Markdown, HTML and LaTeX into `out`, the main one as plain text too.

    Returns the paths. Raises BenchError if a run of the study is missing and `partial` is not given, or if a
    file of `compare` is missing or malformed.
    """
    numbers = read_numbers(study, compare, partial=partial)
    written = [out / "main.txt"]
    write_text(written[0], to_text(main_table(numbers)))
    for table in all_tables(numbers, compare):
        for ending, setter in (("csv", to_csv), ("md", to_markdown), ("html", to_html), ("tex", to_latex)):
            written.append(out / f"{table.name}.{ending}")
            write_text(written[-1], setter(table))
    return written


def main_table_text(study: Study, compare: Path, *, partial: bool = False, width: int = 100) -> str:
    """Return the main table as aligned plain text of at most `width` columns, for a terminal."""
    return to_text(main_table(read_numbers(study, compare, partial=partial)), width)
