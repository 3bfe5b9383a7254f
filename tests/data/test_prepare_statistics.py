"""Mean and standard deviation in one pass, against numpy over all values."""

import numpy as np
import pytest

from bench.data.prepare.statistics import Moments, Tally, moments

DRAWS = {
    "uint8": lambda rng, shape: rng.integers(0, 256, shape, dtype=np.uint8),
    "uint16": lambda rng, shape: rng.integers(0, 65536, shape, dtype=np.uint16),
    "float32": lambda rng, shape: rng.normal(5_000, 0.5, shape).astype(np.float32),
}


@pytest.mark.parametrize("dtype", DRAWS)
@pytest.mark.parametrize("shape", [(3, 5, 1), (700, 300, 3), (1, 1, 4)])
def test_moments_are_those_of_numpy(dtype, shape):
    image = DRAWS[dtype](np.random.default_rng(0), shape)
    found = moments(image)
    values = image.reshape(-1, shape[2]).astype(np.float64)
    assert found.count == len(values)
    np.testing.assert_allclose(found.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, values.std(axis=0), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", DRAWS)
def test_blocks_and_images_add_up(dtype):
    rng = np.random.default_rng(1)
    one, two = DRAWS[dtype](rng, (40, 30, 2)), DRAWS[dtype](rng, (7, 30, 2))
    tally = Tally(2, np.dtype(dtype))
    for top in range(0, 40, 9):
        tally.add(one[top : top + 9])
    merged = tally.moments().merge(moments(two))
    whole = moments(np.concatenate([one, two]))
    assert merged.count == whole.count
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(merged.std, whole.std, rtol=1e-7)


def test_whole_numbers_are_summed_without_rounding():
    # 10^6 pixels of 65535 and one of 65534: the variance is 1 / 10^6 to six digits, far below the rounding of
    # squares of 4 x 10^9 in float64 sums.
    image = np.full((1000, 1000, 1), 65535, np.uint16)
    image[0, 0, 0] = 65534
    np.testing.assert_allclose(moments(image).squares, [1 - 1e-6], rtol=1e-12)


def test_a_constant_has_no_spread():
    assert moments(np.full((9, 9, 1), 60.3, np.float32)).std.tolist() == [0.0]


def test_moments_survive_json():
    found = moments(DRAWS["float32"](np.random.default_rng(2), (9, 9, 3)))
    again = Moments.from_json(found.as_json())
    assert again.count == found.count
    np.testing.assert_array_equal(again.mean, found.mean)
    np.testing.assert_array_equal(again.squares, found.squares)
