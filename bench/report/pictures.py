"""Qualitative panels: input channels, target and each arm's prediction, one row an example.

Legend of axes: `image_HWC` raw values in stored units, `target_HW` and `prediction_HW` class ids or 255.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.report.style import FULL_WIDTH, RC, dress, legend_columns, new_figure

IGNORED = (205, 205, 205)
"""Colour of pixels without a label."""


@dataclass(frozen=True)
class Example:
    """One image of the evaluation split with what each arm made of it."""

    label: str
    image_HWC: NDArray[np.float32]
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


def panels(
    examples: Sequence[Example],
    channels: Sequence[str],
    classes: Sequence[str],
    colours: Sequence[Sequence[int]],
    *,
    title: str,
    stamp: str = "",
    note: str = "",
) -> Figure:
    """Draw a row of panels for each example: composite, further channels, target, prediction of each arm.

    Raises BenchError if there is no example, or if an image has not the channels that are named.
    """
    if not examples:
        raise BenchError(f"{title}: no example to show; `bench evaluate` stores some beside its counts")
    for example in examples:
        if example.image_HWC.shape[2] != len(channels):
            raise BenchError(
                f"{title}: {example.label} has {example.image_HWC.shape[2]} channels, not {len(channels)} "
                f"({', '.join(channels)}); run `bench evaluate` again"
            )
    arms = list(dict.fromkeys(arm for example in examples for arm in example.predictions))
    extra = composite(examples[0].image_HWC, channels)[1]
    columns = ["colour", *(name.replace("_", " ") for name in extra), "target", *arms]
    side = (FULL_WIDTH - 0.35) / len(columns)
    ratio = max(example.target_HW.shape[0] / example.target_HW.shape[1] for example in examples)
    figure = new_figure(FULL_WIDTH, len(examples) * (side * ratio + 0.02) + 0.22)
    with matplotlib.rc_context(RC):
        engine = figure.get_layout_engine()
        if isinstance(engine, ConstrainedLayoutEngine):
            engine.set(w_pad=0.015, h_pad=0.015, wspace=0.01, hspace=0.01)
        grid = figure.subplots(len(examples), len(columns), squeeze=False)
        for row, example in enumerate(examples):
            picture, rest = composite(example.image_HWC, channels)
            shown: list[NDArray[np.float64] | NDArray[np.uint8]] = [picture]
            shown += [stretched(example.image_HWC[..., list(channels).index(name)]) for name in rest]
            shown.append(painted(example.target_HW, colours))
            for axes, content in zip(grid[row], shown, strict=False):
                _show(axes, content)
            for axes, arm in zip(grid[row, len(shown) :], arms, strict=True):
                if arm in example.predictions:
                    _show(axes, painted(example.predictions[arm], colours))
                else:
                    axes.set_axis_off()
            grid[row, 0].set_ylabel(example.label, size=6.8)
        for axes, name in zip(grid[0], columns, strict=True):
            axes.set_title(name, size=7.5)
        handles = [
            _swatch(colour, name.replace("_", " ")) for name, colour in zip(classes, colours, strict=True)
        ]
        if any((example.target_HW >= len(classes)).any() for example in examples):
            handles.append(_swatch(IGNORED, "no label"))
    fits = legend_columns([*classes, "no label"])
    dress(figure, title=title, stamp=stamp, note=note, handles=handles, columns=fits)
    return figure


def _show(axes: Axes, content: NDArray[np.float64] | NDArray[np.uint8]) -> None:
    grey = {"cmap": "gray", "vmin": 0.0, "vmax": 1.0} if content.ndim == 2 else {}
    axes.imshow(content, interpolation="nearest", **grey)  # type: ignore[arg-type]
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.4)


def _swatch(colour: Sequence[int], label: str) -> Patch:
    red, green, blue = (part / 255 for part in colour)
    return Patch(facecolor=(red, green, blue), edgecolor="#888888", linewidth=0.5, label=label)
