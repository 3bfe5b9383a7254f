"""One writer a folder: a kernel lock that ends with its holder, however that dies."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def say(text: str) -> None:
    """Print one line of a job's log to stderr, at once."""
    print(text, file=sys.stderr, flush=True)


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
        # What a killed writer left half-written has no other owner now.
        for partial in folder.glob(".*.partial"):
            if partial.is_file():
                partial.unlink(missing_ok=True)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
