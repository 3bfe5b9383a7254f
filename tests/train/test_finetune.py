"""Fine-tuning is a function of its run, and two arms of a repetition differ only where they must."""

import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from prepared import SWIN, pretraining, write_classes
from safetensors.torch import load_file, save_file
from scenes import CLASSES, finetuning, write_scenes

from bench.errors import BenchError
from bench.evaluate.cells import evaluate_target
from bench.evaluate.confusion import confusion
from bench.models.weights import load_model
from bench.record import read_record, sha256_file
from bench.study.jobs import EvaluateRun
from bench.study.recipes import Evaluation
from bench.train import finetune as story
from bench.train.finetune import finetune, segmentation_loss, start_model
from bench.train.pretrain import pretrain

OUTPUTS = ("weights.safetensors", "weights.json", "log.csv")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A three-channel and a four-channel pre-training."""
    root = tmp_path_factory.mktemp("pretrain")
    manifest = write_classes(root / "data")
    runs = {
        "rgb": pretraining(root / "rgb", manifest, strategy="rgb", n=3, epochs=1, warmup_epochs=0),
        "csp": pretraining(root / "csp", manifest, epochs=1, warmup_epochs=0),
    }
    for run in runs.values():
        pretrain(run, device="cpu", workers=0)
    return runs


@pytest.fixture(scope="module")
def plain(scenes, pretrained, tmp_path_factory):
    """One fine-tuning, uninterrupted, without loader processes."""
    run = finetuning(tmp_path_factory.mktemp("plain"), scenes, pretrained["csp"])
    finetune(run, device="cpu", workers=0)
    return run


def outputs(run) -> dict[str, str]:
    return {name: sha256_file(Path(run.folder) / name) for name in OUTPUTS}


def test_a_run_leaves_weights_that_load_and_a_record_that_names_its_start(plain, pretrained):
    record = read_record(Path(plain.record))
    assert record.digest == plain.digest
    assert record.extra["weights_sha256"] == sha256_file(Path(plain.weights))
    assert record.extra["start_sha256"] == sha256_file(Path(pretrained["csp"].weights))
    model, spec = load_model(Path(plain.weights))
    assert spec["digest"] == plain.digest and spec["num_classes"] == len(CLASSES)
    assert model(torch.zeros(1, 4, 33, 47)).shape == (1, 3, 33, 47)
    assert [path.name for path in (Path(plain.folder) / "state").iterdir()] == ["log.csv"]


def test_two_loader_processes_give_the_bits_of_none(plain, tmp_path):
    run = replace(plain, folder=str(tmp_path / "run"))
    torch.manual_seed(99)
    finetune(run, device="cpu", workers=2)
    assert outputs(run) == outputs(plain)


KILLED = """
import os, pickle, signal, sys
import bench.train.checkpoint as checkpoint
import bench.train.finetune as story
import torch
torch.set_num_threads(1)
story.SAVE_SECONDS = 0.0
save = checkpoint.Checkpoints.save
def save_then_die(self, step, state):
    save(self, step, state)
    if step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.Checkpoints.save = save_then_die
with open(sys.argv[1], "rb") as stream:
    story.finetune(pickle.load(stream), device="cpu", workers=0)
"""


def test_a_killed_and_resumed_run_gives_the_bits_of_one_that_was_not(plain, tmp_path, capfd):
    run = replace(plain, folder=str(tmp_path / "run"))
    (tmp_path / "run.pickle").write_bytes(pickle.dumps(run))
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "run.pickle")], timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert not any((Path(run.folder) / name).exists() for name in (*OUTPUTS, "record.json"))
    finetune(run, device="cpu", workers=0)
    assert "resuming after step 3" in capfd.readouterr().err
    assert outputs(run) == outputs(plain)


def test_before_training_every_tensor_but_the_stem_is_equal_across_arms(scenes, pretrained, tmp_path):
    held = {}
    for arm, start, stem in [
        ("rgb-repeat", "rgb", "repeat"),
        ("rgb-zero", "rgb", "zero"),
        ("rgb-random", "rgb", "random"),
        ("csp", "csp", None),
    ]:
        torch.manual_seed(len(held))
        run = finetuning(tmp_path, scenes, pretrained[start], arm=arm, stem=stem)
        held[arm] = start_model(run, 3)[0].state_dict()
    heads = [name for name in held["csp"] if not name.startswith("backbone.")]
    assert len(heads) > 20
    for name in heads:
        assert all(torch.equal(held[arm][name], held["csp"][name]) for arm in held), name
    # Arms on the same pre-training agree in the backbone too, but for the stem's convolution.
    for name in (name for name in held["csp"] if name.startswith("backbone.")):
        same = torch.equal(held["rgb-repeat"][name], held["rgb-zero"][name])
        assert same != (name == "backbone.stem.0.weight"), name


def test_scratch_has_the_same_head_and_a_drawn_backbone(scenes, pretrained, tmp_path):
    drawn, sha256 = start_model(finetuning(tmp_path, scenes, None, arm="scratch"), 3)
    loaded, _ = start_model(finetuning(tmp_path, scenes, pretrained["csp"]), 3)
    assert sha256 is None
    one, two = drawn.state_dict(), loaded.state_dict()
    assert torch.equal(one["decode_head.classifier.weight"], two["decode_head.classifier.weight"])
    assert not torch.equal(one["backbone.stem.0.weight"], two["backbone.stem.0.weight"])


def test_swin_is_fine_tuned_too(scenes, tmp_path):
    run = finetuning(tmp_path, scenes, None, arm="scratch", architecture=SWIN, crop=40)
    finetune(run, device="cpu", workers=0)
    assert np.isfinite(read_record(Path(run.record)).metrics["loss"])


def test_pretrained_weights_of_another_digest_are_refused_by_name(scenes, pretrained, tmp_path):
    other = replace(pretrained["csp"], spec=pretrained["csp"].spec | {"changed": 1})
    with pytest.raises(BenchError, match=r"record\.json: made by another study or version"):
        finetune(finetuning(tmp_path, scenes, other), device="cpu", workers=0)
    assert not list(tmp_path.rglob("weights.*"))


def test_exchanged_weights_are_refused(scenes, pretrained, tmp_path):
    import shutil

    folder = tmp_path / "pretrain"
    shutil.copytree(pretrained["csp"].folder, folder)
    tensors = load_file(folder / "weights.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, folder / "weights.safetensors")
    run = finetuning(tmp_path, scenes, replace(pretrained["csp"], folder=str(folder)))
    with pytest.raises(BenchError, match="these are not the weights that"):
        finetune(run, device="cpu", workers=0)


def test_a_loss_that_is_not_finite_stops_the_run_by_name(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(story, "segmentation_loss", lambda logits, targets: logits.sum() * float("nan"))
    with pytest.raises(BenchError, match="loss was not finite at step 0"):
        finetune(finetuning(tmp_path, scenes, None, arm="scratch"), device="cpu", workers=0)
    assert not list(tmp_path.rglob("record.json"))


def test_layer_decay_belongs_to_convnext(scenes, tmp_path):
    run = finetuning(tmp_path, scenes, None, arm="scratch", architecture=SWIN, layer_decay=0.9)
    with pytest.raises(BenchError, match="stage-wise rule of the ConvNeXt recipe"):
        finetune(run, device="cpu", workers=0)


def test_the_loss_is_the_mean_over_labelled_pixels():
    # Uniform logits over 4 classes: cross-entropy log 4 at each labelled pixel, whatever is ignored.
    logits = torch.zeros(1, 4, 2, 2)
    targets = torch.tensor([[[0, 3], [255, 255]]], dtype=torch.uint8)
    assert segmentation_loss(logits, targets).item() == pytest.approx(np.log(4))
    assert segmentation_loss(logits, torch.full_like(targets, 255)).item() == 0


# -- evaluation of cells ---------------------------------------------------------------------------------------

SETTINGS = Evaluation(pixels=("full",), primary="full", metric="mIoU", window=32, stride=20)


def evaluation(root, scenes, cells) -> EvaluateRun:
    return EvaluateRun(
        study="tiny", scale="miniature", folder=str(root / "evaluate"), dataset="shapes", backbone="tiny",
        finetunings=tuple(cells), manifest=str(scenes), spec={"stage": "evaluate"},
        inputs={"manifest": "5" * 64} | {f"{c.arm}/seed{c.repetition}": c.digest for c in cells},
    )  # fmt: skip


def test_counts_of_a_cell_are_those_of_its_predictions(plain, scenes, tmp_path):
    run = evaluation(tmp_path, scenes, [plain])
    evaluate_target(run, SETTINGS, device="cpu")
    record = read_record(Path(run.record))
    counts = np.load(Path(run.folder) / "counts.npz")["counts/full"]
    assert counts.shape == (1, 3, 3, 3) and counts.dtype == np.int64
    assert record.extra["units"] == ["bag0", "bag0", "bag1"]
    # 64 x 50, 40 x 70 and 30 x 30 pixels less two ignored rows each.
    assert counts.sum(axis=(2, 3)).tolist() == [[62 * 50, 38 * 70, 28 * 30]]
    examples = np.load(Path(run.folder) / "examples.npz")
    for place, name in enumerate(record.extra["samples"]):
        again = confusion(examples[f"target/{name}"], examples[f"prediction/csp/{name}"], 3)
        assert np.array_equal(counts[0, place], again)
    whole = counts[0].sum(axis=0)
    iou = [whole[c, c] / (whole[c].sum() + whole[:, c].sum() - whole[c, c]) for c in range(3)]
    assert record.metrics["0"]["full"]["mIoU"] == pytest.approx(np.mean(iou))


def test_an_added_cell_predicts_only_itself(plain, scenes, tmp_path, monkeypatch):
    evaluate_target(evaluation(tmp_path, scenes, [plain]), SETTINGS, device="cpu")
    other = finetuning(tmp_path, scenes, None, arm="scratch")
    finetune(other, device="cpu", workers=0)
    loaded = []
    monkeypatch.setattr(
        "bench.evaluate.cells.load_model", lambda path: loaded.append(path) or load_model(path)
    )
    run = evaluation(tmp_path, scenes, [plain, other])
    evaluate_target(run, SETTINGS, device="cpu")
    assert loaded == [Path(other.weights)]
    assert np.load(Path(run.folder) / "counts.npz")["counts/full"].shape == (2, 3, 3, 3)


def test_a_stale_cell_is_refused_by_name(plain, scenes, tmp_path):
    stale = replace(plain, spec=plain.spec | {"changed": 1})
    with pytest.raises(BenchError, match=r"csp/seed0/record\.json: made by another study or version"):
        evaluate_target(evaluation(tmp_path, scenes, [stale]), SETTINGS, device="cpu")
    assert not (tmp_path / "evaluate" / "record.json").exists()
