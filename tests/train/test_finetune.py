"""Fine-tuning is a function of its run, and two arms of a repetition differ only where they must."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from prepared import SWIN, pretraining, write_classes
from safetensors.torch import load_file, save_file
from scenes import CLASSES, finetuning, write_scenes

from bench.data.store import SegmentationStore
from bench.data.transforms import normalise
from bench.errors import BenchError, Preempted, RequestError
from bench.evaluate.cells import evaluate_target
from bench.evaluate.confusion import confusion
from bench.evaluate.predict import predict_image
from bench.models.weights import load_model
from bench.record import read_record, sha256_file
from bench.study.jobs import EvaluateRun
from bench.study.recipes import Evaluation
from bench.train import finetune as story
from bench.train import selection
from bench.train.distributed import Ranks
from bench.train.finetune import finetune
from bench.train.pretrain import pretrain
from bench.train.segmenter import labelled_pixels, segmentation_loss, start_model
from bench.train.selection import data_warnings, flat
from bench.train.state import TrainingState

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


@pytest.mark.parametrize("where", ["step", "tensors", "outline", "results"])
def test_a_killed_and_resumed_run_gives_the_bits_of_one_that_was_not(plain, tmp_path, capfd, forks, where):
    run = replace(plain, folder=str(tmp_path / "run"))
    codes, _ = forks.train(run, die=(where, 3, 0))
    assert codes == [-signal.SIGKILL]
    assert not (Path(run.folder) / "record.json").exists()
    finetune(run, device="cpu", workers=0)
    # Killed in step 3, or while its state was written: the one before serves.
    found = {"step": 3, "tensors": 2, "outline": 2, "results": 6}[where]
    assert f"resuming after step {found}\n" in capfd.readouterr().err
    assert outputs(run) == outputs(plain)


def test_a_run_that_is_told_to_stop_saves_its_state_and_goes_on_from_there(plain, tmp_path, capfd, forks):
    run = replace(plain, folder=str(tmp_path / "run"))
    codes, said = forks.train(run, die=("told", 2, 0), every_step=False)
    assert codes == [Preempted.exit_code] == [75]
    assert "shapes tiny csp seed 0: told to stop (SIGTERM); the state after step 3 is in" in said
    finetune(run, device="cpu", workers=0)
    assert "resuming after step 3\n" in capfd.readouterr().err
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


def test_weights_that_the_last_step_made_not_finite_are_not_handed_on(scenes, tmp_path, monkeypatch):
    update, taken = TrainingState.update, []

    def spoiled(self, clip_grad):
        taken.append(None)
        if len(taken) == 6:  # the last
            for parameter in self.model.parameters():
                parameter.grad.fill_(torch.nan)
        return update(self, clip_grad)

    monkeypatch.setattr(TrainingState, "update", spoiled)
    with pytest.raises(BenchError, match=r"largest weight was not finite at step 5; .*: none yet\)"):
        finetune(finetuning(tmp_path, scenes, None, arm="scratch"), device="cpu", workers=0)
    assert not list(tmp_path.rglob("weights.*")) and not list(tmp_path.rglob("record.json"))


def test_a_state_without_a_finite_loss_after_it_is_dropped_with_the_best_weights_of_the_one_before_kept(
    held_out, tmp_path, monkeypatch, capfd
):
    # The rate of step 3 (the fourth) explodes; each look is better than the one before, so state 4 has the best of
    # step 4 and state 3, which serves once 4 is dropped, that of step 3.
    monkeypatch.setattr(story, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(story, "PAUSE", 0.0)
    monkeypatch.setattr(story, "poly_lr", lambda step, **_: 1e30 if step == 3 else 1e-3)
    looks = iter([0.1, 0.2, 0.3, 0.4])
    monkeypatch.setattr(story, "validation_miou", lambda *_, **__: next(looks))
    run = finetuning(tmp_path, held_out, None, arm="scratch", select="best-val", validate_every=1)
    with pytest.raises(BenchError, match=r"at step 4; .*-000000003.json, after step 3\)"):
        finetune(run, device="cpu", workers=0)
    assert "-000000004.json: removed, since step 4 was not finite" in capfd.readouterr().err
    monkeypatch.setattr(story, "poly_lr", lambda step, **_: 1e-3)
    monkeypatch.setattr(story, "validation_miou", lambda *_, **__: 0.0)
    finetune(run, device="cpu", workers=0)
    assert "resuming after step 3\n" in capfd.readouterr().err
    assert read_record(Path(run.record)).metrics["selected_step"] == 3


def test_layer_decay_belongs_to_convnext(scenes, tmp_path):
    run = finetuning(tmp_path, scenes, None, arm="scratch", architecture=SWIN, layer_decay=0.9)
    with pytest.raises(BenchError, match="stage-wise rule of the ConvNeXt recipe"):
        finetune(run, device="cpu", workers=0)


def test_the_loss_is_a_mean_over_all_pixels_or_over_the_labelled_ones():
    # Uniform logits over 4 classes: cross-entropy log 4 at each labelled pixel, whatever is ignored.
    logits = torch.zeros(1, 4, 2, 2)
    targets = torch.tensor([[[0, 3], [255, 255]]], dtype=torch.uint8)
    total = segmentation_loss(logits, targets)
    assert total.item() == pytest.approx(2 * np.log(4)) and labelled_pixels(targets).item() == 2
    passes, place = [(0, None, targets), (1, None, targets)], torch.device("cpu")
    # Two passes of 1 x 2 x 2 pixels, half of them ignored.
    assert story._pixels(passes, "labelled", 8, Ranks(), place).item() == 4
    assert story._pixels(passes, "all", 8, Ranks(), place).item() == 8
    nothing = torch.full_like(targets, 255)
    assert segmentation_loss(logits, nothing).item() == 0 == labelled_pixels(nothing).item()
    # Nothing to divide by: the loss is 0, not NaN.
    assert story._pixels([(0, None, nothing)], "labelled", 4, Ranks(), place).item() == 1


# -- selection, warnings, forward passes ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def held_out(scenes, tmp_path_factory):
    """The scenes with their last training scene in a validation part."""
    manifest = json.loads(scenes.read_text())
    manifest["splits"]["val"] = [manifest["splits"]["train"].pop()]
    manifest["selection"] = "holdout"
    manifest["class_pixels"]["train"][2] = 0
    path = scenes.with_name("held_out.json")
    path.write_text(json.dumps(manifest))
    return path


def test_best_val_hands_on_the_weights_of_the_best_look(held_out, tmp_path, monkeypatch):
    looks = {2: 0.3, 4: 0.7, 6: 0.7}
    seen = {}

    def look(model, *rest, **more):
        step = sorted(looks)[len(seen)]
        seen[step] = {name: value.clone() for name, value in model.state_dict().items()}
        return looks[step]

    monkeypatch.setattr(story, "validation_miou", look)
    run = finetuning(tmp_path, held_out, None, arm="scratch", select="best-val", validate_every=2)
    finetune(run, device="cpu", workers=0)
    record = read_record(Path(run.record))
    assert record.selection == "best-val" and record.metrics["selected_step"] == 4
    chosen = load_file(run.weights)
    assert all(torch.equal(chosen[name], value) for name, value in seen[4].items())
    assert (Path(run.folder) / "validation.csv").read_text().splitlines() == [
        "step,mIoU",
        "2,0.3",
        "4,0.7",
        "6,0.7",
    ]
    assert sorted(p.name for p in (Path(run.folder) / "state").iterdir()) == ["log.csv", "validation.csv"]


def test_a_resumed_run_remembers_the_best_look(held_out, tmp_path, capfd, forks):
    settings = {"arm": "scratch", "select": "best-val", "validate_every": 1}
    whole = finetuning(tmp_path / "whole", held_out, None, **settings)
    finetune(whole, device="cpu", workers=0)
    run = finetuning(tmp_path / "run", held_out, None, **settings)
    codes, _ = forks.train(run, die=("step", 3, 0))
    assert codes == [-signal.SIGKILL]
    finetune(run, device="cpu", workers=0)
    assert "resuming after step 3" in capfd.readouterr().err
    assert outputs(run) == outputs(whole)
    assert sha256_file(Path(run.folder) / "validation.csv") == sha256_file(
        Path(whole.folder) / "validation.csv"
    )


def test_the_validation_score_is_the_miou_of_the_last_weights(held_out, tmp_path):
    run = finetuning(tmp_path, held_out, None, arm="scratch", validate_every=6)
    finetune(run, device="cpu", workers=0)
    logged = float((Path(run.folder) / "validation.csv").read_text().splitlines()[-1].split(",")[1])
    model, spec = load_model(Path(run.weights))
    store = SegmentationStore(held_out)
    (name,) = store.split("val")
    image = torch.from_numpy(store.image(name).transpose(2, 0, 1).copy())
    ids = predict_image(
        model, normalise(image[None], torch.tensor(spec["mean"]), torch.tensor(spec["std"]))[0], 48, 32, 3
    )
    counts = confusion(store.labels(name, "full"), ids, 3)
    union = counts.sum(0) + counts.sum(1) - np.diag(counts)
    present = union > 0
    assert logged == pytest.approx((np.diag(counts)[present] / union[present]).mean())


def test_a_class_without_a_pixel_is_warned_about_by_name(held_out, tmp_path, capfd):
    run = finetuning(tmp_path, held_out, None, arm="scratch")
    finetune(run, device="cpu", workers=0)
    (sentence,) = read_record(Path(run.record)).extra["warnings"]
    assert sentence == "class disc has no pixel in the training split; it cannot be learned"
    assert f"WARNING {sentence}" in capfd.readouterr().err


def constant_red(scenes, name, **change):
    """The scenes with a first channel that is 70 everywhere; return the manifest's path."""
    import shutil

    root = scenes.parent.with_name(f"{scenes.parent.name}-{name}")
    shutil.copytree(scenes.parent, root)
    for path in (root / "prepared").glob("train?.npy"):
        image = np.load(path)
        image[..., 0] = 70
        np.save(path, image)
    manifest = json.loads((root / "manifest.json").read_text())
    for key, value in change.items():
        manifest[key] = [value, *manifest[key][1:]]
    (root / "manifest.json").write_text(json.dumps(manifest))
    return root / "manifest.json"


def test_a_constant_channel_is_warned_about_by_name_before_training_and_trains_all_the_same(
    scenes, tmp_path, capfd
):
    manifest = constant_red(scenes, "constant", std=0.0)
    run = finetuning(tmp_path, manifest, None, arm="scratch")
    finetune(run, device="cpu", workers=0)
    (sentence,) = read_record(Path(run.record)).extra["warnings"]
    assert sentence == "channel red is constant in the training split, 70; it tells the network nothing"
    said = capfd.readouterr().err
    assert said.index(f"WARNING {sentence}") < said.index("starting from scratch")
    # It is shifted, not divided by 0, in training and in prediction.
    assert np.isfinite(read_record(Path(run.record)).metrics["loss"])
    _, spec = load_model(Path(run.weights))
    assert spec["std"] == [1.0, 40.0, 40.0, 40.0]


def test_a_channel_that_is_constant_in_each_scene_is_warned_about_where_scenes_standardise_it(
    scenes, tmp_path
):
    manifest = constant_red(scenes, "per-tile", mean=0.0, std=1.0)
    held = json.loads(manifest.read_text())
    for place, name in enumerate(sorted(held["samples"])):
        held["samples"][name]["statistics"] = {"red": [70.0 + place, 0.0], "green": [50.0, 9.0]}
    manifest.write_text(json.dumps(held))
    assert data_warnings(SegmentationStore(manifest)) == [
        "channel red is constant in each training scene; it tells the network nothing"
    ]


@pytest.mark.parametrize("arm", ["csp", "rgb-zero"])
def test_the_log_says_what_became_of_every_tensor(scenes, pretrained, tmp_path, capfd, arm):
    start, stem = ("rgb", "zero") if arm == "rgb-zero" else ("csp", None)
    model, _ = start_model(finetuning(tmp_path, scenes, pretrained[start], arm=arm, stem=stem), 3)
    said = capfd.readouterr().err
    # The classifier's head has a norm and a layer, two tensors each, that a segmenter has no place for.
    assert f"{len(model.state_dict()) + 4} tensors" in said and said.count("left out (classifier head)") == 4
    assert "loaded" in said and "backbone.stages.3 (" in said
    new = {line.split()[1] for line in said.splitlines() if line.startswith("new")}
    assert new == {"norms", "decode_head", "auxiliary_head"}
    adapted = [line for line in said.splitlines() if "backbone.stem.0.weight" in line]
    assert bool(adapted) is (arm == "rgb-zero") and all("zero" in line for line in adapted)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (np.linspace(1.0, 0.5, 50), False),
        (np.ones(50), True),
        (1 + 0.005 * np.sin(np.arange(50)), True),
        (np.ones(5), False),  # too few to say
    ],
)
def test_a_loss_that_hardly_falls_is_flat(losses, expected):
    assert flat(list(losses)) is expected


def in_passes(root, scenes) -> list[list[float]]:
    """Return the losses of a training in one pass a step, and of the same in two; their digests differ."""
    still = {"batch_size": 4, "iterations": 3, "drop_path": 0.0, "dropout": 0.0, "loss_mean": "labelled"}
    runs = [
        finetuning(root / str(micro), scenes, None, arm="scratch", micro_batch=micro, **still)
        for micro in (None, 2)
    ]
    for run in runs:
        finetune(run, device="cpu", workers=0)
    assert runs[0].digest != runs[1].digest
    logs = [(Path(run.folder) / "log.csv").read_text().split()[1:] for run in runs]
    return [[float(row.split(",")[2]) for row in log] for log in logs]


def test_two_passes_are_another_training_since_batch_norm_is_over_the_images_of_a_pass(scenes, tmp_path):
    one, two = in_passes(tmp_path, scenes)
    assert max(abs(a - b) for a, b in zip(one, two, strict=True)) > 1e-4


def test_but_for_batch_norm_two_passes_have_the_losses_of_one(scenes, tmp_path, monkeypatch):
    # Batch norm by its running statistics, as in evaluation: no image sees another.
    def fixed(self, x):
        return torch.nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )

    monkeypatch.setattr(torch.nn.BatchNorm2d, "forward", fixed)
    one, two = in_passes(tmp_path, scenes)
    # Sums over the batch are added in another order; a step that lost a pass would move the losses after it.
    np.testing.assert_allclose(two, one, rtol=1e-5)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_label_outside_the_classes_is_refused_by_scene_before_it_is_learned(scenes, tmp_path, workers):
    import shutil

    root = tmp_path / "data"
    shutil.copytree(scenes.parent, root)
    for path in (root / "prepared").glob("train?.full.npy"):
        labels = np.load(path)
        labels[labels == 0] = 7
        np.save(path, labels)
    run = finetuning(tmp_path, root / "manifest.json", None, arm="scratch", scale_range=(1.0, 1.0))
    words = (
        r"manifest\.json, scene train\d: the labels hold 7 in \d+ pixels of a crop; expected 0\.\.2 and 255 "
        r"\(ignored\): prepare the data again"
    )
    with pytest.raises(BenchError, match=words):
        finetune(run, device="cpu", workers=workers)
    assert not Path(run.record).exists()


def test_a_loss_that_stays_flat_is_warned_about_by_name_and_in_the_record(
    scenes, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(
        story, "segmentation_loss", lambda logits, targets: 0 * logits.sum() + 0.5 * targets.numel()
    )
    run = finetuning(tmp_path, scenes, None, arm="scratch", iterations=12, aux_weight=0.0)
    finetune(run, device="cpu", workers=0)
    (sentence,) = read_record(Path(run.record)).extra["warnings"]
    assert sentence == (
        "the loss stayed flat (0.500 at first, 0.500 at last): more iterations, or another learning rate"
    )
    assert f"WARNING {sentence}" in capfd.readouterr().err


def test_a_validation_part_without_a_labelled_pixel_is_refused_at_the_first_look(held_out, tmp_path):
    import shutil

    root = tmp_path / "data"
    shutil.copytree(held_out.parent, root)
    (name,) = json.loads(held_out.read_text())["splits"]["val"]
    path = root / "prepared" / f"{name}.full.npy"
    np.save(path, np.full_like(np.load(path), 255))
    run = finetuning(tmp_path, root / held_out.name, None, arm="scratch", select="best-val", validate_every=2)
    with pytest.raises(
        BenchError, match=rf"the validation part \({name}\) has no labelled pixel, so no weights can"
    ):
        finetune(run, device="cpu", workers=0)


def test_a_look_keeps_to_the_memory_that_predictions_may_take(held_out, tmp_path, monkeypatch):
    monkeypatch.setattr(selection, "evaluation_memory", lambda: 1000)
    run = finetuning(tmp_path, held_out, None, arm="scratch", validate_every=2)
    with pytest.raises(RequestError, match="BENCH_EVAL_MEMORY allows 0 MiB for logits"):
        finetune(run, device="cpu", workers=0)


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
