"""What every prepared dataset keeps to: a newcomer to the catalogue joins by being in it."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.catalog.index import CATALOG
from bench.data.acquire import acquire_archives
from bench.data.manifest import ClassificationManifest, SegmentationManifest, read_manifest
from bench.data.miniature.archives import write_archives
from bench.data.prepare.run import prepare_classification, prepare_target
from bench.data.store import ClassificationStore, SegmentationStore
from bench.study.datasets import Miniature, PretrainData, Target

SIZES = Miniature(seed=5, train_images=3, val_images=2, scenes=3, side=16)
TARGETS = [name for name, entry in CATALOG.items() if entry.kind == "segmentation"]
CLASSIFIED = [name for name, entry in CATALOG.items() if entry.kind == "classification"]


def prepare(name: str, raw: Path, out: Path, workers: int = 0) -> None:
    """Prepare a dataset of the catalogue with all its channels."""
    entry = CATALOG[name]
    settings = {"digest": "p", "spec": {"name": name}, "scale": "miniature", "workers": workers}
    if entry.kind == "classification":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bench.data.prepare.photographs.PIECE", 7)  # several pieces of so few photographs
            prepare_classification(name, PretrainData(source=name), raw, out, **settings)
    else:
        target = Target(channels=tuple(channel.name for channel in entry.channels))
        prepare_target(name, target, raw, out, **settings)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Every dataset, drawn in its published archives, acquired and prepared by one process."""
    root = tmp_path_factory.mktemp("contracts")
    for name, entry in CATALOG.items():
        out = root / name
        write_archives(name, out / "archives", SIZES)
        acquire_archives(name, entry, out / "archives", out, digest="a", spec={}, drawn=True)
        prepare(name, out / "raw", out)
    return root


def contents(out: Path) -> dict[str, bytes]:
    files = [out / "manifest.json", *sorted((out / "prepared").iterdir())]
    return {path.name: path.read_bytes() for path in files}


@pytest.mark.parametrize("name", TARGETS)
def test_images_and_labels_agree_in_shape_type_and_range(name, prepared):
    store, entry = SegmentationStore(prepared / name / "manifest.json"), CATALOG[name]
    assert store.num_classes == entry.num_classes
    assert [(c["name"], c["unit"], c["dtype"]) for c in store.channels] == [
        (c.name, c.unit, c.dtype) for c in entry.channels
    ]
    for sample, described in store.manifest.samples.items():
        height, width = store.shape(sample)
        image = store.image(sample)
        assert image.shape == (height, width, len(entry.channels)) and image.dtype == np.float32
        assert np.isfinite(image).all()
        assert set(described["labels"]) == set(store.manifest.label_variants) == set(entry.label_variants)
        for variant in entry.label_variants:
            labels = store.labels(sample, variant)
            assert labels.shape == (height, width) and labels.dtype == np.uint8
            assert set(np.unique(labels)) <= {*range(entry.num_classes), 255}
        covered = [index for part in described["arrays"] for index in part["channels"]]
        assert sorted(covered) == list(range(len(entry.channels)))
        for part in described["arrays"]:
            array = np.load(prepared / name / part["file"], mmap_mode="r")
            assert array.flags.c_contiguous and array.shape == (height, width, len(part["channels"]))
            assert {entry.channels[index].dtype for index in part["channels"]} == {array.dtype.name}


@pytest.mark.parametrize("name", TARGETS)
def test_splits_are_disjoint_by_unit_and_what_is_needed_is_there(name, prepared):
    manifest = read_manifest(prepared / name / "manifest.json", SegmentationManifest)
    splits = {split: ids for split, ids in manifest.splits.items() if ids}
    assert "train" in splits and manifest.evaluation_split in splits
    assert manifest.evaluation_split != "train"
    listed = [sample for ids in splits.values() for sample in ids]
    assert len(listed) == len(set(listed)) and set(listed) == set(manifest.samples)
    units = [{manifest.samples[sample]["unit"] for sample in ids} for ids in splits.values()]
    assert sum(len(found) for found in units) == len(set().union(*units))


@pytest.mark.parametrize("name", TARGETS)
def test_statistics_can_normalise_every_channel(name, prepared):
    manifest = read_manifest(prepared / name / "manifest.json", SegmentationManifest)
    assert len(manifest.mean) == len(manifest.std) == len(manifest.channels)
    assert all(np.isfinite(value) for value in (*manifest.mean, *manifest.std)) and min(manifest.std) > 0
    assert len(manifest.class_pixels["train"]) == len(manifest.classes)
    # One unit of a class at least is seen in training, else there is nothing to learn.
    assert sum(count > 0 for count in manifest.class_pixels["train"]) >= 2


@pytest.mark.parametrize("name", CLASSIFIED)
def test_photographs_have_labels_within_the_classes(name, prepared):
    store = ClassificationStore(prepared / name / "manifest.json")
    assert [item["wnid"] for item in store.classes] == sorted(item["wnid"] for item in store.classes)
    for split in ("train", "val"):
        labels = {store.label(split, index) for index in range(store.count(split))}
        assert labels == set(range(store.num_classes))
        for index in range(0, store.count(split), 7):
            image = store.image(split, index)
            assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8


@pytest.mark.parametrize("name", CATALOG)
def test_a_manifest_is_read_as_it_was_written(name, prepared, tmp_path):
    kind = ClassificationManifest if name in CLASSIFIED else SegmentationManifest
    path = prepared / name / "manifest.json"
    read_manifest(path, kind).write(tmp_path / "manifest.json")
    assert (tmp_path / "manifest.json").read_bytes() == path.read_bytes()
    assert json.loads(path.read_text())["spec"] == {"name": name}


@pytest.mark.parametrize("name", CATALOG)
def test_two_processes_leave_the_bytes_of_one_in_the_same_order(name, prepared, tmp_path):
    (tmp_path / "acquired.json").write_bytes((prepared / name / "acquired.json").read_bytes())
    prepare(name, prepared / name / "raw", tmp_path, workers=2)
    found, expected = contents(tmp_path), contents(prepared / name)
    assert list(found) == list(expected)
    assert found == expected
