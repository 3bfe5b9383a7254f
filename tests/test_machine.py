"""Facts of the machine: GPU slots are shared out by the kernel, and none of it enters a digest."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import RequestError
from bench.machine import data_root, gpu_count

HOLD = """
import sys, time
from pathlib import Path
from bench.machine import gpu_slot
print(gpu_slot(2, Path(sys.argv[1])), flush=True)
time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)


def slot_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def test_two_jobs_never_share_a_gpu_and_a_killed_ones_slot_is_free_again(tmp_path):
    first, second = holder(tmp_path), holder(tmp_path)
    try:
        taken = slot_of(first)
        assert {taken, slot_of(second)} == {0, 1}
        # Both are taken: the third waits, and gets the slot of the one that dies.
        third = holder(tmp_path)
        with pytest.raises(subprocess.TimeoutExpired):
            third.wait(timeout=1.5)
        first.kill()
        assert slot_of(third) == taken
    finally:
        for process in (first, second, third):
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.mark.parametrize(
    ("visible", "count"), [("", 0), ("-1", 0), ("0", 1), ("0,3", 2), ("GPU-ab,GPU-cd", 2)]
)
def test_gpus_are_counted_as_they_are_visible(monkeypatch, visible, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_count() == count


def test_a_machine_without_nvidia_smi_has_no_gpu(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_count() == 0


def test_the_data_root_is_named_when_it_is_missing(monkeypatch, tmp_path):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    with pytest.raises(RequestError, match="BENCH_DATA is not set"):
        data_root()
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(RequestError, match=r"nowhere: no such folder"):
        data_root()
