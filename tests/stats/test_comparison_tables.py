"""The further tables of a comparison: classes, subsets, tests, ranks, power, context; four verdicts of each kind."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from small_study import CLASSES, Study
from test_compare import TOP1, _headline, _read, _run

from bench import metrics
from bench.errors import BenchError, RequestError
from bench.stats.compare import compare
from bench.stats.context import COLUMNS as CONTEXT_COLUMNS
from bench.stats.context import read_context
from bench.stats.verdicts import COLUMNS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def paths(study: Study) -> list[Path]:
    return study.write() + study.write_top1(TOP1)


def test_every_class_has_its_difference_with_an_interval_of_its_own_family(
    study: Study, paths: list[Path], tmp_path: Path
) -> None:
    _run(study, tmp_path / "out", paths)
    rows = [row for row in _read(tmp_path / "out" / "classes.csv") if row["backbone"] == "swin"]
    assert {row["metric"] for row in rows} == {f"IoU/{name}" for name in CLASSES}
    # The mean over the classes of the differences is the difference of the means.
    whole = float(_headline(tmp_path / "out", backbone="swin")["estimate"])
    assert np.mean([float(row["estimate"]) for row in rows]) == pytest.approx(whole)
    # Two backbones of three classes.
    assert {row["family"] for row in rows} == {"per class (6)"}
    assert all(float(row["low"]) < float(row["estimate"]) < float(row["high"]) for row in rows)


def _day_and_night(extra: dict[str, Any], arrays: dict[str, Any]) -> None:
    extra["groups"] = ["day", "night", None, "day", "night", "night", "day", "day"]


def test_subsets_are_scored_by_themselves_from_their_samples(study: Study, tmp_path: Path) -> None:
    kept: list[np.ndarray] = []

    def change(extra: dict[str, Any], arrays: dict[str, Any]) -> None:
        _day_and_night(extra, arrays)
        kept.append(arrays["counts/full"])

    paths = study.write(change) + study.write_top1(TOP1)
    _run(study, tmp_path / "plain", paths)
    assert _read(tmp_path / "plain" / "subsets.csv") == []
    study.subsets = ("day", "night")
    _run(study, tmp_path / "out", paths)
    rows = _read(tmp_path / "out" / "subsets.csv")
    (night,) = [r for r in rows if (r["backbone"], r["subset"], r["metric"]) == ("convnext", "night", "mIoU")]
    counts = kept[0][:, [1, 4, 5]].sum(axis=1)
    values = metrics.value_of(metrics.class_totals(counts), "mIoU", CLASSES)
    # Cells are csp seed 0, csp seed 1, rgb seed 0, rgb seed 1; samples 4 and 5 are one unit.
    assert float(night["estimate"]) == pytest.approx(values[:2].mean() - values[2:].mean())
    assert night["units"] == "2"
    # All else is as without subsets.
    for name in ("scores", "comparisons", "verdicts"):
        first, second = (tmp_path / folder / f"{name}.csv" for folder in ("plain", "out"))
        assert first.read_bytes() == second.read_bytes()


def test_a_subset_that_no_sample_has_is_refused_with_those_there_are(study: Study, tmp_path: Path) -> None:
    study.subsets = ("dusk",)
    paths = study.write(_day_and_night) + study.write_top1(TOP1)
    with pytest.raises(
        BenchError, match=r"evaluate.mfnet.subsets: no sample .* 'dusk'; there are \['day', 'night'\]"
    ):
        _run(study, tmp_path / "out", paths)


def test_the_tests_that_the_study_asks_for_stand_with_their_questions(
    study: Study, paths: list[Path], tmp_path: Path
) -> None:
    study.comparison = replace(study.comparison, tests=("paired-t", "signed-ranks"))
    _run(study, tmp_path / "out", paths)
    rows = {r["test"]: r for r in _read(tmp_path / "out" / "tests.csv") if r["backbone"] == "swin"}
    assert {name: row["question"] for name, row in rows.items()} == {
        "crossed t": "these pre-trained weights differ",
        "sign-flip over units": "these trained models differ",
        "sign-flip over seeds": "these pre-trained weights differ, on these test units",
        "paired t over seeds": "these pre-trained weights differ, on these test units",
        "signed ranks over seeds": "these pre-trained weights differ, on these test units",
    }
    scores = {
        (row["arm"], row["seed"]): float(row["value"])
        for row in _read(tmp_path / "out" / "scores.csv")
        if row["primary"] == "true" and row["backbone"] == "swin"
    }
    gains = [scores["csp", seed] - scores["rgb", seed] for seed in "01"]
    assert float(rows["paired t over seeds"]["p"]) == pytest.approx(stats.ttest_1samp(gains, 0).pvalue)
    assert float(rows["signed ranks over seeds"]["p"]) == 0.5
    assert rows["signed ranks over seeds"]["reachable"] == "false"
    assert rows["crossed t"]["p"] == _headline(tmp_path / "out", backbone="swin")["p"]


def test_the_best_baseline_is_visible_among_all_of_them(tmp_path: Path) -> None:
    study = Study(root=tmp_path, arms={"csp": 0.8, "rgb": 0.7, "zero": 0.75, "scratch": 0.5}, noise=30)
    _run(study, tmp_path / "out", study.write() + study.write_top1(TOP1))
    best = {
        b: _headline(tmp_path / "out", backbone="swin", baseline=b)["best_baseline"]
        for b in ("rgb", "zero", "scratch")
    }
    assert best == {"rgb": "false", "zero": "true", "scratch": "false"}
    secondary = [r for r in _read(tmp_path / "out" / "comparisons.csv") if r["metric"] == "OA"]
    assert {row["best_baseline"] for row in secondary} == {""}
    ranks = {row["arm"]: row for row in _read(tmp_path / "out" / "ranks.csv")}
    assert [ranks[arm]["average_rank"] for arm in ("csp", "zero", "rgb", "scratch")] == [
        "1.0",
        "2.0",
        "3.0",
        "4.0",
    ]
    assert ranks["csp"]["statement"] == "over mfnet/convnext, mfnet/swin"
    assert len(_read(tmp_path / "out" / "posthoc.csv")) == 6


def test_effects_and_power_stand_beside_each_headline_contrast(
    study: Study, paths: list[Path], tmp_path: Path
) -> None:
    _run(study, tmp_path / "out", paths, gain=5)
    row = _headline(tmp_path / "out", backbone="swin")
    assert row["improvement"] == "1.0" and float(row["standardised"]) > 0 and row["hedges_g"] == ""
    assert float(row["bca_low"]) < float(row["estimate"]) < float(row["bca_high"])
    rows = [r for r in _read(tmp_path / "out" / "power.csv") if r["backbone"] == "swin"]
    assert [(r["claim"], r["assumed"]) for r in rows] == [
        ("equivalence with the paper's gain", "0.05"),
        ("gain over 0", "0.05"),
    ]
    assert all(r["detectable"] == row["detectable"] != "" for r in rows)


OUTCOMES = ["reproduced", "not reproduced", "inconclusive", "not comparable"]
CLAIMED = {
    # kind -> per outcome: arm's share right, noise, paper's value in per cent (None: the value that was measured)
    "absolute": "{name},{dataset},best,csp,,mIoU,all,{low},{low},per cent,absolute,s,r",
    "gain": "{name},{dataset},average,csp,rgb,mIoU,all,{low},{low},percentage points,gain,s,r",
    "drop": "{name},imagenet1k,average,csp,rgb,top1/{dataset},all,{low},{low},percentage points,drop,s,r",
    "ordering": "{name},{dataset},average,csp,rgb,mIoU,all,,,,ordering,s,r",
}


def _verdict(study: Study, folder: Path, row: str, paths: list[Path]) -> dict[str, str]:
    reported = folder.parent / f"{folder.name}.csv"
    reported.write_text("\n".join([",".join(COLUMNS), row]) + "\n")
    compare(
        paths, study.cells(), study.comparison, study.settings, study.scale, study.design, reported, folder,
        classifiers=study.classifiers(),
    )  # fmt: skip
    (found,) = _read(folder / "verdicts.csv")
    return found


@pytest.mark.parametrize("kind", CLAIMED)
def test_each_kind_of_claim_has_each_of_the_four_outcomes(kind: str, tmp_path: Path) -> None:
    """Constructed records: a margin of five points decides the first two, one of a millionth leaves the third open."""
    # Where the arms are alike and noisy, an ordering is open; where csp is worse, it is not reproduced.
    shares = {"ordering": {"not reproduced": 0.6, "inconclusive": 0.7}}.get(kind, {})
    found = {}
    for outcome in OUTCOMES:
        csp = shares.get(outcome, 0.8)
        study = Study(root=tmp_path / outcome, arms={"csp": csp, "rgb": 0.7}, noise=200 if csp == 0.7 else 30)
        wide = outcome in ("reproduced", "not reproduced")
        study.comparison = replace(study.comparison, margin=0.05 if wide else 1e-6)
        paths = study.write() + study.write_top1(TOP1)
        dataset = "natural" if kind == "drop" else "mfnet"
        if outcome == "not comparable":
            dataset = "random" if kind == "drop" else "isaid"
        row = CLAIMED[kind].format(name=outcome, dataset=dataset, low=1)
        first = _verdict(study, tmp_path / f"{outcome}-first", row, paths)
        if kind != "ordering" and outcome in ("reproduced", "inconclusive"):
            value = 100 * float(first["value"])
            row = CLAIMED[kind].format(name=outcome, dataset=dataset, low=f"{value:.10f}")
            first = _verdict(study, tmp_path / f"{outcome}-second", row, paths)
        found[outcome] = first["verdict"]
        if kind in ("absolute", "gain") and outcome != "not comparable":
            # The p of the two one-sided tests says the same as the verdict.
            assert (float(first["p_equivalence"]) <= 0.05) == (outcome == "reproduced")
        if outcome == "inconclusive" and kind != "drop":
            assert "would decide with probability 0.8" in first["reason"]
    assert found == {outcome: outcome for outcome in OUTCOMES}


def test_published_results_are_passed_on_as_they_are(study: Study, paths: list[Path], tmp_path: Path) -> None:
    _run(study, tmp_path / "out", paths, context=ROOT / "paper" / "context.csv")
    given, passed = _read(ROOT / "paper" / "context.csv"), _read(tmp_path / "out" / "context.csv")
    order = [tuple(row.values()) for row in given]
    assert sorted(tuple(row.values()) for row in passed) == sorted(order)


def test_the_projects_context_names_its_protocols_and_marks_what_nobody_checked() -> None:
    rows = read_context(ROOT / "paper" / "context.csv")
    assert {row["dataset"] for row in rows} == {"isaid", "mfnet", "pst900", "potsdam", "imagenet1k"}
    unconfirmed = [row for row in rows if row["status"] == "unconfirmed"]
    assert unconfirmed and all("quoted from memory" in row["source"] for row in unconfirmed)
    assert not any("memory" in row["source"] for row in rows if row["status"] == "confirmed")
    # An overall accuracy equals the paper's mF1 in number; the note keeps them apart.
    (twin,) = [row for row in rows if row["value"] == "91.88"]
    assert twin["metric"] == "OA" and "another metric" in twin["protocol"]


ROW = "isaid,UperNet,Swin-T,mIoU,64.6,16,896 patches,somewhere,confirmed"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW, ROW], r"line 3: the same as line 2"),
        ([ROW.replace("64.6", "0,646")], r"line 2: value '0'; expected a number of per cent"),
        ([ROW.replace("confirmed", "probably")], r"status 'probably'; expected confirmed or unconfirmed"),
        ([ROW.replace("896 patches", "")], r"protocol is empty"),
    ],
)
def test_context_that_cannot_be_read_is_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    path = tmp_path / "context.csv"
    path.write_text("\n".join([",".join(CONTEXT_COLUMNS), *rows]) + "\n")
    with pytest.raises(RequestError, match=message):
        read_context(path)


def test_context_of_other_columns_or_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "context.csv"
    with pytest.raises(RequestError, match=r"cannot be read"):
        read_context(path)
    path.write_text("dataset,value\n")
    with pytest.raises(RequestError, match=r"expected \['dataset', 'method'"):
        read_context(path)
