"""A preparation that is killed, or runs out of disk, is gone on with; processes change nothing."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from drawn_data import copy_of, nothing_left, prepare, prepared_bytes
from process_tasks import die, double, refuse_odd

from bench.data.acquire import SCHEMA
from bench.data.prepare import arrays, photographs
from bench.data.prepare.processes import each
from bench.data.prepare.run import prepare_classification
from bench.data.prepare.workbench import STATE, Workbench
from bench.data.stages import processes
from bench.errors import BenchError, RequestError
from bench.study.datasets import PretrainData

FULL = OSError(errno.ENOSPC, "No space left on device")

PREPARE = """
import os, signal, sys
from pathlib import Path
from drawn_data import prepare
out, renames = Path(sys.argv[1]), int(sys.argv[2])
rename = os.replace

def replace(source, target):
    global renames
    renames -= 1
    if renames == 0:
        os.kill(os.getpid(), signal.SIGKILL)  # before the rename: the file is written, its name is not
    rename(source, target)
    if renames == 1 and "half" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)  # after it

os.replace = replace
prepare(out, "pst900")
"""


def run_until_killed(out: Path, renames: int, *words: str) -> int:
    """Prepare in a process that kills itself at its so many-th rename; return its exit code."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", PREPARE, str(out), str(renames), *words],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def test_a_preparation_killed_again_and_again_ends_as_one_that_was_not(drawn, tmp_path):
    out = copy_of(drawn, "pst900", tmp_path)
    # 8 frames of 2 arrays, labels and a note each: 32 renames, then prepared/ and the manifest get their names.
    killed = 0
    while run_until_killed(out, 12, *(["half"] if killed % 2 else [])) != 0:
        killed += 1
        assert not (out / "manifest.json").exists() and killed < 10
    assert killed >= 2
    assert prepared_bytes(out) == prepared_bytes(drawn / "pst900")
    assert not (out / STATE).exists()


def test_a_kill_between_the_arrays_and_the_manifest_makes_nothing_anew(drawn, tmp_path, monkeypatch):
    out = copy_of(drawn, "pst900", tmp_path)
    assert run_until_killed(out, 34) == -signal.SIGKILL
    assert (out / "prepared").is_dir() and not (out / "manifest.json").exists()
    monkeypatch.setattr(arrays, "write_sample", lambda *_: pytest.fail("a sample was made anew"))
    prepare(out, "pst900")
    assert prepared_bytes(out) == prepared_bytes(drawn / "pst900")


@pytest.fixture
def made(monkeypatch):
    """The names of samples as they are made."""
    names: list[str] = []
    write_sample = arrays.write_sample

    def counted(task, sample):
        names.append(sample)
        return write_sample(task, sample)

    monkeypatch.setattr(arrays, "write_sample", counted)
    return names


def test_only_what_is_missing_or_has_changed_is_made(drawn, tmp_path, made):
    out = copy_of(drawn, "mfnet", tmp_path)
    labels = sorted((out / "raw").rglob("labels/*.png"))
    first, last = labels[0], labels[-1]
    content = last.read_bytes()
    last.unlink()
    last.write_bytes(content[:40])
    with pytest.raises(BenchError, match=rf"{last.name}: not a readable picture"):
        prepare(out, "mfnet")
    assert nothing_left(out)
    assert made == [path.stem for path in labels]
    made.clear()
    last.write_bytes(content)
    os.utime(first, ns=(1, 1))  # as if it had been replaced by another of the same size
    prepare(out, "mfnet")
    assert made == [first.stem, last.stem]
    assert prepared_bytes(out) == prepared_bytes(drawn / "mfnet")


def test_other_sources_or_another_digest_begin_anew(drawn, tmp_path, made):
    out = copy_of(drawn, "mfnet", tmp_path)
    image = sorted((out / "raw").rglob("labels/*.png"))[-1]
    content = image.read_bytes()
    image.unlink()
    image.write_bytes(b"")
    with pytest.raises(BenchError):
        prepare(out, "mfnet")
    image.write_bytes(content)
    acquired = json.loads((out / "acquired.json").read_text())
    acquired["sources"][0]["sha256"] = "0" * 64
    (out / "acquired.json").write_text(json.dumps(acquired))
    before = len(made)
    prepare(out, "mfnet")
    assert len(made) == 2 * before


# -- a full disk ----------------------------------------------------------------------------------------


class Limited:
    """A stream on a disk with room for so many bytes more."""

    def __init__(self, stream, room: list[int]) -> None:
        self.stream, self.room = stream, room

    def write(self, content) -> int:
        self.room[0] -= memoryview(content).nbytes
        if self.room[0] < 0:
            raise FULL
        return self.stream.write(content)

    def __getattr__(self, name):
        return getattr(self.stream, name)


def test_a_full_disk_is_named_and_what_was_finished_is_kept(drawn, tmp_path, monkeypatch, made):
    out = copy_of(drawn, "pst900", tmp_path)
    npy, room = Workbench.npy, [40_000]

    @contextmanager
    def limited(self, *words):
        with npy(self, *words) as stream:
            yield Limited(stream, room)

    with monkeypatch.context() as patch:
        patch.setattr(Workbench, "npy", limited)
        with pytest.raises(
            BenchError, match=r"pst900: cannot write .*: No space left on device; what is finished"
        ):
            prepare(out, "pst900")
    assert nothing_left(out)
    assert 1 < len(made) < 8
    assert not [path for path in (out / STATE / "arrays").iterdir() if path.name.startswith(".")]
    finished = len(made) - 1
    made.clear()
    prepare(out, "pst900")
    assert len(made) == 8 - finished
    assert prepared_bytes(out) == prepared_bytes(drawn / "pst900")


def test_a_disk_too_full_for_the_manifest_leaves_none(drawn, tmp_path, monkeypatch):
    out = copy_of(drawn, "pst900", tmp_path)

    def full(*_):
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr("bench.data.manifest.write_json", full)
        with pytest.raises(BenchError, match="No space left on device"):
            prepare(out, "pst900")
    assert not (out / "manifest.json").exists()
    prepare(out, "pst900")
    assert prepared_bytes(out) == prepared_bytes(drawn / "pst900")


@pytest.mark.parametrize("form", ["encoded", "decoded"])
def test_photographs_on_a_full_disk_are_gone_on_with_piece_by_piece(form, drawn, tmp_path, monkeypatch):
    data = PretrainData(source="imagenet1k", form=form, size=16 if form == "decoded" else None)

    def pack(out: Path) -> None:
        prepare_classification("imagenet1k", data, out / "raw", out, digest="p", spec={}, scale="miniature")

    monkeypatch.setattr(photographs, "PIECE", 4)
    whole, out = copy_of(drawn, "imagenet1k", tmp_path / "whole"), copy_of(drawn, "imagenet1k", tmp_path)
    pack(whole)
    room, opened, packed = [12_000], Path.open, []
    pack_piece = photographs.pack_piece

    def limited(self, mode="r", *words, **named):
        stream = opened(self, mode, *words, **named)
        return stream if mode != "r+b" else LimitedFile(stream, room)

    def counted(task, piece):
        packed.append(piece.name)
        return pack_piece(task, piece)

    monkeypatch.setattr(photographs, "pack_piece", counted)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", limited)
        with pytest.raises(BenchError, match="No space left on device; what is finished is kept"):
            pack(out)
    assert nothing_left(out) and len(packed) > 2
    finished = len(packed) - 1
    pack(out)
    pieces = len(set(packed))
    assert len(packed) == pieces + 1 and finished < pieces
    assert prepared_bytes(out) == prepared_bytes(whole)


class LimitedFile(Limited):
    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()


# -- several processes ----------------------------------------------------------------------------------


def test_results_come_in_the_order_of_the_items_whatever_the_processes():
    assert (
        list(each(double, range(5), workers=0)) == list(each(double, range(5), workers=2)) == [0, 2, 4, 6, 8]
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_the_first_error_in_order_is_raised(workers):
    with pytest.raises(BenchError, match="1 is odd; give even ones"):
        list(each(refuse_odd, [0, 1, 2, 3], workers=workers))


def test_a_process_that_was_killed_is_named():
    with pytest.raises(BenchError, match=r"one of 2 processes was killed.*BENCH_WORKERS=1"):
        list(each(die, [0, 1, 2], workers=2))


ORPHANS = """
import sys
from pathlib import Path
from bench.data.prepare.processes import each
from process_tasks import sleep_long
if __name__ == "__main__":
    list(each(sleep_long, [sys.argv[1] + "/a", sys.argv[1] + "/b"], workers=2))
"""


def test_processes_end_when_the_one_that_started_them_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(ORPHANS)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 60
        while len(found := list(tmp_path.glob("*.pid"))) < 2:
            assert parent.poll() is None and time.monotonic() < until
            time.sleep(0.05)
    finally:
        parent.kill()
        parent.wait()
    children = [int(file.read_text()) for file in found]
    until = time.monotonic() + 60
    while any(alive(child) for child in children):
        assert time.monotonic() < until
        time.sleep(0.05)


def alive(process: int) -> bool:
    """Say whether a process runs; one that nobody has waited for (Z) does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_processes_are_as_many_as_asked_for_and_unset_as_the_data_are_worth(tmp_path, monkeypatch):
    def sources(*sizes: int) -> Path:
        value = [{"path": str(place), "bytes": size, "sha256": ""} for place, size in enumerate(sizes)]
        described = {"dataset": "d", "digest": "a", "spec": {}, "kind": "archives", "sources": value}
        (tmp_path / "acquired.json").write_text(json.dumps({**described, "schema": SCHEMA}))
        return tmp_path

    monkeypatch.setenv("BENCH_WORKERS", "3")
    assert processes(sources(1000)) == processes(sources(2**34)) == 3
    monkeypatch.delenv("BENCH_WORKERS")
    monkeypatch.setattr("bench.data.stages.file_workers", lambda: 3)
    # One, and one more for each 64 MiB, up to the cores.
    assert [processes(sources(1000)), processes(sources(2**26, 2**25)), processes(sources(2**34))] == [
        1,
        2,
        3,
    ]
    monkeypatch.undo()
    monkeypatch.delenv("BENCH_WORKERS", raising=False)
    assert 1 <= processes(sources(2**34)) <= (os.cpu_count() or 1)
    monkeypatch.setenv("BENCH_WORKERS", "many")
    with pytest.raises(
        RequestError, match="BENCH_WORKERS=many: expected a whole number of processes, 0 or more"
    ):
        processes(sources(1000))
