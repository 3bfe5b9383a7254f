"""Resizing and pooling as matrix products are torch's own, forward and backward."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bench.models.resizing import averages, bilinear, pool, resize
from bench.models.upernet import Segmenter

SIZES = [(1, 1), (2, 3), (7, 7), (7, 11), (16, 16), (13, 28)]


@pytest.fixture
def deterministic():
    """Deterministic algorithms are asked for, as BENCH_DETERMINISTIC=1 does."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def values(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_same(ours, theirs, x_NCHW):
    """Compare output and gradient of two functions, relative to the largest value of each."""
    one, other = x_NCHW.clone().requires_grad_(), x_NCHW.clone().requires_grad_()
    found, expected = ours(one), theirs(other)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    upstream = values(*expected.shape, seed=9)
    found.backward(upstream)
    expected.backward(upstream)
    for actual, wanted in ((found, expected), (one.grad, other.grad)):
        torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-5 * wanted.abs().max().item())


@pytest.mark.parametrize("cells", [1, 2, 3, 6])
@pytest.mark.parametrize("size", SIZES)
def test_pooling_is_torchs(deterministic, size, cells):
    assert_same(lambda x: pool(x, cells), lambda x: F.adaptive_avg_pool2d(x, cells), values(2, 3, *size))


@pytest.mark.parametrize("wanted", [(7, 7), (8, 5), (28, 52), (129, 64)])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (6, 6), (7, 13), (32, 40)])
def test_resizing_is_torchs_larger_and_smaller(deterministic, size, wanted):
    assert_same(
        lambda x: resize(x, wanted),
        lambda x: F.interpolate(x, size=wanted, mode="bilinear", align_corners=False),
        values(2, 3, *size),
    )


def test_a_line_of_four_pixels_resized_to_two_and_to_eight():
    # Two from four: centres at 1/2 and 5/2, halfway between neighbours.
    assert bilinear(4, 2).tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
    # Eight from four: centres at -1/4 (held at 0), 1/4, 3/4, 5/4, ...; beyond the last centre the last pixel.
    assert bilinear(4, 8)[:3].tolist() == [[1, 0, 0, 0], [0.75, 0.25, 0, 0], [0.25, 0.75, 0, 0]]
    assert bilinear(4, 8)[-1].tolist() == [0, 0, 0, 1]


def test_cells_that_do_not_divide_a_line_overlap():
    # Five pixels in three cells: 0..1, 1..3, 3..4 (floor and ceiling of multiples of 5/3).
    third = np.float32(1 / 3)
    assert averages(5, 3).tolist() == [[0.5, 0.5, 0, 0, 0], [0, third, third, third, 0], [0, 0, 0, 0.5, 0.5]]


def test_low_precision_comes_back_in_its_type_and_is_computed_in_float32(deterministic):
    x = values(2, 3, 7, 7).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = resize(x, (28, 28))
    assert found.dtype == torch.bfloat16
    exact = F.interpolate(x.float(), size=(28, 28), mode="bilinear", align_corners=False)
    assert torch.equal(found, exact.bfloat16()) or (found - exact).abs().max() <= 2**-8 * exact.abs().max()


def test_prediction_leaves_nothing_behind_that_training_cannot_use(deterministic):
    x = values(1, 2, 5, 5)
    with torch.inference_mode():
        resize(x, (9, 9)), pool(x, 2)
    y = x.clone().requires_grad_()
    (resize(y, (9, 9)).sum() + pool(y, 2).sum()).backward()
    assert y.grad is not None


@pytest.mark.parametrize("size", [(64, 64), (72, 100)])
def test_a_segmenter_has_the_same_logits_and_gradients_either_way(architecture, size):
    from bench.models.initial import initialise

    found = {}
    for asked in (False, True):
        model = Segmenter(architecture, 4, 5, dropout=0.0, head_channels=16, aux_channels=8).train()
        initialise(model, "finetune", 0, 0, layer_scale=0.5)
        # Batch norm over the two values of a 1 x 1 pooled map would enlarge float32's rounding.
        model.double()
        torch.use_deterministic_algorithms(asked, warn_only=True)
        try:
            logits, auxiliary = model(values(2, 4, *size).double())
            (logits.square().mean() + auxiliary.square().mean()).backward()
        finally:
            torch.use_deterministic_algorithms(False)
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        found[asked] = (logits.detach(), auxiliary.detach(), gradient)
    for other, own in zip(found[True], found[False], strict=True):
        assert (other - own).norm() <= 1e-5 * own.norm()
    assert not torch.equal(found[True][2], found[False][2])  # they went two ways
