"""Numbers to text: fractions become per cent here and nowhere earlier."""

import math
from typing import Any

import pandas as pd

NONE = "n/a"


def percent(value: float, *, signed: bool = False) -> str:
    """Return a fraction as per cent with two decimals; `n/a` for NaN, never a negative zero."""
    if pd.isna(value):
        return NONE
    text = f"{100 * value:+.2f}" if signed else f"{100 * value:.2f}"
    return text.replace("-", "+" if signed else "") if float(text) == 0 else text


def interval(low: float, high: float) -> str:
    """Return an interval of fractions as [low, high] in per cent."""
    return NONE if pd.isna(low) or pd.isna(high) else f"[{percent(low)}, {percent(high)}]"


def p_value(value: float) -> str:
    """Return a p-value with three decimals, or `<0.001`."""
    if pd.isna(value):
        return NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def deviation(values: "pd.Series[float]") -> str:
    """Return the standard deviation (ddof = 1) of fractions in per cent; `n/a` for fewer than two."""
    return percent(float(values.std(ddof=1))) if values.notna().sum() > 1 else NONE


def mean_of(rows: pd.DataFrame) -> float:
    """Return the mean of the column `value`, NaN for no rows."""
    return float(rows["value"].mean()) if len(rows) else math.nan


def only(frame: pd.DataFrame, **names: object) -> pd.DataFrame:
    """Return the rows in which each named column has the given value."""
    for column, value in names.items():
        frame = frame[frame[column] == value]
    return frame


def is_marked(row: "pd.Series[Any]", level: float) -> bool:
    """Say whether the statistics allow emphasis: two different runs, and the adjusted p below the level."""
    return bool(not row["same_run"] and pd.notna(row["p_holm"]) and row["p_holm"] < level)


def dagger(row: "pd.Series[Any]") -> str:
    """Return † where both arms are one run, ‡ where the test that gave the p-value cannot reach Holm's threshold."""
    if row["same_run"]:
        return "†"
    return "‡" if "sign-flip test over units cannot fall below" in str(row["statement"]) else ""
