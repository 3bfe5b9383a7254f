"""Windows of a patch geometry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.catalog.index import CATALOG
from bench.catalog.potsdam import POTSDAM
from bench.data.patches import patch_windows


@pytest.mark.parametrize("name", ["512/512", "512/256"])
def test_potsdams_patch_counts_follow_from_the_sizes_of_its_tiles(name):
    (geometry,) = [item for item in POTSDAM.geometries if item.name == name]
    # 24 and 14 tiles of 6000 x 6000 pixels: 12 x 12 windows every 512 pixels, 23 x 23 every 256.
    each = len(patch_windows(6000, 6000, geometry.patch, geometry.stride))
    assert each == {"512/512": 144, "512/256": 529}[name]
    assert geometry.counts == {"train": 24 * each, "test": 14 * each}
    assert (
        geometry.counts
        == {
            "512/512": {"train": 3_456, "test": 2_016},
            "512/256": {"train": 12_696, "test": 7_406},
        }[name]
    )


def test_the_windows_of_isaid_are_those_of_the_public_converter():
    (geometry,) = CATALOG["isaid"].geometries
    rng = np.random.default_rng(0)
    for height, width in [*rng.integers(300, 5000, (50, 2)).tolist(), (896, 896), (896, 1408), (400, 3000)]:
        # Converter: starts at every 512th pixel, moved back where they leave; names repeat, so files do not.
        starts = {
            (min(top, max(height - 896, 0)), min(left, max(width - 896, 0)))
            for top in range(0, height, 512)
            for left in range(0, width, 512)
        }
        windows = patch_windows(height, width, geometry.patch, geometry.stride)
        assert {window[:2] for window in windows} == starts and len(windows) == len(starts)
        assert {window[2:] for window in windows} == {(min(height, 896), min(width, 896))}


@given(
    height=st.integers(1, 60), width=st.integers(1, 60), patch=st.integers(1, 40), share=st.floats(0.01, 1)
)
@settings(max_examples=200, deadline=None)
def test_every_pixel_is_covered_and_every_window_lies_inside(height, width, patch, share):
    stride = max(1, int(patch * share))
    covered = np.zeros((height, width), int)
    windows = patch_windows(height, width, patch, stride)
    for top, left, down, across in windows:
        assert top >= 0 and left >= 0 and top + down <= height and left + across <= width
        covered[top : top + down, left : left + across] += 1
    assert covered.min() >= 1
    assert len(set(windows)) == len(windows)


@pytest.mark.parametrize(
    ("stride", "height", "words"),
    [(0, 9, "stride 0 of patches of 8 pixels"), (9, 9, "expected 1 to 8"), (4, 0, "0 x 9 pixels")],
)
def test_a_geometry_that_leaves_gaps_is_refused(stride, height, words):
    with pytest.raises(ValueError, match=words):
        patch_windows(height, 9, 8, stride)
