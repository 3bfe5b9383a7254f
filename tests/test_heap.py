"""The allocator keeps what is freed: no page is fetched from the system twice, and a user's own settings stand."""

import ctypes
import os
import subprocess
import sys

import pytest

from bench.heap import keep_memory

FAULTS = """
import ctypes, resource, sys
import torch
from bench.device import device

# PR_SET_THP_DISABLE: where the system hands out large pages, their number says nothing.
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)
assert device() == "cpu"
faults = []
for turn in range(20):
    # Of the size at which glibc ends up mapping blocks by itself, and below it.
    large, small = torch.ones(7 << 20), [torch.ones(1 << 20) for _ in range(21)]
    del large, small
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[-6])
"""
PAGES = 5 * (112 << 20) // os.sysconf("SC_PAGE_SIZE")
"""What five turns touch."""


def faults(**environment: str) -> int:
    """Return the pages that the last five turns of taking and freeing 112 MiB fetch from the system."""
    own = {name: value for name, value in os.environ.items() if "MALLOC" not in (name + value).upper()}
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
    # A threshold of the user's stands, and fixes the other one at 128 KiB.
    assert faults(MALLOC_TRIM_THRESHOLD_="131072") > PAGES // 2
    assert faults() < PAGES // 10


@pytest.fixture
def unset(monkeypatch):
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("most", "asked", "kept"),
    [
        (1 << 30, [(-3, 64 << 20), (-1, 2**31 - 1)], True),
        (32 << 20, [(-3, 64 << 20), (-3, 32 << 20), (-1, 2**31 - 1)], True),
        (0, [(-3, 64 << 20), (-3, 32 << 20)], False),
    ],
)
def test_an_older_glibc_gets_the_largest_threshold_that_it_takes(unset, monkeypatch, most, asked, kept):
    """Trimming is switched off last, and only where large blocks come from the heap: else all would be mapped."""
    calls = []

    class Older:
        def mallopt(self, setting, value):
            calls.append((setting, value))
            return int(setting == -1 or value <= most)

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Older())
    assert keep_memory() is kept and calls == asked


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


def test_a_c_library_without_mallopt_is_left_alone(unset, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_memory() is False
