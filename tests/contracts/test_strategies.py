"""The contract of every strategy, csp above all: which channels, how often, in what order, whose pixels."""

import itertools
from collections import Counter

import pytest
import torch
from scipy.stats import chisquare

from bench.errors import BenchError, RequestError
from bench.strategies import (
    FILLS,
    SCOPES,
    STRATEGIES,
    apply_plan,
    channel_plan,
    natural_order,
    plan_generator,
)

CHANNELS = range(3, 9)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 5, height: int = 3, width: int = 4) -> torch.Tensor:
    """Return uint8 images in which no two planes of a batch are equal."""
    planes = torch.arange(count * 3 * height * width).remainder(251).to(torch.uint8)
    return planes.view(count, 3, height, width)


def channels_of(strategy: str) -> list[int]:
    return [3] if strategy == "rgb" else list(CHANNELS)


CASES = [(strategy, n) for strategy in STRATEGIES for n in channels_of(strategy)]


@pytest.mark.parametrize(("strategy", "n"), CASES)
def test_every_output_channel_is_a_source_channel_of_its_own_image_pixel_for_pixel(strategy, n):
    images = pictures()
    plan = channel_plan(strategy, n, len(images), generator())
    out = apply_plan(images, plan)
    assert out.shape == (5, n, 3, 4) and out.dtype == torch.uint8
    for b, j in itertools.product(range(5), range(n)):
        assert torch.equal(out[b, j], images[b, plan[b, j]])


@pytest.mark.parametrize(("strategy", "n"), CASES)
def test_every_source_channel_appears_and_counts_differ_by_one_at_most(strategy, n):
    for row in channel_plan(strategy, n, 200, generator()).tolist():
        counts = Counter(row)
        assert set(counts) == {0, 1, 2}
        assert max(counts.values()) - min(counts.values()) <= 1


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


def test_probability_zero_keeps_the_fill_order_and_a_half_keeps_about_half():
    assert torch.equal(
        channel_plan("csp", 5, 4, generator(), probability=0.0), channel_plan("duplicate", 5, 4, generator())
    )
    rows = channel_plan("csp", 8, 2000, generator(), probability=0.5)
    kept = (rows == natural_order(8)).all(1).sum().item()
    # 560 arrangements: a shuffled row shows the fill order by chance with 1/560. Expected 1000 + 2; sd 22.
    assert 900 < kept < 1100


def test_scope_batch_gives_one_order_to_a_batch_and_another_to_the_next():
    plans = [
        channel_plan("csp", 6, 8, plan_generator(7, scope="batch", epoch=0, step=step), scope="batch")
        for step in range(6)
    ]
    assert all(len(set(map(tuple, plan.tolist()))) == 1 for plan in plans)
    assert len({tuple(plan[0].tolist()) for plan in plans}) > 1


def test_scope_epoch_gives_one_order_to_all_batches_of_an_epoch():
    def orders(epoch: int) -> set[tuple[int, ...]]:
        steps = range(10 * epoch, 10 * epoch + 10)
        drawn = (plan_generator(7, scope="epoch", epoch=epoch, step=step) for step in steps)
        return {tuple(row) for g in drawn for row in channel_plan("csp", 6, 4, g, scope="epoch").tolist()}

    assert all(len(orders(epoch)) == 1 for epoch in range(5))
    assert len(set.union(*(orders(epoch) for epoch in range(5)))) > 1


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("fill", FILLS)
def test_a_plan_depends_on_seed_and_step_and_not_on_the_global_state_or_on_how_the_batch_is_split(
    fill, scope
):
    def plan() -> torch.Tensor:
        drawn = plan_generator(11, scope=scope, epoch=2, step=25)
        return channel_plan("csp", 5, 12, drawn, fill=fill, scope=scope)

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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("shuffle", 4), "strategy 'shuffle' is not known; there are rgb, duplicate, csp"),
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
