"""Verdicts: is a number of the paper reproduced, not reproduced, undecided, or not comparable, and why.

Two one-sided tests against a margin (D. J. Schuirmann, A comparison of the two one-sided tests procedure and
the power approach for assessing the equivalence of average bioavailability, 1987), read off the 1 - 2 x level
interval: each of its ends is one test of size `level`.
"""

import csv
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from scipy import stats

from bench.errors import RequestError
from bench.stats.intervals import Interval

Kind = Literal["absolute", "gain", "drop", "ordering"]
REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
INCONCLUSIVE, NOT_COMPARABLE = "inconclusive", "not comparable"

SCALES = {
    "miniature": "MINIATURE: drawn data, not the paper's",
    "small": "SMALL SCALE: smaller networks, schedules or data than the paper's",
}
"""Why a study that is not full-scale decides nothing about the paper."""

COLUMNS = (
    "claim",
    "dataset",
    "backbone",
    "arm",
    "baseline",
    "metric",
    "averaging",
    "low",
    "high",
    "unit",
    "kind",
    "source",
    "reading",
)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One row of `paper/reported.csv`; `low` and `high` are fractions here, None for an ordering."""

    claim: str
    dataset: str
    backbone: str
    """`best`, `average`, or a backbone's name."""
    arm: str
    baseline: str | None
    """For gains, drops and orderings: the strategy that the arm is held against."""
    metric: str
    averaging: str
    low: float | None
    high: float | None
    kind: Kind
    source: str
    reading: str


def read_claims(path: Path) -> list[Claim]:
    """Read the paper's numbers, turning the per cent as printed into fractions.

    Raises RequestError, naming file and row, for other columns, a claim given twice, an unknown kind or unit,
    or a range that is missing or upside down.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
    except OSError as error:
        raise RequestError(
            f"{path}: cannot be read ({error.strerror}); it holds the paper's numbers"
        ) from None
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise RequestError(f"{path}: columns {reader.fieldnames}; expected {list(COLUMNS)}")
    claims: dict[str, Claim] = {}
    for number, row in enumerate(rows, start=2):
        where = f"{path}, line {number}"
        if row["claim"] in claims:
            raise RequestError(f"{where}: claim {row['claim']!r} is given twice; each needs its own id")
        claims[row["claim"]] = _claim(row, where)
    return list(claims.values())


def _claim(row: dict[str, str], where: str) -> Claim:
    kind = next((known for known in get_args(Kind) if known == row["kind"]), None)
    if kind is None:
        raise RequestError(f"{where}: kind {row['kind']!r}; expected one of {list(get_args(Kind))}")
    low = high = None
    if kind != "ordering":
        if row["unit"] not in ("per cent", "percentage points"):
            raise RequestError(f"{where}: unit {row['unit']!r}; expected per cent or percentage points")
        try:
            # Decimal, so that 67.4 per cent is the float nearest to 0.674.
            low, high = (float(Decimal(row[end]) / 100) for end in ("low", "high"))
        except InvalidOperation:
            raise RequestError(
                f"{where}: {row['low']!r} to {row['high']!r}; a {kind} needs two numbers"
            ) from None
        if low > high:
            raise RequestError(f"{where}: low {row['low']} lies above high {row['high']}")
    if kind != "absolute" and not row["baseline"]:
        raise RequestError(f"{where}: a {kind} needs a baseline")
    texts = {name: row[name] for name in ("claim", "dataset", "backbone", "arm", "metric", "averaging")}
    rest = {name: row[name] for name in ("source", "reading")}
    return Claim(**texts, **rest, baseline=row["baseline"] or None, low=low, high=high, kind=kind)


def tost(estimate: float, error: float, df: float, low: float, high: float) -> float:
    """Return the p of two one-sided t-tests that the true value lies between `low` and `high`: the larger of both.

    Below `level` exactly where the 1 - 2 x level interval lies inside. Where nothing varies (`error` 0) it is 0 inside
    and 1 outside; NaN without a standard error.
    """
    if np.isnan(error):
        return float("nan")
    if error == 0:
        return 0.0 if low <= estimate <= high else 1.0
    return float(max(stats.t.sf((estimate - low) / error, df), stats.t.cdf((estimate - high) / error, df)))


def judge(
    kind: Kind, interval: Interval, low: float | None, high: float | None, margin: float
) -> tuple[str, str]:
    """Return verdict and reason for a value with its 1 - 2 x level interval; all numbers are fractions.

    Absolute values, gains and drops: the paper's value or range, widened by `margin`, is the region of
    equivalence. `reproduced` if the interval lies inside it, `not reproduced` if it lies wholly outside, else
    `inconclusive`. Orderings: `reproduced` if the interval lies above 0; `not reproduced` if it lies below
    `margin`, so that no difference worth the name is left; else `inconclusive`.
    """
    if not np.isfinite([interval.low, interval.high]).all():
        return INCONCLUSIVE, "one trained model and one unit give no interval"
    ends = f"interval {points(interval.low)} to {points(interval.high)}"
    if kind == "ordering":
        if interval.low > 0:
            return REPRODUCED, f"{ends} lies above 0"
        if interval.high < margin:
            return NOT_REPRODUCED, f"{ends} lies below the margin {points(margin)}"
        return INCONCLUSIVE, f"{ends} holds both 0 and the margin {points(margin)}"
    if low is None or high is None:
        raise ValueError(f"a claim of kind {kind} needs the paper's value")
    floor, ceiling = low - margin, high + margin
    region = f"{points(floor)} to {points(ceiling)} (the paper's value and the margin)"
    if floor <= interval.low and interval.high <= ceiling:
        return REPRODUCED, f"{ends} lies inside {region}"
    if interval.high < floor or interval.low > ceiling:
        return NOT_REPRODUCED, f"{ends} lies outside {region}"
    return INCONCLUSIVE, f"{ends} crosses an edge of {region}"


def points(fraction: float) -> str:
    """Return a fraction in per cent with two decimals, for prose."""
    return f"{100 * fraction:.2f}"
