"""Pictures of one's own become maps of ids and colours, or one sentence that says why not."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image

from bench.cli import main
from bench.data.transforms import normalise
from bench.models.backbone import Backbone, build_classifier
from bench.models.initial import initialise
from bench.models.upernet import Segmenter
from bench.models.weights import load_model, save_weights

TINY = Backbone(family="convnext", depths=(1, 1, 1, 1), widths=(8, 8, 16, 16))
COLOURS = [[0, 0, 0], [200, 10, 10], [10, 200, 10]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "weights.safetensors"
    head = {"head_channels": 8, "aux_channels": 8, "pool_scales": [1, 2]}
    model = Segmenter(TINY, 4, 3, **head | {"pool_scales": (1, 2)}, drop_path=0.0, dropout=0.0)
    initialise(model, "test", 0, 0, layer_scale=1.0)
    names = ("red", "green", "blue", "thermal")
    spec = {
        "kind": "segmenter", "architecture": {"family": "convnext", "depths": [1, 1, 1, 1], "widths": [8, 8, 16, 16]},
        "channels": 4, "num_classes": 3, "mean": [100.0, 90.0, 80.0, 70.0], "std": [40.0, 40.0, 40.0, 20.0],
        "head": head, "digest": "0" * 64,
        "scene": {
            "channels": [{"name": name, "dtype": "uint8"} for name in names],
            "classes": [{"name": f"c{i}", "colour": colour} for i, colour in enumerate(COLOURS)],
            "window": 32, "stride": 21,
        },
    }  # fmt: skip
    save_weights(path, model, spec)
    return path


def picture(path, *shape, dtype=np.uint8):
    pixels = np.random.default_rng(0).integers(0, 255, shape, dtype=dtype)
    Image.fromarray(pixels).save(path)
    return pixels


def predict(weights, out, *images):
    return main(["predict", "--weights", str(weights), "--out", str(out), *map(str, images)])


def test_a_picture_becomes_ids_and_colours_of_its_own_size(weights, tmp_path):
    pixels = picture(tmp_path / "scene.png", 30, 26, 4)
    assert predict(weights, tmp_path / "maps", tmp_path / "scene.png") == 0
    ids = np.asarray(Image.open(tmp_path / "maps/scene.ids.png"))
    model, spec = load_model(weights)
    mean, std = torch.tensor(spec["mean"]), torch.tensor(spec["std"])
    with torch.inference_mode():
        plain = model(normalise(torch.from_numpy(pixels).permute(2, 0, 1)[None], mean, std))
    assert np.array_equal(ids, plain[0].argmax(0).numpy())
    painted = np.asarray(Image.open(tmp_path / "maps/scene.colours.png"))
    assert np.array_equal(painted, np.array(COLOURS, np.uint8)[ids])


def test_planes_of_several_files_follow_each_other(weights, tmp_path):
    pixels = picture(tmp_path / "scene.png", 40, 36, 4)
    Image.fromarray(pixels[..., :3].copy()).save(tmp_path / "visible.png")
    Image.fromarray(pixels[..., 3].copy()).save(tmp_path / "thermal.png")
    both = f"{tmp_path / 'visible.png'},{tmp_path / 'thermal.png'}"
    assert predict(weights, tmp_path / "maps", tmp_path / "scene.png", both) == 0
    maps = [np.asarray(Image.open(tmp_path / f"maps/{name}.ids.png")) for name in ("scene", "visible")]
    assert np.array_equal(*maps)


def test_a_channel_that_scenes_standardise_by_themselves_is_standardised_here_too(weights, tmp_path):
    tensors, spec = weights, json.loads(weights.with_suffix(".json").read_text())
    own = tmp_path / "own.safetensors"
    shutil.copyfile(tensors, own)
    spec["scene"]["per_tile"] = ["thermal"]
    spec["mean"][3], spec["std"][3] = 0.0, 1.0
    own.with_suffix(".json").write_text(json.dumps(spec))
    pixels = picture(tmp_path / "scene.png", 30, 26, 4)
    assert predict(own, tmp_path / "maps", tmp_path / "scene.png") == 0
    model, _ = load_model(own)
    values = pixels.transpose(2, 0, 1).astype(np.float32)
    values[3] = (values[3] - values[3].mean()) / values[3].std()
    mean, std = torch.tensor(spec["mean"]), torch.tensor(spec["std"])
    with torch.inference_mode():
        plain = model(normalise(torch.from_numpy(values)[None], mean, std))[0]
    ids = np.asarray(Image.open(tmp_path / "maps/scene.ids.png"))
    assert (ids == plain.argmax(0).numpy()).mean() > 0.99


def test_weights_of_a_classifier_are_refused_before_a_picture_is_read(tmp_path, capsys):
    model = build_classifier(TINY, 3, 2, 0.0, 32)
    spec = {
        "kind": "classifier", "architecture": asdict(TINY), "channels": 3, "num_classes": 2, "mean": [0.0] * 3,
        "std": [1.0] * 3, "head": {"image_size": 32}, "digest": "0" * 64,
    }  # fmt: skip
    save_weights(tmp_path / "weights.safetensors", model, spec)
    assert predict(tmp_path / "weights.safetensors", tmp_path / "maps", "absent.png") == 2
    said = capsys.readouterr().err
    assert (
        "weights of a classifier without classes and channels of scenes; give the weights.safetensors" in said
    )


@pytest.mark.parametrize(
    ("images", "code", "sentence"),
    [
        (["absent.png"], 1, "absent.png: no such picture"),
        (["rgb.png"], 1, "3 planes, the network has 4 channels: red, green, blue, thermal"),
        (["rgb.png,small.png"], 1, "small.png: 10 x 12 pixels (height x width), but"),
        (["rgb.png,deep.png"], 1, "channel thermal was trained on uint8 values"),
        (["rgb.png,small.png", "other/rgb.png"], 2, "two of the pictures have the same name"),
    ],
)
def test_pictures_that_do_not_fit_are_refused_in_one_sentence(
    images, code, sentence, weights, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    picture("rgb.png", 30, 26, 3)
    picture("small.png", 10, 12)
    picture("deep.png", 30, 26, dtype=np.uint16)
    assert predict(weights, "maps", *images) == code
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "maps").exists()
