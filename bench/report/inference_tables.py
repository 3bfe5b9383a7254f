"""Tables of inference beyond the headline comparison: every declared test, power, ranks of the arms."""

from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import BenchError
from bench.report.formats import NONE, p_value, percent
from bench.report.layout import Cell, Table
from bench.report.numbers import Numbers, backbone_label, dataset_label

OPTIONAL = {
    "tests": "dataset backbone treatment baseline test question p smallest_p pairs exact reachable",
    "power": "dataset backbone baseline claim assumed half_width seeds units power seeds_needed units_needed "
    "detectable statement",
    "ranks": "arm average_rank best_in blocks p_friedman critical_difference statement",
    "posthoc": "first second rank_difference critical_difference",
    "classes": "dataset backbone treatment baseline metric estimate low high p_holm",
    "subsets": "dataset backbone subset treatment baseline metric treatment_value baseline_value estimate low high "
    "units",
}
"""Columns that are read of files that hold no row where the study has nothing to say, or that are not there."""


def read_optional(compare: Path, name: str) -> pd.DataFrame:
    """Return compare/<name>.csv; a frame without rows where there is no file.

    Raises BenchError for a file without a column of `OPTIONAL`.
    """
    path, wanted = compare / f"{name}.csv", OPTIONAL[name].split()
    if not path.is_file():
        return pd.DataFrame(columns=wanted)
    frame = pd.read_csv(path)
    lacking = [column for column in wanted if column not in frame.columns]
    if lacking:
        raise BenchError(f"{path}: lacks the columns {', '.join(lacking)}; run `bench compare` again")
    return frame


def declared_tests_table(numbers: Numbers, tests: pd.DataFrame) -> Table:
    """Return every test that the study declared, by the question it asks."""
    rows = []
    for _, row in numbers.by_place(tests).iterrows():
        names = [dataset_label(numbers.study, str(row["dataset"])), backbone_label(str(row["backbone"]))]
        words = [*names, str(row["baseline"]), str(row["test"]), str(row["question"])]
        exact, reachable = (_flag(row[name]) for name in ("exact", "reachable"))
        cells = [p_value(row["p"]), p_value(row["smallest_p"]), _whole(row["pairs"])]
        rows.append(tuple(map(Cell, [*words, *cells, exact, reachable])))
    head = (
        "Dataset",
        "Backbone",
        "Baseline",
        "Test",
        "Question",
        "p",
        "Smallest p",
        "Pairs",
        "Exact",
        "Reachable",
    )
    return Table(
        name="tests",
        title=numbers.titled(
            f"Every declared test of {numbers.study.compare.treatment} on the headline metric."
        ),
        columns=head,
        keys=3,
        left=frozenset({3, 4, 8, 9}),
        rows=tuple(rows),
        notes=(
            "Not corrected; the comparisons carry Holm's correction. Smallest p: what this design could give at best; "
            f"reachable: whether that lies below {numbers.study.compare.level:g}. Tests of different questions are no "
            "alternatives.",
        ),
    )


def power_table(numbers: Numbers, power: pd.DataFrame) -> Table:
    """Return what would decide each gain: power as it stands, and the seeds or units wanted for 80 %."""
    rows = []
    for _, row in numbers.by_place(power).iterrows():
        names = [dataset_label(numbers.study, str(row["dataset"])), backbone_label(str(row["backbone"]))]
        words = [*names, str(row["baseline"]), str(row["claim"])]
        here = [percent(row["assumed"], signed=True), _whole(row["seeds"]), _whole(row["units"])]
        ahead = [_share(row["power"]), percent(row["detectable"])]
        wanted = [_whole(row["seeds_needed"]), _whole(row["units_needed"])]
        rows.append(tuple(map(Cell, [*words, *here, *ahead, *wanted])))
    columns = ("Dataset", "Backbone", "Baseline", "Claim", "Assumed", "Seeds", "Units", "Power", "Detectable")
    return Table(
        name="power",
        title=numbers.titled("What would decide: power for each gain, from the spread observed so far."),
        columns=(*columns, "Seeds needed", "Units needed"),
        keys=4,
        rows=tuple(rows),
        notes=(
            "Assumed: the paper's gain where it gives one, else the observed gain. Detectable: the gain that this "
            "design finds with probability 0.8. Needed: seeds at this many units, units at this many seeds; "
            "n/a: no number of them alone would do.",
        ),
    )


def ranks_table(numbers: Numbers, ranks: pd.DataFrame, posthoc: pd.DataFrame) -> Table:
    """Return each arm's mean rank over the datasets and backbones on which every arm ran, 1 the best.

    With three arms or more the comparison tests the ranks (Friedman, Nemenyi) and the notes say what it found.
    """
    rows, notes = list[tuple[str, ...]](), list[str]()
    if ranks.empty:
        head = numbers.headline
        wide = head.pivot_table(index=["dataset", "backbone"], columns="arm", values="value", aggfunc="mean")
        arms = [arm for arm in numbers.study.arms if arm in wide.columns]
        placed = wide.reindex(columns=arms).dropna().rank(axis=1, ascending=False)
        for arm in arms:
            mean = f"{placed[arm].mean():.2f}" if len(placed) else NONE
            rows.append((arm, mean, str(int((placed[arm] == 1).sum())), str(len(placed))))
        notes.append("Two arms have no test of ranks beyond that of their difference.")
    else:
        for _, row in ranks.iterrows():
            shown = [f"{row['average_rank']:.2f}", _whole(row["best_in"]), _whole(row["blocks"])]
            rows.append((str(row["arm"]), *shown))
        first = ranks.iloc[0]
        notes.append(
            f"Friedman's test over these cells: p = {p_value(first['p_friedman'])}; Nemenyi's critical difference "
            f"of two ranks: {first['critical_difference']:.2f}. {str(first['statement']).rstrip('.')}."
        )
        apart = posthoc[posthoc["rank_difference"].abs() > posthoc["critical_difference"]]
        pairs = ", ".join(f"{row['first']} and {row['second']}" for _, row in apart.iterrows())
        notes.append(
            f"Further apart than that: {pairs}." if pairs else "No two arms are further apart than that."
        )
    return Table(
        name="ranks",
        title=numbers.titled("Mean rank of each arm on the headline metric, 1 the best."),
        columns=("Arm", "Mean rank", "Best in", "Cells"),
        keys=1,
        rows=tuple(tuple(map(Cell, row)) for row in sorted(rows, key=_by_rank)),
        notes=(
            "A cell is a dataset and backbone on which every arm ran. Ranks say nothing about the size of a gain.",
            *notes,
        ),
    )


def _by_rank(row: tuple[str, ...]) -> tuple[bool, float, str]:
    """Sort arms by mean rank as a number, those without one last, then by name."""
    ranked = row[1] != NONE
    return not ranked, float(row[1]) if ranked else 0.0, row[0]


def _whole(value: Any) -> str:
    return NONE if pd.isna(value) else f"{float(value):.0f}"


def _share(value: float) -> str:
    return NONE if pd.isna(value) else f"{value:.2f}"


def _flag(value: object) -> str:
    return "yes" if str(value).lower() in ("true", "1", "1.0") else "no"
