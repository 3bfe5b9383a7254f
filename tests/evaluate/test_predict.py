"""Windows cover the image, and each pixel's logits are the mean over its windows."""

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import nn

from bench.errors import BenchError
from bench.evaluate.predict import predict, window_logits, window_starts


class PlaceDependent(nn.Module):
    """A network whose logits at a pixel depend on where the window lies, so that averaging shows."""

    def __init__(self):
        super().__init__()
        weight = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
        self.weight = nn.Parameter(weight)

    def forward(self, image):
        height, width = image.shape[-2:]
        ramp = torch.arange(height)[:, None] * 0.1 - torch.arange(width) * 0.2
        padded = nn.functional.conv2d(image, self.weight, padding=2)
        return padded * (1 + ramp) + image.mean(dim=(1, 2, 3), keepdim=True)


@pytest.fixture
def model():
    return PlaceDependent().eval()


def picture(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def naive(model, image, window, stride, classes):
    """Every window by itself: collect each pixel's logits in a list, then average."""
    height, width = image.shape[-2:]
    seen = [[[] for _ in range(width)] for _ in range(height)]
    top = 0
    while True:
        top = min(top, max(height - window, 0))
        left = 0
        while True:
            left = min(left, max(width - window, 0))
            with torch.inference_mode():
                logits = model(image[None, :, top : top + window, left : left + window])[0]
            for i in range(logits.shape[1]):
                for j in range(logits.shape[2]):
                    seen[top + i][left + j].append(logits[:, i, j])
            if left + window >= width:
                break
            left += stride
        if top + window >= height:
            break
        top += stride
    result = torch.empty(classes, height, width)
    for i in range(height):
        for j in range(width):
            result[:, i, j] = torch.stack(seen[i][j]).mean(0)
    return result


def test_starts_step_by_the_stride_and_end_at_the_border():
    assert window_starts(10, window=4, stride=3) == [0, 3, 6]
    assert window_starts(11, window=4, stride=3) == [0, 3, 6, 7]
    assert window_starts(4, window=4, stride=3) == [0]
    assert window_starts(3, window=4, stride=3) == [0]


@pytest.mark.parametrize("window", range(1, 8))
def test_windows_cover_every_pixel_once_or_more_and_stay_inside(window):
    for size in range(1, 30):
        for stride in range(1, window + 1):
            starts = window_starts(size, window, stride)
            assert starts == sorted(set(starts))
            covered = {pixel for start in starts for pixel in range(start, start + min(window, size))}
            assert covered == set(range(size)), (size, window, stride)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (19, 23), (8, 21), (5, 6)])
@pytest.mark.parametrize(("window", "stride"), [(8, 5), (8, 8), (7, 2)])
def test_logits_are_those_of_a_naive_accumulation(model, height, width, window, stride):
    image = picture(3, height, width)
    expected = naive(model, image, window, stride, 4)
    actual = window_logits(model, image[None], window, stride, 4)[0]
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    assert np.array_equal(predict(model, image, window, stride, 4), expected.numpy().argmax(0))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (19, 23), (40, 9)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_logits_are_those_of_monai(model, height, width, overlap):
    # A window of 8 and overlaps of quarters: MONAI's step, 8 * (1 - overlap), is whole and equals our stride.
    image = picture(2, 3, height, width)
    with torch.inference_mode():
        expected = sliding_window_inference(image, (8, 8), 1, model, overlap=overlap, mode="constant")
    actual = window_logits(model, image, 8, int(8 * (1 - overlap)), 4)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [12, 100])
def test_one_window_is_a_plain_forward_pass(model, window):
    image = picture(3, 12, 9)
    with torch.inference_mode():
        expected = model(image[None])
    assert torch.equal(window_logits(model, image[None], window, 5, 4), expected)
    assert np.array_equal(predict(model, image, window, 5, 4), expected[0].argmax(0).numpy())


def test_ids_are_uint8_in_the_shape_of_the_image(model):
    ids = predict(model, picture(3, 10, 12), 8, 4, 4)
    assert isinstance(ids, np.ndarray) and ids.dtype == np.uint8 and ids.shape == (10, 12)
    assert predict(model, picture(2, 3, 10, 12), 8, 4, 4).shape == (2, 10, 12)


def test_low_precision_logits_are_added_in_float32():
    def half(image):
        return torch.stack([torch.full(image.shape[2:], v) for v in (1.0, 1.0078125)])[None].bfloat16()

    logits = window_logits(half, picture(1, 3, 20, 20), 4, 1, 2)
    # Sixteen windows meet in the middle: a bfloat16 sum would lose the last bit of 16.125.
    assert logits.dtype == torch.float32 and logits[0, :, 10, 10].tolist() == [1.0, 1.0078125]


def test_no_gradient_is_kept(model):
    assert not window_logits(model, picture(1, 3, 10, 10), 8, 4, 4).requires_grad


def test_requests_that_cannot_be_served_are_refused(model):
    image = picture(3, 10, 10)
    with pytest.raises(BenchError, match="window 4, stride 5: expected 0 < stride <= window"):
        predict(model, image, 4, 5, 4)
    with pytest.raises(BenchError, match=r"logits \(1, 4, 8, 8\) for a window; expected \(1, 6, 8, 8\)"):
        predict(model, image, 8, 4, 6)
    with pytest.raises(BenchError, match="256 classes do not fit"):
        predict(model, image, 8, 4, 256)
    with pytest.raises(BenchError, match="the model is in training mode"):
        predict(model.train(), image, 8, 4, 4)
