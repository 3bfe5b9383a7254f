"""The memory of this process stays with it, instead of going back to the system between two steps.

A training step frees all that it took. glibc hands the free end of its heap back once it exceeds a threshold, and maps
every block above another, 32 MiB at the most, anew: so the system takes the same pages away and zeroes them again at
each step (mallopt(3)). On a GPU torch keeps the device's memory in the same way.
"""

import ctypes
import os

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h."""
NEVER = 2**31 - 1
"""Bytes; the largest int."""
LARGEST_KEPT = (64 << 20, 32 << 20)
"""Bytes of the largest block that comes from the heap; older versions of glibc refuse more than the second.

Larger blocks would tear holes into it. With 64 MiB a step of UperNet on ConvNeXt-T with two crops of 512 pixels took
5 % less time and 17 % more memory on one core, without a bound 14 % less and 29 % more; small networks have no such
blocks.
"""
BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def keep_memory() -> bool:
    """Let glibc keep what is freed for what comes next, and say whether it took the thresholds.

    Memory is given back when the process ends. Nothing is changed where the C library has no `mallopt` (macOS,
    musl), and where the user has set one of the thresholds or any of glibc's `malloc` tunables.
    """
    if any(name in os.environ for name in BY_USER) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # Either setting freezes the other where it stands, and trimming alone would leave blocks of 128 KiB to be mapped.
    return (
        mallopt is not None
        and any(mallopt(MMAP_THRESHOLD, size) for size in LARGEST_KEPT)
        and bool(mallopt(TRIM_THRESHOLD, NEVER))
    )
