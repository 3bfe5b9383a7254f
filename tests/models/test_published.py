"""Published weights: found by digest, converted by timm's own names, loaded tensor by tensor or not at all."""

import hashlib
import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from bench.errors import BenchError, RequestError
from bench.models.backbone import build_classifier
from bench.models.initial import initialise
from bench.models.published import published_classifier
from bench.study.reading import load_study
from bench.study.recipes import Published

ROOT = Path(__file__).parents[2]
CLASSES, SIDE = 7, 64


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def weights(architecture, channels=3, classes=CLASSES):
    model = build_classifier(architecture, channels, classes, 0.0, SIDE)
    initialise(model, "pretrain", 3, 0, layer_scale=0.1)
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items()}


def placed(root, tensors, name="weights.safetensors", **changes):
    """Write the tensors below the data root and return what a study says of them."""
    path = root / name
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Published(**{"path": name, "sha256": digest, **changes})


def authors_names(tensors, family):
    """Return the tensors as the authors' repositories name them."""
    found = {}
    for name, tensor in tensors.items():
        if family == "convnext":
            name = re.sub(r"^stem\.", "downsample_layers.0.", name)
            name = re.sub(r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name)
            name = re.sub(r"^stages\.(\d)\.blocks\.", r"stages.\1.", name)
            name = name.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
            name = name.replace("head.norm", "norm").replace("head.fc", "head")
        else:
            # There the patches are merged at the end of a stage, here at the beginning of the next.
            name = re.sub(
                r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", name
            ).replace("head.fc", "head")
        found[name] = tensor
    if family == "swin":
        found["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.int64)
    return found


@pytest.mark.parametrize("form", ["timm.safetensors", "authors.safetensors", "timm.pth", "authors.pth"])
def test_a_file_in_either_naming_gives_every_tensor(root, architecture, form):
    tensors = weights(architecture)
    held = authors_names(tensors, architecture.family) if form.startswith("authors") else tensors
    wanted = placed(root, {"model": held} if form.endswith(".pth") else held, form)
    model, digest = published_classifier(wanted, architecture, CLASSES, SIDE)
    assert digest == wanted.sha256 and not model.training
    loaded = model.state_dict()
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        (lambda t, first, table: t.pop(first), "tensor .* is missing in the file and"),
        (lambda t, first, table: t.update(extra=torch.zeros(2)), r"tensor extra is \[2\] torch.float32 in the file"),
        (lambda t, first, table: t.update({first: torch.zeros(16, 3, 8, 8)}), r"\[16, 3, 8, 8\] in the file and"),
        (lambda t, first, table: t.update({first: torch.zeros(16, 4, 4, 4)}), "the weights take 4 channels; the "),
        (
            lambda t, first, table: t.update({"head.fc.weight": torch.zeros(1000, 128)}),
            "the weights tell 1000 classes apart and the study's classification data have 7",
        ),
        (lambda t, first, table: t.update({table: t[table].double()}), "torch.float64 in the file and"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused_by_name(root, architecture, defect, message):
    tensors = weights(architecture)
    first = {"convnext": "stem.0.weight", "swin": "patch_embed.proj.weight"}[architecture.family]
    table = {"convnext": "stages.0.blocks.0.gamma"}.get(
        architecture.family, "layers.0.blocks.0.attn.relative_position_bias_table"
    )
    defect(tensors, first, table)
    with pytest.raises(BenchError, match=message):
        published_classifier(placed(root, tensors), architecture, CLASSES, SIDE)


def test_a_position_table_of_another_window_is_refused_where_timm_would_resize_it(root, swin):
    tensors = weights(swin)
    table = "layers.1.blocks.0.attn.relative_position_bias_table"
    tensors[table] = torch.zeros(13 * 13, 2)  # window 7; the model's is 4: 49 rows
    with pytest.raises(BenchError, match=rf"{table} is \[169, 2\] in the file and \[49, 2\] in the model"):
        published_classifier(placed(root, tensors), swin, CLASSES, SIDE)


def test_weights_of_the_other_family_are_refused(root, convnext, swin):
    with pytest.raises(BenchError, match="weights"):
        published_classifier(placed(root, weights(swin), "a.safetensors"), convnext, CLASSES, SIDE)
    with pytest.raises(BenchError, match="weights"):
        published_classifier(placed(root, weights(convnext), "b.safetensors"), swin, CLASSES, SIDE)


def test_missing_changed_and_unreadable_files_are_named(root, convnext):
    wanted = placed(root, weights(convnext))
    path = root / "weights.safetensors"
    with pytest.raises(
        BenchError, match=r"absent\.pth: no such file; pretrain.published names 'absent\.pth'"
    ):
        published_classifier(Published(path="absent.pth", sha256="0" * 64), convnext, CLASSES, SIDE)
    with pytest.raises(BenchError, match=f"has the SHA-256 {wanted.sha256}, the study expects 0000"):
        published_classifier(Published(path=path.name, sha256="0" * 64), convnext, CLASSES, SIDE)
    (root / "text.pth").write_text("no weights")
    digest = hashlib.sha256(b"no weights").hexdigest()
    with pytest.raises(BenchError, match=r"text\.pth: cannot be read as weights alone"):
        published_classifier(Published(path="text.pth", sha256=digest), convnext, CLASSES, SIDE)
    wanted = placed(root, {"model": {"epoch": 3}}, "other.pth")
    with pytest.raises(BenchError, match="holds no mapping from names to tensors"):
        published_classifier(wanted, convnext, CLASSES, SIDE)


class Code:
    def __reduce__(self):
        return print, ("code ran",)


def test_a_pickle_that_holds_code_does_not_run_it(root, convnext, capsys):
    wanted = placed(root, {"model": weights(convnext), "extra": Code()}, "code.pth")
    with pytest.raises(BenchError, match="cannot be read as weights alone"):
        published_classifier(wanted, convnext, CLASSES, SIDE)
    assert "code ran" not in capsys.readouterr().out


def test_timms_weights_are_fetched_by_name_and_checked_by_digest(root, convnext, monkeypatch):
    import huggingface_hub

    placed(root, weights(convnext))
    path, asked = root / "weights.safetensors", []

    def fetch(repo_id, filename):
        asked.append((repo_id, filename))
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    _, digest = published_classifier(Published(timm="convnext_tiny.fb_in1k"), convnext, CLASSES, SIDE)
    assert asked == [("timm/convnext_tiny.fb_in1k", "model.safetensors")]
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(BenchError, match="the study expects aaaa"):
        published_classifier(
            Published(timm="convnext_tiny.fb_in1k", sha256="a" * 64), convnext, CLASSES, SIDE
        )

    def offline(repo_id, filename):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(BenchError, match=r"cannot be fetched \(no route to host\); fetch it elsewhere"):
        published_classifier(Published(timm="convnext_tiny.fb_in1k"), convnext, CLASSES, SIDE)
    with pytest.raises(RequestError, match="timm has no pretrained weights 'convnext_tiny.fb_in2k'"):
        published_classifier(Published(timm="convnext_tiny.fb_in2k"), convnext, CLASSES, SIDE)


def test_the_papers_backbones_are_timms_tensor_by_tensor():
    # Without a download: the shapes of timm's models are those of the files that its names stand for.
    for name, architecture in load_study(ROOT / "config" / "paper.yaml").backbones.items():
        with torch.device("meta"):
            theirs = timm.create_model(name).state_dict()
        ours = build_classifier(architecture, 3, 1000, 0.0, 224).state_dict()
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "timm or path: exactly one of them names the weights"),
        ({"timm": "a.b", "path": "a.pth"}, "timm or path: exactly one"),
        ({"timm": "convnext_tiny"}, "timm is a model with its tag, such as convnext_tiny.fb_in1k"),
        ({"path": "a.pth"}, "sha256 is missing; `sha256sum FILE` prints it"),
        ({"path": "a.tar", "sha256": "0" * 64}, "path ends in .safetensors, .pth"),
        ({"path": "/a.pth", "sha256": "0" * 64}, "path"),
        ({"path": "a.pth", "sha256": "abc"}, "sha256 is 64 hex digits in lower case, found 'abc'"),
    ],
)
def test_a_source_that_names_no_weights_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        Published(**words)
