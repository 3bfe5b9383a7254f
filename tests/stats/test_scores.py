"""What is read is what the study asks for, or the reader names what is not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_study import CLASSES, Study

from bench import metrics
from bench.errors import BenchError
from bench.stats.classifiers import read_classifiers
from bench.stats.scores import read_evaluations, score_rows
from bench.study.recipes import Evaluation


def test_samples_are_summed_to_units_and_nothing_is_lost(study: Study) -> None:
    kept: list[np.ndarray] = []
    paths = study.write(lambda extra, arrays: kept.append(arrays["counts/full"]))
    found, missing = read_evaluations(paths, study.cells())
    assert missing == []
    assert [(e.dataset, e.backbone) for e in found] == [("mfnet", "convnext"), ("mfnet", "swin")]
    assert found[0].units == ("u0", "u1", "u2", "u3")
    # Samples 2 and 3 belong to unit u1.
    np.testing.assert_array_equal(found[0].counts["full"][:, 1], kept[0][:, 2] + kept[0][:, 3])
    np.testing.assert_array_equal(found[0].counts["full"].sum(axis=1), kept[0].sum(axis=1))


def test_score_rows_hold_the_score_of_each_run_under_each_of_its_names(study: Study) -> None:
    study.shared = {"rgb-zero": "rgb"}
    evaluated = read_evaluations(study.write(), study.cells())[0][0]
    evaluation = Evaluation(
        pixels=("full",), primary="full", metric="mIoU", leave_out=("tree",), window=32, stride=16
    )
    rows = list(score_rows(evaluated, evaluation))
    headline = [row for row in rows if row["primary"]]
    assert {row["arm"] for row in headline} == {"csp", "rgb", "rgb-zero"}
    assert {(row["metric"], row["classes"]) for row in headline} == {("mIoU", "without tree")}
    index = evaluated.of_arm("rgb-zero")[1]
    expected = metrics.scores(evaluated.counts["full"][index].sum(axis=0), CLASSES, leave_out=[2])["mIoU"]
    (found,) = [row["value"] for row in headline if (row["arm"], row["seed"]) == ("rgb-zero", 1)]
    assert found == expected
    assert {f"IoU/{name}" for name in CLASSES} < {row["metric"] for row in rows}


def test_the_absent_class_is_named(study: Study) -> None:
    def remove_tree(extra: dict[str, Any], arrays: dict[str, Any]) -> None:
        arrays["counts/full"][..., 2, :] = 0
        arrays["counts/full"][..., :, 2] = 0

    evaluated = read_evaluations(study.write(remove_tree), study.cells())[0][0]
    rows = list(score_rows(evaluated, study.settings["mfnet"]))
    assert {row["absent"] for row in rows} == {"tree"}
    assert all(np.isnan(row["value"]) for row in rows if row["metric"] == "IoU/tree")
    assert not any(np.isnan(row["value"]) for row in rows if row["metric"] == "mIoU")


def _stale(extra: dict[str, Any], arrays: dict[str, Any]) -> None:
    extra["cells"][1]["digest"] = "0" * 64


def _foreign(extra: dict[str, Any], arrays: dict[str, Any]) -> None:
    extra["cells"][1]["arm"] = "grey"


def _twice(extra: dict[str, Any], arrays: dict[str, Any]) -> None:
    extra["cells"][1] = extra["cells"][0]


def _lacking(extra: dict[str, Any], arrays: dict[str, Any]) -> None:
    del extra["cells"][1]
    arrays["counts/full"] = np.delete(arrays["counts/full"], 1, axis=0)


def _floats(extra: dict[str, Any], arrays: dict[str, Any]) -> None:
    arrays["counts/full"] = arrays["counts/full"].astype(np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _stale,
            r"stale result of mfnet/convnext/csp/seed1: its digest is 000000000000.*run the fine-tuning",
        ),
        (_foreign, r"holds mfnet/convnext/grey/seed1 .* does not ask for"),
        (_twice, r"mfnet/convnext/csp/seed0 was evaluated twice"),
        (_lacking, r"2 of 8 cells are missing: mfnet/convnext/csp/seed1, mfnet/swin/csp/seed1; run"),
        (_floats, r"counts.npz: counts/full is float32 .* expected int64"),
    ],
)
def test_what_the_study_does_not_ask_for_is_refused_by_name(study: Study, change: Any, message: str) -> None:
    paths = study.write(change)
    with pytest.raises(BenchError, match=message):
        read_evaluations(paths, study.cells())


def test_partial_lists_the_missing_cells_instead(study: Study) -> None:
    found, missing = read_evaluations(study.write(_lacking), study.cells(), partial=True)
    assert [cell.title for cell in missing] == ["mfnet/convnext/csp/seed1", "mfnet/swin/csp/seed1"]
    assert len(found[0].cells) == 3


def test_an_evaluation_under_old_settings_is_refused_by_name(study: Study) -> None:
    paths = study.write()
    current = {"mfnet/convnext": "1" * 64, "mfnet/swin": "2" * 64}
    with pytest.raises(
        BenchError, match=r"stale evaluation of mfnet/convnext: .* the study's is 111111111111"
    ):
        read_evaluations(paths, study.cells(), current)


def test_missing_counts_are_named(study: Study) -> None:
    paths = study.write()
    (paths[0].parent / "counts.npz").unlink()
    with pytest.raises(BenchError, match=r"counts.npz: missing beside its record"):
        read_evaluations(paths, study.cells())


def test_a_classifier_of_an_older_study_is_refused_by_name(study: Study, tmp_path: Path) -> None:
    paths = study.write_top1({key: {"natural": 0.5, "reversed": 0.4} for key in ("rgb", "csp")})
    expected = study.classifiers()
    with pytest.raises(BenchError, match=r"holds top1/convnext/rgb-3ch/seed0, which"):
        read_classifiers(paths, expected[1:])
    changed = [type(c)(**{**vars(c), "digest": "f" * 64}) for c in expected]
    with pytest.raises(BenchError, match=r"stale result of top1/convnext/rgb-3ch/seed0"):
        read_classifiers(paths, changed)
    with pytest.raises(BenchError, match=r"3 of 6 classifiers are missing: top1/swin/rgb-3ch"):
        read_classifiers(paths[:1], expected)
