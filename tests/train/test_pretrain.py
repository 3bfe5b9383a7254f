"""Pre-training is a function of its run: not of workers, interruptions, the folder, or the global state."""

import json
import os
import signal
import time
import warnings
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from prepared import DATA_DIGEST, SWIN, pretraining, write_classes
from safetensors.torch import load_file

from bench.data.store import ClassificationStore
from bench.device import determinism, micro_batch
from bench.errors import BenchError, Preempted, RequestError
from bench.evaluate.top1 import BATCH, Reader, arrangements, evaluate_top1, hits, shard, shares
from bench.models.weights import load_model
from bench.progress import CsvLog, Progress
from bench.record import digest_of, read_record, sha256_file
from bench.train import pretrain as story
from bench.train.guard import FiniteGuard
from bench.train.optim import set_lr
from bench.train.pretrain import ORDERS, pretrain
from bench.train.state import TrainingState, gradient_scaler, training_state
from bench.train.validation import validate

OUTPUTS = ("weights.safetensors", "weights.json", "log.csv")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def plain(manifest, tmp_path_factory, forks):
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
    orders = ["natural", "reversed", "random", *(f"random{number}" for number in range(1, 5))]
    # Three classes have no top-5; the average is handed on, and the last weights are validated beside it.
    assert set(record.metrics) == {f"{of}top1/{order}" for of in ("", "last/") for order in orders}
    assert record.selection == "last-average"
    assert (record.extra["processes"], record.extra["micro_batch"]) == (1, 8)
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


@pytest.mark.parametrize(
    ("where", "step", "workers", "resumed"),
    [
        ("step", 8, 2, 8),  # in the middle of an epoch, with loader processes
        ("step", 5, 0, 5),  # behind the end of an epoch
        ("tensors", 4, 0, 3),  # while the state after step 4 is half on the disk
        ("outline", 7, 0, 6),  # its tensors written, what gives them meaning not
        ("results", 0, 0, 10),  # weights there, record not
    ],
)
def test_a_run_killed_anywhere_and_started_again_gives_the_bits_of_one_that_was_not(
    plain, tmp_path, forks, where, step, workers, resumed
):
    run = replace(plain, folder=str(tmp_path / "run"))
    codes, _ = forks.train(run, workers=workers, die=(where, step, 0))
    assert codes == [-signal.SIGKILL]
    assert not Path(run.record).exists()
    # As if steps had passed after the checkpoint: their rows are in the log and come again.
    with (Path(run.folder) / "state" / "log.csv").open("a") as stream:
        stream.write(f"{resumed + 1},1,0.5,0.5\n10,1,0.")
    codes, said = forks.train(run, every_step=False)
    assert codes == [0] and f"resuming after step {resumed}\n" in said
    assert outputs(run) == outputs(plain)
    assert sorted(path.name for path in (Path(run.folder) / "state").iterdir()) == ["log.csv"]


def test_a_killed_swin_goes_on_to_the_same_bits(manifest, tmp_path, forks):
    settings = {"strategy": "csp", "n": 5, "architecture": SWIN, "clip_grad": 1.0}
    whole = pretraining(tmp_path / "whole", manifest, **settings)
    pretrain(whole, device="cpu", workers=0)
    run = replace(whole, folder=str(tmp_path / "run"))
    codes, _ = forks.train(run, die=("step", 7, 0))
    assert codes == [-signal.SIGKILL]
    codes, said = forks.train(run, every_step=False)
    assert codes == [0] and "resuming after step 7\n" in said
    assert outputs(run) == outputs(whole)


def test_a_state_of_another_memory_layout_goes_on_with_its_moments_in_their_places(manifest, tmp_path):
    def trained(layout, steps, state=None):
        model = torch.nn.Conv2d(3, 4, 3).to(memory_format=layout)
        for number, value in enumerate(model.parameters()):
            torch.nn.init.normal_(value, generator=torch.Generator().manual_seed(number))
        training, _ = training_state(model, pretraining(tmp_path, manifest).recipe, torch.device("cpu"))
        if state is not None:
            training.restore(state, tmp_path)
        set_lr(training.optimizer, 0.1)
        for step in steps:
            training.optimizer.zero_grad()
            images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
            model(images.contiguous(memory_format=layout)).square().mean().backward()
            training.update(None)
        return training

    half = trained(torch.contiguous_format, range(3)).kept()
    found = trained(torch.channels_last, range(3, 6), half).model.state_dict()
    whole = trained(torch.contiguous_format, range(6)).model.state_dict()
    for name, value in whole.items():
        torch.testing.assert_close(found[name], value)


def test_a_damaged_newest_checkpoint_costs_a_step_and_not_the_bits(plain, tmp_path, forks):
    run = replace(plain, folder=str(tmp_path / "run"))
    forks.train(run, die=("step", 8, 0))
    newest = max((Path(run.folder) / "state").glob("*.safetensors"))
    damaged = bytearray(newest.read_bytes())
    damaged[-5] ^= 1
    newest.write_bytes(bytes(damaged))
    codes, said = forks.train(run)
    assert codes == [0] and "its tensors are damaged: they have another sha256" in said
    assert "resuming after step 7\n" in said and outputs(run) == outputs(plain)


def test_told_to_stop_it_writes_its_state_and_says_where_it_goes_on(plain, tmp_path, forks):
    run = replace(plain, folder=str(tmp_path / "run"))
    codes, said = forks.train(run, die=("told", 6, 0), every_step=False)
    assert codes == [Preempted.exit_code] == [75]
    assert "told to stop (SIGTERM); the state after step 7 is in" in said and "goes on from there" in said
    mark = Path(run.folder) / "state" / "preempted.json"
    assert json.loads(mark.read_text())["step"] == 7
    codes, said = forks.train(run, every_step=False)
    assert codes == [0] and "resuming after step 7\n" in said and not mark.exists()
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


def test_a_label_outside_the_classes_is_refused(tmp_path):
    path = write_classes(tmp_path / "data")
    file = tmp_path / "data" / "prepared" / "train.labels.npy"
    labels = np.load(file)
    labels[5] = 3
    np.save(file, labels)
    with pytest.raises(
        BenchError,
        match=r"train\.npy, photograph 5: has the label 3; expected 0\.\.2: prepare the data again",
    ):
        pretrain(pretraining(tmp_path, path), device="cpu", workers=0)


def test_a_batch_larger_than_the_training_split_is_refused(manifest, tmp_path):
    with pytest.raises(BenchError, match="batch_size 64 exceeds the 44 training images"):
        pretrain(pretraining(tmp_path, manifest, batch_size=64), device="cpu", workers=0)


def test_a_loss_that_is_not_finite_stops_the_run_by_name_and_step(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(story, "cosine_lr", lambda step, **_: 1e30 if step == 3 else 1e-3)
    run = pretraining(tmp_path, manifest)
    with pytest.raises(BenchError, match="loss was not finite at step 4"):
        pretrain(run, device="cpu", workers=0)
    assert not Path(run.weights).exists() and not Path(run.record).exists()


def test_what_is_not_finite_is_named_with_the_last_good_state(manifest, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(story, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(story, "PAUSE", 0.0)
    monkeypatch.setattr(story, "cosine_lr", lambda step, **_: 1e30 if step == 3 else 1e-3)
    run = pretraining(tmp_path, manifest)
    # The step with the absurd rate has a finite loss and leaves finite weights, from which no finite loss follows:
    # the state after it (4) was saved in good faith, and the one before it (3) is the last that is good.
    with pytest.raises(
        BenchError,
        match=r"at step 4; nothing after it was saved \(the last good state: \S+-000000003.json, after step 3\)",
    ):
        pretrain(run, device="cpu", workers=0)
    said = capfd.readouterr().err
    assert "-000000004.json: removed, since step 4 was not finite; the one before it serves" in said
    # With the cause gone, the next start goes on from there.
    monkeypatch.setattr(story, "cosine_lr", lambda step, **_: 1e-3)
    pretrain(run, device="cpu", workers=0)
    assert "resuming after step 3\n" in capfd.readouterr().err and Path(run.record).exists()


def test_a_state_that_a_start_cannot_go_on_from_leaves_the_one_before_to_the_next(
    manifest, tmp_path, monkeypatch, capfd, forks
):
    # Killed right after an exploded state was saved; nobody knew then that it had exploded.
    run = pretraining(tmp_path, manifest)
    codes, _ = forks.train(run, die=("step", 4, 0))
    assert codes == [-signal.SIGKILL]
    monkeypatch.setattr(
        story, "network_inputs", lambda images, *_, **__: torch.full((8, 4, 32, 32), torch.inf)
    )
    with pytest.raises(BenchError, match=r"not finite at step 4; .*, after step 3\)"):
        pretrain(run, device="cpu", workers=0)
    with pytest.raises(BenchError, match=r"not finite at step 3; .*the last good state: none yet\)"):
        pretrain(run, device="cpu", workers=0)
    said = capfd.readouterr().err
    assert "resuming after step 4\n" in said and "resuming after step 3\n" in said


def spoil(monkeypatch, value, steps):
    """Fill the gradients of the given steps with `value` before they are used; losses stay what they are."""
    update, taken = TrainingState.update, []

    def spoiled(self, clip_grad):
        taken.append(None)
        for parameter in self.model.parameters() if len(taken) - 1 in steps else ():
            parameter.grad.fill_(value)
        return update(self, clip_grad)

    monkeypatch.setattr(TrainingState, "update", spoiled)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_weights_that_the_last_step_made_not_finite_are_not_handed_on(manifest, tmp_path, monkeypatch, ema):
    # Ten steps; the tenth loss comes before the update that spoils the weights.
    spoil(monkeypatch, torch.nan, {9})
    run = pretraining(tmp_path, manifest, ema=ema)
    with pytest.raises(BenchError, match=r"largest weight was not finite at step 9; .*: none yet\)"):
        pretrain(run, device="cpu", workers=0)
    assert not Path(run.weights).exists() and not Path(run.record).exists()
    assert not list(tmp_path.rglob("*.json"))


def test_an_average_that_is_not_finite_is_found_where_the_weights_are(monkeypatch):
    layer, average = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    held = SimpleNamespace(module=average)
    state = TrainingState(
        layer, torch.optim.SGD(layer.parameters()), gradient_scaler(None, torch.device("cpu")), held
    )
    torch.nn.init.constant_(layer.weight, -3.0)
    # The square of -1e30 is beyond float32; its magnitude is not.
    for value, finite in ((-1e30, True), (torch.nan, False), (-torch.inf, False)):
        torch.nn.init.constant_(average.weight, value)
        assert bool(torch.isfinite(state.largest())) is finite
    torch.nn.init.constant_(average.weight, 0.0)
    torch.nn.init.constant_(average.bias, 2.0)
    assert float(state.largest()) == 3.0


@pytest.mark.parametrize(
    ("epochs", "found"),
    [
        # 5 steps an epoch. From 65536 the scale is halved 10 times, to 64, in a run too short to spend it all.
        (2, r"overflowed in every step \(their scale fell from 65536 to 64\)"),
        # Below 1 after 17 steps; when the last of 20 is saved it is 65536 / 2**20.
        (4, r"overflowed in step after step \(their scale fell from 65536 to 0\.0625\)"),
    ],
)
def test_float16_that_overflows_in_every_step_is_refused_and_not_handed_on(
    manifest, tmp_path, monkeypatch, epochs, found
):
    spoil(monkeypatch, torch.inf, range(100))
    run = pretraining(tmp_path, manifest, amp="fp16", epochs=epochs)
    with pytest.raises(
        BenchError, match=found + ", and such a step changes no weight: set amp to bf16 or off"
    ):
        pretrain(run, device="cpu", workers=0)
    assert not Path(run.record).exists()


def test_float16_that_overflows_now_and_then_goes_on(manifest, tmp_path, monkeypatch):
    spoil(monkeypatch, torch.inf, range(9))
    run = pretraining(tmp_path, manifest, amp="fp16")
    pretrain(run, device="cpu", workers=0)
    assert Path(run.record).exists()


@pytest.mark.parametrize("native", [True, False])
def test_one_run_has_one_precision_and_a_fallback_is_said(manifest, tmp_path, monkeypatch, capfd, native):
    monkeypatch.setattr(story, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(story, "PAUSE", 0.0)
    monkeypatch.setattr("bench.train.state.has_bfloat16", lambda device: native)
    run = pretraining(tmp_path, manifest, amp="bf16")
    stopping = lambda step, **_: 1e-3 if step < 3 else os.kill(os.getpid(), signal.SIGTERM) or 1e-3  # noqa: E731
    with monkeypatch.context() as patch, pytest.raises(Preempted):
        patch.setattr(story, "cosine_lr", stopping)
        pretrain(run, device="cpu", workers=0)
    warned = "WARNING amp asks for bf16, which cpu has not of its own; this training is in float32"
    assert (warned in capfd.readouterr().err) is not native
    monkeypatch.setattr("bench.train.state.has_bfloat16", lambda device: not native)
    before, ours = ("bfloat16", "float32") if native else ("float32", "bfloat16")
    with pytest.raises(
        BenchError, match=f"-000000004.json: this state was trained in {before}, and this device .* in {ours}"
    ):
        pretrain(run, device="cpu", workers=0)
    monkeypatch.setattr("bench.train.state.has_bfloat16", lambda device: native)
    pretrain(run, device="cpu", workers=0)
    assert read_record(Path(run.record)).extra["precision"] == before


def test_the_guard_names_the_earliest_of_several_quantities():
    guard = FiniteGuard()
    for step in range(6):
        guard.note(
            step,
            loss=torch.tensor(float("nan") if step >= 4 else 1.0),
            gradient_norm=torch.tensor(1.0) / (step != 2),
        )
    with pytest.raises(BenchError, match="run x: gradient norm was not finite at step 2"):
        guard.check("run x")


# -- switches ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amp", "meant"), [(True, "bf16"), (False, "off"), ("off", "off"), ("bf16", "bf16"), ("fp16", "fp16")]
)
def test_true_is_bfloat16_and_false_is_off(plain, amp, meant):
    assert replace(plain.recipe, amp=amp).amp == meant


@pytest.mark.parametrize(("amp", "precision"), [("fp16", "float16"), ("off", "float32")])
def test_half_precision_scales_its_gradients_and_learns_what_single_does(manifest, tmp_path, amp, precision):
    run = pretraining(tmp_path, manifest, amp=amp, clip_grad=1.0)
    pretrain(run, device="cpu", workers=0)
    record = read_record(Path(run.record))
    assert record.extra["precision"] == precision
    rows = (Path(run.folder) / "log.csv").read_text().splitlines()[1:]
    # float16 has a precision of 1e-3; the losses of three classes are near log 3.
    np.testing.assert_allclose([float(row.split(",")[3]) for row in rows], np.log(3), atol=0.2)


def test_looking_at_the_validation_images_after_each_epoch_is_logged_and_changes_no_bit(plain, tmp_path):
    run = replace(plain, folder=str(tmp_path / "run"), recipe=replace(plain.recipe, validate_every=1))
    pretrain(run, device="cpu", workers=0)
    header, *rows = (Path(run.folder) / "validation.csv").read_text().splitlines()
    assert header == "step,epoch,top1" and [row.split(",")[:2] for row in rows] == [["5", "1"]]
    assert outputs(run) == outputs(plain)


@pytest.mark.parametrize("where", [("told", 4, 0), ("tensors", 5, 0)])
def test_a_look_is_kept_by_a_stop_in_its_step_and_written_again_after_a_kill(plain, tmp_path, forks, where):
    # The look comes after step 5, whose index is 4. Told in that step, the run stops with the state after it; killed
    # while that state is written, it goes on from the one before and looks again.
    recipe = replace(plain.recipe, validate_every=1)
    whole = replace(plain, folder=str(tmp_path / "whole"), recipe=recipe)
    pretrain(whole, device="cpu", workers=0)
    run = replace(plain, folder=str(tmp_path / "run"), recipe=recipe)
    forks.train(run, die=where)
    codes, said = forks.train(run, every_step=False)
    assert codes == [0] and f"resuming after step {5 if where[0] == 'told' else 4}\n" in said
    rows = [(Path(each.folder) / "validation.csv").read_text() for each in (whole, run)]
    assert rows[0] == rows[1] and len(rows[0].splitlines()) == 2


def test_compiling_is_asked_for_in_the_recipe_and_trains_the_same_weights(plain, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    run = replace(plain, folder=str(tmp_path / "run"), recipe=replace(plain.recipe, compile=True))
    pretrain(run, device="cpu", workers=0)
    assert len(compiled) == 1 and outputs(run) == outputs(plain)


def test_deterministic_algorithms_are_switched_on_and_the_record_says_what_has_none(
    plain, tmp_path, monkeypatch
):
    monkeypatch.setenv("BENCH_DETERMINISTIC", "1")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    seen = []
    monkeypatch.setattr(
        story,
        "validate",
        lambda *words: seen.append(torch.are_deterministic_algorithms_enabled()) or validate(*words),
    )
    run = replace(plain, folder=str(tmp_path / "run"))
    pretrain(run, device="cpu", workers=0)
    assert seen == [True] and not torch.are_deterministic_algorithms_enabled()
    assert read_record(Path(run.record)).extra["nondeterministic"] == []
    assert read_record(Path(plain.record)).extra["nondeterministic"] is None
    with determinism() as remaining:
        warnings.warn(
            "roll_backward_cuda does not have a deterministic implementation, but you set", stacklevel=1
        )
    assert remaining == {"roll_backward_cuda"}
    monkeypatch.setenv("BENCH_DETERMINISTIC", "yes")
    with pytest.raises(RequestError, match="BENCH_DETERMINISTIC=yes: expected 1"), determinism():
        pass


def test_a_forward_pass_that_does_not_fit_is_refused_before_anything_is_trained(
    manifest, tmp_path, monkeypatch
):
    monkeypatch.setenv("BENCH_MICRO_BATCH", "3")
    run = pretraining(tmp_path, manifest)
    with pytest.raises(RequestError, match="BENCH_MICRO_BATCH=3 does not divide the 8 images"):
        pretrain(run, device="cpu", workers=0, micro=micro_batch())
    monkeypatch.setenv("BENCH_MICRO_BATCH", "4")
    with pytest.raises(RequestError, match="no multiple of the 8 neighbours"):
        pretrain(run, device="cpu", workers=0, micro=micro_batch())
    monkeypatch.setenv("BENCH_MICRO_BATCH", "0")
    with pytest.raises(
        RequestError, match="BENCH_MICRO_BATCH=0: expected a whole number of images, 1 or more"
    ):
        micro_batch()


def test_mixing_blocks_that_do_not_tile_the_batch_are_refused(plain):
    with pytest.raises(ValueError, match=r"mix_block divides batch_size \(8\), found 3"):
        replace(plain.recipe, mix_block=3)


# -- top-1 ---------------------------------------------------------------------------------------------------


def test_orders_are_the_natural_arrangement_its_reverse_and_four_others_that_the_seed_draws():
    assert arrangements("natural", 5, 0)["natural"].tolist() == [0, 1, 2, 0, 1]
    assert arrangements("reversed", 5, 0)["reversed"].tolist() == [1, 0, 2, 1, 0]
    # Three channels have six arrangements: natural, reversed and the four drawn are all of them.
    three = {tuple(plan.tolist()) for order in ORDERS for plan in arrangements(order, 3, 0).values()}
    assert three == set(permutations(range(3)))
    drawn = {name: plan.tolist() for name, plan in arrangements("random", 5, 0).items()}
    assert list(drawn) == ["random1", "random2", "random3", "random4"]
    assert all(sorted(plan) == [0, 0, 1, 1, 2] for plan in drawn.values())
    assert drawn == {name: plan.tolist() for name, plan in arrangements("random", 5, 0).items()}
    assert drawn != {name: plan.tolist() for name, plan in arrangements("random", 5, 1).items()}
    with pytest.raises(RequestError, match="channel order 'backwards' is not known"):
        arrangements("backwards", 3, 0)


@pytest.mark.parametrize("count", [1, 128, 129, 1000])
@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_shards_cover_the_split_once_in_whole_batches(count, world):
    shards = [shard(count, rank, world) for rank in range(world)]
    assert [image for first, stop in shards for image in range(first, stop)] == list(range(count))
    assert all(first % BATCH == 0 or first == count for first, _ in shards)


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

    words = {"crop": 32, "ratio": 1.0, "seed": 0, "device": torch.device("cpu"), "workers": 0}
    found = hits(
        [Reader(FirstChannel(), 3, "csp"), Reader(FirstChannel(), 4, "csp")],
        ORDERS,
        ClassificationStore(path),
        **words,
    )
    assert found["top1/natural"].all()
    assert not found["top1/reversed"][0].any()  # B G R
    assert found["top1/reversed"][1].all()  # R B G R: red is first again
    # Of the four other arrangements of three channels two begin with green, which says nothing: logits of 0, 0 and -9,
    # of which the first is guessed, class 0. One begins with red and is always right, one with blue and never is.
    values = shares(found)
    assert sorted(values[f"top1/random{number}"] for number in range(1, 5)) == [0.0, 0.5, 0.5, 1.0]
    assert values["top1/random"] == 0.5
    # Three classes: five guesses would be all of them.
    assert not any(name.startswith("top5") for name in found)


def test_the_right_class_is_among_five_guesses_more_often_than_first(tmp_path):
    path = write_classes(tmp_path, train=7, val=14, classes=7)

    class Constant(torch.nn.Module):
        def forward(self, x):  # guesses 6, 5, 4, 3, 2 of seven classes, whatever it sees
            return torch.arange(7.0).expand(len(x), 7)

    words = {"crop": 32, "ratio": 1.0, "seed": 0, "device": torch.device("cpu"), "workers": 0}
    found = hits([Reader(Constant(), 3, "rgb")], ("natural",), ClassificationStore(path), **words)
    labels = np.arange(14) % 7
    assert (found["top1/natural"][0] == (labels == 6)).all()
    assert (found["top5/natural"][0] == (labels >= 2)).all()


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
    stored = [read_record(Path(run.record)).metrics for run in (plain, other)]
    assert record.metrics == {
        str(k): {
            name: value
            for name, value in metrics.items()
            if name.startswith("top1/") and "random" not in name
        }
        for k, metrics in enumerate(stored)
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
