"""Crops and colours against independent implementations: torch, torchvision, timm."""

import colorsys
import io
import random
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy.stats import ks_2samp
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as TF

from bench.data.colours import TurnColours, distort_colours, rgb_planes
from bench.data.decoding import PillowPhotograph, decode
from bench.data.transforms import (
    Span,
    dominated,
    draw_spans,
    normalise,
    pad,
    resize_image,
    resize_labels,
)
from bench.data.transforms_classification import (
    EvalTransform,
    TrainTransform,
    randaugment_policy,
    random_crop_box,
)
from bench.errors import BenchError


def scene(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (height, width, channels)).astype(np.float32)


# -- segmentation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.5, 0.77, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("shape", [(40, 56), (33, 21)])
def test_a_crop_equals_resizing_the_whole_scene_and_cutting_it_out(shape, ratio):
    image = scene(*shape, channels=5)
    labels = np.random.default_rng(1).integers(0, 9, shape, dtype=np.uint8)
    size = [int(ratio * side + 0.5) for side in shape]  # half up, as mmcv does
    whole = F.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None], size=size, mode="bilinear", align_corners=False
    )
    nearest = F.interpolate(torch.from_numpy(labels)[None, None], size=size, mode="nearest-exact")[0, 0]
    draw = random.Random(3)
    for _ in range(10):
        rows, columns = draw_spans(shape, 16, ratio, draw)
        here = (
            ...,
            slice(rows.start, rows.start + rows.size),
            slice(columns.start, columns.start + columns.size),
        )
        window = (rows.window(), columns.window())
        crop = resize_image(image[window], rows, columns)
        # torch works out positions in float32, we in float64: a few 1e-3 of 255 apart at most.
        np.testing.assert_allclose(crop, whole[0][here].numpy(), atol=5e-3)
        np.testing.assert_array_equal(resize_labels(labels[window], rows, columns), nearest[here].numpy())


def test_ratio_one_returns_the_pixels_themselves():
    image = scene(20, 20, 4)
    rows, columns = Span(20, 20, 3, 8), Span(20, 20, 5, 8)
    assert (rows.window(), columns.window()) == (
        slice(3, 12),
        slice(5, 14),
    )  # one more: the neighbour, with weight 0
    crop = resize_image(image[3:12, 5:14], rows, columns)
    np.testing.assert_array_equal(crop, image[3:11, 5:13].transpose(2, 0, 1))


def test_only_the_window_that_the_crop_shows_is_needed():
    # 10 pixels from 40 of a scene of 100 resized to 50: the first is centred on 40.5 * 2 - 0.5 = 80.5, the
    # last on 49.5 * 2 - 0.5 = 98.5, so source pixels 80 to 99.
    assert Span(100, 50, 40, 10).window() == slice(80, 100)


def test_crops_reach_every_place_and_never_leave_the_scene():
    draw = random.Random(0)
    starts = {draw_spans((12, 12), 8, 1.0, draw)[0].start for _ in range(200)}
    assert starts == {0, 1, 2, 3, 4}


def test_a_scene_smaller_than_the_crop_is_padded_with_the_mean_and_ignored_labels():
    mean = np.array([10.0, 300.0], dtype=np.float32)
    image, labels = pad(scene(3, 4, 2).transpose(2, 0, 1), np.ones((3, 4), np.uint8), 6, mean)
    assert image.shape == (2, 6, 6) and labels.shape == (6, 6)
    assert (image[:, 3:] == mean[:, None, None]).all() and (image[..., 4:] == mean[:, None, None]).all()
    assert (labels[:3, :4] == 1).all() and (labels == 255).sum() == 36 - 12
    normalised = normalise(torch.from_numpy(image)[None], torch.from_numpy(mean), torch.tensor([2.0, 7.0]))
    assert (normalised[0, :, 3:] == 0).all()


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ({0: 3, 1: 1}, 0.75, True),  # 3 of 4 is the share itself: drawn again
        ({0: 3, 1: 2}, 0.75, False),
        ({0: 3, 1: 2, 255: 95}, 0.75, False),  # ignored pixels do not count
        ({2: 9}, 0.75, True),  # one class alone
        ({255: 9}, 0.75, True),
    ],
)
def test_a_crop_is_dominated_when_one_class_holds_the_share(counts, share, expected):
    labels = np.repeat(list(counts), list(counts.values())).astype(np.uint8)
    assert dominated(labels[None], share) is expected


def distorted_by_hand(image, planes, draw) -> np.ndarray:
    """The published distortion, pixel by pixel, with the standard library's hue, saturation and value.

    mmsegmentation: brightness, contrast if its mode says now, saturation, hue, contrast otherwise; each works on
    8 bits and leaves 8 bits, cut. OpenCV's 8-bit hue counts half degrees.
    """

    def cut(value: float) -> int:
        return int(min(max(value, 0.0), 255.0))

    def turned(pixel, saturation: float, hue: int) -> list[int]:
        h, s, v = colorsys.rgb_to_hsv(*(value / 255 for value in pixel))
        h, s = int(h * 180 + 0.5), int(s * 255 + 0.5)
        s = cut(s * saturation)
        return [cut(value * 255) for value in colorsys.hsv_to_rgb((h + hue) % 180 / 180, s / 255, v)]

    steps = []
    if draw.random() < 0.5:
        shift = draw.uniform(-32, 32)
        steps.append(lambda pixel: [cut(value + shift) for value in pixel])
    contrast_now, contrast = draw.random() < 0.5, None
    if draw.random() < 0.5:
        factor = draw.uniform(0.5, 1.5)
        contrast = lambda pixel: [cut(value * factor) for value in pixel]  # noqa: E731
    if contrast and contrast_now:
        steps.append(contrast)
    if draw.random() < 0.5:
        saturation = draw.uniform(0.5, 1.5)
        steps.append(lambda pixel: turned(pixel, saturation, 0))
    if draw.random() < 0.5:
        hue = draw.randint(-18, 17)
        steps.append(lambda pixel: turned(pixel, 1.0, hue))
    if contrast and not contrast_now:
        steps.append(contrast)
    result = image.copy()
    for row, column in np.ndindex(*image.shape[1:]):
        pixel = [round(float(image[plane, row, column])) for plane in planes]
        for step in steps:
            pixel = step(pixel)
        if steps:
            result[planes, row, column] = pixel
    return result


def test_photometric_distortion_is_the_published_one_pixel_by_pixel():
    image = scene(6, 7, 5).transpose(2, 0, 1).copy()
    worst = []
    for seed in range(60):
        out = image.copy()
        distort_colours(out, [2, 0, 3], random.Random(seed))
        worst.append(np.abs(out - distorted_by_hand(image, [2, 0, 3], random.Random(seed))))
    # Two ways of rounding the same number: a value that is whole may be cut one lower, and contrast after it (times
    # 1.5 at most) and a second turn of the colours (a step of hue is 8.5 levels at most) widen that.
    worst = np.stack(worst)
    assert (worst > 1.5).mean() < 0.005 and worst.max() <= 13


def test_photometric_distortion_changes_only_the_colour_planes_and_stays_in_range():
    image = scene(9, 9, 5).transpose(2, 0, 1).copy()
    changed = 0
    for seed in range(50):
        out = image.copy()
        distort_colours(out, [2, 0, 3], random.Random(seed))
        np.testing.assert_array_equal(out[[1, 4]], image[[1, 4]])
        assert out[[0, 2, 3]].min() >= 0 and out[[0, 2, 3]].max() <= 255
        changed += not np.array_equal(out, image)
    assert changed > 40  # left alone with probability 1/16


def test_the_blocks_in_which_colours_are_worked_on_leave_no_seam(monkeypatch):
    image = scene(17, 13, 3).transpose(2, 0, 1).copy()
    changed = 0
    for seed in range(10):
        whole, blocks = image.copy(), image.copy()
        with monkeypatch.context() as patched:
            patched.setattr("bench.data.colours.BLOCK", 7)
            distort_colours(blocks, [0, 1, 2], random.Random(seed))
        distort_colours(whole, [0, 1, 2], random.Random(seed))
        np.testing.assert_array_equal(blocks, whole)
        changed += not np.array_equal(whole, image)
    assert changed > 5


def test_turning_known_colours():
    red_grey_black = np.array([[200, 90, 0], [0, 90, 0], [0, 90, 0]], dtype=np.uint8)
    # 60 steps of two degrees are 120 degrees: red to green. Grey and black have no hue.
    assert TurnColours(hue=60)(red_grey_black).tolist() == [[0, 90, 0], [200, 90, 0], [0, 90, 0]]
    # Half the saturation of pure red: 255 -> 127, so the weakest is 200 * (1 - 127 / 255) = 100.4, cut to 100.
    assert TurnColours(saturation=0.5)(red_grey_black)[:, 0].tolist() == [200, 100, 100]


def test_every_turned_colour_is_within_a_level_of_one_worked_out_in_real_numbers():
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels)).reshape(3, -1)
    turned = TurnColours(hue=7)(colours)
    for before, after in zip(colours.T[::7], turned.T[::7], strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(before / 255))
        expected = np.array(colorsys.hsv_to_rgb(h + 7 / 180, s, v)) * 255
        # Half a step of hue is 255 / 30 / 2 = 4.25 levels at most, half a step of saturation 1/2, the cut 1.
        assert np.abs(after - expected).max() <= 5.75


def test_photometric_distortion_finds_the_colour_planes_or_says_what_is_missing():
    assert rgb_planes([{"name": name, "dtype": "uint8"} for name in ("blue", "thermal", "red", "green")]) == [
        2,
        3,
        0,
    ]
    channels = [
        {"name": "thermal", "dtype": "uint8"},
        {"name": "red", "dtype": "uint8"},
        {"name": "blue", "dtype": "uint16"},
    ]
    with pytest.raises(BenchError, match="missing: blue, green; set photometric: false"):
        rgb_planes(channels)


def test_normalisation_takes_statistics_for_all_images_or_for_each():
    images = torch.tensor([[10, 20], [10, 20]], dtype=torch.uint8).view(2, 2, 1, 1)
    both = normalise(images, torch.tensor([10.0, 10.0]), torch.tensor([1.0, 5.0]))
    assert both.flatten().tolist() == [0.0, 2.0, 0.0, 2.0]
    each = normalise(images, torch.tensor([[10.0, 0.0], [0.0, 20.0]]), torch.tensor([[1.0, 4.0], [2.0, 1.0]]))
    assert each.flatten().tolist() == [0.0, 5.0, 5.0, 0.0]


# -- classification ------------------------------------------------------------------------------------------


def picture(width: int = 61, height: int = 47, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_random_crops_have_the_areas_and_aspects_of_torchvisions():
    torch.manual_seed(0)
    draw = random.Random(0)
    blank = Image.new("RGB", (640, 480))
    theirs = [RandomResizedCrop.get_params(blank, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(2000)]
    boxes = [random_crop_box(640, 480, 0.08, draw) for _ in range(2000)]
    ours = [(top, left, bottom - top, right - left) for left, top, right, bottom in boxes]
    for value in (lambda t: t[2] * t[3], lambda t: t[3] / t[2], lambda t: t[0], lambda t: t[1]):
        assert ks_2samp([value(t) for t in ours], [value(t) for t in theirs]).pvalue > 1e-3


@pytest.mark.parametrize("size", [(10, 100), (100, 10)])
def test_a_crop_that_never_fits_falls_back_to_the_largest_central_one(size):
    # scale_min 1 asks for the whole area in an aspect between 3/4 and 4/3: impossible at 1:10.
    left, top, right, bottom = random_crop_box(*size, 1.0, random.Random(0))
    short = 10
    long = round(short * 4 / 3)  # 13: aspect 10/13 or 13/10, within the range
    assert sorted((right - left, bottom - top)) == [short, long]
    assert (left, top) == ((0, 43) if size == (10, 100) else (43, 0))


def test_a_training_picture_is_torchvisions_crop_resize_and_flip():
    transform = TrainTransform(32, 0.08, None, (0.0,) * 3)
    flips = 0
    for seed in range(20):
        draw = random.Random(seed)
        left, top, right, bottom = random_crop_box(61, 47, 0.08, draw)
        expected = TF.resized_crop(
            picture(), top, left, bottom - top, right - left, [32, 32], InterpolationMode.BICUBIC
        )
        flipped = draw.random() < 0.5
        flips += flipped
        expected = np.asarray(TF.hflip(expected) if flipped else expected)
        found = transform(PillowPhotograph(picture()), seed).transpose(1, 2, 0)
        np.testing.assert_array_equal(found, expected)
    assert 3 < flips < 17


@pytest.mark.parametrize(("width", "height"), [(61, 47), (47, 61), (36, 36), (500, 375)])
def test_an_evaluation_picture_is_torchvisions_resize_and_centre_crop(width, height):
    ours = EvalTransform(32, 0.875)(PillowPhotograph(picture(width, height)))
    resized = TF.resize(
        picture(width, height), 36, InterpolationMode.BICUBIC
    )  # 32 / 0.875 = 36.57, rounded down
    np.testing.assert_array_equal(ours.transpose(1, 2, 0), np.asarray(TF.center_crop(resized, [32, 32])))


def encoded(image: Image.Image, form: str = "JPEG", **settings) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **settings)
    return stream.getvalue()


def smooth(width: int = 90, height: int = 70) -> Image.Image:
    """A picture of blobs: noise, 8 times enlarged."""
    return picture(width // 8 + 1, height // 8 + 1).resize((width, height), Image.Resampling.BICUBIC)


STORED = {
    "4:2:0": encoded(smooth(), quality=90, subsampling="4:2:0"),
    "4:4:4": encoded(smooth(), quality=95, subsampling="4:4:4"),
    "progressive": encoded(smooth(), quality=80, progressive=True),
    "grey": encoded(smooth().convert("L")),
    "CMYK": encoded(smooth().convert("CMYK")),
    "PNG in disguise": encoded(smooth(), "PNG"),
    "PNG with transparency": encoded(smooth().convert("RGBA"), "PNG"),
}


@pytest.mark.parametrize("form", STORED)
def test_both_kinds_read_the_same_pixels_from_every_form_of_a_photograph(form):
    stored = STORED[form]
    expected = np.asarray(Image.open(io.BytesIO(stored)).convert("RGB"))
    for resize in ("pillow", "torch"):
        photograph = decode(stored, resize, form)
        assert photograph.size == (90, 70)
        np.testing.assert_array_equal(np.asarray(photograph.resized((90, 70))), expected)


def test_an_orientation_that_a_camera_wrote_is_applied_by_neither():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    stored = encoded(smooth(), exif=exif)
    assert {decode(stored, resize, "").size for resize in ("pillow", "torch")} == {(90, 70)}


@pytest.mark.parametrize("resize", ["pillow", "torch"])
@pytest.mark.parametrize("stored", [STORED["4:2:0"][:600], STORED["PNG in disguise"][:300], b"<html>", b""])
def test_what_is_no_whole_picture_is_named(resize, stored):
    with pytest.raises(BenchError, match="train.bin, photograph 3: not a readable picture"):
        decode(stored, resize, "train.bin, photograph 3")


@pytest.mark.parametrize("form", ["4:2:0", "grey", "CMYK"])
@pytest.mark.parametrize("size", [(32, 32), (120, 100)])
def test_the_two_ways_of_resizing_differ_by_rounding_alone(form, size):
    box = (7, 5, 77, 65)
    one, other = (
        np.asarray(decode(STORED[form], resize, "").resized(size, box)).astype(int)
        for resize in ("pillow", "torch")
    )
    # torch's weights have 16 bits and both passes round to whole levels: up to 2 levels, and those are rare.
    assert np.abs(one - other).max() <= 2 and (one != other).mean() < 0.05


@pytest.mark.parametrize("resize", ["pillow", "torch"])
def test_no_pixel_beside_the_box_has_a_part_in_it(resize):
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, 20:] = 255
    left_half = decode(pixels, resize, "").resized((8, 8), (0, 0, 20, 40))
    assert np.asarray(left_half).max() == 0


@pytest.mark.parametrize("resize", ["pillow", "torch"])
def test_pictures_stored_as_pixels_go_the_same_way(resize):
    pixels = np.array(smooth())
    one = decode(pixels, resize, "").resized((32, 32), (3, 3, 60, 50))
    other = decode(STORED["PNG in disguise"], resize, "").resized((32, 32), (3, 3, 60, 50))
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def pillow_posterizes_to_nothing() -> bool:
    try:
        ImageOps.posterize(Image.new("RGB", (1, 1)), 0)
    except ValueError:
        return False
    return True


def test_randaugment_survives_thousands_of_pictures_or_says_which_pillow_it_needs():
    if not pillow_posterizes_to_nothing():
        with pytest.raises(BenchError, match=r"install Pillow 11\.3 to 12\.1"):
            randaugment_policy("rand-m9-mstd0.5-inc1", 32, (124, 116, 104))
        return
    transform = TrainTransform(16, 0.5, "rand-m9-mstd0.5-inc1", (124, 116, 104))
    small = PillowPhotograph(picture(20, 20))
    for seed in range(5000):
        assert transform(small, seed).shape == (3, 16, 16)


@pytest.mark.skipif(not pillow_posterizes_to_nothing(), reason="this Pillow refuses posterize with 0 bits")
def test_randaugment_depends_on_the_seed_alone_and_leaves_the_global_generators_alone():
    transform = TrainTransform(32, 0.5, "rand-m9-mstd0.5-inc1", (124, 116, 104))
    random.seed(1)
    np.random.seed(1)
    states = random.getstate(), np.random.get_state()[1].tolist()
    first = [transform(PillowPhotograph(picture()), seed) for seed in range(30)]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    random.seed(2)
    np.random.seed(2)
    second = [transform(PillowPhotograph(picture()), seed) for seed in range(30)]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    plain = TrainTransform(32, 0.5, None, (124, 116, 104))
    assert (
        sum(not np.array_equal(a, plain(PillowPhotograph(picture()), seed)) for seed, a in enumerate(first))
        > 15
    )


@pytest.mark.skipif(not pillow_posterizes_to_nothing(), reason="this Pillow refuses posterize with 0 bits")
def test_randaugment_draws_two_operations_of_fifteen_alike():
    # The choice that timm's call makes, made in its place: with replacement, no weights.
    policy = randaugment_policy("rand-m9-mstd0.5-inc1", 32, (0, 0, 0))
    assert (policy.num_layers, len(policy.ops), policy.choice_weights) == (2, 15, None)
    counts = Counter()
    for place in range(15):
        policy.ops[place] = lambda image, place=place: counts.update([place]) or image
    transform = TrainTransform(8, 0.5, None, (0.0,) * 3)
    transform.augment = policy
    small = PillowPhotograph(picture(10, 10))
    for seed in range(3000):
        transform(small, seed)
    # 6000 draws among 15: 400 each, standard deviation sqrt(6000 * 14) / 15 = 19.3; five of them are 97.
    assert sum(counts.values()) == 6000 and all(abs(count - 400) < 97 for count in counts.values())


@pytest.mark.skipif(not pillow_posterizes_to_nothing(), reason="this Pillow refuses posterize with 0 bits")
def test_an_unknown_policy_is_refused():
    with pytest.raises(BenchError, match="no RandAugment policy"):
        randaugment_policy("augment-m9", 32, (0, 0, 0))
