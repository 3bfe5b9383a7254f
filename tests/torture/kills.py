"""The whole matrix of kills: every step and every place, 0 and 2 loader processes, 1 and 2 processes, every kind of
training, and Snakemake.

Run by `make torture`, not with the suite, which has one case of each kind. Minutes to a quarter of an hour.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "train"))

from forks import Forks  # noqa: E402
from prepared import SWIN, pretraining, write_classes  # noqa: E402

from bench.record import sha256_file  # noqa: E402

OUTPUTS = ("weights.safetensors", "weights.json", "log.csv")
STEPS = 10
"""44 images in batches of 8: five steps an epoch, two epochs."""
PLACES = (
    *(("step", step) for step in range(STEPS)),
    *(("tensors", step) for step in range(1, STEPS + 1)),
    *(("outline", step) for step in range(1, STEPS + 1)),
    *(("told", step) for step in range(STEPS - 1)),
    ("results", 0),
)


@pytest.fixture(scope="module")
def forks():
    with Forks() as found:
        yield found


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module", params=[1, 2], ids=["one-process", "two-processes"])
def undisturbed(request, manifest, forks, tmp_path_factory):
    """A run that nobody disturbs, and the number of its processes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run = pretraining(folder, manifest, ema=0.9, clip_grad=1.0, mix_block=4)
    codes, said = forks.train(run, world=request.param, every_step=False)
    assert codes == [0] * request.param, said
    return run, request.param


def outputs(run):
    return {name: sha256_file(Path(run.folder) / name) for name in OUTPUTS}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("where", "step"), PLACES)
def test_killed_there_and_started_again_it_ends_with_the_same_bits(
    undisturbed, forks, tmp_path, where, step, workers
):
    run, world = undisturbed
    run = replace(run, folder=str(tmp_path / "run"))
    # The last process dies in a step, where it leaves the others waiting; only the first one writes.
    rank = world - 1 if where in ("step", "told") else 0
    codes, _ = forks.train(run, world=world, workers=workers, die=(where, step, rank))
    assert codes[rank] == (75 if where == "told" else -signal.SIGKILL)
    codes, said = forks.train(run, world=world, workers=workers, every_step=False)
    assert codes == [0] * world, said
    assert outputs(run) == outputs(undisturbed[0])


KINDS = {
    "swin": {"architecture": SWIN},
    # Autocast with scaled gradients: the scale is a part of the state.
    "fp16": {"amp": "fp16"},
    # Looks at the validation images after each epoch, by which a kill may come before, in and behind a look.
    "looking": {"validate_every": 1},
    # The weights that are handed on are the last ones, beside an average.
    "last": {"hand_on": "last", "ema": 0.9},
    # One arrangement an epoch, drawn ahead of it.
    "epoch": {"scope": "epoch"},
}


@pytest.fixture(scope="module", params=list(KINDS))
def another_kind(request, manifest, forks, tmp_path_factory):
    """A run of another kind that nobody disturbs."""
    recipe = dict(KINDS[request.param])
    scope = recipe.pop("scope", "image")
    run = replace(pretraining(tmp_path_factory.mktemp(request.param), manifest, **recipe), scope=scope)
    codes, said = forks.train(run, every_step=False)
    assert codes == [0], said
    return run


@pytest.mark.parametrize(("where", "step"), PLACES)
def test_a_training_of_another_kind_ends_with_the_same_bits(another_kind, forks, tmp_path, where, step):
    run = replace(another_kind, folder=str(tmp_path / "run"))
    codes, _ = forks.train(run, die=(where, step, 0))
    assert codes == [75 if where == "told" else -signal.SIGKILL]
    codes, said = forks.train(run, every_step=False)
    assert codes == [0], said
    assert outputs(run) == outputs(another_kind)
    looks = Path(run.folder, "validation.csv")
    undisturbed = Path(another_kind.folder, "validation.csv")
    assert looks.is_file() == undisturbed.is_file() == (another_kind.recipe.validate_every > 0)
    assert not looks.is_file() or looks.read_bytes() == undisturbed.read_bytes()


def test_killed_at_every_step_in_turn_it_still_arrives(undisturbed, forks, tmp_path):
    run, world = undisturbed
    run = replace(run, folder=str(tmp_path / "run"))
    for step in range(STEPS):
        codes, _ = forks.train(run, world=world, die=("step", step, 0))
        assert codes[0] == -signal.SIGKILL
    codes, said = forks.train(run, world=world)
    assert codes == [0] * world and f"resuming after step {STEPS - 1}\n" in said
    assert outputs(run) == outputs(undisturbed[0])


# -- through Snakemake -----------------------------------------------------------------------------------------

TRAINING = "pretrain/convnext_mini/csp-4ch/seed0"


def start(folder: Path) -> subprocess.Popen:
    """Start the demo's pre-trainings in `folder`, which has the code and no results."""
    for name in ("Snakefile", "rules", "config", "paper", "profiles"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--configfile",
        "config/demo.yaml",
        "--cores",
        "2",
        "--nolock",
    ]
    command += ["--rerun-incomplete", "--quiet", "all", "--", f"results/demo/{TRAINING}/record.json"]
    environment = os.environ | {"PYTHONPATH": str(folder), "BENCH_DEVICE": "cpu"}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True)


def after_some_steps(folder: Path) -> None:
    log = folder / "results" / "demo" / TRAINING / "state" / "log.csv"
    deadline = time.monotonic() + 300
    while not (log.is_file() and len(log.read_text().splitlines()) > 12):
        assert time.monotonic() < deadline, "no step was logged in five minutes"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_pre_training_ended_below_snakemake_goes_on_when_it_is_started_again(tmp_path, number):
    bits = []
    # A copy, so that nothing done to the code meanwhile gives the two another digest.
    code = shutil.copytree(ROOT / "bench", tmp_path / "bench")
    for name in ("undisturbed", "disturbed"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "bench").symlink_to(code)
        run = start(folder)
        if name == "disturbed":
            after_some_steps(folder)
            os.killpg(run.pid, number)
            assert run.wait(timeout=120) != 0
            state = folder / "results" / "demo" / TRAINING / "state"
            assert (state / "preempted.json").exists() == (number == signal.SIGTERM)
            run = start(folder)
        assert run.wait(timeout=600) == 0
        bits.append({n: sha256_file(folder / "results" / "demo" / TRAINING / n) for n in OUTPUTS})
    assert bits[0] == bits[1]
