"""Digests recorded at first use, for archives whose publisher gives none: a small file to be committed.

`config/archives.lock` is a CSV: dataset, path, bytes, sha256, date. It only grows; what differs from it is an error
that says how the new file is accepted. So a study run again, or by somebody else, starts from the same bytes. A line
is written only for an archive that could be read to its end: a cut download is not made the standard.
"""

import csv
import fcntl
import io
import os
import time
from pathlib import Path

from bench.errors import BenchError, RequestError
from bench.lock import say

LOCK = Path("config/archives.lock")
COLUMNS = ("dataset", "path", "bytes", "sha256", "first_seen")


def compare_first_use(dataset: str, name: str, path: Path, size: int, sha256: str, lock: Path) -> None:
    """Raise BenchError if `lock` holds another digest for the archive `name` of a dataset, which lies at `path`."""
    row = read_first_use(lock).get((dataset, name))
    if row is not None:
        _compare(row, path, size, sha256, lock)


def record_first_use(dataset: str, name: str, path: Path, size: int, sha256: str, lock: Path) -> None:
    """Add the line of an archive to `lock`, or compare it with the one that is there.

    Safe beside other processes that do the same. Raises BenchError if the digest differs or the file cannot be
    understood, RequestError if the folder of `lock` does not exist.
    """
    if not lock.parent.is_dir():
        raise RequestError(
            f"{lock}: its folder does not exist here ({Path.cwd()}); run from the top folder of the repository, where "
            "the digests of archives are recorded at first use"
        )
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    with os.fdopen(descriptor, "r+", encoding="utf-8", newline="") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        text = stream.read()
        whole = text[: text.rfind("\n") + 1]  # a line torn by a crash was never acknowledged
        known = _parse(whole, lock)
        if (dataset, name) in known:
            _compare(known[dataset, name], path, size, sha256, lock)
            return
        stream.seek(len(whole.encode()))
        stream.truncate()
        row = (dataset, name, size, sha256, time.strftime("%Y-%m-%d"))
        stream.write(("" if whole else _line(COLUMNS)) + _line(row))
        stream.flush()
        os.fsync(stream.fileno())
    say(f"{path}: no digest is published; sha256 {sha256} recorded in {lock}, to be committed")


def read_first_use(lock: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Return the recorded lines by dataset and archive; {} where there is no file yet."""
    try:
        text = lock.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    return _parse(text[: text.rfind("\n") + 1], lock)


def _line(row: tuple[object, ...]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue()


def _parse(text: str, lock: Path) -> dict[tuple[str, str], dict[str, str]]:
    rows = list(csv.reader(text.splitlines()))
    if rows and tuple(rows[0]) != COLUMNS:
        raise BenchError(
            f"{lock}: begins with {rows[0]}, expected the columns {list(COLUMNS)}; restore it from version control"
        )
    found: dict[tuple[str, str], dict[str, str]] = {}
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(COLUMNS) or (row[0], row[1]) in found:
            raise BenchError(
                f"{lock}: line {number} is {row}; expected {len(COLUMNS)} fields and each archive once; restore it "
                "from version control"
            )
        found[row[0], row[1]] = dict(zip(COLUMNS, row, strict=True))
    return found


def _compare(row: dict[str, str], path: Path, size: int, sha256: str, lock: Path) -> None:
    if (row["bytes"], row["sha256"]) != (str(size), sha256):
        raise BenchError(
            f"{path}: sha256 is {sha256} ({size} bytes), {lock} recorded {row['sha256']} ({row['bytes']} bytes) at "
            f"its first use on {row['first_seen']}; the file was damaged or replaced: remove it and download it again, "
            f"or, if this one is right, remove its line from {lock} and run again"
        )
