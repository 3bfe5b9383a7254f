"""Figures: what is drawn is what was given, nothing is cut off, same input gives the same bytes."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from bench.errors import BenchError
from bench.report import figures, style
from bench.report.examples import SHOWN_SIDE, drawn, read_examples
from bench.report.heatmaps import confusions, row_shares
from bench.report.losses import POINTS, thinned
from bench.report.numbers import read_numbers
from bench.report.overview import VERDICTS, counted, overview
from bench.report.pictures import IGNORED, Example, composite, painted, panels, rivals, stretched
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
        # The paper's study has the densest figures; some of them stand for the rest.
        dense = ("forest", "per_class_isaid", "pictures_potsdam", "spectral", "boundary", "confusion_isaid")
        dense += ("top1_spectral",)
        if case == "demo" or name in dense:
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


def test_a_palette_keeps_areas_exactly_and_photographs_keep_every_colour(tmp_path) -> None:
    style.write(figures.forest(gains(), COLOURS, title="T"), tmp_path / "plain", ("png",))
    with Image.open(tmp_path / "plain.png") as drawn_png:
        assert drawn_png.mode == "P" and drawn_png.info["dpi"] == pytest.approx(
            (style.DPI, style.DPI), abs=0.1
        )
        colours = {colour for _, colour in drawn_png.convert("RGB").getcolors(1 << 24)}
    # The paper's white and the arm's own colour: no shade beside them.
    assert {(255, 255, 255), tuple(round(255 * part) for part in to_rgb(COLOURS["rgb"]))} <= colours
    figure = style.new_figure(2, 2)
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    figure.subplots().imshow(noise)
    style.write(figure, tmp_path / "photograph", ("png",))
    with Image.open(tmp_path / "photograph.png") as drawn_png:
        assert drawn_png.mode == "RGB"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photograph.png", "plain.png"]


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


def example(planes: int, label: str = "a") -> Example:
    ids = np.zeros((4, 6), dtype=np.uint8)
    colour = np.zeros((4, 6, 3), dtype=np.uint8)
    return Example(
        label, colour, dict.fromkeys(["infrared", "height"][:planes], ids), ids, {"rgb": ids, "csp": ids}
    )


def test_an_image_with_other_channels_than_its_record_names_is_refused(tmp_path) -> None:
    arrays = {"image/a": np.zeros((2, 2, 3), dtype=np.float32), "target/a": np.zeros((2, 2), dtype=np.uint8)}
    with pytest.raises(BenchError, match="a has 3 channels, not 4"):
        drawn(arrays, ["red", "green", "blue", "thermal"], tmp_path / "examples.npz")
    with pytest.raises(BenchError, match="no example to show"):
        panels([], ["x"], [[0, 0, 0]], title="T")


def test_panels_show_every_channel_target_and_arm() -> None:
    figure = panels([example(2)], ["x"], [[0, 0, 0]], title="T")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["colour", "infrared", "height", "target", "rgb", "csp"]


def test_the_last_panel_shows_where_one_of_two_arms_is_right() -> None:
    target = np.array([[0, 1, 1, 0, 255]], dtype=np.uint8)
    guesses = {"csp": [[0, 1, 0, 1, 0]], "rgb": [[0, 0, 1, 1, 1]]}
    found = Example(
        "a", np.zeros((1, 5, 3), np.uint8), {}, target, {k: np.array(v, np.uint8) for k, v in guesses.items()}
    )
    # Both right, the treatment alone, the baseline alone, both wrong, no label.
    assert rivals(found, "csp", "rgb", 2).tolist() == [[0, 1, 2, 3, 255]]
    figure = panels([found], ["x", "y"], [[0, 0, 0], [9, 9, 9]], contrast=("csp", "rgb"), title="T")
    assert figure.axes[-1].get_title() == "who is right"
    assert {"only csp right", "only rgb right", "both wrong"} <= set(texts(figure))


def test_examples_stand_from_the_largest_gain_to_the_largest_loss(demo) -> None:
    folder = demo.results / "evaluate" / "mfnet" / "swin_mini"
    channels = demo.study.datasets["mfnet"].channels
    scenes = {"00131D": "largest loss", "00907N": "largest gain"}
    rule = {"scenes": scenes, "gains": {"00131D": -0.02, "00907N": 0.125}}
    found = [example.label for example in read_examples(folder, channels, ["csp"], "Swin-T", rule)]
    assert found == ["Swin-T\nlargest gain +12.50\n00907N", "Swin-T\nlargest loss -2.00\n00131D"]


def test_confusion_is_shared_out_by_row_and_an_absent_class_has_no_share() -> None:
    counts = np.array([[3, 1], [0, 0]])
    assert row_shares(counts) == pytest.approx(np.array([[0.75, 0.25], [np.nan, np.nan]]), nan_ok=True)
    figure = confusions([[counts, counts]], ["Swin-T"], ["rgb", "csp"], ["x", "y"], title="T")
    assert texts(figure).count("75") == 2 and "Swin-T, csp" in texts(figure)
    with pytest.raises(BenchError, match="a map is not of 3 x 3 classes"):
        confusions([[counts]], ["Swin-T"], ["rgb"], ["x", "y", "z"], title="T")


def test_robustness_is_drawn_from_the_undisturbed_score_on(paper) -> None:
    plates = dict(draw(read_numbers(paper.study, paper.compare), paper.results, pictures=False))
    assert not [name for name in plates if name.startswith("pictures")]
    axes = plates["spectral"].axes[0]
    words = [label.get_text() for label in axes.get_xticklabels()]
    assert words[:5] == ["as it is", "reversed", "random order 1", "random order 2", "red silenced"]
    frame = pd.read_csv(paper.compare / "spectral.csv").query(
        "dataset == 'isaid' and backbone == 'convnext_tiny' and arm == 'csp' and probe == 'reversed'"
    )
    lines = [
        line.get_ydata()[1]
        for line in axes.lines
        if len(line.get_xdata()) == len(words) and line.get_marker() != "."
    ]
    assert 100 * frame["value"].mean() in [pytest.approx(float(y)) for y in lines]


def test_classifiers_are_drawn_by_number_of_channels_from_the_undisturbed_top1_on(paper) -> None:
    figure = dict(draw(read_numbers(paper.study, paper.compare), paper.results, pictures=False))[
        "top1_spectral"
    ]
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"n = {n}, {name}" for n in (3, 4, 5) for name in ("ConvNeXt-T", "Swin-T")]
    for axes, n in zip(figure.axes[::2], (3, 4, 5), strict=True):
        words = [label.get_text() for label in axes.get_xticklabels()]
        # As it is; then by channel, silenced before halved.
        assert words[0] == "as it is" and len(words) == 1 + 2 * n
        assert words[-1] == f"channel {n} x 0.5" and f"channel {n} silenced" in words
    frame = pd.read_csv(paper.compare / "top1.csv").query(
        "backbone == 'convnext_tiny' and strategy == 'csp' and channels == 4 and order == 'mean/channel_4'"
    )
    drawn = [float(y) for line in figure.axes[2].lines for y in line.get_ydata()]
    assert 100 * frame["value"].mean() in [pytest.approx(y) for y in drawn]


def test_a_study_whose_classifiers_were_not_disturbed_is_told_to_evaluate_them(paper) -> None:
    path = paper.compare / "top1.csv"
    frame = pd.read_csv(path)
    frame[~frame["order"].str.contains("/")].to_csv(path, index=False)
    with pytest.raises(BenchError, match="top1.csv has no disturbed channel to draw though the study asks"):
        dict(draw(read_numbers(paper.study, paper.compare), paper.results, pictures=False))


def test_the_gain_of_a_class_stands_beside_its_bars() -> None:
    scores = pd.DataFrame({"backbone": "Swin-T", "arm": ["rgb", "csp"], "class": "car", "value": [0.4, 0.5]})
    gained = pd.DataFrame(
        {"backbone": ["Swin-T"], "class": "car", "estimate": 0.1, "low": 0.04, "high": 0.16}
    )
    axes = figures.per_class(
        scores, ["rgb", "csp"], COLOURS, metric="IoU", gains=gained, gain_name="csp - rgb", title="T"
    ).axes
    assert [ax.get_title() for ax in axes] == ["Swin-T", "csp - rgb"]
    whisker = next(line for line in axes[1].lines if len(line.get_xdata()) == 2 and line.get_ydata()[0] == 0)
    assert list(whisker.get_xdata()) == pytest.approx([4.0, 16.0])


def test_a_scene_is_drawn_once_and_every_prediction_of_it() -> None:
    figure = panels([example(1, "one"), example(1, "two")], ["x"], [[0, 0, 0]], title="T")
    # Row 1: colour, infrared, target, two arms; row 2: the two arms alone.
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1, 1, 1, 0, 0, 0, 1, 1]


def test_large_examples_are_shrunk_by_block_means_and_ids_by_their_middle(tmp_path) -> None:
    side = 2 * SHOWN_SIDE
    image = np.zeros((side, side, 3), dtype=np.float32)
    image[::2, ::2] = 200.0  # one pixel in each block of four: the mean is 50
    ids = np.zeros((side, side), dtype=np.uint8)
    ids[1::2, 1::2] = 3
    found = drawn({"image/a": image, "target/a": ids}, ["red", "green", "blue"], tmp_path)
    assert found["colour/a"].shape == (SHOWN_SIDE, SHOWN_SIDE, 3)
    # 200 / 4 = 50 of 255, in eight bits again 50.
    assert (found["colour/a"] == 50).all() and (found["target/a"] == 3).all()


def test_a_curve_has_few_points_and_keeps_its_mean() -> None:
    values = np.stack([np.arange(1, 1001), np.linspace(4, 1, 1000)])
    short = thinned(values)
    assert short.shape == (2, POINTS) and thinned(values[:, :7]).shape == (2, 7)
    assert short[0, 0] == pytest.approx(2.5)  # 1000 steps in 300 parts: the first has the steps 1 to 4


def claims(*verdicts: str) -> pd.DataFrame:
    texts = {"head": "MFNet: gain", "here": "+6.50", "interval": "6.30 to 6.70", "paper": "+6.60"}
    return pd.DataFrame([{**texts, "verdict": verdict} for verdict in verdicts])


def test_the_overview_says_each_verdict_in_its_own_colour() -> None:
    figure = overview(claims(*VERDICTS), title="T")
    assert overhang(figure) < 0.01
    assert {text for text in texts(figure) if text in VERDICTS} == set(VERDICTS)
    bands = [axes.patches[1].get_facecolor()[:3] for axes in figure.axes if axes.patches]
    assert bands == [to_rgb(colour) for colour, _ in VERDICTS.values()]


def test_the_verdicts_are_counted_in_a_sentence() -> None:
    verdicts = pd.Series(["reproduced", "not comparable", "reproduced"])
    assert counted(verdicts) == "Of 3 claims of the paper: 2 reproduced, 1 not comparable"
