"""A grid of three axes from drawn archives to its heat map, an added level, and another study that shares its work.

Run by `make torture`, not with the suite: some thirty short trainings, each of which imports torch. Minutes.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from bench.record import read_record

ROOT = Path(__file__).parents[2]


def run(study, place):
    """Run a study to its report and return how many jobs of each rule Snakemake counted."""
    environment = os.environ | {"BENCH_RESULTS": str(place / "results"), "BENCH_STORE": str(place / "store")}
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", "--study", str(study), "--cores", "2"],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    table = (done.stdout + done.stderr).split("Job stats:")[1].split("\n\n")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE)}


def written(place, name, edit):
    study = yaml.safe_load((ROOT / "tests" / "study" / "grid.yaml").read_text())
    for section in ("pretrain", "finetune"):
        study[section]["common"]["lr"] = 0.001
    edit(study)
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def test_a_grid_of_three_axes_runs_to_its_heat_map_and_an_added_level_runs_itself_alone(tmp_path):
    found = run(written(tmp_path, "grid", lambda study: None), tmp_path)
    assert (found["pretrain"], found["finetune"]) == (9, 18)
    results = tmp_path / "results" / "grid"
    for name in (
        "figures/grid_interactions.png",
        "figures/grid_effects.png",
        "tables/grid.csv",
        "compare/factors.csv",
    ):
        assert (results / name).stat().st_size > 0

    before = {path: path.stat().st_mtime_ns for path in results.rglob("weights.safetensors")}
    wider = written(tmp_path, "wider", lambda study: study["grid"]["axes"]["probability"].append(0.25))
    found = run(wider, tmp_path)
    # The new level with two scopes and two fills: four pre-trainings, two seeds of each arm.
    assert (found["pretrain"], found["finetune"]) == (4, 8)
    assert {path: path.stat().st_mtime_ns for path in before} == before

    # A study of another name asks for two of the pre-trainings: they are taken, and say from where.
    def other(study):
        study["study"] = "other"
        del study["grid"]

    run(written(tmp_path, "other", other), tmp_path)
    for record in (tmp_path / "results" / "other" / "pretrain").rglob("record.json"):
        assert read_record(record).extra["shared"]["study"] == "grid"
        own = record.with_name("weights.safetensors")
        assert own.read_bytes() == Path(str(own).replace("/other/", "/grid/")).read_bytes()
