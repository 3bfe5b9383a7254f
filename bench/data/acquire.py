"""Acquisition: the archives a user placed are checked, hashed and unpacked, or a user's own folder is listed.

Nothing is downloaded here (`fetch` does that, when asked), so a study needs no network. What is written: `raw/`
(whole, by rename) and then `acquired.json`, the proof that it is whole.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.catalog.entry import Entry
from bench.data.extract import unpack
from bench.data.first_use import LOCK, record_first_use
from bench.data.handshake import require_archives
from bench.data.members import census, names_below, require_members
from bench.data.own_folder import list_folder, require_expected
from bench.data.staging import staged
from bench.data.verify import FIRST_USE, verify
from bench.errors import BenchError
from bench.lock import say
from bench.record import write_json

SCHEMA = 1
MARKER = ".unpacked.json"
"""Written inside raw/ before it gets its name: which archives it was made from, and what was unpacked."""
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
    files: str = ""
    """Fingerprint of the user's files as they lay there (`bench.study.files`); empty where nobody took it."""
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
    files: str = "",
) -> None:
    """Check and unpack the archives of a catalogue entry, which lie in the folder `archives`.

    Writes `out/raw/` and then `out/acquired.json`. Archives are held to their published digests, or to those that
    `lock` recorded at first use, which is done once they are unpacked and hold what the catalogue says; `drawn` ones
    (a miniature's) to none. A `raw/` of the same digest and the same archives is kept if no file in it was changed
    since, and else made anew. Raises BenchError for a missing, foreign, cut or unsafe archive,
    leaving nothing behind.
    """
    (out / "acquired.json").unlink(missing_ok=True)
    sources = _unpack_all(entry, archives, out, digest=digest, drawn=drawn, lock=lock)
    for source in sources:
        if source["checked"] == FIRST_USE:
            path = archives / source["path"]
            record_first_use(entry.name, source["path"], path, source["bytes"], source["sha256"], lock)
    _declare(
        out,
        Acquired(dataset=name, digest=digest, spec=spec, kind="archives", sources=sources, files=files),
    )


def acquire_folder(
    name: str,
    folder: Path,
    out: Path,
    *,
    digest: str,
    spec: dict[str, Any],
    expected: str | None = None,
    files: str = "",
) -> None:
    """List and hash a user's own `folder`, which is read where it is and never copied, in
    `out/acquired.json`.

    Raises BenchError if the folder does not exist or holds no files, or is not the one that the study expects by the
    digest of its list (`own_folder.digest_of_list`).
    """
    (out / "acquired.json").unlink(missing_ok=True)
    sources = list_folder(name, folder)
    require_expected(name, folder, sources, expected)
    _declare(
        out, Acquired(dataset=name, digest=digest, spec=spec, kind="folder", sources=sources, files=files)
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
    kept = _kept(out / "raw", digest, sources)
    if kept is not None:
        return kept
    with staged(out / "raw") as raw:
        for archive, source in zip(present, sources, strict=True):
            say(f"unpacking {archives / archive.path}")
            source["members"] = unpack(
                archives / archive.path, raw / archive.folder, inner_tars=archive.inner_tars
            )
            if archive.holds:
                names = names_below(raw / archive.folder)
                require_members(archive, archives / archive.path, names, counted=not drawn)
        write_json(raw / MARKER, {"digest": digest, "sources": sources, "census": census(raw)})
    return sources


def _kept(raw: Path, digest: str, sources: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Return the sources a whole `raw/` was made from if they and its files are the same ones, None otherwise."""
    try:
        value = json.loads((raw / MARKER).read_text(encoding="utf-8"))
        found: list[dict[str, Any]] = value["sources"]
        plain = [{key: item[key] for key in item if key != "members"} for item in found]
        if value["digest"] != digest or plain != sources:
            return None
        if (now := census(raw)) != value["census"]:
            say(
                f"{raw}: files were changed, added or removed since they were unpacked ({now['files']} now, "
                f"{value['census']['files']} then); unpacking anew"
            )
            return None
        return found
    except (OSError, ValueError, KeyError, TypeError):
        return None
