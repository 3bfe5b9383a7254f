"""Weights are saved whole and loaded strictly, and the log says what became of each tensor."""

import json
import re
import shutil
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.errors import BenchError
from bench.models.backbone import STEM_WEIGHT, build_classifier
from bench.models.initial import initialise
from bench.models.stem import adapt
from bench.models.upernet import Segmenter
from bench.models.weights import (
    load_classifier_weights_into,
    load_model,
    loading_table,
    read_spec,
    save_weights,
)

HEAD = {"head_channels": 32, "aux_channels": 16, "pool_scales": [1, 2]}


def classifier_spec(architecture, channels):
    return {
        "kind": "classifier",
        "architecture": asdict(architecture),
        "channels": channels,
        "num_classes": 10,
        "mean": [120.0] * channels,
        "std": [58.0] * channels,
        "head": {"image_size": 64},
        "digest": "c0ffee",
    }


def segmenter_spec(architecture, channels):
    return classifier_spec(architecture, channels) | {"kind": "segmenter", "num_classes": 5, "head": HEAD}


def saved_classifier(folder, architecture, channels):
    model = build_classifier(architecture, channels, 10, 0.0, 64)
    initialise(model, "pretrain", 0, 0)
    path = folder / f"{channels}" / "weights.safetensors"
    save_weights(path, model, classifier_spec(architecture, channels))
    return path, model


def fresh_segmenter(architecture, channels):
    model = Segmenter(architecture, channels, 5, **HEAD)
    initialise(model, "finetune", 0, 0)
    return model


def rewrite(path, change):
    """Change the tensors of a saved file in place."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_a_saved_classifier_comes_back_bit_for_bit(tmp_path, architecture):
    path, model = saved_classifier(tmp_path, architecture, 4)
    loaded, spec = load_model(path)
    assert spec == json.loads(json.dumps(classifier_spec(architecture, 4))) and not loaded.training
    image = torch.randn(2, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(loaded(image), model.eval()(image))


def test_a_saved_segmenter_comes_back_bit_for_bit(tmp_path, architecture):
    model = fresh_segmenter(architecture, 5).train()
    image = torch.randn(2, 5, 40, 64, generator=torch.Generator().manual_seed(0))
    model(image)  # moves the batch statistics, which must travel too
    path = tmp_path / "weights.safetensors"
    save_weights(path, model, segmenter_spec(architecture, 5))
    with torch.inference_mode():
        assert torch.equal(load_model(path)[0](image), model.eval()(image))


def test_equal_content_gives_equal_bytes_under_any_name(tmp_path, convnext):
    model = build_classifier(convnext, 3, 10, 0.0, 64)
    initialise(model, "pretrain", 0, 0)
    one, other = tmp_path / "a" / "weights.safetensors", tmp_path / "b" / "other.safetensors"
    save_weights(one, model, classifier_spec(convnext, 3))
    save_weights(other, model.to(memory_format=torch.channels_last), classifier_spec(convnext, 3))
    assert one.read_bytes() == other.read_bytes()
    assert one.with_suffix(".json").read_bytes() == other.with_suffix(".json").read_bytes()
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == [
        "other.json",
        "other.safetensors",
        "weights.json",
        "weights.safetensors",
    ]


@pytest.mark.parametrize("channels", [3, 5])
def test_weights_of_the_targets_channels_are_loaded_whole(tmp_path, architecture, channels):
    path, classifier = saved_classifier(tmp_path, architecture, channels)
    segmenter = fresh_segmenter(architecture, channels)
    before = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()}
    # Without effect on weights that fit already, whatever the stem.
    rows = dict(load_classifier_weights_into(segmenter, path, "zero"))
    file = classifier.state_dict()
    for name, tensor in segmenter.state_dict().items():
        if name.startswith("backbone."):
            assert rows[name] == "loaded" and torch.equal(tensor, file[name.removeprefix("backbone.")])
        else:
            assert rows[name] == "new" and torch.equal(tensor, before[name])
    left_out = {name for name, status in rows.items() if status == "left out (classifier head)"}
    norm = "norm" if architecture.family == "swin" else "head.norm"
    assert left_out == {f"{norm}.weight", f"{norm}.bias", "head.fc.weight", "head.fc.bias"}
    assert set(rows) == set(before) | left_out


@pytest.mark.parametrize("stem", ["repeat", "repeat-normalised", "mean", "copy-red", "zero", "random"])
def test_rgb_weights_meet_more_channels_by_the_named_stem(tmp_path, architecture, stem):
    path, classifier = saved_classifier(tmp_path, architecture, 3)
    segmenter = fresh_segmenter(architecture, 5)
    name = STEM_WEIGHT[architecture.family]
    drawn = segmenter.state_dict()[f"backbone.{name}"].clone()
    rows = load_classifier_weights_into(segmenter, path, stem)
    adapted = [row for row in rows if row[1].startswith("adapted")]
    assert adapted == [(f"backbone.{name}", f"adapted by {stem}")]
    expected = adapt(stem, classifier.state_dict()[name], drawn)
    assert torch.equal(segmenter.state_dict()[f"backbone.{name}"], expected)


@pytest.mark.parametrize("channels", [3, 5])
def test_reinit_keeps_the_whole_stem_as_initialised(tmp_path, architecture, channels):
    path, _ = saved_classifier(tmp_path, architecture, 3)
    rewrite(path, lambda tensors: [tensor.add_(1) for name, tensor in tensors.items() if tensor.ndim == 1])
    segmenter = fresh_segmenter(architecture, channels)
    before = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()}
    rows = load_classifier_weights_into(segmenter, path, "reinit")
    stem = {name for name, status in rows if status == "adapted by reinit"}
    place = "backbone.stem." if architecture.family == "convnext" else "backbone.patch_embed."
    assert stem == {name for name in before if name.startswith(place)} and len(stem) == 4
    after = segmenter.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in stem)


def test_weights_of_another_number_of_channels_are_refused(tmp_path, architecture):
    path, _ = saved_classifier(tmp_path, architecture, 4)
    with pytest.raises(
        BenchError, match="takes 4 channels and the target has 5; only three-channel weights can be"
    ):
        load_classifier_weights_into(fresh_segmenter(architecture, 5), path, "repeat")


def test_weights_of_another_backbone_are_refused(tmp_path, convnext, swin):
    path, _ = saved_classifier(tmp_path, swin, 3)
    with pytest.raises(
        BenchError, match=r"the classifier is .*swin.*; the segmenter's backbone is .*convnext"
    ):
        load_classifier_weights_into(fresh_segmenter(convnext, 3), path, "repeat")


def test_a_segmenters_weights_start_no_fine_tuning(tmp_path, convnext):
    path = tmp_path / "weights.safetensors"
    save_weights(path, fresh_segmenter(convnext, 3), segmenter_spec(convnext, 3))
    with pytest.raises(BenchError, match="holds a segmenter; only a classifier's weights"):
        load_classifier_weights_into(fresh_segmenter(convnext, 3), path, "repeat")


TENSOR = "stages.1.blocks.0.conv_dw.weight"
DEFECTS = {
    "missing": (
        lambda tensors: tensors.pop(TENSOR),
        rf"tensor {TENSOR} is missing in the file and \[32, 1, 7, 7\] torch.float32 in the model",
    ),
    "left over": (
        lambda tensors: tensors.update({"stages.9.gamma": torch.ones(4)}),
        r"tensor stages\.9\.gamma is \[4\] torch.float32 in the file and missing in the model",
    ),
    "of another shape": (
        lambda tensors: tensors.update({TENSOR: torch.ones(32, 1, 3, 3)}),
        rf"tensor {TENSOR} is \[32, 1, 3, 3\] torch.float32 in the file and \[32, 1, 7, 7\] torch.float32 in",
    ),
    "of another type": (
        lambda tensors: tensors.update({TENSOR: tensors[TENSOR].half()}),
        rf"tensor {TENSOR} is \[32, 1, 7, 7\] torch.float16 in the file and \[32, 1, 7, 7\] torch.float32 in",
    ),
}


@pytest.mark.parametrize("defect", sorted(DEFECTS))
def test_a_tensor_that_does_not_fit_stops_the_loading_and_changes_nothing(tmp_path, convnext, defect):
    change, message = DEFECTS[defect]
    path, _ = saved_classifier(tmp_path, convnext, 3)
    rewrite(path, change)
    segmenter = fresh_segmenter(convnext, 5)
    before = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()}
    with pytest.raises(BenchError, match=message):
        load_classifier_weights_into(segmenter, path, "repeat")
    with pytest.raises(BenchError, match=message):
        load_model(path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in segmenter.state_dict().items())


def test_missing_and_torn_files_are_named(tmp_path, convnext):
    path, _ = saved_classifier(tmp_path, convnext, 3)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BenchError, match=f"{re.escape(str(path))}: no safetensors file"):
        load_model(path)
    path.unlink()
    with pytest.raises(BenchError, match=f"{re.escape(str(path))}: no such weights"):
        load_model(path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(BenchError, match="not a JSON model spec"):
        read_spec(path)
    shutil.rmtree(path.parent)
    with pytest.raises(BenchError, match=r"weights\.json: no such model spec"):
        load_model(path)
    with pytest.raises(BenchError, match=r"weights are kept in \.safetensors files"):
        read_spec(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "a model spec has the keys"),
        ({"kind": "detector"}, "kind 'detector' of the model spec is none of"),
        ({"head": {}}, r"the head of a classifier has the keys \['image_size'\]; found \[\]"),
        ({"mean": [1.0]}, "mean in the model spec has 1 numbers for 3 channels"),
    ],
)
def test_a_spec_that_does_not_say_what_it_must_is_not_written(tmp_path, convnext, change, message):
    model, path = build_classifier(convnext, 3, 10, 0.0, 64), tmp_path / "weights.safetensors"
    with pytest.raises(BenchError, match=message):
        save_weights(path, model, classifier_spec(convnext, 3) | change)
    assert list(tmp_path.iterdir()) == []


def test_the_log_counts_what_fits_and_names_what_changed():
    rows = [
        ("backbone.stages.0.blocks.0.gamma", "loaded"),
        ("backbone.stages.0.blocks.1.gamma", "loaded"),
        ("backbone.stem.0.weight", "adapted by zero"),
        ("decode_head.fuse.conv.weight", "new"),
        ("head.fc.bias", "left out (classifier head)"),
        ("head.fc.weight", "left out (classifier head)"),
    ]
    assert loading_table(rows).splitlines() == [
        "6 tensors",
        "adapted by zero             backbone.stem.0.weight (1)",
        "left out (classifier head)  head.fc.bias (1)",
        "left out (classifier head)  head.fc.weight (1)",
        "loaded                      backbone.stages.0 (2)",
        "new                         decode_head (1)",
    ]
