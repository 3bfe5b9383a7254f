"""The torch device of this process and its loader processes; apart from `machine`, which needs no torch."""

import os

import torch

from bench.errors import RequestError
from bench.machine import gpu_slot


def device() -> str:
    """Return the torch device to use: BENCH_DEVICE; unset: a free GPU where there is one, else cpu."""
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    if not threads.isdigit() or threads == "0":
        raise RequestError(f"OMP_NUM_THREADS={threads}: expected a whole number of threads, 1 or more")
    torch.set_num_threads(int(threads))
    named = os.environ.get("BENCH_DEVICE")
    if named is None:
        return f"cuda:{gpu_slot(torch.cuda.device_count())}" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=named)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RequestError(f"BENCH_DEVICE={named}: torch cannot use it ({reason}); try cpu or cuda") from None
    return named


def named(place: torch.device) -> str:
    """Return a device with its model, for the receipt: `cuda:0 (NVIDIA H100)`, `cpu`."""
    return f"{place} ({torch.cuda.get_device_name(place)})" if place.type == "cuda" else str(place)


def peak_memory(place: torch.device) -> int | None:
    """Return the most device memory that torch held at once, in bytes; None on the CPU (the receipt has the host's)."""
    return int(torch.cuda.max_memory_allocated(place)) if place.type == "cuda" else None


def workers() -> int:
    """Return the number of loader processes (BENCH_WORKERS; unset: 0 on the CPU, else up to 14)."""
    named = os.environ.get("BENCH_WORKERS")
    if named is None:
        return 0 if not device().startswith("cuda") else min(14, max(1, (os.cpu_count() or 2) - 2))
    if not named.isdigit():
        raise RequestError(f"BENCH_WORKERS={named}: expected a whole number of processes, 0 or more")
    return int(named)
