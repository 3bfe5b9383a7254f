"""What happens to a batch, against timm's own parts, published vectors and the distributions they promise."""

import random

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, ks_2samp, kstest, norm
from timm.data.mixup import Mixup, rand_bbox
from timm.data.random_erasing import RandomErasing

from bench.strategies import apply_plan, channel_plan
from bench.train.mixing import (
    Mix,
    cut_box,
    draw_boxes,
    draw_mix,
    erase,
    mix_images,
    network_inputs,
    soft_targets,
)
from bench.train.noise import normal_noise, philox

MEAN, STD = torch.tensor([124.0, 116.0, 104.0]), torch.tensor([58.0, 57.0, 61.0])


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


# -- noise ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        # Known answers of the authors' Random123 library, tests/kat_vectors, philox4x32 with 10 rounds.
        ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (
            "ffffffff ffffffff ffffffff ffffffff",
            "ffffffff ffffffff",
            "408f276d 41c83b0e a20bc7c6 6d5451fd",
        ),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_published_answers(counter, key, expected):
    # Three times, so that a mix-up of axes shows.
    drawn = philox(torch.tensor(words(counter))[:, None].repeat(1, 3), tuple(words(key)))
    assert drawn.T.tolist() == [words(expected)] * 3


def noise(pixels: int, seed: int = 3, block: int = 0, position: int = 0) -> torch.Tensor:
    index = torch.arange(pixels)
    fixed = [torch.full_like(index, value) for value in (block, position, 0)]
    return normal_noise(torch.stack([index, *fixed]), seed)


def test_noise_is_standard_normal_and_uncorrelated_between_pixels_channels_positions_and_keys():
    one = noise(20000).double()
    for channel in one:
        assert kstest(channel.numpy(), norm.cdf).pvalue > 1e-3
    assert kstest(one.flatten().numpy(), norm.cdf).pvalue > 1e-3
    others = [noise(20000, block=4), noise(20000, position=1), noise(20000, seed=4)]
    rows = torch.cat([one, *(other.double() for other in others), one.roll(1, dims=1)])
    correlation = np.corrcoef(rows.numpy())[np.triu_indices(len(rows), 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(20000)


# -- erasing -------------------------------------------------------------------------------------------------


def timms_boxes(count: int, height: int, width: int, probability: float) -> np.ndarray:
    """Return [count, 4] top, left, height, width as timm's RandomErasing draws them; zeros where it does not."""
    state = random.getstate()
    random.seed(5)
    eraser = RandomErasing(probability, mode="pixel", device="cpu")
    image, found = torch.zeros(1, height, width), np.zeros((count, 4))
    for row in found:
        image.zero_()
        eraser(image)
        rows, columns = (image[0].any(axis).nonzero().flatten() for axis in (1, 0))
        if len(rows):
            row[:] = rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    random.setstate(state)
    return found


def test_boxes_are_distributed_as_timms():
    count, height, width = 8000, 40, 56
    ours = draw_boxes(count, height, width, 0.75, seed=1, step=2)
    oracle = timms_boxes(count, height, width, 0.75)
    mine = np.stack([ours.top, ours.left, ours.height, ours.width], axis=1)
    hit, theirs = mine[:, 2] > 0, oracle[:, 2] > 0
    # Shares of erased images: 0.75 each, sd of the difference 0.007.
    assert abs(hit.mean() - theirs.mean()) < 0.03
    for quantity in (lambda b: b[:, 0], lambda b: b[:, 1], lambda b: b[:, 2], lambda b: b[:, 3],
                     lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 2] / b[:, 3]):  # fmt: skip
        assert ks_2samp(quantity(mine[hit]), quantity(oracle[theirs])).pvalue > 1e-3
    assert (mine[:, 0] + mine[:, 2] <= height).all() and (mine[:, 1] + mine[:, 3] <= width).all()


def test_erasing_in_parts_gives_the_bits_of_the_whole_and_another_step_other_ones():
    whole = torch.zeros(30, 5, 24, 20)
    erase(whole, 0.6, seed=1, step=7)
    parts = [torch.zeros(size, 5, 24, 20) for size in (4, 1, 15, 10)]
    first = 0
    for part in parts:
        erase(part, 0.6, seed=1, step=7, first=first)
        first += len(part)
    assert torch.equal(torch.cat(parts), whole)
    for seed, step in ((1, 8), (2, 7)):
        other = torch.zeros(30, 5, 24, 20)
        erase(other, 0.6, seed=seed, step=step)
        assert not torch.equal(other, whole)


def test_more_channels_leave_the_noise_of_the_first_ones_as_it_was():
    three, six = torch.zeros(20, 3, 24, 24), torch.zeros(20, 6, 24, 24)
    for images in (three, six):
        erase(images, 0.5, seed=1, step=0)
    assert torch.equal(six[:, :3], three) and not torch.equal(six[:, 3:], three)


def test_an_erased_box_holds_the_normal_noise_of_its_units_and_nothing_else_changes():
    images = torch.full((40, 3, 64, 64), -1000.0)
    erase(images, 1.0, seed=2, step=3, mean=MEAN, std=STD)
    boxes = draw_boxes(40, 64, 64, 1.0, seed=2, step=3)
    hit = images != -1000.0
    assert hit.sum().item() == 3 * int((boxes.height * boxes.width).sum())
    for channel in range(3):
        drawn = images[:, channel][hit[:, channel]].double().numpy()
        assert kstest((drawn - MEAN[channel].item()) / STD[channel].item(), norm.cdf).pvalue > 1e-3


def test_no_erasing_leaves_every_bit():
    images = torch.rand(8, 4, 32, 32)
    before = images.clone()
    erase(images, 0.0, seed=1, step=1)
    assert torch.equal(images, before)


# -- order of strategy, normalisation and erasing --------------------------------------------------------------


def batch(count: int = 12, n: int = 5, strategy: str = "csp") -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=draw)
    return images, channel_plan(strategy, n, count, draw)


@pytest.mark.parametrize("strategy", ["duplicate", "csp", "sample", "grey", "weights"])
@pytest.mark.parametrize("normalise_by", ["follow", "position"])
def test_the_order_moves_the_erasing_alone(strategy, normalise_by):
    images, plan = batch(strategy=strategy)

    def inputs(order: str, erasing: float) -> torch.Tensor:
        return network_inputs(
            images, plan, MEAN, STD, normalise_by=normalise_by, order=order, erasing=erasing, seed=1, step=2
        )

    clean, before, after = (
        inputs("before-erasing", 0.0),
        inputs("before-erasing", 0.5),
        inputs("after-erasing", 0.5),
    )
    assert torch.equal(inputs("after-erasing", 0.0), clean)
    boxes = draw_boxes(len(images), 32, 32, 0.5, seed=1, step=2)
    inside = torch.zeros(len(images), 1, 32, 32, dtype=torch.bool)
    for b, (top, left, h, w) in enumerate(zip(boxes.top, boxes.left, boxes.height, boxes.width, strict=True)):
        inside[b, :, top : top + h, left : left + w] = True
    assert 0 < inside.sum() < inside.numel() / 2
    for erased in (before, after):
        torch.testing.assert_close(torch.where(inside, 0, erased), torch.where(inside, 0, clean))
        assert (erased != clean)[inside.expand_as(clean)].float().mean() > 0.99


def test_erased_after_the_strategy_copies_differ_and_erased_before_it_they_are_equal():
    images, plan = batch(strategy="duplicate")
    before, after = (
        network_inputs(images, plan, MEAN, STD, order=order, erasing=1.0, seed=1, step=2)
        for order in ("before-erasing", "after-erasing")
    )
    # duplicate with n = 5: channel 3 is red again.
    assert torch.equal(after[:, 0], after[:, 3]) and not torch.equal(before[:, 0], before[:, 3])


def test_erased_first_the_noise_is_shuffled_with_the_pixels():
    images, plan = batch()
    pixels = images.float()
    erase(pixels, 1.0, seed=1, step=2, mean=MEAN, std=STD)
    expected = (apply_plan(pixels, plan) - MEAN[plan][..., None, None]) / STD[plan][..., None, None]
    got = network_inputs(images, plan, MEAN, STD, order="after-erasing", erasing=1.0, seed=1, step=2)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("strategy", ["csp", "weights"])
@pytest.mark.parametrize("order", ["before-erasing", "after-erasing"])
def test_ranks_and_micro_batches_see_the_rows_of_the_whole(strategy, order):
    images, plan = batch(strategy=strategy)

    def inputs(start: int, stop: int) -> torch.Tensor:
        rows = slice(start, stop)
        return network_inputs(
            images[rows], plan[rows], MEAN, STD, order=order, erasing=0.5, seed=3, step=4, first=start
        )

    parts = [inputs(0, 5), inputs(5, 6), inputs(6, 12)]
    assert torch.equal(torch.cat(parts), inputs(0, 12))


# -- mixup and cutmix ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_with_timms_partners_share_and_box_images_and_targets_are_timms(seed):
    images = torch.randn(6, 3, 17, 17, generator=torch.Generator().manual_seed(seed))
    labels = torch.tensor([0, 3, 1, 4, 2, 2])
    oracle = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=5)
    state = np.random.get_state()
    # timm draws from numpy's global generator: ask it for its share and box first, then let it mix.
    np.random.seed(seed)
    share, cut = oracle._params_per_batch()
    box = tuple(int(edge) for edge in rand_bbox(images.shape, share)) if cut else None
    if box is not None:
        share = 1 - (box[1] - box[0]) * (box[3] - box[2]) / 17**2
    np.random.seed(seed)
    theirs, their_targets = oracle(images.clone(), labels)
    np.random.set_state(state)

    mix = Mix(np.arange(6)[::-1].copy(), share, box)
    torch.testing.assert_close(mix_images(images, mix), theirs)
    torch.testing.assert_close(soft_targets(labels, 5, 0.1, mix), their_targets)


@pytest.mark.parametrize("side", [17, 32])
def test_cutmixs_box_is_timms_for_every_centre(side, monkeypatch):
    for share in (0.05, 0.37, 0.5, 0.93):
        for row, column in ((0, 0), (3, side - 1), (side // 2, side // 2), (side - 1, 5)):
            centres = iter((row, column))
            monkeypatch.setattr(np.random, "randint", lambda *_, centres=centres, **__: next(centres))
            assert cut_box(side, share, row, column) == tuple(rand_bbox((3, side, side), share))


def test_mixes_are_drawn_as_the_recipe_says():
    drawn = [
        draw_mix(8, 32, mixup=0.8, cutmix=1.0, probability=0.6, switch=0.25, seed=1, step=step)
        for step in range(4000)
    ]
    mixed = [mix for mix in drawn if mix is not None]
    cut = sum(mix.box is not None for mix in mixed)
    # 2400 of 4000 (sd 31); of them a quarter cutmix.
    assert abs(len(mixed) - 2400) < 4 * 31 and abs(cut / len(mixed) - 0.25) < 0.04
    shares = [mix.share for mix in mixed if mix.box is None]
    assert kstest(shares, "beta", args=(0.8, 0.8)).pvalue > 1e-3
    # Partners are a uniform permutation: image 0 meets each of the eight equally often.
    assert chisquare(np.bincount([mix.partner[0] for mix in mixed], minlength=8)).pvalue > 1e-3
    assert all(sorted(mix.partner) == list(range(8)) for mix in mixed)


def test_mixup_alone_is_never_cut_and_cutmix_alone_always():
    for step in range(30):
        only = draw_mix(4, 8, mixup=0.8, cutmix=0.0, switch=1.0, seed=1, step=step)
        assert only is not None and only.box is None
        only = draw_mix(4, 8, mixup=0.0, cutmix=1.0, switch=0.0, seed=1, step=step)
        assert only is not None and only.box is not None
    assert draw_mix(4, 8, mixup=0.8, cutmix=1.0, probability=0.0, seed=1, step=0) is None
