"""What an unpacked archive must hold, and whether the files that were unpacked are still the same ones.

Where no digest is published, the first file that is used becomes the standard. So that no foreign archive does, the
catalogue says which files the published one has, and that is asked before its digest is recorded.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.catalog.entry import Archive
from bench.errors import BenchError


def require_members(archive: Archive, path: Path, names: Sequence[str], *, counted: bool = True) -> None:
    """Raise BenchError unless `names`, the members of the archive at `path`, are those of the published one.

    `names` are paths with `/` inside the archive. Not `counted` (a miniature's): one file of each kind suffices.
    """
    for kind in archive.holds:
        wanted = kind.at_least if counted else 1
        found = sum(re.search(kind.pattern, name) is not None for name in names)
        if found < wanted:
            first = f"; its first file is {min(names)}" if names else ""
            raise BenchError(
                f"{path}: {found} of its {len(names)} files match {kind.pattern}, of the published archive "
                f"{wanted:,} or more do{first}; it is another archive or not whole, and its digest is not "
                "recorded: remove it and download it again"
            )


def names_below(folder: Path) -> list[str]:
    """Return the files below `folder` by their paths in it, with `/`."""
    return [path.relative_to(folder).as_posix() for path in _files(folder)]


def census(folder: Path) -> dict[str, Any]:
    """Return the number of files below `folder` and one digest of their paths, sizes and times of change.

    Hidden files are passed over: a file manager's are none of the data. Millions of files take seconds, not the hours
    of reading them; contents that were changed and given back their size and time are not noticed.
    """
    lines = []
    for path in _files(folder):
        facts = path.stat(follow_symlinks=False)
        lines.append(
            b"%s\0%d\0%d\n" % (os.fsencode(path.relative_to(folder)), facts.st_size, facts.st_mtime_ns)
        )
    return {"files": len(lines), "digest": hashlib.sha256(b"".join(sorted(lines))).hexdigest()}


def _files(folder: Path) -> Iterator[Path]:
    for here, _, files in os.walk(folder):
        yield from (Path(here, name) for name in files if not name.startswith("."))
