"""The drawn archives have the published names, depths, modes and encodings, and teach what they claim to."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from bench.catalog.index import CATALOG
from bench.catalog.isaid import ISAID
from bench.catalog.mfnet import MFNET
from bench.catalog.potsdam import POTSDAM, POTSDAM_SPLIT
from bench.catalog.pst900 import PST900
from bench.data.miniature import class_pictures, scenes
from bench.data.miniature.archives import write_archives
from bench.errors import RequestError
from bench.record import sha256_file
from bench.seeds import seed_for
from bench.study.datasets import Miniature

SIZES = Miniature(seed=0, train_images=4, val_images=2, scenes=7, side=40)
FEW = Miniature(seed=0, train_images=2, val_images=1, scenes=3, side=40)
OTHERS = 2  # a third of 7 scenes, at least two


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archives")
    for name in CATALOG:
        write_archives(name, folder / name, SIZES)
    return folder


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def tar_members(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive.getmembers()}  # type: ignore[union-attr]


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def pixels(content: bytes) -> np.ndarray:
    return np.array(opened(content))


def shares(label: np.ndarray, colours: list[tuple[int, int, int]]) -> np.ndarray:
    """Count the pixels of each colour; what is no listed colour is left over."""
    return np.array([(label == np.array(colour)).all(2).sum() for colour in colours])


# All archives


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_every_archive_of_the_catalogue_is_written_and_nothing_else(drawn: Path, name: str) -> None:
    found = {
        path.relative_to(drawn / name).as_posix() for path in (drawn / name).rglob("*") if path.is_file()
    }
    assert found == {archive.path for archive in CATALOG[name].archives}


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_the_same_sizes_give_the_same_bytes_and_another_seed_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_archives(name, tmp_path / "first", FEW)
    # Another day and another global random state; the bytes may know neither.
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    np.random.seed(1)
    write_archives(name, tmp_path / "again", FEW)
    write_archives(name, tmp_path / "other", replace(FEW, seed=1))
    for archive in CATALOG[name].archives:
        first = sha256_file(tmp_path / "first" / archive.path)
        assert sha256_file(tmp_path / "again" / archive.path) == first
        if "devkit" not in archive.path:
            assert sha256_file(tmp_path / "other" / archive.path) != first


def test_a_name_without_a_miniature_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no miniature of 'vaihingen'.*'potsdam'"):
        write_archives("vaihingen", tmp_path, SIZES)
    assert list(tmp_path.iterdir()) == []


# ImageNet-1K


def devkit(folder: Path) -> dict[str, bytes]:
    with tarfile.open(folder / "imagenet1k" / "ILSVRC2012_devkit_t12.tar.gz") as archive:
        return {
            name: archive.extractfile(name).read()  # type: ignore[union-attr]
            for name in archive.getnames()
        }


def test_imagenet_train_is_a_tar_of_one_tar_a_synset(drawn: Path) -> None:
    outer = tar_members((drawn / "imagenet1k" / "ILSVRC2012_img_train.tar").read_bytes())
    assert sorted(outer) == sorted(f"{each.wnid}.tar" for each in class_pictures.CLASSES)
    modes = []
    for name, content in outer.items():
        inner = tar_members(content)
        assert len(inner) == SIZES.train_images
        for file, jpeg in inner.items():
            stem, number = file.removesuffix(".JPEG").split("_")
            assert stem == name.removesuffix(".tar")
            assert number.isdecimal()
            picture = opened(jpeg)
            assert picture.format == "JPEG"
            assert min(picture.size) == SIZES.side
            modes.append(picture.mode)
    assert modes.count("CMYK") == 1
    assert modes.count("L") == 2
    assert modes.count("RGB") == len(modes) - 3


def test_imagenet_val_is_flat_and_its_ground_truth_has_one_line_a_picture(drawn: Path) -> None:
    val = tar_members((drawn / "imagenet1k" / "ILSVRC2012_img_val.tar").read_bytes())
    count = len(class_pictures.CLASSES) * SIZES.val_images
    assert sorted(val) == [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, count + 1)]
    truth = devkit(drawn)["ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"].decode()
    ids = [int(line) for line in truth.splitlines()]
    # Every class equally often, by 1-based ids.
    assert np.bincount(ids).tolist() == [0] + [SIZES.val_images] * len(class_pictures.CLASSES)


def test_meta_mat_reads_as_the_real_one_does(drawn: Path) -> None:
    content = devkit(drawn)["ILSVRC2012_devkit_t12/data/meta.mat"]
    synsets = scipy.io.loadmat(io.BytesIO(content), squeeze_me=True)["synsets"]
    assert synsets.dtype.names == (
        "ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height", "num_train_images",
    )  # fmt: skip
    leaves = [row for row in synsets if row["num_children"] == 0]
    inner = [row for row in synsets if row["num_children"] > 0]
    assert [row["ILSVRC2012_ID"] for row in leaves] == list(range(1, len(class_pictures.CLASSES) + 1))
    wnids = [str(row["WNID"]) for row in leaves]
    assert sorted(wnids) == sorted(each.wnid for each in class_pictures.CLASSES)
    assert wnids != sorted(wnids), "the ids must not be those of sorted WordNet ids"
    for row in inner:
        assert np.atleast_1d(row["children"]).size == row["num_children"]
    # Every leaf has a parent.
    children = {int(child) for row in inner for child in np.atleast_1d(row["children"])}
    assert {int(row["ILSVRC2012_ID"]) for row in leaves} < children


def test_val_ground_truth_names_what_the_picture_shows(drawn: Path) -> None:
    # Seashore is blue in five of six pictures, tile roofs are red: the mean of red less blue must tell them apart
    # if ids, ground truth and pictures belong together.
    kit = devkit(drawn)
    synsets = scipy.io.loadmat(io.BytesIO(kit["ILSVRC2012_devkit_t12/data/meta.mat"]), squeeze_me=True)[
        "synsets"
    ]
    wnid = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
    truth = kit["ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"].split()
    val = tar_members((drawn / "imagenet1k" / "ILSVRC2012_img_val.tar").read_bytes())
    tint: dict[str, list[float]] = {}
    for name, place in zip(sorted(val), truth, strict=True):
        mean = pixels(val[name]).reshape(-1, 3).mean(0)
        tint.setdefault(wnid[int(place)], []).append(mean[0] - mean[2])
    assert np.mean(tint["n04435653"]) > 0 > np.mean(tint["n09428293"])


# iSAID


def isaid(folder: Path, split: str) -> tuple[dict[str, bytes], dict[str, bytes]]:
    images: dict[str, bytes] = {}
    for path in sorted((folder / "isaid" / split / "images").glob("part*.zip")):
        images |= members(path)
    return images, members(folder / "isaid" / split / "Semantic_masks" / "images.zip")


def test_isaid_masks_name_their_images_and_hold_palette_colours_alone(drawn: Path) -> None:
    sizes, numbers = [], []
    for split, count in (("train", SIZES.scenes), ("val", OTHERS)):
        images, masks = isaid(drawn, split)
        assert len(images) == count
        stems = [name.removesuffix(".png") for name in images]
        assert sorted(masks) == sorted(f"{stem}_instance_color_RGB.png" for stem in stems)
        for stem in stems:
            image, mask = opened(images[f"{stem}.png"]), opened(masks[f"{stem}_instance_color_RGB.png"])
            assert image.format == mask.format == "PNG"
            assert mask.mode == "RGB"
            assert image.size == mask.size
            assert image.width % 32 and image.height % 32
            assert (
                shares(np.array(mask), [each.colour for each in ISAID.classes]).sum()
                == mask.width * mask.height
            )
            sizes.append(min(image.size))
            numbers.append(stem)
            assert stem.startswith("images/P") and len(stem) == len("images/P0000")
    assert len(set(numbers)) == SIZES.scenes + OTHERS
    assert min(sizes) < SIZES.side < max(sizes)


# MFNet


def test_mfnet_lists_flips_without_files_and_four_plane_pictures(drawn: Path) -> None:
    files = members(drawn / "mfnet" / "ir_seg_dataset.zip")
    root = "ir_seg_dataset"
    lists = {name: files[f"{root}/{name}.txt"].decode().split() for name in
             ("train", "val", "test", "test_day", "test_night", "black_list")}  # fmt: skip
    real = [name for name in lists["train"] if not name.endswith("_flip")]
    assert len(real) == SIZES.scenes
    assert sorted(lists["train"]) == sorted(real + [f"{name}_flip" for name in real])
    assert not [name for name in files if "_flip" in name and name.endswith(".png")]
    assert len(lists["val"]) == len(lists["test"]) == OTHERS
    assert sorted(lists["test_day"] + lists["test_night"]) == sorted(lists["test"])
    assert all(name.endswith("D") for name in lists["test_day"])
    assert all(name.endswith("N") for name in lists["test_night"])
    listed = real + lists["val"] + lists["test"]
    assert len(set(listed)) == len(listed)
    assert not set(lists["black_list"]) & set(listed)
    for name in listed:
        assert len(name) == 6 and name[:5].isdecimal() and name[5] in "DN"
        image, label = opened(files[f"{root}/images/{name}.png"]), opened(files[f"{root}/labels/{name}.png"])
        assert (image.mode, label.mode) == ("RGBA", "L")
        assert image.size == label.size
        assert np.array(label).max() < MFNET.num_classes


# PST900


def pst900(folder: Path, split: str) -> dict[str, dict[str, np.ndarray]]:
    files = members(folder / "pst900" / "PST900_RGBT_Dataset.zip")
    found: dict[str, dict[str, np.ndarray]] = {}
    for path, content in files.items():
        root, part, kind, name = path.split("/")
        assert root == "PST900_RGBT_Dataset"
        if part == split:
            found.setdefault(name, {})[kind] = pixels(content)
    return found


def test_pst900_has_five_folders_of_the_published_depths_and_several_bags(drawn: Path) -> None:
    bags = {}
    for split, count in (("train", SIZES.scenes), ("test", OTHERS)):
        scenes_found = pst900(drawn, split)
        assert len(scenes_found) == count
        for name, planes in scenes_found.items():
            number, bag, tail = name.split("_", 2)
            assert number.isdecimal() and bag.startswith("bag")
            assert tail.startswith("rect_rgb_frame") and len(tail) == len("rect_rgb_frame0000000007.png")
            bags.setdefault(split, set()).add(bag)
            shape = planes["labels"].shape
            assert {kind: (str(array.dtype), array.shape) for kind, array in planes.items()} == {
                "rgb": ("uint8", (*shape, 3)),
                "thermal": ("uint8", shape),
                "thermal_raw": ("uint16", shape),
                "depth": ("uint16", shape),
                "labels": ("uint8", shape),
            }
            assert planes["labels"].max() < PST900.num_classes
            # Holes are zero in both thermal pictures, and elsewhere neither is.
            assert ((planes["thermal"] == 0) == (planes["thermal_raw"] == 0)).all()
            assert (planes["thermal"] == 0).any() and (planes["depth"] == 0).any()
            assert planes["thermal_raw"].max() > 255 and planes["depth"].max() > 255
    assert len(bags["train"]) > 1 and len(bags["test"]) > 1
    assert not bags["train"] & bags["test"]


# Potsdam


def test_potsdam_archives_hold_the_published_names(drawn: Path) -> None:
    tiles = {"train": [], "test": []}
    for path in members(drawn / "potsdam" / "5_Labels_all.zip"):
        tile = path.removeprefix("top_potsdam_").removesuffix("_label.tif")
        tiles[next(split for split, names in POTSDAM_SPLIT.items() if tile in names)].append(tile)
    assert (len(tiles["train"]), len(tiles["test"])) == (SIZES.scenes, OTHERS)
    everything = tiles["train"] + tiles["test"]
    padded = {tile: "_".join(f"{int(number):02d}" for number in tile.split("_")) for tile in everything}
    expected = {
        "1_DSM.zip": [f"1_DSM/dsm_potsdam_{padded[t]}.{kind}" for t in everything for kind in ("tif", "tfw")],
        "1_DSM_normalisation.zip": [
            f"1_DSM_normalisation/dsm_potsdam_{padded[t]}_normalized_{kind}.jpg"
            for t in everything for kind in ("lastools", "ownapproach")
        ],
        "5_Labels_all_noBoundary.zip": [
            f"5_Labels_all_noBoundary/top_potsdam_{t}_label_noBoundary.tif" for t in everything
        ],
    }  # fmt: skip
    for archive, letters in (("2_Ortho_RGB", "RGB"), ("3_Ortho_IRRG", "IRRG"), ("4_Ortho_RGBIR", "RGBIR")):
        expected[f"{archive}.zip"] = [
            f"{archive}/top_potsdam_{t}_{letters}.{kind}" for t in everything for kind in ("tif", "tfw")
        ]
    for archive, names in expected.items():
        assert sorted(members(drawn / "potsdam" / archive)) == sorted(names)


def potsdam(folder: Path, tile: str) -> dict[str, np.ndarray]:
    row, column = (int(number) for number in tile.split("_"))
    names: dict[str, tuple[str, str]] = {
        "height": ("1_DSM.zip", f"1_DSM/dsm_potsdam_{row:02d}_{column:02d}.tif"),
        "rgb": ("2_Ortho_RGB.zip", f"2_Ortho_RGB/top_potsdam_{tile}_RGB.tif"),
        "irrg": ("3_Ortho_IRRG.zip", f"3_Ortho_IRRG/top_potsdam_{tile}_IRRG.tif"),
        "rgbir": ("4_Ortho_RGBIR.zip", f"4_Ortho_RGBIR/top_potsdam_{tile}_RGBIR.tif"),
        "label": ("5_Labels_all.zip", f"top_potsdam_{tile}_label.tif"),
        "eroded": (
            "5_Labels_all_noBoundary.zip",
            f"5_Labels_all_noBoundary/top_potsdam_{tile}_label_noBoundary.tif",
        ),
    }
    return {
        key: tifffile.imread(io.BytesIO(members(folder / "potsdam" / archive)[name]))
        for key, (archive, name) in names.items()
    }


PALETTE = [each.colour for each in POTSDAM.classes]


def test_potsdam_channel_orders_agree_between_the_three_orthophotos(drawn: Path) -> None:
    tile = potsdam(drawn, "2_10")
    assert tile["rgbir"].dtype == np.uint8 and tile["rgbir"].shape[2] == 4
    assert (tile["rgbir"][:, :, :3] == tile["rgb"]).all()
    assert (tile["irrg"] == tile["rgbir"][:, :, [3, 0, 1]]).all()
    assert tile["height"].dtype == np.float32
    assert tile["height"].shape == tile["rgb"].shape[:2]
    assert tile["height"].min() > 20, "absolute heights, not heights above the ground"


def test_potsdam_eroded_labels_blacken_boundaries_alone(drawn: Path) -> None:
    tile = potsdam(drawn, "2_10")
    full, eroded = tile["label"], tile["eroded"]
    assert shares(full, PALETTE).sum() == full.shape[0] * full.shape[1]
    black = (eroded == 0).all(2)
    assert 0.02 < black.mean() < 0.5
    assert (full[~black] == eroded[~black]).all()
    # Brute force: a pixel is black exactly if one of its eight neighbours has another colour.
    rows = black.shape[0]
    for row, column in np.random.default_rng(0).integers(1, rows - 1, (200, 2)):
        around = full[row - 1 : row + 2, column - 1 : column + 2].reshape(-1, 3)
        assert black[row, column] == (len(np.unique(around, axis=0)) > 1)


def test_potsdam_published_defects_are_there(drawn: Path) -> None:
    blended = potsdam(drawn, "4_12")["label"]
    assert shares(blended, PALETTE).sum() == 0
    assert shares(np.where(blended > 127, 255, 0), PALETTE).sum() == blended.shape[0] * blended.shape[1]
    cars = shares(potsdam(drawn, "6_7")["label"], [(255, 255, 0), (252, 255, 0)])
    assert cars[0] == 0 and cars[1] > 0
    assert shares(potsdam(drawn, "6_7")["eroded"], [(255, 255, 0), (252, 255, 0)])[1] == 0
    short = potsdam(drawn, "3_13")
    assert short["height"].shape == (short["label"].shape[0], short["label"].shape[1] - 1)
    normalised = members(drawn / "potsdam" / "1_DSM_normalisation.zip")
    assert normalised["1_DSM_normalisation/dsm_potsdam_03_13_normalized_ownapproach.jpg"] == b""


# What the scenes teach


def present(folder: Path, name: str, split: str) -> set[int]:
    """Return the class indices that occur in a split, read from the published files."""
    if name == "isaid":
        masks = [
            pixels(content) for content in isaid(folder, "val" if split == "test" else split)[1].values()
        ]
        counts = sum(shares(mask, [each.colour for each in ISAID.classes]) for mask in masks)
        return set(np.flatnonzero(counts).tolist())
    if name == "mfnet":
        files = members(folder / "mfnet" / "ir_seg_dataset.zip")
        frames = files[f"ir_seg_dataset/{split}.txt"].decode().split()
        labels = [
            pixels(files[f"ir_seg_dataset/labels/{frame.removesuffix('_flip')}.png"]) for frame in frames
        ]
        return {int(value) for label in labels for value in np.unique(label)}
    if name == "pst900":
        return {
            int(value) for planes in pst900(folder, split).values() for value in np.unique(planes["labels"])
        }
    labels = members(folder / "potsdam" / "5_Labels_all.zip")
    split_labels = [
        np.where(tifffile.imread(io.BytesIO(content)) > 127, 255, 0)
        for path, content in labels.items()
        if path.removeprefix("top_potsdam_").removesuffix("_label.tif") in POTSDAM_SPLIT[split]
    ]
    return set(np.flatnonzero(sum(shares(label, PALETTE) for label in split_labels)).tolist())


@pytest.mark.parametrize(
    ("name", "drawn_classes", "train_alone"),
    [
        ("isaid", {0, *(kind.label for kind in scenes.ISAID_KINDS)}, set()),
        ("mfnet", {0, 4, *(kind.label for kind in scenes.MFNET_KINDS)}, {scenes.MFNET_GUARDRAIL.label}),
        ("pst900", {0, *(kind.label for kind in scenes.PST900_KINDS)}, set()),
        ("potsdam", set(range(6)), set()),
    ],
)
def test_every_drawn_class_is_in_train_and_test(
    drawn: Path, name: str, drawn_classes: set[int], train_alone: set[int]
) -> None:
    assert present(drawn, name, "train") == drawn_classes | train_alone
    assert present(drawn, name, "test") == drawn_classes
    assert 2 * len(drawn_classes) > CATALOG[name].num_classes


def test_every_class_is_in_every_potsdam_tile(drawn: Path) -> None:
    for path, content in members(drawn / "potsdam" / "5_Labels_all.zip").items():
        label = np.where(tifffile.imread(io.BytesIO(content)) > 127, 255, 0)
        assert (shares(label, PALETTE) > 0).all(), path


def test_people_are_warmer_than_what_is_round_them_in_thermal(drawn: Path) -> None:
    files = members(drawn / "mfnet" / "ir_seg_dataset.zip")
    contrast = []
    for frame in files["ir_seg_dataset/train.txt"].decode().split():
        if not frame.endswith("_flip"):
            thermal = pixels(files[f"ir_seg_dataset/images/{frame}.png"])[:, :, 3].astype(float)
            label = pixels(files[f"ir_seg_dataset/labels/{frame}.png"])
            if (label == 2).any():
                contrast.append(np.median(thermal[label == 2]) - np.median(thermal[label == 0]))
    assert len(contrast) >= 3
    assert min(contrast) > 10


def test_heights_follow_buildings_and_trees(drawn: Path) -> None:
    above: dict[str, list[float]] = {"building": [], "tree": [], "car": []}
    for tile in POTSDAM_SPLIT["train"][:4]:
        planes = potsdam(drawn, tile)
        where = {each.name: (planes["label"] == each.colour).all(2) for each in POTSDAM.classes}
        ground = np.median(planes["height"][where["impervious_surface"] | where["low_vegetation"]])
        for name, heights in above.items():
            if where[name].any():
                heights.append(float(np.median(planes["height"][where[name]]) - ground))
    assert min(above["building"]) > 2
    assert min(above["tree"]) > 2
    assert np.mean(above["car"]) < min(np.mean(above["building"]), np.mean(above["tree"]))


def test_colour_goes_with_the_class_in_the_pictures_and_with_nothing_in_the_targets() -> None:
    def lean(draw: Callable[[np.random.Generator], np.ndarray]) -> float:
        """Return the mean of red less blue over the drawn objects, in standard deviations."""
        rows = [draw(np.random.default_rng(seed_for("test", number))).astype(float) for number in range(30)]
        tint = [row[0] - row[2] for row in rows]
        return float(np.mean(tint) / np.std(tint))

    cab = next(each for each in class_pictures.CLASSES if each.wnid == "n02930766")
    car = scenes.MFNET_KINDS[0]

    def in_picture(generator: np.random.Generator) -> np.ndarray:
        return class_pictures.class_picture(generator, cab, (40, 40))[16:24, 16:24].reshape(-1, 3).mean(0)

    def in_scene(generator: np.random.Generator) -> np.ndarray:
        scene = scenes.mfnet_scene(generator, (40, 54), [car], night=False)
        return scene.rgb_HWC[scene.label_HW == car.label].mean(0)

    # Thirty random tints have a mean within 0.5 deviations of zero (2.7 standard errors).
    assert lean(in_picture) > 1
    assert abs(lean(in_scene)) < 0.5
