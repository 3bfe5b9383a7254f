"""Checks of what follows from the counts: comparison, tables, figures; and of the seal of a published folder."""

import csv
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.check.folder import Folder
from bench.publish.light import SEAL, files_of
from bench.publish.lighter import left_out
from bench.publish.regenerate import recompare
from bench.record import sha256_file
from bench.report.examples import FILE as EXAMPLES
from bench.report.tables import write_tables
from bench.study.outputs import figure_names

STABLE = ("cost", "receipts", "notes")
"""Tables of circumstances: they follow from receipts and not from counts."""
TOLERANCE = 1e-9
"""Relative: another processor may round the last digits of an interval otherwise; a table would not show it."""


def comparison(folder: Folder) -> Iterator[str]:
    """Find rows of compare/*.csv that do not follow from the counts and the paper's numbers."""
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        recompare(folder.study, folder.path, made, paper=folder.paper)
        for path in sorted(made.glob("*.csv")):
            given = folder.path / "compare" / path.name
            if not given.is_file():
                yield f"compare/{path.name}: missing; it follows from the counts"
                continue
            yield from _row_differences(given, path)


def _row_differences(given: Path, made: Path) -> Iterator[str]:
    """Yield the first cell in which two CSV files differ."""
    said, again = _rows(given), _rows(made)
    if len(said) != len(again):
        yield f"compare/{given.name}: {len(said) - 1} rows; the counts give {len(again) - 1}"
        return
    for number, (one, other) in enumerate(zip(said, again, strict=True), start=1):
        for column, (here, there) in enumerate(zip(one, other, strict=False)):
            if not _close(here, there):
                where = f"compare/{given.name}, line {number}"
                yield f"{where}: {again[0][column]} is {here or 'empty'}; the counts give {there or 'nothing'}"
                return
        if len(one) != len(other):
            yield f"compare/{given.name}, line {number}: {len(one)} cells; expected {len(other)}"
            return


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def _close(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        here, there = float(one), float(other)
    except ValueError:
        return False
    return abs(here - there) <= TOLERANCE * max(1.0, abs(there))


def tables(folder: Folder) -> Iterator[str]:
    """Find tables that are missing or whose bytes do not follow from the folder's comparison."""
    with tempfile.TemporaryDirectory() as name:
        for path in write_tables(folder.study, folder.path / "compare", Path(name)):
            given = folder.path / "tables" / path.name
            if not given.is_file():
                yield f"tables/{path.name}: missing"
            elif given.read_bytes() != path.read_bytes():
                yield f"tables/{path.name}: {_first_line(given, path)}"


def _first_line(given: Path, made: Path) -> str:
    said, again = (path.read_text(encoding="utf-8", errors="replace").splitlines() for path in (given, made))
    for number, (one, other) in enumerate(zip(said, again, strict=False), start=1):
        if one != other:
            return f"line {number} does not follow from the comparison: {_beginning(one, other)}"
    return f"{len(said)} lines; the comparison gives {len(again)}"


def _beginning(one: str, other: str) -> str:
    """Return both lines around the place where they part."""
    place = next((i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
    start = max(0, place - 10)
    return f"found {one[start : place + 20]!r}, expected {other[start : place + 20]!r}"


def figures(folder: Folder) -> Iterator[str]:
    """Find figures of the study that are missing, but for those that a published study says it leaves out.

    And what shows scenes in a published study whose pictures are local.
    """
    absent = left_out(folder.path)
    if folder.study.pictures == "local" and (folder.path / SEAL).is_file():
        for path in sorted([*folder.path.rglob("pictures_*"), *folder.path.rglob(EXAMPLES)]):
            name = path.relative_to(folder.path).as_posix()
            yield f"{name}: shows scenes, which the study keeps local; remove it"
    for name in figure_names(folder.study):
        if "pictures" in absent and name.startswith("pictures_"):
            continue
        for ending in ("png",) if "pdf" in absent else ("png", "pdf"):
            if not (folder.path / "figures" / f"{name}.{ending}").is_file():
                yield f"figures/{name}.{ending}: missing"


def seal(folder: Folder) -> Iterator[str]:
    """Find files of a published folder that were changed, added or removed since; other folders have no seal."""
    path = folder.path / SEAL
    if not path.is_file():
        return
    try:
        sums = json.loads(path.read_text(encoding="utf-8"))["files"]
    except (json.JSONDecodeError, KeyError) as error:
        yield f"{SEAL}: cannot be read ({error}); expected the SHA-256 of each file"
        return
    there = {found.relative_to(folder.path).as_posix(): found for found in files_of(folder.path)}
    yield from (f"{name}: removed since it was published" for name in sorted(set(sums) - set(there)))
    yield from (f"{name}: added since it was published" for name in sorted(set(there) - set(sums)))
    for name in sorted(set(sums) & set(there)):
        if sha256_file(there[name]) != sums[name]:
            yield f"{name}: changed since it was published"
