"""Palette colours and ids."""

from pathlib import Path

import numpy as np
import pytest

from bench.catalog.isaid import ISAID
from bench.catalog.potsdam import POTSDAM
from bench.data.prepare.labels import check_ids, ids_of_colours
from bench.errors import BenchError

PATH = Path("labels/0003.png")


@pytest.mark.parametrize("entry", [ISAID, POTSDAM], ids=lambda entry: entry.name)
def test_decoding_equals_a_loop_over_the_colours(entry):
    rng = np.random.default_rng(0)
    # More rows than are decoded at once.
    truth = rng.integers(0, entry.num_classes, (1200, 7))
    palette = np.array([c.colour for c in entry.classes], np.uint8)
    picture = palette[truth]
    expected = np.full(truth.shape, 99, np.uint8)
    for index, label_class in enumerate(entry.classes):
        expected[(picture == label_class.colour).all(axis=2)] = index
    np.testing.assert_array_equal(ids_of_colours(picture, entry.classes, PATH), expected)


def test_an_ignored_colour_becomes_255():
    picture = np.array([[(0, 0, 0), (0, 0, 255)]], np.uint8)
    assert ids_of_colours(picture, POTSDAM.classes, PATH, ignored=((0, 0, 0),)).tolist() == [[255, 1]]


def test_colours_outside_the_palette_are_named_with_their_pixels():
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[0, :3] = (1, 2, 3)
    picture[1, :2] = (9, 9, 9)
    with pytest.raises(
        BenchError, match=r"0003\.png: colour \(1, 2, 3\) on 3 pixels is in no class; 1 other colours"
    ):
        ids_of_colours(picture, ISAID.classes, PATH)


def test_no_colour_but_the_palettes_is_known():
    # Every 5th of all colours, and the neighbours of each palette colour in each channel.
    keys = set(range(0, 1 << 24, 4999))
    for label_class in ISAID.classes:
        red, green, blue = label_class.colour
        keys |= {max(red - 1, 0) << 16 | green << 8 | blue, red << 16 | min(green + 1, 255) << 8 | blue}
    palette = {c.colour for c in ISAID.classes}
    colours = [(k >> 16, k >> 8 & 255, k & 255) for k in sorted(keys)]
    foreign = [colour for colour in colours if colour not in palette]
    with pytest.raises(BenchError, match=rf"{len(foreign) - 1} other colours too"):
        ids_of_colours(np.array([foreign], np.uint8), ISAID.classes, PATH)


def test_ids_pass_and_the_ignored_value_becomes_255():
    ids, pixels = check_ids(np.array([[0, 1, 7, 1]], np.uint16), 2, 7, PATH)
    assert ids.dtype == np.uint8 and ids.tolist() == [[0, 1, 255, 1]]
    assert pixels.tolist() == [1, 2]


@pytest.mark.parametrize("shape", [(5, 7), (600, 512), (1, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_pixels_of_each_class_are_those_that_a_comparison_finds(shape, dtype):
    ids = np.random.default_rng(0).integers(0, 4, shape).astype(dtype)
    ids[0, 0] = 255
    checked, pixels = check_ids(ids, 4, 255, PATH)
    np.testing.assert_array_equal(checked, ids)
    assert pixels.tolist() == [int((ids == index).sum()) for index in range(4)]


def test_labels_that_are_no_small_whole_numbers_are_named():
    with pytest.raises(
        BenchError, match=r"0003\.png: labels of type float32; expected whole numbers of 8 or 16"
    ):
        check_ids(np.zeros((2, 2), np.float32), 5, 255, PATH)


@pytest.mark.parametrize(("ignore", "words"), [(255, r"0\.\.4 and 255 \(ignore\)"), (None, r"0\.\.4:")])
def test_an_id_that_is_no_class_is_named_with_its_pixels(ignore, words):
    with pytest.raises(BenchError, match=rf"0003\.png: label 5 on 2 pixels; this dataset has {words}"):
        check_ids(np.array([[0, 5, 5, 9]], np.uint8), 5, ignore, PATH)


def test_without_an_ignore_index_255_is_an_error():
    with pytest.raises(BenchError, match="label 255 on 1 pixels"):
        check_ids(np.array([[255]], np.uint8), 5, None, PATH)
