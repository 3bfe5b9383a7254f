"""Fine-tuning and its evaluation in two processes give what one gives: samples, batch norm, weights, counts."""

import csv
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import SETTINGS, count, evaluation, look, normed_by_two
from safetensors.torch import load_file
from scenes import finetuning, write_scenes
from torch import nn

from bench.data.loaders import training_crops
from bench.data.store import SegmentationStore
from bench.errors import BenchError, Preempted, RequestError
from bench.evaluate.cells import evaluate_target
from bench.evaluate.shards import in_order, shard
from bench.record import read_record, sha256_file
from bench.train.finetune import finetune

# Drop path and dropout draw by process, so only without them is the loss curve that of one process.
STILL = {"arm": "scratch", "drop_path": 0.0, "dropout": 0.0, "batch_size": 4, "clip_grad": 1.0}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"), sides=((64, 50), (40, 70), (30, 30), (50, 50)))


@pytest.fixture(scope="module")
def one(scenes, tmp_path_factory):
    run = finetuning(tmp_path_factory.mktemp("one"), scenes, None, **STILL)
    finetune(run, device="cpu", workers=0)
    return run


@pytest.fixture(scope="module")
def two(one, tmp_path_factory, forks):
    run = replace(one, folder=str(tmp_path_factory.mktemp("two") / "run"))
    codes, said = forks.train(run, world=2, every_step=False)
    assert codes == [0, 0], said
    return run


def losses(run) -> list[float]:
    with (Path(run.folder) / "log.csv").open() as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


# -- training --------------------------------------------------------------------------------------------------


def test_two_processes_see_the_crops_of_one_bit_for_bit(one):
    store, found = SegmentationStore(Path(one.manifest)), {}
    for world in (1, 2):
        parts = []
        for rank in range(world):
            steps = training_crops(
                store, one.recipe, labels="full", seed=3, start=2, stop=5, workers=0, device=torch.device("cpu"),
                rank=rank, world=world,
            )  # fmt: skip
            parts.append(
                [(images.clone(), targets.clone()) for passes in steps for _, images, targets in passes]
            )
        found[world] = [
            (torch.cat([images for images, _ in step]), torch.cat([targets for _, targets in step]))
            for step in zip(*parts, strict=True)
        ]
    assert len(found[1]) == len(found[2]) == 3
    for whole, cut in zip(found[1], found[2], strict=True):
        assert torch.equal(whole[0], cut[0]) and torch.equal(whole[1], cut[1])


def test_two_processes_give_the_losses_and_weights_of_one(one, two):
    # Sums over the batch are added in another order; nothing else differs.
    np.testing.assert_allclose(losses(two), losses(one), rtol=1e-5)
    ours, theirs = load_file(two.weights), load_file(one.weights)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=5e-5, msg=name)
    assert read_record(Path(two.record)).extra["processes"] == 2


def test_without_synced_batch_norm_two_processes_are_another_training(one, tmp_path, forks):
    run = finetuning(tmp_path, Path(one.manifest), None, **STILL, sync_bn=False)
    codes, said = forks.train(run, world=2, every_step=False)
    assert codes == [0, 0], said
    assert max(abs(a - b) for a, b in zip(losses(run), losses(one), strict=True)) > 1e-4


def test_two_processes_with_one_image_each_train_as_one_with_two(scenes, tmp_path, forks):
    run = finetuning(tmp_path / "one", scenes, None, **STILL | {"batch_size": 2, "iterations": 3})
    finetune(run, device="cpu", workers=0)
    other = replace(run, folder=str(tmp_path / "two"))
    codes, said = forks.train(other, world=2, every_step=False)
    assert codes == [0, 0], said
    np.testing.assert_allclose(losses(other), losses(run), rtol=1e-5)


def test_two_processes_killed_and_started_again_give_the_bits_of_two_that_were_not(two, tmp_path, forks):
    run = replace(two, folder=str(tmp_path / "run"))
    codes, _ = forks.train(run, world=2, die=("step", 3, 1))
    assert codes[1] == -signal.SIGKILL and codes[0] != 0
    codes, said = forks.train(run, world=2, every_step=False)
    assert codes == [0, 0] and "resuming after step 3\n" in said
    for name in ("weights.safetensors", "log.csv"):
        assert sha256_file(Path(run.folder) / name) == sha256_file(Path(two.folder) / name)


def test_one_process_told_to_stop_stops_both_and_the_run_goes_on_from_there(two, tmp_path, forks):
    run = replace(two, folder=str(tmp_path / "run"))
    codes, said = forks.train(run, world=2, die=("told", 3, 1), every_step=False)
    assert codes == [Preempted.exit_code] * 2
    assert said.count("the state after step 4 is in") == 2
    assert not Path(run.record).exists()
    codes, said = forks.train(run, world=2, every_step=False)
    assert codes == [0, 0] and "resuming after step 4\n" in said
    assert sha256_file(Path(run.weights)) == sha256_file(Path(two.weights))


@pytest.mark.parametrize("sync_bn", [True, False])
def test_two_processes_choose_the_best_weights_by_the_scores_of_the_first_ones_network(
    scenes, tmp_path, forks, sync_bn
):
    import json

    manifest = json.loads(scenes.read_text())
    manifest["splits"]["val"] = [manifest["splits"]["train"].pop() for _ in range(2)]
    manifest["selection"] = "holdout"
    path = scenes.with_name(f"held_out_{sync_bn}.json")
    path.write_text(json.dumps(manifest))
    settings = {"select": "best-val", "validate_every": 2, "lr": 1e-2, "sync_bn": sync_bn}
    run = finetuning(tmp_path, path, None, **STILL | settings)
    codes, said = forks.train(run, world=2, every_step=False)
    assert codes == [0, 0], said
    record = read_record(Path(run.record))
    rows = [line.split(",") for line in (Path(run.folder) / "validation.csv").read_text().splitlines()[1:]]
    best = max(rows, key=lambda row: (float(row[1]), -int(row[0])))
    assert record.metrics["selected_step"] == int(best[0])
    # One process, the weights that were handed on, and the same scenes: the score they were chosen for.
    assert record.metrics["val_mIoU"] == pytest.approx(look(run), abs=1e-12) == float(best[1])


def test_passes_and_processes_do_not_go_together(scenes, tmp_path, forks):
    run = finetuning(tmp_path, scenes, None, **STILL, micro_batch=2)
    codes, said = forks.train(run, world=2, every_step=False)
    assert codes == [RequestError.exit_code] * 2
    assert "micro_batch 2 and 2 processes: batch norm would see other images" in said


# -- batch norm over two processes -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_batch_norm_of_two_processes_is_that_of_the_whole_batch(tmp_path, forks, kind):
    # Far from zero, where a variance from sums of squares would lose its digits.
    draw = torch.Generator().manual_seed(0)
    batch = (torch.randn(4, 3, 5, 7, generator=draw) * torch.tensor([1.0, 0.1, 9.0])[:, None, None] + 50).to(
        kind
    )
    upstream = torch.randn(4, 3, 5, 7, generator=draw).to(kind)
    weight, bias = torch.randn(3, generator=draw), torch.randn(3, generator=draw)
    torch.save((batch, upstream, weight, bias), tmp_path / "given.pt")
    codes, said = forks.call(tmp_path, normed_by_two, tmp_path, world=2)
    assert codes == [0, 0], said
    found = [torch.load(tmp_path / f"found{rank}.pt") for rank in (0, 1)]

    reference = nn.BatchNorm2d(3).double()
    reference.weight.data, reference.bias.data = weight.double(), bias.double()
    whole = batch.double().requires_grad_()
    expected = reference(whole)
    expected.backward(upstream.double())
    # Of the type's own precision: values of order 1 come back rounded to it.
    close = {"rtol": 1e-4, "atol": 1e-4} if kind == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    for part, rows in zip(found, (slice(0, 2), slice(2, 4)), strict=True):
        assert part["out"].dtype == kind and part["gradient"].dtype == kind
        torch.testing.assert_close(part["out"].double(), expected.detach()[rows], **close)
        torch.testing.assert_close(part["gradient"].double(), whole.grad[rows], **close)
        # The parameters' gradients are each process's own part, as DistributedDataParallel expects them.
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(
                part[name].double(), getattr(reference, name), rtol=1e-5, atol=1e-5, msg=name
            )
        assert part["num_batches_tracked"] == 1
    for name in ("weight", "bias"):
        total = sum(part[name].double() for part in found)
        torch.testing.assert_close(total, getattr(reference, name).grad, **close)
    assert all(torch.equal(found[0][name], found[1][name]) for name in ("running_mean", "running_var"))


# -- evaluation ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counted(one, scenes, tmp_path_factory):
    """The evaluation of one process."""
    run = evaluation(tmp_path_factory.mktemp("counted"), scenes, [one])
    evaluate_target(run, SETTINGS, device="cpu")
    return run


@pytest.mark.parametrize("world", [2, 5])
def test_any_number_of_processes_counts_what_one_counts(one, scenes, counted, tmp_path, forks, world):
    # Five processes for four scenes: the last has none.
    run = evaluation(tmp_path, scenes, [one])
    codes, said = forks.call(tmp_path, count, run, world=world)
    assert codes == [0] * world, said
    for name in ("counts.npz", "examples.npz"):
        ours, theirs = (dict(np.load(Path(each.folder) / name)) for each in (run, counted))
        assert ours.keys() == theirs.keys()
        assert ("counts/patches" in ours) == (name == "counts.npz")
        for key in theirs:
            assert np.array_equal(ours[key], theirs[key]), key
    assert sha256_file(Path(run.folder) / "counts.npz") == sha256_file(Path(counted.folder) / "counts.npz")
    ours, theirs = (read_record(Path(each.record)) for each in (run, counted))
    assert ours.metrics == theirs.metrics and ours.extra["samples"] == theirs.extra["samples"]
    assert (ours.extra["processes"], theirs.extra["processes"]) == (world, 1)


def test_the_shares_are_the_split_and_counts_come_back_in_its_order():
    names = ["a", "b", "c", "d", "e"]
    shares = [shard(names, rank, 3) for rank in range(3)]
    assert shares == [["a", "d"], ["b", "e"], ["c"]]
    # Each scene's count is its own number; scenes b and d go through the spectral suite.
    number = {name: np.full((1, 1), place) for place, name in enumerate(names)}
    parts = []
    for own in shares:
        arrays = {"counts/full": np.stack([number[name] for name in own])}
        if disturbed := [name for name in own if name in "bd"]:
            arrays["spectral/mean"] = np.stack([number[name] for name in disturbed])
        parts.append((own, arrays))
    found = in_order(parts, names, ["b", "d"])
    assert found["counts/full"].ravel().tolist() == [0, 1, 2, 3, 4]
    assert found["spectral/mean"].ravel().tolist() == [1, 3]


def test_a_scene_that_is_missing_or_came_twice_is_refused_by_name():
    one_each = {"counts/full": np.zeros((2, 1, 1))}
    with pytest.raises(
        BenchError, match=r"counted 4 scenes of a split of 4: d missing, b counted twice, none fore"
    ):
        in_order([(["a", "b"], one_each), (["b", "c"], one_each)], ["a", "b", "c", "d"], [])


def with_another(one, tmp_path, scenes, **change):
    """Return the manifest with other classes or channels, and a cell that says it was trained on it."""
    import json
    import shutil

    manifest = json.loads(scenes.read_text()) | change
    path = scenes.with_name(f"{tmp_path.name}.json")
    path.write_text(json.dumps(manifest))
    folder = tmp_path / "cell"
    shutil.copytree(one.folder, folder)
    record = json.loads((folder / "record.json").read_text())
    record["extra"]["manifest_sha256"] = sha256_file(path)
    (folder / "record.json").write_text(json.dumps(record))
    return path, replace(one, folder=str(folder), manifest=str(path))


def test_a_network_for_other_classes_or_channels_is_refused_by_name(one, scenes, tmp_path):
    import json

    given = json.loads(scenes.read_text())
    classes = given["classes"] + [{"index": 3, "name": "star", "colour": [1, 2, 3]}]
    path, cell = with_another(one, tmp_path, scenes, classes=classes, class_pixels={"train": [1, 1, 1, 1]})
    with pytest.raises(BenchError) as error:
        evaluate_target(evaluation(tmp_path, path, [cell]), SETTINGS, device="cpu")
    assert str(error.value) == (
        f"{cell.weights}: a network for 4 channels and 3 classes; {path} has 4 channels and 4 classes: "
        "fine-tune it on these data"
    )


def test_a_label_outside_the_classes_is_refused_by_scene(one, scenes, tmp_path):
    import shutil

    root = tmp_path / "data"
    shutil.copytree(scenes.parent, root)
    place = root / "prepared" / "test1.full.npy"
    labels = np.load(place)
    labels[30, 5:9] = 7
    np.save(place, labels)
    with pytest.raises(
        BenchError, match=r"manifest\.json, scene test1: the target holds label 7 in 4 counted pixels"
    ):
        evaluate_target(evaluation(tmp_path, root / "manifest.json", [one]), SETTINGS, device="cpu")
    assert not (tmp_path / "evaluate" / "record.json").exists()
