"""How many seeds or test units would decide a claim: the rows of power.csv, and the table that `bench power` prints."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from bench.stats.power import (
    MOST,
    TARGET,
    Spread,
    detectable,
    power_of_equivalence,
    power_of_t,
    seeds_needed,
    spread_of,
    units_needed,
)
from bench.stats.verdicts import Claim
from bench.study.schema import Comparison

GAIN, EQUIVALENCE = "gain over 0", "equivalence with the paper's gain"


def forecast_rows(
    rows: Iterable[Mapping[str, Any]], claims: Sequence[Claim], comparison: Comparison
) -> list[dict[str, Any]]:
    """Return two rows a headline contrast that has a spread: is there a gain, and is it the paper's.

    `rows` are those of comparisons.csv with their values. The gain assumed is the lower end of what the paper reports
    for the dataset, and the observed one where it reports none. Levels are those of one test; Holm's correction of a
    family wants more.
    """
    found = []
    for row in rows:
        if "_values" not in row or min(row["_values"].shape) < 2:
            continue
        spread, level = spread_of(row["_values"]), comparison.level
        error, _ = spread.error_and_df()
        reported = [
            c for c in claims if c.kind == "gain" and (c.dataset, c.metric) == (row["dataset"], row["metric"])
        ]
        own = [c for c in reported if c.backbone == row["backbone"]] or reported
        names = "dataset backbone treatment baseline metric pixels classes seeds units".split()
        shared = {name: row[name] for name in names} | {
            "standard_error": error,
            "detectable": detectable(spread, level),
        }
        asked = f"whether {row['question']}"
        low, high = (own[0].low, own[0].high) if own else (None, None)
        assumed = row["estimate"] if low is None else low
        whose = "observed; its power tells no more than its p" if low is None else "the paper's lowest"
        gain = partial(power_of_t, assumed, level=level)
        found.append(
            shared
            | {"claim": GAIN, "assumed": assumed}
            | _numbers(gain, spread, f"{asked}, if the true gain is {100 * assumed:.2f} ({whose})")
        )
        if low is not None and high is not None:
            width = (high - low) / 2 + comparison.margin
            same = partial(power_of_equivalence, width, level=level)
            words = f"{asked}, if the true gain is the paper's, to within {100 * width:.2f}"
            found.append(
                shared
                | {"claim": EQUIVALENCE, "assumed": (low + high) / 2, "half_width": width}
                | _numbers(same, spread, words)
            )
    return found


def _numbers(power: Callable[[Spread], float], spread: Spread, words: str) -> dict[str, Any]:
    """Return power now, seeds and units that would do, and the sentence that says so."""
    now, seeds, units = power(spread), seeds_needed(power, spread), units_needed(power, spread)
    if now >= TARGET:
        what = f"{spread.seeds} seeds and {spread.units} units are enough"
    else:
        ways = [f"{n} {name}" for n, name in ((seeds, "seeds"), (units, "units")) if n is not None]
        what = " or ".join(ways) if ways else f"no number of seeds or of units alone up to {MOST}"
        what += " would do" if ways else " would do; more of both are needed"
    return {"power": now, "seeds_needed": seeds, "units_needed": units, "statement": f"{words}: {what}"}


def forecast_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the forecast as plain text, a line a claim; per cent where the CSV holds fractions."""
    head = ("contrast", "claim", "error", "finds", "power", "seeds", "units", "seeds needed", "units needed")
    body = []
    for row in rows:
        contrast = (
            f"{row['dataset']}/{row['backbone']} {row['treatment']} - {row['baseline']} {row['metric']}"
        )
        claim = f"{row['claim']} (at {100 * row['assumed']:+.2f})"
        body.append(
            (
                contrast,
                claim,
                f"{100 * row['standard_error']:.2f}",
                f"{100 * row['detectable']:.2f}",
                f"{row['power']:.2f}",
                str(row["seeds"]),
                str(row["units"]),
                _needed(row["seeds_needed"]),
                _needed(row["units_needed"]),
            )
        )
    widths = [max(len(line[i]) for line in (head, *body)) for i in range(len(head))]
    lines = [
        "  ".join(
            c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in (head, *body)
    ]
    return "\n".join(line.rstrip() for line in lines)


def _needed(number: int | None) -> str:
    return f"> {MOST}" if number is None else str(number)
