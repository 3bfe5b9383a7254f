"""Preparation: the published encodings of all five datasets, data of one's own, and what is refused.

The miniature archives are read here a second time by other means (zipfile, tarfile, Pillow, loops over
colours), and what was prepared must equal that.
"""

import io
import json
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tifffile
from drawn_data import copy_of, nothing_left, prepare, prepared_bytes, rewrite
from PIL import Image

from bench.catalog.index import CATALOG
from bench.catalog.potsdam import POTSDAM, POTSDAM_SPLIT
from bench.data.acquire import acquire_folder
from bench.data.prepare.description import check_request
from bench.data.prepare.run import prepare_classification, prepare_target
from bench.data.store import ClassificationStore, SegmentationStore
from bench.errors import BenchError, RequestError
from bench.study.datasets import PretrainData, Target
from bench.study.recipes import Evaluation

ROOT = Path(__file__).parents[2]


def members(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {Path(name).name: opened.read(name) for name in opened.namelist() if not name.endswith("/")}


def pixels(content: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(content)))


# -- the five datasets against their archives -----------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, entry in CATALOG.items() if entry.kind == "segmentation"])
def test_statistics_equal_numpys_over_the_whole_training_split(name, drawn):
    store = SegmentationStore(drawn / name / "manifest.json")
    values = np.concatenate([store.image(i).reshape(-1, len(store.channels)) for i in store.split("train")])
    np.testing.assert_allclose(store.mean, values.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(store.std, values.astype(np.float64).std(axis=0), rtol=1e-6)
    labels = np.concatenate([store.labels(i, "full").ravel() for i in store.split("train")])
    counts = [int((labels == index).sum()) for index in range(store.num_classes)]
    assert store.manifest.class_pixels == {"train": counts}


@pytest.mark.parametrize("name", CATALOG)
def test_manifest_names_its_archives_and_spec(name, drawn):
    value = json.loads((drawn / name / "manifest.json").read_text())
    assert (value["dataset"], value["scale"], value["digest"], value["spec"]) == (
        name,
        "miniature",
        "p",
        {"s": 1},
    )
    archives = [archive.path for archive in CATALOG[name].archives]
    assert [item["path"] for item in value["sources"]] == archives
    assert all(len(item["sha256"]) == 64 for item in value["sources"])


def test_isaid_pairs_equal_pixels_and_colours_of_the_archives(drawn):
    store = SegmentationStore(drawn / "isaid" / "manifest.json")
    assert store.evaluation_split == "val" and store.manifest.splits["test"] == []
    grey = 0
    for split, parts in (("train", 3), ("val", 1)):
        folder = drawn / "isaid" / "archives" / split
        images = {
            k: v for i in range(parts) for k, v in members(folder / "images" / f"part{i + 1}.zip").items()
        }
        masks = members(folder / "Semantic_masks" / "images.zip")
        assert store.split(split) == sorted(Path(name).stem for name in images)
        for name in store.split(split):
            image, mask = pixels(images[f"{name}.png"]), pixels(masks[f"{name}_instance_color_RGB.png"])
            if image.ndim == 2:
                grey += 1
                image = np.stack([image] * 3, axis=-1)
            np.testing.assert_array_equal(store.image(name), image)
            expected = np.full(mask.shape[:2], 99, np.uint8)
            for item in store.classes:
                expected[(mask == item["colour"]).all(axis=2)] = item["index"]
            np.testing.assert_array_equal(store.labels(name, "full"), expected)
            assert store.unit(name) == name
    assert grey == 1  # the miniature draws one, as some of the real ones are


def test_mfnet_splits_the_fourth_plane_and_mirrors_flip_names(drawn):
    store = SegmentationStore(drawn / "mfnet" / "manifest.json")
    with zipfile.ZipFile(drawn / "mfnet" / "archives" / "ir_seg_dataset.zip") as opened:
        read = {name.removeprefix("ir_seg_dataset/"): opened.read(name) for name in opened.namelist()}
    for split in ("train", "val", "test"):
        assert store.split(split) == read[f"{split}.txt"].decode().split()
    flips = [name for name in store.split("train") if name.endswith("_flip")]
    assert len(flips) == len(store.split("train")) / 2
    for name in store.split("train") + store.split("test"):
        source = name.removesuffix("_flip")
        image, label = pixels(read[f"images/{source}.png"]), pixels(read[f"labels/{source}.png"])
        if name != source:
            image, label = np.fliplr(image), np.fliplr(label)
        np.testing.assert_array_equal(store.image(name), image)
        np.testing.assert_array_equal(store.labels(name, "full"), label)
        assert store.unit(name) == source
        assert store.group(name) == {"D": "day", "N": "night"}[source[-1]]


def test_mfnet_train_and_val_are_joined_without_flips(drawn, tmp_path):
    out = copy_of(drawn, "mfnet", tmp_path)
    prepare(out, "mfnet", ["red", "green", "blue", "thermal"], split="train+val")
    joined, official = (SegmentationStore(d / "manifest.json") for d in (out, drawn / "mfnet"))
    real = [name for name in official.split("train") if not name.endswith("_flip")]
    assert joined.split("train") == real + official.split("val")
    assert joined.split("val") == [] and joined.split("test") == official.split("test")
    rules = {item["rule"] for item in joined.manifest.handled}
    assert rules == {"mfnet-flip-left-out"}


def test_mfnet_black_listed_frames_are_left_out_by_name(drawn, tmp_path):
    out = copy_of(drawn, "mfnet", tmp_path)
    (path,) = out.rglob("black_list.txt")
    name = SegmentationStore(drawn / "mfnet" / "manifest.json").split("train")[0]
    before = path.read_text().split()
    path.unlink()
    path.write_text(f"{name}.png\n")
    prepare(out, "mfnet", ["red", "green", "blue", "thermal"])
    store = SegmentationStore(out / "manifest.json")
    assert not {name, f"{name}_flip"} & set(store.split("train"))
    rule = {"rule": "mfnet-black-list-left-out", "count": 1}
    # The frame that the drawn list named is now in no list at all.
    (unseen,) = before
    assert store.manifest.handled == [
        rule | {"sample": name},
        rule | {"sample": f"{name}_flip"},
        {"rule": "mfnet-unlisted-left-out", "sample": unseen, "count": 1},
    ]


def test_pst900_channels_come_from_their_folders_in_their_depths(drawn):
    store = SegmentationStore(drawn / "pst900" / "manifest.json")
    with zipfile.ZipFile(drawn / "pst900" / "archives" / "PST900_RGBT_Dataset.zip") as opened:
        read = {name.removeprefix("PST900_RGBT_Dataset/"): opened.read(name) for name in opened.namelist()}
    assert store.split("val") == []
    for split in ("train", "test"):
        for name in store.split(split):
            planes = {
                kind: pixels(read[f"{split}/{kind}/{name}.png"])
                for kind in ("thermal", "thermal_raw", "depth")
            }
            expected = np.dstack([pixels(read[f"{split}/rgb/{name}.png"]), *planes.values()])
            np.testing.assert_array_equal(store.image(name), expected)
            np.testing.assert_array_equal(
                store.labels(name, "full"), pixels(read[f"{split}/labels/{name}.png"])
            )
            assert name.startswith(store.unit(name) + "_rect")
    arrays = store.manifest.samples[store.split("test")[0]]["arrays"]
    assert [(item["file"].split(".")[-2], item["channels"]) for item in arrays] == [
        ("uint8", [0, 1, 2, 3]),
        ("uint16", [4, 5]),
    ]


def test_potsdam_tiles_equal_the_archives_where_nothing_is_mended(drawn):
    archives = drawn / "potsdam" / "archives"
    store = SegmentationStore(drawn / "potsdam" / "manifest.json")
    ortho, dsm = members(archives / "4_Ortho_RGBIR.zip"), members(archives / "1_DSM.zip")
    full, eroded = members(archives / "5_Labels_all.zip"), members(archives / "5_Labels_all_noBoundary.zip")
    normalised = members(archives / "1_DSM_normalisation.zip")
    mended = {item["sample"] for item in store.manifest.handled}
    assert mended == {"3_13", "4_12", "6_7"}
    for split, tiles in POTSDAM_SPLIT.items():
        assert set(store.split(split)) <= set(tiles) and store.split(split)
        for tile in set(store.split(split)) - mended:
            row, column = (int(part) for part in tile.split("_"))
            stem = f"dsm_potsdam_{row:02d}_{column:02d}"
            expected = np.dstack(
                [
                    tifffile.imread(io.BytesIO(ortho[f"top_potsdam_{tile}_RGBIR.tif"])).astype(np.float32),
                    tifffile.imread(io.BytesIO(dsm[f"{stem}.tif"])),
                    pixels(normalised[f"{stem}_normalized_lastools.jpg"]),
                ]
            )
            np.testing.assert_array_equal(store.image(tile), expected)
            for variant, files, suffix in (("full", full, "label"), ("eroded", eroded, "label_noBoundary")):
                colours = tifffile.imread(io.BytesIO(files[f"top_potsdam_{tile}_{suffix}.tif"]))
                ids = np.full(colours.shape[:2], 255, np.uint8)
                for index, entry in enumerate(POTSDAM.classes):
                    ids[(colours == entry.colour).all(axis=2)] = index
                assert (ids == 255).any() == (variant == "eroded")
                np.testing.assert_array_equal(store.labels(tile, variant), ids)
            assert store.unit(tile) == tile


def test_potsdam_mends_the_three_published_defects(drawn):
    archives = drawn / "potsdam" / "archives"
    store = SegmentationStore(drawn / "potsdam" / "manifest.json")
    handled = {(item["rule"], item["sample"]): item["count"] for item in store.manifest.handled}
    # 3_13: the surface is a column short; the last one is repeated.
    surface = tifffile.imread(io.BytesIO(members(archives / "1_DSM.zip")["dsm_potsdam_03_13.tif"]))
    height, width = store.shape("3_13")
    assert surface.shape == (height, width - 1)
    np.testing.assert_array_equal(store.image("3_13")[..., 4], surface[:, [*range(width - 1), width - 2]])
    assert handled["potsdam-3_13-height-edge-repeated", "3_13"] == height
    # 4_12: 0.83 label + 0.17 picture; un-mixed and brought to the nearest palette colour, it gives the same.
    label = members(archives / "5_Labels_all.zip")["top_potsdam_4_12_label.tif"]
    blended = tifffile.imread(io.BytesIO(label)).astype(float)
    unmixed = (blended - 0.17 * store.image("4_12")[..., :3]) / 0.83
    palette = np.array([entry.colour for entry in POTSDAM.classes], float)
    nearest = np.linalg.norm(unmixed[..., None, :] - palette, axis=3).argmin(axis=2)
    np.testing.assert_array_equal(store.labels("4_12", "full"), nearest)
    eroded = store.labels("4_12", "eroded")
    np.testing.assert_array_equal(eroded[eroded != 255], nearest[eroded != 255])
    assert 0 < (eroded == 255).mean() < 0.5
    # 6_7: cars are 252,255,0.
    label = members(archives / "5_Labels_all.zip")["top_potsdam_6_7_label.tif"]
    cars = (tifffile.imread(io.BytesIO(label)) == (252, 255, 0)).all(axis=2)
    np.testing.assert_array_equal(store.labels("6_7", "full") == 4, cars)
    assert handled["potsdam-6_7-full-cars-recoloured", "6_7"] == cars.sum() > 0


def test_imagenet_labels_follow_sorted_wnids_through_the_devkit(drawn):
    folder = drawn / "imagenet1k"
    store = ClassificationStore(folder / "manifest.json")
    wnids = [item["wnid"] for item in store.classes]
    with tarfile.open(folder / "archives" / "ILSVRC2012_img_train.tar") as outer:
        assert wnids == sorted(name.removesuffix(".tar") for name in outer.getnames())
    assert store.count("train") == 3 * len(wnids) and store.count("val") == 2 * len(wnids)
    for split in ("train", "val"):
        counts = np.bincount([store.label(split, i) for i in range(store.count(split))])
        assert counts.tolist() == [store.count(split) // len(wnids)] * len(wnids)
    # Ground truth line i is the ILSVRC id of file i; meta.mat, read the plain way, says which synset that is.
    with tarfile.open(folder / "archives" / "ILSVRC2012_devkit_t12.tar.gz") as devkit:
        inside = {Path(m.name).name: devkit.extractfile(m).read() for m in devkit if m.isreg()}
    synsets = scipy.io.loadmat(io.BytesIO(inside["meta.mat"]))["synsets"]
    wnid_of = {int(row[0]["ILSVRC2012_ID"].item()): row[0]["WNID"].item() for row in synsets}
    truth = inside["ILSVRC2012_validation_ground_truth.txt"].split()
    expected = [wnids.index(wnid_of[int(line)]) for line in truth]
    assert [store.label("val", i) for i in range(store.count("val"))] == expected
    # The miniature's ids are not in sorted order, so the raw ids would have been wrong.
    assert expected != [int(line) - 1 for line in truth]


def test_encoded_photographs_decode_to_the_archives_pixels(drawn, tmp_path):
    out = copy_of(drawn, "imagenet1k", tmp_path)
    data = PretrainData(source="imagenet1k", form="encoded")
    prepare_classification("imagenet1k", data, out / "raw", out, digest="p", spec={}, scale="miniature")
    store = ClassificationStore(out / "manifest.json")
    photographs = sorted((out / "raw" / "train").rglob("*.JPEG"))
    assert store.count("train") == len(photographs)
    modes = set()
    everything = []
    for index, path in enumerate(photographs):
        with Image.open(path) as image:
            modes.add(image.mode)
            expected = np.array(image.convert("RGB"))
        np.testing.assert_array_equal(store.image("train", index), expected)
        assert store.classes[store.label("train", index)]["wnid"] == path.parent.name
        everything.append(expected.reshape(-1, 3).astype(float))
    assert modes == {"RGB", "L", "CMYK"}
    np.testing.assert_allclose(store.mean, np.concatenate(everything).mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(store.std, np.concatenate(everything).std(axis=0), rtol=1e-9)
    for index in range(store.count("val")):
        path = out / "raw" / "val" / f"ILSVRC2012_val_{index + 1:08d}.JPEG"
        np.testing.assert_array_equal(store.image("val", index), np.array(Image.open(path).convert("RGB")))


def test_full_scale_asserts_the_published_counts(drawn, tmp_path):
    out = copy_of(drawn, "mfnet", tmp_path)
    with pytest.raises(BenchError, match=r"mfnet: .*{'train': 12, .*published are {'train': 1568"):
        prepare(out, "mfnet", ["red", "green", "blue", "thermal"], scale="full")
    assert nothing_left(out)
    out = copy_of(drawn, "potsdam", tmp_path)
    with pytest.raises(BenchError, match=r"4_Ortho_RGBIR: 30 tiles have no file"):
        prepare(out, "potsdam", ["red", "green", "blue", "height"], scale="full")
    out = copy_of(drawn, "imagenet1k", tmp_path)
    with pytest.raises(BenchError, match="photographs in train, published are 1281167"):
        data = PretrainData(source="imagenet1k")
        prepare_classification("imagenet1k", data, out / "raw", out, digest="p", spec={}, scale="full")
    assert nothing_left(out)


def test_preparing_twice_gives_the_same_bytes(drawn, tmp_path):
    out = copy_of(drawn, "pst900", tmp_path)
    prepare(out, "pst900", [channel.name for channel in CATALOG["pst900"].channels])
    assert prepared_bytes(out) == prepared_bytes(drawn / "pst900")


# -- what is refused ------------------------------------------------------------------------------------


def spoil_isaid_pair(raw: Path) -> None:
    next((raw / "train" / "Semantic_masks").rglob("*.png")).unlink()


def spoil_isaid_colour(raw: Path) -> None:
    path = sorted((raw / "val" / "Semantic_masks").rglob("*.png"))[0]
    mask = np.array(Image.open(path))
    mask[:2, :3] = (1, 1, 1)
    rewrite(path, mask)


def spoil_mfnet_planes(raw: Path) -> None:
    path = sorted(raw.rglob("images/*.png"))[0]
    rewrite(path, np.array(Image.open(path))[..., :3])


def spoil_mfnet_label(raw: Path) -> None:
    path = sorted(raw.rglob("labels/*.png"))[0]
    label = np.array(Image.open(path))
    label[0, :4] = 9
    rewrite(path, label)


def spoil_mfnet_leak(raw: Path) -> None:
    (path,) = raw.rglob("test.txt")
    (train,) = raw.rglob("train.txt")
    flip = next(name for name in train.read_text().split() if name.endswith("_flip"))
    text = path.read_text()
    path.unlink()
    path.write_text(text + flip + "\n")


def spoil_mfnet_missing(raw: Path) -> None:
    sorted(raw.rglob("labels/*.png"))[0].unlink()


def spoil_pst900_depth(raw: Path) -> None:
    path = sorted(raw.rglob("train/thermal/*.png"))[0]
    rewrite(path, np.array(Image.open(path)).astype(np.uint16))


def spoil_pst900_size(raw: Path) -> None:
    path = sorted(raw.rglob("train/thermal/*.png"))[0]
    rewrite(path, np.array(Image.open(path))[:-1])


def spoil_pst900_name(raw: Path) -> None:
    for path in list(raw.rglob("train/*/31_bag1a_*0007.png")):
        path.rename(path.with_name("x.png"))


def spoil_potsdam_black(raw: Path) -> None:
    path = next(raw.rglob("top_potsdam_2_10_label.tif"))
    label = tifffile.imread(path)
    label[0, 0] = 0
    rewrite(path, label)


def spoil_potsdam_height(raw: Path) -> None:
    path = next(raw.rglob("dsm_potsdam_02_10.tif"))
    rewrite(path, tifffile.imread(path)[:, :-1])


def spoil_potsdam_nan(raw: Path) -> None:
    path = next(raw.rglob("dsm_potsdam_02_10.tif"))
    surface = tifffile.imread(path)
    surface[0, :2] = np.nan
    rewrite(path, surface)


def spoil_cut_picture(raw: Path) -> None:
    path = sorted(raw.rglob("train/rgb/*.png"))[0]
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


REFUSED = [
    ("isaid", spoil_isaid_pair, r"isaid: .*\.png: an image without a semantic mask; each sample needs both"),
    ("isaid", spoil_isaid_colour, r"_instance_color_RGB\.png: colour \(1, 1, 1\) on 6 pixels is in no class"),
    ("mfnet", spoil_mfnet_planes, r"\.png: has 3 planes, expected 4 \(red, green, blue, thermal\)"),
    ("mfnet", spoil_mfnet_label, r"\.png: label 9 on 4 pixels; this dataset has 0\.\.8"),
    ("mfnet", spoil_mfnet_leak, r"mfnet: sample '\d+[DN]' is in two splits, train and test"),
    ("mfnet", spoil_mfnet_missing, r"labels/\d+[DN]\.png: the label of listed frame"),
    ("pst900", spoil_pst900_depth, r"\.png: values of type uint16, but channel thermal is declared uint8"),
    ("pst900", spoil_pst900_size, r"thermal/.*\.png: 23 x 42 pixels .* of the same sample .* has 24 x 42"),
    ("pst900", spoil_pst900_name, r"x\.png: its bag cannot be read from its name"),
    ("pst900", spoil_cut_picture, r"rgb/.*\.png: not a readable picture"),
    (
        "potsdam",
        spoil_potsdam_black,
        r"top_potsdam_2_10_label\.tif: colour \(0, 0, 0\) on 1 pixels is in no class",
    ),
    ("potsdam", spoil_potsdam_height, r"dsm_potsdam_02_10\.tif: 40 x 39 pixels"),
    ("potsdam", spoil_potsdam_nan, r"dsm_potsdam_02_10\.tif: 2 values of channel height are no numbers"),
]


@pytest.mark.parametrize(("name", "spoil", "words"), REFUSED, ids=[case[1].__name__ for case in REFUSED])
def test_a_spoilt_file_is_named_and_nothing_is_left(name, spoil, words, drawn, tmp_path):
    out = copy_of(drawn, name, tmp_path)
    spoil(out / "raw")
    with pytest.raises(BenchError, match=words):
        prepare(out, name, [channel.name for channel in CATALOG[name].channels])
    assert nothing_left(out)


@pytest.mark.parametrize(
    ("name", "file", "words"),
    [
        ("mfnet", "val.txt", r"val\.txt: not UTF-8 text"),
        ("imagenet1k", "ILSVRC2012_validation_ground_truth.txt", r"ground_truth\.txt: not ASCII text"),
    ],
)
def test_a_published_list_that_is_no_text_is_named(name, file, words, drawn, tmp_path):
    out = copy_of(drawn, name, tmp_path)
    (path,) = (out / "raw").rglob(file)
    path.unlink()
    path.write_bytes(b"\xe9\n")
    with pytest.raises(BenchError, match=words):
        if name == "mfnet":
            prepare(out, name, ["red", "green", "blue"])
        else:
            data = PretrainData(source="imagenet1k")
            prepare_classification(name, data, out / "raw", out, digest="p", spec={}, scale="miniature")
    assert nothing_left(out)


def test_a_failed_preparation_leaves_no_earlier_manifest(drawn, tmp_path):
    out = copy_of(drawn, "mfnet", tmp_path)
    prepare(out, "mfnet", ["red", "green", "blue"])
    spoil_mfnet_missing(out / "raw")
    with pytest.raises(BenchError):
        prepare(out, "mfnet", ["red", "green", "blue"])
    assert not (out / "manifest.json").exists()


def test_what_was_not_acquired_is_not_prepared(drawn, tmp_path):
    with pytest.raises(BenchError, match=r"acquired\.json: the dataset was not acquired"):
        prepare(tmp_path, "mfnet", ["red", "green", "blue"], raw=drawn / "mfnet" / "raw")


# -- photographs in folders -----------------------------------------------------------------------------


def photographs(folder: Path) -> Path:
    """Two synsets, one photograph each and split; 30 x 20 pixels, columns of 0, 1, 2, ..."""
    columns = np.broadcast_to(np.arange(30, dtype=np.uint8)[None, :, None], (20, 30, 3))
    for split in ("train", "val"):
        for wnid in ("n02000001", "n01000001"):
            (folder / split / wnid).mkdir(parents=True)
            Image.fromarray(columns).save(
                folder / split / wnid / f"{wnid}_1.JPEG", quality=100, subsampling=0
            )
    return folder


def prepare_photographs(folder: Path, out: Path, **data) -> ClassificationStore:
    acquire_folder("mine", folder, out, digest="a", spec={})
    chosen = PretrainData(source="folders", path="mine", **data)
    prepare_classification("mine", chosen, folder, out, digest="p", spec={}, scale="small")
    return ClassificationStore(out / "manifest.json")


def test_photographs_are_cut_square_about_the_centre(tmp_path):
    folder = photographs(tmp_path / "mine")
    store = prepare_photographs(folder, tmp_path / "out", form="decoded", size=20)
    assert [item["wnid"] for item in store.classes] == ["n01000001", "n02000001"]
    # Short side is 20 already: no resize, columns 5..24 are kept (JPEG moves a value by 1 or so).
    found = store.image("train", 0).astype(int)
    assert found.shape == (20, 20, 3)
    assert np.abs(found - np.arange(5, 25)[None, :, None]).max() <= 2


def test_a_photograph_of_the_right_size_is_untouched(tmp_path):
    folder = photographs(tmp_path / "mine")
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    path = folder / "train" / "n01000001" / "n01000001_1.JPEG"
    Image.fromarray(noise).save(path, format="PNG")  # one of ImageNet's own .JPEG files is a PNG
    store = prepare_photographs(folder, tmp_path / "out", form="decoded", size=20)
    np.testing.assert_array_equal(store.image("train", 0), noise)
    everything = np.concatenate([store.image("train", i).reshape(-1, 3) for i in range(2)]).astype(float)
    np.testing.assert_allclose(store.mean, everything.mean(axis=0))
    np.testing.assert_allclose(store.std, everything.std(axis=0))


def test_an_exif_orientation_leaves_the_pixels_as_stored(tmp_path):
    folder = photographs(tmp_path / "mine")
    path = folder / "train" / "n01000001" / "n01000001_1.JPEG"
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 6  # "turn by a quarter"
        image.save(path, exif=exif)
    store = prepare_photographs(folder, tmp_path / "out", form="encoded")
    assert store.image("train", 0).shape == (20, 30, 3)


def test_photographs_held_out_of_the_training_ones_take_the_place_of_the_published_ones(tmp_path):
    folder = photographs(tmp_path / "mine")
    for wnid, grey in (("n01000001", 10), ("n02000001", 20)):
        for number in range(10):
            Image.new("RGB", (20, 20), (grey + number,) * 3).save(
                folder / "train" / wnid / f"{wnid}_1{number}.JPEG", format="PNG"
            )
        (folder / "train" / wnid / f"{wnid}_1.JPEG").unlink()
    prepare_photographs(folder, tmp_path / "whole", form="decoded", size=20)
    store = prepare_photographs(folder, tmp_path / "held", form="decoded", size=20, holdout=0.3)
    seen = {
        split: {
            (store.label(split, i), int(store.image(split, i)[0, 0, 0])) for i in range(store.count(split))
        }
        for split in ("train", "val")
    }
    # Ten training photographs a class, three of each aside; published ones are columns 0, 1, 2 and in neither part.
    assert sum(label == 0 for label, _ in seen["val"]) == sum(label == 1 for label, _ in seen["val"]) == 3
    everything = {(0, 10 + k) for k in range(10)} | {(1, 20 + k) for k in range(10)}
    assert seen["train"] | seen["val"] == everything and not seen["train"] & seen["val"]
    # The statistics are those of what is trained on.
    assert store.mean[0] == pytest.approx(np.mean([value for _, value in seen["train"]]))


def test_a_class_of_one_photograph_cannot_be_held_out(tmp_path):
    folder = photographs(tmp_path / "mine")
    with pytest.raises(
        BenchError, match="n01000001: one training photograph .* leave pretrain.data.holdout unset"
    ):
        prepare_photographs(folder, tmp_path / "out", form="decoded", size=20, holdout=0.3)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda f: (f / "val" / "n02000001").rename(f / "val" / "n03000001"),
            "synset n02000001 is in one of train",
        ),
        (
            lambda f: (f / "train" / "n02000001" / "n02000001_1.JPEG").unlink(),
            "n02000001: holds no photographs",
        ),
        (lambda f: (f / "val").rename(f / "validation"), "val: no such folder"),
        (
            lambda f: (f / "train" / "n01000001" / "n01000001_1.JPEG").write_bytes(b"?"),
            "not a readable picture",
        ),
    ],
)
def test_spoilt_photograph_folders_are_named(spoil, words, tmp_path):
    folder = photographs(tmp_path / "mine")
    spoil(folder)
    with pytest.raises(BenchError, match=words):
        prepare_photographs(folder, tmp_path / "out", form="decoded", size=20)
    assert nothing_left(tmp_path / "out")


# -- data of one's own ----------------------------------------------------------------------------------

DESCRIPTION = """
unit: scene
channels:
  - {name: red, unit: count, folder: rgb, plane: 0}
  - {name: green, unit: count, folder: rgb, plane: 1}
  - {name: heat, unit: count, folder: heat, dtype: uint16}
  - {name: height, unit: metres, folder: height, dtype: float32}
classes:
  - {name: ground, colour: [0, 0, 0]}
  - {name: crack, colour: [255, 255, 255]}
"""


@pytest.fixture
def mine(tmp_path):
    """Three samples of 5 x 7 pixels in four folders, with 8-bit, 16-bit and float channels."""
    folder = tmp_path / "mine"
    rng = np.random.default_rng(0)
    for role in ("rgb", "heat", "height", "labels", "splits"):
        (folder / role).mkdir(parents=True)
    for split, name in (("train", "a.1"), ("val", "b"), ("test", "c")):
        Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).save(folder / "rgb" / f"{name}.png")
        Image.fromarray(rng.integers(0, 65536, (5, 7), dtype=np.uint16)).save(folder / "heat" / f"{name}.png")
        tifffile.imwrite(folder / "height" / f"{name}.tif", rng.normal(size=(5, 7)).astype(np.float32))
        labels = rng.integers(0, 2, (5, 7), dtype=np.uint8)
        labels[0, 0] = 255
        Image.fromarray(labels).save(folder / "labels" / f"{name}.png")
        (folder / "splits" / f"{split}.txt").write_text(f"{name}\n")
    (folder / "dataset.yaml").write_text(DESCRIPTION)
    return folder


def prepare_mine(folder: Path, channels=("height", "red", "heat"), **target) -> SegmentationStore:
    out = folder.parent / "out"
    acquire_folder("mine", folder, out, digest="a", spec={})
    prepare(
        out,
        "mine",
        list(channels),
        "small",
        raw=folder,
        source="folder",
        path="mine",
        description="dataset.yaml",
        **target,
    )
    return SegmentationStore(out / "manifest.json")


def test_a_folder_of_ones_own_is_read_as_described(mine):
    store = prepare_mine(mine)
    assert [channel["name"] for channel in store.channels] == ["height", "red", "heat"]
    assert store.manifest.splits == {"train": ["a.1"], "val": ["b"], "test": ["c"]}
    assert store.evaluation_split == "test" and store.manifest.unit == "scene"
    for name in ("a.1", "b", "c"):
        height = tifffile.imread(mine / "height" / f"{name}.tif")
        red = np.array(Image.open(mine / "rgb" / f"{name}.png"))[..., 0]
        heat = np.array(Image.open(mine / "heat" / f"{name}.png"))
        np.testing.assert_array_equal(store.image(name), np.dstack([height, red, heat]).astype(np.float32))
        labels = np.array(Image.open(mine / "labels" / f"{name}.png"))
        np.testing.assert_array_equal(store.labels(name, "full"), labels)


def test_the_description_may_lie_elsewhere_and_is_then_a_source(mine):
    elsewhere = mine.parent / "mine.yaml"
    (mine / "dataset.yaml").rename(elsewhere)
    out = mine.parent / "out"
    acquire_folder("mine", mine, out, digest="a", spec={})
    target = Target(
        source="folder", path="mine", description="dataset.yaml", channels=("red", "green", "heat")
    )
    prepare_target("mine", target, mine, out, digest="p", spec={}, scale="small", description=elsewhere)
    sources = SegmentationStore(out / "manifest.json").manifest.sources
    assert "mine.yaml" in [item["path"] for item in sources]


def write(path: Path, content: np.ndarray) -> None:
    Image.fromarray(content).save(path)


def change(old: str, new: str):
    return lambda f: (f / "dataset.yaml").write_text(DESCRIPTION.replace(old, new))


SPOILT_MINE = [
    (
        lambda f: (f / "heat" / "b.png").unlink(),
        BenchError,
        r"sample b of splits/val\.txt has no picture in .*heat",
    ),
    (
        lambda f: write(f / "heat" / "b.png", np.zeros((5, 6), np.uint16)),
        BenchError,
        r"heat/b\.png: 5 x 6 pixels",
    ),
    (
        lambda f: write(f / "labels" / "b.png", np.full((5, 7), 2, np.uint8)),
        BenchError,
        r"b\.png: label 2 on 35 pixels",
    ),
    (
        lambda f: write(f / "heat" / "b.png", np.zeros((5, 7), np.uint8)),
        BenchError,
        r"b\.png: values of type uint8, but channel heat is declared uint16",
    ),
    (
        change("folder: heat, dtype: uint16", "folder: heat"),
        BenchError,
        "values of type uint16, but channel heat is declared uint8",
    ),
    (lambda f: (f / "splits" / "train.txt").write_text("\n"), BenchError, r"train\.txt: the list is empty"),
    (lambda f: (f / "splits" / "test.txt").unlink(), BenchError, r"test\.txt: missing"),
    (
        lambda f: (f / "splits" / "val.txt").write_text("a.1\n"),
        BenchError,
        r"sample 'a\.1' is in two splits, train and val",
    ),
    (
        lambda f: (f / "splits" / "val.txt").write_text("b\nb\n"),
        BenchError,
        r"the split 'val' lists 'b' twice",
    ),
    (lambda f: (f / "splits" / "val.txt").write_text("../b\n"), BenchError, r"'\.\./b' is no sample name"),
    (
        lambda f: write(f / "rgb" / "b.jpg", np.zeros((5, 7, 3), np.uint8)),
        BenchError,
        r"b\.jpg and .*b\.png are both sample b",
    ),
    (lambda f: (f / "dataset.yaml").unlink(), RequestError, "no such description"),
    (change("classes:", "clases:"), RequestError, r"unknown key clases; did you mean classes\?"),
    (change("plane: 1", "plan: 1"), RequestError, r"unknown key channels\[1\]\.plan; did you mean plane\?"),
    (change("unit: metres, ", ""), RequestError, r"channels\[3\]\.unit is missing"),
    (
        change("float32", "float"),
        RequestError,
        r"channels\[3\]\.dtype is 'float'; expected one of uint8, uint16, float32",
    ),
    (change("name: green", "name: red"), RequestError, "channels names 'red' twice"),
    (change("[255, 255, 255]", "[255, 255]"), RequestError, r"classes\[1\]\.colour is \[255, 255\]"),
    (change("unit: scene", "unit: scene\nignore_index: 1"), RequestError, "ignore_index 1 is also a class"),
    (change("unit: scene", "unit: [scene"), RequestError, "not readable as YAML"),
    (change("unit: scene", "unit: scene\nunit: tile"), RequestError, "line 3: the key 'unit' stands twice"),
    (change("plane: 0}", "plane: 0, plane: 1}"), RequestError, "line 4: the key 'plane' stands twice"),
    (change("unit: scene", "? [a]\n: 1"), RequestError, "line 2: a key is one word, found a sequence"),
    (change("unit: scene", "5: 1"), RequestError, "unknown key 5; known are title"),
    (change("unit: scene", "ignore_index: .nan"), RequestError, "ignore_index is nan"),
    (change("dtype: float32", "dtype: [1]"), RequestError, r"channels\[3\]\.dtype is \[1\]; expected one of"),
    (
        lambda f: (f / "dataset.yaml").write_bytes(b"unit: \xe9"),
        RequestError,
        r"dataset\.yaml: cannot be read as text",
    ),
    (
        lambda f: (f / "dataset.yaml").rename(f / "old") and (f / "dataset.yaml").mkdir(),
        RequestError,
        r"dataset\.yaml: cannot be read as text",
    ),
    (
        lambda f: (f / "splits" / "val.txt").write_bytes(b"b\xe9\n"),
        BenchError,
        r"val\.txt: not UTF-8 text",
    ),
    (
        change("name: heat", "name: warmth"),
        RequestError,
        "describes no channel 'heat', which the study asks for",
    ),
    (change("plane: 0", "plane: 3"), BenchError, "has 3 planes, but channel red is declared its plane 3"),
]


@pytest.mark.parametrize(("spoil", "error", "words"), SPOILT_MINE)
def test_a_spoilt_folder_of_ones_own_is_named_and_nothing_is_left(spoil, error, words, mine):
    spoil(mine)
    with pytest.raises(error, match=words) as raised:
        prepare_mine(mine)
    assert raised.value.exit_code == error.exit_code
    assert nothing_left(mine.parent / "out")


RGH = ("red", "green", "heat")
WANTED = Target(source="folder", path="mine", description="dataset.yaml", channels=RGH)
SCORED = Evaluation(
    pixels=("full",), primary="full", metric="mIoU", leave_out=("crack",), window=64, stride=64
)


def test_a_request_is_checked_against_the_description_and_no_picture(tmp_path):
    description = tmp_path / "mine.yaml"  # alone: there is no picture to read
    description.write_text(DESCRIPTION)
    check_request("mine", WANTED, SCORED, description)


@pytest.mark.parametrize(
    ("target", "evaluation", "words"),
    [
        ({"channels": ("red", "green", "hea")}, {}, "datasets.mine: FILE: describes no channel 'hea'"),
        ({"split": "half"}, {}, "datasets.mine: FILE: a folder dataset has split official"),
        ({"labels": "eroded"}, {}, "the study asks for split official and labels eroded"),
        ({}, {"pixels": ("full", "eroded")}, "evaluate.mine.pixels: FILE describes no 'eroded'; it has full"),
        (
            {},
            {"leave_out": ("crak",)},
            "evaluate.mine.leave_out: FILE describes no 'crak'; it has ground, crack",
        ),
        ({}, {"leave_out": ("ground", "crack")}, "evaluate.mine.leave_out: no class of FILE is left"),
    ],
)
def test_a_request_that_the_description_does_not_grant_is_refused(target, evaluation, words, tmp_path):
    description = tmp_path / "mine.yaml"
    description.write_text(DESCRIPTION)
    with pytest.raises(RequestError) as error:
        check_request("mine", replace(WANTED, **target), replace(SCORED, **evaluation), description)
    assert words.replace("FILE", str(description)) in str(error.value)


@pytest.mark.parametrize("name", ["nothing.yaml", "", "nul\0"])
def test_a_request_without_a_description_is_refused(name, tmp_path):
    with pytest.raises(RequestError, match=r"no such description|cannot be read as text"):
        check_request("mine", WANTED, SCORED, tmp_path / name)


def test_sixteen_bit_colour_png_is_refused_since_it_would_be_cut_to_eight(mine):
    # A PNG header for 7 x 5 pixels of 16-bit colour; it is refused before any pixel is decoded.
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (7).to_bytes(4) + (5).to_bytes(4) + bytes([16, 2, 0, 0, 0])
    (mine / "rgb" / "b.png").write_bytes(header)
    with pytest.raises(BenchError, match=r"b\.png: a 16-bit colour PNG"):
        prepare_mine(mine)


def test_a_channel_that_never_changes_is_refused(mine):
    write(mine / "heat" / "a.1.png", np.full((5, 7), 7, np.uint16))
    with pytest.raises(BenchError, match="channel heat is 7 in every pixel of the training split"):
        prepare_mine(mine)


def test_palette_labels_are_read_as_indices(mine):
    indexed = Image.fromarray(np.ones((5, 7), np.uint8))
    indexed.putpalette([9, 9, 9, 200, 0, 0])
    indexed.save(mine / "labels" / "c.png")
    assert (prepare_mine(mine).labels("c", "full") == 1).all()


@pytest.mark.real
def test_the_crack_scenes_are_read_through_their_description(tmp_path):
    if "BENCH_REAL" not in os.environ:
        pytest.skip("BENCH_REAL is not set: the folder with the real pictures (crack/) is needed")
    folder = Path(os.environ["BENCH_REAL"]) / "crack"
    acquire_folder("crack", folder, tmp_path, digest="a", spec={})
    target = Target(
        source="folder",
        path="crack",
        description="dataset.yaml",
        channels=("red", "green", "blue", "thermal", "depth"),
    )
    description = ROOT / "config" / "datasets" / "crack.yaml"
    prepare_target(
        "crack", target, folder, tmp_path, digest="p", spec={}, scale="small", description=description
    )
    store = SegmentationStore(tmp_path / "manifest.json")
    assert {split: len(store.split(split)) for split in ("train", "val", "test")} == {
        "train": 212,
        "val": 40,
        "test": 80,
    }
    name = store.split("test")[0]
    files = (f"rgb/{name}.jpg", f"thermal/{name}.png", f"depth/{name}.png")
    expected = [np.array(Image.open(folder / file)) for file in files]
    np.testing.assert_array_equal(store.image(name), np.dstack(expected))
    assert store.manifest.class_pixels["train"][1] > 0
