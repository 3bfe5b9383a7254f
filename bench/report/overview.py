"""The overview: a tile a claim of the paper, with this study's number, the paper's, and the verdict in a word.

The verdict is said three times: by the word, by colour, and by the tile's hatch. Colours are Okabe and Ito's.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bench.report.formats import percent
from bench.report.style import FULL_WIDTH, INK, RC, dress, new_figure

KINDS = ("gain", "absolute", "drop", "ordering")
"""Order of the tiles: the gain is the paper's claim."""
VERDICTS: Mapping[str, tuple[str, str]] = {
    "reproduced": ("#0072B2", "white"),
    "not reproduced": ("#D55E00", "white"),
    "inconclusive": ("#F0E442", INK),
    "not comparable": ("#D9D9D9", INK),
}
"""Verdict -> colour of its band and of the words on it."""
HATCH = {"not reproduced": "////", "inconclusive": "...."}
COLUMNS = 3


def overview(claims: pd.DataFrame, *, title: str, stamp: str = "", note: str = "") -> Figure:
    """Draw a tile for each claim.

    `claims` has a row each: head (what is claimed, of what), here and paper (texts), interval (text, may be
    empty), verdict. The title should say the count: `counted` does.
    """
    count = len(claims)
    rows = -(-count // COLUMNS)
    figure = new_figure(FULL_WIDTH, 0.05 + 1.12 * rows)
    with matplotlib.rc_context(RC):
        grid = figure.subplots(rows, COLUMNS, squeeze=False)
        for number, axes in enumerate(grid.flat):
            axes.set_axis_off()
            if number < count:
                _tile(axes, claims.iloc[number])
    dress(figure, title=title, stamp=stamp, note=note)
    return figure


def _tile(axes: Axes, claim: "pd.Series[str]") -> None:
    colour, words = VERDICTS[claim["verdict"]]
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.add_patch(Rectangle((0, 0), 1, 1, facecolor="#FAFAFA", edgecolor="#888888", linewidth=0.7))
    hatch = HATCH.get(claim["verdict"])
    axes.add_patch(
        Rectangle(
            (0, 0), 1, 0.22, facecolor=colour, edgecolor="#888888", linewidth=0.7, hatch=hatch, alpha=0.95
        )
    )
    box = {"facecolor": colour, "edgecolor": "none", "pad": 1.2}
    axes.text(
        0.5, 0.105, claim["verdict"], ha="center", va="center", color=words, size=8.5, weight="bold", bbox=box
    )
    axes.text(
        0.03, 0.94, claim["head"], ha="left", va="top", size=7.4, weight="bold", color=INK, linespacing=1.25
    )
    axes.text(0.03, 0.48, claim["here"], ha="left", va="center", size=15, weight="bold", color=INK)
    axes.text(0.03, 0.29, claim["interval"], ha="left", va="center", size=6.4, color="#444444")
    axes.text(0.97, 0.57, "paper", ha="right", va="center", size=6.8, color="#444444")
    axes.text(0.97, 0.43, claim["paper"], ha="right", va="center", size=9, color=INK)


def sorted_claims(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return the claims by kind, gains first, else in their order."""
    place = verdicts["kind"].map({kind: i for i, kind in enumerate(KINDS)}).fillna(len(KINDS))
    return verdicts.assign(place=place).sort_values("place", kind="stable").drop(columns="place")


def counted(verdicts: "pd.Series[str]") -> str:
    """Return the verdicts in a sentence: `Of 9 claims of the paper: 2 reproduced, 7 not comparable`."""
    found = Counter(verdicts)
    parts = [f"{found[name]} {name}" for name in VERDICTS if found[name]]
    return f"Of {len(verdicts)} claims of the paper: {', '.join(parts)}"


def claim_texts(claim: "pd.Series[Any]", dataset: str, backbone: str) -> dict[str, str]:
    """Return what a tile says of one row of verdicts.csv; `dataset` and `backbone` as they are written."""
    kind, metric = str(claim["kind"]), str(claim["metric"])
    low, high = (float(claim[name]) for name in ("low", "high"))
    value = float(claim["value"])
    signed = kind in ("gain", "ordering")
    paper = [percent(float(claim[name]), signed=signed) for name in ("paper_low", "paper_high")]
    order = metric.removeprefix("top1/")
    what = {
        "absolute": metric,
        "gain": f"gain in {metric}",
        "drop": "drop of top-1",
        "ordering": f"lead in {metric}" if order == metric else f"lead, {order}",
    }
    whose = {"best": "best backbone", "average": "mean of backbones"}.get(backbone, backbone)
    ends = "no interval" if pd.isna(low) or pd.isna(high) else f"{percent(low)} to {percent(high)}"
    return {
        "head": f"{dataset}: {what.get(kind, kind)}\n{whose}",
        "here": percent(value, signed=signed),
        "interval": ends,
        "paper": "in words"
        if kind == "ordering"
        else paper[0]
        if paper[0] == paper[1]
        else " to ".join(paper),
        "verdict": str(claim["verdict"]),
    }
