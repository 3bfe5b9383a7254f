"""The allocator keeps what is freed: no page is fetched from the system twice, and a user's own settings stand."""

import ctypes
import os
import subprocess
import sys

import pytest

from bench.heap import keep_memory

FAULTS = """
import resource, sys
import torch
from bench.device import device

assert device() == "cpu"
faults = []
for turn in range(8):
    # Above glibc's largest threshold for blocks of their own, and below it.
    large, small = torch.ones(12 << 20), [torch.ones(1 << 20) for _ in range(16)]
    del large, small
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[1])
"""
PAGES = 6 * (112 << 20) // os.sysconf("SC_PAGE_SIZE")
"""What six turns touch."""


def faults(**environment: str) -> int:
    """Return the pages that six turns of taking and freeing 112 MiB fetch from the system."""
    own = {name: value for name, value in os.environ.items() if "MALLOC" not in name.upper()}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env=own | {"BENCH_DEVICE": "cpu", "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def has_mallopt() -> bool:
    return getattr(ctypes.CDLL(None), "mallopt", None) is not None


@pytest.mark.skipif(not has_mallopt(), reason="the C library has no mallopt: nothing is changed here")
def test_what_a_step_frees_is_there_for_the_next():
    # The smallest threshold: as if nothing were kept.
    if (given_back := faults(MALLOC_TRIM_THRESHOLD_="131072")) < PAGES // 4:
        pytest.skip(f"the system hands out large pages: {given_back} fetches for {PAGES} pages tell nothing")
    assert faults() < PAGES // 10


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_TRIM_THRESHOLD_", "131072"),
        ("MALLOC_MMAP_THRESHOLD_", "131072"),
        ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
    ],
)
def test_thresholds_of_the_user_stand(monkeypatch, name, value):
    called = []
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(ctypes, "CDLL", called.append)
    assert keep_memory() is False and not called


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch):
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_memory() is False
