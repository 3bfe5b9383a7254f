"""Finished pre-trainings shared among studies: found by digest in a folder that the environment names (BENCH_STORE).

Same digest, same data, same artefact: a study that asks for a pre-training which another has made takes it from there.
The folder is the user's alone, since weights trained on restricted data are not for others to read. Files are hard
links where the file system allows, else copies; each is checked against its SHA-256 before it counts.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.errors import BenchError, RequestError
from bench.lock import run_lock, say
from bench.record import read_record, sha256_file

FILES = ("weights.safetensors", "weights.json", "log.csv")
MORE = ("validation.csv",)
"""Files that only some runs leave."""


def store_root(*, make: bool = True) -> Path | None:
    """Return the shared folder (BENCH_STORE), made for this user alone; None where none is named, or is there yet.

    Raises RequestError for a folder that others can read or that belongs to another user.
    """
    named = os.environ.get("BENCH_STORE")
    if not named:
        return None
    root = Path(named)
    if make:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif not root.is_dir():
        return None
    facts = root.stat()
    if facts.st_uid != os.getuid():
        raise RequestError(f"BENCH_STORE={named}: belongs to another user; name a folder of your own")
    if facts.st_mode & 0o077:
        raise RequestError(
            f"BENCH_STORE={named}: open to others (mode {facts.st_mode & 0o777:o}), and weights trained on restricted "
            f"data are not for them; `chmod 700 {named}` closes it"
        )
    return root


def entry_of(root: Path, digest: str, manifest: Path) -> Path:
    """Return the folder of an artefact: its digest, and the digest of the prepared data that it was made from.

    The first covers the settings, the second the bytes: a user's own folder may have changed under the same settings.
    """
    return root / "pretrain" / digest / sha256_file(manifest)[:16]


def stored(digest: str, manifest: Path) -> bool:
    """Say whether the shared folder holds this pre-training, made from the same prepared data."""
    root = store_root(make=False)
    return (
        root is not None
        and manifest.is_file()
        and (entry_of(root, digest, manifest) / "record.json").is_file()
    )


def may_be_stored(digest: str) -> bool:
    """Say whether the shared folder holds a pre-training of these settings, made from whatever data."""
    root = store_root(make=False)
    return root is not None and any((root / "pretrain" / digest).glob("*/record.json"))


def take(folder: Path, digest: str, manifest: Path, study: str) -> bool:
    """Put a shared pre-training into a run's `folder`, the record last; return whether there was one.

    The record says from which study it comes. An entry whose files are not what its record says is left alone, with a
    word in the log, and the pre-training is run.
    """
    root = store_root()
    if root is None or not manifest.is_file() or (folder / "record.json").exists():
        return False
    entry = entry_of(root, digest, manifest)
    if not (entry / "record.json").is_file():
        return False
    with run_lock(folder):
        try:
            record = read_record(entry / "record.json")
            _check(entry, digest, record.digest, record.extra)
            for name in (*FILES, *MORE):
                if (entry / name).exists():
                    _put(entry / name, folder / name)
        except (BenchError, OSError) as error:
            say(f"{entry}: not used: {error}")
            return False
        origin = {"study": record.names.get("study"), "digest": digest}
        replace(
            record,
            names=record.names | {"study": study},
            extra=record.extra | {"shared": record.extra.get("shared", origin)},
        ).write(folder / "record.json")
    say(f"{folder}: taken from the shared folder, where the study {origin['study']} has put it")
    return True


def offer(folder: Path, digest: str, manifest: Path) -> None:
    """Put a finished pre-training into the shared folder, whole or not at all; nothing happens where none is named."""
    root = store_root()
    if root is None or not (folder / "record.json").is_file():
        return
    entry = entry_of(root, digest, manifest)
    if read_record(folder / "record.json").digest != digest or (entry / "record.json").exists():
        return
    entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".new-", dir=entry.parent))
    try:
        for name in (*FILES, *MORE, "record.json"):
            if (folder / name).exists():
                _put(folder / name, staging / name)
        if entry.exists() and not (entry / "record.json").exists():
            shutil.rmtree(entry)  # without a record: somebody took parts of it away
        staging.rename(entry)  # refused where another study was first
        say(f"{folder}: put into the shared folder for other studies")
    except OSError as error:
        if not (entry / "record.json").exists():  # another study was first
            say(f"{folder}: not shared: {error}")
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check(entry: Path, digest: str, found: str, extra: Mapping[str, Any]) -> None:
    if found != digest:
        raise BenchError(f"its record carries the digest {found[:12]}, expected {digest[:12]}")
    if sha256_file(entry / FILES[0]) != extra.get("weights_sha256"):
        raise BenchError(f"the SHA-256 of {FILES[0]} is not what its record says; remove the folder")
    for name in FILES:
        if not (entry / name).is_file():
            raise BenchError(f"{name} is missing; remove the folder")


def _put(source: Path, goal: Path) -> None:
    """Link a file to another name, or copy it where links do not reach; it appears whole."""
    partial = goal.with_name(f".{goal.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:
        shutil.copyfile(source, partial)
    os.replace(partial, goal)
