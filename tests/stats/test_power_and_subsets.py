"""Subsets and tests belong to the comparison alone; `bench power` plans from what is there."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.cli import main
from bench.record import Record
from bench.stats.stage import expected_cell
from bench.study.reading import load_study
from bench.study.runs import Runs

ROOT = Path(__file__).parents[2]


def test_subsets_and_tests_move_the_comparison_and_no_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    study = load_study(Path("config/demo.yaml"))
    before = Runs(study)
    night = study.evaluate | {"mfnet": replace(study.evaluate["mfnet"], subsets=("night",))}
    for changed in (
        replace(study, evaluate=night),
        replace(study, compare=replace(study.compare, tests=("signed-ranks",))),
    ):
        after = Runs(changed)
        assert [run.digest for run in after.evaluations] == [run.digest for run in before.evaluations]
        assert after.compare_digest != before.compare_digest


def test_a_subset_that_the_catalogue_lacks_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    text = Path("config/demo.yaml").read_text()
    assert "subsets: [day, night]" in text
    other = tmp_path / "other.yaml"
    other.write_text(text.replace("subsets: [day, night]", "subsets: [day, dusk]"))
    assert main(["plan", "--study", str(other)]) == 2
    assert "evaluate.mfnet.subsets: mfnet has no 'dusk'; it has ['day', 'night']" in capsys.readouterr().err


def _evaluations(runs: Runs, datasets: tuple[str, ...]) -> None:
    """Write evaluations of some datasets as the evaluation does, in the working folder."""
    generator = np.random.default_rng(0)
    for run in runs.evaluations:
        if run.dataset not in datasets:
            continue
        settings, cells = runs.study.evaluate[run.dataset], [expected_cell(cell) for cell in run.finetunings]
        counts = generator.integers(1, 9, (len(cells), 6, 3, 3)) + 60 * np.eye(3, dtype=np.int64)
        extra = {
            "cells": [
                {
                    "arm": c.arm,
                    "names": list(c.names),
                    "seed": c.seed,
                    "pretrain_seed": c.pretrain_seed,
                    "digest": c.digest,
                }
                for c in cells
            ],
            "samples": [f"s{i}" for i in range(6)],
            "units": [f"u{i}" for i in range(6)],
            "classes": ["a", "b", "c"],
            "pixels": list(settings.pixels),
        }
        Path(run.folder).mkdir(parents=True)
        np.savez(Path(run.folder, "counts.npz"), **{f"counts/{rule}": counts for rule in settings.pixels})
        Record(
            stage="evaluate",
            names={"study": run.study, "dataset": run.dataset, "backbone": run.backbone},
            spec=run.spec,
            digest=run.digest,
            inputs=run.inputs,
            metrics={},
            receipt={},
            extra=extra,
        ).write(Path(run.record))


def test_power_plans_from_the_evaluations_there_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "reported.csv").write_bytes((ROOT / "paper" / "reported.csv").read_bytes())
    words = ["power", "--study", str(ROOT / "config" / "demo.yaml")]
    assert main(words) == 1
    assert "evaluate two repetitions of both arms of one dataset first" in capsys.readouterr().err
    _evaluations(Runs(load_study(ROOT / "config" / "demo.yaml")), ("mfnet", "pst900"))
    assert main(words) == 0
    said = capsys.readouterr().out
    assert (
        "mfnet/convnext_mini csp - rgb-repeat mIoU" in said and "16 of 32 cells are not evaluated yet" in said
    )
    with (tmp_path / "results" / "demo" / "power" / "power.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    # Two datasets, two backbones, two claims.
    assert len(rows) == 8
    gains = {row["dataset"]: row["assumed"] for row in rows if row["claim"] == "gain over 0"}
    assert gains == {"mfnet": "0.066", "pst900": "0.1383"}
    assert all(0 <= float(row["power"]) <= 1 and row["statement"] for row in rows)
    assert not (tmp_path / "results" / "demo" / "compare").exists()
