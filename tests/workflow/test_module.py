"""Another workflow uses this one as a module: from a folder of its own, with its config, below a prefix."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bench.errors import RequestError
from bench.study.choice import chosen_study
from bench.study.place import own_file, results_folder

ROOT = Path(__file__).parents[2]
SNAKEFILE = f"""
configfile: "own.yaml"

module csp_bench:
    snakefile: "{ROOT}/Snakefile"
    config: config["csp"]
    prefix: "csp"

use rule * from csp_bench as csp_*

rule summary:
    default_target: True
    input:
        "csp/results/smoke/tables/main.txt",
        "csp/results/smoke/report/report.pdf",
    output:
        "summary.txt",
    shell:
        "cat {{input[0]}} > {{output}}"
"""


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another project's folder: its Snakefile, its config, and its study under a name with a blank."""
    place = tmp_path_factory.mktemp("other")
    (place / "Snakefile").write_text(SNAKEFILE)
    (place / "own.yaml").write_text(yaml.safe_dump({"csp": {"study_file": "my study.yaml"}, "other": [1]}))
    (place / "my study.yaml").write_text(Path(__file__).with_name("smoke.yaml").read_text())
    return place


def snakemake(place, *words):
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", *words], cwd=place, capture_output=True, text=True
    )


def test_its_rules_stand_in_the_other_workflows_graph(other):
    done = snakemake(other, "-n")
    assert done.returncode == 0, done.stdout + done.stderr
    # Rows such as "csp_prepare         3" in Snakemake's table of jobs.
    jobs = dict(re.findall(r"^(csp_\w+|summary) +(\d+)$", done.stdout + done.stderr, re.MULTILINE))
    # 3 datasets, rgb-3ch, csp-4ch and csp-5ch, 2 targets x 2 arms x 2 seeds.
    assert jobs["csp_prepare"] == "3" and jobs["csp_pretrain"] == "3" and jobs["csp_finetune"] == "8"
    assert jobs["csp_report"] == jobs["summary"] == "1"
    # Which rules are light is said in the rules, and so under any name.
    assert "localrules directive specifies rules that are not present" not in done.stdout + done.stderr


def test_its_stages_run_there_and_write_below_the_prefix(other):
    done = snakemake(other, "csp/results/smoke/data/mfnet/acquired.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((other / "csp/results/smoke/data/mfnet/acquired.json").read_text())["digest"]
    assert (other / "csp/results/smoke/logs/acquire/mfnet.log").is_file()
    assert not (other / "results").exists()


def test_a_module_names_its_study_and_nothing_else():
    assert chosen_study(["the-others.yaml", "more.yaml"], {"study_file": "a.yaml"}) == Path("a.yaml")
    with pytest.raises(RequestError, match="study_file beside seed: settings are not merged into a study"):
        chosen_study([], {"study_file": "a.yaml", "seed": 3})


def test_the_projects_files_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert own_file("paper/reported.csv") == str(ROOT / "paper" / "reported.csv")
    # The other workflow's own file of this name holds other claims.
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "reported.csv").touch()
    assert own_file("paper/reported.csv") == str(ROOT / "paper" / "reported.csv")
    monkeypatch.chdir(ROOT)
    assert own_file("paper/reported.csv") == "paper/reported.csv"


def test_results_have_a_folder_of_their_choice(monkeypatch):
    monkeypatch.delenv("BENCH_RESULTS", raising=False)
    assert results_folder() == "results"
    monkeypatch.setenv("BENCH_RESULTS", "/scratch/me/")
    assert results_folder() == "/scratch/me"
    monkeypatch.setenv("BENCH_RESULTS", "")
    with pytest.raises(RequestError, match="BENCH_RESULTS is empty"):
        results_folder()
