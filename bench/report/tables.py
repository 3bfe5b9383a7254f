"""The tables of a study: the main one, the comparisons, and all of them written.

Emphasis means the same everywhere, and the notes under each table say it: bold, the Holm-adjusted p lies below
the study's level; † and ‡, no test could. Same numbers, same bytes; cost, which has clock time in it, stands in
a table of its own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bench.record import write_text
from bench.report.dataset_tables import conventions_table, dataset_table, gain_cell
from bench.report.effect_tables import effects_table, subsets_table
from bench.report.extra_tables import extra_tables
from bench.report.formats import dagger, interval, mean_of, only, p_value, percent
from bench.report.grid_tables import grid_table
from bench.report.inference_tables import (
    OPTIONAL,
    declared_tests_table,
    power_table,
    ranks_table,
    read_optional,
)
from bench.report.latex import to_latex
from bench.report.layout import Cell, Table, to_csv, to_html, to_markdown
from bench.report.model_tables import cost_table, top1_table
from bench.report.numbers import (
    Numbers,
    backbone_label,
    dataset_label,
    gains,
    paper_gain,
    read_numbers,
    read_table,
)
from bench.report.paper_tables import claims_table, context_table, read_context
from bench.report.plain import to_text
from bench.study.outputs import names_subsets
from bench.study.schema import Study


def main_table(numbers: Numbers) -> Table:
    """Return the main table: a row a dataset and backbone, a column an arm, the gain and its verdict."""
    study, compare = numbers.study, numbers.study.compare
    rows, marks = [], set[str]()
    for dataset in study.datasets:
        for backbone in study.backbones:
            if (dataset, backbone) not in study.places:
                continue
            head = only(numbers.headline, dataset=dataset, backbone=backbone)
            found = only(gains(numbers, dataset, backbone), baseline=compare.primary)
            cells = [Cell(dataset_label(study, dataset)), Cell(backbone_label(backbone))]
            cells += [Cell(study.evaluate[dataset].metric)]
            cells += [Cell(percent(mean_of(only(head, arm=arm)))) for arm in study.named]
            if found.empty:
                cells += [Cell("n/a"), Cell("n/a")]
            else:
                gain = found.iloc[0]
                cells += [gain_cell(gain, compare.level), Cell(interval(gain["low"], gain["high"]))]
                marks.add(dagger(gain))
            claim = paper_gain(numbers, dataset, backbone)
            rows.append((*cells, Cell("no claim" if claim is None else str(claim["verdict"]))))
    gain_name = f"{compare.treatment} - {compare.primary}"
    columns = ("Dataset", "Backbone", "Metric", *study.named, gain_name, numbers.level_name, "Verdict")
    over = gain_name.replace(" - ", " over ")
    return Table(
        name="main",
        title=numbers.titled(f"Test scores in per cent, mean over repetitions; gain of {over}."),
        columns=columns,
        keys=3,
        left=frozenset({len(columns) - 1}),
        rows=tuple(rows),
        notes=(
            f"{numbers.setting} The verdict compares the gain with the paper's; one on the average of the "
            "backbones stands on each row.",
            *(["The other arms of the grid stand in the table `grid`."] if study.factors else []),
            *numbers.marks_notes(marks),
        ),
    )


def comparisons_table(numbers: Numbers) -> Table:
    """Return the treatment against each baseline on the headline metric, with interval, test and question."""
    study, level, rows, marks = numbers.study, numbers.study.compare.level, [], set[str]()
    for dataset in study.datasets:
        for backbone in study.backbones:
            for _, row in gains(numbers, dataset, backbone).iterrows():
                keys = [dataset_label(study, dataset), backbone_label(backbone), str(row["baseline"])]
                cells = [percent(row["treatment_value"]), percent(row["baseline_value"])]
                tail = [interval(row["low"], row["high"]), p_value(row["p"]), p_value(row["p_holm"])]
                words = ["yes" if row["decides"] else "", "yes" if _flagged(row, "best_baseline") else ""]
                words += [str(row["question"]), str(row["statement"])]
                gain = gain_cell(row, level)
                rows.append((*map(Cell, keys), *map(Cell, cells), gain, *map(Cell, (*tail, *words))))
                marks.add(gain.mark)
    treatment = study.compare.treatment
    columns = ("Dataset", "Backbone", "Baseline", treatment, "baseline", "gain", numbers.level_name)
    return Table(
        name="comparisons",
        title=numbers.titled(f"{treatment} against each baseline, headline metric in per cent."),
        columns=(*columns, "p", "p (Holm)", "decides", "best", "Question", "Statement"),
        keys=3,
        left=frozenset({len(columns) + 4, len(columns) + 5}),
        rows=tuple(rows),
        notes=(
            numbers.setting,
            "decides: the baseline declared before the runs; best: the one with the highest value, seen after them.",
            *numbers.marks_notes(marks),
        ),
    )


def _flagged(row: "pd.Series[Any]", name: str) -> bool:
    return str(row.get(name, "")).lower() == "true"


def all_tables(numbers: Numbers, compare: Path) -> list[Table]:
    """Return every table of the study: those of `bench.study.outputs.table_names` in their order, then those for
    which the comparison has further files.
    """
    more = {name: read_optional(compare, name) for name in OPTIONAL}
    tables = [main_table(numbers)]
    tables += [dataset_table(numbers, name, more["classes"]) for name in numbers.study.datasets]
    tables += [
        comparisons_table(numbers),
        effects_table(numbers),
        *([subsets_table(numbers, more["subsets"])] if names_subsets(numbers.study) else []),
        conventions_table(numbers),
        declared_tests_table(numbers, more["tests"]),
    ]
    tables += [power_table(numbers, more["power"]), ranks_table(numbers, more["ranks"], more["posthoc"])]
    tables += [top1_table(numbers), claims_table(numbers)]
    tables.append(context_table(numbers, read_context(compare / "context.csv")))
    tables.append(cost_table(numbers, read_table(compare / "cost.csv")))
    if numbers.study.factors:
        tables.append(grid_table(numbers))
    return [*tables, *extra_tables(numbers, compare)]


def settings_of(table: Table) -> Mapping[str, str]:
    """Return a table in every form it is written in: file ending to text."""
    return {
        "csv": to_csv(table),
        "md": to_markdown(table),
        "html": to_html(table),
        "tex": to_latex(table),
    }


def write_tables(study: Study, compare: Path, out: Path, *, partial: bool = False) -> list[Path]:
    """Write each table as CSV, Markdown, HTML and LaTeX into `out`, the main one as plain text too.

    Returns the paths. Raises BenchError if a run of the study is missing and `partial` is not given, or if a
    file of `compare` is missing or malformed.
    """
    numbers = read_numbers(study, compare, partial=partial)
    tables, written = all_tables(numbers, compare), [out / "main.txt"]
    write_text(written[0], to_text(tables[0]))
    for table in tables:
        for ending, text in settings_of(table).items():
            written.append(out / f"{table.name}.{ending}")
            write_text(written[-1], text)
    return written


def main_table_text(study: Study, compare: Path, *, partial: bool = False, width: int = 100) -> str:
    """Return the main table as aligned plain text of at most `width` columns, for a terminal."""
    return to_text(main_table(read_numbers(study, compare, partial=partial)), width)
