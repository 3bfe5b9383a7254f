"""Are the arms held against each other alike in everything but what an arm is? What may not differ is refused, what
may is noted: mixed commits, versions and devices, by name.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.errors import BenchError
from bench.record import Record, canonical_json
from bench.stats.scores import Evaluated

ARM = {"start", "stem", "repetition"}
"""What fine-tunings of one dataset and backbone may differ in: the arm and the repetition."""
STRATEGY = {"strategy", "settings", "channels", "repetition"}
"""What pre-trainings of one backbone may differ in."""

RECIPE = "recipe of "
"""Kind of note: the pre-trainings of a backbone differ in their recipe."""


def check_evaluations(evaluated: Sequence[Evaluated]) -> None:
    """Raise BenchError where two backbones of a dataset were scored on other samples, units, classes or settings."""
    first: dict[str, Evaluated] = {}
    for found in evaluated:
        known = first.setdefault(found.dataset, found)
        for what, here, there in (
            ("classes", found.classes, known.classes),
            ("samples", found.record.extra["samples"], known.record.extra["samples"]),
            ("units", found.record.extra["units"], known.record.extra["units"]),
            ("groups", found.record.extra.get("groups"), known.record.extra.get("groups")),
            ("settings", _settings(found.record), _settings(known.record)),
        ):
            if here != there:
                both = f"{found.dataset}/{found.backbone} and {found.dataset}/{known.backbone}"
                raise BenchError(
                    f"{both} were scored under different protocols: their {what} differ "
                    f"({_difference(here, there)}); run both evaluations again"
                )


def _settings(record: Record) -> dict[str, Any]:
    return {key: value for key, value in record.spec.items() if key not in ("backbone", "dataset")}


def check_arms(records: Iterable[Record]) -> None:
    """Raise BenchError where two fine-tunings of a dataset and backbone differ in more than arm and repetition.

    Their specs and their selection are compared; a comparison of 80,000 with 160,000 iterations says nothing
    about what was pre-trained. The message names both runs and the settings.
    """
    first: dict[tuple[Any, Any], Record] = {}
    for record in records:
        if record.stage != "finetune":
            continue
        known = first.setdefault((record.names.get("dataset"), record.names.get("backbone")), record)
        here, there = ({"selection": r.selection} | _without(r.spec, ARM) for r in (record, known))
        if here != there:
            raise BenchError(
                f"{name_of(record)} and {name_of(known)} were trained under different protocols: "
                f"{_difference(here, there)}; arms of one dataset and backbone may differ in start and stem alone: run "
                "one of them again"
            )


def _without(spec: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key not in keys}


def _difference(here: Any, there: Any, path: str = "") -> str:
    """Say in which leaf two values differ first: `recipe.iterations: 80000 and 160000`."""
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        for key in [*here, *(k for k in there if k not in here)]:
            if here.get(key) != there.get(key):
                return _difference(here.get(key), there.get(key), f"{path}.{key}" if path else key)
    if isinstance(here, list | tuple) and isinstance(there, list | tuple):
        if len(here) != len(there):
            return f"{f'{path}: ' if path else ''}{len(here)} and {len(there)}"
        for index, (one, other) in enumerate(zip(here, there, strict=True)):
            if one != other:
                return _difference(one, other, f"{path}[{index}]")
    return f"{f'{path}: ' if path else ''}{here} and {there}"


def name_of(record: Record) -> str:
    """Return a record's names as a path: mfnet/swin/csp/seed0."""
    order = ["dataset", "backbone", "arm", "label"]
    known = [key for key in order if key in record.names]
    rest = sorted(key for key in record.names if key not in order and key != "study")
    return "/".join(
        str(record.names[key]) if key in order else f"{key}{record.names[key]}" for key in known + rest
    )


def note_rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return the rows of notes.csv: for each circumstance in which the study's runs differ, a row a value.

    Commit, uncommitted changes, device, Python and the version of each package over all records; the recipe over the
    pre-trainings of a backbone, of which published weights tell none. Uncommitted changes are noted even where
    every run has them: the commit does not say then what ran.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for record in records:
        name = f"{record.stage} {name_of(record)}"
        packages = record.receipt.get("packages") or {}
        seen = {key: record.receipt.get(key) for key in ("commit", "python", "device", "machine")}
        seen |= {f"package {package}": version for package, version in packages.items()}
        if record.receipt.get("dirty") is not None:
            seen["uncommitted changes"] = "yes" if record.receipt["dirty"] else "no"
        if record.stage == "pretrain":
            kind = f"{RECIPE}{record.names.get('backbone')}"
            recipe, published = record.spec.get("recipe"), record.spec.get("published")
            seen[kind] = canonical_json(recipe) if recipe and not published else None
            if published:
                seen[kind] = f"published weights {published.get('timm') or published.get('sha256', '')[:12]}"
        for kind, value in seen.items():
            if value is not None:
                found.setdefault(kind, {}).setdefault(str(value), []).append(name)
    rows = []
    for kind, values in found.items():
        if kind.startswith(RECIPE):
            values = _apart(values)
        mixed = len(values) > 1
        if not mixed and (kind, list(values)) != ("uncommitted changes", ["yes"]):
            continue
        for value, names in values.items():
            rows.append(
                {
                    "kind": kind,
                    "value": value,
                    "runs": ";".join(sorted(names)),
                    "reason": _reason(kind, mixed),
                }
            )
    return rows


def _apart(recipes: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return recipes by the settings in which they differ, in words, instead of by their JSON."""
    read = {text: json.loads(text) for text in recipes if text.startswith("{")}
    keys = sorted({key for recipe in read.values() for key in recipe})
    differing = [
        key for key in keys if len({canonical_json(recipe.get(key)) for recipe in read.values()}) > 1
    ]
    words = {
        text: ", ".join(f"{key} {_said(recipe.get(key))}" for key in differing) or "trained here"
        for text, recipe in read.items()
    }
    return {words.get(text, text): names for text, names in recipes.items()}


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _reason(kind: str, mixed: bool) -> str:
    if kind == "uncommitted changes":
        return "code differed from its commit: the commit does not say what ran"
    if kind.startswith(RECIPE):
        return "pre-trainings under different recipes: a difference between arms may be one between recipes"
    return f"runs of one study differ in {kind}: a difference between arms may be one between circumstances"
