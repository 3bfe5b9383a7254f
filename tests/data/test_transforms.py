"""Crops and colours against independent implementations: torch, torchvision, timm."""

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy.stats import ks_2samp
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as TF

from bench.data.transforms import (
    Span,
    distort_colours,
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
    size = [round(ratio * side) for side in shape]
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
        np.testing.assert_allclose(crop.transpose(2, 0, 1), whole[0][here].numpy(), atol=5e-3)
        np.testing.assert_array_equal(resize_labels(labels[window], rows, columns), nearest[here].numpy())


def test_ratio_one_returns_the_pixels_themselves():
    image = scene(20, 20, 4)
    rows, columns = Span(20, 20, 3, 8), Span(20, 20, 5, 8)
    assert (rows.window(), columns.window()) == (
        slice(3, 12),
        slice(5, 14),
    )  # one more: the neighbour, with weight 0
    crop = resize_image(image[3:12, 5:14], rows, columns)
    np.testing.assert_array_equal(crop, image[3:11, 5:13])


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
    image, labels = pad(scene(3, 4, 2), np.ones((3, 4), np.uint8), 6, mean)
    assert image.shape == (6, 6, 2) and labels.shape == (6, 6)
    assert (image[3:] == mean).all() and (image[:, 4:] == mean).all()
    assert (labels[:3, :4] == 1).all() and (labels == 255).sum() == 36 - 12
    normalised = normalise(
        torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(mean), torch.tensor([2.0, 7.0])
    )
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


def test_photometric_distortion_changes_only_the_colour_planes_and_stays_in_range():
    image = scene(9, 9, 5)
    changed = 0
    for seed in range(50):
        out = distort_colours(image, [2, 0, 3], random.Random(seed))
        np.testing.assert_array_equal(out[..., [1, 4]], image[..., [1, 4]])
        assert out[..., [0, 2, 3]].min() >= 0 and out[..., [0, 2, 3]].max() <= 255
        changed += not np.array_equal(out, image)
    assert changed > 40  # left alone with probability 1/16


def test_hue_turns_a_pure_colour_and_brightness_moves_grey():
    red = np.zeros((1, 1, 3), np.float32)
    red[..., 0] = 200
    hues = {tuple(distort_colours(red, [0, 1, 2], random.Random(seed))[0, 0].round()) for seed in range(40)}
    assert any(green > 0 for _, green, _ in hues) and any(blue > 0 for _, _, blue in hues)
    grey = np.full((1, 1, 3), 100, np.float32)
    for seed in range(40):
        out = distort_colours(grey, [0, 1, 2], random.Random(seed))[0, 0]
        assert np.ptp(out) <= 1  # grey has no hue and no saturation; Pillow rounds
        assert (100 - 32) * 0.5 - 1 <= out[0] <= (100 + 32) * 1.5 + 1


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
        np.testing.assert_array_equal(transform(picture(), seed), expected)
    assert 3 < flips < 17


@pytest.mark.parametrize(("width", "height"), [(61, 47), (47, 61), (36, 36), (500, 375)])
def test_an_evaluation_picture_is_torchvisions_resize_and_centre_crop(width, height):
    ours = EvalTransform(32, 0.875)(picture(width, height))
    resized = TF.resize(
        picture(width, height), 36, InterpolationMode.BICUBIC
    )  # 32 / 0.875 = 36.57, rounded down
    np.testing.assert_array_equal(ours, np.asarray(TF.center_crop(resized, [32, 32])))


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
    small = picture(20, 20)
    for seed in range(5000):
        assert transform(small, seed).shape == (16, 16, 3)


@pytest.mark.skipif(not pillow_posterizes_to_nothing(), reason="this Pillow refuses posterize with 0 bits")
def test_randaugment_depends_on_the_seed_alone_and_leaves_the_global_generators_alone():
    transform = TrainTransform(32, 0.5, "rand-m9-mstd0.5-inc1", (124, 116, 104))
    random.seed(1)
    np.random.seed(1)
    states = random.getstate(), np.random.get_state()[1].tolist()
    first = [transform(picture(), seed) for seed in range(30)]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    random.seed(2)
    np.random.seed(2)
    second = [transform(picture(), seed) for seed in range(30)]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    plain = TrainTransform(32, 0.5, None, (124, 116, 104))
    assert sum(not np.array_equal(a, plain(picture(), seed)) for seed, a in enumerate(first)) > 15


@pytest.mark.skipif(not pillow_posterizes_to_nothing(), reason="this Pillow refuses posterize with 0 bits")
def test_an_unknown_policy_is_refused():
    with pytest.raises(BenchError, match="no RandAugment policy"):
        randaugment_policy("augment-m9", 32, (0, 0, 0))
