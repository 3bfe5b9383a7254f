"""Checks on a study's values. A message begins with the key it is about; the reader sets its path before."""

import re
from typing import Any

SLOT = r"[a-z0-9][a-z0-9_-]*"
"""What a name that becomes a folder may look like."""


def require(condition: bool, message: str) -> None:
    """Raise ValueError with `message` unless the condition holds."""
    if not condition:
        raise ValueError(message)


def within(owner: Any, interval: str, *keys: str) -> None:
    """Require that values, or every one of several, lie in an interval such as `[0, 1)`; unset ones pass."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    for key in keys:
        value = getattr(owner, key)
        for part in value if isinstance(value, tuple) else (value,):
            above = part is None or low < part or (part == low and interval[0] == "[")
            below = part is None or part < high or (part == high and interval[-1] == "]")
            require(above and below, f"{key} lies in {interval}, found {part}")


def below_root(path: str | None) -> None:
    """Require that a path, where there is one, is relative and stays below the data root."""
    inside = path is None or (path.strip() != "" and path[0] != "/" and ".." not in path.split("/"))
    require(inside, f"path lies below the data root: relative and without '..', found {path!r}")


def hexadecimal(digest: str | None) -> None:
    """Require that a SHA-256, where there is one, is written as 64 hex digits in lower case."""
    written = digest is None or re.fullmatch(r"[0-9a-f]{64}", digest) is not None
    require(written, f"sha256 is 64 hex digits in lower case, found {digest!r}")


def distinct(key: str, names: tuple[str, ...], least: int = 0) -> None:
    """Require that names differ from each other, and that there are at least so many."""
    require(len(set(names)) == len(names), f"{key} names one twice: {list(names)}")
    require(len(names) >= least, f"{key} is an empty list; give at least {least}")
