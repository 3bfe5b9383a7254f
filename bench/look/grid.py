"""A sheet of pictures: rows with a label, columns with a heading, a caption under each picture.

The figure holds the words; the pictures are brought to the resolution of the page and copied onto it pixel by
pixel, so that a sheet of sixty costs little more than one, and each pixel of a small picture stays a sharp square.
Legend of axes: `picture_HW3` uint8.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from bench.errors import RequestError
from bench.record import atomic
from bench.report.style import (
    DPI,
    FULL_WIDTH,
    INK,
    RC,
    dress,
    drop_layout,
    legend_columns,
    new_figure,
    wrapped,
)

Picture = NDArray[np.uint8]

GAP, MARGIN, LABEL, TEXT = 0.05, 0.06, 1.0, 6.5
"""Inches between pictures, at the sheet's edges, for the rows' labels; points of the small type."""
LINE = 0.105
"""Inches that a line of the small type takes."""
FRAME = (150, 150, 150)
LETTERS = 15
"""Letters of bold small type that fit into a row's label; names of samples are broken wherever they must."""
TALLEST = 1.3
"""A picture is at most so many times as high as its column is wide."""


@dataclass(frozen=True)
class Cell:
    """One picture and the line under it; `sharp` pictures (labels) never blend neighbouring pixels."""

    picture_HW3: Picture
    caption: str = ""
    sharp: bool = False


@dataclass(frozen=True)
class Row:
    """One row of the sheet; a cell that is None stays empty. `name` stands in bold over the `words`."""

    name: str
    cells: Sequence[Cell | None]
    words: str = ""


@dataclass(frozen=True)
class Sheet:
    """A figure with the words, and the pictures with the row and column of their upper left pixel on it."""

    figure: Figure
    pictures: Sequence[tuple[int, int, Picture]]

    def pixels(self) -> Picture:
        """Return the finished sheet, uint8 (H, W, 3), at DPI pixels an inch."""
        canvas = FigureCanvasAgg(self.figure)
        with matplotlib.rc_context(RC):
            canvas.draw()  # type: ignore[no-untyped-call]
        page_HW3: Picture = np.array(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
        for top, left, picture_HW3 in self.pictures:
            page_HW3[top : top + picture_HW3.shape[0], left : left + picture_HW3.shape[1]] = picture_HW3
        return page_HW3

    def write(self, out: Path) -> None:
        """Write the sheet as a PNG, whole or not at all. Raises RequestError for another ending."""
        require_png(out)
        with atomic(out) as partial:
            Image.fromarray(self.pixels()).save(partial, format="png", compress_level=3, dpi=(DPI, DPI))


def require_png(out: Path) -> None:
    """Raise RequestError unless the name ends in .png."""
    if out.suffix.lower() != ".png":
        raise RequestError(f"{out}: pictures are written as PNG; give a name that ends in .png")


@dataclass
class Page:
    """A figure on which axes are placed in inches from the upper left corner of the space between head and foot."""

    figure: Figure
    width: float
    height: float
    below: float = field(default=0.0)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Return new axes at that place."""
        full_width, full_height = self.figure.get_size_inches()
        bottom = self.below + self.height - top - height
        place = (left / full_width, bottom / full_height, width / full_width, height / full_height)
        with matplotlib.rc_context(RC):
            return self.figure.add_axes(place)


def new_page(
    width: float,
    height: float,
    *,
    title: str,
    stamp: str = "",
    note: str = "",
    handles: Sequence[Artist] = (),
) -> Page:
    """Return a page with its head and foot set and `height` inches between them."""
    figure = new_figure(width, height)
    # Placing by hand: solving a layout for each of a study's sheets would cost more than drawing them.
    drop_layout(figure)
    labels = [str(handle.get_label()) for handle in handles]
    columns = legend_columns(labels, width)
    below = dress(figure, title=title, stamp=stamp, note=note, handles=handles, columns=columns)
    return Page(figure, width, height, below)


def sheet(
    rows: Sequence[Row],
    headings: Sequence[str],
    *,
    side: float,
    block: int = 0,
    title: str,
    stamp: str = "",
    note: str = "",
    handles: Sequence[Artist] = (),
) -> Sheet:
    """Lay out rows of pictures, each column `side` inches wide; after every `block` columns comes a wider gap."""
    columns = max([len(headings), *(len(row.cells) for row in rows)])
    lefts = [
        MARGIN + LABEL + column * (side + GAP) + (0.12 * (column // block) if block else 0.0)
        for column in range(columns)
    ]
    width = max(FULL_WIDTH, lefts[-1] + side + MARGIN)
    heads = [_lines(text, side) for text in headings]
    head = 0.04 + LINE * max((len(lines) for lines in heads), default=0)
    labels = [_lines(row.words, LABEL - 0.08) for row in rows]
    names = [textwrap.wrap(row.name, LETTERS) for row in rows]
    tops, heights, top = list[float](), list[float](), head
    for row, name, words in zip(rows, names, labels, strict=True):
        pictures = [cell.picture_HW3.shape for cell in row.cells if cell is not None]
        tall = side * min(TALLEST, max((shape[0] / shape[1] for shape in pictures), default=0.0))
        caption = LINE + 0.02 if any(cell is not None and cell.caption for cell in row.cells) else 0.0
        heights.append(max(tall, LINE * (len(name) + len(words)) - caption))
        tops.append(top)
        top += heights[-1] + caption + GAP
    page = new_page(width, top, title=title, stamp=stamp, note=note, handles=handles)
    axes = page.axes(0.0, 0.0, width, top)
    axes.set_axis_off()
    axes.set_xlim(0.0, width)
    axes.set_ylim(top, 0.0)
    origin = round((page.figure.get_figheight() - page.below - top) * DPI)
    pictures = list[tuple[int, int, Picture]]()
    for left, lines in zip(lefts, heads, strict=False):
        axes.text(
            left + side / 2, head - 0.03, "\n".join(lines), ha="center", va="bottom", size=TEXT, color=INK
        )
    for row, name, words, y, tall in zip(rows, names, labels, tops, heights, strict=True):
        axes.text(MARGIN, y, "\n".join(name), va="top", size=TEXT, weight="bold", color=INK)
        axes.text(MARGIN, y + LINE * len(name), "\n".join(words), va="top", size=TEXT, color=INK)
        for left, cell in zip(lefts, row.cells, strict=False):
            if cell is None:
                continue
            shown_HW3 = _fitted(cell, side, tall)
            x = round((left + side / 2) * DPI - shown_HW3.shape[1] / 2)
            pictures.append((origin + round(y * DPI), x, shown_HW3))
            under = y + shown_HW3.shape[0] / DPI + 0.02
            axes.text(
                left + side / 2, under, cell.caption, ha="center", va="top", size=TEXT - 1, color="#444444"
            )
    return Sheet(page.figure, pictures)


def _lines(text: str, inches: float) -> list[str]:
    """Return small type in lines that fit, broken at its own line ends and at spaces."""
    return [line for part in text.split("\n") for line in wrapped(part, inches, size=TEXT)]


def _fitted(cell: Cell, side: float, tall: float) -> Picture:
    """Return the picture as large as its place allows: enlarged by whole pixels, reduced by averaging."""
    height, width = cell.picture_HW3.shape[:2]
    scale = min(side * DPI / width, tall * DPI / height)
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    way = Image.Resampling.NEAREST if cell.sharp or scale >= 1 else Image.Resampling.BOX
    fitted_HW3 = np.array(Image.fromarray(cell.picture_HW3).resize(size, way))
    # A hairline, or a white class would run out into the page.
    for edge in (np.s_[[0, -1], :], np.s_[:, [0, -1]]):
        fitted_HW3[edge] = FRAME
    return fitted_HW3
