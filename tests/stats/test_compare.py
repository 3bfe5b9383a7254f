"""The tables of a whole comparison: what each row says, and that the bytes follow from the counts alone."""

import csv
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from small_study import Study

from bench.errors import BenchError
from bench.stats.compare import TABLES, compare, table_text
from bench.stats.verdicts import COLUMNS
from bench.study.schema import Repetitions

CLAIMS = (
    # The constructed study: csp and rgb differ by some 0.08 of IoU on every unit.
    "value,mfnet,best,csp,,mIoU,all,{0},{0},per cent,absolute,s,r",
    "gain,mfnet,average,csp,rgb,mIoU,all,{1},{1},percentage points,gain,s,r",
    "order,mfnet,average,csp,rgb,mIoU,all,,,,ordering,s,r",
    "drop,imagenet1k,average,csp,rgb,top1/natural,all,9,11,percentage points,drop,s,r",
    "reversed,imagenet1k,average,csp,rgb,top1/reversed,all,,,,ordering,s,r",
    "elsewhere,isaid,best,csp,,mIoU,all,67.4,67.4,per cent,absolute,s,r",
)
TOP1 = {"rgb": {"natural": 0.9, "reversed": 0.4}, "csp": {"natural": 0.8, "reversed": 0.79}}


def _run(study: Study, out: Path, paths: list[Path], value: float = 50, gain: float = 50, **rest: Any) -> Any:
    reported = out.parent / "reported.csv"
    rows = [row.format(value, gain) for row in CLAIMS]
    reported.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    return compare(
        paths,
        study.cells(),
        study.comparison,
        study.settings,
        study.scale,
        study.design,
        reported,
        out,
        classifiers=study.classifiers(),
        **rest,
    )


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _headline(out: Path, **where: str) -> dict[str, str]:
    rows = [
        row for row in _read(out / "comparisons.csv") if row["metric"] == "mIoU" and row["classes"] == "all"
    ]
    (found,) = [row for row in rows if all(row[key] == value for key, value in where.items())]
    return found


def _verdicts(out: Path) -> dict[str, dict[str, str]]:
    return {row["claim"]: row for row in _read(out / "verdicts.csv")}


@pytest.fixture
def paths(study: Study) -> list[Path]:
    return study.write() + study.write_top1(TOP1)


def test_every_table_is_written_with_its_columns(study: Study, paths: list[Path], tmp_path: Path) -> None:
    assert _run(study, tmp_path / "out", paths) == []
    for name, columns in TABLES.items():
        first = (tmp_path / "out" / f"{name}.csv").read_text().splitlines()[0]
        assert first == columns.replace(" ", ",")


def test_the_contrast_is_the_difference_of_the_scores_with_its_interval(
    study: Study, paths: list[Path], tmp_path: Path
) -> None:
    _run(study, tmp_path / "out", paths)
    scores = [row for row in _read(tmp_path / "out" / "scores.csv") if row["primary"] == "true"]
    mean = {
        arm: np.mean([float(r["value"]) for r in scores if (r["backbone"], r["arm"]) == ("swin", arm)])
        for arm in ("csp", "rgb")
    }
    row = _headline(tmp_path / "out", backbone="swin")
    assert float(row["estimate"]) == pytest.approx(mean["csp"] - mean["rgb"], abs=1e-12)
    assert float(row["low"]) < float(row["estimate"]) < float(row["high"])
    half = (float(row["high"]) - float(row["low"])) / 2
    error = half / stats.t.ppf(0.975, float(row["df"]))
    assert float(row["p"]) == pytest.approx(2 * stats.t.sf(float(row["estimate"]) / error, float(row["df"])))
    assert (row["seeds"], row["units"], row["decides"], row["same_run"]) == ("2", "4", "true", "false")
    # All 16 exchanges of 4 units: both all-kept and all-exchanged are extreme.
    assert float(row["p_models"]) == 2 / 16
    assert float(row["smallest_p"]) == 2 / 4


def test_backbones_with_other_numbers_of_classifiers_are_named_and_not_averaged(
    study: Study, tmp_path: Path, monkeypatch
) -> None:
    once = study.classifiers()
    again = [replace(one, seed=1, digest=f"{one.digest}-again") for one in once if one.backbone == "swin"]
    monkeypatch.setattr(study, "classifiers", lambda: once + again)
    _run(study, tmp_path / "out", study.write() + study.write_top1(TOP1))
    drop = _verdicts(tmp_path / "out")["drop"]
    counts = ", ".join(f"{name} {2 if name == 'swin' else 1}" for name in sorted(study.backbones))
    assert drop["value"] == "" and drop["verdict"] == "not comparable"
    assert drop["reason"].endswith(f"differ in their pre-trainings ({counts}), so none are averaged")
    monkeypatch.setattr(study, "classifiers", list)
    _run(study, tmp_path / "out", study.write())
    assert "no top-1 of these classifiers" in _verdicts(tmp_path / "out")["drop"]["reason"]


def test_a_nested_design_speaks_of_these_weights_and_a_matched_one_of_the_method(
    study: Study, paths: list[Path], tmp_path: Path
) -> None:
    _run(study, tmp_path / "out", paths)
    nested = _headline(tmp_path / "out", backbone="swin")
    assert nested["question"] == "these pre-trained weights differ"
    assert nested["statement"].startswith("for one pre-training: 2 fine-tunings and 4 test units")
    assert "cannot fall below p = 0.5, the first threshold is 0.025" in nested["statement"]
    study.design = Repetitions(design="matched", pretrain=2, finetune=2)
    _run(study, tmp_path / "out", paths)
    assert _headline(tmp_path / "out", backbone="swin")["question"] == "the method differs"


def test_fine_tunings_of_one_pre_training_are_averaged_where_there_are_several(tmp_path: Path) -> None:
    design = Repetitions(design="nested", pretrain=2, finetune=2)
    study = Study(root=tmp_path, arms={"csp": 0.8, "rgb": 0.7}, seeds=4, design=design, noise=30)
    _run(study, tmp_path / "out", study.write() + study.write_top1(TOP1))
    row = _headline(tmp_path / "out", backbone="swin")
    assert (row["seeds"], row["question"]) == ("2", "the method differs")


def test_one_trained_model_a_cell_is_answered_by_its_units_and_says_so(tmp_path: Path) -> None:
    design = Repetitions(design="nested", pretrain=1, finetune=1)
    study = Study(root=tmp_path, arms={"csp": 0.8, "rgb": 0.7}, seeds=1, design=design, noise=30)
    _run(study, tmp_path / "out", study.write() + study.write_top1(TOP1))
    row = _headline(tmp_path / "out", backbone="swin")
    assert row["method"] == "bootstrap over units (one trained model), percentile"
    assert row["question"] == "these trained models differ"
    assert row["p"] == row["p_models"] != ""
    assert row["df"] == ""
    # The estimate is the score's own difference and lies inside its interval.
    assert float(row["low"]) <= float(row["estimate"]) <= float(row["high"])


def test_one_trained_model_and_one_unit_give_a_value_and_no_interval(tmp_path: Path) -> None:
    design = Repetitions(design="nested", pretrain=1, finetune=1)
    study = Study(root=tmp_path, arms={"csp": 0.8, "rgb": 0.7}, seeds=1, units=1, design=design)
    _run(study, tmp_path / "out", study.write() + study.write_top1(TOP1))
    row = _headline(tmp_path / "out", backbone="swin")
    assert (row["low"], row["high"], row["method"]) == ("", "", "none (one trained model, one unit)")
    assert _verdicts(tmp_path / "out")["value"]["verdict"] == "inconclusive"


def test_arms_that_are_one_run_are_shown_and_not_tested(study: Study, tmp_path: Path) -> None:
    study.arms = {"csp": 0.8}
    study.shared = {"rgb": "csp"}
    _run(study, tmp_path / "out", study.write() + study.write_top1(TOP1))
    row = _headline(tmp_path / "out", backbone="swin")
    assert (row["same_run"], row["estimate"], row["p"], row["low"]) == ("true", "0.0", "", "")


def test_a_baseline_under_two_names_is_one_member_of_its_family(study: Study, tmp_path: Path) -> None:
    study.shared = {"rgb-zero": "rgb"}
    study.arms["scratch"] = 0.5
    _run(study, tmp_path / "out", study.write() + study.write_top1(TOP1))
    # Two backbones against one run: two members, whatever the number of its names.
    zero = _headline(tmp_path / "out", backbone="swin", baseline="rgb-zero")
    assert zero["family"] == "primary (2)" and zero["decides"] == "false"
    assert zero["p_holm"] == _headline(tmp_path / "out", backbone="swin", baseline="rgb")["p_holm"]
    scratch = _headline(tmp_path / "out", backbone="swin", baseline="scratch")
    assert scratch["family"] == "other baselines (2)"
    assert float(scratch["p_holm"]) >= float(scratch["p"])


def test_only_the_decisive_places_are_tested_as_primary(
    study: Study, paths: list[Path], tmp_path: Path
) -> None:
    study.comparison = replace(study.comparison, decisive=("mfnet/swin",))
    _run(study, tmp_path / "out", paths)
    row = _headline(tmp_path / "out", backbone="swin")
    # Alone in its family: nothing to correct.
    assert (row["family"], row["p_holm"]) == ("primary (1)", row["p"])
    assert _headline(tmp_path / "out", backbone="convnext")["family"] == "other places (1)"


def test_verdicts_on_a_full_study_with_one_example_of_each_outcome(
    study: Study, paths: list[Path], tmp_path: Path
) -> None:
    # A margin wider than the spread, so that the constructed numbers decide.
    study.comparison = replace(study.comparison, margin=0.1)
    _run(study, tmp_path / "out", paths)
    best = float(_verdicts(tmp_path / "out")["value"]["value"])
    gain = float(_verdicts(tmp_path / "out")["gain"]["value"])
    _run(study, tmp_path / "out", paths, 100 * best, 100 * gain)
    found = _verdicts(tmp_path / "out")
    assert {claim: row["verdict"] for claim, row in found.items()} == {
        "value": "reproduced",
        "gain": "reproduced",
        "order": "reproduced",
        "drop": "reproduced",
        "reversed": "reproduced",
        "elsewhere": "not comparable",
    }
    assert "for one pre-training" in found["gain"]["reason"]
    assert "against rgb (decides)" in found["gain"]["reason"]
    assert found["elsewhere"]["reason"] == "the study has no evaluated dataset isaid"
    # rgb 0.9 less csp 0.8
    assert float(found["drop"]["value"]) == pytest.approx(0.1)
    _run(study, tmp_path / "out", paths, 5, -40)
    found = _verdicts(tmp_path / "out")
    assert (found["value"]["verdict"], found["gain"]["verdict"]) == ("not reproduced", "not reproduced")
    study.comparison = replace(study.comparison, margin=1e-6)
    _run(study, tmp_path / "out", paths, 100 * best, 100 * gain)
    found = _verdicts(tmp_path / "out")
    assert (found["value"]["verdict"], found["gain"]["verdict"]) == ("inconclusive", "inconclusive")
    assert "of the spread is between fine-tunings" in found["gain"]["reason"]


def test_the_average_gain_is_the_mean_of_the_backbones_gains(
    study: Study, paths: list[Path], tmp_path: Path
) -> None:
    _run(study, tmp_path / "out", paths)
    gains = [float(_headline(tmp_path / "out", backbone=b)["estimate"]) for b in ("convnext", "swin")]
    assert float(_verdicts(tmp_path / "out")["gain"]["value"]) == pytest.approx(np.mean(gains), abs=1e-12)


def test_a_verdicts_interval_is_that_of_two_one_sided_tests_of_the_level(
    study: Study, tmp_path: Path
) -> None:
    study.backbones = ("swin",)
    _run(study, tmp_path / "out", study.write() + study.write_top1(TOP1))
    contrast, verdict = _headline(tmp_path / "out", backbone="swin"), _verdicts(tmp_path / "out")["gain"]
    # The contrast's interval is at 95 per cent; two tests of size 0.05 read a 90 per cent interval.
    df, estimate = float(contrast["df"]), float(contrast["estimate"])
    error = (float(contrast["high"]) - estimate) / stats.t.ppf(0.975, df)
    assert float(verdict["value"]) == estimate
    assert float(verdict["high"]) == pytest.approx(estimate + stats.t.ppf(0.95, df) * error)


@pytest.mark.parametrize(("scale", "stamp"), [("miniature", "MINIATURE: drawn"), ("small", "SMALL SCALE:")])
def test_a_study_that_is_not_full_decides_nothing_and_still_shows_its_value(
    study: Study, paths: list[Path], tmp_path: Path, scale: str, stamp: str
) -> None:
    study.scale = scale
    _run(study, tmp_path / "out", paths)
    found = _verdicts(tmp_path / "out")
    assert {row["verdict"] for row in found.values()} == {"not comparable"}
    assert all(row["reason"].startswith(stamp) for row in found.values())
    assert found["value"]["value"] != "" and found["drop"]["low"] != ""


def test_different_specs_with_identical_counts_raise_an_alarm(study: Study, tmp_path: Path) -> None:
    def copy(extra: dict[str, Any], arrays: dict[str, Any]) -> None:
        arrays["counts/full"][2] = arrays["counts/full"][0]

    paths = study.write(copy) + study.write_top1(TOP1)
    with pytest.warns(UserWarning, match=r"identical counts: mfnet/\w+/csp/seed0: bit-identical to mfnet"):
        _run(study, tmp_path / "out", paths)
    rows = _read(tmp_path / "out" / "alarms.csv")
    assert [(row["first"], row["second"]) for row in rows] == [
        ("mfnet/convnext/csp/seed0", "mfnet/convnext/rgb/seed0"),
        ("mfnet/swin/csp/seed0", "mfnet/swin/rgb/seed0"),
    ]


def test_a_partial_comparison_lists_its_gaps_and_compares_what_is_paired(
    study: Study, tmp_path: Path
) -> None:
    def drop(extra: dict[str, Any], arrays: dict[str, Any]) -> None:
        del extra["cells"][1]
        arrays["counts/full"] = np.delete(arrays["counts/full"], 1, axis=0)

    paths = study.write(drop) + study.write_top1(TOP1)
    with pytest.raises(BenchError, match="2 of 8 cells are missing"):
        _run(study, tmp_path / "out", paths)
    assert not (tmp_path / "out").exists()
    with pytest.warns(UserWarning, match=r"missing: mfnet/(convnext|swin)/csp/seed1"):
        _run(study, tmp_path / "out", paths, partial=True)
    assert _headline(tmp_path / "out", backbone="swin")["seeds"] == "1"


def test_same_counts_give_same_bytes_whatever_the_random_state_and_the_order_of_the_inputs(
    study: Study, paths: list[Path], tmp_path: Path
) -> None:
    np.random.seed(1)
    random.seed(1)
    _run(study, tmp_path / "first", paths)
    np.random.seed(2)
    random.seed(2)
    _run(study, tmp_path / "second", paths[::-1])
    for name in TABLES:
        first, second = (tmp_path / folder / f"{name}.csv" for folder in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
    for name in ("scores", "comparisons", "verdicts", "top1", "alarms"):
        text = (tmp_path / "first" / f"{name}.csv").read_text()
        assert "nan" not in text.lower().split(",")
        assert "abc" not in text


def test_receipts_and_cost_tell_each_record_they_were_given(
    study: Study, paths: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "finetune"
    study.record("finetune", {"dataset": "mfnet", "backbone": "swin", "arm": "csp", "seed": 0}, {}, folder)
    _run(study, tmp_path / "out", paths, records=[folder])
    cost = {row["name"]: row for row in _read(tmp_path / "out" / "cost.csv")}
    assert cost["mfnet/swin/csp/seed0"]["wall_seconds"] == "1.5"
    assert len(_read(tmp_path / "out" / "receipts.csv")) == 5


def test_cells_read_back_exactly_and_what_is_undefined_is_empty() -> None:
    rows = [{"a": 0.1 + 0.2, "b": np.float64(1 / 3), "c": None}, {"a": float("nan"), "b": True, "c": 10}]
    assert table_text(rows, ["a", "b", "c"]) == "a,b,c\n,true,10\n0.30000000000000004,0.3333333333333333,\n"
    seeds = [{"seed": 10}, {"seed": 2}]
    assert table_text(seeds, ["seed"]) == "seed\n2\n10\n"


def test_levels_of_a_grid_that_is_gone_are_removed_and_the_devices_memory_is_kept(
    study: Study, paths: list[Path], tmp_path: Path
) -> None:
    _run(study, tmp_path / "out", paths, factors={"csp": {"scope": "image"}, "rgb": {"scope": "image"}})
    assert (tmp_path / "out" / "factors.csv").is_file()
    _run(study, tmp_path / "out", paths)
    assert not (tmp_path / "out" / "factors.csv").exists()
    assert "peak_device_memory_bytes" in _read(tmp_path / "out" / "cost.csv")[0]
