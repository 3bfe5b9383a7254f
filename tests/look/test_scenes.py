"""One pass over the labels: counts against a plain loop, and a choice that follows its rule."""

import numpy as np
import pytest
from toy_target import write_target

from bench.errors import BenchError
from bench.look import scenes
from bench.look.scenes import Tile, count_classes, most_classes, tiles


def tile(sample, *pixels, unit=""):
    """A tile of 100 pixels with so many of class 0, 1, 2; the rest is ignored."""
    counts = np.zeros(4, int)
    counts[: len(pixels)] = pixels
    counts[3] = 100 - sum(pixels)
    return Tile(sample, unit or sample, 0, 0, 10, 10, True, counts)


def chosen(candidates, wanted):
    return [found.sample for found in most_classes(candidates, wanted)]


def test_counts_are_those_of_a_plain_loop_and_mirrored_samples_count(target):
    counts, _ = count_classes(target, "full")
    assert list(counts) == ["train", "test"]  # the empty val is left out
    for split, found in counts.items():
        maps = [target.labels(sample, "full") for sample in target.split(split)]
        for place, value in enumerate((0, 1, 2, 255)):
            assert found.pixels[place] == sum(int((labels == value).sum()) for labels in maps)
            assert found.images[place] == sum(bool((labels == value).any()) for labels in maps)
        assert found.samples == len(maps)
        assert found.pixels.sum() == 12 * 16 * len(maps)


def test_a_small_scene_is_one_tile_and_the_tiles_of_a_large_one_touch_without_overlap(target, monkeypatch):
    (whole,) = tiles(target, "a1", "full")
    assert whole.whole and (whole.top, whole.left, whole.height, whole.width) == (0, 0, 12, 16)
    monkeypatch.setattr(scenes, "WHOLE", 10)
    monkeypatch.setattr(scenes, "TILE", 5)
    parts = tiles(target, "a1", "full")
    covered = np.zeros((12, 16), int)
    for part in parts:
        assert not part.whole
        covered[part.top : part.top + part.height, part.left : part.left + part.width] += 1
    # 12 / 5 and 16 / 5 round to 2 rows of 3 columns.
    assert len(parts) == 6 and (covered == 1).all()
    assert np.array_equal(sum(part.pixels for part in parts), whole.pixels)


def test_the_next_tile_is_the_one_that_adds_most_classes():
    # b shows two classes; then c adds the third, and a adds nothing.
    candidates = [tile("a", 100), tile("b", 50, 50), tile("c", 90, 0, 10)]
    assert chosen(candidates, 2) == ["b", "c"]


def test_a_class_of_a_few_pixels_counts_in_proportion():
    # Half a visible class (0.5 % of the pixels) loses against a whole one.
    large = Tile("large", "large", 0, 0, 100, 100, True, np.array([9_900, 100, 0, 0]))
    trace = Tile("trace", "trace", 0, 0, 100, 100, True, np.array([9_950, 0, 50, 0]))
    assert chosen([trace, large], 1) == ["large"]


def test_where_all_is_shown_the_count_starts_afresh_with_samples_not_yet_shown():
    candidates = [tile("a", 50, 25, 25), tile("b", 60, 20, 20), tile("c", 100)]
    assert chosen(candidates, 3) == ["a", "b", "c"]
    assert chosen(candidates, 9) == ["a", "b", "c"]  # no sample twice


def test_among_equals_comes_a_new_unit_then_what_is_far_in_the_list():
    film = [tile(str(frame), 50, 50, unit="film 1") for frame in range(5)]
    other = tile("other", 50, 50, unit="film 2")
    assert chosen([*film[:2], other, *film[2:]], 2) == ["0", "other"]
    assert chosen(film, 3) == ["0", "4", "2"]


def test_nothing_to_choose_from_gives_nothing():
    assert most_classes([], 3) == []


def test_a_tile_without_any_label_is_no_division_by_zero():
    assert chosen([tile("empty"), tile("full", 100)], 2) == ["full", "empty"]


def test_a_label_that_is_no_class_is_an_error_that_names_sample_and_value(tmp_path):
    store = write_target(tmp_path, {"a": np.zeros((4, 4, 4))}, {"a": np.full((4, 4), 7)})
    with pytest.raises(BenchError, match=r"labels of a hold 7, expected 0 to 2 or 255; run prepare again"):
        count_classes(store, "full")
