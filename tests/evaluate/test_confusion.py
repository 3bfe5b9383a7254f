"""Counts are [target, prediction] and exact; what cannot be counted is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bench.errors import BenchError
from bench.evaluate.confusion import confusion


@st.composite
def label_maps(draw, fewest=1):
    """Draw (target with ignored pixels, prediction, number of classes)."""
    classes = draw(st.integers(fewest, 255))
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=12))
    labels = st.integers(0, classes - 1)
    target = draw(arrays(np.uint8, shape, elements=st.one_of(labels, st.just(255))))
    return target, draw(arrays(np.uint8, shape, elements=labels)), classes


def test_rows_are_targets_and_columns_predictions():
    # One pixel of class 0 taken for 1, two of class 2 taken for 0, one of class 1 right, one ignored.
    target = np.array([[0, 2, 2], [1, 255, 255]], dtype=np.uint8)
    prediction = np.array([[1, 0, 0], [1, 2, 255]], dtype=np.uint8)
    counts = confusion(target, prediction, 3)
    assert counts.tolist() == [[0, 1, 0], [0, 1, 0], [2, 0, 0]]
    assert counts.dtype == np.int64


@settings(max_examples=60, deadline=None)
@given(label_maps())
def test_counts_are_those_of_a_loop_over_pixels(maps):
    target, prediction, classes = maps
    expected = np.zeros((classes, classes), dtype=np.int64)
    for t, p in zip(target.ravel(), prediction.ravel(), strict=True):
        if t != 255:
            expected[t, p] += 1
    assert np.array_equal(confusion(target, prediction, classes), expected)


@settings(max_examples=30, deadline=None)
@given(label_maps(fewest=2))  # of a single class scikit-learn warns
def test_counts_are_those_of_scikit_learn(maps):
    from sklearn.metrics import confusion_matrix

    target, prediction, classes = maps
    counted = target != 255
    counts = confusion(target, prediction, classes)
    assert counts.sum() == counted.sum()
    if counted.any():
        expected = confusion_matrix(target[counted], prediction[counted], labels=np.arange(classes))
        assert np.array_equal(counts, expected)


def test_a_map_of_ignored_pixels_counts_nothing():
    ignored = np.full((4, 5), 255, dtype=np.uint8)
    assert confusion(ignored, np.zeros((4, 5), dtype=np.uint8), 9).tolist() == [[0] * 9] * 9


def test_another_ignore_index_is_honoured():
    target = np.array([[0, 6, 1]], dtype=np.uint8)
    counts = confusion(target, np.array([[0, 1, 1]], dtype=np.uint8), 6, ignore_index=6)
    assert counts.sum() == 2 and counts[0, 0] == counts[1, 1] == 1
    with pytest.raises(BenchError, match="the target holds label 6"):
        confusion(target, np.zeros((1, 3), dtype=np.uint8), 6)


def test_views_are_counted_as_they_are_seen():
    target = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    prediction = (target + 1) % 3
    flipped = confusion(target[:, ::-1], prediction[:, ::-1], 3)
    assert np.array_equal(flipped, confusion(target, prediction, 3))
    assert confusion(target[:, ::2], prediction[:, ::2], 3).sum() == 6


@pytest.mark.parametrize("value", [5, 200, 254])
def test_a_target_outside_the_classes_is_refused_with_its_value(value):
    target = np.array([[0, value], [value, 255]], dtype=np.uint8)
    message = rf"the target holds label {value} in 2 counted pixels; expected 0\.\.4 and 255 \(ignored\)"
    with pytest.raises(BenchError, match=message):
        confusion(target, np.zeros((2, 2), dtype=np.uint8), 5)


@pytest.mark.parametrize("value", [5, 255])
def test_a_prediction_outside_the_classes_is_refused_with_its_value(value):
    prediction = np.array([[0, value]], dtype=np.uint8)
    with pytest.raises(
        BenchError, match=rf"the prediction holds label {value} in 1 counted pixels; expected 0\.\.4"
    ):
        confusion(np.zeros((1, 2), dtype=np.uint8), prediction, 5)


def test_maps_that_do_not_match_are_refused():
    small, wide = np.zeros((2, 2), dtype=np.uint8), np.zeros((2, 3), dtype=np.uint8)
    with pytest.raises(BenchError, match=r"shape \(2, 2\), the prediction \(2, 3\)"):
        confusion(small, wide, 3)
    with pytest.raises(BenchError, match="the prediction is int64; expected class ids in uint8"):
        confusion(small, small.astype(np.int64), 3)  # type: ignore[arg-type]
    with pytest.raises(BenchError, match="num_classes 9, ignore_index 4"):
        confusion(small, small, 9, ignore_index=4)
