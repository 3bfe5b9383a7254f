"""A checkpoint is whole, belongs to one digest, and a run folder has one writer at a time."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from bench.lock import run_lock
from bench.record import Record, digest_of, sha256_file
from bench.train.checkpoint import Checkpoints, finished

CPU = torch.device("cpu")
OURS, THEIRS = "a" * 64, "b" * 64


def state(value: float) -> dict:
    return {"model": {"weight": torch.full((3,), value)}, "loss_count": 2}


def test_the_newest_state_comes_back_and_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, OURS)
    for step in (5, 10, 15):
        checkpoints.save(step, state(step))
    step, held = Checkpoints(tmp_path, OURS).load(CPU)
    assert step == 15 and held["loss_count"] == 2
    assert torch.equal(held["model"]["weight"], torch.full((3,), 15.0))
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == [
        f"{'a' * 16}-000000010.pt",
        f"{'a' * 16}-000000015.pt",
    ]


def test_no_checkpoint_means_a_fresh_start(tmp_path):
    assert Checkpoints(tmp_path, OURS).load(CPU) == (0, {})


def test_state_of_another_recipe_is_removed_and_said(tmp_path, capfd):
    Checkpoints(tmp_path, THEIRS).save(7, state(7))
    assert Checkpoints(tmp_path, OURS).load(CPU) == (0, {})
    assert "another recipe" in capfd.readouterr().err
    assert not list((tmp_path / "state").iterdir())


def test_an_unreadable_checkpoint_falls_back_to_the_one_before(tmp_path, capfd):
    checkpoints = Checkpoints(tmp_path, OURS)
    checkpoints.save(5, state(5))
    checkpoints.save(10, state(10))
    newest = tmp_path / "state" / f"{'a' * 16}-000000010.pt"
    newest.write_bytes(newest.read_bytes()[:200])
    assert checkpoints.load(CPU)[0] == 5
    assert "cannot be resumed from" in capfd.readouterr().err
    assert not newest.exists()


def test_a_pickle_that_would_run_code_is_not_loaded(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    checkpoints = Checkpoints(tmp_path, OURS)
    checkpoints.save(5, {"model": Evil()})
    assert checkpoints.load(CPU) == (0, {})
    assert not (tmp_path / "ran").exists()


def test_temporary_files_of_a_killed_writer_are_removed(tmp_path):
    checkpoints = Checkpoints(tmp_path, OURS)
    checkpoints.save(5, state(5))
    torn = tmp_path / "state" / ".something.pt.123.partial"
    torn.write_bytes(b"half")
    assert checkpoints.load(CPU)[0] == 5
    assert not torn.exists()


def test_equal_states_give_equal_bytes_under_any_name(tmp_path):
    for name in ("one", "two"):
        Checkpoints(tmp_path / name, OURS).save(5, state(1))
    one, two = (next((tmp_path / name / "state").iterdir()) for name in ("one", "two"))
    assert sha256_file(one) == sha256_file(two)


def test_clear_removes_the_checkpoints_and_nothing_else(tmp_path):
    checkpoints = Checkpoints(tmp_path, OURS)
    checkpoints.save(5, state(5))
    (tmp_path / "state" / "log.csv").write_text("step\n")
    checkpoints.clear()
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["log.csv"]


HOLDER = """
import sys, time
from pathlib import Path
from bench.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_names_the_first_and_gets_the_folder_when_that_dies(tmp_path, capfd):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            # The holder is killed half a second after we have begun to wait for it.
            killer = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    f"import os,time; time.sleep(0.5); os.kill({holder.pid}, {int(signal.SIGKILL)})",
                ]
            )
            with run_lock(tmp_path):
                assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
            assert killer.wait(timeout=10) == 0
        finally:
            holder.kill()
    assert f"process {holder.pid} is writing here; waiting" in capfd.readouterr().err


def test_the_lock_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), run_lock(tmp_path):
        raise ZeroDivisionError
    began = time.monotonic()
    with run_lock(tmp_path):
        pass
    assert time.monotonic() - began < 5


def test_a_run_is_finished_only_with_its_own_record_and_the_weights_it_names(tmp_path):
    spec = {"stage": "pretrain"}
    digest = digest_of(spec, {})
    manifest = tmp_path / "manifest.json"
    manifest.write_text("{}")
    assert not finished(tmp_path, digest, manifest)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"weights")
    (tmp_path / "weights.json").write_text("{}")
    Record(
        stage="pretrain", names={}, spec=spec, digest=digest, inputs={}, metrics={}, receipt={},
        extra={"weights_sha256": sha256_file(weights), "manifest_sha256": sha256_file(manifest)},
    ).write(tmp_path / "record.json")  # fmt: skip
    assert finished(tmp_path, digest, manifest)
    assert not finished(tmp_path, OURS, manifest)
    manifest.write_text('{"sources": "others"}')
    assert not finished(tmp_path, digest, manifest)
    manifest.write_text("{}")
    weights.write_bytes(b"others")
    assert not finished(tmp_path, digest, manifest)
