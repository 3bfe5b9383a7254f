"""Confusion as heat maps: of each class's pixels, the share that was given to each class."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.report.style import FULL_WIDTH, INK, RC, dress, new_figure

SHADES = LinearSegmentedColormap.from_list("shares", ["#FFFFFF", "#9CC5E4", "#0072B2", "#002A46"])
LEAST = 0.005
"""Shares below half a per cent are left unwritten: their shade is white."""
ABSENT = "#EDEDED"
"""Colour of the row of a class without a target pixel."""


def row_shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return counts [target, prediction] as shares of each row; NaN in a row without a pixel."""
    sums = counts.sum(axis=1, keepdims=True).astype(np.float64)
    found: NDArray[np.float64] = np.divide(counts, sums, out=np.full(counts.shape, np.nan), where=sums > 0)
    return found


def confusions(
    maps: Sequence[Sequence[NDArray[np.int64]]],
    rows: Sequence[str],
    columns: Sequence[str],
    classes: Sequence[str],
    *,
    title: str,
    stamp: str = "",
    note: str = "",
) -> Figure:
    """Draw a heat map for each of `rows` (backbones) and `columns` (arms): counts [target, prediction], C classes.

    Each row of a map is divided by its sum and written in per cent. Raises BenchError for maps of another shape.
    """
    number = len(classes)
    if any(counts.shape != (number, number) for line in maps for counts in line):
        raise BenchError(f"{title}: a map is not of {number} x {number} classes; run `bench evaluate` again")
    size = min(7.0, 62 / number)
    side = (FULL_WIDTH - 1.0) / len(columns)
    figure = new_figure(FULL_WIDTH, len(rows) * (side * (0.62 if number < 8 else 0.86) + 0.3) + 0.45)
    with matplotlib.rc_context(RC):
        grid = figure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
        names = [name.replace("_", " ") for name in classes]
        for i, backbone in enumerate(rows):
            for j, arm in enumerate(columns):
                axes, shares = grid[i, j], row_shares(maps[i][j])
                axes.set_facecolor(ABSENT)
                axes.pcolormesh(shares, cmap=SHADES, vmin=0, vmax=1, edgecolors="white", linewidth=0.3)
                for (y, x), share in np.ndenumerate(shares):
                    if share >= LEAST:
                        colour = "white" if share > 0.45 else INK
                        text = f"{100 * share:.0f}"
                        axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", size=size, color=colour)
                axes.set_title(f"{backbone}, {arm}")
                axes.set_xlim(0, number)
                axes.set_ylim(number, 0)
                axes.grid(visible=False)
                axes.set_xticks(
                    np.arange(number) + 0.5, names, rotation=50, ha="right", rotation_mode="anchor"
                )
                axes.set_yticks(np.arange(number) + 0.5, names)
                axes.tick_params(length=0, labelsize=min(7.5, 80 / number))
            grid[i, 0].set_ylabel("target")
        for axes in grid[-1]:
            axes.set_xlabel("prediction")
    dress(figure, title=title, stamp=stamp, note=note)
    return figure
