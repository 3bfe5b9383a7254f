"""Pre-training is a function of its run: not of workers, interruptions, the folder, or the global state."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from prepared import DATA_DIGEST, SWIN, pretraining, write_classes
from safetensors.torch import load_file
from timm.data.mixup import mixup_target
from timm.loss import SoftTargetCrossEntropy

from bench.data.store import ClassificationStore
from bench.errors import BenchError
from bench.evaluate.top1 import correct_by_order, evaluate_top1, order_plan
from bench.models.weights import load_model
from bench.progress import CsvLog, Progress
from bench.record import digest_of, read_record, sha256_file
from bench.train import pretrain as story
from bench.train.guard import FiniteGuard
from bench.train.mixing import Mix, draw_mix, erase, mix_images, soft_targets
from bench.train.pretrain import pretrain

OUTPUTS = ("weights.safetensors", "weights.json", "log.csv")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def plain(manifest, tmp_path_factory):
    """One run, uninterrupted, without loader processes: what the others are held against."""
    run = pretraining(tmp_path_factory.mktemp("plain"), manifest, ema=0.9, clip_grad=1.0)
    pretrain(run, device="cpu", workers=0)
    return run


def outputs(run) -> dict[str, str]:
    return {name: sha256_file(Path(run.folder) / name) for name in OUTPUTS}


def test_a_run_leaves_weights_log_and_a_record_that_can_be_walked_back(plain):
    folder = Path(plain.folder)
    record = read_record(folder / "record.json")
    assert record.digest == plain.digest == json.loads((folder / "weights.json").read_text())["digest"]
    assert record.inputs == {"manifest": DATA_DIGEST}
    assert record.extra["weights_sha256"] == sha256_file(folder / "weights.safetensors")
    assert record.names == {"study": "tiny", "backbone": "tiny", "label": "csp-4ch", "seed": 0}
    assert set(record.metrics) == {"top1/natural", "top1/reversed"}
    # 44 images in batches of 8: 5 steps an epoch, 10 in all; a row a step, as 10 rows an epoch are asked for.
    assert record.extra["steps"] == 10
    rows = (folder / "log.csv").read_text().splitlines()
    assert rows[0] == "step,epoch,lr,loss" and [row.split(",")[0] for row in rows[1:]] == [
        str(s) for s in range(1, 11)
    ]
    assert [path.name for path in (folder / "state").iterdir()] == ["log.csv"]


def test_the_weights_load_and_their_normalisation_follows_the_natural_order(plain):
    model, spec = load_model(Path(plain.weights))
    assert spec["mean"] == [90.0, 100.0, 110.0, 90.0] and spec["std"] == [60.0, 50.0, 40.0, 60.0]
    assert model(torch.zeros(2, 4, 32, 32)).shape == (2, 3)


def test_two_loader_processes_give_the_bits_of_none(plain, manifest, tmp_path):
    run = replace(plain, folder=str(tmp_path / "run"))
    torch.manual_seed(123)  # the global state is none of its business
    pretrain(run, device="cpu", workers=2)
    assert outputs(run) == outputs(plain)


KILLED = """
import os, pickle, signal, sys
import bench.train.checkpoint as checkpoint
import bench.train.pretrain as story
import torch
torch.set_num_threads(1)
story.CHECKPOINT_SECONDS = 0.0
save = checkpoint.Checkpoints.save
def save_then_die(self, step, state):
    save(self, step, state)
    if step == 8:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.Checkpoints.save = save_then_die
with open(sys.argv[1], "rb") as stream:
    story.pretrain(pickle.load(stream), device="cpu", workers=0)
"""


def test_a_run_killed_in_the_middle_of_an_epoch_and_resumed_gives_the_bits_of_one_that_was_not(
    plain, tmp_path, capfd
):
    import pickle

    run = replace(plain, folder=str(tmp_path / "run"))
    (tmp_path / "run.pickle").write_bytes(pickle.dumps(run))
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "run.pickle")], timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert not any((Path(run.folder) / name).exists() for name in (*OUTPUTS, "record.json"))
    # As if steps had passed after the checkpoint: their rows are in the log and come again.
    with (Path(run.folder) / "state" / "log.csv").open("a") as stream:
        stream.write("9,1,0.5,0.5\n10,1,0.")
    pretrain(run, device="cpu", workers=0)
    assert "resuming after step 8" in capfd.readouterr().err
    assert outputs(run) == outputs(plain)


def test_a_finished_run_is_not_repeated_and_a_changed_recipe_is(plain, manifest, tmp_path, capfd):
    before = Path(plain.record).stat().st_mtime_ns
    pretrain(plain, device="cpu", workers=0)
    assert Path(plain.record).stat().st_mtime_ns == before
    assert "already holds this run" in capfd.readouterr().err
    changed = pretraining(tmp_path, manifest, epochs=1, warmup_epochs=0.0)
    pretrain(
        replace(changed, recipe=replace(changed.recipe, lr=1e-3), spec={**changed.spec, "lr": 1e-3}),
        device="cpu",
        workers=0,
    )
    first = sha256_file(Path(changed.weights))
    pretrain(changed, device="cpu", workers=0)
    assert sha256_file(Path(changed.weights)) != first


@pytest.mark.parametrize(("strategy", "n"), [("rgb", 3), ("duplicate", 5)])
def test_swin_and_the_other_strategies_run_too(manifest, tmp_path, strategy, n):
    run = pretraining(
        tmp_path, manifest, strategy=strategy, n=n, architecture=SWIN, epochs=1, warmup_epochs=0.0, amp=True
    )
    pretrain(run, device="cpu", workers=0)
    assert load_file(run.weights)["patch_embed.proj.weight"].shape[1] == n


def test_a_network_learns_the_stripes(manifest, tmp_path):
    # Three classes, no augmentation to speak of: chance is 1/3.
    run = pretraining(
        tmp_path,
        manifest,
        epochs=10,
        mixup=0.0,
        cutmix=0.0,
        erasing=0.0,
        drop_path=0.0,
        scale_min=0.8,
        lr=6e-3,
    )
    pretrain(run, device="cpu", workers=0)
    metrics = read_record(Path(run.record)).metrics
    assert metrics["top1/natural"] > 0.8 and metrics["top1/reversed"] > 0.8


def test_data_of_another_digest_are_refused(manifest, tmp_path):
    run = replace(pretraining(tmp_path, manifest), inputs={"manifest": "e" * 64})
    with pytest.raises(BenchError, match="prepare"):
        pretrain(run, device="cpu", workers=0)


def test_a_batch_larger_than_the_training_split_is_refused(manifest, tmp_path):
    with pytest.raises(BenchError, match="batch_size 64 exceeds the 44 training images"):
        pretrain(pretraining(tmp_path, manifest, batch_size=64), device="cpu", workers=0)


def test_a_loss_that_is_not_finite_stops_the_run_by_name_and_step(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(story, "cosine_lr", lambda step, **_: float("inf") if step == 3 else 1e-3)
    run = pretraining(tmp_path, manifest)
    with pytest.raises(BenchError, match="loss was not finite at step 4"):
        pretrain(run, device="cpu", workers=0)
    assert not Path(run.weights).exists() and not Path(run.record).exists()


def test_the_guard_names_the_earliest_of_several_quantities():
    guard = FiniteGuard(torch.device("cpu"))
    for step in range(6):
        guard.note(
            step,
            loss=torch.tensor(float("nan") if step >= 4 else 1.0),
            gradient_norm=torch.tensor(1.0) / (step != 2),
        )
    with pytest.raises(BenchError, match="run x: gradient norm was not finite at step 2"):
        guard.check("run x")


# -- mixing --------------------------------------------------------------------------------------------------


def test_soft_targets_equal_timms_when_partners_are_the_reversed_batch():
    labels = torch.tensor([0, 2, 1, 1])
    mix = Mix(partner=np.array([3, 2, 1, 0]), share=0.3)
    oracle = mixup_target(labels, 3, lam=0.3, smoothing=0.1)
    torch.testing.assert_close(soft_targets(labels, 3, 0.1, mix), oracle)
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    ours = torch.nn.functional.cross_entropy(logits, soft_targets(labels, 3, 0.1, mix))
    torch.testing.assert_close(ours, SoftTargetCrossEntropy()(logits, oracle))


def test_mixup_is_a_weighted_sum_and_cutmix_pastes_a_box_whose_area_is_the_partners_share():
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 2, 8, 8)
    kinds = set()
    for step in range(40):
        mix = draw_mix(4, 8, mixup=0.8, cutmix=1.0, seed=1, step=step)
        mixed = mix_images(images, mix)
        expected = mix.share * torch.arange(4.0) + (1 - mix.share) * torch.from_numpy(mix.partner)
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), expected)
        kinds.add(mix.box is None)
        if mix.box is not None:  # every pixel is either the image's own or its partner's
            own, partner = images, images[torch.from_numpy(mix.partner)]
            assert ((mixed == own) | (mixed == partner)).all()
    assert kinds == {True, False}


def test_mixing_is_a_function_of_seed_and_step_and_can_be_switched_off():
    def drawn(seed: int, step: int) -> tuple:
        mix = draw_mix(16, 32, mixup=0.8, cutmix=1.0, seed=seed, step=step)
        return (*mix.partner, mix.share, mix.box)

    assert drawn(1, 2) == drawn(1, 2) and drawn(1, 2) != drawn(1, 3) and drawn(1, 2) != drawn(2, 2)
    assert draw_mix(16, 32, mixup=0.0, cutmix=0.0, seed=1, step=2) is None
    assert all(draw_mix(4, 8, mixup=0.8, cutmix=0.0, seed=1, step=s).box is None for s in range(20))
    assert all(draw_mix(4, 8, mixup=0.0, cutmix=1.0, seed=1, step=s).box is not None for s in range(20))


def test_erasing_fills_one_box_with_noise_and_depends_on_the_global_position_alone():
    whole = torch.zeros(60, 3, 16, 16)
    erase(whole, 0.25, seed=1, step=7)
    hit = (whole != 0).flatten(1).any(1)
    assert 5 < hit.sum() < 27  # 60 draws at 1/4
    for image in whole[hit]:
        area = (image != 0).all(0)
        rows, columns = area.any(1), area.any(0)
        assert area.sum() == rows.sum() * columns.sum() and 0.01 < area.float().mean() < 0.4
    part = torch.zeros(20, 3, 16, 16)
    erase(part, 0.25, seed=1, step=7, first=40)
    assert torch.equal(part, whole[40:])


# -- top-1 ---------------------------------------------------------------------------------------------------


def test_orders_are_the_natural_arrangement_its_reverse_and_a_shuffle_by_image():
    assert order_plan("natural", 5, 2, 0).tolist() == [[0, 1, 2, 0, 1]] * 2
    assert order_plan("reversed", 5, 1, 0).tolist() == [[1, 0, 2, 1, 0]]
    assert order_plan("reversed", 3, 1, 0).tolist() == [[2, 1, 0]]
    shuffled = order_plan("random", 4, 30, 0)
    assert len(set(map(tuple, shuffled.tolist()))) > 5 and torch.equal(
        shuffled, order_plan("random", 4, 30, 0)
    )


def test_a_classifier_that_reads_the_first_channel_is_right_or_wrong_as_the_order_says(tmp_path):
    # Class 0 is red, class 1 blue; "is channel 0 above its mean?" is right in natural and wrong in reversed
    # order.
    path = write_classes(tmp_path, train=6, val=6, side=32)
    labels = np.array([0, 1] * 3)
    images = np.zeros((6, 32, 32, 3), np.uint8)
    images[labels == 0, ..., 0] = 255
    images[labels == 1, ..., 2] = 255
    np.save(tmp_path / "prepared" / "val.npy", images)
    np.save(tmp_path / "prepared" / "val.labels.npy", labels)

    class FirstChannel(torch.nn.Module):
        def forward(self, x):
            red = x[:, 0].mean(dim=(1, 2))
            return torch.stack([red, -red, torch.full_like(red, -9)], dim=1)

    correct = correct_by_order(
        [(FirstChannel(), 3), (FirstChannel(), 4)], ("natural", "reversed"), ClassificationStore(path),
        crop=32, ratio=1.0, seed=0, device=torch.device("cpu"), workers=0,
    )  # fmt: skip
    assert correct["natural"].all()
    assert not correct["reversed"][0].any()  # B G R
    assert correct["reversed"][1].all()  # R B G R: red is first again


def test_top1_of_stored_classifiers_repeats_the_numbers_of_their_records(plain, manifest, tmp_path):
    other = pretraining(tmp_path, manifest, strategy="rgb", n=3, epochs=1, warmup_epochs=0.0)
    pretrain(other, device="cpu", workers=0)
    spec, inputs = {"stage": "top1"}, {"manifest": DATA_DIGEST}
    words = {"device": "cpu", "workers": 0, "digest": digest_of(spec, inputs), "spec": spec, "inputs": inputs}
    out = tmp_path / "top1"
    evaluate_top1(
        [plain, other], ("natural", "reversed"), out, names={"study": "tiny", "backbone": "tiny"}, **words
    )
    record = read_record(out / "record.json")
    assert record.metrics == {
        str(k): read_record(Path(run.record)).metrics for k, run in enumerate((plain, other))
    }
    assert [cell["label"] for cell in record.extra["cells"]] == ["csp-4ch", "rgb-3ch"]
    with np.load(out / "correct.npz") as stored:
        assert stored["correct/natural"].shape == (2, 20) and stored["correct/natural"].dtype == np.bool_
        assert stored["correct/reversed"][0].mean() == record.metrics["0"]["top1/reversed"]
    stale = replace(plain, spec={**plain.spec, "lr": 1.0})
    with pytest.raises(BenchError, match="run the pre-training tiny csp-4ch seed 0 again"):
        evaluate_top1([stale], ("natural",), tmp_path / "no", names={}, **words)
    assert not list((tmp_path / "no").glob("[!.]*"))


# -- progress ------------------------------------------------------------------------------------------------


class Terminal:
    """A stream that says whether it is a terminal and keeps what is written."""

    def __init__(self, tty: bool) -> None:
        self.tty, self.text = tty, ""

    def isatty(self) -> bool:
        return self.tty

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_plain_lines_come_every_ten_seconds_and_at_the_end_with_rate_and_time_left(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    stream = Terminal(tty=False)
    with Progress("job", 100, start=40, unit_size=8, stream=stream) as progress:
        for step in range(40, 100):
            clock[0] += 0.5
            progress.update(loss=1.0 / (step + 1))
    lines = stream.text.splitlines()
    # 60 steps in 30 s: 2 steps a second, 16 images; lines at 10, 20 and 30 s.
    assert lines[0] == "job: 60/100, 16 img/s, 0:20 left, loss 0.01667"
    assert lines[-1] == "job: 100/100, 16 img/s, 0:00 left, loss 0.01" and len(lines) == 3


def test_a_terminal_gets_a_bar(monkeypatch):
    stream = Terminal(tty=True)
    with Progress("job", 4, unit_size=2, stream=stream) as progress:
        for _ in range(4):
            progress.update(loss=0.5)
    assert "job: 100%" in stream.text and "8/8" in stream.text and "loss=0.5" in stream.text


def test_the_log_starts_afresh_without_a_resume_and_refuses_foreign_columns(tmp_path):
    path = tmp_path / "state" / "log.csv"
    log = CsvLog(path, ("loss",), resumed=0)
    log.write(1, 0.5)
    assert path.read_text() == "step,loss\n1,0.5\n"
    CsvLog(path, ("loss",), resumed=0)
    assert path.read_text() == "step,loss\n"
    with pytest.raises(BenchError, match="columns"):
        CsvLog(path, ("score",), resumed=1)
