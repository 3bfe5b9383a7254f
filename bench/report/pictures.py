"""Qualitative panels: input channels, target and each arm's prediction, one row an example.

Legend of axes: `image_HWC` raw values in stored units, `target_HW` and `prediction_HW` class ids or 255.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.report.style import BASELINES, FULL_WIDTH, RC, TREATMENT, dress, legend_columns, new_figure

PICTURE_DPI = 150
"""Pixels an inch in the PNG: noise does not compress, and the scenes are small."""
LETTER = 0.052
"""Inches that a letter of the words beside a row takes."""
IGNORED = (205, 205, 205)
"""Colour of pixels without a label."""
BOTH_RIGHT = (245, 245, 245)
BOTH_WRONG = (110, 110, 110)


@dataclass(frozen=True)
class Example:
    """One image of the evaluation split as it is drawn, with what each arm made of it."""

    label: str
    colour_HW3: NDArray[np.uint8]
    planes: Mapping[str, NDArray[np.uint8]]
    """The channels that the colour picture does not show, by name: grey (H, W)."""
    target_HW: NDArray[np.uint8]
    predictions: Mapping[str, NDArray[np.uint8]]
    """Predicted ids by arm, each (H, W)."""


def stretched(plane_HW: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return one channel as grey in [0, 1]: 1st percentile black, 99th white, a constant one mid-grey."""
    plane = plane_HW.astype(np.float64)
    finite = plane[np.isfinite(plane)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 0.0)
    if high <= low:
        return np.full(plane.shape, 0.5)
    return np.clip((np.nan_to_num(plane, nan=low) - low) / (high - low), 0, 1)


def composite(
    image_HWC: NDArray[np.float32], channels: Sequence[str]
) -> tuple[NDArray[np.float64], list[str]]:
    """Return an (H, W, 3) picture in [0, 1] and the channels it does not show.

    The channels red, green and blue where the image has them, else its first three, on one scale that
    keeps their balance: 255 is white for 8-bit values, else the 99th percentile of the three.
    """
    wanted = ["red", "green", "blue"]
    chosen = wanted if set(wanted) <= set(channels) else list(channels[:3])
    planes = image_HWC[..., [list(channels).index(name) for name in chosen]].astype(np.float64)
    top = 255.0 if 1 < planes.max() <= 255 else max(float(np.percentile(planes, 99)), 1e-12)
    return np.clip(planes / top, 0, 1), [name for name in channels if name not in chosen]


def painted(ids_HW: NDArray[np.uint8], colours: Sequence[Sequence[int]]) -> NDArray[np.uint8]:
    """Return class ids as an (H, W, 3) uint8 picture; ids without a colour become light grey."""
    palette = np.full((256, 3), IGNORED, dtype=np.uint8)
    palette[: len(colours)] = np.asarray(colours, dtype=np.uint8)
    return palette[ids_HW]


def rivals(example: Example, treatment: str, baseline: str, classes: int) -> NDArray[np.uint8]:
    """Return where two arms part, by pixel.

    0: both right, 1: only the treatment, 2: only the baseline, 3: both wrong, 255: no label.
    """
    right = [example.predictions[arm] == example.target_HW for arm in (treatment, baseline)]
    found = np.select([right[0] & right[1], right[0], right[1]], [0, 1, 2], 3).astype(np.uint8)
    found[example.target_HW >= classes] = 255
    return found


def panels(
    examples: Sequence[Example],
    classes: Sequence[str],
    colours: Sequence[Sequence[int]],
    *,
    contrast: tuple[str, str] | None = None,
    title: str,
    stamp: str = "",
    note: str = "",
) -> Figure:
    """Draw a row of panels for each example: colour, further channels, target, prediction of each arm.

    `contrast`: treatment and baseline; a last panel then shows where one of them alone is right. What an example
    shares with the one above (the same scene under another backbone) is not drawn again. Raises
    BenchError if there is no example.
    """
    if not examples:
        raise BenchError(f"{title}: no example to show; `bench evaluate` stores some beside its counts")
    arms = list(dict.fromkeys(arm for example in examples for arm in example.predictions))
    extra = list(examples[0].planes)
    columns = ["colour", *(name.replace("_", " ") for name in extra), "target", *arms]
    parted = contrast is not None and set(contrast) <= set(arms)
    columns += ["who is right"] if parted else []
    # The palette of style.py: the treatment's own colour, and the first baseline's.
    sides = [
        BOTH_RIGHT,
        *(tuple(round(255 * part) for part in to_rgb(c)) for c in (TREATMENT, BASELINES[0])),
        BOTH_WRONG,
    ]
    beside = max(len(line) for example in examples for line in example.label.split("\n"))
    side = (FULL_WIDTH - 0.1 - LETTER * beside) / len(columns)
    # A row holds the three lines beside it.
    heights = [max(side * e.target_HW.shape[0] / e.target_HW.shape[1], 0.34) for e in examples]
    figure = new_figure(FULL_WIDTH, sum(heights) + 0.02 * len(examples) + 0.22, dpi=PICTURE_DPI)
    with matplotlib.rc_context(RC):
        engine = figure.get_layout_engine()
        if isinstance(engine, ConstrainedLayoutEngine):
            engine.set(w_pad=0.015, h_pad=0.015, wspace=0.01, hspace=0.01)
        grid = figure.subplots(len(examples), len(columns), squeeze=False, height_ratios=heights)
        for row, example in enumerate(examples):
            shown = [example.colour_HW3, *(example.planes[name] for name in extra)]
            shown.append(painted(example.target_HW, colours))
            again = row > 0 and _same_scene(example, examples[row - 1])
            for axes, content in zip(grid[row], shown, strict=False):
                if again:
                    _bare(axes)
                else:
                    _show(axes, content)
            if contrast is not None and parted and set(contrast) <= set(example.predictions):
                _show(grid[row, -1], painted(rivals(example, *contrast, len(classes)), sides))
            elif parted:
                _bare(grid[row, -1])
            for axes, arm in zip(grid[row, len(shown) : len(shown) + len(arms)], arms, strict=True):
                if arm in example.predictions:
                    _show(axes, painted(example.predictions[arm], colours))
                else:
                    _bare(axes)
            grid[row, 0].set_ylabel(
                example.label, size=6.2, rotation=0, ha="right", va="center", multialignment="right"
            )
        for axes, name in zip(grid[0], columns, strict=True):
            axes.set_title(name, size=7.5)
        handles = [
            _swatch(colour, name.replace("_", " ")) for name, colour in zip(classes, colours, strict=True)
        ]
        if any((example.target_HW >= len(classes)).any() for example in examples):
            handles.append(_swatch(IGNORED, "no label"))
        if contrast is not None and parted:
            words = ("both right", f"only {contrast[0]} right", f"only {contrast[1]} right", "both wrong")
            handles += [_swatch(side, name) for side, name in zip(sides, words, strict=True)]
    fits = legend_columns([str(handle.get_label()) for handle in handles])
    dress(figure, title=title, stamp=stamp, note=note, handles=handles, columns=fits)
    return figure


def _same_scene(one: Example, other: Example) -> bool:
    return np.array_equal(one.colour_HW3, other.colour_HW3) and np.array_equal(one.target_HW, other.target_HW)


def _bare(axes: Axes) -> None:
    """Leave a place empty but for its label."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _show(axes: Axes, content: NDArray[np.uint8]) -> None:
    # Grey as three equal planes: a colour map would give the same and more bytes.
    shown = np.repeat(content[..., None], 3, axis=2) if content.ndim == 2 else content
    # "none" keeps the pixels as they are in the PDF; in the PNG it is nearest neighbour.
    axes.imshow(shown, interpolation="none")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.4)


def _swatch(colour: Sequence[int], label: str) -> Patch:
    red, green, blue = (part / 255 for part in colour)
    return Patch(facecolor=(red, green, blue), edgecolor="#888888", linewidth=0.5, label=label)
