"""Tables of what else was measured: the quality of edges, and scores under disturbed spectra.

A study that measures neither has neither table.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import BenchError
from bench.report.formats import interval, mean_of, only, percent
from bench.report.layout import Cell, Table
from bench.report.numbers import Numbers, backbone_label, dataset_label
from bench.stats.measures import PLAIN, disturbed_name, edge_name
from bench.study.outputs import measured

COLUMNS = {
    "boundary": "dataset backbone arm seed metric width region value",
    "spectral": "dataset backbone arm seed probe strength metric value",
    "further": "dataset backbone measure treatment baseline estimate low high",
}
"""Columns that the report reads of compare/<name>.csv."""
REGIONS = {"boundary": "", "near": " near edges", "inside": " inside"}


def extra_tables(numbers: Numbers, compare: Path) -> list[Table]:
    """Return the tables of edges and of spectra of a study that measures them."""
    further, found = read_extra(compare, "further"), []
    for name, table_of in (("boundary", boundary_table), ("spectral", spectral_table)):
        frame = read_extra(compare, name)
        if name in measured(numbers.study) or len(frame):
            found.append(table_of(numbers, frame, further))
    return found


def read_extra(compare: Path, name: str) -> pd.DataFrame:
    """Return compare/<name>.csv; empty where there is none. Raises BenchError if a column is lacking."""
    path, wanted = compare / f"{name}.csv", COLUMNS[name].split()
    if not path.is_file():
        return pd.DataFrame(columns=wanted)
    texts = ("dataset", "backbone", "arm", "probe", "strength", "metric", "region", "measure", "baseline")
    frame = pd.read_csv(path, dtype=dict.fromkeys(texts, str))
    lacking = [column for column in wanted if column not in frame.columns]
    if lacking:
        raise BenchError(f"{path}: lacks the columns {', '.join(lacking)}; run `bench compare` again")
    return frame.fillna({"strength": ""}) if "strength" in frame else frame


def boundary_table(numbers: Numbers, frame: pd.DataFrame, further: pd.DataFrame) -> Table:
    """Return Boundary IoU, boundary F1 and the headline metric near edges and inside, by width and arm."""
    arms, rows = arms_of(numbers, frame), list[tuple[Cell, ...]]()
    for place, here in by_place(numbers, frame):
        for width in sorted(here["width"].unique()):
            at = only(here, width=width)
            for metric, region in at[["metric", "region"]].drop_duplicates().itertuples(index=False):
                one = only(at, metric=metric, region=region)
                values = [percent(mean_of(only(one, arm=arm))) for arm in arms]
                found = contrast(numbers, further, place, edge_name(metric, region, width))
                words = (*labels(numbers, place), f"{metric}{REGIONS[region]}", str(width))
                rows.append(tuple(map(Cell, (*words, *values, *gained(found)))))
    compare = numbers.study.compare
    columns = ("Dataset", "Backbone", "Measure", "Width", *arms, f"{compare.treatment} - {compare.primary}")
    return Table(
        name="boundary",
        title=numbers.titled("Quality of edges by width in pixels, in per cent, mean over repetitions."),
        columns=(*columns, numbers.level_name),
        keys=3,
        rows=tuple(rows),
        notes=(
            f"{numbers.setting} Intervals are not corrected for their number.",
            "Boundary mIoU: IoU of the bands along edges; boundary mF1: contours matched within the width; near edges "
            "and inside: the headline metric on the pixels within the width of a target's edge and on the rest.",
        ),
    )


def spectral_table(numbers: Numbers, frame: pd.DataFrame, further: pd.DataFrame) -> Table:
    """Return the headline metric under each disturbance, what it loses there, and whose loss is the larger."""
    arms, rows, breaks = arms_of(numbers, frame), list[tuple[Cell, ...]](), set[int]()
    for place, here in by_place(numbers, frame):
        breaks.add(len(rows))
        plain = {arm: mean_of(only(here, arm=arm, probe=PLAIN)) for arm in arms}
        kinds = here[["metric", "probe", "strength"]].drop_duplicates()
        channels = numbers.study.datasets[place[0]].channels
        ordered = sorted(
            kinds.itertuples(index=False), key=lambda kind: probe_order(kind[1], kind[2], channels)
        )
        for metric, probe, strength in ordered:
            one = only(here, probe=probe, strength=strength)
            cells = []
            for arm in arms:
                value = mean_of(only(one, arm=arm))
                cells += [percent(value), "" if probe == PLAIN else percent(plain[arm] - value)]
            found = contrast(
                numbers, further, place, disturbed_name(metric, probe, strength, drop=probe != PLAIN)
            )
            difference = ["", ""] if probe == PLAIN else gained(found)
            words = (*labels(numbers, place), disturbance_words(probe, strength))
            rows.append(tuple(map(Cell, (*words, *cells, *difference))))
    compare = numbers.study.compare
    over = f"drop of {compare.treatment} - drop of {compare.primary}"
    return Table(
        name="spectral",
        title=numbers.titled("Scores under disturbed channels in per cent, mean over repetitions."),
        columns=(
            *("Dataset", "Backbone", "Disturbance"),
            *("score", "drop") * len(arms),
            *("difference", numbers.level_name),
        ),
        groups=("", "", "", *(arm for arm in arms for _ in range(2)), over, over),
        keys=3,
        rows=tuple(rows),
        breaks=frozenset(breaks - {0}),
        notes=(
            f"{numbers.setting} Intervals are not corrected for their number.",
            "Headline metric. Drop: the score as it is minus the disturbed one, on the same scenes, evenly spaced in "
            f"the split. A difference below 0: {compare.treatment} loses less. Silenced: the channel holds its mean.",
        ),
    )


def arms_of(numbers: Numbers, frame: pd.DataFrame) -> list[str]:
    """Return the arms that a frame speaks of, in the study's order; a grid's own have a table of theirs."""
    return [arm for arm in numbers.study.named if (frame["arm"] == arm).any()]


def by_place(numbers: Numbers, frame: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """Return the rows of each dataset and backbone, in the study's order; none where there are none."""
    places = [
        (dataset, backbone) for dataset in numbers.study.datasets for backbone in numbers.study.backbones
    ]
    found = [(place, only(frame, dataset=place[0], backbone=place[1])) for place in places]
    return [(place, rows) for place, rows in found if len(rows)]


def labels(numbers: Numbers, place: tuple[str, str]) -> tuple[str, str]:
    """Return a dataset and backbone as they are written."""
    return dataset_label(numbers.study, place[0]), backbone_label(place[1])


def contrast(
    numbers: Numbers, further: pd.DataFrame, place: tuple[str, str], measure: str
) -> "pd.Series[Any] | None":
    """Return the treatment against the deciding baseline in one measure; None where further.csv has no such row."""
    compare = numbers.study.compare
    rows = only(
        further, dataset=place[0], backbone=place[1], measure=measure, treatment=compare.treatment,
        baseline=compare.primary,
    )  # fmt: skip
    return rows.iloc[0] if len(rows) else None


def gained(row: "pd.Series[Any] | None") -> list[str]:
    """Return a difference in points and its interval as texts."""
    if row is None:
        return ["n/a", "n/a"]
    return [percent(row["estimate"], signed=True), interval(row["low"], row["high"])]


def probe_order(probe: str, strength: str, channels: Sequence[str]) -> tuple[int, int, float]:
    """Return where a disturbance stands: exchanged orders first, then the channels in their order, weak to strong."""
    kind, _, channel = probe.partition("/")
    kinds = [PLAIN, "reversed", "order", "mean", "gain", "offset"]
    place = kinds.index(kind) if kind in kinds else len(kinds)
    of_channel = list(channels).index(channel) if channel in channels else -1
    return place, of_channel, float(strength or 0)


def disturbance_words(probe: str, strength: str) -> str:
    """Return a disturbance as tables and figures call it: `thermal silenced`, `red x 0.5`, `order 2`."""
    kind, _, channel = probe.partition("/")
    channel = channel.replace("_", " ")
    if kind == "mean":
        return f"{channel} silenced"
    if kind == "gain":
        return f"{channel} x {strength}"
    if kind == "offset":
        return f"{channel} {'' if strength.startswith('-') else '+'}{strength} SD"
    return {PLAIN: "as it is", "order": f"random order {strength}"}.get(kind, kind)
