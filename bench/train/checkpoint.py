"""Exact resume: a run's state on disk, and the lock that keeps two processes out of one run folder.

State lies in `<run folder>/state/`, beside the declared outputs and unknown to the workflow, so that it
survives a failed job. A checkpoint belongs to one cumulative digest; under another it is removed, never
loaded.
"""

import fcntl
import os
import pickle
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from bench.errors import BenchError
from bench.record import atomic, read_record, sha256_file

KEEP = 2
"""Checkpoints kept: the last, and the one before should the last be unreadable."""


def say(text: str) -> None:
    """Print one line of a job's log to stderr, at once."""
    print(text, file=sys.stderr, flush=True)


class Checkpoints:
    """The checkpoints of one run, named by digest and step: `state/<16 hex digits>-<step>.pt`."""

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder = folder / "state"
        self.digest = digest

    def _found(self) -> list[tuple[int, Path]]:
        """Return (step, path) of this digest's checkpoints, newest first."""
        pattern = re.compile(rf"{self.digest[:16]}-(\d+)\.pt")
        named = ((pattern.fullmatch(path.name), path) for path in self.folder.glob("*.pt"))
        return sorted(((int(match[1]), path) for match, path in named if match), reverse=True)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step` steps: temporary file, fsync, rename; drop all but the last two.

        torch.save goes through a file object, since given a path it writes the file's name into the bytes.
        """
        path = self.folder / f"{self.digest[:16]}-{step:09d}.pt"
        with atomic(path) as partial, partial.open("wb") as stream:
            torch.save({"digest": self.digest, "step": step, "state": state}, stream)
        for _, old in self._found()[KEEP:]:
            old.unlink(missing_ok=True)

    def load(self, device: torch.device) -> tuple[int, dict[str, Any]]:
        """Return (step, state) of the newest readable checkpoint, or (0, {}) to start afresh.

        Removes what belongs to another digest (the recipe or its inputs changed) and temporary files of a
        killed writer; says so.
        """
        ours = {path for _, path in self._found()}
        for path in [*self.folder.glob("*.pt"), *self.folder.glob(".*.partial")]:
            if path not in ours:
                say(f"{path}: state of another recipe or of a killed writer, removed")
                path.unlink(missing_ok=True)
        for step, path in self._found():
            try:
                with path.open("rb") as stream:
                    held = torch.load(stream, map_location=device, weights_only=True)
                if (held["digest"], held["step"]) == (self.digest, step):
                    say(f"{path}: resuming after step {step}")
                    return step, held["state"]
                reason = "it is another run's"
            except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            say(f"{path}: cannot be resumed from ({reason}), removed")
            path.unlink(missing_ok=True)
        return 0, {}

    def clear(self) -> None:
        """Remove this run's checkpoints, once its results stand under their final names."""
        for _, path in self._found():
            path.unlink(missing_ok=True)


def finished(folder: Path, digest: str) -> bool:
    """Say whether the folder holds the result of the run with this digest: record, and weights it names.

    A waiting second writer asks this once it gets the lock, so that it does not repeat what the first has
    done.
    """
    record, weights = folder / "record.json", folder / "weights.safetensors"
    if not (record.is_file() and weights.is_file() and (folder / "weights.json").is_file()):
        return False
    try:
        found = read_record(record)
    except BenchError:
        return False
    return found.digest == digest and found.extra.get("weights_sha256") == sha256_file(weights)


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process: a second writer waits, and says for whom.

    `<folder>/.lock` holds the owner's process id. The lock is the kernel's (flock), so it ends with its
    holder however that dies, and with the loader processes forked from it; the file itself stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            say(f"{folder}: process {owner} is writing here; waiting for it to end")
            began = time.monotonic()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            say(f"{folder}: free after {time.monotonic() - began:.0f} s")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
