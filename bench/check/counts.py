"""Checks of the counts: their bytes and shape, the samples they are of, the scores and alarms that follow."""

import csv
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np

from bench.check.folder import Folder
from bench.metrics import scores
from bench.record import Record, sha256_file


def counts(folder: Folder) -> Iterator[str]:
    """Find counts whose bytes, type, shape or sign are not as their record says."""
    for place, record in folder.of_stage("evaluate").items():
        path = folder.path / place / "counts.npz"
        if path.is_file() and sha256_file(path) != record.extra["counts_sha256"]:
            said = record.extra["counts_sha256"][:12]
            yield f"{place}/counts.npz: SHA-256 {sha256_file(path)[:12]}; the record says {said}"
        arrays, extra = folder.arrays(place, "counts.npz"), record.extra
        shape = (len(extra["cells"]), len(extra["samples"]), len(extra["classes"]), len(extra["classes"]))
        for rule in extra["pixels"]:
            array = arrays.get(f"counts/{rule}")
            if array is None or array.dtype != np.int64 or array.shape != shape:
                found = "missing" if array is None else f"{array.dtype} {array.shape}"
                yield f"{place}/counts.npz: counts/{rule} is {found}; expected int64 {shape}"
            elif array.min() < 0:
                yield f"{place}/counts.npz: counts/{rule} holds {array.min()}; expected numbers of pixels"
            elif len({tuple(cell.sum(axis=(1, 2))) for cell in array}) > 1:
                yield f"{place}/counts.npz: counts/{rule}: cells counted different numbers of pixels of one sample"
    for place, record in folder.of_stage("top1").items():
        for order in (*record.extra["orders"], *record.extra.get("disturbances", ())):
            flags = folder.arrays(place, "correct.npz").get(f"correct/{order}")
            if flags is None or flags.dtype != np.bool_ or len(flags) != len(record.extra["cells"]):
                found = "missing" if flags is None else f"{flags.dtype} {flags.shape}"
                wanted = f"({len(record.extra['cells'])}, images)"
                yield f"{place}/correct.npz: correct/{order} is {found}; expected bool {wanted}"


def samples(folder: Folder) -> Iterator[str]:
    """Find evaluated samples that are not those of the manifest's evaluation split, each once, in its order."""
    for place, record in folder.of_stage("evaluate").items():
        manifest = folder.manifests.get(record.names["dataset"])
        if manifest is None:
            yield f"{place}: no manifest of {record.names['dataset']} to hold its samples against"
            continue
        split = manifest["evaluation_split"]
        wanted, found = manifest["splits"][split], record.extra["samples"]
        twice = (
            sorted({name for name in found if found.count(name) > 1}) if len(set(found)) < len(found) else []
        )
        yield from (f"{place}: sample {name} is evaluated twice" for name in twice)
        for words, names in (
            ("not evaluated though the manifest's split", sorted(set(wanted) - set(found))),
            ("evaluated and not in the manifest's split", sorted(set(found) - set(wanted))),
        ):
            if names:
                shown = ", ".join(map(str, names[:5])) + (
                    f" and {len(names) - 5} more" if len(names) > 5 else ""
                )
                yield f"{place}: {words} {split}: {shown}"
        if len(record.extra["units"]) != len(found):
            yield f"{place}: {len(record.extra['units'])} units for {len(found)} samples"
        yield from _units(place, record, manifest, wanted)
        trained = set(manifest["splits"].get("train", ()))
        if shared := sorted(trained & set(found)):
            yield f"{place}: {len(shared)} evaluated samples are in the training split, such as {shared[0]}"


def _units(place: str, record: Record, manifest: dict[str, Any], split: list[str]) -> Iterator[str]:
    """Find samples whose unit is another than the manifest's: units that are split up narrow every interval."""
    if manifest.get("samples"):
        declared = {name: sample["unit"] for name, sample in manifest["samples"].items()}
    else:  # a published manifest has the units of its evaluation split alone
        declared = dict(zip(split, manifest.get("units", ()), strict=False))
    for name, unit in zip(record.extra["samples"], record.extra["units"], strict=False):
        if name in declared and str(unit) != str(declared[name]):
            yield f"{place}: sample {name} is counted to unit {unit}; the manifest says {declared[name]}"
            return


def metrics(folder: Folder) -> Iterator[str]:
    """Find recorded scores that do not follow from the counts."""
    for place, record in folder.of_stage("evaluate").items():
        arrays, classes = folder.arrays(place, "counts.npz"), record.extra["classes"]
        leave_out = [classes.index(name) for name in record.spec.get("leave_out", ())]
        for index, cell in enumerate(record.extra["cells"]):
            for rule in record.extra["pixels"]:
                again = scores(arrays[f"counts/{rule}"][index].sum(axis=0), classes, leave_out)
                said = record.metrics[str(index)][rule]
                wrong = [
                    name for name, value in again.items() if name in said and not _equal(said[name], value)
                ]
                if wrong:
                    yield (
                        f"{place}: {cell['arm']}/seed{cell['seed']}, {rule}: {wrong[0]} is recorded as "
                        f"{said[wrong[0]]}; the counts give {again[wrong[0]]}"
                    )


def _equal(said: float | None, value: float | None) -> bool:
    if said is None or value is None:
        return said is value
    return abs(said - value) <= 1e-12


def differences(folder: Folder) -> Iterator[str]:
    """Find runs of different specs with bit-identical counts of which no alarm speaks.

    An alarm holds a run against the first of its kind, so two runs that share that first one are declared too.
    """
    path = folder.path / "compare" / "alarms.csv"
    declared = set[frozenset[str]]()
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as stream:
            alarms = [(row["first"], row["second"]) for row in csv.DictReader(stream)]
        of_kind: dict[str, set[str]] = {}
        for one, other in alarms:
            of_kind.setdefault(one, {one}).add(other)
        declared = {frozenset(pair) for kind in of_kind.values() for pair in combinations(sorted(kind), 2)}
    for place, record in folder.of_stage("evaluate").items():
        arrays = folder.arrays(place, "counts.npz")
        for (i, first), (j, second) in combinations(enumerate(record.extra["cells"]), 2):
            same = all(
                np.array_equal(arrays[f"counts/{r}"][i], arrays[f"counts/{r}"][j])
                for r in record.extra["pixels"]
            )
            titles = _title(record, first), _title(record, second)
            if same and first["digest"] != second["digest"] and frozenset(titles) not in declared:
                both = " and ".join(titles)
                yield f"{place}: {both} have bit-identical counts, and compare/alarms.csv does not say so"


def _title(record: Record, cell: dict[str, object]) -> str:
    return f"{record.names['dataset']}/{record.names['backbone']}/{cell['arm']}/seed{cell['seed']}"
