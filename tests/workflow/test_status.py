"""`bench status`: every state a run can be in, beside a run and on a results folder from elsewhere."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.record import Record, digest_of, write_json
from bench.status import is_held, run_status, show_status, study_status, table
from bench.study.reading import load_study
from bench.study.runs import Runs

ROOT = Path(__file__).parents[2]
HOUR_AGO = time.time() - 3600


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The smoke study's jobs, in an empty working folder."""
    (tmp_path / "paper").mkdir()
    monkeypatch.chdir(tmp_path)
    return Runs(load_study(Path(__file__).with_name("smoke.yaml")))


def log_of(job, root, text, *, fresh=False):
    path = Path(root, "logs", f"{job.folder.removeprefix(root + '/')}.log")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if not fresh:
        os.utime(path, (HOUR_AGO, HOUR_AGO))


def finish(job, metrics=None):
    Record(
        stage=job.stage, names={}, spec=job.spec, digest=job.digest, inputs=job.inputs, metrics=metrics or {},
        receipt={},
    ).write(Path(job.record))  # fmt: skip


def state_of(job, runs):
    return run_status(job, runs.root)


HOLD = """
import sys, time
from pathlib import Path
from bench.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(runs):
    """Another process that works on the first fine-tuning."""
    command = [sys.executable, "-c", HOLD, runs.finetunings[0].folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_what_has_not_begun_waits(runs):
    found = study_status(runs)
    # 3 datasets, 2 pre-trainings on 4 and 5 channels of csp and 1 of rgb, 2 x 2 x 2 fine-tunings, 2 + 1 evaluations.
    assert [item.stage for item in found].count("finetune") == 8
    assert len(found) == 3 + 3 + 8 + 2 + 1 and {item.state for item in found} == {"waiting"}


def test_a_held_lock_means_running_with_step_rate_and_time_left_from_the_log(runs, holder):
    job = runs.finetunings[0]
    line = "mfnet convnext_mini rgb-repeat seed 0: 4/6, 12 img/s, 61:05 left, loss 1.5"
    # The log is an hour old: the lock decides.
    log_of(job, runs.root, f"loading\n{line}\n")
    found = state_of(job, runs)
    assert (found.state, found.step, found.steps) == ("running", 4, 6)
    assert (found.rate, found.seconds_left) == ("12 img/s", 61 * 60 + 5)
    holder.kill()
    holder.wait()
    # Nobody works on it any more, and its log does not say why.
    assert state_of(job, runs).state == "stopped" and state_of(job, runs).rate is None


def test_asking_does_not_take_the_lock_away(runs, holder):
    lock = Path(runs.finetunings[0].folder, ".lock")
    assert is_held(lock) and is_held(lock)
    holder.kill()
    holder.wait()
    assert not is_held(lock) and not is_held(lock.with_name("none"))


def test_a_log_that_grows_means_running_where_locks_are_not_seen(runs):
    job = runs.finetunings[1]
    log_of(job, runs.root, "x: 1/6, 12 img/s, 0:05 left\n", fresh=True)
    assert state_of(job, runs).state == "running"
    log_of(job, runs.root, "bench finetune: weights.json: no such file\n", fresh=True)
    assert state_of(job, runs).state == "failed"


@pytest.mark.parametrize(
    "text",
    ["one\ntwo\nbench finetune: results/x: damaged; remove it\n", "Traceback (most recent call last):\nE\n"],
)
def test_a_log_that_ends_in_an_error_means_failed_and_its_last_lines_are_shown(runs, text):
    job = runs.finetunings[2]
    log_of(job, runs.root, "early\n" * 50 + text)
    found = state_of(job, runs)
    assert found.state == "failed" and len(found.log) == 5 and found.log[-1] == text.splitlines()[-1]
    shown = table("smoke", study_status(runs))
    assert f"    | {text.splitlines()[-1]}" in shown.splitlines()


def test_a_mark_means_preempted_and_rows_say_how_far(runs):
    job = runs.finetunings[3]
    state = Path(job.folder, "state")
    write_json(state / "preempted.json", {"step": 5, "state": "x"})
    (state / "log.csv").write_text("step,lr,loss\n3,0.1,2.25\n5,0.1,1.75\n6,0.")
    log_of(job, runs.root, "bench finetune: told to stop (SIGTERM)\n")
    found = state_of(job, runs)
    assert (found.state, found.step, found.steps, found.score) == ("pre-empted", 5, 6, "loss 1.75")
    # A row whose last number is torn says nothing yet.
    (state / "validation.csv").write_text("step,mIoU\n3,2e")
    assert state_of(job, runs).score == "loss 1.75"
    # A validation score says more than a loss; the newest checkpoint may be ahead of the rows.
    (state / "validation.csv").write_text("step,mIoU\n3,0.25\n")
    (state / f"{'0' * 16}-000000006.json").write_text("{}")
    assert (state_of(job, runs).score, state_of(job, runs).step) == ("mIoU 0.25", 6)


def test_a_record_means_done_or_stale_by_its_digest(runs):
    first, second = runs.pretrainings[:2]
    finish(first, metrics={"top1/natural": 0.5, "loss": 1.0})
    assert state_of(first, runs).state == "done" and state_of(first, runs).score == "top1/natural 0.5"
    other = dict(second.spec, seed=7)
    Record(
        stage="pretrain", names={}, spec=other, digest=digest_of(other, {}), inputs={}, metrics={}, receipt={}
    ).write(Path(second.record))
    assert state_of(second, runs).state == "stale"


def test_a_torn_record_or_manifest_is_no_result(runs):
    job, data = runs.pretrainings[0], runs.pretrain_data
    for path in (job.record, data.manifest):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text('{"digest": "tor')
    assert state_of(job, runs).state == state_of(data, runs).state == "waiting"


def test_a_folder_copied_from_another_machine_is_read_as_it_lies(runs, holder, tmp_path):
    job = runs.finetunings[0]
    finish(runs.pretrainings[0])
    log_of(job, runs.root, "x: 4/6, 12 img/s, 0:05 left\n")
    shutil.copytree("results", tmp_path / "copied" / "results")
    os.chdir(tmp_path / "copied")
    assert state_of(runs.pretrainings[0], runs).state == "done"
    assert state_of(job, runs).state == "stopped" and state_of(job, runs).step == 4


def test_scripts_get_json_and_a_small_screen_the_most_urgent_rows(runs, holder):
    log_of(runs.finetunings[1], runs.root, "bench finetune: no\n")
    out = io.StringIO()
    assert show_status(runs, watch=False, as_json=True, stream=out) == 0
    told = json.loads(out.getvalue())
    assert told["study"] == "smoke" and told["active"]
    assert told["counts"] == {"waiting": 15, "running": 1, "failed": 1}
    assert {"stage", "run", "state", "step", "steps", "rate", "seconds_left", "score", "log"} == set(
        told["runs"][0]
    )
    lines = table("smoke", study_status(runs), rows=2).splitlines()
    assert lines[0] == "smoke: 1 running, 1 failed, 15 waiting"
    assert [line.split()[0] for line in lines[2:4]] == ["running", "failed"]
    assert lines[-1] == "... and 15 more"


def test_watching_ends_when_nobody_works_on_the_study(runs, holder, monkeypatch):
    looks = []
    monkeypatch.setattr("bench.status.time.sleep", lambda seconds: (looks.append(seconds), end(holder)))
    out = io.StringIO()
    assert show_status(runs, watch=True, as_json=False, stream=out) == 0
    # One look while it runs, one after its end; plain text, since this is no terminal.
    assert len(looks) == 1 and out.getvalue().count("smoke: ") == 2 and "\x1b" not in out.getvalue()


def end(process):
    process.kill()
    process.wait()


def test_it_needs_no_torch():
    code = (
        "import sys\nfrom bench.cli import main\n"
        "assert main(['status', '--study', 'config/demo.yaml']) == 0\n"
        "heavy = {'torch', 'torchvision', 'timm', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("demo: ")
