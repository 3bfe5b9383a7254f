"""Published weights leave what a pre-training leaves, evaluated like one, and the record says what they are."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from prepared import CONVNEXT, pretraining, write_classes
from safetensors.torch import save_file

from bench.data.prepare.run import IMAGENET_MEAN, IMAGENET_STD
from bench.data.store import ClassificationStore
from bench.errors import BenchError
from bench.evaluate.top1 import Reader, hits
from bench.models.backbone import build_classifier
from bench.models.initial import initialise
from bench.models.weights import load_model
from bench.record import read_record, sha256_file
from bench.stats.protocols import name_of
from bench.study.recipes import Published
from bench.train.checkpoint import finished
from bench.train.pretrain import pretrain


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return the rgb run of a study that names a local file, on data normalised by ImageNet's constants."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    model = build_classifier(CONVNEXT, 3, 3, 0.0, 32)
    initialise(model, "pretrain", 3, 0, layer_scale=0.5)
    save_file(model.state_dict(), tmp_path / "rgb.safetensors")
    manifest = write_classes(tmp_path / "data")
    value = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(value | {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}))
    published = Published(path="rgb.safetensors", sha256=sha256_file(tmp_path / "rgb.safetensors"))
    return replace(pretraining(tmp_path, manifest, strategy="rgb", n=3), published=published)


def test_nothing_is_trained_and_the_record_says_whose_weights_these_are(run, tmp_path, capfd):
    pretrain(run, device="cpu", workers=0)
    record = read_record(Path(run.record))
    assert record.selection == "published" and record.extra["steps"] == record.extra["train_images"] == 0
    assert record.extra["published"] == {
        "source": "published weights rgb.safetensors",
        "sha256": sha256_file(tmp_path / "rgb.safetensors"),
    }
    assert name_of(record) == "tiny/rgb-3ch/seed0/weights-published"
    assert "published weights rgb.safetensors" in capfd.readouterr().err
    assert (Path(run.folder) / "log.csv").read_text() == "step,epoch,lr,loss\n"
    assert finished(Path(run.folder), run.digest, Path(run.manifest))


def test_the_weights_are_the_files_and_top1_is_that_of_any_classifier(run, tmp_path):
    pretrain(run, device="cpu", workers=0)
    model, spec = load_model(Path(run.weights))
    assert spec["mean"] == IMAGENET_MEAN and spec["digest"] == run.digest and spec["channels"] == 3
    store = ClassificationStore(Path(run.manifest))
    found = hits(
        [Reader(model, 3, "rgb")],
        ("natural",),
        store,
        crop=32,
        ratio=0.875,
        seed=0,
        device=torch.device("cpu"),
        workers=0,
    )
    metrics = read_record(Path(run.record)).metrics
    assert metrics["top1/natural"] == found["top1/natural"][0].mean()
    assert {"top1/reversed", "top1/random"} <= metrics.keys()


def test_a_wrong_digest_leaves_nothing(run):
    wrong = replace(run, published=replace(run.published, sha256="0" * 64))
    with pytest.raises(BenchError, match=r"rgb\.safetensors: has the SHA-256 .*, the study expects 0000"):
        pretrain(wrong, device="cpu", workers=0)
    assert not Path(run.record).exists() and not Path(run.weights).exists()
    # The file is named first, before data that do not suit it.
    manifest = Path(run.manifest)
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"mean": [90.0, 100.0, 110.0]}))
    with pytest.raises(BenchError, match=r"rgb\.safetensors: has the SHA-256"):
        pretrain(wrong, device="cpu", workers=0)


def test_data_normalised_otherwise_are_refused(run):
    manifest = Path(run.manifest)
    value = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(value | {"mean": [90.0, 100.0, 110.0]}))
    with pytest.raises(
        BenchError, match=r"normalises by \[90.0, 100.0, 110.0\].* were trained with \[123.675"
    ):
        pretrain(run, device="cpu", workers=0)
