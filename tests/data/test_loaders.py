"""Batches are a function of (seed, epoch, index): not of workers, of the first step, or of global state."""

import pickle

import numpy as np
import pytest
import torch

from bench.data.loaders import (
    ImageSamples,
    InOrder,
    KeyStream,
    SceneSamples,
    rgb_planes,
    steps_per_epoch,
    training_crops,
    training_images,
    validation_images,
)
from bench.data.manifest import ClassificationManifest, SegmentationManifest
from bench.data.store import ClassificationStore, SegmentationStore
from bench.data.transforms_classification import EvalTransform, TrainTransform
from bench.errors import BenchError
from bench.study.recipes import FinetuneRecipe, PretrainRecipe

CPU = torch.device("cpu")

PRETRAIN = PretrainRecipe(
    epochs=3, batch_size=4, crop=16, lr=1e-3, weight_decay=0.05, warmup_epochs=0.0, min_lr=0.0, drop_path=0.0,
    label_smoothing=0.0,
)  # fmt: skip
FINETUNE = FinetuneRecipe(
    iterations=6, batch_size=3, crop=24, lr=1e-3, weight_decay=0.05, warmup_iterations=0, drop_path=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> ClassificationStore:
    """Ten training and five validation photographs; every pixel of photograph i is 10 i plus noise below 5."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "prepared").mkdir()
    draw, splits = np.random.default_rng(0), {}
    for split, count in (("train", 10), ("val", 5)):
        noise = draw.integers(0, 5, (count, 20, 20, 3))
        np.save(
            folder / "prepared" / f"{split}.npy",
            (noise + 10 * np.arange(count)[:, None, None, None]).astype(np.uint8),
        )
        np.save(folder / "prepared" / f"{split}.labels.npy", np.arange(count, dtype=np.int64))
        splits[split] = {
            "count": count, "images": f"prepared/{split}.npy", "labels": f"prepared/{split}.labels.npy",
        }  # fmt: skip
    ClassificationManifest(
        dataset="photographs", scale="miniature", digest="d", spec={}, splits=splits, sources=[],
        classes=[{"index": i, "wnid": f"n{i}", "name": str(i)} for i in range(10)],
        mean=[50.0] * 3, std=[30.0] * 3, form="decoded", size=20,
    ).write(folder / "manifest.json")  # fmt: skip
    return ClassificationStore(folder / "manifest.json")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> SegmentationStore:
    """Three scenes of red, green, blue (uint8) and height (float32); a pixel's class is its row's height.

    Height is row // 8, and so is the label: whatever a crop does to the one it does to the other. The third
    scene is four times as large as the others; the second is stored mirrored.
    """
    folder = tmp_path_factory.mktemp("scenes")
    (folder / "prepared").mkdir()
    draw, samples = np.random.default_rng(0), {}
    for name, shape in (("a", (32, 32)), ("b", (32, 32)), ("c", (64, 64))):
        level = np.repeat(np.arange(shape[0]) // 8, shape[1]).reshape(shape)
        np.save(folder / "prepared" / f"{name}.uint8.npy", draw.integers(0, 256, (*shape, 3), dtype=np.uint8))
        np.save(folder / "prepared" / f"{name}.float32.npy", level[..., None].astype(np.float32))
        np.save(folder / "prepared" / f"{name}.full.npy", level.astype(np.uint8))
        samples[name] = {
            "unit": name, "shape": list(shape), "flip": name == "b",
            "labels": {"full": f"prepared/{name}.full.npy"},
            "arrays": [
                {"file": f"prepared/{name}.uint8.npy", "channels": [0, 1, 2]},
                {"file": f"prepared/{name}.float32.npy", "channels": [3]},
            ],
        }  # fmt: skip
    colours = [
        {"name": name, "unit": "8-bit digital number", "dtype": "uint8"} for name in ("red", "green", "blue")
    ]
    SegmentationManifest(
        dataset="scenes", scale="miniature", digest="d", spec={}, sources=[], handled=[],
        classes=[{"index": i, "name": str(i), "colour": [i, i, i]} for i in range(8)],
        mean=[100.0, 110.0, 120.0, 3.5], std=[50.0, 50.0, 50.0, 2.0],
        splits={"train": ["a", "b", "c"], "test": ["a"]},
        channels=[*colours, {"name": "height", "unit": "m", "dtype": "float32"}],
        ignore_index=255, unit="tile",
        label_variants=["full"], samples=samples, evaluation_split="test", class_pixels={"train": [0] * 8},
    ).write(folder / "manifest.json")  # fmt: skip
    return SegmentationStore(folder / "manifest.json")


def keys(**changes) -> list[list[tuple[int, int]]]:
    return list(KeyStream(**{"count": 10, "batch_size": 4, "seed": 1, "start": 0, "stop": 10, **changes}))


# -- the stream of keys --------------------------------------------------------------------------------------


def test_every_epoch_shows_every_index_once_in_an_order_of_its_own():
    flat = [key for batch in keys() for key in batch]  # 10 batches of 4: four epochs of 10
    for epoch in range(4):
        assert sorted(index for e, index in flat if e == epoch) == list(range(10))
    orders = {tuple(index for e, index in flat if e == epoch) for epoch in range(4)}
    assert len(orders) == 4


def test_a_batch_may_take_the_end_of_one_epoch_and_the_beginning_of_the_next():
    assert [epoch for epoch, _ in keys()[2]] == [0, 0, 1, 1]  # places 8, 9 of epoch 0; 0, 1 of epoch 1


def test_an_epoch_of_whole_batches_drops_the_rest():
    batches = keys(per_epoch=8)
    assert [{epoch for epoch, _ in batch} for batch in batches[:4]] == [{0}, {0}, {1}, {1}]


def test_a_stream_entered_at_any_step_goes_on_as_if_begun_at_the_first():
    assert keys(start=7) == keys()[7:]
    assert keys(start=3, per_epoch=8) == keys(per_epoch=8)[3:]


def test_another_seed_is_another_order():
    assert keys(seed=2) != keys()


def test_evaluation_is_in_order_and_keeps_the_short_last_batch():
    assert [[index for _, index in batch] for batch in InOrder(5, 2)] == [[0, 1], [2, 3], [4]]
    assert len(InOrder(5, 2)) == 3


# -- photographs ---------------------------------------------------------------------------------------------


def batches_of_photographs(
    store, *, workers: int = 0, start: int = 0
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(workers + start)  # whatever the global state
    return list(training_images(store, PRETRAIN, seed=1, start=start, stop=6, workers=workers, device=CPU))


def equal(one, other) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


def test_training_batches_are_uint8_images_with_their_own_labels(photographs):
    batches = batches_of_photographs(photographs)
    assert len(batches) == 6
    for images, labels in batches:
        assert images.shape == (4, 3, 16, 16) and images.dtype == torch.uint8 and labels.dtype == torch.int64
        # Pixels are 10 i + noise below 5, so the label can be read off the mean; bicubic overshoots a little.
        assert torch.equal((images.float().mean(dim=(1, 2, 3)) / 10).floor().long(), labels)
    drawn = torch.cat([labels for _, labels in batches[:2]])  # an epoch is two whole batches of ten images
    assert len(set(drawn.tolist())) == 8


def test_images_do_not_depend_on_loader_processes(photographs):
    assert equal(batches_of_photographs(photographs, workers=2), batches_of_photographs(photographs))


def test_images_of_a_resumed_stream_are_those_of_the_first(photographs):
    assert equal(batches_of_photographs(photographs, start=3), batches_of_photographs(photographs)[3:])


def test_an_image_is_augmented_anew_in_every_epoch(photographs):
    samples = ImageSamples(photographs, "train", TrainTransform(16, 0.3, None, (0.0,) * 3), seed=1)
    seen = {samples.sample(epoch, 0)[0].tobytes() for epoch in range(10)}
    assert len(seen) == 10


def test_validation_shows_every_image_once_in_order(photographs):
    batches = list(validation_images(photographs, batch_size=2, crop=16, ratio=0.8, workers=0, device=CPU))
    assert [labels.tolist() for _, labels in batches] == [[0, 1], [2, 3], [4]]
    # 16 / 0.8 = 20, the photographs' own size: the central 16 pixels, untouched.
    np.testing.assert_array_equal(batches[2][0][0].permute(1, 2, 0), photographs.image("val", 4)[2:18, 2:18])


def test_steps_per_epoch_counts_whole_batches_and_refuses_none():
    assert steps_per_epoch(10, 4) == 2
    with pytest.raises(BenchError, match="batch_size 11 exceeds the 10 training images"):
        steps_per_epoch(10, 11)


def test_samples_can_be_sent_to_a_process_that_is_not_forked(photographs, scenes):
    for samples in (
        ImageSamples(photographs, "val", EvalTransform(16, 0.8), seed=0),
        SceneSamples(scenes, FINETUNE, "full", seed=0),
    ):
        ours, theirs = samples.sample(0, 1), pickle.loads(pickle.dumps(samples)).sample(0, 1)
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


# -- scenes --------------------------------------------------------------------------------------------------


def batches_of_crops(store, *, workers: int = 0, start: int = 0, recipe: FinetuneRecipe = FINETUNE) -> list:
    torch.manual_seed(workers + start)
    return list(
        training_crops(store, recipe, labels="full", seed=1, start=start, stop=6, workers=workers, device=CPU)
    )


def test_crops_keep_image_and_labels_together_through_resize_crop_flip_and_padding(scenes):
    for images, labels in batches_of_crops(scenes):
        assert images.shape == (3, 4, 24, 24) and images.dtype == torch.float32
        assert labels.shape == (3, 24, 24) and labels.dtype == torch.uint8
        height, valid = images[:, 3], labels != 255
        # Between two levels a resized height lies between them: at most half a level from the nearest label.
        assert ((height - labels.float()).abs()[valid] <= 0.51 + 1e-5).all()
        # Padding: the mean of each channel, and nothing to learn.
        assert (height[~valid] == 3.5).all() and (images[:, 0][~valid] == 100.0).all()


def test_crops_do_not_depend_on_loader_processes_or_on_where_the_stream_is_entered(scenes):
    plain = batches_of_crops(scenes)
    assert equal(batches_of_crops(scenes, workers=2), plain)
    assert equal(batches_of_crops(scenes, start=4), plain[4:])


def test_an_epoch_visits_scenes_in_proportion_to_their_area(scenes):
    # 32^2 / 24^2 = 1.8, rounded to 2; 64^2 / 24^2 = 7.1, rounded to 7.
    assert SceneSamples(scenes, FINETUNE, "full", seed=0).visits == ["a"] * 2 + ["b"] * 2 + ["c"] * 7


def test_half_the_crops_are_flipped(scenes):
    def flips(probability: float) -> int:
        changes = {"flip": probability, "scale_range": (1.0, 1.0), "crop": 32, "max_class_share": 1.0}
        samples = SceneSamples(scenes, FinetuneRecipe(**{**vars(FINETUNE), **changes}), "full", seed=0)
        whole = scenes.image("a").transpose(2, 0, 1)  # at ratio 1, a crop of the scene's size is the scene
        return sum(not np.array_equal(samples.sample(epoch, 0)[0], whole) for epoch in range(40))

    assert flips(0.0) == 0 and flips(1.0) == 40 and 8 < flips(0.5) < 32


def test_a_crop_of_one_class_is_drawn_again(scenes):
    def alone(share: float) -> int:
        changes = {"crop": 8, "scale_range": (1.0, 1.0), "max_class_share": share}
        samples = SceneSamples(scenes, FinetuneRecipe(**{**vars(FINETUNE), **changes}), "full", seed=0)
        return sum(len(np.unique(samples.sample(epoch, 0)[1])) == 1 for epoch in range(200))

    # Bands of 8 rows, crops of 8: 4 of 25 places hold one class alone. Eleven draws leave (4 / 25)^11 of
    # that.
    assert 15 < alone(1.0) < 55 and alone(0.999) == 0


def test_photometric_distortion_finds_the_colour_planes_or_says_what_is_missing(scenes):
    assert rgb_planes(scenes.channels) == [0, 1, 2]
    channels = [
        {"name": "thermal", "dtype": "uint8"},
        {"name": "red", "dtype": "uint8"},
        {"name": "blue", "dtype": "uint16"},
    ]
    with pytest.raises(BenchError, match="missing: blue, green; set photometric: false"):
        rgb_planes(channels)
    distorted = FinetuneRecipe(**{**vars(FINETUNE), "photometric": True})
    pairs = list(zip(batches_of_crops(scenes, recipe=distorted), batches_of_crops(scenes), strict=True))
    assert all(
        torch.equal(one[0][:, 3], other[0][:, 3]) and torch.equal(one[1], other[1]) for one, other in pairs
    )
    assert not all(torch.equal(one[0], other[0]) for one, other in pairs)
