"""Fine-tuning and evaluation on a GPU: what must equal the CPU's, what must repeat itself, what must be resumed."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import finetuning, write_scenes

from bench.data.store import SegmentationStore
from bench.device import determinism
from bench.evaluate.confusion import confusion, confusion_on_device
from bench.evaluate.counting import count_scenes
from bench.evaluate.predict import Sliding
from bench.models.weights import load_model
from bench.record import read_record, sha256_file
from bench.study.recipes import Evaluation
from bench.train import finetune as story
from bench.train.finetune import finetune

SETTINGS = Evaluation(
    pixels=("full", "patches"), primary="full", metric="mIoU", window=32, stride=20, boundary=(1, 2),
    spectral=("reversed",),
)  # fmt: skip
DIFFERING = 1e-3
"""Largest share of pixels in which float32 on the GPU and on the CPU may predict different classes: near-ties."""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"), sides=((160, 128), (96, 200), (30, 30)))


@pytest.fixture(scope="module")
def trained(scenes, tmp_path_factory):
    """A fine-tuning on the GPU in float32."""
    run = finetuning(tmp_path_factory.mktemp("run"), scenes, None, arm="scratch", iterations=40, lr=5e-3)
    finetune(run, device="cuda", workers=0)
    return run


def counts_and_ids(run, device):
    model, spec = load_model(Path(run.weights))
    model.to(device).to(memory_format=torch.channels_last)
    store, ids = SegmentationStore(Path(run.manifest)), {}
    found = count_scenes(
        model, store, store.split("test"), SETTINGS, Sliding(window=32, stride=20, classes=3, batch=4),
        mean=torch.tensor(spec["mean"], device=device), std=torch.tensor(spec["std"], device=device), seed=0,
        disturbed=store.split("test"), told=lambda name, ids_HW: ids.update({name: ids_HW.copy()}),
    )  # fmt: skip
    return found, ids


def test_prediction_and_counts_from_one_checkpoint_are_those_of_the_cpu(trained):
    (on_gpu, gpu_ids), (on_cpu, cpu_ids) = (counts_and_ids(trained, place) for place in ("cuda", "cpu"))
    pixels = sum(ids.size for ids in cpu_ids.values())
    differing = sum(int((gpu_ids[name] != ids).sum()) for name, ids in cpu_ids.items())
    assert differing <= DIFFERING * pixels
    assert on_gpu.keys() == on_cpu.keys()
    # As many pixels are counted, and a pixel that turned moves one count in each of two cells.
    for rule in ("counts/full", "spectral/reversed"):
        assert on_gpu[rule].sum() == on_cpu[rule].sum()
        assert np.abs(on_gpu[rule] - on_cpu[rule]).sum() <= 2 * DIFFERING * pixels
    assert np.abs(on_gpu["counts/full"] - on_cpu["counts/full"]).sum() <= 2 * differing


@pytest.mark.parametrize("shape", [(1, 1), (37, 53), (512, 768)])
def test_counting_on_the_device_gives_the_counts_of_the_host(shape):
    draw = np.random.default_rng(0)
    target = draw.choice(np.array([0, 1, 2, 3, 255], np.uint8), shape)
    prediction = draw.integers(0, 4, shape, dtype=np.uint8)
    on_device = confusion_on_device(target, torch.from_numpy(prediction).cuda(), 4)
    assert np.array_equal(on_device, confusion(target, prediction, 4)) and on_device.dtype == np.int64


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_training_in_low_precision_learns_and_says_its_precision(tmp_path, amp):
    # Crops that scenes fill, of a multiple of 32 pixels: where a crop is filled up it is constant, and there the layer
    # norms of a drawn network pass on gradients a thousandfold (1 / sqrt(1e-6)), beyond float16.
    scenes = write_scenes(tmp_path / "data", sides=((160, 128), (96, 200)))
    settings = {"iterations": 200, "lr": 5e-3, "crop": 64, "clip_grad": 1.0}
    run = finetuning(tmp_path, scenes, None, arm="scratch", amp=amp, **settings)
    finetune(run, device="cuda", workers=0)
    record = read_record(Path(run.record))
    assert record.extra["precision"] == {"bf16": "bfloat16", "fp16": "float16"}[amp]
    losses = [float(row.split(",")[2]) for row in (Path(run.folder) / "log.csv").read_text().split()[1:]]
    assert np.mean(losses[-20:]) < 0.8 * np.mean(losses[:20])
    assert record.receipt["device"].startswith("cuda")


@pytest.fixture
def asked(monkeypatch):
    """BENCH_DETERMINISTIC is 1."""
    monkeypatch.setenv("BENCH_DETERMINISTIC", "1")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", os.environ.get("CUBLAS_WORKSPACE_CONFIG", ":4096:8"))


def test_with_the_deterministic_switch_nothing_undetermined_is_left_and_bits_repeat(scenes, tmp_path, asked):
    runs = [
        finetuning(tmp_path / name, scenes, None, arm="scratch", iterations=10) for name in ("one", "two")
    ]
    for run in runs:
        finetune(run, device="cuda", workers=0)
        assert read_record(Path(run.record)).extra["nondeterministic"] == []
    assert sha256_file(Path(runs[0].weights)) == sha256_file(Path(runs[1].weights))


def test_a_resumed_run_ends_with_the_bits_of_one_that_was_not_interrupted(
    scenes, tmp_path, asked, monkeypatch
):
    whole = finetuning(tmp_path / "whole", scenes, None, arm="scratch", iterations=10)
    finetune(whole, device="cuda", workers=0)
    run = replace(whole, folder=str(tmp_path / "run"))
    monkeypatch.setattr(story, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(story, "PAUSE", 0.0)
    note = story.FiniteGuard.note

    def interrupted(self, step, **quantities):
        note(self, step, **quantities)
        if step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(story.FiniteGuard, "note", interrupted)
        finetune(run, device="cuda", workers=0)
    finetune(run, device="cuda", workers=0)
    assert sha256_file(Path(run.weights)) == sha256_file(Path(whole.weights))


def test_the_switch_is_off_again_afterwards(asked):
    with determinism():
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
