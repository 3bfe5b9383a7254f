"""Figures of classes and channels: the marks are the numbers, nothing is cut off."""

import numpy as np
import pytest
from matplotlib.text import Text

from bench.look.channels import target_distributions
from bench.look.histograms import channel_figure, class_figure, photograph_figure
from bench.look.scenes import ClassCounts
from bench.report.style import write


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def overhang(figure):
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    return max(-box.x0, -box.y0, box.x1 - width, box.y1 - height)


@pytest.fixture
def counts():
    """Class c is absent from val; 1.4 million pixels need a long axis."""
    many = {"train": ([1_400_000, 20, 3, 0], [5, 2, 1, 0]), "val": ([90, 7, 0, 0], [2, 1, 0, 0])}
    return {
        split: ClassCounts(7, np.array(pixels), np.array(images)) for split, (pixels, images) in many.items()
    }


def marks(axes):
    return [line.get_xdata().tolist() for line in axes.lines]


def test_marks_are_counts_and_an_absent_class_stands_at_zero(counts):
    figure = class_figure(counts, ["a", "b", "c"], title="T", stamp="MINIATURE")
    pixels, images = figure.axes
    assert marks(pixels) == [[1_400_000, 20, 3], [90, 7, 0]]
    assert marks(images) == [[5, 2, 1], [2, 1, 0]]
    assert {"MINIATURE", "train (7 images)", "val (7 images)", "0", "10k", "1M"} <= set(texts(figure))
    assert pixels.get_xlim() == (0, 1e7)


def test_ignored_pixels_have_a_row_where_there_are_any(counts):
    assert "ignored" not in texts(class_figure(counts, ["a", "b", "c"], title="T"))
    counts["val"].pixels[-1] = 12
    assert "ignored" in texts(class_figure(counts, ["a", "b", "c"], title="T"))


def test_few_classes_of_photographs_stand_by_name_and_many_over_their_index():
    few = {"train": np.array([3, 4]), "val": np.array([1, 0])}
    assert {"cat", "dog"} <= set(texts(photograph_figure(few, ["cat", "dog"], title="T")))
    many = {"train": np.arange(1000)}
    figure = photograph_figure(many, [str(i) for i in range(1000)], title="T")
    assert figure.axes[0].lines[0].get_ydata().tolist() == list(range(1000))
    assert "class index" in texts(figure) and overhang(figure) <= 0.01


def test_channels_show_mean_range_zeros_and_saturation(target):
    found, looked = target_distributions(target)
    figure = channel_figure(found, title="T", note=looked)
    assert len(figure.axes) == 4
    red = found[0]
    words = next(text for text in texts(figure) if text.startswith("mean 1,"))
    assert f"range {red.low:.4g} to {red.high:.4g}" in words and "saturated" in words
    assert "saturated" not in next(text for text in texts(figure) if text.startswith("mean 4,"))


def test_a_bin_that_would_flatten_the_others_is_cut_and_named(target):
    found, _ = target_distributions(target)
    shares = np.full(64, 0.1 / 63)
    shares[0] = 0.9
    spike = type(found[0])(**{**vars(found[0]), "shares": shares})
    figure = channel_figure([spike], title="T")
    assert any("90 %" in text for text in texts(figure)) and figure.axes[0].get_ylim()[1] < 1


def test_nothing_is_cut_off(counts, target):
    long_names = ["impervious surface", "ground track field", "car"]
    assert overhang(class_figure(counts, long_names, title="T", note="A note. " * 40)) <= 0.01
    found, looked = target_distributions(target)
    assert overhang(channel_figure([*found, found[0]], title="T", note=looked)) <= 0.01


def test_the_same_numbers_give_the_same_bytes(counts, tmp_path):
    drawn = [class_figure(counts, ["a", "b", "c"], title="T") for _ in range(2)]
    first, second = (write(figure, tmp_path / str(run)) for run, figure in enumerate(drawn))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
