"""How every figure looks, and how it is written: one palette, one type size, the scale stamped on it.

Figures are made without pyplot, so that no state is shared and no display is asked for. The same figure
gives the same PNG and PDF bytes: both are written without a date and without the name of their maker.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import text_to_path
from PIL import Image

from bench.record import atomic

# Okabe and Ito's palette (Color Universal Design, 2008) less its yellow, which is lost on white paper.
TREATMENT = "#D55E00"
BASELINES = ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#555555")
MARKERS = ("o", "s", "^", "D", "v", "P")
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "----")
INK = "#222222"
ALARM = "#B00020"
DPI = 200
UNSEEN = 24
"""Steps of 255 by which a palette may move a colour."""
SEEN = 0.02
"""Share of the pixels that it may move further."""
FULL_WIDTH = 7.0
"""Inches: the text block of an A4 page."""

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 8.0,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.4,
    "figure.constrained_layout.use": True,
    # Type 3 outlines: subsetting DejaVu as Type 42 took 40 % of the time of drawing a study.
    "pdf.fonttype": 3,
    "svg.hashsalt": "csp-bench",
}


PLACED = RC | {"figure.constrained_layout.use": False, "figure.autolayout": False}
"""The same for a figure whose layout is done."""


def arm_colours(arms: Sequence[str], treatment: str) -> dict[str, str]:
    """Return a colour an arm: the treatment's own, the baselines' by their order in the study."""
    baselines = [arm for arm in arms if arm != treatment]
    found = {arm: BASELINES[i % len(BASELINES)] for i, arm in enumerate(baselines)}
    return found | {treatment: TREATMENT}


def arm_marks(arms: Sequence[str], marks: Sequence[str]) -> dict[str, str]:
    """Return a mark (marker or hatch) an arm by its place, so that print without colour can be read."""
    return {arm: marks[i % len(marks)] for i, arm in enumerate(arms)}


def new_figure(width: float, height: float, *, dpi: int = DPI) -> Figure:
    """Return an empty figure of a size in inches, with an Agg canvas; `dpi` is that of its PNG."""
    with matplotlib.rc_context(RC):
        # The layout is solved at the resolution of the PNG: text is not as wide at another one.
        figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def dress(
    figure: Figure,
    *,
    title: str,
    stamp: str = "",
    note: str = "",
    handles: Sequence[Artist] = (),
    columns: int = 6,
) -> float:
    """Set the scale's stamp and the title above the axes, the legend of `handles` and the note below them.

    The figure grows by the height of all four and the axes keep theirs: nothing is covered or cut off. Returns
    the height of what stands below the axes, in inches, for whoever places axes by hand.
    """
    width, height = figure.get_figwidth(), figure.get_figheight()
    head = wrapped(title, width - 0.15, size=9.5, weight="bold")
    foot = wrapped(note, width - 0.15, size=7.0)
    columns = max(1, min(columns, len(handles)))
    above = 0.08 + 0.17 * len(head) + (0.27 if stamp else 0.0)
    legend = 0.06 + 0.165 * -(-len(handles) // columns) if handles else 0.0
    below = 0.05 + 0.13 * len(foot)
    full = above + height + legend + below
    figure.set_size_inches(width, full)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0.008, (below + legend) / full, 0.984, height / full))
    with matplotlib.rc_context(RC):
        left, top = 0.06 / width, 1 - 0.05 / full
        if stamp:
            box = {"facecolor": ALARM, "edgecolor": ALARM, "boxstyle": "square,pad=0.3"}
            place = (left + 0.04 / width, top - 0.03 / full)
            figure.text(*place, stamp, va="top", size=9.0, weight="bold", color="white", bbox=box)
            top -= 0.27 / full
        figure.text(left, top, "\n".join(head), va="top", size=9.5, weight="bold", color=INK)
        if foot:
            figure.text(left, below / full, "\n".join(foot), va="top", size=7.0, color="#444444")
        if handles:
            anchor = (0.5, below / full)
            figure.legend(
                handles=list(handles),
                loc="lower center",
                bbox_to_anchor=anchor,
                ncols=columns,
                borderaxespad=0.3,
            )
    return below + legend


def wrapped(text: str, inches: float, *, size: float, weight: str = "normal") -> list[str]:
    """Return `text` broken at spaces into lines that are at most so many inches wide in a size in points."""
    font = FontProperties(family=RC["font.family"], size=size, weight=weight)
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        width: float = text_to_path.get_text_width_height_descent(longer, font, ismath=False)[0]
        if lines and width > 72 * inches:
            lines.append(word)
        else:
            lines[-1:] = [longer]
    return lines


def legend_columns(labels: Sequence[str], width: float = FULL_WIDTH) -> int:
    """Return how many legend entries of the longest label's width fit side by side."""
    return max(1, int(width / (0.45 + 0.058 * max((len(label) for label in labels), default=1))))


def drop_layout(figure: Figure) -> None:
    """Take the layout engine away: with one that only holds its place, matplotlib draws before each saving."""
    with matplotlib.rc_context(PLACED):
        figure.set_layout_engine(None)


def _write_png(figure: Figure, path: Path) -> None:
    """Write a PNG packed as tightly as it goes, for `bench publish` keeps figures in git.

    With a palette of its 256 most frequent colours, a third of the bytes, where that moves hardly a pixel visibly:
    areas keep their colour, what moves are the edges of letters and lines. Photographs keep all colours.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="raw", dpi=figure.dpi)
    assert isinstance(figure.canvas, FigureCanvasAgg)
    width, height = figure.canvas.get_width_height()
    pixels = np.frombuffer(buffer.getvalue(), np.uint8).reshape(height, width, 4)[..., :3]
    codes = pixels.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    colours, counts = np.unique(codes, return_counts=True)
    places = np.lexsort((colours, -counts))[:256]
    parts = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.float32)
    palette = parts[places]
    # Squares of differences less those of the colour itself: whole numbers that float32 holds exactly.
    nearest = ((palette**2).sum(axis=1) - 2 * parts @ palette.T).argmin(axis=1)
    moved = np.abs(parts - palette[nearest]).max(axis=1) > UNSEEN
    if counts[moved].sum() > SEEN * codes.size:
        kept = Image.fromarray(np.ascontiguousarray(pixels))
    else:
        index_of = np.zeros(1 << 24, np.uint8)
        index_of[colours] = nearest
        kept = Image.frombytes("P", (width, height), index_of[codes].tobytes())
        kept.putpalette(palette.astype(np.uint8).tobytes())
    kept.save(path, format="png", optimize=True, dpi=(figure.dpi, figure.dpi))


def write(figure: Figure, stem: Path, endings: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Write `stem`.png and `stem`.pdf, or those of them in `endings`, whole or not at all; return the paths."""
    metadata: Mapping[str, dict[str, Any]] = {
        "png": {},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    written = []
    with matplotlib.rc_context(RC):
        # The layout is solved once; both formats then draw the same places.
        engine = figure.get_layout_engine()
        if engine is not None:
            engine.execute(figure)
            drop_layout(figure)
    for ending, fields in metadata.items():
        if ending not in endings:
            continue
        path = stem.with_name(f"{stem.name}.{ending}")
        with matplotlib.rc_context(PLACED), atomic(path) as partial:
            if ending == "png":
                _write_png(figure, partial)
            else:
                figure.savefig(partial, format=ending, dpi=figure.dpi, metadata=fields)
        written.append(path)
    return written
