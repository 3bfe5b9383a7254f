"""Figures of a grid: each factor by itself, and two factors at a time as heat maps, from finished scores."""

from collections.abc import Sequence
from itertools import combinations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.grid_tables import axes_of, base_of, grid_scores, levels_of, one_at_a_time
from bench.report.numbers import Numbers, backbone_label, dataset_label
from bench.report.style import BASELINES, FULL_WIDTH, INK, MARKERS, RC, TREATMENT, dress, new_figure

MOST = 12
"""Places (dataset and backbone) that one figure shows; of a larger study the first so many, and the note says so."""


def _places(numbers: Numbers, scores: pd.DataFrame) -> list[tuple[str, str]]:
    there = set(zip(scores["dataset"], scores["backbone"], strict=True))
    study = numbers.study
    return [(d, b) for d in study.datasets for b in study.backbones if (d, b) in there]


def _title(numbers: Numbers, place: tuple[str, str]) -> str:
    return f"{dataset_label(numbers.study, place[0])}, {backbone_label(place[1])}"


def effects(numbers: Numbers) -> Figure:
    """Draw one factor at a time: a panel an axis and place, the base with one level changed, and the level's mean."""
    study, scores = numbers.study, grid_scores(numbers)
    axes, places = axes_of(study), _places(numbers, scores)
    shown = places[:MOST]
    figure = new_figure(FULL_WIDTH, 1.45 * max(1, len(shown)))
    with matplotlib.rc_context(RC):
        panels = figure.subplots(max(1, len(shown)), max(1, len(axes)), squeeze=False, sharey="row")
        for row, place in enumerate(shown):
            own = scores[(scores["dataset"] == place[0]) & (scores["backbone"] == place[1])]
            for column, axis in enumerate(axes):
                panel, levels = panels[row, column], levels_of(study, axis)
                found = 100 * np.array([one_at_a_time(study, own, axis, level) for level in levels])
                panel.plot(found[:, 1], color=BASELINES[0], marker=MARKERS[1], markersize=4, linestyle=":")
                panel.plot(found[:, 0], color=TREATMENT, marker=MARKERS[0], markersize=5, linestyle="none")
                panel.set_xticks(range(len(levels)), levels)
                panel.set_xlim(-0.5, len(levels) - 0.5)
                panel.set_title(axis if row == 0 else "")
                if column == 0:
                    panel.set_ylabel(
                        f"{_title(numbers, place)}\n{study.evaluate[place[0]].metric} (%)", size=7
                    )
    base = base_of(study)
    handles = [
        Line2D(
            [], [], color=TREATMENT, marker=MARKERS[0], linestyle="none", label=f"{base}, one level changed"
        ),
        Line2D(
            [],
            [],
            color=BASELINES[0],
            marker=MARKERS[1],
            linestyle=":",
            label="mean of all arms at the level",
        ),
    ]
    rest = f" The first {MOST} of {len(places)} places." if len(places) > MOST else ""
    dress(
        figure,
        title="One factor at a time",
        stamp=numbers.stamp,
        note=f"Means over repetitions; nothing is tested here.{rest} {numbers.runs}.",
        handles=handles,
    )
    return figure


def heat_maps(numbers: Numbers) -> Figure:
    """Draw interactions: for each two axes and place a heat map of the mean score over all other axes."""
    study, scores = numbers.study, grid_scores(numbers)
    pairs: list[tuple[str, ...]] = list(combinations(axes_of(study), 2)) or [tuple(axes_of(study))]
    places = _places(numbers, scores)
    shown = places[:MOST]
    figure = new_figure(FULL_WIDTH, 1.9 * max(1, len(shown)))
    with matplotlib.rc_context(RC):
        panels = figure.subplots(max(1, len(shown)), len(pairs), squeeze=False)
        for row, place in enumerate(shown):
            own = scores[(scores["dataset"] == place[0]) & (scores["backbone"] == place[1])]
            low, high = 100 * own["value"].min(), 100 * own["value"].max()
            for column, pair in enumerate(pairs):
                panel = panels[row, column]
                down, across = pair[0], pair[-1]
                rows, columns = levels_of(study, down), levels_of(study, across)
                values = 100 * cell_means(own, down, across, rows, columns)
                panel.imshow(values, vmin=low, vmax=max(high, low + 1e-9), cmap="viridis", aspect="auto")
                panel.grid(visible=False)
                panel.set_xticks(range(len(columns)), columns)
                panel.set_yticks(range(len(rows)), rows)
                panel.set_xlabel(across)
                panel.set_ylabel(down)
                if column == 0:
                    panel.set_title(_title(numbers, place), loc="left", size=7.5)
                _write_values(panel, values, (low + high) / 2)
    rest = f" The first {MOST} of {len(places)} places." if len(places) > MOST else ""
    dress(
        figure,
        title="Two factors at a time: headline metric in per cent",
        stamp=numbers.stamp,
        note=f"Each cell: mean over repetitions and all other axes; empty: no arm. One colour scale a row.{rest}",
    )
    return figure


def cell_means(
    scores: pd.DataFrame, down: str, across: str, rows: Sequence[str], columns: Sequence[str]
) -> np.ndarray:
    """Return the mean score [row level, column level] over all other axes; NaN where there is no arm."""
    found = np.full((len(rows), len(columns)), np.nan)
    for i, level in enumerate(rows):
        for j, other in enumerate(columns):
            own = scores[(scores[down] == level) & (scores[across] == other)]["value"]
            if len(own):
                found[i, j] = own.mean()
    return found


def _write_values(panel: matplotlib.axes.Axes, values: np.ndarray, middle: float) -> None:
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = INK if value > middle else "white"
            panel.text(j, i, f"{value:.1f}", ha="center", va="center", size=6.5, color=colour)
