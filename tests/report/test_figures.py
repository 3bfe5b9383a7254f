"""Figures: what is drawn is what was given, nothing is cut off, same input gives the same bytes."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.errors import BenchError
from bench.report import figures, style
from bench.report.numbers import read_numbers
from bench.report.pictures import IGNORED, Example, composite, painted, panels, stretched
from bench.report.plates import draw, write_figures
from bench.study.outputs import figure_names

RUNS = (0.2, 0.4, 0.5, 0.7)
COLOURS = {"rgb": "#0072B2", "csp": "#D55E00"}


def gains(**changes: object) -> pd.DataFrame:
    row = {
        "dataset": "MFNet",
        "backbone": "Swin-T",
        "baseline": "rgb",
        "estimate": 0.05,
        "low": 0.03,
        "high": 0.07,
    }
    row |= {"decides": True, "paper_low": 0.066, "paper_high": 0.066}
    return pd.DataFrame([row | changes, row | {"backbone": "ConvNeXt-T"} | changes])


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def overhang(figure: Figure) -> float:
    """Return by how many inches what is drawn leaves the canvas, at most 0 if nothing does."""
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    return max(-box.x0, -box.y0, box.x1 - width, box.y1 - height)


def test_forest_draws_estimates_and_intervals_in_points() -> None:
    axes = figures.forest(gains(), COLOURS, title="T").axes[0]
    spans = [list(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    assert [3.0, 7.0] in [[round(float(x), 9) for x in span] for span in spans]
    points = [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "o"]
    assert points == pytest.approx([5.0, 5.0])


def test_forest_marks_the_papers_gain_where_there_is_one() -> None:
    nan = float("nan")
    assert "paper" in texts(figures.forest(gains(), COLOURS, title="T"))
    assert "paper" not in texts(figures.forest(gains(paper_low=nan, paper_high=nan), COLOURS, title="T"))


def test_the_deciding_baseline_alone_is_filled() -> None:
    for decides, face in ((True, COLOURS["rgb"]), (False, "white")):
        axes = figures.forest(gains(decides=decides), COLOURS, title="T").axes[0]
        marks = [line for line in axes.lines if line.get_marker() == "o"]
        assert {to_rgb(line.get_markerfacecolor()) for line in marks} == {to_rgb(face)}


def test_per_class_bars_are_means_and_dots_are_runs() -> None:
    rows = [
        ("B", arm, "car", value) for arm, value in (("rgb", 0.2), ("rgb", 0.4), ("csp", 0.5), ("csp", 0.7))
    ]
    frame = pd.DataFrame(rows, columns=["backbone", "arm", "class", "value"])
    axes = figures.per_class(frame, ["rgb", "csp"], COLOURS, metric="IoU", title="T").axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([30.0, 60.0])
    dots = [x for line in axes.lines if line.get_marker() == "." for x in line.get_xdata()]
    assert sorted(dots) == pytest.approx([20.0, 40.0, 50.0, 70.0])


def test_an_absent_class_has_no_bar() -> None:
    frame = pd.DataFrame(
        [("B", "rgb", "car", 0.5), ("B", "rgb", "bump", float("nan"))],
        columns=["backbone", "arm", "class", "value"],
    )
    axes = figures.per_class(frame, ["rgb"], COLOURS, metric="IoU", title="T").axes[0]
    assert np.isnan(axes.patches[1].get_width())


@pytest.mark.parametrize("case", ["demo", "paper"])
def test_nothing_is_cut_off_and_the_stamp_is_there(case: str, request: pytest.FixtureRequest) -> None:
    found = request.getfixturevalue(case)
    names = []
    for name, figure in draw(read_numbers(found.study, found.compare), found.results):
        names.append(name)
        # The paper's study has the densest figures; three of them stand for the rest.
        if case == "demo" or name in ("forest", "per_class_isaid", "pictures_potsdam"):
            assert overhang(figure) < 0.01, name
        assert ("MINIATURE" in texts(figure)) == (case == "demo"), name
    assert names == figure_names(found.study)


def test_a_long_title_and_note_are_wrapped_onto_the_canvas() -> None:
    figure = figures.forest(
        gains(), COLOURS, title="word " * 60, stamp="MINIATURE, PARTIAL", note="word " * 90
    )
    assert overhang(figure) < 0.01


def test_the_same_figure_has_the_same_bytes_without_a_date(tmp_path) -> None:
    for name in ("one", "two"):
        style.write(figures.forest(gains(), COLOURS, title="T", stamp="MINIATURE", note="N"), tmp_path / name)
    for ending in ("png", "pdf"):
        assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()
    assert b"CreationDate" not in (tmp_path / "one.pdf").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.pdf", "one.png", "two.pdf", "two.png"]


def test_a_missing_log_is_named(demo) -> None:
    log = demo.results / "finetune" / "mfnet" / "swin_mini" / "csp" / "seed1" / "log.csv"
    log.unlink()
    with pytest.raises(BenchError, match=r"mfnet/swin_mini/csp/seed1/log\.csv: no readable log"):
        write_figures(demo.study, demo.results, demo.results / "figures")


def test_composite_takes_red_green_blue_by_name() -> None:
    image = np.zeros((2, 2, 4), dtype=np.float32)
    image[..., 2] = 255  # named red below
    picture, rest = composite(image, ["blue", "thermal", "red", "green"])
    assert rest == ["thermal"]
    assert picture[0, 0].tolist() == [1.0, 0.0, 0.0]


def test_stretched_uses_the_whole_range_and_bears_a_constant_channel() -> None:
    grey = stretched(np.linspace(-40, 60, 101).reshape(1, 101))
    # 1st and 99th percentile of -40..60 in steps of 1 are -39 and 59.
    assert grey[0, 1] == pytest.approx(0.0) and grey[0, 99] == pytest.approx(1.0)
    assert grey[0, 50] == pytest.approx((10 + 39) / 98)
    assert (stretched(np.full((2, 2), 7.0)) == 0.5).all()


def test_painted_gives_each_id_its_colour_and_grey_to_the_rest() -> None:
    ids = np.array([[0, 1, 255]], dtype=np.uint8)
    assert painted(ids, [[1, 2, 3], [4, 5, 6]]).tolist() == [[[1, 2, 3], [4, 5, 6], list(IGNORED)]]


def test_panels_refuse_an_image_with_other_channels() -> None:
    ids = np.zeros((2, 2), dtype=np.uint8)
    example = Example("a", np.zeros((2, 2, 3), dtype=np.float32), ids, {"csp": ids})
    with pytest.raises(BenchError, match="a has 3 channels, not 4"):
        panels([example], ["red", "green", "blue", "thermal"], ["x"], [[0, 0, 0]], title="T")
    with pytest.raises(BenchError, match="no example to show"):
        panels([], ["red", "green", "blue"], ["x"], [[0, 0, 0]], title="T")


def test_panels_show_every_channel_target_and_arm() -> None:
    ids = np.zeros((4, 6), dtype=np.uint8)
    example = Example("a", np.zeros((4, 6, 5), dtype=np.float32), ids, {"rgb": ids, "csp": ids})
    channels = ["red", "green", "blue", "infrared", "height"]
    figure = panels([example], channels, ["x"], [[0, 0, 0]], title="T")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["colour", "infrared", "height", "target", "rgb", "csp"]
