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


def names(step: int, digest: str = OURS) -> set[str]:
    return {f"{digest[:16]}-{step:09d}.{kind}" for kind in ("json", "safetensors")}


def there(folder) -> set[str]:
    return {path.name for path in (folder / "state").iterdir()}


def test_the_newest_state_comes_back_and_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, OURS)
    for step in (5, 10, 15):
        checkpoints.save(step, state(step))
    step, held = Checkpoints(tmp_path, OURS).load(CPU)
    assert step == 15 and held["loss_count"] == 2
    assert torch.equal(held["model"]["weight"], torch.full((3,), 15.0))
    assert there(tmp_path) == names(10) | names(15)


def test_no_checkpoint_means_a_fresh_start(tmp_path):
    assert Checkpoints(tmp_path, OURS).load(CPU) == (0, {})


def test_a_state_comes_back_with_its_structure_types_and_memory_order(tmp_path):
    weight = torch.arange(24.0).view(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    held = {
        "optimizer": {"state": {0: {"step": torch.tensor(3.0), "exp_avg": weight}}, "betas": (0.9, 0.999)},
        "lists": [1, 2.5, None, True, "word", [torch.tensor([1, 2])]],
        "odd": 0.1 + 0.2,
    }
    Checkpoints(tmp_path, OURS).save(1, held)
    found = Checkpoints(tmp_path, OURS).load(CPU)[1]
    moment = found["optimizer"]["state"][0]["exp_avg"]
    # A fused optimizer walks the moments in the order of memory, beside weights whose channels are innermost.
    assert torch.equal(moment, weight) and moment.stride() == weight.stride() == (24, 1, 8, 2)
    assert found["optimizer"]["betas"] == (0.9, 0.999) and found["odd"] == held["odd"]
    assert found["lists"][:5] == [1, 2.5, None, True, "word"] and found["lists"][3] is True
    assert found["lists"][5][0].dtype == torch.int64


def test_what_json_cannot_hold_is_refused_by_its_place(tmp_path):
    with pytest.raises(TypeError, match="/model/when: a checkpoint cannot hold a set"):
        Checkpoints(tmp_path, OURS).save(1, {"model": {"when": {1}}})


def test_the_optimizer_goes_on_from_a_checkpoint_as_if_nothing_had_happened(tmp_path):
    def fresh():
        layer = torch.nn.Conv2d(3, 4, 3)
        torch.nn.init.constant_(layer.weight, 0.1)
        torch.nn.init.zeros_(layer.bias)
        layer.to(memory_format=torch.channels_last)
        return layer, torch.optim.AdamW(layer.parameters(), lr=0.01, fused=True)

    def step(layer, optimizer, number):
        optimizer.zero_grad()
        images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(number))
        layer(images.contiguous(memory_format=torch.channels_last)).square().mean().backward()
        optimizer.step()

    layer, optimizer = fresh()
    for number in range(3):
        step(layer, optimizer, number)
    Checkpoints(tmp_path, OURS).save(3, {"model": layer.state_dict(), "optimizer": optimizer.state_dict()})
    other, resumed = fresh()
    held = Checkpoints(tmp_path, OURS).load(CPU)[1]
    other.load_state_dict(held["model"])
    resumed.load_state_dict(held["optimizer"])
    for number in range(3, 6):
        step(layer, optimizer, number)
        step(other, resumed, number)
    assert torch.equal(layer.weight, other.weight) and torch.equal(layer.bias, other.bias)


def test_state_of_another_recipe_is_refused_and_kept_until_this_run_is_finished(tmp_path, capfd):
    Checkpoints(tmp_path, THEIRS).save(7, state(7))
    ours = Checkpoints(tmp_path, OURS)
    assert ours.load(CPU) == (0, {})
    assert "state of another recipe or of other data, not resumed from" in capfd.readouterr().err
    ours.save(3, state(3))
    assert there(tmp_path) == names(7, THEIRS) | names(3)
    # Whoever goes back to the old recipe before that finds its state.
    assert Checkpoints(tmp_path, THEIRS).load(CPU)[0] == 7
    ours.clear()
    assert there(tmp_path) == set()


def test_a_checkpoint_under_a_borrowed_name_is_refused(tmp_path, capfd):
    Checkpoints(tmp_path, THEIRS).save(7, state(7))
    for name in names(7, THEIRS):
        (tmp_path / "state" / name).rename(tmp_path / "state" / name.replace("b" * 16, "a" * 16))
    assert Checkpoints(tmp_path, OURS).load(CPU) == (0, {})
    assert f"it belongs to {'b' * 16}, step 7" in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["json", "safetensors"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_an_unreadable_checkpoint_falls_back_to_the_one_before(tmp_path, capfd, kind, damage):
    checkpoints = Checkpoints(tmp_path, OURS)
    checkpoints.save(5, state(5))
    checkpoints.save(10, state(10))
    newest = checkpoints.path(10).with_suffix(f".{kind}")
    held = bytearray(newest.read_bytes())
    held[len(held) // 2] ^= 1
    newest.write_bytes(bytes(held) if damage == "flipped" else held[: len(held) // 2])
    if damage == "gone":
        newest.unlink()
    step, found = checkpoints.load(CPU)
    assert step == 5 and torch.equal(found["model"]["weight"], torch.full((3,), 5.0))
    said = capfd.readouterr().err
    if (kind, damage) == ("json", "gone"):
        assert "tensors of a checkpoint that was never finished, removed" in said
    else:
        assert "cannot be resumed from (" in said and "removed, the one before it serves" in said
    assert there(tmp_path) == names(5)


def test_states_that_are_dropped_leave_those_before_them(tmp_path, capfd):
    checkpoints = Checkpoints(tmp_path, OURS)
    checkpoints.save(5, state(5))
    checkpoints.save(10, state(10))
    assert checkpoints.last_before(10) == f"{checkpoints.path(5)}, after step 5"
    assert checkpoints.last_before(5) == "none yet"
    checkpoints.drop_from(10)
    assert there(tmp_path) == names(5)
    assert "removed, since step 10 was not finite; the one before it serves" in capfd.readouterr().err


def test_temporary_files_of_a_killed_writer_are_removed(tmp_path):
    checkpoints = Checkpoints(tmp_path, OURS)
    checkpoints.save(5, state(5))
    torn = tmp_path / "state" / ".something.json.123.partial"
    torn.write_bytes(b"half")
    assert checkpoints.load(CPU)[0] == 5
    assert not torn.exists()


def test_equal_states_give_equal_bytes_under_any_name(tmp_path):
    for name in ("one", "two"):
        Checkpoints(tmp_path / name, OURS).save(5, state(1))
    for kind in ("json", "safetensors"):
        one, two = (
            Checkpoints(tmp_path / name, OURS).path(5).with_suffix(f".{kind}") for name in ("one", "two")
        )
        assert sha256_file(one) == sha256_file(two)


def test_clear_removes_the_checkpoints_and_nothing_else(tmp_path):
    checkpoints = Checkpoints(tmp_path, OURS)
    checkpoints.save(5, state(5))
    (tmp_path / "state" / "log.csv").write_text("step\n")
    checkpoints.clear()
    assert there(tmp_path) == {"log.csv"}


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
