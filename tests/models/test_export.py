"""An exported pre-training is one that timm loads by itself, with the same logits, and a card that is true."""

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
import yaml

from bench.errors import BenchError, RequestError
from bench.models.backbone import build_classifier
from bench.models.export import config_of, export_pretraining, tag_of
from bench.models.initial import initialise
from bench.models.weights import save_weights
from bench.record import Record, digest_of, sha256_file
from bench.study.jobs import PretrainRun
from bench.study.reading import load_study
from bench.study.recipes import PretrainRecipe, Published
from bench.study.runs import Runs
from bench.study.schema import Backbone

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
PAPER = Path(__file__).parents[2] / "config" / "paper.yaml"
CONVNEXT = Backbone(family="convnext", depths=(1, 1, 2, 1), widths=(8, 16, 24, 32))
SWIN = Backbone(family="swin", depths=(2, 2, 2, 1), widths=(8, 16, 32, 64), heads=(1, 1, 2, 2), window=2)
CLASSES = [
    {"index": i, "wnid": f"n{i:08d}", "name": name} for i, name in enumerate(("tench", "kite: red", "ä"))
]
RECIPE = PretrainRecipe(
    epochs=2, batch_size=8, crop=64, lr=1e-3, weight_decay=0.05, warmup_epochs=0, min_lr=1e-5, drop_path=0.0,
    label_smoothing=0.1, eval_ratio=0.9,
)  # fmt: skip


def finished(
    root, architecture=CONVNEXT, n=4, *, label="csp-4ch", scale="miniature", data="imagenet1k", **changes
):
    """Return a run whose weights and record lie below `root`, as a pre-training leaves them."""
    spec = {
        "stage": "pretrain",
        "architecture": asdict(architecture),
        "settings": {"fill": "cycle", "scope": "image"},
        "channels": n,
    }
    run = PretrainRun(
        study="tiny", scale=scale, folder=str(root / "run"), backbone="tiny_net", architecture=architecture,
        label=label, strategy=label.split("-")[0], fill="cycle", scope="image", probability=1.0, channels=n,
        repetition=0, root_seed=5, recipe=RECIPE, data=data, manifest="manifest.json", spec=spec,
        inputs={"manifest": "d" * 64},
    )  # fmt: skip
    model = build_classifier(architecture, n, len(CLASSES), 0.0, RECIPE.crop)
    initialise(model, "pretrain", 3, 0, layer_scale=0.5)
    natural = [source % 3 for source in range(n)]
    save_weights(
        root / "run" / "weights.safetensors",
        model,
        {
            "kind": "classifier", "architecture": asdict(architecture), "channels": n, "num_classes": len(CLASSES),
            "mean": [MEAN[c] for c in natural], "std": [STD[c] for c in natural],
            "head": {"image_size": RECIPE.crop}, "digest": run.digest,
        },
    )  # fmt: skip
    Record(
        stage="pretrain", names={"backbone": run.backbone}, spec=spec, digest=digest_of(spec, run.inputs),
        inputs=run.inputs, metrics={"top1/natural": 0.5, "top1/reversed": 0.4375}, receipt={"commit": "c0ffee"},
        extra={
            "weights_sha256": sha256_file(root / "run" / "weights.safetensors"), "steps": 10, "train_images": 44,
            "val_images": 16,
        },
    ).write(root / "run" / "record.json")  # fmt: skip
    return replace(run, **changes), model.eval()


@pytest.mark.parametrize(
    ("architecture", "n"), [(CONVNEXT, 3), (CONVNEXT, 5), (SWIN, 3), (SWIN, 4)], ids=["c3", "c5", "s3", "s4"]
)
def test_timm_loads_the_folder_and_gives_the_same_logits(tmp_path, architecture, n):
    run, model = finished(tmp_path, architecture, n, label=f"csp-{n}ch")
    folder = export_pretraining(run, CLASSES, tmp_path / "out")
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = torch.randn(3, n, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), model(images), rtol=1e-5, atol=1e-6)
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in model.state_dict().items())


def test_timm_finds_input_normalisation_and_labels_in_the_folder(tmp_path):
    run, _ = finished(tmp_path)
    folder = export_pretraining(run, CLASSES, tmp_path / "out")
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    config = timm.data.resolve_model_data_config(model)
    assert config["input_size"] == (4, 64, 64) and config["crop_pct"] == 0.9
    assert config["interpolation"] == "bicubic"
    # ImageNet's constants, red again in the fourth channel.
    assert config["mean"] == pytest.approx((0.485, 0.456, 0.406, 0.485))
    assert config["std"] == pytest.approx((0.229, 0.224, 0.225, 0.229))
    assert model.pretrained_cfg["label_names"] == ["n00000000", "n00000001", "n00000002"]
    assert model.pretrained_cfg["label_descriptions"]["n00000001"] == "kite: red"
    assert model.pretrained_cfg["tag"] == "csp4_drawn" and folder.name == "tiny_net.csp4_drawn"


def test_a_network_for_other_classes_and_channels_starts_from_the_folder(tmp_path):
    run, model = finished(tmp_path)
    folder = export_pretraining(run, CLASSES, tmp_path / "out")
    features = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=9)
    name = "stages.3.blocks.0.mlp.fc1.weight"
    assert torch.equal(features.state_dict()[name], model.state_dict()[name])
    assert features.get_classifier().out_features == 9


@pytest.mark.parametrize(
    ("scale", "stamp"), [("miniature", "MINIATURE"), ("small", "SMALL SCALE"), ("full", None)]
)
def test_the_card_has_the_hubs_header_and_says_what_was_run(tmp_path, scale, stamp):
    run, _ = finished(tmp_path, scale=scale)
    text = (export_pretraining(run, CLASSES, tmp_path / "out") / "README.md").read_text(encoding="utf-8")
    _, header, body = text.split("---\n", 2)
    fields = yaml.safe_load(header)
    assert fields["library_name"] == "timm" and "image-classification" in fields["tags"]
    assert fields["license"] == "other" and fields["license_name"]
    assert ("datasets" in fields) == (scale != "miniature")
    assert (stamp is None) or f"> **{stamp}**" in body
    assert ("MINIATURE" in text, "SMALL SCALE" in text) == (scale == "miniature", scale == "small")
    assert "| top1/natural | 50.00 |" in body and "| top1/reversed | 43.75 |" in body
    assert "R G B R" in body and "10 steps" in body and run.digest in body and "no redistribution" in body


def test_the_card_of_grey_says_that_every_channel_is_the_mean(tmp_path):
    run, _ = finished(tmp_path, label="grey-4ch")
    text = (export_pretraining(run, CLASSES, tmp_path / "out") / "README.md").read_text(encoding="utf-8")
    assert "the mean of red, green and blue in each" in text and "R G B R" not in text


def test_an_export_is_the_same_bytes_each_time_and_never_overwrites(tmp_path):
    run, _ = finished(tmp_path)
    folders = [export_pretraining(run, CLASSES, tmp_path / name) for name in ("a", "b")]
    for name in ("model.safetensors", "config.json", "README.md"):
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second
    with pytest.raises(
        RequestError, match=r"csp4_drawn: is there already; remove it, or choose another --out"
    ):
        export_pretraining(run, CLASSES, tmp_path / "a")


def test_what_cannot_be_exported_leaves_nothing_and_is_said(tmp_path):
    run, _ = finished(tmp_path)
    out = tmp_path / "out"
    with pytest.raises(BenchError, match="this pre-training has not been run; `python -m bench run` does it"):
        export_pretraining(replace(run, folder=str(tmp_path / "none")), CLASSES, out)
    with pytest.raises(BenchError, match="the study asks for .*: run this pre-training again"):
        export_pretraining(replace(run, spec={**run.spec, "seed": 1}), CLASSES, out)
    with pytest.raises(
        RequestError, match="published weights convnext_tiny.fb_in1k, not a training of this study"
    ):
        export_pretraining(replace(run, published=Published(timm="convnext_tiny.fb_in1k")), CLASSES, out)
    with pytest.raises(BenchError, match="the weights take 4 channels, the study's csp-4ch 5"):
        export_pretraining(replace(run, channels=5), CLASSES, out)
    (tmp_path / "run" / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(BenchError, match="not the weights that the record beside it speaks of"):
        export_pretraining(run, CLASSES, out)
    assert not out.exists()


def test_a_swin_whose_windows_timm_would_cut_is_refused(tmp_path):
    run, _ = finished(tmp_path, replace(SWIN, window=4))
    # 64 pixels: maps of 16, 8, 4 and 2 tokens; the last is smaller than 4, and 128 pixels would give it 4.
    with pytest.raises(
        BenchError, match="its last map has 2 tokens a side, less than the window of 4; .* crop of 128"
    ):
        export_pretraining(run, CLASSES, tmp_path / "out")


@pytest.mark.parametrize(
    ("label", "n", "scale", "data", "tag"),
    [
        ("csp-4ch", 4, "full", "imagenet1k", "csp4_in1k"),
        ("rgb-3ch", 3, "full", "imagenet1k", "rgb3_in1k"),
        ("csp-batch-p0.5-after-erasing-5ch", 5, "full", "imagenet1k", "csp5_batch_p05_after_erasing_in1k"),
        ("grey-4ch", 4, "small", "my-photos", "grey4_my_photos"),
        ("csp-4ch", 4, "miniature", "imagenet1k", "csp4_drawn"),
    ],
)  # fmt: skip
def test_a_tag_says_strategy_channels_settings_and_data(label, n, scale, data, tag):
    assert tag_of(SimpleNamespace(label=label, channels=n, scale=scale, data=data, repetition=0)) == tag


def test_repetitions_of_one_pretraining_have_folders_of_their_own():
    tags = [
        tag_of(SimpleNamespace(label="csp-4ch", channels=4, scale="full", data="imagenet1k", repetition=k))
        for k in range(3)
    ]
    assert tags == ["csp4_in1k", "csp4_s1_in1k", "csp4_s2_in1k"]


def test_the_papers_networks_are_timms_entry_points_as_they_are(tmp_path):
    for run in Runs(load_study(PAPER)).pretrainings:
        spec = {"num_classes": 1000, "mean": [0.0] * run.channels, "std": [1.0] * run.channels}
        config = config_of(run, spec, [])
        with torch.device("meta"):
            ours = timm.create_model(config["architecture"], num_classes=1000, **config["model_args"])
            theirs = timm.create_model(run.backbone, in_chans=run.channels)
        shapes = [{k: v.shape for k, v in model.state_dict().items()} for model in (ours, theirs)]
        assert shapes[0] == shapes[1]
