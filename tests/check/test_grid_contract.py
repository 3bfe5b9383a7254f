"""A grid whose arms have epochs and seeds of their own keeps the contract; what it does not declare breaks it."""

import json
from pathlib import Path

import pytest
import yaml

from bench.benchmark.records import write_records
from bench.check.contract import check_folder
from bench.record import digest_of
from bench.stats.stage import compare_study
from bench.study.reading import load_study
from bench.study.runs import Runs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """The made-up records of a grid: two epochs beside one, its own arms on the first repetition alone."""
    study = yaml.safe_load((ROOT / "tests" / "study" / "grid.yaml").read_text())
    study["grid"] = {"axes": {"scope": ["image", "batch"], "seeds": 1}, "include": [{"epochs": 2}]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    runs = Runs(load_study(tmp_path / "study.yaml"))
    write_records(runs, samples={"mfnet": 6}, side={"mfnet": 60}, images=40, steps=20, picture=24)
    compare_study(runs)
    return runs


def broken(runs: Runs) -> dict[str, list[str]]:
    # Tables and figures were not made.
    found = {check.name: findings for check, findings in check_folder(Path(runs.root), Path("study.yaml"))}
    return {
        name: findings for name, findings in found.items() if findings and name not in ("tables", "figures")
    }


def test_arms_with_epochs_and_seeds_of_their_own_keep_the_contract(runs: Runs) -> None:
    epochs = {run.label: run.recipe.epochs for run in runs.pretrainings}
    assert (epochs["csp-4ch"], epochs["csp-e2-4ch"]) == (1, 2)
    seeds = {(name, run.repetition) for run in runs.finetunings for name in run.names}
    assert ("csp", 1) in seeds and ("csp-e2", 1) not in seeds
    assert broken(runs) == {}


def test_epochs_that_no_arm_declares_are_found(runs: Runs) -> None:
    path = Path(runs.root, "pretrain", "convnext_mini", "csp-e2-4ch", "seed0", "record.json")
    record = json.loads(path.read_text())
    record["spec"]["recipe"]["epochs"] = 3
    record["digest"] = digest_of(record["spec"], record["inputs"])
    path.write_text(json.dumps(record))
    assert (
        "csp-e2-4ch/seed0: its spec says recipe.epochs 3; the study file says 2"
        in broken(runs)["protocol"][0]
    )


def test_seeds_that_the_grid_does_not_give_its_arms_are_found(runs: Runs) -> None:
    path = Path(runs.root, "evaluate", "mfnet", "convnext_mini", "record.json")
    record = json.loads(path.read_text())
    cell = next(cell for cell in record["extra"]["cells"] if cell["arm"] == "csp-e2")
    cell["seed"] = 1
    path.write_text(json.dumps(record))
    assert any("csp-e2 has the seeds [1]; the study declares 0" in words for words in broken(runs)["seeds"])


def test_units_that_were_split_up_are_found(runs: Runs) -> None:
    path = Path(runs.root, "data", "mfnet", "manifest.json")
    manifest = json.loads(path.read_text())
    counted = json.loads(Path(runs.root, "evaluate", "mfnet", "convnext_mini", "record.json").read_text())[
        "extra"
    ]
    units = dict(zip(counted["samples"], counted["units"], strict=True))
    manifest["samples"] = {name: {"unit": unit} for name, unit in units.items()}
    path.write_text(json.dumps(manifest))
    assert broken(runs) == {}
    manifest["samples"][counted["samples"][1]]["unit"] = units[counted["samples"][0]]
    path.write_text(json.dumps(manifest))
    assert broken(runs)["samples"] == [
        f"evaluate/mfnet/convnext_mini: sample {counted['samples'][1]} is counted to unit "
        f"{units[counted['samples'][1]]}; the manifest says {units[counted['samples'][0]]}"
    ]
