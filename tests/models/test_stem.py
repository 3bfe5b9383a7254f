"""Each stem keeps what its name promises, for every number of channels."""

import pytest
import torch
from timm.models import adapt_input_conv
from torch.nn.functional import conv2d

from bench.errors import BenchError
from bench.models.stem import STEMS, adapt

CHANNELS = range(3, 9)


def drawn(n):
    return torch.randn(6, n, 4, 4, generator=torch.Generator().manual_seed(n))


@pytest.fixture
def rgb():
    return torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(100))


def picture(channels):
    return torch.rand(2, channels, 8, 8, generator=torch.Generator().manual_seed(7))


def assert_same_response(weights, image, expected_weights, expected_image):
    actual, expected = conv2d(image, weights, stride=4), conv2d(expected_image, expected_weights, stride=4)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("n", CHANNELS)
def test_a_stem_gives_n_channels_and_leaves_its_arguments_alone(stem, n, rgb):
    weights, initial = rgb.clone(), drawn(n)
    adapted = adapt(stem, weights, initial)
    assert adapted.shape == (6, n, 4, 4) and adapted.dtype == rgb.dtype
    adapted.fill_(0)
    assert torch.equal(weights, rgb) and torch.equal(initial, drawn(n))


@pytest.mark.parametrize("stem", [stem for stem in STEMS if stem != "reinit"])
def test_at_three_channels_a_stem_is_the_identity(stem, rgb):
    assert torch.equal(adapt(stem, rgb, drawn(3)), rgb)


@pytest.mark.parametrize("n", CHANNELS)
def test_reinit_keeps_nothing_of_the_weights(n, rgb):
    assert torch.equal(adapt("reinit", rgb, drawn(n)), drawn(n))


@pytest.mark.parametrize("n", CHANNELS)
def test_repeat_is_timms_rule(n, rgb):
    assert torch.equal(adapt("repeat", rgb, drawn(n)), adapt_input_conv(n, rgb.clone()))


def test_repeat_keeps_the_response_to_grey_only_where_three_divides_n(rgb):
    grey = picture(1)
    expected = conv2d(grey.expand(-1, 3, -1, -1), rgb, stride=4)
    kept = {}
    for n in CHANNELS:
        response = conv2d(grey.expand(-1, n, -1, -1), adapt("repeat", rgb, drawn(n)), stride=4)
        kept[n] = torch.allclose(response, expected, atol=1e-4)
    assert kept == {3: True, 4: False, 5: False, 6: True, 7: False, 8: False}


@pytest.mark.parametrize("n", CHANNELS)
def test_repeat_normalised_keeps_the_response_to_grey(n, rgb):
    grey = picture(1)
    weights = adapt("repeat-normalised", rgb, drawn(n))
    assert_same_response(weights, grey.expand(-1, n, -1, -1), rgb, grey.expand(-1, 3, -1, -1))


@pytest.mark.parametrize("n", CHANNELS)
def test_repeat_normalised_keeps_the_response_to_channels_that_cycle(n, rgb):
    image = picture(3)
    weights = adapt("repeat-normalised", rgb, drawn(n))
    assert_same_response(weights, image[:, [j % 3 for j in range(n)]], rgb, image)


@pytest.mark.parametrize("n", CHANNELS)
def test_zero_keeps_the_rgb_response_whatever_the_extra_channels_hold(n, rgb):
    image = picture(n) * 1000
    assert torch.equal(
        conv2d(image[:, :3].double(), rgb.double(), stride=4),
        conv2d(image.double(), adapt("zero", rgb, drawn(n)).double(), stride=4),
    )
    assert torch.equal(adapt("zero", rgb, drawn(n))[:, 3:], torch.zeros(6, n - 3, 4, 4))


@pytest.mark.parametrize("n", CHANNELS)
def test_copy_red_responds_as_to_an_image_whose_red_is_the_sum(n, rgb):
    image = picture(n)
    summed = torch.stack([image[:, 0] + image[:, 3:].sum(1), image[:, 1], image[:, 2]], dim=1)
    assert_same_response(adapt("copy-red", rgb, drawn(n)), image, rgb, summed)


@pytest.mark.parametrize("n", CHANNELS)
def test_mean_responds_to_extra_channels_as_to_a_third_of_their_grey(n, rgb):
    image = picture(n)
    spread = image[:, :3] + image[:, 3:].sum(1, keepdim=True) / 3
    assert_same_response(adapt("mean", rgb, drawn(n)), image, rgb, spread)


@pytest.mark.parametrize("n", CHANNELS)
def test_random_keeps_rgb_and_draws_the_rest(n, rgb):
    adapted = adapt("random", rgb, drawn(n))
    assert torch.equal(adapted[:, :3], rgb) and torch.equal(adapted[:, 3:], drawn(n)[:, 3:])


def test_the_names_are_those_of_a_study():
    from typing import get_args

    from bench.study.arms import Stem

    assert set(STEMS) == set(get_args(Stem))


def test_an_unknown_stem_is_refused_by_name(rgb):
    with pytest.raises(BenchError, match="stem 'cycle' is unknown; there are repeat, repeat-normalised"):
        adapt("cycle", rgb, drawn(4))


def test_weights_that_are_not_rgb_are_refused(rgb):
    with pytest.raises(BenchError, match=r"cannot make weights \[6, 5, 4, 4\] from \[6, 4, 4, 4\]"):
        adapt("repeat", drawn(4), drawn(5))
