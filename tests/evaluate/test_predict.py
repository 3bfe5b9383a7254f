"""Windows cover the image, and each pixel's logits are the mean over its windows."""

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import nn

from bench.data.transforms import normalise
from bench.errors import BenchError, RequestError
from bench.evaluate.predict import (
    Sliding,
    Views,
    logit_bands,
    predict,
    predict_image,
    window_starts,
)
from bench.evaluate.scenes import StoredScene, TensorScene, resized


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

    def single(self, images):
        """The same, one image after the other: no sum depends on how many there are."""
        with torch.inference_mode():
            return torch.cat([self(image[None]) for image in images])


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


def whole(model, image, window, stride, classes=4, *, batch=1, memory=1 << 30, along=None):
    """The bands put together: [classes, H, W]."""
    how = Sliding(window=window, stride=stride, classes=classes, batch=batch, memory=memory)
    result = torch.full((classes, *image.shape[1:]), torch.nan)
    for rows, columns, logits in logit_bands(model, TensorScene(image), how, along=along):
        assert result[:, rows, columns].isnan().all()  # each pixel comes once
        result[:, rows, columns] = logits
    return result


@pytest.mark.parametrize(("height", "width"), [(16, 16), (19, 23), (8, 21), (5, 6), (23, 5)])
@pytest.mark.parametrize(("window", "stride"), [(8, 5), (8, 8), (7, 2)])
def test_logits_are_those_of_a_naive_accumulation(model, height, width, window, stride):
    image = picture(3, height, width)
    expected = naive(model, image, window, stride, 4)
    torch.testing.assert_close(whole(model, image, window, stride), expected, rtol=1e-5, atol=1e-5)
    ids = predict_image(model, image, window, stride, 4)
    assert np.array_equal(ids, expected.numpy().argmax(0))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (19, 23), (40, 9)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_logits_are_those_of_monai(model, height, width, overlap):
    # A window of 8 and overlaps of quarters: MONAI's step, 8 * (1 - overlap), is whole and equals our stride.
    image = picture(3, height, width)
    with torch.inference_mode():
        expected = sliding_window_inference(image[None], (8, 8), 1, model, overlap=overlap, mode="constant")
    actual = whole(model, image, 8, int(8 * (1 - overlap)))
    torch.testing.assert_close(actual, expected[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(61, 17), (17, 61), (30, 30)])
def test_the_height_of_the_bands_changes_no_bit(model, height, width):
    image = picture(3, height, width)
    bands = []
    for lines in (1, 2, 3, 100):
        # A pixel takes 4 sums of 4 bytes, a count of visits (4), and for its argmax 4 + 8 + 1.
        memory = (4 * 4 + 17) * min(height, width) * (8 + (lines - 1) * 3)
        how = Sliding(window=8, stride=3, classes=4, memory=memory)
        assert how.lines((height, width)) == lines
        bands.append(len(list(logit_bands(model, TensorScene(image), how))))
        assert torch.equal(
            whole(model, image, 8, 3, memory=memory), whole(model, image, 8, 3, memory=1 << 30)
        )
    assert bands[0] > bands[1] > bands[2] > bands[3] == 1


def test_the_logits_held_are_those_of_one_band(model):
    # 200 rows of 10 pixels in windows of 8: no band has more than a window's rows.
    how = Sliding(window=8, stride=3, classes=4, memory=(4 * 4 + 17) * 10 * 8)
    heights = [band.shape[1] for *_, band in logit_bands(model, TensorScene(picture(3, 200, 10)), how)]
    assert max(heights) == 8 and sum(heights) == 200 and len(heights) > 60


def test_windows_that_share_a_forward_pass_give_what_single_ones_give(model):
    image = picture(3, 40, 33)
    one, four = (whole(model.single, image, 8, 3, batch=batch) for batch in (1, 4))
    torch.testing.assert_close(one, four, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("window", [12, 100])
def test_one_window_is_a_plain_forward_pass(model, window):
    image = picture(3, 12, 9)
    with torch.inference_mode():
        expected = model(image[None])[0]
    assert torch.equal(whole(model, image, window, 5), expected)


def test_each_window_is_told_of_by_itself(model):
    image, seen = picture(3, 20, 12), {}
    how = Sliding(window=8, stride=6, classes=4)
    predict(
        model,
        TensorScene(image),
        how,
        seen=lambda top, left, logits: seen.update({(top, left): logits.clone()}),
    )
    assert sorted(seen) == [(top, left) for top in (0, 6, 12) for left in (0, 4)]
    with torch.inference_mode():
        assert torch.equal(seen[6, 4], model(image[None, :, 6:14, 4:12])[0])


def stored_scene(pixels_HWC, **more):
    mean, std = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 3.0, 4.0])
    return StoredScene(
        shape=pixels_HWC.shape[:2],
        read=lambda rows, columns: np.ascontiguousarray(pixels_HWC[rows, columns].transpose(2, 0, 1)),
        mean=mean,
        std=std,
        device=torch.device("cpu"),
        **more,
    )


def test_a_stored_scene_is_read_in_windows_and_normalised():
    pixels = picture(20, 12, 3).numpy()
    asked = []
    scene = stored_scene(pixels)
    counting = StoredScene(**{**vars(scene), "read": lambda r, c: asked.append((r, c)) or scene.read(r, c)})
    window = counting.window(6, 4, 8, 5)
    expected = (
        torch.from_numpy(pixels[6:14, 4:9]).permute(2, 0, 1) - scene.mean.view(3, 1, 1)
    ) / scene.std.view(3, 1, 1)
    torch.testing.assert_close(window, expected)
    assert asked == [(slice(6, 14), slice(4, 9))]


def test_a_small_scene_is_filled_up_with_stored_zeros_which_are_cut_off_again(model):
    pixels = picture(6, 20, 3).numpy()
    shapes = []
    spy = lambda windows: shapes.append(windows.shape) or model.single(windows)  # noqa: E731
    ids = predict(spy, stored_scene(pixels, least=8), Sliding(window=8, stride=8, classes=4))
    assert ids.shape == (6, 20) and {tuple(shape[2:]) for shape in shapes} == {(8, 8)}
    window = stored_scene(pixels, least=8).window(0, 0, 6, 8)
    # A stored 0 normalises to -mean / std.
    torch.testing.assert_close(window[:, 7, 0], torch.tensor([-1 / 2, -2 / 3, -3 / 4]))


def smooth(windows):
    """A network without borders: logits are a pixel's own channels and their sum."""
    return torch.cat([windows, windows.sum(1, keepdim=True)], dim=1)


@pytest.mark.parametrize("shape", [(40, 23), (23, 40)])
def test_views_average_the_probabilities_of_the_whole_resized_scene(shape):
    pixels = np.random.default_rng(0).normal(0, 4, (*shape, 3)).astype(np.float32)
    scene, how = stored_scene(pixels), Sliding(window=8, stride=5, classes=4)
    found = predict(smooth, scene, how, Views(scales=(0.5, 1.0, 1.5)))
    # The oracle resizes whole scenes and whole logits with torch.
    plain = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    total = torch.zeros(1, 4, *shape)
    for ratio in (0.5, 1.0, 1.5):
        size = [round(ratio * side) for side in shape]
        view = torch.nn.functional.interpolate(plain, size=size, mode="bilinear", align_corners=False)
        logits = smooth(normalise(view, scene.mean, scene.std))
        total += torch.nn.functional.interpolate(logits, size=shape, mode="bilinear").softmax(1)
    top_two = total[0].topk(2, dim=0).values
    certain = (top_two[0] - top_two[1] > 1e-4).numpy()
    assert certain.mean() > 0.99
    assert np.array_equal(found[certain], total[0].argmax(0).numpy()[certain])


def test_the_memory_holds_a_band_of_every_view_or_the_request_is_refused():
    # A pixel takes 33 bytes. Bands of 8 rows: 10 columns for the mean, twice 10, 5 and 15 for the views.
    scene = stored_scene(picture(40, 10, 3).numpy())
    needed = 33 * 8 * (10 + 2 * (10 + 5 + 15))
    views = Views(scales=(0.5, 1.0, 1.5))
    predict(smooth, scene, Sliding(window=8, stride=5, classes=4, memory=needed), views)
    with pytest.raises(
        RequestError, match=r"a scene of 40 x 10 pixels in 4 classes, in all its views, takes"
    ):
        predict(smooth, scene, Sliding(window=8, stride=5, classes=4, memory=needed - 1), views)


def test_flip_adds_the_mirrored_windows(model):
    image = picture(3, 9, 11)
    how = Sliding(window=16, stride=16, classes=4)
    found = predict(model, TensorScene(image), how, Views(flip=True))
    with torch.inference_mode():
        expected = model(image[None]).softmax(1) + model(image[None].flip(-1)).flip(-1).softmax(1)
    assert np.array_equal(found, expected[0].argmax(0).numpy())


def test_a_resized_scene_is_the_whole_one_resized_at_once():
    pixels = picture(30, 20, 3).numpy()
    big = resized(stored_scene(pixels), 1.7)
    assert big.shape == (51, 34)
    window = big.window(11, 5, 9, 20)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(pixels).permute(2, 0, 1)[None], size=(51, 34), mode="bilinear", align_corners=False
    )
    expected = normalise(expected, big.mean, big.std)[0, :, 11:20, 5:25]
    torch.testing.assert_close(window, expected, rtol=1e-4, atol=1e-5)


def test_ids_are_uint8_in_the_shape_of_the_image(model):
    ids = predict_image(model, picture(3, 10, 12), 8, 4, 4)
    assert isinstance(ids, np.ndarray) and ids.dtype == np.uint8 and ids.shape == (10, 12)


def test_low_precision_logits_are_added_in_float32():
    def half(image):
        return torch.stack([torch.full(image.shape[2:], v) for v in (1.0, 1.0078125)])[None].bfloat16()

    logits = whole(half, picture(3, 20, 20), 4, 1, 2)
    # Sixteen windows meet in the middle: a bfloat16 sum would lose the last bit of 16.125.
    assert logits.dtype == torch.float32 and logits[:, 10, 10].tolist() == [1.0, 1.0078125]


def test_no_gradient_is_kept(model):
    assert not whole(model, picture(3, 10, 10), 8, 4).requires_grad


def test_requests_that_cannot_be_served_are_refused(model):
    image = picture(3, 10, 10)
    with pytest.raises(BenchError, match="window 4, stride 5: expected 0 < stride <= window"):
        predict_image(model, image, 4, 5, 4)
    with pytest.raises(BenchError, match=r"logits \(1, 4, 8, 8\) for a window; expected \(1, 6, 8, 8\)"):
        predict_image(model, image, 8, 4, 6)
    with pytest.raises(BenchError, match="256 classes do not fit"):
        predict_image(model, image, 8, 4, 256)
    with pytest.raises(BenchError, match=r"scale 0\.5: only a scene in stored units"):
        predict(model, TensorScene(image), Sliding(window=8, stride=4, classes=4), Views(scales=(0.5,)))
    with pytest.raises(RequestError, match=r"BENCH_EVAL_MEMORY allows 0 MiB .* takes 277: raise it"):
        # 896 x 4000 pixels of 16 classes x 4 bytes + 17 are 290 MB, 276.9 MiB.
        Sliding(window=896, stride=512, classes=16, memory=1000).lines((13000, 4000))
    with pytest.raises(BenchError, match="the model is in training mode"):
        predict_image(model.train(), image, 8, 4, 4)
