"""Facts of this machine, from the environment; none of them ever enters a digest."""

import fcntl
import os
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

from bench.errors import RequestError


def data_root() -> Path:
    """Return the folder in which the user's archives and folders lie, one folder a dataset (BENCH_DATA)."""
    named = os.environ.get("BENCH_DATA")
    if not named:
        raise RequestError(
            "BENCH_DATA is not set; set it to the folder that holds the archives, one folder a dataset "
            "(`make mini DATA=...` sets it), and run again"
        )
    root = Path(named)
    if not root.is_dir():
        raise RequestError(f"BENCH_DATA={named}: no such folder; it is where the datasets' archives lie")
    return root


def gpu_count() -> int:
    """Return the number of GPUs that may be used, without importing torch: CUDA_VISIBLE_DEVICES, or nvidia-smi."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return len([line for line in listed.stdout.splitlines() if line.startswith("GPU ")])


@cache
def gpu_slot(count: int, folder: Path | None = None) -> int:
    """Take one of `count` GPUs of this machine for this process, and return its index; wait if all are taken.

    Snakemake counts jobs, not devices, so jobs share the devices out among themselves: a slot is a lock file in
    `folder` (unset: the user's own in the system's temporary folder), which the kernel releases when its
    holder dies.
    """
    place = folder or Path(tempfile.gettempdir()) / f"csp-bench-gpu-{os.getuid()}"
    place.mkdir(parents=True, exist_ok=True)
    while True:
        for index in range(count):
            descriptor = os.open(place / f"{index}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            return index  # the descriptor stays open, and the slot taken, as long as this process lives
        time.sleep(1.0)
