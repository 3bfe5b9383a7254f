"""Batches are a function of (seed, epoch, index): not of workers, of the first step, or of global state."""

import multiprocessing
import os
import pickle
import random
import signal
from contextlib import closing

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bench.data.assembly import Samples, assembled, plan_queue
from bench.data.keys import Chunked, InOrder, KeyStream, micro_batches
from bench.data.loaders import (
    ImageSamples,
    steps_per_epoch,
    training_crops,
    training_images,
    validation_images,
)
from bench.data.manifest import ClassificationManifest, SegmentationManifest
from bench.data.scenes import SceneSamples
from bench.data.store import ClassificationStore, SegmentationStore
from bench.data.transforms_classification import EvalTransform, TrainTransform
from bench.errors import BenchError
from bench.seeds import seed_for
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
    assert [[index for _, index in batch] for batch in InOrder(5, 2, first=2)] == [[2, 3], [4]]


# -- ranks, micro-batches, chunks ----------------------------------------------------------------------------


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("micro", [None, 1, 3, 100])
def test_ranks_and_micro_batches_cut_the_global_batch_without_gap_or_overlap(world, micro):
    pieces = [
        piece for rank in range(world) for piece in micro_batches(10, rank=rank, world=world, micro=micro)
    ]
    assert [position for piece in pieces for position in piece] == list(range(10))
    assert max(len(piece) for piece in pieces) <= (micro or 10)
    shares = [sum(map(len, micro_batches(10, rank=rank, world=world))) for rank in range(world)]
    assert max(shares) - min(shares) <= 1


def test_more_ranks_than_images_are_refused():
    with pytest.raises(
        BenchError, match="batch_size 4 on 5 ranks leaves a rank without images; use at most 4"
    ):
        micro_batches(4, rank=0, world=5)


@pytest.mark.parametrize(("size", "lengths"), [(2, [2] * 25), (5, [5] * 10), (12, [12] * 4 + [2])])
def test_chunks_hold_the_keys_in_order_whatever_the_batches(size, lengths):
    batches = keys(batch_size=5)
    chunks = list(Chunked(KeyStream(10, 5, 1, start=0, stop=10), size))
    assert [len(chunk) for chunk in chunks] == lengths
    assert [key for chunk in chunks for key in chunk] == [key for batch in batches for key in batch]


def test_a_queue_is_bounded_by_samples_bytes_processes_and_memory():
    photograph, crop = 3 * 224**2 + 8, 5 * 4 * 512**2
    many = 1 << 20
    # A photograph has 0.15 MB: 111 of them are below 16 MiB; 14 processes, 4 chunks ahead and 2 at hand: 0.97 GB.
    assert vars(plan_queue(many, 4096, photograph, 14, 1 << 34)) == {"chunk": 111, "ahead": 4}
    # A crop has 5 MiB: 3 of them are below 16 MiB.
    assert vars(plan_queue(many, 16, crop, 2, 1 << 34)) == {"chunk": 3, "ahead": 4}
    # Small pictures share a chunk across batches, but not where the process itself would have to wait for them.
    assert vars(plan_queue(many, 16, photograph // 49, 8, 1 << 34)) == {"chunk": 1024, "ahead": 4}
    assert vars(plan_queue(many, 16, photograph // 49, 0, 1 << 34)) == {"chunk": 16, "ahead": 0}
    # 500 small pictures on 14 processes: a share for each.
    assert vars(plan_queue(500, 64, photograph // 49, 14, 1 << 34)) == {"chunk": 36, "ahead": 4}
    # 64 MiB of shared memory (a container's usual share), 4 processes: 2 crops of 5 MiB each, and 4 at hand.
    assert vars(plan_queue(many, 64, crop, 4, 64 << 20)) == {"chunk": 2, "ahead": 1}
    for workers, memory in ((1, 15 << 20), (2, 30 << 20), (2, 64 << 20), (6, 64 << 20), (14, 1 << 30)):
        queue = plan_queue(many, 64, crop, workers, memory)
        assert queue.chunk * (workers * queue.ahead + 2) * crop <= memory and queue.ahead >= 1
    with pytest.raises(
        BenchError, match="20 loader processes need at least 110 MiB of shared memory, 64 MiB are free"
    ):
        plan_queue(many, 64, crop, 20, 64 << 20)


class Counting(Samples):
    """Sample i is the picture [i, epoch]; index 7 cannot be read, index 8 kills its process."""

    sample_bytes = 24

    def sample(self, epoch, index):
        if index == 7:
            raise BenchError("train.bin, photograph 7: not a readable picture")
        if index == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.array([index, epoch]), np.int64(index)


def counted(stop: int, *, workers: int, first: int = 0) -> list:
    stream = InOrder(stop, 3, first=first)
    sizes = map(len, stream.pieces())
    found = []
    batches = assembled(Counting(), stream, sizes, total=stop - first, largest=3, workers=workers, device=CPU)
    for images, labels in batches:
        assert images[:, 0].tolist() == labels.tolist()
        found.append(labels.tolist())
    return found


@pytest.mark.parametrize(
    ("workers", "chunk"),
    [*((0, chunk) for chunk in range(1, 5)), *((2, chunk) for chunk in (1, 2, 4, 5, 7, 8))],
)
def test_batches_are_put_together_from_chunks_of_any_size_in_order(workers, chunk, monkeypatch):
    monkeypatch.setattr("bench.data.assembly.CHUNK_SAMPLES", chunk)
    assert counted(7, workers=workers) == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_loader_process_cannot_read_ends_in_its_one_sentence(workers):
    with pytest.raises(BenchError) as caught:
        counted(8, workers=workers)
    assert str(caught.value) == "train.bin, photograph 7: not a readable picture"


def test_loader_processes_end_with_the_loop_that_fails_whoever_keeps_its_traceback(photographs):
    steps = training_images(photographs, PRETRAIN, seed=1, start=0, stop=6, workers=2, device=CPU, micro=2)
    with pytest.raises(ZeroDivisionError) as caught, closing(steps):
        for micros in steps:
            next(micros)
            assert len(multiprocessing.active_children()) == 2
            raise ZeroDivisionError
    assert caught.traceback and multiprocessing.active_children() == []


def test_a_loader_process_that_is_killed_is_told_in_one_sentence():
    with pytest.raises(
        BenchError, match=r"^a loader process died \(DataLoader worker .*lower BENCH_WORKERS$"
    ):
        counted(9, first=8, workers=1)


# -- photographs ---------------------------------------------------------------------------------------------


def whole(steps) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The global batches of one rank that takes each in one piece."""
    batches = []
    for micros in steps:
        ((first, images, labels),) = micros
        assert first == 0
        batches.append((images, labels))
    return batches


def batches_of_photographs(
    store, *, workers: int = 0, start: int = 0
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(workers + start)  # whatever the global state
    return whole(training_images(store, PRETRAIN, seed=1, start=start, stop=6, workers=workers, device=CPU))


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


@pytest.mark.parametrize("workers", [0, 2])
def test_images_depend_neither_on_ranks_nor_on_micro_batches(photographs, workers):
    plain = batches_of_photographs(photographs)
    pieces = [([], []) for _ in plain]
    for rank, micro in ((0, 1), (1, None)):
        steps = training_images(
            photographs,
            PRETRAIN,
            seed=1,
            start=2,
            stop=6,
            workers=workers,
            device=CPU,
            rank=rank,
            world=2,
            micro=micro,
        )
        for step, micros in enumerate(steps, start=2):
            for first, images, labels in micros:
                assert torch.equal(images, plain[step][0][first : first + len(images)])
                pieces[step][0].extend(range(first, first + len(images)))
                pieces[step][1].extend(labels.tolist())
    assert pieces[2:] == [([0, 1, 2, 3], labels.tolist()) for _, labels in plain[2:]]


def test_what_is_left_unread_of_a_step_is_passed_over(photographs):
    plain = batches_of_photographs(photographs)
    steps = training_images(photographs, PRETRAIN, seed=1, start=0, stop=6, workers=0, device=CPU, micro=1)
    for micros, (images, _) in zip(steps, plain, strict=True):
        assert torch.equal(next(micros).images, images[:1])


def test_images_of_a_resumed_stream_are_those_of_the_first(photographs):
    assert equal(batches_of_photographs(photographs, start=3), batches_of_photographs(photographs)[3:])


def test_an_image_is_augmented_anew_in_every_epoch(photographs):
    samples = ImageSamples(photographs, "train", TrainTransform(16, 0.3, None, (0.0,) * 3), seed=1)
    seen = {samples.sample(epoch, 0)[0].tobytes() for epoch in range(10)}
    assert len(seen) == 10


def test_a_part_of_the_validation_images_is_that_part(photographs):
    settings = {"batch_size": 2, "crop": 16, "ratio": 0.8, "workers": 0, "device": CPU}
    batches = list(validation_images(photographs, **settings, first=1, stop=4))
    assert [labels.tolist() for _, labels in batches] == [[1, 2], [3]]


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
    return whole(
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
    assert [name for name, _ in SceneSamples(scenes, FINETUNE, "full", seed=0).visits] == (
        ["a"] * 2 + ["b"] * 2 + ["c"] * 7
    )


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


def test_photometric_distortion_changes_the_colour_planes_of_a_batch_alone(scenes):
    distorted = FinetuneRecipe(**{**vars(FINETUNE), "photometric": True})
    pairs = list(zip(batches_of_crops(scenes, recipe=distorted), batches_of_crops(scenes), strict=True))
    assert all(
        torch.equal(one[0][:, 3], other[0][:, 3]) and torch.equal(one[1], other[1]) for one, other in pairs
    )
    assert not all(torch.equal(one[0], other[0]) for one, other in pairs)


# -- patches and tiles ---------------------------------------------------------------------------------------


def under(store: SegmentationStore, folder, *, geometry=None, statistics=None) -> SegmentationStore:
    """The same arrays under another manifest: a patch geometry, statistics of channels by scene."""
    changed = vars(store.manifest) | {"geometry": geometry, "patches": {}}
    changed["samples"] = {
        name: sample | ({"statistics": statistics[name]} if statistics else {})
        for name, sample in changed["samples"].items()
    }
    path = store.path.with_name(f"{folder}.json")
    SegmentationManifest(**changed).write(path)
    return SegmentationStore(path)


def published_patch(store, name: str, window, patch: int) -> tuple[np.ndarray, np.ndarray]:
    """A patch as the public scripts cut and store it: what is missing of a small scene is image 0, label 255."""
    top, left, height, width = window
    image, labels = np.zeros((patch, patch, 4), np.float32), np.full((patch, patch), 255, np.uint8)
    image[:height, :width] = store.image(name)[top : top + height, left : left + width]
    labels[:height, :width] = store.labels(name, "full")[top : top + height, left : left + width]
    return image, labels


def mmsegmentation(image, labels, recipe, draw: random.Random, mean) -> tuple[np.ndarray, np.ndarray]:
    """mmsegmentation's training pipeline on a stored patch, written out with torch: resize whole, then cut.

    RandomResize keeps the ratio and cuts the new size down to whole pixels; RandomCrop looks at ten crops and takes
    the eleventh unseen; RandomFlip; padding with 0 after normalisation, which is the mean before it.
    """
    side = int(len(image) * draw.uniform(*recipe.scale_range))
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    pixels = F.interpolate(pixels, size=(side, side), mode="bilinear", align_corners=False)[0].numpy()
    labels = F.interpolate(torch.from_numpy(labels)[None, None], size=(side, side), mode="nearest-exact")[
        0, 0
    ].numpy()

    def crop():
        rest = max(side - recipe.crop, 0)
        top, left = draw.randint(0, rest), draw.randint(0, rest)
        return slice(top, top + recipe.crop), slice(left, left + recipe.crop)

    box = crop()
    for _ in range(10):
        present, counts = np.unique(labels[box], return_counts=True)
        counts = counts[present != 255]
        if len(counts) > 1 and counts.max() / counts.sum() < recipe.max_class_share:
            break
        box = crop()
    pixels, labels = pixels[:, *box], labels[box]
    if draw.random() < recipe.flip:
        pixels, labels = pixels[..., ::-1], labels[:, ::-1]
    padded = np.broadcast_to(np.float32(mean)[:, None, None], (4, recipe.crop, recipe.crop)).copy()
    targets = np.full((recipe.crop, recipe.crop), 255, np.uint8)
    padded[:, : pixels.shape[1], : pixels.shape[2]] = pixels
    targets[: labels.shape[0], : labels.shape[1]] = labels
    return padded, targets


@pytest.mark.parametrize(("patch", "stride"), [(24, 16), (40, 40)])
def test_under_a_geometry_crops_are_those_of_mmsegmentation_from_stored_patches(scenes, patch, stride):
    store = under(scenes, f"{patch}", geometry={"name": "", "patch": patch, "stride": stride})
    samples = SceneSamples(store, FINETUNE, "full", seed=3)
    assert any(window[2:] != (patch, patch) for _, window in samples.visits) == (patch == 40)  # scenes of 32
    for epoch in range(3):
        for index, (name, window) in enumerate(samples.visits):
            image, labels = samples.sample(epoch, index)
            expected = mmsegmentation(
                *published_patch(store, name, window, patch),
                FINETUNE,
                random.Random(seed_for("augment", 3, epoch, index)),
                store.mean,
            )
            # torch works out positions in float32, we in float64: a few 1e-3 of 255 apart at most.
            np.testing.assert_allclose(image, expected[0], atol=5e-3)
            np.testing.assert_array_equal(labels, expected[1])


def test_an_epoch_visits_every_patch_once(scenes):
    store = under(scenes, "visits", geometry={"name": "24/16", "patch": 24, "stride": 16})
    # 32 pixels: patches at 0 and 8; 64 pixels: at 0, 16, 32, 40. So 4, 4 and 16.
    visits = SceneSamples(store, FINETUNE, "full", seed=0).visits
    assert [name for name, _ in visits] == ["a"] * 4 + ["b"] * 4 + ["c"] * 16 and len(set(visits)) == 24
    stream = KeyStream(len(visits), 3, 1, start=0, stop=8)
    assert sorted(index for batch in stream for _, index in batch) == list(range(24))


def test_channels_standardised_by_the_scene_are_so_when_read_and_when_cropped(scenes):
    # Height by scene: mean and std are known, the manifest's are then 0 and 1.
    by_scene = {"a": (1.5, 2.0), "b": (0.5, 4.0), "c": (3.5, 3.0)}
    store = under(
        scenes, "tiles", statistics={name: {"height": list(values)} for name, values in by_scene.items()}
    )
    for name, (mean, std) in by_scene.items():
        plain, read = scenes.image(name), store.image(name)
        np.testing.assert_array_equal(read[..., :3], plain[..., :3])
        np.testing.assert_allclose(read[..., 3], (plain[..., 3] - mean) / std, rtol=1e-6)
    settings = {"recipe": FINETUNE, "labels": "full", "seed": 0}
    ours, theirs = SceneSamples(store, **settings), SceneSamples(scenes, **settings)
    for index, (name, _) in enumerate(ours.visits):
        mean, std = by_scene[name]
        (one, labels), (other, _) = ours.sample(0, index), theirs.sample(0, index)
        inside = labels != 255
        np.testing.assert_allclose(one[3][inside], (other[3][inside] - mean) / std, atol=1e-5)


def test_crops_of_a_full_decode_are_the_crops_that_are_read(scenes):
    # Ratio 1, no flip: every crop lies somewhere in the decoded scene, at the same place in image and labels.
    plain = {"scale_range": (1.0, 1.0), "flip": 0.0, "max_class_share": 1.0}
    samples = SceneSamples(scenes, FinetuneRecipe(**{**vars(FINETUNE), **plain}), "full", seed=0)
    for index, (name, _) in enumerate(samples.visits):
        crop, labels = samples.sample(0, index)
        image, full = scenes.image(name).transpose(2, 0, 1), scenes.labels(name, "full")
        places = [
            (top, left)
            for top in range(full.shape[0] - 23)
            for left in range(full.shape[1] - 23)
            if np.array_equal(image[:, top : top + 24, left : left + 24], crop)
        ]
        ((top, left),) = places
        np.testing.assert_array_equal(labels, full[top : top + 24, left : left + 24])
