"""Facts of the machine: GPU slots are shared out by the kernel, and none of it enters a digest."""

import random
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.errors import RequestError
from bench.machine import cores, data_root, file_workers, gpu_count, gpu_slots, gpus_per_job

HOLD = """
import sys, time
from pathlib import Path
from bench.machine import gpu_slots
print(*gpu_slots(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[1])), flush=True)
time.sleep(60)
"""


def holder(folder: Path, wanted: int = 1, count: int = 2) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(folder), str(wanted), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def slots_of(process: subprocess.Popen[str]) -> set[int]:
    assert process.stdout is not None
    return {int(word) for word in process.stdout.readline().split()}


def slot_of(process: subprocess.Popen[str]) -> int:
    (slot,) = slots_of(process)
    return slot


def end(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


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
        end(first, second, third)


def test_several_gpus_are_taken_together_and_two_jobs_never_wait_for_each_other(tmp_path):
    # Each wants three of four. Took both what is free, one would hold two and the other two, for ever.
    first = holder(tmp_path, 3, 4)
    assert slots_of(first) == {0, 1, 2}
    second = holder(tmp_path, 3, 4)
    third = holder(tmp_path, 3, 4)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(timeout=1.5)
        end(first)
        # One of the two has the door and gets three slots; the other waits for it to end.
        time.sleep(1.5)
        ready = select.select([second.stdout, third.stdout], [], [], 10)[0]
        assert len(ready) == 1
        served = second if ready[0] is second.stdout else third
        assert len(slots_of(served)) == 3
        served.kill()
        other = third if served is second else second
        assert len(slots_of(other)) == 3
    finally:
        end(second, third)


WITNESS = """
import socket, sys, time
from pathlib import Path
# Made before the slot is taken and bound to its name afterwards: a name that only one process of the machine can hold.
witness = socket.socket(socket.AF_UNIX)
from bench.machine import gpu_slots
(slot,) = gpu_slots(1, 2, Path(sys.argv[1]))
for _ in range(30):
    try:
        witness.bind(chr(0) + sys.argv[1] + str(slot))
        break
    except OSError:
        time.sleep(0.01)
else:
    slot = "shared"
print(slot, flush=True)
time.sleep(120)
"""


def test_slots_are_never_shared_however_often_their_holders_are_killed(tmp_path):
    def start():
        command = [sys.executable, "-c", WITNESS, str(tmp_path)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    waiting, serving = [start() for _ in range(3)], []
    chance = random.Random(0)
    try:
        for _ in range(6):
            # One more waits than there are slots; now a holder dies, and now one that waits or is just being served.
            while len(serving) < 2:
                ready = select.select([process.stdout for process in waiting], [], [], 30)[0]
                assert ready, "nobody gets a slot that is free"
                for process in [process for process in waiting if process.stdout in ready]:
                    assert process.stdout.readline().strip() in ("0", "1")
                    waiting.remove(process)
                    serving.append(process)
            victims = serving if chance.random() < 0.7 else waiting
            end(victims.pop(chance.randrange(len(victims))))
            waiting.append(start())
    finally:
        end(*waiting, *serving)


def test_two_runs_with_overlapping_gpus_meet_at_the_one_they_share(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    first = holder(tmp_path, 2)
    try:
        assert slots_of(first) == {0, 1}
        # GPU 3 is taken, GPU 4 is not: the second of "3,4".
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
        second = holder(tmp_path)
        assert slot_of(second) == 1
        # A third that was given GPU 3 alone has to wait, whatever its number is there.
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
        third = holder(tmp_path, 1, 1)
        with pytest.raises(subprocess.TimeoutExpired):
            third.wait(timeout=1.0)
    finally:
        end(first, second, third)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "2.lock",
        "3.lock",
        "4.lock",
        "collecting.lock",
    ]


def test_each_slurm_job_shares_out_its_own_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    holders = []
    try:
        # Two jobs on one node, each shown its GPU as number 0: neither waits for the other.
        for job in ("11", "12"):
            monkeypatch.setenv("SLURM_JOB_ID", job)
            command = [sys.executable, "-c", HOLD.replace("Path(sys.argv[1])", "None"), "", "1", "1"]
            holders.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            assert slot_of(holders[-1]) == 0
    finally:
        end(*holders)
    assert sorted(path.name.split("-")[-1] for path in tmp_path.iterdir()) == ["11", "12"]


def test_more_gpus_than_there_are_is_refused_at_once(tmp_path):
    with pytest.raises(RequestError, match=r"wants 4 GPUs .* can never start on a machine with 2"):
        gpu_slots(4, 2, tmp_path)


@pytest.mark.parametrize("words", ["0", "-1", "two", ""])
def test_gpus_a_job_is_a_whole_number(monkeypatch, words):
    monkeypatch.setenv("BENCH_GPUS_PER_JOB", words)
    with pytest.raises(RequestError, match="expected a whole number of GPUs, 1 or more"):
        gpus_per_job()


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
    with pytest.raises(RequestError, match="BENCH_DATA is not set") as error:
        data_root()
    # True for every verb that asks for it, `bench acquire` too: no word of a make target that draws its own data.
    assert "(`export BENCH_DATA=/path/to/data`), and run again" in str(error.value)
    assert "make" not in str(error.value)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(RequestError, match=r"nowhere: no such folder"):
        data_root()


def test_float32_on_a_gpu_is_not_rounded_to_tf32(monkeypatch):
    import torch

    from bench.device import device

    # Settings of the process, which the other tests shall not see.
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    try:
        torch.backends.cudnn.allow_tf32 = True
        torch.set_float32_matmul_precision("high")
        monkeypatch.setenv("BENCH_DEVICE", "cpu")
        assert device() == "cpu"
        assert torch.backends.cudnn.allow_tf32 is False and torch.get_float32_matmul_precision() == "highest"
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # old and new switches agree
            assert torch.backends.cuda.matmul.allow_tf32 is False
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


@pytest.fixture
def eight(monkeypatch):
    """A process that may run on eight cores."""
    monkeypatch.delenv("BENCH_CORES", raising=False)
    monkeypatch.delenv("BENCH_WORKERS", raising=False)
    monkeypatch.setattr("bench.machine.os.sched_getaffinity", lambda process: set(range(8)))


def group(root: Path, lines: str, **files: str) -> tuple[Path, Path]:
    """Write /proc/self/cgroup and files of control groups below a folder, `/` in a name written as `__`."""
    own = root / "cgroup"
    own.write_text(lines)
    for name, content in files.items():
        path = root / "groups" / name.replace("__", "/").replace("CPU", "cpu,cpuacct").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return own, root / "groups"


@pytest.mark.parametrize(
    ("lines", "files", "count"),
    [
        # Version 2: the job's own group has no limit, the one above it two and a half cores.
        (
            "0::/batch/job7\n",
            {"batch__cpu_dot_max": "250000 100000\n", "batch__job7__cpu_dot_max": "max 100000\n"},
            3,
        ),
        # In a container the tree begins with the own group.
        ("0::/\n", {"cpu_dot_max": "400000 100000\n"}, 4),
        # Version 1, beside groups of other kinds.
        (
            "3:memory:/x\n4:cpu,cpuacct:/x\n",
            {"CPU__x__cpu_dot_cfs_quota_us": "150000\n", "CPU__x__cpu_dot_cfs_period_us": "100000\n"},
            2,
        ),
        (
            "4:cpu,cpuacct:/\n",
            {"CPU__cpu_dot_cfs_quota_us": "-1\n", "CPU__cpu_dot_cfs_period_us": "100000\n"},
            8,
        ),
        # More than the affinity gives, less than a core, and what nobody can read.
        ("0::/\n", {"cpu_dot_max": "1600000 100000\n"}, 8),
        ("0::/\n", {"cpu_dot_max": "10000 100000\n"}, 1),
        ("0::/\n", {"cpu_dot_max": "odd\n"}, 8),
        ("0::/nowhere\n", {}, 8),
    ],
)
def test_cores_are_those_that_the_system_leaves_a_process(eight, tmp_path, lines, files, count):
    assert cores(*group(tmp_path, lines, **files)) == count


def test_cores_that_are_named_are_taken_at_their_word_and_bound_a_preparation(eight, monkeypatch):
    monkeypatch.setenv("BENCH_CORES", "3")
    assert cores() == file_workers() == 3
    monkeypatch.setenv("BENCH_WORKERS", "5")
    assert (cores(), file_workers()) == (3, 5)
    monkeypatch.setenv("BENCH_CORES", "0")
    with pytest.raises(RequestError, match="BENCH_CORES=0: expected a whole number of cores, 1 or more"):
        cores()


@pytest.mark.parametrize(
    ("visible", "processes", "count"),
    [("0", "1", 6), ("0,1", "1", 3), ("0,1", "2", 3), ("0,1,2,3,4,5,6,7", "1", 1)],
)
def test_loaders_of_all_gpus_share_the_cores(eight, monkeypatch, visible, processes, count):
    from bench import device

    monkeypatch.setattr(device, "device", lambda: "cuda:0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    # Eight cores less two, shared by the GPUs: other jobs have the others.
    assert device.workers() == count
