"""Figures from finished numbers: gains, scores by class, top-1 by channel order, learning curves.

Each function takes a tidy frame of fractions and returns a Figure; none touches a file. Axes show per cent.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.report.style import (
    FULL_WIDTH,
    HATCHES,
    INK,
    MARKERS,
    RC,
    TREATMENT,
    arm_marks,
    dress,
    legend_columns,
    new_figure,
)

PAPER = "#7A7A7A"
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))


def forest(
    gains: pd.DataFrame, colours: Mapping[str, str], *, title: str, stamp: str = "", note: str = ""
) -> Figure:
    """Draw gains with their intervals, one row a dataset, backbone and baseline.

    `gains` has a row each, in the order to be drawn: dataset, backbone, baseline, estimate, low, high,
    decides, paper_low, paper_high (fractions; NaN where there is none). The deciding baseline is filled; the
    paper's gain is a grey line or band behind its dataset.
    """
    baselines = list(dict.fromkeys(gains["baseline"]))
    cells = list(dict.fromkeys(zip(gains["dataset"], gains["backbone"], strict=True)))
    step = 0.8 / max(1, len(baselines))
    figure = new_figure(FULL_WIDTH, 0.6 + len(cells) * max(0.34, 0.17 * len(baselines)))
    with matplotlib.rc_context(RC):
        axes = figure.subplots()
        marks = arm_marks(baselines, MARKERS)
        for row, (dataset, backbone) in enumerate(cells):
            own = gains[(gains["dataset"] == dataset) & (gains["backbone"] == backbone)]
            _paper_band(axes, own, row, first=row == 0 or cells[row - 1][0] != dataset)
            for number, (_, item) in enumerate(own.iterrows()):
                place = number - (len(own) - 1) / 2
                colour = colours.get(item["baseline"], INK)
                _gain(axes, item, row + place * step, colour, marks[item["baseline"]])
        for row in range(1, len(cells)):
            if cells[row][0] != cells[row - 1][0]:
                axes.axhline(row - 0.5, color="#BBBBBB", linewidth=0.6)
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
        axes.set_yticks(range(len(cells)), _row_labels(cells))
        axes.set_ylim(len(cells) - 0.5, -0.65)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("gain in percentage points")
        handles: list[Artist] = [
            Line2D(
                [],
                [],
                color=colours.get(name, INK),
                marker=marks[name],
                markersize=5,
                label=f"against {name}",
            )
            for name in baselines
        ]
        if gains["paper_low"].notna().any():
            handles.append(Patch(facecolor=PAPER, alpha=0.45, label="paper (reported gain)"))
    labels = [str(handle.get_label()) for handle in handles]
    dress(figure, title=title, stamp=stamp, note=note, handles=handles, columns=legend_columns(labels))
    return figure


def _row_labels(cells: Sequence[tuple[str, str]]) -> list[str]:
    """Return dataset and backbone for a dataset's first row, the backbone alone for its others."""
    firsts = [i == 0 or cells[i - 1][0] != cell[0] for i, cell in enumerate(cells)]
    return [
        f"{dataset}   {backbone}" if first else backbone
        for first, (dataset, backbone) in zip(firsts, cells, strict=True)
    ]


def _gain(axes: Axes, item: pd.Series, y: float, colour: str, marker: str) -> None:
    estimate = 100 * item["estimate"]
    if pd.notna(item["low"]) and pd.notna(item["high"]):
        axes.plot(
            [100 * item["low"], 100 * item["high"]],
            [y, y],
            color=colour,
            linewidth=1.3,
            solid_capstyle="butt",
        )
    face = colour if item["decides"] else "white"
    axes.plot(
        [estimate], [y], marker=marker, markersize=5, color=colour, markerfacecolor=face, linestyle="none"
    )


def _paper_band(axes: Axes, own: pd.DataFrame, row: int, *, first: bool) -> None:
    low, high = own["paper_low"].iloc[0], own["paper_high"].iloc[0]
    if pd.isna(low):
        return
    if high > low:
        axes.fill_betweenx(
            [row - 0.45, row + 0.45], 100 * low, 100 * high, color=PAPER, alpha=0.35, linewidth=0
        )
    else:
        axes.plot(
            [100 * low] * 2,
            [row - 0.45, row + 0.45],
            color=PAPER,
            alpha=0.6,
            linewidth=2.5,
            solid_capstyle="butt",
        )
    if first:
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        axes.text(
            50 * (low + high),
            row - 0.5,
            "paper",
            ha="center",
            va="center",
            size=6.5,
            color="#444444",
            bbox=box,
        )


def per_class(
    scores: pd.DataFrame,
    arms: Sequence[str],
    colours: Mapping[str, str],
    *,
    metric: str,
    title: str,
    gains: pd.DataFrame | None = None,
    gain_name: str = "gain",
    stamp: str = "",
    note: str = "",
) -> Figure:
    """Draw per-class scores: bars are means over repetitions, dots the single runs, a panel a backbone.

    `scores` has a row each: backbone, arm, class, value (fraction; NaN where the class is absent). `gains` (backbone,
    class, estimate, low, high) stand in a panel beside each backbone's bars, with their intervals.
    """
    classes = list(dict.fromkeys(scores["class"]))
    backbones = list(dict.fromkeys(scores["backbone"]))
    height = 0.8 / len(arms)
    figure = new_figure(FULL_WIDTH, 0.65 + len(classes) * max(0.26, 0.115 * len(arms)))
    hatches = arm_marks(arms, HATCHES)
    with matplotlib.rc_context(RC):
        beside = gains is not None and len(gains) > 0
        ratios = [1.0, 0.62] * len(backbones) if beside else [1.0] * len(backbones)
        panels = figure.subplots(1, len(ratios), sharey=True, squeeze=False, width_ratios=ratios)[0]
        if gains is not None and beside:
            _class_gains(panels[1::2], gains, backbones, classes, gain_name)
        for axes, backbone in zip(panels[::2] if beside else panels, backbones, strict=True):
            for number, arm in enumerate(arms):
                own = scores[(scores["backbone"] == backbone) & (scores["arm"] == arm)]
                if not own["value"].notna().any():
                    # The arm does not run here, and dots without a place would upset the layout.
                    continue
                places = np.arange(len(classes)) + (number - (len(arms) - 1) / 2) * height
                means = own.groupby("class")["value"].mean().reindex(classes)
                axes.barh(
                    places, 100 * means.to_numpy(), height * 0.92, color=colours[arm], hatch=hatches[arm],
                    edgecolor="white", linewidth=0,
                )  # fmt: skip
                spots = [places[classes.index(name)] for name in own["class"]]
                axes.plot(100 * own["value"], spots, ".", color=INK, markersize=2.2, zorder=3, clip_on=False)
            axes.set_title(backbone)
            axes.set_xlim(0, 100)
            axes.grid(axis="y", visible=False)
            axes.set_xlabel(f"{metric} in %")
        panels[0].set_yticks(range(len(classes)), [name.replace("_", " ") for name in classes])
        panels[0].set_ylim(len(classes) - 0.5, -0.5)
        handles: list[Artist] = [
            Patch(facecolor=colours[arm], hatch=hatches[arm], edgecolor="white", linewidth=0, label=arm)
            for arm in arms
        ]
        handles.append(
            Line2D([], [], marker=".", color=INK, linestyle="none", markersize=4, label="single run")
        )
    labels = [str(handle.get_label()) for handle in handles]
    dress(figure, title=title, stamp=stamp, note=note, handles=handles, columns=legend_columns(labels))
    return figure


def _class_gains(
    panels: Sequence[Axes],
    gains: pd.DataFrame,
    backbones: Sequence[str],
    classes: Sequence[str],
    name: str,
) -> None:
    """Draw each class's gain with its interval, all backbones on one scale."""
    ends = 100 * gains[["estimate", "low", "high"]].to_numpy(dtype=np.float64)
    reach = 1.08 * float(np.nanmax(np.abs(ends))) if np.isfinite(ends).any() else 1.0
    for axes, backbone in zip(panels, backbones, strict=True):
        for _, item in gains[gains["backbone"] == backbone].iterrows():
            if item["class"] in classes:
                shown = pd.Series({**item, "decides": True})
                _gain(axes, shown, classes.index(item["class"]), TREATMENT, "o")
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
        axes.set_xlim(-reach, reach)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set_title(name)
        axes.set_xlabel("points")


def top1(frame: pd.DataFrame, *, title: str, stamp: str = "", note: str = "") -> Figure:
    """Draw top-1 by channel order: a group a pre-training, a bar an order, a dot a seed, a panel a backbone.

    `frame` has a row each: backbone, group (such as `csp, n = 4`), order, value (fraction); rows of one order may be
    several drawn ones, each a dot.
    """
    backbones, orders = list(dict.fromkeys(frame["backbone"])), list(dict.fromkeys(frame["order"]))
    shades = dict(zip(orders, ("#0072B2", "#E69F00", "#56B4E9"), strict=False))
    hatches = arm_marks(orders, HATCHES)
    width, reach = 0.8 / len(orders), 100 * float(frame["value"].max())
    counts = [frame[frame["backbone"] == backbone]["group"].nunique() for backbone in backbones]
    # Inches that a group has: its name stands on two lines, or turned where it is too narrow for that.
    turned = (FULL_WIDTH - 0.5) / sum(counts) < 0.055 * max(
        len(line) for group in frame["group"] for line in group.split("\n")
    )
    figure = new_figure(FULL_WIDTH, 3.8 if turned else 2.4)
    with matplotlib.rc_context(RC):
        panels = figure.subplots(1, len(backbones), sharey=True, squeeze=False, width_ratios=counts)[0]
        for axes, backbone in zip(panels, backbones, strict=True):
            here = frame[frame["backbone"] == backbone]
            groups = list(dict.fromkeys(here["group"]))
            for number, order in enumerate(orders):
                own = here[here["order"] == order]
                places = np.arange(len(groups)) + (number - (len(orders) - 1) / 2) * width
                means = 100 * own.groupby("group")["value"].mean().reindex(groups).to_numpy()
                axes.bar(
                    places, means, width * 0.94, color=shades.get(order, INK), hatch=hatches[order],
                    edgecolor="white", linewidth=0,
                )  # fmt: skip
                spots = [places[groups.index(name)] for name in own["group"]]
                axes.plot(spots, 100 * own["value"], ".", color=INK, markersize=3, zorder=3)
                tops = 100 * own.groupby("group")["value"].max().reindex(groups).to_numpy()
                for x, mean, top in zip(places, means, tops, strict=True):
                    if np.isfinite(mean):
                        # Above the highest dot: a number is not struck through.
                        axes.text(
                            x, top + 0.03 * reach, f"{mean:.1f}", ha="center", va="bottom", size=6.2,
                            rotation=90 if turned else 0,
                        )  # fmt: skip
            if turned:
                names = [group.replace("\n", ", ") for group in groups]
                axes.set_xticks(range(len(groups)), names, rotation=50, ha="right", rotation_mode="anchor")
            else:
                axes.set_xticks(range(len(groups)), groups)
            axes.set_title(backbone)
            axes.grid(axis="x", visible=False)
        panels[0].set_ylabel("top-1 in %")
        panels[0].set_ylim(0, min(108.0, 1.13 * reach) if not turned else 1.16 * reach)
        handles = [
            Patch(facecolor=shades.get(order, INK), hatch=hatches[order], edgecolor="white", linewidth=0,
                  label=f"{order} channel order")
            for order in orders
        ]  # fmt: skip
    labels = [str(handle.get_label()) for handle in handles]
    dress(figure, title=title, stamp=stamp, note=note, handles=handles, columns=legend_columns(labels))
    return figure


def nothing(words: str, *, title: str, stamp: str = "") -> Figure:
    """Return a figure that says in words why it shows nothing."""
    figure = new_figure(FULL_WIDTH, 0.6)
    with matplotlib.rc_context(RC):
        axes = figure.subplots()
        axes.set_axis_off()
        axes.text(0.5, 0.5, words, ha="center", va="center", size=8, color="#444444")
    dress(figure, title=title, stamp=stamp)
    return figure


def curves(
    frame: pd.DataFrame,
    colours: Mapping[str, str],
    *,
    x: str,
    y: str,
    title: str,
    stamp: str = "",
    note: str = "",
) -> Figure:
    """Draw learning curves: a panel for each (row, column) of `frame`, a line a run, coloured by its `line`.

    `frame` has a row each: row, column (labels of the panel's place), line, run (a line's repetition), x, y.
    """
    rows, columns = list(dict.fromkeys(frame["row"])), list(dict.fromkeys(frame["column"]))
    lines = [line for line in colours if (frame["line"] == line).any()]
    # Colours come round after as many lines as there are dashes: then the dashes shift by one.
    turns = [(number + number // len(DASHES)) % len(DASHES) for number in range(len(lines))]
    styles: dict[str, Any] = {line: DASHES[turn] for line, turn in zip(lines, turns, strict=True)}
    figure = new_figure(FULL_WIDTH, 0.25 + 1.5 * len(rows))
    with matplotlib.rc_context(RC):
        panels = figure.subplots(len(rows), len(columns), sharex="row", sharey="row", squeeze=False)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                axes = panels[i, j]
                here = frame[(frame["row"] == row) & (frame["column"] == column)]
                if here.empty:
                    axes.set_visible(False)
                    continue
                for (line, _), run in here.groupby(["line", "run"], sort=False):
                    axes.plot(
                        run["x"],
                        run["y"],
                        color=colours[line],
                        linestyle=styles[line],
                        linewidth=0.9,
                        alpha=0.85,
                    )
                axes.set_title(", ".join(part for part in (row, column) if part))
                axes.set_ylim(bottom=0)
                if i == len(rows) - 1:
                    axes.set_xlabel(x)
                if j == 0:
                    axes.set_ylabel(y)
        handles = [Line2D([], [], color=colours[line], linestyle=styles[line], label=line) for line in lines]
    labels = [str(handle.get_label()) for handle in handles]
    dress(figure, title=title, stamp=stamp, note=note, handles=handles, columns=legend_columns(labels))
    return figure
