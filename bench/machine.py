"""Facts of this machine, from the environment; none of them ever enters a digest."""

import os
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


def workers() -> int:
    """Return the number of loader processes (BENCH_WORKERS; unset: 0 on the CPU, else up to 14)."""
    named = os.environ.get("BENCH_WORKERS")
    if named is None:
        return 0 if device() == "cpu" else min(14, max(1, (os.cpu_count() or 2) - 2))
    if not named.isdigit():
        raise RequestError(f"BENCH_WORKERS={named}: expected a whole number of processes, 0 or more")
    return int(named)


def device() -> str:
    """Return the torch device to use (BENCH_DEVICE; unset: cuda where there is one, else cpu)."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    named = os.environ.get("BENCH_DEVICE")
    if named is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=named)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RequestError(f"BENCH_DEVICE={named}: torch cannot use it ({reason}); try cpu or cuda") from None
    return named
