"""Acquisition: the archives a user placed are checked, hashed and unpacked, or a user's own folder is listed.

Nothing is downloaded: every catalogue dataset sits behind an account, a form or a share page. What is
written: `raw/` (whole, by rename) and then `acquired.json`, the proof that it is whole.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.catalog.entry import Archive, Entry
from bench.data.extract import CHUNK, unpack
from bench.data.staging import staged
from bench.errors import BenchError
from bench.lock import say
from bench.record import sha256_file, write_json

SCHEMA = 1
MARKER = ".unpacked.json"
"""Written inside raw/ before it gets its name: which archives it was made from."""
SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
MAGIC = {".zip": (0, b"PK"), ".tar.gz": (0, b"\x1f\x8b"), ".tgz": (0, b"\x1f\x8b"), ".tar": (257, b"ustar")}
PLACES = {"ILSVRC2012_img_train.tar": "train", "ILSVRC2012_img_val.tar": "val"}
"""Where in raw/ an archive is unpacked, if not under its own name without suffix."""
INNER_TARS = ("ILSVRC2012_img_train.tar",)


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
    check_digests: bool = True,
) -> None:
    """Check and unpack the archives of a catalogue entry, which lie in the folder `archives`.

    Writes `out/raw/` and then `out/acquired.json`. `check_digests` holds archives to their published md5; a
    miniature has others. A `raw/` of the same digest and the same archives is kept. Raises BenchError for a
    missing, foreign, cut or unsafe archive, leaving nothing behind.
    """
    (out / "acquired.json").unlink(missing_ok=True)
    sources = _unpack_all(entry, archives, out, digest=digest, check_digests=check_digests)
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
    entry: Entry, archives: Path, out: Path, *, digest: str, check_digests: bool
) -> list[dict[str, Any]]:
    present = require_archives(entry, archives)
    for archive in present:
        _check_magic(archives / archive.path)
    sources = []
    for archive in present:
        path = archives / archive.path
        say(f"hashing {path} ({path.stat().st_size / 1e6:.1f} MB)")
        sources.append(_identify(archive, path, check_digests=check_digests))
    kept = _kept(out / "raw" / MARKER, digest, sources)
    if kept is not None:
        return kept
    with staged(out / "raw") as raw:
        for archive, source in zip(present, sources, strict=True):
            place = PLACES.get(archive.path, _stem(archive.path))
            inner_tars = archive.path in INNER_TARS
            say(f"unpacking {archives / archive.path}")
            source["members"] = unpack(archives / archive.path, raw / place, inner_tars=inner_tars)
        write_json(raw / MARKER, {"digest": digest, "sources": sources})
    return sources


def require_archives(entry: Entry, archives: Path) -> list[Archive]:
    """Return the archives at hand, or say in one sentence which ones are missing and how to come by them."""
    missing = [a.path for a in entry.archives if not a.optional and not (archives / a.path).is_file()]
    if missing:
        raise BenchError(
            f"{entry.title}: {len(missing)} of its archives "
            f"{'is' if len(missing) == 1 else 'are'} not in {archives} ({', '.join(missing)}); "
            f"get {'it' if len(missing) == 1 else 'them'} from {entry.where} under these terms: "
            f"{entry.terms}; "
            f"and place {'it' if len(missing) == 1 else 'them'} in that folder under exactly "
            f"{'this name' if len(missing) == 1 else 'these names'}"
        )
    return [archive for archive in entry.archives if (archives / archive.path).is_file()]


def _stem(path: str) -> str:
    for suffix in SUFFIXES:
        if path.endswith(suffix):
            return path.removesuffix(suffix)
    raise ValueError(f"{path}: an archive is one of {SUFFIXES}")


def _check_magic(path: Path) -> None:
    """Raise BenchError unless the first bytes are those of the format that the name promises."""
    suffix = next(suffix for suffix in SUFFIXES if path.name.endswith(suffix))
    with path.open("rb") as stream:
        head = stream.read(1024)
    if not head:
        raise BenchError(f"{path}: the file is empty; download it again")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        raise BenchError(
            f"{path}: an HTML page, not a {suffix} archive: a login or warning page was saved in its place; "
            f"download the file itself"
        )
    start, magic = MAGIC[suffix]
    if head[start : start + len(magic)] != magic:
        raise BenchError(
            f"{path}: not a {suffix} archive (it begins with {head[:4].hex(' ')}); download it again"
        )


def _identify(archive: Archive, path: Path, *, check_digests: bool) -> dict[str, Any]:
    """Return path, bytes, sha256 of an archive and what became of its published md5, all in one reading."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    compare = check_digests and archive.md5 is not None
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            sha256.update(chunk)
            if compare:
                md5.update(chunk)
    if compare and md5.hexdigest() != archive.md5:
        raise BenchError(f"{path}: md5 is {md5.hexdigest()}, published is {archive.md5}; download it again")
    checked = "checked" if compare else "not published" if archive.md5 is None else "not checked"
    return {"path": archive.path, "bytes": path.stat().st_size, "sha256": sha256.hexdigest(), "md5": checked}


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
