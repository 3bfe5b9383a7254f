"""Edges and disturbed spectra as scores and contrasts, from the counts that the evaluation stores."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_study import CLASSES, Study
from test_compare import TOP1, _read, _run

from bench import metrics
from bench.errors import BenchError
from bench.stats.intervals import leave_one_out
from bench.stats.measures import contour_f1


def _edges(kept: list[dict[str, Any]]) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    generator = np.random.default_rng(3)

    def change(extra: dict[str, Any], arrays: dict[str, Any]) -> None:
        whole = arrays["counts/full"]
        iou = generator.integers(20, 60, (*whole.shape[:2], 3, 3))
        iou[..., 0] //= 2
        contour = generator.integers(20, 60, (*whole.shape[:2], 3, 4))
        contour[..., [0, 2]] //= 2
        arrays |= {"edges/3/iou": iou, "edges/3/contour": contour, "edges/3/near": whole // 4}
        extra |= {"boundary": [3], "spectral_samples": ["s1", "s6"]}
        arrays |= {
            "spectral/reversed": whole[:, [1, 6]] // 2,
            "spectral/gain0.5/red": whole[:, [1, 6]].copy(),
        }
        kept.append(dict(arrays))

    return change


@pytest.fixture
def tables(study: Study, tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """Counts of the first backbone as written, and the folder of the comparison."""
    kept: list[dict[str, Any]] = []
    _run(study, tmp_path / "out", study.write(_edges(kept)) + study.write_top1(TOP1))
    return kept[0], tmp_path / "out"


def _one(out: Path, name: str, **where: str) -> dict[str, str]:
    (found,) = [row for row in _read(out / f"{name}.csv") if all(row[k] == v for k, v in where.items())]
    return found


def test_edge_scores_are_those_of_the_summed_counts(tables: tuple[dict[str, Any], Path]) -> None:
    arrays, out = tables
    # Cell 1 is csp, seed 1.
    where = {"backbone": "convnext", "arm": "csp", "seed": "1", "width": "3"}
    both, target, predicted = np.moveaxis(arrays["edges/3/iou"][1].sum(axis=0), -1, 0)
    expected = (both / (target + predicted - both)).mean()
    assert float(_one(out, "boundary", metric="boundary mIoU", **where)["value"]) == pytest.approx(expected)
    sums = arrays["edges/3/contour"][1].sum(axis=0)
    precision, recall = sums[:, 0] / sums[:, 1], sums[:, 2] / sums[:, 3]
    expected = (2 * precision * recall / (precision + recall)).mean()
    assert float(_one(out, "boundary", metric="boundary mF1", **where)["value"]) == pytest.approx(expected)
    near, whole = (arrays[name][1].sum(axis=0) for name in ("edges/3/near", "counts/full"))
    for region, counts in (("near", near), ("inside", whole - near)):
        expected = metrics.scores(counts, CLASSES)["mIoU"]
        assert float(_one(out, "boundary", region=region, **where)["value"]) == pytest.approx(expected)


def test_spectra_are_compared_on_their_own_scenes_disturbed_and_not(
    tables: tuple[dict[str, Any], Path],
) -> None:
    arrays, out = tables
    where = {"backbone": "convnext", "arm": "csp", "seed": "1"}
    scenes = metrics.scores(arrays["counts/full"][1][[1, 6]].sum(axis=0), CLASSES)["mIoU"]
    plain = _one(out, "spectral", probe="undisturbed", **where)
    assert float(plain["value"]) == pytest.approx(scenes) and plain["units"] == "2"
    # This gain changed nothing.
    assert _one(out, "spectral", probe="gain/red", strength="0.5", **where)["value"] == plain["value"]
    expected = metrics.scores(arrays["spectral/reversed"][1].sum(axis=0), CLASSES)["mIoU"]
    assert float(_one(out, "spectral", probe="reversed", **where)["value"]) == pytest.approx(expected)


def test_each_measure_has_a_contrast_with_the_default_interval(tables: tuple[dict[str, Any], Path]) -> None:
    _, out = tables
    rows = {row["measure"]: row for row in _read(out / "further.csv") if row["backbone"] == "convnext"}
    assert list(rows) == [
        "boundary mF1, 3 px", "boundary mIoU, 3 px", "drop of mIoU, gain0.5/red", "drop of mIoU, reversed",
        "mIoU inside, 3 px", "mIoU near edges, 3 px", "mIoU, gain0.5/red", "mIoU, reversed", "mIoU, undisturbed",
    ]  # fmt: skip
    # This gain changed nothing, so nothing dropped.
    nothing = rows.pop("drop of mIoU, gain0.5/red")
    assert [float(nothing[key]) for key in ("treatment_value", "baseline_value", "estimate")] == [0, 0, 0]
    for row in rows.values():
        low, estimate, high = (float(row[key]) for key in ("low", "estimate", "high"))
        assert low < estimate < high and row["method"] == "crossed variance components, t"
        assert estimate == pytest.approx(float(row["treatment_value"]) - float(row["baseline_value"]))
    fall, plain, turned = (
        rows[name] for name in ("drop of mIoU, reversed", "mIoU, undisturbed", "mIoU, reversed")
    )
    for key in ("treatment_value", "baseline_value", "estimate"):
        assert float(fall[key]) == pytest.approx(float(plain[key]) - float(turned[key]))
    assert rows["boundary mF1, 3 px"]["units"] == "4" and rows["mIoU, reversed"]["units"] == "2"


def test_a_contour_on_one_side_scores_0_and_on_none_is_left_out() -> None:
    sums = np.array([[5, 10, 4, 8], [0, 0, 0, 7], [0, 0, 0, 0]])
    assert contour_f1(sums) == pytest.approx([0.5, 0.0, np.nan], nan_ok=True)
    assert np.isnan(contour_f1(sums, (0,))[0])


def test_leaving_a_unit_out_keeps_the_classes_of_the_whole() -> None:
    # The third class stands in unit 0 alone: without it, the mean over the other two is what is compared.
    totals = np.zeros((1, 3, 3, 4), dtype=np.int64)
    totals[0, :, :2] = np.random.default_rng(0).integers(1, 9, (3, 2, 4)) + np.array([0, 9, 0, 9])
    totals[0, 0, 2] = [1, 2, 1, 2]
    found = leave_one_out(totals, contour_f1)[0]
    whole = contour_f1(totals[0].sum(axis=0))
    assert found.mean() == pytest.approx(whole.mean())
    lost = [
        np.sqrt(6) * (whole - contour_f1(totals[0].sum(axis=0) - totals[0, i]))[:2].sum() / 3
        for i in range(3)
    ]
    assert found == pytest.approx(whole.mean() + np.array(lost) - np.mean(lost))


def test_further_counts_that_do_not_fit_their_record_are_refused(study: Study, tmp_path: Path) -> None:
    def change(extra: dict[str, Any], arrays: dict[str, Any]) -> None:
        _edges([])(extra, arrays)
        extra["spectral_samples"] = ["s1"]

    with pytest.raises(BenchError, match=r"spectral/reversed has 2 samples, its record 1; run it again"):
        _run(study, tmp_path / "out", study.write(change) + study.write_top1(TOP1))

    def floats(extra: dict[str, Any], arrays: dict[str, Any]) -> None:
        arrays["edges/3/iou"] = np.zeros((4, 8, 3, 3))

    with pytest.raises(BenchError, match=r"edges/3/iou is float64 .* expected int64 \(4, samples, ...\)"):
        _run(study, tmp_path / "out", study.write(floats) + study.write_top1(TOP1))
