"""The SLURM profile, with stand-ins for SLURM's commands: a study to its end through pre-emption and a lost node."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from bench.cli import main
from bench.cluster import check_devices, executor_of, requeue
from bench.errors import BenchError
from bench.status import study_status
from bench.study.reading import load_study
from bench.study.runs import Runs
from tests.workflow.test_end_to_end import copy_project

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
COMMANDS = ("sbatch", "srun", "sacct", "scontrol", "scancel", "sinfo")
ENTRY = """

if __name__ == "__main__":
    if (sys.argv[1] in ("acquire", "prepare") and "mfnet" in sys.argv) or "scratch" in sys.argv:
        from bench.cli import main
    sys.exit(main())
"""


def small(study):
    """One target, two arms, one repetition; a scratch arm that trains long enough to be stopped on the way."""
    for section in ("datasets", "evaluate"):
        study[section] = {"mfnet": study[section]["mfnet"]}
    study["arms"] = {"rgb-repeat": {"strategy": "rgb"}, "scratch": {"strategy": "scratch"}}
    study["repetitions"] = {"design": "nested", "pretrain": 1, "finetune": 1}
    study["compare"]["treatment"] = "scratch"
    study["finetune"]["common"]["iterations"] = 300


@pytest.fixture
def project(tmp_path):
    """The project with its SLURM profile; the target and its fine-tuning from scratch are real, other stages stubs."""
    place = copy_project(tmp_path / "project")
    (place / "bench" / "__main__.py").write_text((HERE / "stub_cli.py").read_text() + ENTRY)
    study = yaml.safe_load((HERE / "smoke.yaml").read_text())
    small(study)
    (place / "config" / "smoke.yaml").write_text(yaml.safe_dump(study))
    profile = place / "profiles" / "slurm" / "config.yaml"
    settings = yaml.safe_load(profile.read_text())
    settings |= {"slurm-init-seconds-before-status-checks": 1, "latency-wait": 5}
    profile.write_text(yaml.safe_dump(settings))
    return place


@pytest.fixture
def slurm(tmp_path):
    """Variables under which SLURM's commands are the stand-ins, and the folder of their jobs."""
    commands, home = tmp_path / "bin", tmp_path / "slurm"
    commands.mkdir()
    home.mkdir()
    for name in COMMANDS:
        script = f'#!/bin/sh\nexec "{sys.executable}" -S -E "{HERE}/fake_slurm/slurm.py" {name} "$@"\n'
        (commands / name).write_text(script)
        (commands / name).chmod(0o755)
    path = f"{commands}:{os.environ['PATH']}"
    yield {"PATH": path, "FAKE_SLURM": str(home), "BENCH_DEVICE": "cpu"}
    for file in home.glob("*.json"):
        step = json.loads(file.read_text()).get("step")
        if step and psutil.pid_exists(step):
            os.kill(step, signal.SIGKILL)


def wait_for(condition, process, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert process.poll() is None, "bench run ended too early"
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def scratch_job(home):
    """Return the SLURM job of the fine-tuning from scratch that runs now."""
    found = [json.loads(path.read_text()) for path in sorted(home.glob("*.json"))]
    return next((job for job in found if "scratch" in job["comment"] and job["state"] == "RUNNING"), None)


def rows(folder):
    log = folder / "state" / "log.csv"
    return log.read_text().splitlines()[1:] if log.exists() else []


def signal_step(job, number):
    """Send a signal to every process of a job's step, as SLURM does."""
    step = psutil.Process(job["step"])
    for process in [step, *step.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


@pytest.mark.slow
def test_a_study_ends_bit_equal_through_a_preemption_and_a_lost_node(project, slurm, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    environment = os.environ | {"PYTHONPATH": str(project)} | slurm
    home, study = Path(slurm["FAKE_SLURM"]), project / "config" / "smoke.yaml"
    runs = Runs(load_study(study))
    folder = Path(next(run.folder for run in runs.finetunings if run.arm == "scratch"))
    code = "import sys; from bench.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["run", "--study", str(study), "--profile", "profiles/slurm"]
    # 0. What no question is asked about is made on this machine: each SLURM job costs two starts of Snakemake.
    other = next(run.record for run in runs.finetunings if run.arm == "rgb-repeat")
    local = ["all_pretrain", "look", runs.classifiers[0].record, other, "--nolock", "--cores", "2"]
    subprocess.run(
        [sys.executable, "-m", "snakemake", *local, "--configfile", str(study)],
        env=environment, check=True, capture_output=True,
    )  # fmt: skip
    # The same fine-tuning, undisturbed and without SLURM, on the same data: beside the first job's starts.
    data = tmp_path / "undisturbed" / "smoke" / "data"
    data.parent.mkdir(parents=True)
    data.symlink_to(Path(runs.root, "data").resolve())
    alone = ["finetune", "--study", str(study), "--dataset", "mfnet", "--backbone", "convnext_mini"]
    undisturbed = subprocess.Popen(
        [sys.executable, "-m", "bench", *alone, "--arm", "scratch", "--seed", "0"],
        env=environment | {"BENCH_RESULTS": str(tmp_path / "undisturbed")},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    said = tmp_path / "said"
    with said.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words], env=environment, stdout=stream, stderr=stream
        )
    try:
        # 1. SLURM tells every process of the job to stop: the state is saved, and the job back in the queue.
        wait_for(lambda: rows(folder) and scratch_job(home), process)
        first, seen = scratch_job(home), {item.run: item for item in study_status(runs)}
        at_work = seen[folder.relative_to("results/smoke").as_posix()]
        assert (at_work.state, at_work.steps or 300) == ("running", 300) and at_work.step > 0
        assert at_work.score.startswith("loss ") and seen["data/mfnet"].state == "done"
        signal_step(first, signal.SIGTERM)
        held = wait_for(lambda: [path for path in (folder / "state").glob("*-0*.json")], process)
        saved = max(int(path.stem.split("-")[1]) for path in held)
        assert 0 < saved < 300
        # 2. The same job goes on from there; then its node is lost, without a word.
        wait_for(lambda: len(rows(folder)) and int(rows(folder)[-1].split(",")[0]) > saved, process)
        second = scratch_job(home)
        assert (second["script"], second["lives"]) == (first["script"], 2)
        signal_step(second, signal.SIGKILL)
        # 3. Snakemake submits it anew, and the study comes to its end.
        ended = process.wait(timeout=240)
    finally:
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            undisturbed.wait(timeout=60)
        undisturbed.kill()
    assert ended == 0, said.read_text()[-4000:]
    found = [json.loads(path.read_text()) for path in home.glob("*.json")]
    of_scratch = [job for job in found if "scratch" in job["comment"]]
    assert sorted((job["state"], job["lives"]) for job in of_scratch) == [("COMPLETED", 1), ("FAILED", 2)]
    assert all(job["state"] == "COMPLETED" for job in found if job not in of_scratch)
    assert not any(path.name.startswith("preempted") for path in (folder / "state").iterdir())
    # 4. What was asked of SLURM: the rule's GPU, time and memory that grow with the attempt, a word before the end.
    third = max(of_scratch, key=lambda job: job["state"] == "COMPLETED")
    for job, runtime, memory in ((first, "720", "48000"), (third, "1440", "96000")):
        asked = " ".join(job["words"])
        assert f"-t {runtime} --mem {memory} --nodes=1 --requeue --cpus-per-task=8 --signal=TERM@300" in asked
        assert job["gpus"] == "1"
    # 5. It has the bits of the same fine-tuning on the same data, undisturbed and without SLURM.
    assert undisturbed.wait(timeout=120) == 0
    whole = tmp_path / "undisturbed" / folder.relative_to("results")
    for name in ("weights.safetensors", "log.csv"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


def test_profiles_name_what_runs_their_jobs():
    assert executor_of(str(ROOT / "profiles" / "default")) == "local"
    assert executor_of(str(ROOT / "profiles" / "slurm")) == "slurm"
    assert executor_of(str(ROOT / "profiles" / "kubernetes")) == "kubernetes"
    assert executor_of(str(ROOT / "profiles" / "none")) == "local"


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_what_a_profile_sets_is_of_rules_that_exist(name):
    settings = yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    assert all(f"\nrule {rule}:\n" in rules for rule in settings["set-resources"])


def test_a_job_with_fewer_gpus_than_it_was_given_stops_at_once(monkeypatch):
    monkeypatch.delenv("BENCH_DEVICE", raising=False)
    monkeypatch.setenv("SLURM_GPUS", "a100:4")
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.setenv("BENCH_GPUS_PER_JOB", "4")
    check_devices()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    with pytest.raises(
        BenchError, match=r"gave the job 4 GPUs, its processes need 4, and 3 are visible on node7"
    ):
        check_devices()
    monkeypatch.setenv("BENCH_DEVICE", "cpu")
    check_devices()
    monkeypatch.delenv("BENCH_DEVICE")
    monkeypatch.setenv("SLURM_GPUS", "1")
    with pytest.raises(BenchError, match="gave the job 1 GPUs, its processes need 4, and 3 are visible"):
        check_devices()
    monkeypatch.delenv("SLURM_GPUS")
    check_devices()


def test_classifiers_are_not_read_on_a_node_that_shows_no_gpu(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    for name, value in {"SLURM_GPUS": "1", "CUDA_VISIBLE_DEVICES": "", "SLURMD_NODENAME": "node7"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("BENCH_DEVICE", raising=False)
    # One GPU is enough for them, however many a training has.
    monkeypatch.setenv("BENCH_GPUS_PER_JOB", "4")
    words = ["evaluate", "--study", "config/demo.yaml", "--dataset", "top1", "--backbone", "convnext_mini"]
    assert main(words) == 1
    assert "gave the job 1 GPUs, its processes need 1, and 0 are visible on node7" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("exit 0", "SLURM job 7 is back in the queue"),
        ("echo 'job is pending' >&2; exit 1", r"not put back into the queue \(job is pending\)"),
        (None, "could not be put back into the queue"),
    ],
)
def test_a_preempted_job_asks_for_the_queue_and_a_refusal_is_a_sentence(
    script, sentence, tmp_path, monkeypatch, capsys
):
    if script is not None:
        (tmp_path / "scontrol").write_text(f'#!/bin/sh\n[ "$*" = "requeue 7" ] || exit 9\n{script}\n')
        (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("BENCH_REQUEUE", raising=False)
    requeue()
    monkeypatch.setenv("BENCH_REQUEUE", "slurm")
    monkeypatch.setenv("RANK", "0")
    # Not asked for, or one of several processes, whose launcher asks: silence.
    requeue()
    assert capsys.readouterr().err == ""
    monkeypatch.delenv("RANK")
    requeue()
    assert re.search(sentence, capsys.readouterr().err)
