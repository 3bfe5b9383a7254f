"""The plan is what the workflow then does: the same jobs, before a run, after it, and after a change."""

import re
from pathlib import Path

import pytest
from test_workflow import edited, jobs_of_dry_run, project, small, snakemake  # noqa: F401

from bench.plan.graph import graph
from bench.plan.state import counts, states
from bench.plan.text import plan_text
from bench.study.reading import load_study
from bench.study.runs import Runs


def planned(path):
    """Return the jobs that the plan of a study says will run, and `all`, as Snakemake counts them."""
    runs = Runs(load_study(path))
    found = counts(graph(runs), states(runs))
    return found | {"all": 1} if found else found


def two_axes(study):
    small(study)
    study["datasets"] = {"mfnet": study["datasets"]["mfnet"]}
    study["evaluate"] = {"mfnet": study["evaluate"]["mfnet"]}
    study["grid"] = {"axes": {"scope": ["image", "batch"], "probability": [1.0, 0.5]}}


def one_level_more(study):
    two_axes(study)
    study["grid"]["axes"]["scope"].append("epoch")


def slower(study):
    two_axes(study)
    study["finetune"]["common"]["iterations"] = 151


@pytest.mark.slow
def test_the_plan_counts_what_snakemake_then_runs(project, monkeypatch):  # noqa: F811
    monkeypatch.delenv("BENCH_RESULTS", raising=False)
    study = edited(project, "demo", "grid", two_axes)
    # Four arms of the grid and rgb-repeat, two seeds each.
    assert planned(study) == jobs_of_dry_run(project, "--configfile", str(study))
    assert planned(study)["finetune"] == 10 and planned(study)["pretrain"] == 5
    snakemake(project, "--configfile", str(study))
    assert planned(study) == jobs_of_dry_run(project, "--configfile", str(study)) == {}

    # An added level runs its two arms, and what is made of all of them.
    wider = edited(project, "demo", "wider", one_level_more)
    found = planned(wider)
    assert found == jobs_of_dry_run(project, "--configfile", str(wider))
    assert (found["pretrain"], found["finetune"], found["evaluate"], found["top1"]) == (2, 4, 1, 1)
    text = snakemake(project, "-n", "--configfile", str(wider)).stdout
    assert set(re.findall(r"arm=([a-z0-9-]+)", text)) == {"csp-epoch", "csp-epoch-p50"}

    # A changed setting is named with both values; a lost file is made again, and what follows from it.
    changed = edited(project, "demo", "changed", slower)
    text = plan_text(Runs(load_study(changed)), changed)
    assert (
        "stale      finetune mfnet/convnext_mini/csp/seed0 and 9 more: recipe.iterations: 150 -> 151" in text
    )
    assert planned(changed) == jobs_of_dry_run(project, "--configfile", str(changed))
    Path("results/demo/evaluate/mfnet/convnext_mini/counts.npz").unlink()
    Path("results/demo/figures/forest.png").unlink()
    assert planned(study) == jobs_of_dry_run(project, "--configfile", str(study))
