"""The strategies' picture shows every strategy as it is: its planes, its mixtures, its colours."""

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from bench.errors import RequestError
from bench.look.strategies import shown, source_name, strategy_figure, tinted, weights_of
from bench.strategies import STRATEGIES

IDENTITY = np.eye(3)


@pytest.fixture
def images():
    return torch.randint(0, 256, (3, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_every_strategy_is_shown_and_rgb_keeps_three_channels(images):
    found = shown(images, 5, seed=0)
    assert {entry.name for entry in found} == set(STRATEGIES)
    assert {entry.name: entry.planes_NCHW.shape[1] for entry in found} == dict.fromkeys(STRATEGIES, 5) | {
        "rgb": 3
    }


@pytest.mark.parametrize("n", [3, 4, 5])
def test_what_is_written_under_a_channel_is_what_it_shows(images, n):
    for entry in shown(images, n, seed=1):
        # The mixture, computed by hand from the shares; rounding to 8 bits is at most half a step.
        mixed = np.einsum("bjs,bshw->bjhw", entry.weights_NCS, images.numpy().astype(float))
        assert np.abs(mixed - entry.planes_NCHW).max() <= 0.51, entry.name
        assert entry.weights_NCS.sum(axis=2) == pytest.approx(1.0, abs=1e-5)


def test_csp_is_shown_with_both_fills_where_they_differ(images):
    fills = [[entry.words for entry in shown(images, n, seed=0) if entry.name == "csp"] for n in (3, 4)]
    assert fills == [[""], ["fill: cycle", "fill: random"]]


def test_the_weights_of_a_selection_are_ones_and_zeros():
    plan = torch.tensor([[2, 0, 1, 2]])
    assert np.array_equal(weights_of(plan)[0], IDENTITY[[2, 0, 1, 2]])


def test_a_channel_is_tinted_in_the_colour_of_its_source():
    plane_HW = np.array([[0, 200]], np.uint8)
    assert tinted(plane_HW, IDENTITY[0]).tolist() == [[[0, 0, 0], [200, 0, 0]]]
    assert tinted(plane_HW, np.full(3, 1 / 3)).tolist() == [[[0, 0, 0], [200, 200, 200]]]


def test_sources_are_named_by_letter_or_by_share():
    assert [source_name(row) for row in IDENTITY] == ["R", "G", "B"]
    assert source_name(np.array([0.5, 0.25, 0.25])) == "R50 G25 B25"


def test_the_figure_names_strategies_and_is_the_same_for_the_same_seed(photographs):
    drawn = [
        strategy_figure(photographs, "train", 4, seed=seed, title="T", stamp="MINIATURE") for seed in (0, 0)
    ]
    words = {text.get_text() for text in drawn[0].figure.findobj(Text)}
    assert {"MINIATURE", "photograph", *STRATEGIES} <= words
    # A photograph and, of each, rgb's three channels, csp twice and every other strategy once with four.
    assert len(drawn[0].pictures) == 3 * (1 + 3 + 4 * len(STRATEGIES))
    assert np.array_equal(drawn[0].pixels(), drawn[1].pixels())


def test_fewer_than_three_channels_are_refused(photographs):
    with pytest.raises(RequestError, match="which n = 2 cannot hold"):
        strategy_figure(photographs, "train", 2, seed=0, title="T")
