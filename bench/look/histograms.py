"""Figures of what the data hold: pixels and images of each class, and the values of each channel.

Finished numbers in, a Figure out; no file is touched.
"""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.look.channels import Distribution
from bench.look.grid import new_page
from bench.look.scenes import ClassCounts
from bench.report.style import BASELINES, FULL_WIDTH, INK, MARKERS, RC, TREATMENT

COLOURS = (BASELINES[0], BASELINES[4], BASELINES[1], *BASELINES[2:4])
BY_NAME = 60
"""Classes that get a named row each; more are drawn as a curve over the index."""
ACROSS = 4
"""Channels side by side."""
BETWEEN = 0.25
"""Inches between panels."""


def class_figure(
    counts: Mapping[str, ClassCounts], classes: Sequence[str], *, title: str, stamp: str = "", note: str = ""
) -> Figure:
    """Draw pixels and images of each class on logarithmic axes, a mark a split; what is absent stands at 0."""
    ignored = any(found.pixels[-1] for found in counts.values())
    names = [*(name.replace("_", " ") for name in classes), *(["ignored"] if ignored else [])]
    panels = {
        "pixels": {split: found.pixels[: len(names)] for split, found in counts.items()},
        "images with the class": {split: found.images[: len(names)] for split, found in counts.items()},
    }
    handles = _split_marks({split: f"{split} ({found.samples:,} images)" for split, found in counts.items()})
    return _by_name(panels, names, handles, title=title, stamp=stamp, note=note)


def photograph_figure(
    counts: Mapping[str, np.ndarray], classes: Sequence[str], *, title: str, stamp: str = "", note: str = ""
) -> Figure:
    """Draw photographs of each class, a mark a split: by name, or over the index where classes are many.

    `counts[split]`: int64 [classes].
    """
    handles = _split_marks(
        {split: f"{split} ({int(found.sum()):,} images)" for split, found in counts.items()}
    )
    if len(classes) <= BY_NAME:
        return _by_name({"photographs": counts}, classes, handles, title=title, stamp=stamp, note=note)
    page = new_page(FULL_WIDTH, 2.4, title=title, stamp=stamp, note=note, handles=handles)
    axes = page.axes(0.6, 0.05, FULL_WIDTH - 0.75, 1.9)
    with matplotlib.rc_context(RC):
        for found, colour, marker in zip(counts.values(), COLOURS, MARKERS, strict=False):
            axes.plot(found, linestyle="none", marker=marker, markersize=1.5, color=colour)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(0, None)
        axes.set_xlabel("class index")
        axes.set_ylabel("photographs")
    return page.figure


def _split_marks(labels: Mapping[str, str]) -> list[Artist]:
    return [
        Line2D([], [], color=colour, marker=marker, markersize=5, linestyle="none", label=label)
        for label, colour, marker in zip(labels.values(), COLOURS, MARKERS, strict=False)
    ]


def _by_name(
    panels: Mapping[str, Mapping[str, np.ndarray]],
    names: Sequence[str],
    handles: Sequence[Artist],
    *,
    title: str,
    stamp: str,
    note: str,
) -> Figure:
    height = 0.17 * len(names) + 0.1
    page = new_page(FULL_WIDTH, height + 0.5, title=title, stamp=stamp, note=note, handles=handles)
    side = 0.35 + 0.058 * max(map(len, names))
    width = (FULL_WIDTH - side - BETWEEN * len(panels)) / len(panels)
    for place, (what, counts) in enumerate(panels.items()):
        axes = page.axes(side + place * (width + BETWEEN), 0.03, width, height)
        with matplotlib.rc_context(RC):
            for number, (found, colour, marker) in enumerate(
                zip(counts.values(), COLOURS, MARKERS, strict=False)
            ):
                # Side by side, so that equal counts do not hide each other.
                apart = 0.2 * (number - (len(counts) - 1) / 2)
                axes.plot(
                    found,
                    np.arange(len(names)) + apart,
                    linestyle="none",
                    marker=marker,
                    markersize=4,
                    color=colour,
                    alpha=0.85,
                    clip_on=False,
                    zorder=3,
                )
            _count_axis(axes, max(int(found.max()) for found in counts.values()))
            axes.set_xlabel(what)
            axes.set_ylim(len(names) - 0.4, -0.6)
            axes.set_yticks(range(len(names)), names)
            axes.tick_params(axis="y", length=0, labelleft=place == 0)
    return page.figure


def _count_axis(axes: Axes, largest: int) -> None:
    """Scale an axis of counts: logarithmic from 1 on, with 0 at its own place to the left."""
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    powers = range(int(np.ceil(np.log10(max(largest, 2)))) + 1)
    axes.set_xlim(0, 10.0 ** powers[-1])
    step = 2 if len(powers) > 6 else 1
    axes.set_xticks(
        [0, *(10.0**power for power in powers[::step])], ["0", *(_power(power) for power in powers[::step])]
    )
    axes.minorticks_off()


def _power(exponent: int) -> str:
    """Return a power of ten as it is read fastest: 100, 1k, 10M, 1G."""
    thousands, rest = divmod(exponent, 3)
    return f"{10**rest}{' kMGT'[thousands].strip()}"


def channel_figure(found: Sequence[Distribution], *, title: str, stamp: str = "", note: str = "") -> Figure:
    """Draw how the values of each channel are distributed, with mean, standard deviation, zeros and saturation.

    A bin that would flatten all others is cut and its share written beside it.
    """
    across = min(ACROSS, len(found)) if len(found) != 5 else 5
    down = -(-len(found) // across)
    handles: list[Artist] = [
        Line2D([], [], color=TREATMENT, linewidth=1.2, label="mean"),
        Patch(facecolor=TREATMENT, alpha=0.15, label="mean ± one standard deviation"),
    ]
    panel, head = 1.0, 0.72
    page = new_page(
        FULL_WIDTH, down * (panel + head + 0.42), title=title, stamp=stamp, note=note, handles=handles
    )
    width = (FULL_WIDTH - 0.1) / across
    for place, channel in enumerate(found):
        left, top = 0.1 + (place % across) * width, (place // across) * (panel + head + 0.42) + head
        axes = page.axes(left, top, width - 0.2, panel)
        with matplotlib.rc_context(RC):
            _draw_channel(axes, channel)
    return page.figure


def _draw_channel(axes: Axes, channel: Distribution) -> None:
    shares = 100 * channel.shares
    order = np.sort(shares)
    top = 1.08 * (order[-1] if order[-1] <= 4 * order[-2] or order[-2] == 0 else 1.8 * order[-2])
    axes.stairs(shares, channel.edges, fill=True, color=BASELINES[0], alpha=0.8)
    axes.axvspan(
        channel.mean - channel.std, channel.mean + channel.std, color=TREATMENT, alpha=0.15, linewidth=0
    )
    axes.axvline(channel.mean, color=TREATMENT)
    axes.set_xlim(channel.edges[0], channel.edges[-1])
    axes.set_ylim(0, top)
    if order[-1] > top:
        peak = int(shares.argmax())
        middle = (channel.edges[peak] + channel.edges[peak + 1]) / 2
        right = middle > (channel.edges[0] + channel.edges[-1]) / 2
        text = f"{shares[peak]:.0f} % ↑ " if right else f" ↑ {shares[peak]:.0f} %"
        axes.text(middle, 0.98 * top, text, ha="right" if right else "left", va="top", size=6.0, color=INK)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)
    axes.locator_params(axis="x", nbins=4)
    saturated = "" if channel.saturated is None else f", saturated {_per_cent(channel.saturated)}"
    lines = [
        f"mean {channel.mean:.4g}, sd {channel.std:.4g}",
        f"range {channel.low:.4g} to {channel.high:.4g}",
        f"zero {_per_cent(channel.zeros)}{saturated}",
    ]
    axes.text(
        0, 1.62, channel.name.replace("_", " "), transform=axes.transAxes, va="top", size=8.0, weight="bold"
    )
    axes.text(0, 1.44, "\n".join(lines), transform=axes.transAxes, va="top", size=6.0, color=INK)
    axes.set_xlabel(_short_unit(channel.unit), size=6.0)


def _short_unit(unit: str) -> str:
    """Return a unit in two lines at most, broken at the space nearest to its middle."""
    if len(unit) <= 26:
        return unit
    middle = min((i for i, letter in enumerate(unit) if letter == " "), key=lambda i: abs(i - len(unit) // 2))
    return f"{unit[:middle]}\n{unit[middle + 1 :]}"


def _per_cent(share: float) -> str:
    return "0" if share == 0 else "< 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"
