"""Contact sheets: pixels arrive unchanged, words say what is shown, nothing is cut off or overlaps."""

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from bench.errors import RequestError
from bench.look.grid import DPI, FRAME, Cell, Row, sheet
from bench.look.scenes import count_classes, most_classes
from bench.look.sheets import (
    in_colour,
    label_picture,
    overlay,
    photograph_sheet,
    scene_sheet,
    squared,
)
from bench.report.pictures import IGNORED

COLOURS = [[10, 20, 30], [200, 0, 0], [0, 200, 0]]


def texts(drawn):
    return [text.get_text() for text in drawn.figure.findobj(Text) if text.get_text()]


def overhang(figure):
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    return max(-box.x0, -box.y0, box.x1 - width, box.y1 - height)


@pytest.fixture(scope="module")
def scenes(target):
    _, tiles = count_classes(target, "full")
    return scene_sheet(target, most_classes(tiles["train"], 3), title="Toy", stamp="MINIATURE")


def test_each_row_holds_colour_every_channel_labels_and_overlay(target, scenes):
    assert len(scenes.pictures) == 3 * (1 + len(target.channels) + 2)
    found = texts(scenes)
    assert {"colour", "red\ndigital number", "height\nmetres", "labels", "labels over colour"} <= set(found)
    assert {"MINIATURE", "0 ground", "1 low roof", "2 car", "ignored"} <= set(found)


def test_under_a_channel_stands_its_range_and_beside_a_row_what_it_is(target, scenes):
    _, tiles = count_classes(target, "full")
    first = most_classes(tiles["train"], 3)[0]
    height_HW = target.image(first.sample)[..., 3]
    assert f"{height_HW.min():.0f} to {height_HW.max():.0f}" in texts(scenes)
    assert first.sample in texts(scenes)
    assert "12 x 16 pixels\nblock a\n3 of 3 classes" in texts(scenes)


def test_pictures_lie_on_the_page_and_do_not_overlap(scenes):
    page_HW3 = scenes.pixels()
    covered = np.zeros(page_HW3.shape[:2], int)
    for top, left, picture_HW3 in scenes.pictures:
        height, width = picture_HW3.shape[:2]
        covered[top : top + height, left : left + width] += 1
        assert top + height <= covered.shape[0] and left + width <= covered.shape[1]
        assert np.array_equal(page_HW3[top : top + height, left : left + width], picture_HW3)
    assert covered.max() == 1


def test_no_word_is_cut_off_or_hidden_by_a_picture(scenes):
    assert overhang(scenes.figure) <= 0.01
    blank = type(scenes)(scenes.figure, []).pixels()
    for top, left, picture_HW3 in scenes.pictures:
        height, width = picture_HW3.shape[:2]
        assert (blank[top : top + height, left : left + width] == 255).all()


def test_the_same_sheet_gives_the_same_bytes(scenes, tmp_path):
    for name in ("one.png", "two.png"):
        scenes.write(tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "one.png")), scenes.pixels())


def test_only_png_is_written_and_nothing_else_is_left(scenes, tmp_path):
    with pytest.raises(RequestError, match=r"sheet\.jpg: pictures are written as PNG; give a name that ends"):
        scenes.write(tmp_path / "sheet.jpg")
    assert not list(tmp_path.iterdir())


def test_a_small_picture_is_enlarged_to_sharp_squares():
    picture_HW3 = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]], np.uint8)
    (_, _, shown_HW3), *_ = sheet([Row("x", [Cell(picture_HW3)])], ["x"], side=1.0, title="T").pictures
    assert shown_HW3.shape == (DPI, DPI, 3)
    colours = {tuple(map(int, colour)) for colour in shown_HW3.reshape(-1, 3)}
    assert colours == {(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9), FRAME}
    assert tuple(shown_HW3[DPI // 4, DPI // 4]) == (255, 0, 0)
    assert tuple(shown_HW3[3 * DPI // 4, 3 * DPI // 4]) == (9, 9, 9)


def test_a_large_picture_is_averaged_but_labels_keep_their_colours():
    stripes = np.zeros((4 * DPI, 4 * DPI, 3), np.uint8)
    stripes[:, ::2] = 200
    rows = [Row("x", [Cell(stripes), Cell(stripes, sharp=True)])]
    (_, _, photo_HW3), (_, _, labels_HW3) = sheet(rows, ["a", "b"], side=1.0, title="T").pictures
    assert set(photo_HW3[1:-1, 1:-1].ravel().tolist()) == {100}
    assert set(labels_HW3[1:-1, 1:-1].ravel().tolist()) <= {0, 200}


def test_labels_are_painted_by_class_and_ignored_pixels_in_two_greys():
    labels_HW = np.full((40, 40), 255, np.uint8)
    labels_HW[:10] = 1
    painted_HW3 = label_picture(labels_HW, COLOURS)
    assert (painted_HW3[:10] == COLOURS[1]).all()
    greys = {tuple(map(int, colour)) for colour in painted_HW3[10:].reshape(-1, 3)}
    assert greys == {IGNORED, (120, 120, 120)}


def test_an_overlay_mixes_labels_in_and_leaves_ignored_pixels_between_the_stripes():
    photo_HW3 = np.full((40, 40, 3), 100, np.uint8)
    labels_HW = np.full((40, 40), 255, np.uint8)
    labels_HW[:10] = 1
    mixed_HW3 = overlay(photo_HW3, labels_HW, COLOURS)
    # 0.45 x 100 + 0.55 x (200, 0, 0)
    assert (mixed_HW3[:10] == (155, 45, 45)).all()
    shares = (mixed_HW3[10:] == 100).all(axis=-1).mean()
    assert 0.5 < shares < 0.8


def test_standardised_values_below_zero_still_make_a_picture():
    image_HWC = np.linspace(-2, 2, 300, dtype=np.float32).reshape(10, 10, 3)
    shown_HW3 = in_colour(image_HWC, ["red", "green", "blue"])
    assert shown_HW3.min() == 0 and shown_HW3.max() == 255


def test_photographs_stand_by_class_at_equal_distances(photographs, monkeypatch):
    monkeypatch.setattr("bench.look.sheets.EACH", 2)
    drawn = photograph_sheet(photographs, "train", title="T")
    greys = [int(picture[9, 9, 0]) for _, _, picture in drawn.pictures]
    # Class 0 holds photographs 0, 3, 6, 9: of four places the 2nd and the 4th; the others of three 1st and 3rd.
    assert greys == [60, 180, 20, 140, 40, 160]
    assert {"0 grey 0", "n0\n4 pictures", "1 grey 1", "n1\n3 pictures"} <= set(texts(drawn))


def test_of_many_classes_some_are_shown_and_the_note_says_how_many(photographs, monkeypatch):
    monkeypatch.setattr("bench.look.sheets.CLASSES", 2)
    drawn = photograph_sheet(photographs, "train", title="T")
    assert any(text.startswith("2 of 3 classes, in index order") for text in texts(drawn))
    assert "1 grey 1" not in texts(drawn)


def test_a_photograph_is_cut_to_its_middle_square():
    image_HW3 = np.arange(5)[None, :, None].repeat(3, axis=0).repeat(3, axis=2).astype(np.uint8)
    assert squared(image_HW3)[0, :, 0].tolist() == [1, 2, 3]
