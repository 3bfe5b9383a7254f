"""Each disturbance changes what it says and nothing else."""

import itertools

import pytest
import torch

from bench.errors import RequestError
from bench.evaluate.spectral import disturbances, drawn_orders

MEAN, STD = torch.tensor([10.0, 20.0, 30.0, 5.0]), torch.tensor([2.0, 4.0, 8.0, 1.0])
CHANNELS = ("red", "green", "blue", "thermal")


@pytest.fixture
def window():
    return torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0)) * STD.view(4, 1, 1) + MEAN.view(
        4, 1, 1
    )


def suite(*words):
    return disturbances(words, CHANNELS, MEAN, STD, seed=3)


def standard(window):
    return (window - MEAN.view(4, 1, 1)) / STD.view(4, 1, 1)


def test_reversed_exchanges_the_standardised_channels(window):
    changed = suite("reversed")["reversed"](window)
    torch.testing.assert_close(standard(changed), standard(window).flip(0))


def test_orders_are_permutations_drawn_once_each(window):
    found = suite("orders:5")
    assert list(found) == [f"order{k}" for k in range(1, 6)]
    seen = set()
    for change in found.values():
        z, before = standard(change(window)), standard(window)
        order = [next(j for j in range(4) if torch.allclose(z[i], before[j], atol=1e-5)) for i in range(4)]
        assert sorted(order) == [0, 1, 2, 3]
        seen.add(tuple(order))
    assert len(seen) == 5 and not seen & {(0, 1, 2, 3), (3, 2, 1, 0)}


def test_few_channels_have_all_their_orders():
    others = set(itertools.permutations(range(3))) - {(0, 1, 2), (2, 1, 0)}
    assert set(drawn_orders(3, 99, seed=0)) == others and drawn_orders(3, 4, seed=7) == sorted(others)
    assert drawn_orders(5, 6, seed=1) == drawn_orders(5, 6, seed=1) != drawn_orders(5, 6, seed=2)


@pytest.mark.parametrize(
    ("word", "name", "expected"),
    [
        ("mean", "mean/blue", lambda x: torch.full_like(x, 30.0)),
        ("gain:0.5", "gain0.5/blue", lambda x: x * 0.5),
        ("offset:-1.5", "offset-1.5/blue", lambda x: x - 1.5 * 8.0),
    ],
)
def test_one_channel_changes_at_a_time(window, word, name, expected):
    before = window.clone()
    found = suite(word)
    assert len(found) == 4
    changed = found[name](window)
    torch.testing.assert_close(changed[2], expected(before[2]))
    assert torch.equal(changed[[0, 1, 3]], before[[0, 1, 3]]) and torch.equal(window, before)


@pytest.mark.parametrize(
    "word", ["reverse", "orders:", "orders:two", "mean:3", "gain", "gain:x", "offset:inf"]
)
def test_unknown_words_are_refused(word):
    with pytest.raises(RequestError, match=f"spectral '{word}': expected reversed, orders:K, mean"):
        suite(word)
