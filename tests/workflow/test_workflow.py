"""The DAG: the right jobs, the right re-runs, and no stale result called done.

The project is copied with its real Snakefile, rules and studies; only the stages are stubs (stub_cli.py) that
write their outputs at once.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from bench.errors import RequestError
from bench.record import write_json
from bench.study.reading import load_study
from bench.study.runs import Runs
from bench.workflow import job_counts, preempted, run_study, stale_outputs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of the project, its stages stubs, as the working folder."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("bench", "rules", "config", "profiles", "paper"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "Snakefile", tmp_path)
    entry = tmp_path / "bench" / "__main__.py"
    stub = Path(__file__).with_name("stub_cli.py").read_text()
    # `bench run` stays the real one.
    entry.write_text(stub + '\nif __name__ == "__main__":\n    sys.exit(main())\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def snakemake(project, *words, check=True):
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--nolock", "--rerun-incomplete", "--cores", "2", *words],
        cwd=project, capture_output=True, text=True,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def jobs_of_dry_run(project, *words):
    """Return the jobs of a dry run by rule; empty where there is nothing to do."""
    text = snakemake(project, "-n", *words).stdout
    if "Job stats:" not in text:
        assert "Nothing to be done" in text
        return Counter()
    rows = text.split("Job stats:")[1].split("\n\n")[0].strip().splitlines()[2:]
    return Counter(
        {rule: int(count) for rule, count in (row.split() for row in rows)} | {"total": 0}
    ) - Counter({"total": 0})


def edited(project, source, name, edit):
    """Write a copy of a study, changed, under another file name; the study's own name stays."""
    study = yaml.safe_load((project / "config" / f"{source}.yaml").read_text())
    edit(study)
    path = project / "config" / f"{name}.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def small(study):
    """Cut the demo down to one backbone and two datasets."""
    study["backbones"] = {"convnext_mini": study["backbones"]["convnext_mini"]}
    del study["finetune"]["backbones"]["swin_mini"]
    for section in ("datasets", "evaluate"):
        study[section] = {name: study[section][name] for name in ("mfnet", "potsdam")}


def faster(study):
    small(study)
    study["finetune"]["datasets"] = {"mfnet": {"lr": 9e-4}}


@pytest.mark.parametrize("name", ["paper", "demo"])
def test_a_dry_run_lists_the_right_number_of_jobs_of_each_rule(project, name):
    found = jobs_of_dry_run(project, "--configfile", f"config/{name}.yaml")
    expected = {
        "paper": {"acquire": 5, "prepare": 5, "pretrain": 8, "finetune": 84, "evaluate": 8, "top1": 2},
        "demo": {"acquire": 5, "prepare": 5, "pretrain": 8, "finetune": 32, "evaluate": 8, "top1": 2},
    }[name]
    expected |= dict.fromkeys(("look", "compare", "tables", "figures", "report", "all"), 1)
    assert found == expected
    assert job_counts(Runs(load_study(Path(f"config/{name}.yaml")))) + Counter(all=1) == Counter(expected)


def test_the_workflow_parses_and_dry_runs_without_torch(project):
    # pandas stays: Snakemake loads its SLURM plugin where that is installed, which imports it.
    for name in ("torch", "torchvision", "timm", "matplotlib", "scipy"):
        (project / f"{name}.py").write_text(f"raise ImportError('{name} is not here')\n")
    assert jobs_of_dry_run(project, "--configfile", "config/paper.yaml")["finetune"] == 84


def test_two_studies_are_never_merged(project):
    both = snakemake(project, "-n", "--configfile", "config/paper.yaml", "config/demo.yaml", check=False)
    assert both.returncode != 0 and "a study is one file" in both.stderr + both.stdout
    extra = snakemake(project, "-n", "--configfile", "config/paper.yaml", "--config", "seed=3", check=False)
    assert extra.returncode != 0 and "not merged into a study" in extra.stderr + extra.stdout
    without = snakemake(project, "-n").stdout
    assert "results/demo/" in without and "results/paper/" not in without


def test_a_changed_learning_rate_reruns_that_dataset_and_what_follows(project):
    study = edited(project, "demo", "small", small)
    snakemake(project, "--configfile", str(study))
    assert jobs_of_dry_run(project, "--configfile", str(study)) == Counter()
    changed = edited(project, "demo", "faster", faster)
    # Two arms x two seeds of one backbone, its evaluation, and all that is made of it; no pre-training.
    assert jobs_of_dry_run(project, "--configfile", str(changed)) == Counter(
        finetune=4, evaluate=1, compare=1, tables=1, figures=1, report=1, all=1
    )
    (project / "jobs.txt").unlink()
    snakemake(project, "--configfile", str(changed))
    ran = (project / "jobs.txt").read_text().splitlines()
    assert len(ran) == 9 and all("mfnet" in row for row in ran if row.startswith(("finetune", "evaluate")))


def test_a_failed_rerun_after_a_changed_setting_leaves_nothing_that_counts_as_done(project):
    study = edited(project, "demo", "small", small)
    snakemake(project, "--configfile", str(study))
    changed = edited(project, "demo", "faster", faster)
    (project / "fail").write_text("finetune/mfnet/convnext_mini/csp/seed1")
    assert snakemake(project, "--configfile", str(changed), "--keep-going", check=False).returncode != 0
    runs = Runs(load_study(changed))
    # The evaluation of the old weights still lies there: the records say that it is stale.
    old = ["evaluate/mfnet/convnext_mini/record.json", "compare/record.json"]
    assert stale_outputs(runs) == [f"results/demo/{name}" for name in old]
    (project / "fail").unlink()
    snakemake(project, "--configfile", str(changed))
    assert stale_outputs(runs) == []


def test_a_fresh_clone_with_records_and_a_changed_study_runs_what_is_stale(project):
    study = edited(project, "demo", "small", small)
    snakemake(project, "--configfile", str(study))
    # A clone or a copied results folder has records and no Snakemake metadata.
    shutil.rmtree(project / ".snakemake")
    for place in sorted((project / "results").rglob("*"), key=lambda p: p.stat().st_mtime):
        os.utime(place)
    changed = edited(project, "demo", "faster", faster)
    runs = Runs(load_study(changed))
    stale = stale_outputs(runs)
    # Four fine-tunings, their evaluation, and the comparison.
    assert len(stale) == 4 + 1 + 1 and all("mfnet" in path for path in stale[:-1])
    snakemake(project, "--configfile", str(changed), "--forcerun", *stale)
    assert stale_outputs(runs) == []


class Runner:
    """`bench run`, the real one, in a process group of its own; the jobs it starts are stubs.

    What it prints goes to files: a pipe would stay open as long as the Snakemake it started.
    """

    def __init__(self, project, study):
        code = f"import sys; from bench.cli import main; sys.exit(main(['run', '--study', {str(study)!r}]))"
        place = Path(tempfile.mkdtemp(dir=project))
        self.out, self.err = place / "out", place / "err"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], cwd=project, stdout=out, stderr=err, start_new_session=True
            )

    def wait(self):
        """Return the exit code and what went to stderr."""
        return self.process.wait(timeout=120), self.err.read_text()


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_a_killed_runner_lets_nobody_in_while_its_snakemake_works_and_leaves_no_lock(project):
    study = edited(project, "demo", "small", small)
    (project / "slow").touch()
    jobs = project / "jobs.txt"
    first = Runner(project, study)
    wait_for(lambda: jobs.exists() and "finetune" in jobs.read_text())
    first.process.kill()
    first.wait()
    # The Snakemake it started goes on, with the lock in its hands: a second start is refused, by name.
    code, error = Runner(project, study).wait()
    assert code == 2 and f"by process {first.process.pid}" in error
    (project / "slow").unlink()
    wait_for((project / "results" / "demo" / "report" / "report.pdf").exists)
    # Once it is gone, the next start finds everything done.
    deadline = time.monotonic() + 60
    while (last := Runner(project, study)).wait()[0] == 2:
        assert time.monotonic() < deadline, "the lock outlived its holders"
    assert last.wait()[0] == 0, last.wait()[1]
    assert "results/demo/report/report.pdf" in last.out.read_text()
    # No job ran twice.
    ran = jobs.read_text().splitlines()
    assert Counter(row for row in ran if row.startswith("pretrain")).most_common(1)[0][1] == 1
    assert sum(row.startswith("finetune") for row in ran) == 8


def test_a_terminated_runner_stops_its_snakemake(project):
    study = edited(project, "demo", "small", small)
    (project / "slow").touch()
    jobs = project / "jobs.txt"
    runner = Runner(project, study)
    wait_for(lambda: jobs.exists() and "finetune" in jobs.read_text())
    runner.process.terminate()
    code, error = runner.wait()
    assert code == 1 and "goes on from here" in error
    assert not (project / "results" / "demo" / "report" / "report.pdf").exists()
    (project / "slow").unlink()
    code, error = Runner(project, study).wait()
    assert code == 0, error


def test_what_the_study_no_longer_means_is_forced_even_without_snakemake_metadata(project):
    study = edited(project, "demo", "small", small)
    snakemake(project, "--configfile", str(study))
    runs = Runs(load_study(study))
    assert stale_outputs(runs) == []

    def drawn_larger(content):
        small(content)
        content["miniature"]["scenes"] = 30

    def stricter(content):
        small(content)
        content["compare"]["margin"] = 0.01

    larger = Runs(load_study(edited(project, "demo", "larger", drawn_larger)))
    stale = stale_outputs(larger)
    assert (
        "results/demo/data/mfnet/acquired.json" in stale and "results/demo/data/mfnet/manifest.json" in stale
    )
    assert len(stale) == 2 * 3 + len(larger.pretrainings) + len(larger.finetunings) + 2 + 1 + 1
    strict = Runs(load_study(edited(project, "demo", "strict", stricter)))
    assert stale_outputs(strict) == ["results/demo/compare/record.json"]


def test_only_what_was_stopped_now_ends_a_run_as_pre_empted(project):
    runs = Runs(load_study(edited(project, "demo", "small", small)))
    first, second = runs.finetunings[:2]
    for number, run in enumerate((first, second)):
        mark = Path(run.folder, "state", "preempted.json")
        write_json(mark, {"step": 10 + number})
        os.utime(mark, (1000 + number, 1000 + number))
    assert preempted(runs, since=1001) == [(second.folder, 11)]
    Path(second.folder, "state", "preempted.json").write_text("{torn")
    assert preempted(runs, since=1001) == []


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_than_one_process_is_a_wrong_request(project, count):
    study = edited(project, "demo", "small", small)
    with pytest.raises(
        RequestError, match=f"--cores {count}: expected the number of processes at once, 1 or more"
    ):
        run_study(Runs(load_study(study)), study, cores=count, profile="profiles/default")


def test_a_training_on_more_gpus_than_the_machine_shows_is_refused_before_anything_starts(
    project, monkeypatch
):
    study = edited(project, "demo", "small", small)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("BENCH_GPUS_PER_JOB", "4")
    monkeypatch.delenv("BENCH_DEVICE", raising=False)
    with pytest.raises(RequestError, match=r"BENCH_GPUS_PER_JOB=4: this machine shows 2 GPUs"):
        run_study(Runs(load_study(study)), study, cores=1, profile="profiles/default")
    assert not (project / "jobs.txt").exists()


@pytest.mark.parametrize(("words", "count"), [(["--cores", "4"], 4), (["--cores", "40"], 16)])
def test_a_preparation_is_told_its_cores(project, words, count):
    # Real archives, where there is something to divide.
    text = snakemake(project, "-n", "-p", *words, "--configfile", "config/paper.yaml").stdout
    told = re.findall(r"exec env (.*)-m bench prepare", text)
    assert len(told) == 5 and all(f"BENCH_CORES={count} " in line for line in told)
    assert "BENCH_CORES" not in "".join(re.findall(r"exec env (.*)-m bench (?:acquire|pretrain)", text))
