"""Finished numbers of the channels: shares derived by hand, rows against the whole image."""

import numpy as np
import pytest

from bench.look import channels
from bench.look.channels import distribution, every, photograph_distributions, target_distributions


def of(values, **changes):
    given = {"name": "x", "unit": "metres", "dtype": "uint8", "mean": 1.0, "std": 2.0} | changes
    return distribution(np.asarray(values), **given)


def test_zeros_saturation_and_range_are_counted():
    found = of([0, 0, 10, 255])
    assert (found.zeros, found.saturated, found.low, found.high) == (0.5, 0.25, 0.0, 255.0)
    # Bins of four values: 0 to 3, 8 to 11, 252 to 255.
    assert {i: float(share) for i, share in enumerate(found.shares) if share} == {0: 0.5, 2: 0.25, 63: 0.25}


def test_16_bit_values_saturate_at_their_own_end_and_floats_never():
    assert of([255, 65535], dtype="uint16").saturated == 0.5
    assert of([0.0, 255.0], dtype="float32").saturated is None


def test_standardised_values_say_so_and_have_no_saturation():
    found = of([-1.0, 255.0], raw=False)
    assert found.unit == "standardised in each scene; stored: metres" and found.saturated is None


def test_a_constant_channel_has_one_full_bin():
    assert of([5.0, 5.0], dtype="float32").shares.max() == 1.0


@pytest.mark.parametrize(
    ("total", "wanted", "places"), [(10, 2, [2, 7]), (3, 9, [0, 1, 2]), (4, 1, [2]), (0, 3, [])]
)
def test_places_are_evenly_spaced(total, wanted, places):
    assert every(total, wanted) == places


def test_a_small_split_is_counted_whole(target):
    found, looked = target_distributions(target)
    for place, channel in enumerate(found):
        values = np.concatenate(
            [target.image(sample)[..., place].ravel() for sample in target.split("train")]
        )
        assert channel.zeros == (values == 0).mean()
        assert (channel.low, channel.high) == (values.min(), values.max())
        assert channel.shares.sum() == pytest.approx(1.0)
    assert [channel.mean for channel in found] == target.mean
    assert looked == "every pixel of all 4 samples of train"


def test_of_a_large_split_whole_rows_are_taken(target, monkeypatch):
    # 4 samples of 12 rows and 16 columns are 768 pixels; 200 allow 3 rows of each: the 2nd, 6th and 10th.
    monkeypatch.setattr(channels, "PIXELS", 200)
    found, looked = target_distributions(target)
    rows = np.concatenate(
        [target.image(sample)[[2, 6, 10], :, 0].ravel() for sample in target.split("train")]
    )
    assert found[0].zeros == (rows == 0).mean() and (found[0].low, found[0].high) == (rows.min(), rows.max())
    assert looked == "192 pixels in evenly spaced rows of all 4 samples of train"


def test_photographs_are_taken_at_equal_distances(photographs, monkeypatch):
    monkeypatch.setattr(channels, "PHOTOGRAPHS", 2)
    found, looked = photograph_distributions(photographs)
    # Photographs 2 and 7 of ten, grey of 40 and 140.
    assert [(channel.low, channel.high) for channel in found] == [(40.0, 140.0)] * 3
    assert looked == "every pixel of 2 of the 10 photographs of train"
