"""Scores from counts, each against brute force, scikit-learn and torchmetrics; influence values against perturbed
weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from bench import metrics

CLASSES = ("a", "b", "c")


def _counts(target: NDArray[np.int64], prediction: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    counts = np.zeros((classes, classes), dtype=np.int64)
    for t, p in zip(target, prediction, strict=True):
        if t != 255:
            counts[t, p] += 1
    return counts


def test_scores_of_a_small_matrix_are_those_derived_by_hand() -> None:
    # target a: 3 right, 1 taken for b; target b: 2 right; c never occurs.
    counts = np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    # IoU a = 3 / (3 + 1) and b = 2 / (2 + 1); F1 a = 6 / 7 and b = 4 / 5
    np.testing.assert_allclose(metrics.iou(counts), [3 / 4, 2 / 3, np.nan])
    np.testing.assert_allclose(metrics.f1(counts), [6 / 7, 4 / 5, np.nan])
    np.testing.assert_allclose(metrics.precision(counts), [1, 2 / 3, np.nan])
    np.testing.assert_allclose(metrics.recall(counts), [3 / 4, 1, np.nan])
    found = metrics.scores(counts, CLASSES)
    assert found["mIoU"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert found["OA"] == pytest.approx(5 / 6)
    assert found["IoU/c"] is None


def test_a_class_that_is_only_predicted_scores_zero_and_counts_in_the_mean() -> None:
    counts = np.array([[3, 0, 1], [0, 2, 0], [0, 0, 0]])
    assert metrics.iou(counts)[2] == 0
    assert metrics.scores(counts, CLASSES)["mIoU"] == pytest.approx((3 / 4 + 1 + 0) / 3)


def test_a_class_left_out_of_the_mean_still_makes_errors_of_the_others() -> None:
    counts = np.array([[3, 0, 1], [0, 2, 0], [0, 0, 5]])
    # Without c the mean is that of a = 3/4 and b = 1; the pixel of a taken for c stays an error of a.
    assert metrics.scores(counts, CLASSES, leave_out=[2])["mIoU"] == pytest.approx((3 / 4 + 1) / 2)


def test_all_pixels_ignored_gives_no_score_rather_than_a_number() -> None:
    found = metrics.scores(np.zeros((3, 3), dtype=np.int64), CLASSES)
    assert set(found.values()) == {None}


def test_counts_that_no_float_can_hold_are_summed_exactly() -> None:
    # 2**53 + 1 is no float64: a float sum over cells would lose the last pixel.
    counts = np.array([[2**53, 1], [0, 1]])
    assert metrics.class_totals(counts)[1].tolist() == [2**53 + 1, 1]


labels = st.integers(0, 2)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.one_of(labels, st.just(255)), labels), max_size=25))
def test_scores_agree_with_scikit_learn_and_brute_force(pairs: list[tuple[int, int]]) -> None:
    target = np.array([t for t, _ in pairs], dtype=np.int64)
    prediction = np.array([p for _, p in pairs], dtype=np.int64)
    counts = _counts(target, prediction, 3)
    valid = target != 255
    target, prediction = target[valid], prediction[valid]
    present = [c for c in range(3) if (target == c).any() or (prediction == c).any()]
    for index in range(3):
        both = int(((target == index) & (prediction == index)).sum())
        either = int(((target == index) | (prediction == index)).sum())
        assert np.array_equal(metrics.iou(counts)[index], both / either if either else np.nan, equal_nan=True)
    if not present:
        return
    oracles = {
        "IoU": jaccard_score,
        "F1": f1_score,
        "precision": precision_score,
        "recall": recall_score,
    }
    for score, oracle in oracles.items():
        expected = oracle(target, prediction, labels=present, average=None, zero_division=0)
        np.testing.assert_allclose(
            metrics.class_score(metrics.class_totals(counts), score)[present], expected
        )
    found = metrics.scores(counts, CLASSES)
    assert found["mIoU"] == pytest.approx(jaccard_score(target, prediction, average="macro", zero_division=0))
    assert found["mF1"] == pytest.approx(f1_score(target, prediction, average="macro", zero_division=0))
    assert found["OA"] == pytest.approx((target == prediction).mean())


def _maps(case: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return targets (255: ignored) and predictions of 600 pixels in four classes, drawn."""
    generator = np.random.default_rng(3)
    target, prediction = generator.integers(0, 4, 600), generator.integers(0, 4, 600)
    prediction[:300] = target[:300]
    if case == "a class absent":
        target[target == 2], prediction[prediction == 2] = 0, 1
    if case == "a class never predicted":
        prediction[prediction == 3] = 0
    if case == "a class only predicted":
        target[target == 1] = 0
    if case == "one class only":
        target[:], prediction[:] = 2, 2
    target[::7] = 255
    if case == "all ignored":
        target[:] = 255
    return target, prediction


@pytest.mark.parametrize(
    "case",
    [
        "all classes",
        "a class absent",
        "a class never predicted",
        "a class only predicted",
        "one class only",
        "all ignored",
    ],
)
def test_scores_agree_with_torchmetrics(case: str) -> None:
    import torch
    from torchmetrics.functional import classification as oracle

    names = ("a", "b", "c", "d")
    target, prediction = _maps(case)
    counts = _counts(target, prediction, 4)
    found = metrics.scores(counts, names)
    if case == "all ignored":
        assert set(found.values()) == {None}
        return
    maps = torch.from_numpy(prediction), torch.from_numpy(target)
    settings = {"num_classes": 4, "ignore_index": 255}
    functions = {
        "IoU": oracle.multiclass_jaccard_index,
        "F1": oracle.multiclass_f1_score,
        "precision": oracle.multiclass_precision,
        "recall": oracle.multiclass_recall,
    }
    present = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    assert len(present) == {"a class absent": 3, "one class only": 1}.get(case, 4)
    for score, function in functions.items():
        expected = function(*maps, average="none", **settings).numpy()
        ours = [found[f"{score}/{name}"] for name in names]
        # Float32 there; where a class is absent it has 0, and ours is undefined.
        assert [ours[c] for c in present] == pytest.approx([float(expected[c]) for c in present], rel=1e-6)
        assert all(ours[c] is None for c in range(4) if c not in present)
    for name, score in metrics.MEANS.items():
        expected = float(functions[score](*maps, average="macro", **settings))
        assert found[name] == pytest.approx(expected, rel=1e-6)
    expected = float(oracle.multiclass_accuracy(*maps, average="micro", **settings))
    assert found["OA"] == pytest.approx(expected, rel=1e-6)
    assert np.array_equal(counts, oracle.multiclass_confusion_matrix(*maps, **settings).numpy())


unit_counts = arrays(np.int64, (5, 3, 3), elements=st.integers(0, 40))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    unit_counts,
    st.sampled_from(["mIoU", "mF1", "OA", "IoU/b", "F1/c", "precision/a", "recall/b"]),
    st.booleans(),
)
def test_influence_is_the_derivative_along_each_units_weight(
    counts: NDArray[np.int64], metric: str, without_last: bool
) -> None:
    leave_out = [2] if without_last else []
    totals = metrics.class_totals(counts)
    influence = metrics.influence_of(totals, metric, CLASSES, leave_out)
    value = metrics.value_of(totals.sum(axis=0), metric, CLASSES, leave_out)
    if np.isnan(value):
        assert np.isnan(influence).all()
        return
    assert influence.mean() == pytest.approx(0, abs=1e-12)
    step = 1e-6
    for unit in range(5):
        up, down = np.ones(5), np.ones(5)
        up[unit] += step
        down[unit] -= step
        high, low = (
            metrics.value_of(np.tensordot(w, totals, axes=1), metric, CLASSES, leave_out) for w in (up, down)
        )
        # n times the derivative: the mean of the influence values moves by 1/n of a unit's value
        assert influence[unit] == pytest.approx(5 * (high - low) / (2 * step), abs=1e-6)


def test_influence_predicts_the_jackknife_with_many_units() -> None:
    generator = np.random.default_rng(0)
    totals = metrics.class_totals(generator.integers(0, 50, (400, 3, 3)))
    influence = metrics.influence_of(totals, "mIoU", CLASSES)
    whole = totals.sum(axis=0)
    value = metrics.value_of(whole, "mIoU", CLASSES)
    left_out = metrics.value_of(whole - totals, "mIoU", CLASSES)
    # Leaving unit i out moves the score by -influence_i / (n - 1), up to terms of order 1 / n^2.
    np.testing.assert_allclose(left_out - value, -influence / 399, atol=5e-6)
    assert np.std(influence / 399) > 1e-4


@settings(max_examples=25, deadline=None, derandomize=True)
@given(unit_counts, st.sampled_from(["mIoU", "mF1", "OA", "IoU/b", "F1/c", "precision/a", "recall/b"]))
def test_leave_one_out_is_what_the_metric_loses_without_the_unit(
    counts: NDArray[np.int64], metric: str
) -> None:
    # Every class in two units at least, so that no class leaves the mean with a unit.
    totals = metrics.class_totals(counts + 1)
    whole = totals.sum(axis=0)
    value = metrics.value_of(whole, metric, CLASSES)
    # sqrt(n (n - 1)) for five units
    lost = np.sqrt(20) * (value - metrics.value_of(whole - totals, metric, CLASSES))
    found = metrics.influence_of(totals, metric, CLASSES, leave_one_out=True)
    np.testing.assert_allclose(found, lost - lost.mean(), atol=1e-12)
    assert np.isfinite(metrics.influence_of(totals[:1], metric, CLASSES, leave_one_out=True)).all()


def test_a_class_that_one_unit_alone_holds_says_nothing_of_its_spread() -> None:
    counts = np.zeros((3, 3, 3), dtype=np.int64)
    counts[:, 0, 0] = 10
    counts[1, 1, 1], counts[1, 1, 2] = 5, 5
    totals = metrics.class_totals(counts)
    assert (metrics.influence_of(totals, "IoU/b", CLASSES, leave_one_out=True) == 0).all()
    assert np.isnan(metrics.influence_of(totals[:1], "IoU/b", CLASSES, leave_one_out=True)).all()


def test_influence_of_leading_axes_is_that_of_each_run_alone() -> None:
    totals = metrics.class_totals(np.random.default_rng(1).integers(0, 9, (2, 4, 3, 3)))
    both = metrics.influence_of(totals, "mF1", CLASSES, [0])
    for run in range(2):
        np.testing.assert_array_equal(both[run], metrics.influence_of(totals[run], "mF1", CLASSES, [0]))


@pytest.mark.parametrize(
    ("counts", "error", "words"),
    [
        (np.zeros((2, 2)), TypeError, "expected integers"),
        (np.zeros((2, 3), dtype=np.int64), ValueError, r"\[target, prediction\]"),
        (np.full((2, 2), -1), ValueError, "at least 0"),
    ],
)
def test_what_is_no_confusion_matrix_is_refused(
    counts: NDArray[np.int64], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        metrics.class_totals(counts)


def test_an_unknown_metric_is_refused_with_those_there_are() -> None:
    totals = metrics.class_totals(np.eye(3, dtype=np.int64))
    with pytest.raises(ValueError, match="no metric 'IoU/d'"):
        metrics.value_of(totals, "IoU/d", CLASSES)
