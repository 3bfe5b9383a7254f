"""The grid of a study as a table: one factor at a time, and what a level is worth over all combinations.

A score is the mean of the headline metric over an arm's repetitions. Nothing is tested here: a grid suggests, and the
contrasts declared before the runs decide.
"""

import pandas as pd

from bench.report.formats import percent
from bench.report.layout import Cell, Table
from bench.report.numbers import Numbers, backbone_label, dataset_label
from bench.study.schema import Study


def grid_scores(numbers: Numbers) -> pd.DataFrame:
    """Return a row for each dataset, backbone and arm of the grid: `value` (fraction) and a column an axis (text)."""
    study = numbers.study
    axes = axes_of(study)
    means = numbers.headline.groupby(["dataset", "backbone", "arm"], as_index=False)["value"].mean()
    means = means[means["arm"].isin(list(study.factors))].copy()
    for axis in axes:
        means[axis] = [str(study.factors[str(arm)][axis]) for arm in means["arm"]]
    return pd.DataFrame(means)


def axes_of(study: Study) -> list[str]:
    """Return the axes of the grid in the order in which a combination's name has them."""
    return list(dict.fromkeys(axis for levels in study.factors.values() for axis in levels))


def levels_of(study: Study, axis: str) -> list[str]:
    """Return the levels of an axis as text, in the study's order."""
    return list(dict.fromkeys(str(levels[axis]) for levels in study.factors.values()))


def base_of(study: Study) -> str:
    """Return the arm that the grid varies."""
    assert study.grid is not None
    return study.grid.base or study.compare.treatment


def one_at_a_time(study: Study, scores: pd.DataFrame, axis: str, level: str) -> tuple[float, float]:
    """Return the score of the base with this level alone changed, and the mean over all arms at the level.

    `scores` are those of one dataset and backbone; NaN where there is no such arm.
    """
    base = study.factors[base_of(study)]
    alone = scores[scores[axis] == level]
    for other in axes_of(study):
        if other != axis:
            alone = alone[alone[other] == str(base[other])]
    at_level = scores[scores[axis] == level]["value"]
    return (
        float(alone["value"].iloc[0]) if len(alone) else float("nan"),
        float(at_level.mean()) if len(at_level) else float("nan"),
    )


def grid_table(numbers: Numbers) -> Table:
    """Return a row for each dataset, backbone, axis and level."""
    study, scores, rows = numbers.study, grid_scores(numbers), list[tuple[Cell, ...]]()
    base = base_of(study)
    for dataset in study.datasets:
        for backbone in study.backbones:
            place = scores[(scores["dataset"] == dataset) & (scores["backbone"] == backbone)]
            if place.empty:
                continue
            own = place[place["arm"] == base]["value"]
            origin = float(own.iloc[0]) if len(own) else float("nan")
            for axis in axes_of(study):
                for level in levels_of(study, axis):
                    alone, mean = one_at_a_time(study, place, axis, level)
                    count = int((place[axis] == level).sum())
                    if not count:
                        continue
                    keys = [dataset_label(study, dataset), backbone_label(backbone), axis, level]
                    values = [percent(alone), percent(alone - origin, signed=True), percent(mean), str(count)]
                    rows.append(tuple(map(Cell, [*keys, *values])))
    return Table(
        name="grid",
        title=numbers.titled(f"The grid around {base}, headline metric in per cent."),
        columns=("Dataset", "Backbone", "Axis", "Level", "alone", f"less {base}", "mean at level", "arms"),
        keys=4,
        rows=tuple(rows),
        notes=(
            f"{numbers.runs}.",
            f"alone: {base} with this level changed and nothing else; mean at level: over all arms that have it. "
            "Nothing is tested here.",
        ),
    )
