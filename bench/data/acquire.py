"""Acquisition: the archives a user placed are checked, hashed and unpacked, or a user's own folder is listed.

Nothing is downloaded here (`fetch` does that, when asked), so a study needs no network. What is written: `raw/`
(whole, by rename) and then `acquired.json`, the proof that it is whole.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.catalog.entry import Entry
from bench.data.extract import unpack
from bench.data.first_use import LOCK, record_first_use
from bench.data.handshake import require_archives
from bench.data.staging import staged
from bench.data.verify import FIRST_USE, verify
from bench.errors import BenchError
from bench.lock import say
from bench.record import sha256_file, write_json

SCHEMA = 1
MARKER = ".unpacked.json"
"""Written inside raw/ before it gets its name: which archives it was made from."""
MEMORY = ".hashed.json"
"""Beside raw/: digests of large archives, reused while those files are untouched."""


@dataclass(frozen=True, kw_only=True)
class Acquired:
    """What acquisition found; `sources` are archives or, for a user's own folder, its files (path, bytes,
    sha256).
    """

    dataset: str
    digest: str
    spec: dict[str, Any]
    kind: str
    sources: list[dict[str, Any]]
    schema: int = SCHEMA


def acquire_archives(
    name: str,
    entry: Entry,
    archives: Path,
    out: Path,
    *,
    digest: str,
    spec: dict[str, Any],
    drawn: bool = False,
    lock: Path = LOCK,
) -> None:
    """Check and unpack the archives of a catalogue entry, which lie in the folder `archives`.

    Writes `out/raw/` and then `out/acquired.json`. Archives are held to their published digests, or to those that
    `lock` recorded at first use, which is done once they are unpacked; `drawn` ones (a miniature's) to none. A `raw/`
    of the same digest and the same archives is kept. Raises BenchError for a missing, foreign, cut or unsafe archive,
    leaving nothing behind.
    """
    (out / "acquired.json").unlink(missing_ok=True)
    sources = _unpack_all(entry, archives, out, digest=digest, drawn=drawn, lock=lock)
    for source in sources:
        if source["checked"] == FIRST_USE:
            path = archives / source["path"]
            record_first_use(entry.name, source["path"], path, source["bytes"], source["sha256"], lock)
    _declare(out, Acquired(dataset=name, digest=digest, spec=spec, kind="archives", sources=sources))


def acquire_folder(name: str, folder: Path, out: Path, *, digest: str, spec: dict[str, Any]) -> None:
    """List and hash a user's own `folder`, which is read where it is and never copied, in
    `out/acquired.json`.

    Raises BenchError if the folder does not exist or holds no files.
    """
    (out / "acquired.json").unlink(missing_ok=True)
    _declare(
        out,
        Acquired(dataset=name, digest=digest, spec=spec, kind="folder", sources=_list_folder(name, folder)),
    )


def _declare(out: Path, acquired: Acquired) -> None:
    write_json(out / "acquired.json", asdict(acquired))


def read_acquired(path: Path) -> Acquired:
    """Read `acquired.json` strictly; raises BenchError if it is missing or not of this version."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        acquired = Acquired(**value)
    except FileNotFoundError:
        raise BenchError(f"{path}: the dataset was not acquired; run acquire first") from None
    except (json.JSONDecodeError, TypeError) as error:
        raise BenchError(f"{path}: not written by acquire ({error}); run acquire again") from None
    if acquired.schema != SCHEMA:
        raise BenchError(f"{path}: schema {acquired.schema}, expected {SCHEMA}; run acquire again")
    return acquired


def _unpack_all(
    entry: Entry, archives: Path, out: Path, *, digest: str, drawn: bool, lock: Path
) -> list[dict[str, Any]]:
    present = require_archives(entry, archives).present
    sources = [
        verify(
            entry.name,
            archive,
            archives / archive.path,
            drawn=drawn,
            lock=lock,
            memory=None if drawn else out / MEMORY,
        )
        for archive in present
    ]
    kept = _kept(out / "raw" / MARKER, digest, sources)
    if kept is not None:
        return kept
    with staged(out / "raw") as raw:
        for archive, source in zip(present, sources, strict=True):
            say(f"unpacking {archives / archive.path}")
            source["members"] = unpack(
                archives / archive.path, raw / archive.folder, inner_tars=archive.inner_tars
            )
        write_json(raw / MARKER, {"digest": digest, "sources": sources})
    return sources


def _kept(marker: Path, digest: str, sources: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Return the sources a whole `raw/` was made from if they are the same ones, None if it is to be made."""
    try:
        value = json.loads(marker.read_text(encoding="utf-8"))
        found: list[dict[str, Any]] = value["sources"]
        plain = [{key: item[key] for key in item if key != "members"} for item in found]
        return found if value["digest"] == digest and plain == sources else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _list_folder(name: str, folder: Path) -> list[dict[str, Any]]:
    """Return every file of a user's folder with its size and sha256, sorted by path."""
    if not folder.is_dir():
        raise BenchError(
            f"{name}: no folder {folder}; the study's path is read below the data root (BENCH_DATA)"
        )
    files = sorted(_files(folder))
    if not files:
        raise BenchError(f"{name}: the folder {folder} holds no files")
    return [
        {
            "path": path.relative_to(folder).as_posix(),
            "bytes": path.stat().st_size,
            "sha256": sha256_file(path),
        }
        for path in files
    ]


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
