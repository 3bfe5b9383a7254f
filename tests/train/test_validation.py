"""A classifier is validated as its arm was trained: on the pixels, channels and statistics that it has seen."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from prepared import pretraining, write_classes

from bench.data.loaders import validation_images
from bench.data.store import ClassificationStore
from bench.evaluate.top1 import Reader, hits
from bench.train.distributed import Ranks
from bench.train.validation import natural_statistics, validate

CPU = torch.device("cpu")
# Of the stripes of prepared.py.
MEAN, STD = torch.tensor([90.0, 100.0, 110.0]), torch.tensor([60.0, 50.0, 40.0])


class Witness(torch.nn.Module):
    """Keeps what it is shown, in order, and answers class 0."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.clone())
        return torch.tensor([1.0, 0.0, 0.0]).expand(len(x), 3)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("stripes"), train=8, val=4)


def pixels(manifest, resize="pillow"):
    """Return the validation images, float32 [4, 3, 32, 32]."""
    batches = validation_images(
        ClassificationStore(manifest),
        batch_size=4,
        crop=32,
        ratio=0.875,
        workers=0,
        device=CPU,
        resize=resize,
    )
    return next(iter(batches))[0].float()


def shown(manifest, n, orders, *arm):
    """Return what a network of this arm sees in each order."""
    witness = Witness()
    hits(
        [Reader(witness, n, *arm)], orders, ClassificationStore(manifest), crop=32, ratio=0.875, seed=0,
        device=CPU, workers=0,
    )  # fmt: skip
    return witness.seen


def normalised(images, mean, std):
    return (images - torch.as_tensor(mean)[:, None, None]) / torch.as_tensor(std)[:, None, None]


@pytest.mark.parametrize("resize", ["pillow", "torch"])
def test_the_recipes_resizing_makes_the_validation_images(manifest, tmp_path, resize):
    assert not torch.equal(pixels(manifest, "pillow"), pixels(manifest, "torch"))
    run = replace(pretraining(tmp_path, manifest, strategy="rgb", n=3, resize=resize), normalise="follow")
    witness = Witness()
    validate([witness], ("natural",), ClassificationStore(manifest), run, Ranks(), CPU, 0)
    torch.testing.assert_close(witness.seen[0], normalised(pixels(manifest, resize), MEAN, STD))


def test_statistics_follow_the_channel_or_stay_at_their_place_as_in_training(manifest):
    images = pixels(manifest)[:, [2, 1, 0]]
    (followed,) = shown(manifest, 3, ("reversed",), "csp", "follow")
    torch.testing.assert_close(followed, normalised(images, MEAN.flip(0), STD.flip(0)))
    # Blue comes first, and is normalised as red.
    (placed,) = shown(manifest, 3, ("reversed",), "csp", "position")
    torch.testing.assert_close(placed, normalised(images, MEAN, STD))


def test_grey_sees_its_mean_in_every_channel_and_order(manifest):
    # Means of 90, 100, 110 and of 60, 50, 40: 100 and 50.
    expected = normalised(
        pixels(manifest).mean(1, keepdim=True).expand(-1, 4, -1, -1), [100.0] * 4, [50.0] * 4
    )
    seen = shown(manifest, 4, ("natural", "reversed"), "grey")
    assert len(seen) == 2
    for inputs in seen:
        torch.testing.assert_close(inputs, expected, rtol=1e-5, atol=1e-5)


def test_readers_of_several_arms_and_widths_each_see_their_own(manifest):
    readers = [Reader(Witness(), 4, "csp"), Reader(Witness(), 4, "grey"), Reader(Witness(), 3, "rgb")]
    readers.append(Reader(Witness(), 4, "weights"))
    found = hits(
        readers,
        ("natural",),
        ClassificationStore(manifest),
        crop=32,
        ratio=0.875,
        seed=0,
        device=CPU,
        workers=0,
    )
    alone = [shown(manifest, reader.channels, ("natural",), *reader[2:])[0] for reader in readers]
    for reader, expected in zip(readers, alone, strict=True):
        assert len(reader.model.seen) == 1 and torch.equal(reader.model.seen[0], expected)
    # Labels are 0, 1, 2, 0 and the answer is always 0.
    assert (found["top1/natural"] == np.array([True, False, False, True])).all()


@pytest.mark.parametrize(
    ("strategy", "n", "mean", "std"),
    [
        ("csp", 4, [90.0, 100.0, 110.0, 90.0], [60.0, 50.0, 40.0, 60.0]),
        ("weights", 4, [90.0, 100.0, 110.0, 90.0], [60.0, 50.0, 40.0, 60.0]),
        ("grey", 4, [100.0] * 4, [50.0] * 4),
    ],
)
def test_the_weights_name_the_statistics_of_their_own_natural_order(
    manifest, tmp_path, strategy, n, mean, std
):
    run = pretraining(tmp_path, manifest, strategy=strategy, n=n)
    found = natural_statistics(run, ClassificationStore(manifest))
    assert found["mean"] == pytest.approx(mean) and found["std"] == pytest.approx(std)
    if strategy != "grey":
        assert found == {"mean": mean, "std": std}
