"""Edge counts equal what their definitions say, pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from bench.errors import BenchError
from bench.evaluate import boundary
from bench.evaluate.boundary import band, edge_counts

MAPS = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: st.tuples(
        arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 255])),
        arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2])),
    )
)


def slow_band(ids, width):
    """The definition: look at every neighbour."""
    height, breadth = ids.shape
    found = np.zeros(ids.shape, bool)
    for y in range(height):
        for x in range(breadth):
            if ids[y, x] == 255:
                continue
            for dy in range(-width, width + 1):
                for dx in range(-width, width + 1):
                    inside = 0 <= y + dy < height and 0 <= x + dx < breadth
                    label = ids[y + dy, x + dx] if inside else None
                    if label != 255 and label != ids[y, x]:
                        found[y, x] = True
    return found


def slow_counts(target, prediction, classes, width):
    kept = target != 255
    bands = slow_band(target, width), slow_band(prediction, width)
    lines = slow_band(target, 1) & kept, slow_band(prediction, 1) & kept
    iou, contour = np.zeros((classes, 3), int), np.zeros((classes, 4), int)
    for c in range(classes):
        inner = bands[0] & (target == c) & kept, bands[1] & (prediction == c) & kept
        iou[c] = (inner[0] & inner[1]).sum(), inner[0].sum(), inner[1].sum()
        edges = lines[0] & (target == c), lines[1] & (prediction == c)
        points = [np.argwhere(edge) for edge in edges]
        close = [
            sum(any(abs(p - q).max() <= width for q in points[1 - side]) for p in points[side])
            for side in (0, 1)
        ]
        contour[c] = close[1], len(points[1]), close[0], len(points[0])
    near = np.zeros((classes, classes), int)
    for t, p in zip(target[bands[0]], prediction[bands[0]], strict=True):
        near[t, p] += 1
    return iou, contour, near


@settings(max_examples=60, deadline=None)
@given(MAPS, st.integers(1, 4))
def test_counts_are_those_of_the_definition(maps, width):
    target, prediction = maps
    found = edge_counts(target, prediction, 3, width)
    for actual, expected in zip(
        (found.iou, found.contour, found.near), slow_counts(target, prediction, 3, width), strict=True
    ):
        assert actual.dtype == np.int64 and np.array_equal(actual, expected)


def blobs(seed, shape=(70, 60), classes=5):
    noise = np.random.default_rng(seed).normal(size=(classes, *shape))
    return np.stack([ndimage.gaussian_filter(part, 4) for part in noise]).argmax(0).astype(np.uint8)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_the_band_of_a_class_is_its_mask_less_the_eroded_mask(width):
    # Boundary IoU as published: erode a mask `d` times by a 3 x 3 square, the frame being outside of it.
    ids = blobs(0)
    found = band(ids, width)
    for c in range(5):
        mask = ids == c
        eroded = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)
        assert np.array_equal(found & mask, mask & ~eroded)


@pytest.mark.parametrize("rows", [1, 7, 32])
def test_blocks_of_any_height_give_the_same_counts(rows, monkeypatch):
    target, prediction = blobs(1), blobs(2)
    target[20:30, 10:25] = 255
    whole = edge_counts(target, prediction, 5, 3)
    monkeypatch.setattr(boundary, "ROWS", rows)
    parts = edge_counts(target, prediction, 5, 3)
    assert all(np.array_equal(getattr(whole, key), getattr(parts, key)) for key in ("iou", "contour", "near"))


def test_a_perfect_prediction_has_the_whole_band_and_every_contour():
    ids = blobs(3)
    found = edge_counts(ids, ids, 5, 2)
    assert (found.iou[:, 0] == found.iou[:, 1]).all() and (found.iou[:, 0] == found.iou[:, 2]).all()
    assert (found.contour[:, 0] == found.contour[:, 1]).all()
    assert found.near.sum() == np.trace(found.near) == band(ids, 2).sum()


def test_a_shift_within_the_width_keeps_the_contours_and_costs_boundary_iou():
    target, prediction = np.zeros((2, 40, 40), np.uint8)
    target[10:30, 10:30] = 1
    prediction[10:30, 12:32] = 1
    near, far = (edge_counts(target, prediction, 2, width) for width in (2, 1))
    assert near.contour[1, 0] == near.contour[1, 1]  # two pixels off, and two are allowed
    assert far.contour[1, 0] < far.contour[1, 1]
    assert 0 < near.iou[1, 0] < near.iou[1, 1]


def test_ignored_pixels_are_no_edge():
    target = np.zeros((20, 20), np.uint8)
    target[:, 10:] = 255
    # Only the frame of the image is an edge of the left half: its top, bottom and left rows, 2 * 10 + 18.
    assert band(target, 1).sum() == 38
    assert edge_counts(target, np.ones((20, 20), np.uint8), 2, 1).iou[1].tolist() == [0, 0, 38]


@pytest.mark.parametrize("classes", [8, 9, 33, 64])
def test_every_number_of_classes_has_its_bits(classes):
    ids = np.arange(classes, dtype=np.uint8).repeat(3)[None].repeat(3, axis=0)
    found = edge_counts(ids, ids, classes, 1)
    assert (
        found.contour == 8
    ).all()  # 3 x 3 pixels a class, all but the middle one at an edge or at the frame


def test_wrong_requests_are_refused():
    ids = np.zeros((4, 4), np.uint8)
    with pytest.raises(BenchError, match=r"shape \(4, 4\), the prediction \(3, 4\)"):
        edge_counts(ids, ids[:3], 2, 1)
    with pytest.raises(BenchError, match="boundary width 0, 2 classes: expected a width of 1 pixel"):
        edge_counts(ids, ids, 2, 0)
    with pytest.raises(BenchError, match="65 classes: expected"):
        edge_counts(ids, ids, 65, 1)
