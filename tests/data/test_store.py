"""The read side: windows against whole images, strictness of the manifest, handles."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data import store as module
from bench.data.manifest import ClassificationManifest, SegmentationManifest, read_manifest
from bench.data.store import ClassificationStore, SegmentationStore
from bench.errors import BenchError

SHAPE = (9, 13)


@pytest.fixture
def folder(tmp_path):
    """Samples of 9 x 13: uint8 channels 0 and 2, float32 channel 1; `b` is `a` mirrored, `c` another."""
    (tmp_path / "prepared").mkdir()
    rng = np.random.default_rng(0)
    samples = {}
    for name in ("a", "c"):
        np.save(
            tmp_path / "prepared" / f"{name}.uint8.npy", rng.integers(0, 256, (*SHAPE, 2), dtype=np.uint8)
        )
        np.save(
            tmp_path / "prepared" / f"{name}.float32.npy", rng.normal(size=(*SHAPE, 1)).astype(np.float32)
        )
        for variant in ("full", "eroded"):
            np.save(
                tmp_path / "prepared" / f"{name}.{variant}.npy", rng.integers(0, 3, SHAPE, dtype=np.uint8)
            )
        samples[name] = {
            "unit": f"unit {name}",
            "shape": list(SHAPE),
            "arrays": [
                {"file": f"prepared/{name}.uint8.npy", "channels": [0, 2]},
                {"file": f"prepared/{name}.float32.npy", "channels": [1]},
            ],
            "labels": {variant: f"prepared/{name}.{variant}.npy" for variant in ("full", "eroded")},
            "flip": False,
        }
    samples["b"] = samples["a"] | {"flip": True, "group": "night"}
    SegmentationManifest(
        dataset="toy",
        scale="small",
        digest="d" * 64,
        spec={},
        classes=[{"index": i, "name": str(i), "colour": [i, i, i]} for i in range(3)],
        mean=[0.0, 1.0, 2.0],
        std=[1.0, 1.0, 1.0],
        splits={"train": ["a", "b"], "val": [], "test": ["c"]},
        sources=[],
        channels=[
            {"name": name, "unit": "", "dtype": dtype}
            for name, dtype in zip("xyz", ("uint8", "float32", "uint8"), strict=True)
        ],
        ignore_index=255,
        unit="image",
        label_variants=["full", "eroded"],
        samples=samples,
        evaluation_split="test",
        class_pixels={"train": [1, 1, 1]},
        handled=[],
    ).write(tmp_path / "manifest.json")
    return tmp_path


def test_channels_of_all_files_come_in_the_manifests_order(folder):
    store = SegmentationStore(folder / "manifest.json")
    image = store.image("a")
    eight = np.load(folder / "prepared" / "a.uint8.npy")
    assert image.dtype == np.float32 and image.shape == (*SHAPE, 3)
    np.testing.assert_array_equal(image[..., [0, 2]], eight)
    np.testing.assert_array_equal(image[..., 1], np.load(folder / "prepared" / "a.float32.npy")[..., 0])


def test_a_flipped_sample_is_its_source_mirrored(folder):
    store = SegmentationStore(folder / "manifest.json")
    np.testing.assert_array_equal(store.image("b"), store.image("a")[:, ::-1])
    np.testing.assert_array_equal(store.labels("b", "eroded"), store.labels("a", "eroded")[:, ::-1])


@pytest.mark.parametrize("name", ["a", "b"])
def test_every_window_equals_that_of_the_whole_image(name, folder):
    store = SegmentationStore(folder / "manifest.json")
    image, full = store.image(name), store.labels(name, "full")
    rng = np.random.default_rng(1)
    for _ in range(200):
        top, left = int(rng.integers(0, SHAPE[0])), int(rng.integers(0, SHAPE[1]))
        height, width = int(rng.integers(1, SHAPE[0] - top + 1)), int(rng.integers(1, SHAPE[1] - left + 1))
        window, labels = store.crop(name, top, left, height, width)
        rows, columns = slice(top, top + height), slice(left, left + width)
        np.testing.assert_array_equal(window, image[rows, columns])
        np.testing.assert_array_equal(labels["full"], full[rows, columns])
        np.testing.assert_array_equal(store.pixels(name, rows, columns), window)
        np.testing.assert_array_equal(store.labels(name, "full", rows, columns), labels["full"])
        assert set(labels) == {"full", "eroded"}


@pytest.mark.parametrize("window", [(-1, 0, 2, 2), (0, 0, 10, 2), (0, 12, 2, 2), (0, 0, 0, 2)])
def test_a_window_outside_the_image_is_an_error(window, folder):
    with pytest.raises(ValueError, match="expected 0 <= start < stop"):
        SegmentationStore(folder / "manifest.json").crop("a", *window)


def test_what_is_returned_may_be_written_to_without_changing_the_files(folder):
    store = SegmentationStore(folder / "manifest.json")
    image, labels = store.image("a"), store.labels("a", "full")
    image[:] = labels[:] = 0
    assert store.image("a").any() and store.labels("a", "full").any()


def test_units_groups_splits_and_names(folder):
    store = SegmentationStore(folder / "manifest.json")
    assert (store.split("train"), store.split("val"), store.evaluation_split) == (["a", "b"], [], "test")
    assert (store.unit("b"), store.group("b"), store.group("a")) == ("unit a", "night", None)
    assert (store.mean, store.num_classes, store.shape("c")) == ([0.0, 1.0, 2.0], 3, SHAPE)
    for ask, words in (
        (lambda: store.split("tset"), "no split 'tset'; it has test, train, val"),
        (lambda: store.image("d"), "no sample 'd'"),
        (lambda: store.labels("a", "boundary"), "no labels 'boundary'; it has eroded, full"),
    ):
        with pytest.raises(BenchError, match=words):
            ask()


def test_handles_are_kept_and_limited(folder, monkeypatch):
    store = SegmentationStore(folder / "manifest.json")
    store.image("a")
    first = store._arrays["prepared/a.uint8.npy"]
    assert store._arrays["prepared/a.uint8.npy"] is first
    assert isinstance(first, np.memmap)
    monkeypatch.setattr(module, "HANDLES", 2)
    store.image("c")
    assert list(store._arrays.opened) == ["prepared/c.uint8.npy", "prepared/c.float32.npy"]


def test_a_store_is_pickled_without_its_arrays(folder):
    store = SegmentationStore(folder / "manifest.json")
    image = store.image("a")
    content = pickle.dumps(store)
    assert image.tobytes()[:64] not in content
    np.testing.assert_array_equal(pickle.loads(content).image("a"), image)


def test_an_array_that_is_missing_or_of_another_shape_is_named(folder):
    np.save(folder / "prepared" / "a.full.npy", np.zeros((3, 3), np.uint8))
    (folder / "prepared" / "c.full.npy").unlink()
    store = SegmentationStore(folder / "manifest.json")
    with pytest.raises(
        BenchError, match=r"a\.full\.npy: holds \(3, 3\), the manifest says \(9, 13\); run prepare again"
    ):
        store.labels("a", "full")
    with pytest.raises(BenchError, match=r"c\.full\.npy: not readable as an array"):
        store.labels("c", "full")


def test_another_digest_is_refused(folder):
    path = folder / "manifest.json"
    SegmentationStore(path, digest="d" * 64).require("d" * 64)
    with pytest.raises(BenchError, match="prepared under digest dddddddddddd, the study now asks for e"):
        SegmentationStore(path, digest="e" * 64)
    with pytest.raises(BenchError, match="run prepare again"):
        SegmentationStore(path).require("e" * 64)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda v: v.pop("mean"), "mean"),
        (lambda v: v.pop("code_version"), "lacks code_version"),
        (lambda v: v.update(extra=1), "extra"),
        (lambda v: v.update(schema=2), "expected a segmentation manifest of schema 1"),
        (lambda v: v.update(kind="classification"), "expected a segmentation manifest"),
    ],
)
def test_the_manifest_is_read_strictly(edit, words, folder):
    path = folder / "manifest.json"
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))
    with pytest.raises(BenchError, match=words):
        read_manifest(path, SegmentationManifest)


def test_a_missing_or_broken_manifest_is_named(tmp_path):
    with pytest.raises(BenchError, match="the dataset is not prepared; run prepare first"):
        read_manifest(tmp_path / "manifest.json", ClassificationManifest)
    for text in ("{", "[]", "null"):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(BenchError, match="run prepare again"):
            read_manifest(tmp_path / "manifest.json", ClassificationManifest)


def decoded(folder: Path, count: int) -> Path:
    (folder / "prepared").mkdir()
    np.save(folder / "prepared" / "train.npy", np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3))
    np.save(folder / "prepared" / "train.labels.npy", np.array([1, 0, 1]))
    entry = {"count": count, "images": "prepared/train.npy", "labels": "prepared/train.labels.npy"}
    ClassificationManifest(
        dataset="toy", scale="small", digest="d", spec={}, classes=[], mean=[0.0] * 3, std=[1.0] * 3,
        splits={"train": entry}, sources=[], form="decoded", size=4,
    ).write(folder / "manifest.json")  # fmt: skip
    return folder / "manifest.json"


def test_photographs_come_by_split_and_index(tmp_path):
    store = ClassificationStore(decoded(tmp_path, 3))
    assert store.count("train") == 3
    assert [store.label("train", i) for i in range(3)] == [1, 0, 1]
    image = store.image("train", 1)
    assert image.shape == (4, 4, 3) and image.dtype == np.uint8 and image[0, 0, 0] == 48
    image[:] = 0
    assert store.image("train", 1).any()
    with pytest.raises(BenchError, match="no split 'val'; it has train"):
        store.count("val")


def test_counts_that_disagree_are_named(tmp_path):
    path = decoded(tmp_path, 4)
    with pytest.raises(BenchError, match="4 photographs in train, but 3 labels and 3 images in the arrays"):
        ClassificationStore(path)


def encoded(folder: Path) -> Path:
    """Two JPEGs, one blue-ish and one grey, end to end."""
    (folder / "prepared").mkdir()
    files = []
    for picture in (Image.new("RGB", (6, 4), (10, 20, 200)), Image.new("L", (5, 5), 90)):
        stream = io.BytesIO()
        picture.save(stream, "JPEG")
        files.append(stream.getvalue())
    (folder / "prepared" / "train.bin").write_bytes(b"".join(files))
    np.save(folder / "prepared" / "train.offsets.npy", np.cumsum([0, *map(len, files)]))
    np.save(folder / "prepared" / "train.labels.npy", np.array([1, 0]))
    entry = {"count": 2} | {key: f"prepared/train.{end}" for key, end in (
        ("images", "bin"), ("offsets", "offsets.npy"), ("labels", "labels.npy"),
    )}  # fmt: skip
    ClassificationManifest(
        dataset="toy", scale="small", digest="d", spec={}, classes=[], mean=[0.0] * 3, std=[1.0] * 3,
        splits={"train": entry}, sources=[], form="encoded", size=None,
    ).write(folder / "manifest.json")  # fmt: skip
    return folder / "manifest.json"


def test_packed_photographs_come_by_their_offsets_also_after_pickling(tmp_path):
    store = ClassificationStore(encoded(tmp_path))
    first, second = (store.stored("train", index) for index in range(2))
    assert first + second == (tmp_path / "prepared" / "train.bin").read_bytes()
    assert store.image("train", 0).shape == (4, 6, 3) and store.image("train", 1)[2, 2].tolist() == [90] * 3
    assert pickle.loads(pickle.dumps(store)).stored("train", 1) == second


def test_a_packed_file_that_is_cut_or_gone_is_named(tmp_path):
    path = encoded(tmp_path)
    packed = tmp_path / "prepared" / "train.bin"
    packed.write_bytes(packed.read_bytes()[:-1])
    with pytest.raises(
        BenchError, match=r"train\.bin: ends before byte \d+, which the offsets name; run prepare"
    ):
        ClassificationStore(path).stored("train", 1)
    packed.unlink()
    with pytest.raises(BenchError, match=r"train\.bin: not readable .*; run prepare again"):
        ClassificationStore(path).stored("train", 0)


def test_the_samples_of_a_group_are_found_and_a_strange_group_is_named(folder):
    store = SegmentationStore(folder / "manifest.json")
    assert store.split("train", "night") == ["b"]
    with pytest.raises(BenchError, match="split train has no group 'day'; it has night"):
        store.split("train", "day")
    with pytest.raises(BenchError, match="split test has no group 'night'; it has no groups"):
        store.split("test", "night")


def test_without_a_geometry_the_scene_is_its_only_window(folder):
    store = SegmentationStore(folder / "manifest.json")
    assert store.patch is None and store.windows("a") == [(0, 0, *SHAPE)]
    value = json.loads((folder / "manifest.json").read_text())
    value["geometry"] = {"name": "8/6", "patch": 8, "stride": 6}
    (folder / "manifest.json").write_text(json.dumps(value))
    # 9 rows: at 0 and, moved back inside, 1; 13 columns: at 0 and 5.
    store = SegmentationStore(folder / "manifest.json")
    assert store.patch == 8
    assert store.windows("a") == [(0, 0, 8, 8), (0, 5, 8, 8), (1, 0, 8, 8), (1, 5, 8, 8)]


def test_parts_are_views_of_the_stored_types_and_copy_nothing(folder):
    store = SegmentationStore(folder / "manifest.json")
    (eight, whole), (single, real) = store.parts("b", slice(2, 5), slice(1, 4))
    assert (eight, single, whole.dtype, real.dtype) == ([0, 2], [1], np.uint8, np.float32)
    assert np.shares_memory(whole, store._arrays["prepared/a.uint8.npy"])
    np.testing.assert_array_equal(whole, store.pixels("b", slice(2, 5), slice(1, 4))[..., [0, 2]])
