"""A part of a study, as a budget proposes it, comes to its report: nothing asks for what was left out."""

from pathlib import Path

import pytest
import yaml

from bench.benchmark.records import write_records
from bench.report.paper import write_report
from bench.report.plates import write_figures
from bench.report.tables import write_tables
from bench.stats.stage import compare_study
from bench.study.outputs import figure_names, table_names
from bench.study.reading import load_study
from bench.study.runs import Runs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three targets, two backbones, less a target and a further place; a grid whose levels are not the base's."""
    monkeypatch.chdir(ROOT)
    study = yaml.safe_load((ROOT / "tests" / "study" / "grid.yaml").read_text())
    for section in ("pretrain", "finetune"):
        study[section]["common"]["lr"] = 0.001
    for name in ("pst900", "isaid"):
        for section in ("datasets", "evaluate"):
            study[section][name] = dict(study[section]["mfnet"])
    study["datasets"]["isaid"] = {"channels": ["red", "green", "blue"]}
    study["backbones"]["other"] = dict(study["backbones"]["convnext_mini"], depths=[1, 1, 2, 1])
    study["grid"] = {
        "axes": {"probability": [0.5, 0.25]},
        "exclude": [{"dataset": "isaid"}, {"dataset": "pst900", "backbone": "other"}],
    }
    path = tmp_path / "part.yaml"
    path.write_text(yaml.safe_dump(study))
    found = Runs(load_study(path), str(tmp_path / "results"))
    samples = dict.fromkeys(found.study.datasets, 4)
    write_records(found, samples=samples, side=dict.fromkeys(samples, 40), images=20, steps=3, picture=16)
    return found


def test_it_comes_to_its_report_and_speaks_of_what_was_run(runs, tmp_path):
    root = Path(runs.root)
    compare_study(runs)
    write_tables(runs.study, root / "compare", root / "tables")
    write_figures(runs.study, root, root / "figures")
    assert {path.stem for path in (root / "tables").glob("*.csv")} == set(table_names(runs.study))
    assert {path.stem for path in (root / "figures").glob("*.png")} == set(figure_names(runs.study))
    main = (root / "tables" / "main.csv").read_text()
    assert "MFNet" in main and "PST900" in main and "iSAID" not in main
    # The base stands among the levels of the axis, as what the others are held against.
    grid = (root / "tables" / "grid.csv").read_text()
    assert "probability,1.0," in grid and "probability,0.5," in grid
    write_report(runs.study, root, root / "report.pdf", study_file=tmp_path / "part.yaml")
    assert (root / "report.pdf").read_bytes().startswith(b"%PDF")
