"""Tables that hold the paper and other work against this study: claims with verdicts, published results."""

import csv
from pathlib import Path

from bench.errors import BenchError
from bench.report.formats import interval, mean_of, only, percent
from bench.report.layout import Cell, Table
from bench.report.numbers import Numbers, backbone_label, dataset_label


def claims_table(numbers: Numbers) -> Table:
    """Return every claim of the paper with its verdict."""
    study, rows = numbers.study, []
    for _, row in numbers.verdicts.iterrows():
        signed = row["kind"] in ("gain", "ordering")
        low, high = (percent(row[name], signed=signed) for name in ("paper_low", "paper_high"))
        keys = [str(row["claim"]), dataset_label(study, row["dataset"]), backbone_label(row["backbone"])]
        paper = "in words" if row["kind"] == "ordering" else low if low == high else f"{low} to {high}"
        here = [paper, percent(row["value"], signed=signed), interval(row["low"], row["high"])]
        words = [*keys, str(row["kind"]), str(row["metric"]), *here, str(row["verdict"]), str(row["reason"])]
        rows.append(tuple(map(Cell, words)))
    level, margin = study.compare.level, 100 * study.compare.margin
    names = "Claim Dataset Backbone Kind Metric Paper Here Interval Verdict Reason"
    return Table(
        name="claims",
        title=numbers.titled("The paper's claims and what this study says to each, in per cent."),
        columns=tuple(names.split()),
        keys=5,
        left=frozenset({8, 9}),
        rows=tuple(rows),
        notes=(
            f"Reproduced: within {margin:g} points of the paper's number by two one-sided tests "
            f"at {level:g}, read off the {100 * (1 - 2 * level):g} % interval shown. Drop: RGB minus CSP.",
            f"{numbers.runs}.",
        ),
    )


CONTEXT = "dataset method backbone metric value classes protocol source status"
"""Columns of published results of other work."""


def read_context(path: Path) -> list[dict[str, str]]:
    """Return the rows of compare/context.csv; none where there is no file.

    Raises BenchError for a file without one of the columns.
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        rows = list(reader)
    lacking = [name for name in CONTEXT.split() if name not in (reader.fieldnames or ())]
    if lacking:
        raise BenchError(f"{path}: lacks the columns {', '.join(lacking)}; run `bench compare` again")
    return rows


def context_table(numbers: Numbers, published: list[dict[str, str]]) -> Table:
    """Return published results of other work on this study's datasets, this study's treatment first."""
    study, treatment = numbers.study, numbers.study.compare.treatment
    sources = dict[str, str]()
    # A target of its source's name before parts of its channels under other names.
    for name in sorted(study.datasets, key=lambda name: study.datasets[name].source not in (None, name)):
        sources.setdefault(study.datasets[name].source or name, name)
    rows = []
    for source, name in sources.items():
        own = [row for row in published if row["dataset"] == source]
        head = only(numbers.headline, dataset=name, arm=treatment)
        for backbone in study.backbones if own else ():
            value = percent(mean_of(only(head, backbone=backbone)))
            metric, pixels = numbers.headline_name(name), f"{study.evaluate[name].primary} labels"
            words = [
                f"this study, {treatment}",
                backbone_label(backbone),
                metric,
                value,
                "",
                pixels,
                "",
                numbers.stamp,
            ]
            rows.append((Cell(dataset_label(study, name)), *map(Cell, words)))
        for row in own:
            words = [row[key] for key in CONTEXT.split()[1:]]
            rows.append((Cell(dataset_label(study, name)), *map(Cell, words)))
    return Table(
        name="context",
        title=numbers.titled(
            "Published results of other work on the same datasets, as each source gives them."
        ),
        columns=(
            "Dataset",
            "Method",
            "Backbone",
            "Metric",
            "Value",
            "Classes",
            "Protocol",
            "Source",
            "Status",
        ),
        keys=2,
        left=frozenset({2, 3, 5, 6, 7, 8}),
        rows=tuple(rows),
        notes=(
            "Protocols differ in classes, split, labels, resolution and selection: the numbers stand beside each other "
            "and are not ranked. Unconfirmed: the number was not found at its source.",
            *(() if rows else ("No published results are on file for the datasets of this study.",)),
        ),
    )
