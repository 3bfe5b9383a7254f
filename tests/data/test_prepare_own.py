"""Data of a user's own: labels as colours, hash splits, units, planes and depths, and what is refused."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawn_data import nothing_left
from PIL import Image

from bench.data.acquire import acquire_folder
from bench.data.prepare.description import geometry_of, read_description
from bench.data.prepare.run import prepare_target
from bench.data.store import SegmentationStore
from bench.errors import BenchError, RequestError
from bench.study.datasets import Target

DESCRIPTION = """
unit: bag
unit_pattern: (bag\\d+)_\\d+
label_form: colours
ignore_colours: [[0, 0, 0]]
splits: {val: 0.2, test: 0.3}
channels:
  - {name: near, unit: count, folder: four, plane: 0}
  - {name: far, unit: count, folder: four, plane: 3, planes: 4}
  - {name: heat, unit: count, folder: heat, dtype: uint16}
  - {name: height, unit: metres, folder: height, dtype: float32}
classes:
  - {name: ground, colour: [9, 9, 9]}
  - {name: crack, colour: [200, 0, 0]}
"""
COLOURS = np.array([(9, 9, 9), (200, 0, 0), (0, 0, 0)], np.uint8)
NAMES = [f"bag{bag}_{frame}" for bag in range(12) for frame in range(2)]


@pytest.fixture
def mine(tmp_path):
    """24 samples of 6 x 5 pixels in 12 bags: four 8-bit planes, 16 bits, floats, labels as colours."""
    folder = tmp_path / "mine"
    rng = np.random.default_rng(0)
    for role in ("four", "heat", "height", "labels"):
        (folder / role).mkdir(parents=True)
    for name in NAMES:
        four = rng.integers(0, 256, (6, 5, 4), dtype=np.uint8)
        tifffile.imwrite(
            folder / "four" / f"{name}.tif", four, photometric="rgb", extrasamples=["unspecified"]
        )
        Image.fromarray(rng.integers(0, 65536, (6, 5), dtype=np.uint16)).save(folder / "heat" / f"{name}.png")
        tifffile.imwrite(folder / "height" / f"{name}.tif", rng.normal(size=(6, 5)).astype(np.float32))
        Image.fromarray(COLOURS[rng.integers(0, 3, (6, 5))]).save(folder / "labels" / f"{name}.png")
    (folder / "dataset.yaml").write_text(DESCRIPTION)
    return folder


def prepare_mine(folder: Path, channels=("near", "far", "heat", "height"), **target) -> SegmentationStore:
    out = folder.parent / "out"
    acquire_folder("mine", folder, out, digest="a", spec={})
    chosen = Target(source="folder", path="mine", description="x", channels=channels, **target)
    prepare_target("mine", chosen, folder, out, digest="p", spec={}, scale="small")
    return SegmentationStore(out / "manifest.json")


def test_planes_of_every_depth_and_labels_as_colours_are_read(mine):
    store = prepare_mine(mine)
    for split in ("train", "val", "test"):
        for name in store.split(split):
            four = tifffile.imread(mine / "four" / f"{name}.tif")
            planes = [four[..., 0], four[..., 3], np.array(Image.open(mine / "heat" / f"{name}.png"))]
            expected = np.dstack([*planes, tifffile.imread(mine / "height" / f"{name}.tif")])
            np.testing.assert_array_equal(store.image(name), expected.astype(np.float32))
            colours = np.array(Image.open(mine / "labels" / f"{name}.png"))
            ids = np.full((6, 5), 255, np.uint8)
            for index in range(2):
                ids[(colours == COLOURS[index]).all(axis=2)] = index
            np.testing.assert_array_equal(store.labels(name, "full"), ids)
    np.testing.assert_allclose(
        store.std, np.concatenate([store.image(i) for i in store.split("train")]).std(axis=(0, 1)), rtol=1e-5
    )


def test_hash_splits_keep_units_whole_and_do_not_move_when_samples_come(mine):
    first = prepare_mine(mine).manifest
    of = {sample: split for split, ids in first.splits.items() for sample in ids}
    assert set(of) == set(NAMES) and all(first.splits.values())
    for bag in range(12):
        assert of[f"bag{bag}_0"] == of[f"bag{bag}_1"]
        assert first.samples[f"bag{bag}_1"]["unit"] == f"bag{bag}"
    for role in ("four", "heat", "height", "labels"):  # one bag more
        for path in list((mine / role).glob("bag3_*")):
            (mine / role / path.name.replace("bag3", "bag99")).write_bytes(path.read_bytes())
    second = prepare_mine(mine).manifest
    assert {s: split for split, ids in second.splits.items() for s in ids if s in of} == of


def test_a_hold_out_of_ones_own_data_is_drawn_by_unit(mine):
    official, store = prepare_mine(mine).manifest, prepare_mine(mine, selection="holdout", holdout=0.3)
    aside = {store.unit(sample) for sample in store.split("val")}
    assert aside and not aside & {store.unit(sample) for sample in store.split("train")}
    assert set(store.split("train")) | set(store.split("val")) == set(official.splits["train"])
    assert store.manifest.splits["published_val"] == official.splits["val"]


def test_a_geometry_of_ones_own_data_is_written_as_patch_and_stride(mine):
    store = prepare_mine(mine, geometry="4/2")
    # 6 x 5 pixels: tops 0 and 2, lefts 0 and 1.
    assert store.manifest.geometry == {"name": "4/2", "patch": 4, "stride": 2}
    assert store.manifest.patches == {s: 4 * len(ids) for s, ids in store.manifest.splits.items() if ids}


@pytest.mark.parametrize("geometry", ["4/5", "4/0", "half", "4/2/1"])
def test_a_geometry_that_is_none_is_refused(geometry, tmp_path):
    target = Target(source="folder", path="p", description="d", channels=("a", "b", "c"), geometry=geometry)
    with pytest.raises(RequestError, match=rf"geometry '{geometry}'; expected whole, or patch/stride"):
        geometry_of(target, tmp_path / "dataset.yaml")


def test_unlisted_samples_are_left_out_by_name(mine):
    (mine / "splits").mkdir()
    (mine / "splits" / "train.txt").write_text("bag0_0\nbag0_1\n")
    (mine / "splits" / "test.txt").write_text("bag1_0\n")
    (mine / "dataset.yaml").write_text(DESCRIPTION.replace("splits: {val: 0.2, test: 0.3}\n", ""))
    store = prepare_mine(mine)
    left = sorted(set(NAMES) - {"bag0_0", "bag0_1", "bag1_0"})
    assert store.manifest.handled == [
        {"rule": "folder-unlisted-left-out", "sample": name, "count": 1} for name in left
    ]
    assert store.manifest.splits == {"train": ["bag0_0", "bag0_1"], "val": [], "test": ["bag1_0"]}


def change(old: str, new: str):
    return lambda folder: (folder / "dataset.yaml").write_text(DESCRIPTION.replace(old, new))


def picture(path: Path, content: np.ndarray) -> None:
    tifffile.imwrite(path, content) if path.suffix == ".tif" else Image.fromarray(content).save(path)


SPOILT = [
    (
        lambda f: (f / "heat" / "bag3_1.png").unlink(),
        r"labels/bag3_1\.png: one in labels/ without a picture in heat/",
    ),
    (
        lambda f: picture(f / "heat" / "bag77_0.png", np.zeros((6, 5), np.uint16)),
        r"heat/bag77_0\.png: a picture in heat/ without one in labels/",
    ),
    (
        lambda f: picture(f / "labels" / "bag0_0.png", np.full((6, 5, 3), 1, np.uint8)),
        r"labels/bag0_0\.png: colour \(1, 1, 1\) on 30 pixels is in no class",
    ),
    (
        lambda f: picture(f / "labels" / "bag0_0.png", np.zeros((6, 5), np.uint8)),
        r"bag0_0\.png: has 1 planes, expected 3 \(label_form: colours\)",
    ),
    (
        lambda f: picture(f / "four" / "bag0_0.tif", np.zeros((6, 5, 3), np.uint8)),
        r"four/bag0_0\.tif: has 3 planes, expected 4",
    ),
    (
        lambda f: picture(f / "heat" / "bag0_0.png", np.zeros((7, 5), np.uint16)),
        r"heat/bag0_0\.png: 7 x 5 pixels .* of the same sample bag0_0 has 6 x 5",
    ),
    (
        lambda f: picture(f / "height" / "bag0_0.tif", np.zeros((6, 5), np.float64)),
        r"height/bag0_0\.tif: values of type float64, but channel height is declared float32",
    ),
    (
        change("dtype: uint16", "dtype: uint8"),
        r"heat/bag0_0\.png: values of type uint16, but channel heat is declared uint8",
    ),
    (lambda f: (f / "heat" / "bag0_0.png").write_bytes(b"?"), r"heat/bag0_0\.png: not a readable picture"),
    (change("val: 0.2", "val: 0.0001"), r"deals none of 12 units to val \(share 0\.0001\); raise its share"),
    (
        change("(bag\\d+)_\\d+", "(scene\\d+)_.*"),
        r"bag0_0\.png: unit_pattern '\(scene.*' finds no bag in its name",
    ),
]


@pytest.mark.parametrize(("spoil", "words"), SPOILT)
def test_files_that_do_not_fit_are_named_and_nothing_is_left(spoil, words, mine):
    spoil(mine)
    with pytest.raises(BenchError, match=words):
        prepare_mine(mine)
    assert nothing_left(mine.parent / "out")


REFUSED = [
    (change("colours\n", "colors\n"), r"label_form is 'colors'; expected one of ids, colours"),
    (
        change("label_form: colours", "label_form: ids"),
        r"ignore_colours belongs to label_form: colours; it is ids",
    ),
    (
        change("unit: bag", "unit: bag\nignore_index: 3"),
        r"ignore_index belongs to label_form: ids; it is colours",
    ),
    (
        change("[[0, 0, 0]]", "[[200, 0, 0]]"),
        r"colour \[200, 0, 0\] stands for two classes, or for one and for ign",
    ),
    (change("[[0, 0, 0]]", "[[0, 0]]"), r"ignore_colours is \[0, 0\]; expected \[red, green, blue\]"),
    (change("val: 0.2", "vall: 0.2"), r"unknown key splits\.vall; did you mean val\?"),
    (change("val: 0.2", "val: 1.2"), r"splits\.val is 1\.2; expected a share from 0 to below 1"),
    (change("val: 0.2", "val: 0.7"), r"splits gives val and test 1; train needs a share too"),
    (change(", test: 0.3", ""), r"splits gives test no share, and evaluation_split names it"),
    (change("(bag\\d+)_\\d+", "bag"), r"unit_pattern 'bag' has no group; put the unit in brackets"),
    (change("(bag\\d+)_\\d+", "(bag"), r"unit_pattern '\(bag' is no regular expression"),
    (change("planes: 4", "planes: 5"), r"channels\[1\]\.planes is 5; expected a whole number 1\.\.4"),
]


@pytest.mark.parametrize(("spoil", "words"), REFUSED)
def test_a_description_that_contradicts_itself_is_refused(spoil, words, mine):
    spoil(mine)
    with pytest.raises(RequestError, match=words):
        read_description(mine / "dataset.yaml")


def test_rules_belong_to_the_catalogue(mine):
    with pytest.raises(
        RequestError, match="a folder dataset has no rules; the study asks for thermal-inpaint"
    ):
        prepare_mine(mine, rules=("thermal-inpaint",))


def test_a_folder_that_was_changed_since_acquire_is_not_prepared(mine):
    prepare_mine(mine)
    out = mine.parent / "out"
    label = sorted((mine / "labels").iterdir())[0]
    Image.fromarray(np.broadcast_to(COLOURS[0], (6, 5, 3)).copy()).save(label)
    chosen = Target(source="folder", path="mine", description="x", channels=("near", "far", "heat", "height"))
    with pytest.raises(
        BenchError,
        match=rf"mine: .*was changed since it was acquired .*labels/{label.name} is another; run acquire",
    ):
        prepare_target("mine", chosen, mine, out, digest="p", spec={}, scale="small")
    assert not (out / "manifest.json").exists()
    # Acquired again, it is prepared, and the manifest has the digest of the new label.
    store = prepare_mine(mine)
    digests = {item["path"]: item["sha256"] for item in store.manifest.sources}
    assert digests[f"labels/{label.name}"] == hashlib.sha256(label.read_bytes()).hexdigest()
