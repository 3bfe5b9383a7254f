"""A real training that dies with its Snakemake, without a word: the same command goes on from its state, bit for bit.

Rules, Snakefile and Snakemake are the real ones. A job's process asks this one for its training, which is forked from a
process that has torch (tests/train/forks.py), so that nobody waits for imports; other stages are stubs.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.record import sha256_file
from tests.workflow.test_end_to_end import copy_project

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
sys.path.insert(0, str(ROOT / "tests" / "train"))

from forks import Forks  # noqa: E402
from prepared import pretraining, write_classes  # noqa: E402

FOLDER = "results/smoke/pretrain/convnext_mini/csp-4ch/seed0"
OUTPUTS = ("weights.safetensors", "weights.json", "log.csv")
ASK = """

if __name__ == "__main__":
    if sys.argv[1] == "pretrain":
        Path("asked").touch()
        while not Path("answered").exists():
            time.sleep(0.02)
    else:
        main()
"""


@pytest.fixture
def project(tmp_path):
    place = copy_project(tmp_path / "project")
    (place / "bench" / "__main__.py").write_text((HERE / "stub_cli.py").read_text() + ASK)
    return place


def snakemake(place):
    """Start the pre-training through Snakemake as `bench run` does, in a process group of its own."""
    words = [
        "--configfile",
        "config/smoke.yaml",
        "--cores",
        "1",
        "--nolock",
        "--rerun-incomplete",
        "--quiet",
        "all",
    ]
    with (place / "said").open("a") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *words, "--", f"{FOLDER}/record.json"],
            cwd=place, env=os.environ | {"PYTHONPATH": str(place)}, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip


def wait_for(path, process):
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, (path.parent / "said").read_text()
        assert time.monotonic() < deadline, "Snakemake did not come to the training"
        time.sleep(0.02)
    path.unlink()


def test_a_training_killed_with_its_snakemake_goes_on_from_its_state_and_ends_bit_equal(project, tmp_path):
    first = snakemake(project)
    with Forks() as forks:
        manifest = write_classes(tmp_path / "data")
        whole = pretraining(tmp_path / "whole", manifest, ema=0.9)
        assert forks.train(whole, every_step=False)[0] == [0]
        # 1. In the middle of step 6 the training dies, and with it everything that had started it.
        run = replace(whole, folder=str(project / FOLDER))
        wait_for(project / "asked", first)
        assert forks.train(run, die=("step", 6, 0))[0] == [-signal.SIGKILL]
        os.killpg(first.pid, signal.SIGKILL)
        assert first.wait(timeout=60) == -signal.SIGKILL
        assert not (project / FOLDER / "record.json").exists()
        # 2. The same command: Snakemake clears what it had declared, and leaves the state alone.
        second = snakemake(project)
        wait_for(project / "asked", second)
        codes, said = forks.train(run)
    assert codes == [0] and "resuming after step 6\n" in said
    (project / "answered").touch()
    assert second.wait(timeout=60) == 0, (project / "said").read_text()
    found = [{name: sha256_file(Path(one.folder, name)) for name in OUTPUTS} for one in (whole, run)]
    assert found[0] == found[1]
