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


def workers() -> int:
    """Return the number of loader processes (BENCH_WORKERS; unset: 0 on the CPU, else up to 14)."""
    named = os.environ.get("BENCH_WORKERS")
    if named is None:
        return 0 if not device().startswith("cuda") else min(14, max(1, (os.cpu_count() or 2) - 2))
    if not named.isdigit():
        raise RequestError(f"BENCH_WORKERS={named}: expected a whole number of processes, 0 or more")
    return int(named)
