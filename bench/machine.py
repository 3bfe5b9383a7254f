"""Facts of this machine, from the environment; none of them ever enters a digest."""

import fcntl
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from bench.errors import RequestError
from bench.study.place import gpus_per_job as gpus_per_job
from bench.study.place import whole_number


def data_root() -> Path:
    """Return the folder in which the user's archives and folders lie, one folder a dataset (BENCH_DATA)."""
    named = os.environ.get("BENCH_DATA")
    if not named:
        raise RequestError(
            "BENCH_DATA is not set; set it to the folder that holds the archives, or is to hold them, one folder a "
            "dataset (`export BENCH_DATA=/path/to/data`), and run again"
        )
    root = Path(named)
    if not root.is_dir():
        raise RequestError(f"BENCH_DATA={named}: no such folder; it is where the datasets' archives lie")
    return root


def file_workers() -> int:
    """Return the processes that share the files of one preparation (BENCH_WORKERS; unset: one a core, see `cores`)."""
    named = whole_number("BENCH_WORKERS", "processes", least=0)
    return cores() if named is None else named


def cores(own: Path = Path("/proc/self/cgroup"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the cores that this process may use: BENCH_CORES; unset, those that the system gives it, 1 or more.

    A batch system or a container gives a process fewer than the machine has: by its affinity, by the time that its
    control group and those above it get (Linux, both versions of cgroups). A part of a core counts as one.
    """
    named = whole_number("BENCH_CORES", "cores")
    if named is not None:
        return named
    try:
        found = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has none
        found = os.cpu_count() or 1
    return min([found, *(math.ceil(quota) for quota in _quotas(own, groups))])


def _quotas(own: Path, groups: Path) -> Iterator[float]:
    """Yield the cores' worth of time that each control group of this process is limited to."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, place = line.split(":", 2)
        if kinds and "cpu" not in kinds.split(","):
            continue
        # Version 2 has one tree; version 1 one for each kind. In a container the tree begins with the own group.
        top = groups / kinds if kinds else groups
        inner = top / place.lstrip("/")
        for folder in (top, *(parent for parent in (inner, *inner.parents) if top in parent.parents)):
            try:
                if kinds:
                    quota, period = (
                        (folder / f"cpu.cfs_{word}_us").read_text() for word in ("quota", "period")
                    )
                else:
                    quota, period = (folder / "cpu.max").read_text().split()
                if quota.strip() not in ("max", "-1"):
                    yield max(float(quota), 1.0) / float(period)
            except (OSError, ValueError):
                continue


def visible_gpus() -> list[str]:
    """Return the GPUs that may be used, by name, without importing torch.

    The names are those of CUDA_VISIBLE_DEVICES where that is set, and else nvidia-smi's numbers.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(i) for i, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]


def gpu_count() -> int:
    """Return the number of GPUs that may be used."""
    return len(visible_gpus())


def gpu_slot(count: int, folder: Path | None = None) -> int:
    """Take one of `count` GPUs of this machine for this process, and return its index; see `gpu_slots`."""
    return gpu_slots(1, count, folder)[0]


@cache
def gpu_slots(wanted: int, count: int, folder: Path | None = None) -> tuple[int, ...]:
    """Take `wanted` of `count` GPUs of this machine for this process and its children; wait until they are free.

    Returned are indices among the visible ones. Snakemake counts jobs, not devices, so jobs share the devices out
    among themselves: a slot is a lock file in `folder` (unset: the user's own in the system's temporary folder, one
    for each SLURM job, which sees GPUs of its own under the same numbers), which the kernel releases when its
    holder and the children that hold it too are gone. It is named as the device is, so that two runs that were
    given GPUs 2,3 and 3,4 meet at 3. Only one job collects at a time, behind a lock of its
    own, so that two jobs never wait for each other with half of what they need in their hands. Raises
    RequestError if there are not so many.
    """
    if wanted > count:
        raise RequestError(
            f"a job that wants {wanted} GPUs (BENCH_GPUS_PER_JOB) can never start on a machine with {count}: "
            "lower it, or give the job a larger machine"
        )
    own = f"csp-bench-gpu-{os.getuid()}" + "".join(
        f"-{job}" for job in (os.environ.get("SLURM_JOB_ID"),) if job
    )
    place, visible = folder or Path(tempfile.gettempdir()) / own, visible_gpus()
    # Only a test counts other devices than the machine shows.
    names = (
        [name.replace("/", "-") for name in visible]
        if len(visible) == count
        else list(map(str, range(count)))
    )
    place.mkdir(parents=True, exist_ok=True)
    door = os.open(place / "collecting.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        taken: dict[int, int] = {}
        while True:
            for index in range(count):
                if index in taken:
                    continue
                descriptor = os.open(place / f"{names[index]}.lock", os.O_RDWR | os.O_CREAT, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(descriptor)
                    continue
                taken[index] = descriptor
                if len(taken) == wanted:
                    HELD.extend(taken.values())
                    return tuple(sorted(taken))
            time.sleep(1.0)
    finally:
        os.close(door)


HELD: list[int] = []
"""Descriptors of the slots that this process holds; they stay open, and the slots taken, as long as it lives."""


def windows_at_once() -> int:
    """Return how many windows of a scene share a forward pass (BENCH_WINDOWS; unset: 1)."""
    return whole_number("BENCH_WINDOWS", "windows in one forward pass") or 1


def evaluation_memory() -> int:
    """Return the bytes that the logits of a prediction may take (BENCH_EVAL_MEMORY in MiB; unset: 1024).

    With the sums and the argmax beside them, and without the network's own. A larger scene is cut into more bands.
    """
    return (whole_number("BENCH_EVAL_MEMORY", "MiB for the logits of a prediction") or 1024) << 20
