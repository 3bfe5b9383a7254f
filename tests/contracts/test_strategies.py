"""The contract of every strategy, csp above all: which channels, how often, in what order, whose pixels."""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.stats import beta, chisquare, kstest, norm

from bench.errors import BenchError, RequestError
from bench.strategies import (
    FILLS,
    SCOPES,
    STRATEGIES,
    apply_plan,
    channel_plan,
    mixing,
    natural_order,
    plan_generator,
    statistics,
)

CHANNELS = range(3, 9)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 5, height: int = 3, width: int = 4) -> torch.Tensor:
    """Return uint8 images in which no two planes of a batch are equal."""
    planes = torch.arange(count * 3 * height * width).remainder(251).to(torch.uint8)
    return planes.view(count, 3, height, width)


@dataclass(frozen=True)
class Contract:
    """What is promised of a strategy: one row each."""

    share: Callable[[int], np.ndarray]
    """n -> [n, 3]: the expected weight of each source in each output channel."""
    weighted: bool = False
    drawn: bool = False
    balanced: bool = False
    """Each source appears floor(n / 3) or one more times."""
    channels: range = CHANNELS


def fixed(n: int) -> np.ndarray:
    """R G B R G ...: weight 1 at source j mod 3."""
    return np.eye(3)[np.arange(n) % 3]


def shuffled(n: int) -> np.ndarray:
    """Every channel is any of the n filled ones: the share of each source among them."""
    return np.tile(fixed(n).mean(0), (n, 1))


def even(n: int) -> np.ndarray:
    return np.full((n, 3), 1 / 3)


CONTRACTS = {
    "rgb": Contract(fixed, balanced=True, channels=range(3, 4)),
    "duplicate": Contract(fixed, balanced=True),
    "csp": Contract(shuffled, drawn=True, balanced=True),
    "sample": Contract(even, drawn=True),
    "grey": Contract(even, weighted=True),
    "weights": Contract(even, weighted=True, drawn=True),
}
CASES = [(name, n) for name, contract in CONTRACTS.items() for n in contract.channels]
DRAWN = [name for name, contract in CONTRACTS.items() if contract.drawn]


def test_every_strategy_has_its_row():
    assert CONTRACTS.keys() == STRATEGIES.keys()


@pytest.mark.parametrize(("strategy", "n"), CASES)
def test_every_output_pixel_is_the_mixture_that_the_plan_names_and_lies_between_the_sources(strategy, n):
    images = pictures()
    plan = channel_plan(strategy, n, len(images), generator())
    out, weighted = apply_plan(images, plan), CONTRACTS[strategy].weighted
    assert out.shape == (5, n, 3, 4) and out.dtype == (torch.float32 if weighted else torch.uint8)
    for b, j in itertools.product(range(5), range(n)):
        if not weighted:
            assert torch.equal(out[b, j], images[b, plan[b, j]])
            continue
        own = images[b].double()
        expected = sum(w * own[c] for c, w in enumerate(plan[b, j].double()))
        torch.testing.assert_close(out[b, j].double(), expected, rtol=1e-6, atol=1e-4)
        assert (out[b, j] >= own.amin(0) - 1e-4).all() and (out[b, j] <= own.amax(0) + 1e-4).all()


@pytest.mark.parametrize(("strategy", "n"), CASES)
def test_weights_are_not_negative_and_sum_to_one(strategy, n):
    share = mixing(channel_plan(strategy, n, 50, generator()))
    assert share.shape == (50, n, 3) and (share >= 0).all()
    torch.testing.assert_close(share.sum(-1), torch.ones(50, n))


@pytest.mark.parametrize(("strategy", "n"), CASES)
def test_the_mean_weight_of_each_source_in_each_channel_is_the_strategys(strategy, n):
    draws = 4000
    share = mixing(channel_plan(strategy, n, draws, generator(4))).double().mean(0).numpy()
    expected = CONTRACTS[strategy].share(n)
    # The variance of a weight is at most p (1 - p), that of a one-or-nothing draw; 5 sd over at most 24 cells.
    deviation = np.sqrt(expected * (1 - expected) / draws) if CONTRACTS[strategy].drawn else 0.0
    assert (np.abs(share - expected) <= 5 * deviation + 1e-6).all()


@pytest.mark.parametrize(("strategy", "n"), CASES)
def test_statistics_follow_the_channels(strategy, n):
    # A picture of the sources' means becomes 0 and one a standard deviation above them 1, whatever the weights.
    mean, std = torch.tensor([124.0, 116.0, 104.0]), torch.tensor([58.0, 57.0, 61.0])
    plan = channel_plan(strategy, n, 7, generator(5))
    shift, scale = statistics(plan, mean, std)
    assert shift.shape == scale.shape == (7, n)
    for sources, value in ((mean, 0.0), (mean + std, 1.0)):
        out = apply_plan(sources.view(1, 3, 1, 1).expand(7, 3, 2, 2), plan)
        normalised = (out - shift[..., None, None]) / scale[..., None, None]
        torch.testing.assert_close(normalised, torch.full((7, n, 2, 2), value), rtol=0, atol=1e-5)


def test_the_std_of_a_mixture_is_never_below_its_true_one_and_equal_for_sources_in_step():
    drawn = torch.randn(3, 20000, generator=generator(6)).double()
    mixer = torch.tensor([[2.0, 0.5, 0.1], [0.0, 1.0, 0.7], [0.0, 0.0, 3.0]]).double()
    plan = channel_plan("weights", 4, 30, generator(7))
    for sources in (mixer @ drawn, torch.tensor([[2.0], [1.0], [3.0]]).double() * drawn[:1]):
        _, scale = statistics(plan, sources.mean(1).float(), sources.std(1).float())
        true = (plan.double() @ sources).std(-1)
        assert (scale >= true - 1e-3).all()
    torch.testing.assert_close(scale.double(), true, rtol=1e-4, atol=0)


@pytest.mark.parametrize("strategy", DRAWN)
def test_statistics_by_position_stay_whatever_is_drawn(strategy):
    mean, std = torch.tensor([124.0, 116.0, 104.0]), torch.tensor([58.0, 57.0, 61.0])
    shift, scale = statistics(channel_plan(strategy, 5, 6, generator()), mean, std, "position")
    assert shift.tolist() == [[124.0, 116.0, 104.0, 124.0, 116.0]] * 6
    assert scale.tolist() == [[58.0, 57.0, 61.0, 58.0, 57.0]] * 6
    with pytest.raises(RequestError, match="normalise 'image' is not known; there are follow, position"):
        statistics(channel_plan(strategy, 5, 6, generator()), mean, std, "image")


BALANCED = [(name, n) for name, n in CASES if CONTRACTS[name].balanced]


@pytest.mark.parametrize(("strategy", "n"), BALANCED)
def test_every_source_channel_appears_and_counts_differ_by_one_at_most(strategy, n):
    for row in channel_plan(strategy, n, 200, generator()).tolist():
        counts = Counter(row)
        assert set(counts) == {0, 1, 2}
        assert max(counts.values()) - min(counts.values()) <= 1


def test_sample_is_uniform_over_all_sequences_of_sources():
    seen = Counter(map(tuple, channel_plan("sample", 4, 8100, generator(8)).tolist()))
    # 3 ** 4 = 81 sequences, 100 draws each.
    assert chisquare([seen[row] for row in itertools.product(range(3), repeat=4)]).pvalue > 1e-3


def test_weights_are_uniform_over_the_simplex():
    share = channel_plan("weights", 3, 3000, generator(9)).double()
    # The marginals of Dirichlet(1, 1, 1) are Beta(1, 2), and so is each channel's, independently of the others.
    for j, c in itertools.product(range(3), range(3)):
        assert kstest(share[:, j, c].numpy(), beta(1, 2).cdf).pvalue > 1e-3
    # And the three regions where one source leads are equally likely.
    assert chisquare(torch.bincount(share.argmax(-1).flatten(), minlength=3).numpy()).pvalue > 1e-3
    between = np.corrcoef(share[:, 0, 0].numpy(), share[:, 1, 0].numpy())[0, 1]
    assert abs(between) < norm.ppf(0.9995) / np.sqrt(3000)


def test_grey_shows_the_channel_mean_in_every_channel():
    images = pictures()
    out = apply_plan(images, channel_plan("grey", 4, len(images), generator()))
    torch.testing.assert_close(out, images.float().mean(1, keepdim=True).expand(-1, 4, -1, -1))


@pytest.mark.parametrize("n", CHANNELS)
def test_cycle_fill_gives_red_then_green_the_channel_that_is_left_over(n):
    # R G B R G B R G: n = 3k + r gives each source k, and the first r of them one more.
    expected = [n // 3 + (source < n % 3) for source in range(3)]
    for row in channel_plan("csp", n, 100, generator(), fill="cycle"):
        assert torch.bincount(row, minlength=3).tolist() == expected


@pytest.mark.parametrize("n", [n for n in CHANNELS if n % 3])
def test_random_fill_repeats_each_source_equally_often(n):
    rows = channel_plan("csp", n, 3000, generator(), fill="random")
    counts = torch.stack([(rows == source).sum(1) for source in range(3)], dim=1)
    repeated = (counts > n // 3).sum(0)  # how often each source is among the n mod 3 that appear once more
    assert repeated.sum() == 3000 * (n % 3)
    assert chisquare(repeated.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("n", CHANNELS)
def test_order_differs_between_images(n):
    rows = channel_plan("csp", n, 50, generator()).tolist()
    assert len(set(map(tuple, rows))) > 3


@pytest.mark.parametrize("n", CHANNELS)
def test_csp_is_uniform_over_the_distinct_arrangements(n):
    # R..R G..G B..B in all distinct orders: n! / (a! b! c!) of them, 6 for n = 3 and 560 for n = 8.
    arrangements = sorted(set(itertools.permutations(natural_order(n).tolist())))
    draws = 40 * len(arrangements)
    seen = Counter(map(tuple, channel_plan("csp", n, draws, generator(1)).tolist()))
    assert set(seen) <= set(arrangements)
    assert chisquare([seen[arrangement] for arrangement in arrangements]).pvalue > 1e-3


@pytest.mark.parametrize("n", CHANNELS)
def test_four_independent_ways_to_arrange_channels_agree_bit_for_bit(n):
    images = torch.randint(0, 256, (6, 3, 5, 7), dtype=torch.uint8, generator=generator(2))
    plan = channel_plan("csp", n, 6, generator(3))
    ours = apply_plan(images, plan)
    loop = torch.stack([torch.stack([images[b, c] for c in plan[b].tolist()]) for b in range(6)])
    gathered = images.gather(1, plan[:, :, None, None].expand(-1, -1, 5, 7))
    # One-hot matmul: out[b] = onehot[b] @ images[b]; float64 holds 0..255 exactly.
    onehot = torch.nn.functional.one_hot(plan, 3).double()
    product = torch.einsum("bjc,bchw->bjhw", onehot, images.double()).to(torch.uint8)
    for other in (loop, gathered, product):
        assert torch.equal(ours, other)


def test_rgb_is_the_identity():
    images = pictures()
    assert torch.equal(apply_plan(images, channel_plan("rgb", 3, len(images), generator())), images)


def test_duplicate_is_red_green_blue_red_green_for_every_image():
    assert channel_plan("duplicate", 5, 2, generator()).tolist() == [[0, 1, 2, 0, 1]] * 2


def test_csp_on_three_channels_only_permutes():
    for row in channel_plan("csp", 3, 20, generator()).tolist():
        assert sorted(row) == [0, 1, 2]


@pytest.mark.parametrize("strategy", DRAWN)
def test_probability_zero_is_duplicate_and_a_half_keeps_half_of_the_very_draws_of_one(strategy):
    def plan(probability: float, images: int = 2000) -> torch.Tensor:
        return mixing(channel_plan(strategy, 8, images, generator(10), probability=probability))

    plain = mixing(channel_plan("duplicate", 8, 2000, generator()))
    assert torch.equal(plan(0.0), plain)
    half, whole = plan(0.5), plan(1.0)
    drawn, kept = ((half == other).flatten(1).all(1) for other in (whole, plain))
    assert (drawn | kept).all()
    # Expected 1000, sd 22; a draw that shows the fill order by chance (csp: 1 in 560) changes nothing here.
    assert 890 < int((drawn & ~kept).sum()) < 1110


@pytest.mark.parametrize("fill", FILLS)
def test_csp_that_never_shuffles_keeps_its_fill(fill):
    plan = channel_plan("csp", 5, 50, generator(), fill=fill, probability=0.0)
    assert torch.equal(plan[:, :3], natural_order(3).expand(50, 3))
    assert (len(set(map(tuple, plan.tolist()))) == 1) == (fill == "cycle")


def arrangements(plan: torch.Tensor) -> set[tuple[float, ...]]:
    return set(map(tuple, plan.flatten(1).tolist()))


@pytest.mark.parametrize("strategy", DRAWN)
def test_scope_batch_gives_one_arrangement_to_a_batch_and_another_to_the_next(strategy):
    plans = [
        channel_plan(strategy, 6, 8, plan_generator(7, scope="batch", epoch=0, step=step), scope="batch")
        for step in range(6)
    ]
    assert all(len(arrangements(plan)) == 1 for plan in plans)
    assert len(set.union(*map(arrangements, plans))) > 1


@pytest.mark.parametrize("strategy", DRAWN)
def test_scope_epoch_gives_one_arrangement_to_all_batches_of_an_epoch(strategy):
    def orders(epoch: int) -> set[tuple[float, ...]]:
        steps = range(10 * epoch, 10 * epoch + 10)
        drawn = (plan_generator(7, scope="epoch", epoch=epoch, step=step) for step in steps)
        return set.union(*(arrangements(channel_plan(strategy, 6, 4, g, scope="epoch")) for g in drawn))

    assert all(len(orders(epoch)) == 1 for epoch in range(5))
    assert len(set.union(*(orders(epoch) for epoch in range(5)))) > 1


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(("strategy", "fill"), [*((name, "cycle") for name in DRAWN), ("csp", "random")])
def test_a_plan_depends_on_seed_and_step_and_not_on_the_global_state_or_on_how_the_batch_is_split(
    strategy, fill, scope
):
    def plan() -> torch.Tensor:
        drawn = plan_generator(11, scope=scope, epoch=2, step=25)
        return channel_plan(strategy, 5, 12, drawn, fill=fill, scope=scope)

    whole = plan()
    torch.manual_seed(99)
    images = pictures(12)
    out = apply_plan(images, whole)
    # Three ranks with two micro-batches each: every one draws the global plan and takes its rows.
    parts = [apply_plan(images[i : i + 2], plan()[i : i + 2]) for i in range(0, 12, 2)]
    assert torch.equal(torch.cat(parts), out)


def test_another_step_or_seed_gives_another_plan():
    def plan(seed: int, step: int) -> torch.Tensor:
        return channel_plan("csp", 8, 16, plan_generator(seed, scope="image", epoch=0, step=step))

    assert not torch.equal(plan(0, 0), plan(0, 1))
    assert not torch.equal(plan(0, 0), plan(1, 0))


@pytest.mark.parametrize("strategy", DRAWN)
def test_an_images_draw_does_not_depend_on_the_size_of_the_global_batch_behind_it(strategy):
    # A longer batch extends the shorter one's draws where each image has as many numbers: all but csp's fill.
    longer, shorter = (channel_plan(strategy, 4, images, generator(12)) for images in (9, 6))
    assert torch.equal(longer[:6], shorter)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("shuffle", 4), "strategy 'shuffle' is not known; there are rgb, duplicate, csp, sample"),
        (("csp", 2), "n = 2 cannot hold"),
        (("duplicate", 0), "n = 0 cannot hold"),
        (("rgb", 4), "found n = 4: use duplicate or csp"),
    ],
)
def test_an_impossible_plan_is_refused_with_a_sentence(words, message):
    with pytest.raises(RequestError, match=message):
        channel_plan(*words, 2, generator())


@pytest.mark.parametrize("wrong", [{"fill": "mirror"}, {"scope": "pixel"}, {"probability": 1.5}])
def test_an_unknown_setting_is_refused(wrong):
    with pytest.raises(RequestError, match=r"not known|lies in \[0, 1\]"):
        channel_plan("csp", 4, 2, generator(), **wrong)


def test_a_plan_for_another_number_of_images_is_refused():
    with pytest.raises(BenchError, match="one row an image"):
        apply_plan(pictures(4), channel_plan("csp", 4, 3, generator()))
