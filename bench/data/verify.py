"""One archive against what is known of it: first bytes, size, published digests, or the digest of its first use.

Hashing ImageNet's training tar takes many minutes, so a digest may be remembered beside the results: it is reused
only while path, size, times and inode are those of the file that was hashed, and that is said each time. A file
that rots on the disk without a write is not noticed then; its archive's own checksums are, when it is unpacked.
"""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from bench.catalog.entry import Archive
from bench.data.first_use import compare_first_use
from bench.errors import BenchError
from bench.lock import say
from bench.record import write_json

CHUNK = 1 << 20
FIRST_USE, PUBLISHED, DRAWN = "digest of first use", "published digest", "not checked, drawn"
"""What a digest was held to."""
MAGIC = {".zip": (0, b"PK"), ".tar.gz": (0, b"\x1f\x8b"), ".tgz": (0, b"\x1f\x8b"), ".tar": (257, b"ustar")}
"""First bytes by suffix: where they stand and what they are."""
AGAIN = "remove it and download it again"
HEAD = 1024
"""Bytes from which the format is told."""
SETTLED = 2.0
"""Seconds a file must have lain still before it was hashed for its digest to be remembered: clocks are coarse."""


def check_head(head: bytes, suffix: str, where: str, advice: str = AGAIN) -> None:
    """Raise BenchError unless `head`, the first bytes of what lies at `where`, are those that `suffix` promises.

    `advice` ends the sentence: what to do.
    """
    if not head:
        raise BenchError(f"{where}: the file is empty; {advice}")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        raise BenchError(
            f"{where}: an HTML page, not a {suffix} archive: a login or warning page stands in its place; {advice}"
        )
    start, magic = MAGIC[suffix]
    if head[start : start + len(magic)] != magic:
        raise BenchError(f"{where}: not a {suffix} archive (it begins with {head[:4].hex(' ')}); {advice}")


def verify(
    dataset: str,
    archive: Archive,
    path: Path,
    *,
    drawn: bool = False,
    lock: Path,
    memory: Path | None = None,
) -> dict[str, Any]:
    """Return path, bytes, sha256 of an archive and what its digest was held to (`checked`).

    Published digests are compared; where none is published, the one that the file `lock` recorded at first use, if
    it did. A `drawn` archive of a miniature is compared with nothing. `memory`:
    JSON file that remembers digests between runs, or None to read the file whatever happens. Raises BenchError for a
    file that is not what it should be.
    """
    with path.open("rb") as stream:
        check_head(stream.read(HEAD), archive.suffix, str(path))
    size = path.stat().st_size
    published = () if drawn else (("md5", archive.md5), ("sha256", archive.sha256))
    if not drawn and archive.size not in (None, size):
        raise BenchError(
            f"{path}: has {size} bytes, published are {archive.size}: it was cut short or is another file; "
            f"{AGAIN}"
        )
    found = _digests(path, md5=not drawn and archive.md5 is not None, memory=memory)
    for kind, expected in published:
        if expected is not None and found[kind] != expected:
            raise BenchError(f"{path}: {kind} is {found[kind]}, published is {expected}; {AGAIN}")
    checked = DRAWN if drawn else PUBLISHED
    if not drawn and archive.md5 is None and archive.sha256 is None:
        compare_first_use(dataset, archive.path, path, size, found["sha256"], lock)
        checked = FIRST_USE
    return {"path": archive.path, "bytes": size, "sha256": found["sha256"], "checked": checked}


def _digests(path: Path, *, md5: bool, memory: Path | None) -> dict[str, str]:
    """Return sha256 and, if asked for, md5 of a file, read once or remembered."""
    facts = path.stat()
    identity = {
        "bytes": facts.st_size,
        "mtime_ns": facts.st_mtime_ns,
        "ctime_ns": facts.st_ctime_ns,
        "inode": facts.st_ino,
    }
    known = {} if memory is None else _remembered(memory)
    entry = known.get(str(path.resolve()), {})
    if all(entry.get(key) == value for key, value in identity.items()) and (not md5 or "md5" in entry):
        say(f"{path}: digest of {entry['hashed']} reused: size, times and inode have not changed since")
        return {key: str(entry[key]) for key in ("sha256", "md5") if key in entry}
    say(f"hashing {path} ({facts.st_size / 1e6:.1f} MB)")
    hashes = {"sha256": hashlib.sha256()} | ({"md5": hashlib.md5(usedforsecurity=False)} if md5 else {})
    began = time.time()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            for running in hashes.values():
                running.update(chunk)
    found = {kind: running.hexdigest() for kind, running in hashes.items()}
    still = began - max(facts.st_mtime, facts.st_ctime) >= SETTLED
    if memory is not None and still and path.stat().st_mtime_ns == facts.st_mtime_ns:
        hashed = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(began))
        write_json(memory, known | {str(path.resolve()): {**identity, **found, "hashed": hashed}})
    return found


def _remembered(memory: Path) -> dict[str, dict[str, Any]]:
    """Return what is remembered; a memory that cannot be read is none."""
    try:
        value = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    good = isinstance(value, dict) and all(isinstance(entry, dict) for entry in value.values())
    return value if good else {}
