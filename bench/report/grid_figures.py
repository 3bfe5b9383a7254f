"""Figures of a grid: each factor by itself, and two factors at a time as heat maps, from finished scores."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.figures import nothing
from bench.report.grid_tables import axes_of, base_of, grid_scores, levels_of, one_at_a_time
from bench.report.numbers import Numbers, backbone_label, dataset_label
from bench.report.style import BASELINES, FULL_WIDTH, INK, MARKERS, RC, TREATMENT, dress, new_figure

ACROSS = 3
"""Panels side by side: more could not be read in print."""
MOST = 8
"""Lines of panels in one figure; of a larger study the first places (dataset and backbone) that fit, and the note says
so."""


def _places(numbers: Numbers, scores: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the datasets and backbones on which arms of the grid ran beside its base, in the study's order."""
    ran = scores.groupby(["dataset", "backbone"])["arm"].nunique()
    there = set(ran[ran > 1].index)
    study = numbers.study
    return [(d, b) for d in study.datasets for b in study.backbones if (d, b) in there]


def _title(numbers: Numbers, place: tuple[str, str]) -> str:
    return f"{dataset_label(numbers.study, place[0])}, {backbone_label(place[1])}"


def _panels(figure: Figure, places: int, count: int) -> list[list[Axes]]:
    """Return `count` axes for each of `places`, at most `ACROSS` side by side, and none that stays empty."""
    lines, across = -(-count // ACROSS), min(count, ACROSS)
    grid = figure.subplots(places * lines, across, squeeze=False)
    found = []
    for place in range(places):
        own = list(grid[place * lines : (place + 1) * lines].flat)
        for panel in own[count:]:
            panel.remove()
        found.append(own[:count])
    return found


def _lines(places: int, count: int) -> int:
    return places * -(-count // ACROSS)


def _fitting(places: Sequence[tuple[str, str]], count: int) -> Sequence[tuple[str, str]]:
    return places[: max(1, MOST // _lines(1, count))]


def _words(level: str) -> str:
    """Return a level as it stands below a panel: long ones on two lines."""
    return level.replace("-", "-\n", 1) if len(level) > 9 else level


def _left_out(places: Sequence[object], shown: Sequence[object]) -> str:
    return f" The first {len(shown)} of {len(places)} places." if len(places) > len(shown) else ""


def effects(numbers: Numbers) -> Figure:
    """Draw one factor at a time: a panel an axis and place, the base with one level changed, and the level's mean."""
    study, scores = numbers.study, grid_scores(numbers)
    axes, places = axes_of(study), _places(numbers, scores)
    shown = _fitting(places, len(axes))
    figure = new_figure(FULL_WIDTH, 1.55 * _lines(len(shown), len(axes)))
    with matplotlib.rc_context(RC):
        for place, panels in zip(shown, _panels(figure, len(shown), len(axes)), strict=True):
            own = scores[(scores["dataset"] == place[0]) & (scores["backbone"] == place[1])]
            found = {
                axis: 100
                * np.array([one_at_a_time(study, own, axis, level) for level in levels_of(study, axis)])
                for axis in axes
            }
            ends = np.concatenate([values.ravel() for values in found.values()])
            for number, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
                levels = levels_of(study, axis)
                panel.plot(
                    found[axis][:, 1], color=BASELINES[0], marker=MARKERS[1], markersize=4, linestyle=":"
                )
                panel.plot(
                    found[axis][:, 0], color=TREATMENT, marker=MARKERS[0], markersize=5, linestyle="none"
                )
                panel.set_xticks(range(len(levels)), [_words(level) for level in levels])
                panel.set_xlim(-0.5, len(levels) - 0.5)
                _share_scale(panel, ends)
                panel.set_title(axis)
                if number % ACROSS == 0:
                    panel.set_ylabel(
                        f"{_title(numbers, place)}\n{study.evaluate[place[0]].metric} (%)", size=7
                    )
                else:
                    panel.tick_params(axis="y", labelleft=False)
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
    dress(
        figure,
        title="One factor at a time",
        stamp=numbers.stamp,
        note=f"Means over repetitions; nothing is tested here.{_left_out(places, shown)} {numbers.runs}.",
        handles=handles,
    )
    return figure


def _share_scale(panel: Axes, values: np.ndarray) -> None:
    """Give a panel the scale of all panels of its place."""
    if np.isfinite(values).any():
        low, high = np.nanmin(values), np.nanmax(values)
        room = 0.08 * (high - low) or 1.0
        panel.set_ylim(low - room, high + room)


def crossed_pairs(
    factors: Mapping[str, Mapping[str, Any]], base: str, axes: Sequence[str]
) -> list[tuple[str, str]]:
    """Return the pairs of axes that some arm changes together: of the others one factor at a time says it all."""
    origin = factors[base]
    changed = [{axis for axis in axes if levels[axis] != origin[axis]} for levels in factors.values()]
    return [pair for pair in combinations(axes, 2) if any(set(pair) <= both for both in changed)]


def heat_maps(numbers: Numbers) -> Figure:
    """Draw interactions: a heat map of the mean over all other axes for each place and two axes varied together."""
    study, scores = numbers.study, grid_scores(numbers)
    title = "Two factors at a time: headline metric in per cent"
    pairs = crossed_pairs(study.factors, base_of(study), axes_of(study))
    if not pairs:
        words = "No two axes of this grid are varied together: one factor at a time says all."
        return nothing(words, title=title, stamp=numbers.stamp)
    places = _places(numbers, scores)
    shown = _fitting(places, len(pairs))
    figure = new_figure(FULL_WIDTH, 1.75 * _lines(len(shown), len(pairs)))
    with matplotlib.rc_context(RC):
        for place, panels in zip(shown, _panels(figure, len(shown), len(pairs)), strict=True):
            own = scores[(scores["dataset"] == place[0]) & (scores["backbone"] == place[1])]
            low, high = 100 * own["value"].min(), 100 * own["value"].max()
            for number, ((down, across), panel) in enumerate(zip(pairs, panels, strict=True)):
                rows, columns = levels_of(study, down), levels_of(study, across)
                values = 100 * cell_means(own, down, across, rows, columns)
                panel.imshow(values, vmin=low, vmax=max(high, low + 1e-9), cmap="viridis", aspect="auto")
                panel.grid(visible=False)
                panel.set_xticks(range(len(columns)), [_words(level) for level in columns])
                panel.set_yticks(range(len(rows)), [_words(level) for level in rows])
                panel.set_xlabel(across)
                panel.set_ylabel(down)
                if number == 0:
                    panel.set_title(_title(numbers, place), loc="left")
                _write_values(panel, values, (low + high) / 2)
    dress(
        figure,
        title=title,
        stamp=numbers.stamp,
        note="Each cell: mean over repetitions and all other axes; empty: no arm. Pairs of axes that no arm changes "
        f"together are not shown. One colour scale a dataset and backbone.{_left_out(places, shown)} {numbers.runs}.",
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


def _write_values(panel: Axes, values: np.ndarray, middle: float) -> None:
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = INK if value > middle else "white"
            panel.text(j, i, f"{value:.1f}", ha="center", va="center", size=7, color=colour)
