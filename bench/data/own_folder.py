"""A user's own folder: its files listed with their digests, and compared with that list before they are prepared."""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.record import sha256_file

SETTLED = 2.0
"""Seconds by which a file must be older than its list to be taken as it stands there: clocks are coarse."""
NAMED = 3
"""Files that a message names before it counts the rest."""


def list_folder(name: str, folder: Path) -> list[dict[str, Any]]:
    """Return every file of the user's `folder` with its size and sha256, sorted by path.

    Hidden files are passed over, linked folders entered. Raises BenchError if there is no folder, no file in it, or
    if a file changes while the list is made.
    """
    if not folder.is_dir():
        raise BenchError(
            f"{name}: no folder {folder}; the study's path is read below the data root (BENCH_DATA)"
        )
    files = sorted(_files(folder))
    if not files:
        raise BenchError(f"{name}: the folder {folder} holds no files")
    before = [_facts(path) for path in files]
    listed = [
        {
            "path": path.relative_to(folder).as_posix(),
            "bytes": path.stat().st_size,
            "sha256": sha256_file(path),
        }
        for path in files
    ]
    for path, facts in zip(files, before, strict=True):
        if _facts(path) != facts:
            raise BenchError(
                f"{path}: changed while it was read; let what writes there end, and run acquire again"
            )
    return listed


def digest_of_list(sources: list[dict[str, Any]]) -> str:
    """Return one SHA-256 for a whole folder: of the lines that `sha256sum` prints for its files, sorted by path.

    config/README.md has the command that prints it.
    """
    lines = sorted((str(item["path"]), f"{item['sha256']}  {item['path']}\n") for item in sources)
    return hashlib.sha256("".join(line for _, line in lines).encode()).hexdigest()


def require_expected(name: str, folder: Path, sources: list[dict[str, Any]], expected: str | None) -> None:
    """Raise BenchError if a study names the digest of a folder's list and this folder has another."""
    found = digest_of_list(sources)
    if expected is not None and found != expected:
        raise BenchError(
            f"{name}: {folder} holds {len(sources)} files of digest {found}, and the study was declared on files of "
            f"digest {expected}: get those, or leave sha256 out of a copy of the study to run it on yours"
        )


def require_unchanged(name: str, folder: Path, sources: list[dict[str, Any]], listed: Path) -> None:
    """Raise BenchError, naming them, if files of `folder` are not those of `sources`, which the file `listed` holds.

    Paths and sizes of all are compared, and the digests of those that were written, renamed or linked since `listed`
    was (times of change and of content); so nothing is read twice that has lain still.
    """
    if not folder.is_dir():
        raise BenchError(f"{name}: no folder {folder}, which was there when it was acquired; bring it back")
    there = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    known = {str(item["path"]): item for item in sources}
    since = listed.stat().st_mtime - SETTLED
    odd = [f"{path} is gone" for path in sorted(set(known) - set(there))]
    odd += [f"{path} is new" for path in sorted(set(there) - set(known))]
    for path in sorted(set(known) & set(there)):
        facts, item = there[path].stat(), known[path]
        moved = max(facts.st_mtime, facts.st_ctime) >= since
        if facts.st_size != item["bytes"] or (moved and sha256_file(there[path]) != item["sha256"]):
            odd.append(f"{path} is another")
    if odd:
        more = f" and {len(odd) - NAMED} more" if len(odd) > NAMED else ""
        written = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(listed.stat().st_mtime))
        raise BenchError(
            f"{name}: {folder} was changed since it was acquired ({written}): {', '.join(odd[:NAMED])}{more}; "
            "run acquire again, so that the record names the files that are prepared"
        )


def _facts(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below `folder` but hidden ones; linked folders are entered, each once."""
    entered: set[str] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (
            Path(here, name) for name in files if not name.startswith(".") and Path(here, name).is_file()
        )
