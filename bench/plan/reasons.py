"""Why a result no longer belongs to the study: what its record says of its settings, against what the study says."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.record import read_record

SHOWN = 3
"""Changed settings that one reason spells out; the rest are counted."""


def stored(path: Path) -> dict[str, Any]:
    """Return what a record, manifest or acquisition says of itself: digest, spec, inputs (empty where unreadable)."""
    try:
        if path.name == "record.json":
            record = read_record(path)
            return {"digest": record.digest, "spec": record.spec, "inputs": record.inputs}
        value = json.loads(path.read_text(encoding="utf-8"))
        return {"digest": str(value["digest"]), "spec": value.get("spec", {}), "inputs": {}}
    except (BenchError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return {"digest": "", "error": " ".join(str(error).split())}


def why_stale(held: Mapping[str, Any], spec: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Return in words how a stored result differs from the one that the study asks for.

    Its own settings as `key: old -> new`; where they agree, what upstream of it is another.
    """
    if not held["digest"]:
        return f"unreadable: {held.get('error', 'no digest')}"
    if not held["spec"]:
        return "made by another study or version"
    found = list(differences(held["spec"], spec))
    # A setting that is new and off explains least.
    found.sort(key=lambda change: (change[1], change[2]) == (UNSET, "null"))
    changes = [f"{key}: {old} -> {new}" for key, old, new in found]
    if changes:
        more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
        return "; ".join(changes[:SHOWN]) + more
    before: Mapping[str, str] = held["inputs"]
    named = [
        *(f"{name} is another" for name in inputs if name in before and before[name] != inputs[name]),
        *(f"{name} is new" for name in inputs if name not in before),
        *(f"{name} is gone" for name in before if name not in inputs),
    ]
    if not named:
        return "upstream of it the data are others"
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return "upstream: " + "; ".join(named[:SHOWN]) + more


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (key, old value, new value) for each leaf in which two settings differ; `unset` where there is none."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            inner = f"{path}.{key}" if path else str(key)
            yield from differences(old.get(key, UNSET), new.get(key, UNSET), inner)
    elif _plain(old) != _plain(new):
        yield path, _shown(old), _shown(new)


UNSET = "unset"


def _plain(value: Any) -> Any:
    """A tuple in a spec is a list in a record."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."
