"""The global batch is the invariant: processes and passes cut it, and nothing that is drawn depends on the cut."""

import csv
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from prepared import pretraining, write_classes
from safetensors.torch import load_file

from bench.data.loaders import training_images
from bench.data.store import ClassificationStore
from bench.errors import Preempted, RequestError
from bench.record import read_record, sha256_file
from bench.strategies import channel_plan, plan_generator
from bench.train import launch
from bench.train.distributed import Ranks, Share
from bench.train.launch import launched, together
from bench.train.mixing import draw_mixes, mix_blocks, network_inputs
from bench.train.pretrain import pretrain

SETTINGS = {"drop_path": 0.0, "mix_block": 2, "clip_grad": 1.0, "ema": 0.9}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def one(manifest, tmp_path_factory, forks):
    """One process, one pass a step."""
    run = pretraining(tmp_path_factory.mktemp("one"), manifest, **SETTINGS)
    pretrain(run, device="cpu", workers=0)
    return run


@pytest.fixture(scope="module")
def two(one, tmp_path_factory, forks):
    """Two gloo processes with two passes a step each."""
    run = replace(one, folder=str(tmp_path_factory.mktemp("two") / "run"))
    codes, said = forks.train(run, world=2, micro=2, every_step=False)
    assert codes == [0, 0], said
    return run


def lines_but_progress(said: str) -> list[str]:
    return [line for line in said.splitlines() if "img/s" not in line]


def losses(run) -> list[float]:
    with (Path(run.folder) / "log.csv").open() as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


# -- the cut ---------------------------------------------------------------------------------------------------


def seen(run, *, world: int = 1, micro: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the network sees and learns in two steps, put together from all ranks: [16, n, S, S], [16, K]."""
    store, recipe = ClassificationStore(Path(run.manifest)), run.recipe
    found: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}
    for rank in range(world):
        share = Share(recipe.batch_size, Ranks(rank, world), micro, recipe.mixed_together)
        steps = training_images(
            store, recipe, seed=3, start=4, stop=6, workers=0, device=torch.device("cpu"),
            rank=rank, world=world, micro=micro,
        )  # fmt: skip
        for step, passes in enumerate(steps, start=4):
            plan = channel_plan(
                "csp", 4, recipe.batch_size, plan_generator(3, scope="image", epoch=step // 5, step=step)
            )
            for first, images, labels in passes:
                inputs = network_inputs(
                    images,
                    plan[first : first + len(images)],
                    torch.tensor(store.mean),
                    torch.tensor(store.std),
                    erasing=0.5,
                    seed=3,
                    step=step,
                    first=first,
                )
                mixes = draw_mixes(recipe, seed=3, step=step)
                found[step, first] = mix_blocks(
                    inputs, labels, 3, recipe.label_smoothing, mixes, share.blocks(first)
                )
    parts = [found[key] for key in sorted(found)]
    return torch.cat([images for images, _ in parts]), torch.cat([targets for _, targets in parts])


@pytest.mark.parametrize(("world", "micro"), [(2, None), (4, None), (1, 2), (2, 2), (1, 4)])
def test_samples_plans_boxes_and_mixing_pairs_are_bit_equal_however_the_batch_is_cut(one, world, micro):
    whole, cut = seen(one), seen(one, world=world, micro=micro)
    assert torch.equal(whole[0], cut[0]) and torch.equal(whole[1], cut[1])
    assert len(whole[0]) == 16 and len(torch.unique(whole[1], dim=0)) > 6  # they are mixed


def test_blocks_draw_apart_and_partners_stay_within_them(one):
    # Eight images of one class each, in blocks of two: a target holds weight for its own class and its neighbour's.
    recipe = replace(one.recipe, label_smoothing=0.0, cutmix=0.0)
    images, labels = torch.zeros(8, 1, 32, 32), torch.arange(8)
    shares = set()
    for step in range(6):
        mixes = draw_mixes(recipe, seed=1, step=step)
        _, targets = mix_blocks(images, labels, 8, 0.0, mixes, Share(8, block=2).blocks(0))
        for image in range(8):
            held = set(targets[image].nonzero().flatten().tolist())
            assert held <= {image, image ^ 1}
        shares |= {round(float(targets[image, image]), 6) for image in range(0, 8, 2)} - {1.0}
    assert len(shares) > 6  # a share for each block and step that is mixed


def test_a_batch_that_cannot_be_cut_as_asked_is_refused_with_what_could_be():
    with pytest.raises(RequestError, match=r"batch of 8 images cannot be shared equally by 3 processes"):
        Share(8, Ranks(0, 3))
    with pytest.raises(
        RequestError, match=r"BENCH_MICRO_BATCH=3 does not divide the 4 images .* \[1, 2, 4\]"
    ):
        Share(8, Ranks(0, 2), 3)
    with pytest.raises(
        RequestError, match=r"BENCH_MICRO_BATCH=2: a forward pass of 2 images .* among \[4, 8\]"
    ):
        Share(8, Ranks(), 2, 4)
    with pytest.raises(
        RequestError, match=r"BENCH_GPUS_PER_JOB=2: .* a smaller mix_block in the recipe, such as 4"
    ):
        Share(8, Ranks(1, 2), None, 8)
    assert Share(8, Ranks(1, 2), 2, None).passes == 2
    assert list(Share(8, Ranks(1, 2), 4, 2).blocks(4)) == [(2, slice(0, 2)), (3, slice(2, 4))]


def test_alone_every_exchange_is_the_identity():
    ranks, value = Ranks(), torch.tensor(3.0)
    assert ranks.first and ranks.sum(value) == 3 and ranks.smallest(value) == 3 and ranks.told(7) == 7
    assert ranks.any(True, False) == (True, False)
    assert ranks.own(ranks.each(value)) == 3


def test_a_sum_kept_by_two_processes_is_taken_up_by_one_or_four_without_loss():
    # Kept sums are averaged over processes when they are logged: (1 + 5) / 2 = 3, whoever goes on.
    kept = torch.tensor([1.0, 5.0])
    assert Ranks(1, 2).own(kept) == 5
    assert Ranks(0, 1).own(kept) == 3
    assert sum(float(Ranks(rank, 4).own(kept)) for rank in range(4)) / 4 == 3


# -- the training ----------------------------------------------------------------------------------------------


def test_two_passes_a_step_give_the_losses_of_one(one, tmp_path):
    run = replace(one, folder=str(tmp_path / "run"))
    pretrain(run, device="cpu", workers=0, micro=4)
    # Only the order of a float32 sum over the batch differs.
    np.testing.assert_allclose(losses(run), losses(one), rtol=1e-5)
    assert read_record(Path(run.record)).extra["micro_batch"] == 4


def test_two_processes_give_the_losses_weights_and_scores_of_one(one, two):
    np.testing.assert_allclose(losses(two), losses(one), rtol=1e-5)
    ours, theirs = load_file(two.weights), load_file(one.weights)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=2e-5, msg=name)
    records = [read_record(Path(run.record)) for run in (one, two)]
    assert records[0].metrics.keys() == records[1].metrics.keys()
    assert records[1].extra["processes"] == 2
    # 20 validation images: a score that lies on the border of two classes may turn one of them.
    for name, value in records[0].metrics.items():
        assert abs(records[1].metrics[name] - value) <= 0.05 + 1e-9, name


def test_two_processes_killed_and_started_again_give_the_bits_of_two_that_were_not(two, tmp_path, forks):
    run = replace(two, folder=str(tmp_path / "run"))
    # The second one dies in the middle of step 6; the first would wait for it.
    codes, said = forks.train(run, world=2, micro=2, die=("step", 6, 1))
    assert codes == [1, -signal.SIGKILL]
    # The other one ends by a sentence and no traceback, without gloo's own file names and guesses.
    (sentence,) = lines_but_progress(said)
    assert sentence.startswith(
        "process 0 of 2: another process of this training is gone, so this one ends too ("
    )
    assert sentence.endswith("); the same command goes on from the last state")
    assert "Connection" in sentence and ".cc" not in sentence and "typically" not in sentence
    codes, said = forks.train(run, world=2, micro=2, every_step=False)
    assert codes == [0, 0] and "resuming after step 6\n" in said
    for name in ("weights.safetensors", "log.csv"):
        assert sha256_file(Path(run.folder) / name) == sha256_file(Path(two.folder) / name)


def test_one_process_told_to_stop_stops_both_at_the_same_step(two, tmp_path, forks):
    run = replace(two, folder=str(tmp_path / "run"))
    codes, said = forks.train(run, world=2, micro=2, die=("told", 3, 1), every_step=False)
    assert codes == [Preempted.exit_code] * 2
    assert said.count("the state after step 4 is in") == 2
    codes, said = forks.train(run, world=2, micro=2, every_step=False)
    assert codes == [0, 0] and "resuming after step 4\n" in said
    assert sha256_file(Path(run.weights)) == sha256_file(Path(two.weights))


def test_a_loss_that_is_not_finite_in_one_process_stops_both_by_the_same_sentence(two, tmp_path, forks):
    run = replace(two, folder=str(tmp_path / "run"), recipe=replace(two.recipe, lr=1e30, clip_grad=None))
    codes, said = forks.train(run, world=2, micro=2, every_step=False)
    assert codes == [1, 1]
    sentences = [line for line in said.splitlines() if "loss was not finite at step" in line]
    assert len(sentences) == 2 and sentences[0] == sentences[1]
    assert "the last good state: none yet" in sentences[0]


# -- the launcher ----------------------------------------------------------------------------------------------

SAY = "import os, sys; rank = int(os.environ['RANK']); "


def python(script: str) -> list[str]:
    return [sys.executable, "-c", SAY + script]


def test_processes_find_each_other_by_torchruns_variables(tmp_path):
    script = (
        f"open({str(tmp_path)!r} + f'/{{rank}}', 'w').write(' '.join(os.environ[name] for name in "
        "('WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'OWN')))"
    )
    assert together(python(script), 2, {"OWN": "word"}) == 0
    found = [(tmp_path / name).read_text().split() for name in ("0", "1")]
    assert [words[:3] for words in found] == [["2", "0", "2"], ["2", "1", "2"]]
    assert found[0][3:] == found[1][3:] and found[0][5] == "word"


def test_the_exit_code_is_that_of_the_process_that_has_a_reason(monkeypatch, capfd):
    monkeypatch.setattr(launch, "GRACE", 0.3)
    assert together(python("sys.exit(75 if rank else 1)"), 2, {}) == Preempted.exit_code
    assert together(python("sys.exit(2 if rank == 0 else 0)"), 2, {}) == 2
    capfd.readouterr()
    # The second fails while the first would wait for ever: it is ended, and what the second said is shown.
    script = "import time; rank and sys.exit('out of luck'); time.sleep(60)"
    assert together(python(script), 2, {}) == 1
    said = capfd.readouterr().err
    assert "process 1 of 2 failed; ending the others" in said and "process 1:\nout of luck" in said


def test_a_process_that_was_killed_is_named_with_its_signal(monkeypatch, capfd):
    monkeypatch.setattr(launch, "GRACE", 0.3)
    # The second is killed, as by a machine without memory; the first waits for it and is ended here.
    script = "import time; rank and os.kill(os.getpid(), 9); time.sleep(60)"
    assert together(python(script), 2, {}) == 1
    said = capfd.readouterr().err.splitlines()
    assert said == [
        "process 1 of 2 failed; ending the others",
        "process 1 was killed by SIGKILL (the system does so where memory runs out); the same command goes on from the "
        "last state",
    ]


def test_sigterm_is_passed_on_to_all(tmp_path):
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); "
        "rank or os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"
    )
    assert together(python(script), 2, {}) == Preempted.exit_code
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_one_process_or_one_of_several_launches_nothing(monkeypatch):
    monkeypatch.delenv("BENCH_GPUS_PER_JOB", raising=False)
    assert launched(["pretrain"]) is None
    monkeypatch.setenv("BENCH_GPUS_PER_JOB", "2")
    monkeypatch.setenv("RANK", "0")
    assert launched(["pretrain"]) is None


def test_one_gpu_for_several_processes_is_refused(monkeypatch):
    monkeypatch.setenv("BENCH_GPUS_PER_JOB", "2")
    monkeypatch.setenv("BENCH_DEVICE", "cuda:1")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(
        RequestError, match="BENCH_DEVICE=cuda:1 with BENCH_GPUS_PER_JOB=2: one GPU cannot serve"
    ):
        launched(["pretrain"])


def test_the_processes_see_the_gpus_that_were_taken_and_no_other(monkeypatch):
    taken = []
    monkeypatch.setattr(launch, "gpu_slots", lambda wanted, count: taken.append((wanted, count)) or (1, 2))
    monkeypatch.setattr(launch, "together", lambda command, processes, place: dict(place))
    monkeypatch.setenv("BENCH_GPUS_PER_JOB", "2")
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("BENCH_DEVICE", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    monkeypatch.setenv("BENCH_CORES", "12")
    # Two of three GPUs, and so two thirds of the cores: loaders of other jobs need the others.
    assert launched([]) == {"CUDA_VISIBLE_DEVICES": "5,6", "BENCH_CORES": "8"} and taken == [(2, 3)]
    monkeypatch.setenv("BENCH_DEVICE", "cpu")
    assert launched([]) == {"BENCH_DEVICE": "cpu"}
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,5,6"
