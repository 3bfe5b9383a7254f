"""What would pass unseen: units in two splits, classes nobody sees, pictures no list names, counts at full scale."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawn_data import copy_of, nothing_left, prepare, rewrite
from PIL import Image

from bench.catalog.imagenet1k import IMAGENET1K
from bench.data.acquire import acquire_folder
from bench.data.prepare import imagenet
from bench.data.prepare.holdout import hold_out
from bench.data.prepare.pst900 import collect as collect_pst900
from bench.data.prepare.run import IMAGENET_MEAN, prepare_classification
from bench.data.store import ClassificationStore, SegmentationStore
from bench.errors import BenchError
from bench.study.datasets import PretrainData, Target

RGB = ["red", "green", "blue"]
DESCRIPTION = """
unit: bag
unit_pattern: (bag\\d+)_\\d+
channels:
  - {name: red, unit: count, folder: rgb, plane: 0}
  - {name: green, unit: count, folder: rgb, plane: 1}
  - {name: heat, unit: count, folder: heat}
classes:
  - {name: ground, colour: [0, 0, 0]}
  - {name: crack, colour: [255, 255, 255]}
"""


@pytest.fixture
def mine(tmp_path):
    """Six samples of 5 x 7 pixels in three bags: two in train, one in test."""
    folder, rng = tmp_path / "mine", np.random.default_rng(0)
    for role in ("rgb", "heat", "labels", "splits"):
        (folder / role).mkdir(parents=True)
    for name in (f"bag{bag}_{frame}" for bag in range(3) for frame in range(2)):
        Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).save(folder / "rgb" / f"{name}.png")
        Image.fromarray(rng.integers(0, 256, (5, 7), dtype=np.uint8)).save(folder / "heat" / f"{name}.png")
        Image.fromarray(rng.integers(0, 2, (5, 7), dtype=np.uint8)).save(folder / "labels" / f"{name}.png")
    (folder / "splits" / "train.txt").write_text("bag0_0\nbag0_1\nbag1_0\nbag1_1\n")
    (folder / "splits" / "test.txt").write_text("bag2_0\nbag2_1\n")
    (folder / "dataset.yaml").write_text(DESCRIPTION)
    return folder


def prepare_mine(folder: Path, name: str = "mine", **target) -> SegmentationStore:
    out = folder.parent / "out" / name
    acquire_folder(name, folder, out, digest="a", spec={})
    settings = {"source": "folder", "path": "mine", "description": "dataset.yaml", **target}
    return prepare(out, name, ["red", "green", "heat"], "small", raw=folder, **settings)


# -- units ----------------------------------------------------------------------------------------------


def test_a_unit_in_two_lists_of_ones_own_is_refused(mine):
    (mine / "splits" / "train.txt").write_text("bag0_0\nbag0_1\nbag1_0\nbag2_1\n")
    (mine / "splits" / "test.txt").write_text("bag2_0\nbag1_1\n")
    with pytest.raises(BenchError, match=r"bag 'bag1' \(and 1 more\) is in train and test: .*in one list"):
        prepare_mine(mine)
    assert nothing_left(mine.parent / "out" / "mine")


def with_a_shared_bag(drawn: Path, folder: Path) -> tuple[Path, str]:
    """Copy PST900 with one frame of a training bag moved to test; return the copy and the bag."""
    out = copy_of(drawn, "pst900", folder)
    for path in sorted((out / "raw").rglob("train/*/31_bag1a_rect_rgb_frame0000000037.png")):
        os.rename(path, path.parents[2] / "test" / path.parent.name / path.name)
    return out, "31_bag1a"


def test_a_bag_that_published_splits_share_is_named_in_the_manifest(drawn, tmp_path):
    out, bag = with_a_shared_bag(drawn, tmp_path)
    handled = prepare(out, "pst900", RGB).manifest.handled
    assert {"rule": "unit-in-two-splits", "sample": bag, "count": 2} in handled
    official = SegmentationStore(drawn / "pst900" / "manifest.json").manifest.handled
    assert "unit-in-two-splits" not in {item["rule"] for item in official}


def test_a_hold_out_never_takes_a_unit_that_is_scored(drawn, tmp_path):
    out, bag = with_a_shared_bag(drawn, tmp_path)
    collection = collect_pst900(out / "raw", Target(channels=tuple(RGB)))
    training = {collection.unit_of(sample) for sample in collection.splits["train"]}
    assert bag in training
    # A share of nearly all is all but one: the one that stays is the one that test has too, whatever the hash says.
    for dataset in map(str, range(8)):
        aside = {collection.unit_of(sample) for sample in hold_out(collection, 0.999, dataset).splits["val"]}
        assert aside == training - {bag}
    scored = {f"{bag}_9": bag for bag in training}
    everything = replace(
        collection, splits={**collection.splits, "test": tuple(scored)}, units={**collection.units, **scored}
    )
    with pytest.raises(
        BenchError, match=r"each bag of the training split has samples in test too; none is left"
    ):
        hold_out(everything, 0.5, "pst900")


def test_the_units_held_out_do_not_depend_on_the_studys_key(mine, drawn, tmp_path):
    aside = set()
    for key in [f"key{number}" for number in range(6)]:
        out = copy_of(drawn, "potsdam", tmp_path / key)
        (out / "raw").rename(tmp_path / key / "raw")
        store = prepare(
            out, key, RGB, raw=tmp_path / key / "raw", source="potsdam", selection="holdout", holdout=0.4
        )
        aside.add(tuple(sorted(store.split("val"))))
    own = prepare(
        copy_of(drawn, "potsdam", tmp_path / "own"), "potsdam", RGB, selection="holdout", holdout=0.4
    )
    assert aside == {tuple(sorted(own.split("val")))}
    first, second = (
        prepare_mine(mine, key, selection="holdout", holdout=0.5).split("val") for key in ("one", "two")
    )
    assert first == second


# -- classes and pictures -------------------------------------------------------------------------------


def test_a_class_that_no_training_label_shows_is_refused(mine):
    for path in (mine / "labels").iterdir():  # a mask of 0 and 255, where 255 is ignored
        Image.fromarray(np.array(Image.open(path)) * np.uint8(255)).save(path)
    words = r"mine: no pixel of the training split's 4 labels is of class crack \(classes are 0\.\.1 .*255 is ignored"
    with pytest.raises(BenchError, match=words):
        prepare_mine(mine)
    assert nothing_left(mine.parent / "out" / "mine")


def test_a_palette_picture_of_a_channel_is_refused_and_one_of_labels_read(mine):
    for role, name in (("labels", "bag2_0"), ("heat", "bag0_1")):
        indexed = Image.fromarray(np.array(Image.open(mine / role / f"{name}.png")) % 2)
        indexed.putpalette([9, 9, 9, 200, 0, 0])
        indexed.save(mine / role / f"{name}.png")
        if role == "labels":
            expected = np.array(indexed)
            np.testing.assert_array_equal(prepare_mine(mine).labels("bag2_0", "full"), expected)
    with pytest.raises(BenchError, match=r"heat/bag0_1\.png: a palette picture, whose values are indices"):
        prepare_mine(mine)


def test_a_picture_without_a_label_that_no_list_names_is_left_out_by_name(mine):
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(mine / "heat" / "bag9_0.PNG")
    assert prepare_mine(mine).manifest.handled == [
        {"rule": "folder-unlisted-left-out", "sample": "bag9_0", "count": 1}
    ]


def test_a_label_of_mfnet_that_no_list_names_is_left_out_by_name(drawn, tmp_path):
    out = copy_of(drawn, "mfnet", tmp_path)
    label = next((out / "raw").rglob("labels/00001D.png"))
    (label.parent / "09999N.png").write_bytes(label.read_bytes())
    handled = prepare(out, "mfnet", RGB).manifest.handled
    assert {"rule": "mfnet-unlisted-left-out", "sample": "09999N", "count": 1} in handled


def test_a_pair_of_isaid_with_capital_suffixes_is_read(drawn, tmp_path):
    out = copy_of(drawn, "isaid", tmp_path)
    for path in sorted((out / "raw" / "train").rglob("P0002*.png")):
        path.rename(path.with_suffix(".PNG"))
    assert (
        prepare(out, "isaid", RGB).manifest.splits
        == SegmentationStore(drawn / "isaid" / "manifest.json").manifest.splits
    )


def test_a_grey_image_of_isaid_is_counted_by_its_pixels(drawn, tmp_path):
    out = copy_of(drawn, "isaid", tmp_path)
    image = next((out / "raw").rglob("P0002.png"))
    grey = np.array(Image.open(image).convert("L"))
    rewrite(image, grey)
    handled = prepare(out, "isaid", RGB).manifest.handled
    assert {"rule": "isaid-grey-repeated", "sample": "P0002", "count": grey.size} in handled


def test_frames_left_over_in_folders_that_are_not_read_are_named(drawn, tmp_path):
    out = copy_of(drawn, "pst900", tmp_path)
    for role in ("depth", "thermal_raw"):
        frame = next((out / "raw").rglob(f"train/{role}/31_bag1a*07.png"))
        (frame.parent / "31_bag1a_rect_rgb_frame0000000099.png").write_bytes(frame.read_bytes())
    rule = {
        "rule": "pst900-unlabelled-left-out",
        "sample": "31_bag1a_rect_rgb_frame0000000099",
        "count": 2,  # of depth and of thermal_raw
    }
    assert rule in prepare(out, "pst900", RGB).manifest.handled
    with pytest.raises(BenchError, match=r"frame0000000099\.png: a picture in depth/ without one in labels/"):
        prepare(out, "pst900", [*RGB, "depth"])


def test_a_no_data_value_of_a_channel_is_refused(drawn, tmp_path):
    out = copy_of(drawn, "potsdam", tmp_path)
    path = next((out / "raw").rglob("dsm_potsdam_02_10.tif"))
    height = tifffile.imread(path)
    height[:2, :3] = -9999
    path.unlink()
    tifffile.imwrite(path, height, extratags=[(42113, 2, 0, "-9999", True)])
    with pytest.raises(
        BenchError, match=r"dsm_potsdam_02_10\.tif: 6 values are -9999, which the file declares"
    ):
        prepare(out, "potsdam", [*RGB, "height"])


# -- ImageNet as folders at full scale ------------------------------------------------------------------


def tree(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for wnid in ("n01000001", "n02000001"):
            (folder / split / wnid).mkdir(parents=True)
            pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / split / wnid / "a.png")
    return folder


def pack_fully(folder: Path) -> ClassificationStore:
    out = folder.parent / "out"
    acquire_folder("mine", folder, out, digest="a", spec={})
    data = PretrainData(source="folders", path="mine")
    prepare_classification("mine", data, folder, out, digest="p", spec={}, scale="full")
    return ClassificationStore(out / "manifest.json")


def test_folders_that_are_not_imagenet_are_measured_at_full_scale_too(tmp_path):
    folder = tree(tmp_path / "mine")
    values = np.stack([np.array(Image.open(path)) for path in (folder / "train").rglob("*.png")])
    np.testing.assert_allclose(pack_fully(folder).mean, values.mean(axis=(0, 1, 2)), rtol=1e-12)


def test_folders_of_imagenets_synsets_are_counted_at_full_scale(tmp_path, monkeypatch):
    wnids = hashlib.sha256(b"n01000001\nn02000001").hexdigest()
    monkeypatch.setattr(imagenet, "WNIDS_SHA256", wnids)  # as if ImageNet had these two
    folder = tree(tmp_path / "mine")
    words = r"2 photographs in train, published are 1281167; acquire it again, or give a study of fewer another scale"
    with pytest.raises(BenchError, match=words):
        pack_fully(folder)
    monkeypatch.setattr(imagenet, "IMAGENET1K", replace(IMAGENET1K, expected_counts={"train": 2, "val": 2}))
    assert pack_fully(folder).mean == IMAGENET_MEAN
