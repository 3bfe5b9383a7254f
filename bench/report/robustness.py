"""Figures of what else was measured: scores under disturbed spectra, and near edges against inside.

Each function takes a tidy frame of fractions and returns a Figure; none touches a file. Axes show per cent.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from bench.report.style import (
    FULL_WIDTH,
    INK,
    MARKERS,
    RC,
    arm_marks,
    dress,
    legend_columns,
    new_figure,
)

SPREAD = 0.16
"""Part of the step between two disturbances over which the arms stand side by side."""


def spectral(
    frame: pd.DataFrame,
    arms: Sequence[str],
    colours: Mapping[str, str],
    *,
    title: str,
    stamp: str = "",
    note: str = "",
) -> Figure:
    """Draw the score of each arm by disturbance, a row of panels a dataset, a column a backbone.

    `frame` has a row each: dataset, backbone, arm, disturbance (drawn in the order given, the first undisturbed),
    metric, value (fraction). A marker is the mean over repetitions, a dot a single run; the thin line is the arm's
    undisturbed score.
    """
    datasets, backbones = list(dict.fromkeys(frame["dataset"])), list(dict.fromkeys(frame["backbone"]))
    marks = arm_marks(arms, MARKERS)
    figure = new_figure(FULL_WIDTH, 0.2 + 2.05 * len(datasets))
    with matplotlib.rc_context(RC):
        grid = figure.subplots(len(datasets), len(backbones), sharex="row", sharey="row", squeeze=False)
        for row, dataset in enumerate(datasets):
            own = frame[frame["dataset"] == dataset]
            names = list(dict.fromkeys(own["disturbance"]))
            for axes, backbone in _panels(grid[row], backbones, own):
                for number, arm in enumerate(arms):
                    here = own[(own["backbone"] == backbone) & (own["arm"] == arm)]
                    places = np.arange(len(names)) + SPREAD * (number - (len(arms) - 1) / 2)
                    _line(axes, here, "disturbance", names, places, colours[arm], marks[arm])
                axes.set_xticks(range(len(names)), names, rotation=50, ha="right", rotation_mode="anchor")
                axes.tick_params(axis="x", labelsize=6.8)
                axes.set_xlim(-0.5, len(names) - 0.5)
                axes.set_title(f"{dataset}, {backbone}")
            grid[row, 0].set_ylabel(f"{own['metric'].iloc[0]} in %")
            grid[row, 0].set_ylim(bottom=0)
    _dressed(figure, arms, colours, marks, title=title, stamp=stamp, note=note)
    return figure


def boundary(
    frame: pd.DataFrame,
    arms: Sequence[str],
    colours: Mapping[str, str],
    *,
    title: str,
    stamp: str = "",
    note: str = "",
) -> Figure:
    """Draw the headline metric near edges and inside by the width of the band, a row of panels a dataset.

    `frame` has a row each: dataset, backbone, arm, width (pixels), region (near or inside), metric, value (fraction).
    Filled markers and solid lines: inside; open markers and dashed lines: near edges.
    """
    datasets, backbones = list(dict.fromkeys(frame["dataset"])), list(dict.fromkeys(frame["backbone"]))
    marks = arm_marks(arms, MARKERS)
    figure = new_figure(FULL_WIDTH, 0.2 + 1.6 * len(datasets))
    with matplotlib.rc_context(RC):
        grid = figure.subplots(len(datasets), len(backbones), sharex="row", sharey="row", squeeze=False)
        for row, dataset in enumerate(datasets):
            own = frame[frame["dataset"] == dataset]
            widths = sorted(own["width"].unique())
            for axes, backbone in _panels(grid[row], backbones, own):
                for number, arm in enumerate(arms):
                    here = own[(own["backbone"] == backbone) & (own["arm"] == arm)]
                    places = np.arange(len(widths)) + 0.5 * SPREAD * (number - (len(arms) - 1) / 2)
                    for region in ("inside", "near"):
                        _line(
                            axes, here[here["region"] == region], "width", widths, places, colours[arm],
                            marks[arm], hollow=region == "near",
                        )  # fmt: skip
                axes.set_xticks(range(len(widths)), [str(width) for width in widths])
                axes.set_xlim(-0.5, len(widths) - 0.5)
                axes.set_title(f"{dataset}, {backbone}")
                if row == len(datasets) - 1:
                    axes.set_xlabel("width of the band along edges in pixels")
            grid[row, 0].set_ylabel(f"{own['metric'].iloc[0]} in %")
            grid[row, 0].set_ylim(bottom=0)
    more = [
        Line2D([], [], color=INK, marker="o", markersize=4.5, label="inside"),
        Line2D(
            [],
            [],
            color=INK,
            marker="o",
            markersize=4.5,
            markerfacecolor="white",
            linestyle="--",
            label="near edges",
        ),
    ]
    _dressed(figure, arms, colours, marks, title=title, stamp=stamp, note=note, more=more)
    return figure


def _panels(row: NDArray[Any], backbones: Sequence[str], own: pd.DataFrame) -> Iterator[tuple[Axes, str]]:
    """Yield the panel of each backbone that runs here; the others are hidden."""
    for axes, backbone in zip(row, backbones, strict=True):
        axes.set_visible((own["backbone"] == backbone).any())
        if axes.get_visible():
            yield axes, backbone


def _line(
    axes: Axes,
    here: pd.DataFrame,
    column: str,
    names: Sequence[object],
    places: NDArray[np.floating[Any]],
    colour: str,
    mark: str,
    *,
    hollow: bool = False,
) -> None:
    """Draw means over repetitions at `places`, joined, and the single runs as dots; nothing of an arm without runs."""
    if not here["value"].notna().any():
        # Marks that are not cut at the axes and have no place would upset the layout.
        return
    means = here.groupby(column)["value"].mean().reindex(list(names)).to_numpy(dtype=np.float64)
    if column == "disturbance" and np.isfinite(means[0]):
        axes.axhline(100 * means[0], color=colour, linewidth=0.6, alpha=0.6)
    spots = [places[list(names).index(name)] for name in here[column]]
    axes.plot(spots, 100 * here["value"], ".", color=colour, markersize=2.4, alpha=0.7, clip_on=False)
    axes.plot(
        places, 100 * means, color=colour, marker=mark, markersize=4.2, linewidth=0.9, clip_on=False,
        linestyle="--" if hollow else "-", markerfacecolor="white" if hollow else colour, zorder=3,
    )  # fmt: skip


def _dressed(
    figure: Figure,
    arms: Sequence[str],
    colours: Mapping[str, str],
    marks: Mapping[str, str],
    *,
    title: str,
    stamp: str,
    note: str,
    more: Sequence[Line2D] = (),
) -> None:
    handles = [
        Line2D([], [], color=colours[arm], marker=marks[arm], markersize=4.5, label=arm) for arm in arms
    ]
    handles += [
        *more,
        Line2D([], [], marker=".", color=INK, linestyle="none", markersize=4, label="single run"),
    ]
    fits = legend_columns([str(handle.get_label()) for handle in handles])
    dress(figure, title=title, stamp=stamp, note=note, handles=handles, columns=fits)
