"""Forms, splits, geometries, rules and statistics that a study may ask for, against what the archives hold."""

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawn_data import copy_of, nothing_left, prepare, prepared_bytes, rewrite
from PIL import Image

from bench.catalog.index import CATALOG
from bench.catalog.potsdam import POTSDAM_SPLITS
from bench.data.acquire import acquire_folder
from bench.data.pictures import check_photograph, read_rgb
from bench.data.prepare import photographs
from bench.data.prepare.holdout import hold_out
from bench.data.prepare.potsdam import collect as collect_potsdam
from bench.data.prepare.pst900 import fill_holes
from bench.data.prepare.run import prepare_classification
from bench.data.store import ClassificationStore, SegmentationStore
from bench.errors import BenchError, RequestError
from bench.study.datasets import PretrainData, Target

RGB = ["red", "green", "blue"]


def splits_of(store: SegmentationStore) -> dict[str, list[str]]:
    return {name: ids for name, ids in store.manifest.splits.items() if ids}


# -- iSAID's layouts ------------------------------------------------------------------------------------


def relaid(drawn: Path, folder: Path, place) -> Path:
    """Copy iSAID's raw files to where `place(split, file name)` says, and add a mask of instances to each."""
    out = copy_of(drawn, "isaid", folder)
    raw = out / "raw"
    for path in sorted(raw.rglob("*.png")):
        split = path.relative_to(raw).parts[0]
        target = out / "other" / place(split, path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        if path.stem.endswith("_instance_color_RGB"):
            other = path.name.replace("instance_color", "instance_id")
            beside = out / "other" / place(split, other)
            beside.parent.mkdir(parents=True, exist_ok=True)
            # Colours of a class mask, all of one class: read in its place, nothing would be refused.
            Image.new("RGB", (8, 8), (0, 0, 63)).save(beside)
    return out


def devkit(split: str, name: str) -> str:
    return f"iSAID/{split}/images/{name}"


def mirror(split: str, name: str) -> str:
    if "_instance_" not in name:
        return f"dotav1.0_images_{split}/images/{name}"
    return f"isaid_annotations_{split}/{'Semantic' if 'color' in name else 'Instance'}_masks/{name}"


def nested_mirror(split: str, name: str) -> str:
    if "_instance_" not in name:
        return f"{split}/images/images/{name}"
    return f"{split}/Semantic_masks/{split}/{'Semantic' if 'color' in name else 'Instance'}_masks/{name}"


@pytest.mark.parametrize("place", [devkit, mirror, nested_mirror])
def test_every_layout_of_isaid_gives_the_same_arrays(place, drawn, tmp_path):
    out = relaid(drawn, tmp_path, place)
    prepare(out, "isaid", raw=out / "other")
    assert prepared_bytes(out) == prepared_bytes(drawn / "isaid")


def test_masks_of_instances_alone_are_named(drawn, tmp_path):
    out = relaid(drawn, tmp_path, devkit)
    for path in (out / "other").rglob("*_instance_color_RGB.png"):
        path.unlink()
    with pytest.raises(
        BenchError, match=r"the train split has masks of instances alone \(_instance_id_RGB\)"
    ):
        prepare(out, "isaid", raw=out / "other")


def test_an_image_of_isaid_too_many_is_named(drawn, tmp_path):
    out = copy_of(drawn, "isaid", tmp_path)
    image = next((out / "raw" / "val").rglob("P*[0-9].png"))
    (image.parent / "P9999.png").write_bytes(image.read_bytes())
    with pytest.raises(BenchError, match=r"P9999\.png: an image without a semantic mask"):
        prepare(out, "isaid")
    assert nothing_left(out)


# -- geometries -----------------------------------------------------------------------------------------


def test_a_geometry_is_an_index_of_windows_that_the_manifest_counts(drawn, tmp_path, monkeypatch):
    out = copy_of(drawn, "isaid", tmp_path)
    (geometry,) = CATALOG["isaid"].geometries
    small = replace(geometry, patch=24, stride=16)  # the drawn images are some 12 to 42 pixels a side
    monkeypatch.setitem(CATALOG, "isaid", replace(CATALOG["isaid"], geometries=(small,)))
    store = prepare(out, "isaid", geometry="896/512")
    assert store.manifest.geometry == {"name": "896/512", "patch": 24, "stride": 16}
    expected = {}
    for split in ("train", "val"):
        expected[split] = 0
        for sample in store.split(split):
            # As the public converter does: starts every 16 pixels, those that leave moved back, equal ones once.
            height, width = store.shape(sample)
            tops = {min(top, max(height - 24, 0)) for top in range(0, height, 16)}
            lefts = {min(left, max(width - 24, 0)) for left in range(0, width, 16)}
            expected[split] += len(tops) * len(lefts)
    assert store.manifest.patches == expected
    assert any(min(store.shape(sample)) < 24 for sample in store.split("train"))  # narrower than a patch
    whole = SegmentationStore(drawn / "isaid" / "manifest.json").manifest
    assert (whole.geometry, whole.patches) == (None, {})
    assert store.manifest.samples == whole.samples


def test_published_patch_counts_are_held_at_full_scale(drawn, tmp_path, monkeypatch):
    entry = CATALOG["isaid"]
    own = {"train": 6, "val": 2}
    monkeypatch.setitem(CATALOG, "isaid", replace(entry, expected_counts=own))
    out = copy_of(drawn, "isaid", tmp_path)
    prepare(out, "isaid", scale="full")
    with pytest.raises(
        BenchError, match=r"geometry 896/512 gives {'train': 6, 'val': 2} .*{'train': 33978, 'val': 11644}"
    ):
        prepare(out, "isaid", scale="full", geometry="896/512")
    assert nothing_left(out)


def test_a_geometry_that_the_catalogue_lacks_is_refused(drawn, tmp_path):
    out = copy_of(drawn, "pst900", tmp_path)
    with pytest.raises(RequestError, match=r"geometry '512/512' is none of whole"):
        prepare(out, "pst900", geometry="512/512")


# -- selection ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["isaid", "mfnet", "pst900", "potsdam"])
def test_a_hold_out_takes_whole_units_of_the_training_list_alone(name, drawn, tmp_path):
    out = copy_of(drawn, name, tmp_path)
    store = prepare(out, name, selection="holdout", holdout=0.4)
    official = SegmentationStore(drawn / name / "manifest.json")
    assert store.manifest.selection == "holdout" and official.manifest.selection == "official"
    train, val = store.split("train"), store.split("val")
    # What was trained on before is now in one of the two; a mirrored frame of a held-out one is in neither.
    left = {name for name in official.split("train") if name.removesuffix("_flip") in val and name not in val}
    assert set(train) | set(val) | left == set(official.split("train")) and train and val
    units, aside = ({store.unit(sample) for sample in ids} for ids in (train, val))
    assert not units & aside
    assert len(aside) == max(1, round(0.4 * len(units | aside)))
    assert not any(sample.endswith("_flip") for sample in val)
    # What is scored stays what it was, and so does a published validation list.
    assert store.split(store.evaluation_split) == official.split(official.evaluation_split)
    assert store.manifest.splits.get("published_val", []) == official.split("val")
    # Statistics are those of what is trained on.
    values = np.concatenate([store.image(i).reshape(-1, len(store.channels)) for i in train])
    np.testing.assert_allclose(store.mean, values.mean(axis=0, dtype=np.float64), rtol=1e-5)


def test_which_units_are_held_out_follows_from_their_names_alone(drawn):
    collection = collect_potsdam(
        drawn / "potsdam" / "raw", Target(channels=tuple(RGB), labels="full"), partial=True
    )
    first = hold_out(collection, 0.5, "potsdam")
    turned = {**collection.splits, "train": collection.splits["train"][::-1]}
    again = hold_out(replace(collection, splits=turned), 0.5, "potsdam")
    assert set(first.splits["val"]) == set(again.splits["val"])
    assert set(first.splits["val"]) != set(hold_out(collection, 0.5, "other").splits["val"])
    # 6 tiles: a share of nearly nothing is one tile, of nearly all is all but one.
    assert len(hold_out(collection, 0.001, "potsdam").splits["val"]) == 1
    assert len(hold_out(collection, 0.999, "potsdam").splits["train"]) == 1


def test_a_single_unit_cannot_be_held_out(drawn):
    collection = collect_potsdam(drawn / "potsdam" / "raw", Target(channels=tuple(RGB)), partial=True)
    one = replace(collection, splits={**collection.splits, "train": ("6_7",)})
    with pytest.raises(BenchError, match=r"has 1 tile \(6_7\).*at least 2: use selection: official"):
        hold_out(one, 0.1, "potsdam")


# -- MFNet's and PST900's own -----------------------------------------------------------------------------


def test_test_frames_are_by_day_or_night_as_the_published_lists_say(drawn, tmp_path):
    out = copy_of(drawn, "mfnet", tmp_path)
    lists = {name: next((out / "raw").rglob(f"test_{name}.txt")) for name in ("day", "night")}
    before = {name: path.read_text().split() for name, path in lists.items()}
    moved = before["day"][0]
    for name, frames in (("day", before["day"][1:]), ("night", [*before["night"], moved])):
        lists[name].unlink()
        lists[name].write_text("\n".join(frames))
    store = prepare(out, "mfnet")
    assert moved.endswith("D") and store.group(moved) == "night"
    assert {store.group(frame) for frame in before["night"]} == {"night"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda day, night: (day, [*night, day[0]]),
            r"test_night\.txt: test frame \d+D is in the list of day too",
        ),
        (lambda day, night: (day[1:], night), "does not list it by day or night"),
        (
            lambda day, night: ([*day, "00000D"], night),
            "test frame 00000D: the archive lists it by day or night alone",
        ),
    ],
)
def test_a_test_frame_is_in_exactly_one_of_day_and_night(change, words, drawn, tmp_path):
    out = copy_of(drawn, "mfnet", tmp_path)
    paths = [next((out / "raw").rglob(f"test_{name}.txt")) for name in ("day", "night")]
    for path, frames in zip(paths, change(*(path.read_text().split() for path in paths)), strict=True):
        path.unlink()
        path.write_text("\n".join(frames))
    with pytest.raises(BenchError, match=words):
        prepare(out, "mfnet")


def thermal_of(drawn: Path, kind: str) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(drawn / "pst900" / "archives" / "PST900_RGBT_Dataset.zip") as opened:
        return {
            Path(name).stem: np.array(Image.open(io.BytesIO(opened.read(name))))
            for name in opened.namelist()
            if f"/{kind}/" in name and name.endswith(".png")
        }


@pytest.mark.parametrize(("kind", "word"), [("thermal", "thermal"), ("thermal_raw", "thermal-raw")])
def test_holes_of_the_thermal_pictures_are_counted_and_kept(kind, word, drawn, tmp_path):
    out = copy_of(drawn, "pst900", tmp_path)
    store = prepare(out, "pst900", [*RGB, kind])
    pictures = thermal_of(drawn, kind)
    counts = {item["sample"]: item["count"] for item in store.manifest.handled}
    assert {item["rule"] for item in store.manifest.handled} == {f"pst900-{word}-holes-kept"}
    assert counts == {name: int((picture == 0).sum()) for name, picture in pictures.items()}
    for name, picture in pictures.items():
        np.testing.assert_array_equal(store.image(name)[..., 3], picture)


def test_holes_are_filled_with_the_nearest_value_where_a_study_asks_for_it(drawn, tmp_path):
    out = copy_of(drawn, "pst900", tmp_path)
    store = prepare(out, "pst900", [*RGB, "thermal"], rules=("thermal-inpaint",))
    assert {item["rule"] for item in store.manifest.handled} == {"pst900-thermal-holes-filled"}
    for name, picture in list(thermal_of(drawn, "thermal").items())[:2]:
        found = store.image(name)[..., 3]
        seen = np.argwhere(picture > 0)
        np.testing.assert_array_equal(found[picture > 0], picture[picture > 0])
        for place in np.argwhere(picture == 0):
            squares = ((seen - place) ** 2).sum(axis=1)
            nearest = {int(picture[tuple(other)]) for other in seen[squares == squares.min()]}
            assert int(found[tuple(place)]) in nearest


def test_a_picture_of_holes_alone_cannot_be_filled():
    with pytest.raises(BenchError, match=r"a\.png: is 0 in every pixel"):
        fill_holes(np.zeros((3, 3), np.uint16), Path("a.png"))


# -- Potsdam's sources, splits and statistics -------------------------------------------------------------


@pytest.mark.parametrize(
    ("present", "channels", "expected"),
    [
        ("2_Ortho_RGB", RGB, [0, 1, 2]),
        ("3_Ortho_IRRG", ["infrared", "red", "green"], [3, 0, 1]),
        ("2_Ortho_RGB 3_Ortho_IRRG", [*RGB, "infrared"], [0, 1, 2, 3]),
    ],
)
def test_bands_come_from_the_orthophotos_at_hand(present, channels, expected, drawn, tmp_path):
    out = copy_of(drawn, "potsdam", tmp_path)
    for folder in (out / "raw").glob("*_Ortho_*"):
        if folder.name not in present.split():
            folder.rename(tmp_path / folder.name)
    store = prepare(out, "potsdam", channels)
    all_channels = SegmentationStore(drawn / "potsdam" / "manifest.json")
    for tile in store.split("train"):
        np.testing.assert_array_equal(store.image(tile), all_channels.image(tile)[..., expected])


def test_a_band_that_no_orthophoto_at_hand_has_is_named(drawn, tmp_path):
    out = copy_of(drawn, "potsdam", tmp_path)
    for name in ("3_Ortho_IRRG", "4_Ortho_RGBIR"):
        (out / "raw" / name).rename(tmp_path / name)
    with pytest.raises(
        BenchError, match="channel infrared is in 4_Ortho_RGBIR or 3_Ortho_IRRG, and none of them"
    ):
        prepare(out, "potsdam")


@pytest.mark.parametrize("protocol", list(POTSDAM_SPLITS))
def test_the_splits_of_potsdam_are_those_of_the_catalogue(protocol, drawn, tmp_path):
    # Full labels alone, and no file but names: what is asked here is which tile goes where.
    raw = tmp_path / "raw"
    tiles = [tile for ids in POTSDAM_SPLITS["official"].values() for tile in ids]
    for folder, suffix in (("2_Ortho_RGB", "RGB"), ("5_Labels_all", "label")):
        (raw / folder).mkdir(parents=True)
        for tile in tiles:
            (raw / folder / f"top_potsdam_{tile}_{suffix}.tif").touch()
    collection = collect_potsdam(raw, Target(channels=tuple(RGB), split=protocol), partial=False)
    assert {split: ids for split, ids in collection.splits.items() if ids} == POTSDAM_SPLITS[protocol]
    assert collection.published == {"train": 24, "test": 14}
    assert collection.label_variants == ("full",)
    sizes = {
        "official": (24, 14),
        "without-7_10": (23, 14),
        "without-7_10-val-2_10": (22, 14),
        "18-6": (18, 6),
    }
    assert (len(collection.splits["train"]), len(collection.splits["test"])) == sizes[protocol]
    assert ("7_10" in collection.splits["train"]) == (not protocol.startswith("without"))


def test_a_tile_that_is_not_published_is_named(drawn, tmp_path):
    out = copy_of(drawn, "potsdam", tmp_path)
    file = next((out / "raw").rglob("top_potsdam_2_10_RGBIR.tif"))
    others = [path for path in (out / "raw").rglob("top_potsdam_2_10_*.tif") if path != file]
    for path in (file, *others):
        path.with_name(path.name.replace("2_10", "9_9")).write_bytes(path.read_bytes())
    with pytest.raises(
        BenchError, match=r"top_potsdam_9_9_RGBIR\.tif: tile 9_9 is none of the 38 published ones"
    ):
        prepare(out, "potsdam", RGB)


@pytest.mark.parametrize(
    ("tile", "colour", "words"),
    [
        ("4_12", (255, 0, 255), r"top_potsdam_4_12_label\.tif: colour \(255, 0, 255\) on 1 pixels"),
        ("6_7", (251, 255, 0), r"top_potsdam_6_7_label\.tif: colour \(251, 255, 0\) on 1 pixels"),
        ("2_10", (252, 255, 0), r"top_potsdam_2_10_label\.tif: colour \(252, 255, 0\) on 1 pixels"),
    ],
)
def test_a_repair_rule_mends_its_own_defect_and_no_other(tile, colour, words, drawn, tmp_path):
    out = copy_of(drawn, "potsdam", tmp_path)
    path = next((out / "raw").rglob(f"top_potsdam_{tile}_label.tif"))
    label = tifffile.imread(path)
    label[0, 0] = colour
    rewrite(path, label)
    with pytest.raises(BenchError, match=words):
        prepare(out, "potsdam", RGB)
    assert nothing_left(out)


def test_channels_per_tile_have_statistics_a_sample(drawn, tmp_path):
    out = copy_of(drawn, "potsdam", tmp_path)
    store = prepare(out, "potsdam", [*RGB, "height"], per_tile=("height", "red"))
    assert store.mean[0] == store.mean[3] == 0 and store.std[0] == store.std[3] == 1
    stored = SegmentationStore(drawn / "potsdam" / "manifest.json")  # all channels, nothing standardised
    for sample, entry in store.manifest.samples.items():
        assert set(entry["statistics"]) == {"red", "height"}
        for channel, index in (("red", 0), ("height", 4)):
            values = stored.image(sample)[..., index].astype(np.float64)
            np.testing.assert_allclose(entry["statistics"][channel], [values.mean(), values.std()], rtol=1e-9)
    assert "statistics" not in stored.manifest.samples["2_10"]
    np.testing.assert_allclose(store.mean[1:3], stored.mean[1:3])


def test_a_tile_that_never_changes_cannot_be_standardised_by_itself(drawn, tmp_path):
    out = copy_of(drawn, "potsdam", tmp_path)
    path = next((out / "raw").rglob("dsm_potsdam_02_10.tif"))
    rewrite(path, np.full_like(tifffile.imread(path), 31))
    with pytest.raises(
        BenchError, match="channel height is 31 in every pixel of sample 2_10.*leave it out of"
    ):
        prepare(out, "potsdam", [*RGB, "height"], per_tile=("height",))


# -- photographs ----------------------------------------------------------------------------------------


def folder_of_synsets(folder: Path) -> Path:
    """Two synsets of two photographs a split, each stored in a way of its own."""
    rng = np.random.default_rng(0)
    ways = iter(("RGB", "L", "CMYK", "PNG", "turned", "RGB", "RGB", "RGB"))
    for split in ("train", "val"):
        for wnid in ("n01000001", "n02000001"):
            (folder / split / wnid).mkdir(parents=True)
            for number in range(2):
                way = next(ways)
                image = Image.fromarray(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8))
                path = folder / split / wnid / f"{wnid}_{number}.JPEG"
                if way == "turned":
                    exif = image.getexif()
                    exif[0x0112] = 6
                    image.save(path, "JPEG", exif=exif)
                elif way == "PNG":
                    image.save(path, "PNG")
                else:
                    image.convert(way).save(path, "JPEG")
    return folder


def pack(folder: Path, out: Path, workers: int = 0, **data) -> ClassificationStore:
    acquire_folder("mine", folder, out, digest="a", spec={})
    chosen = PretrainData(source="folders", path="mine", **data)
    prepare_classification("mine", chosen, folder, out, digest="p", spec={}, scale="small", workers=workers)
    return ClassificationStore(out / "manifest.json")


@pytest.mark.parametrize("form", ["encoded", "decoded"])
def test_photographs_that_are_no_rgb_jpeg_survive_and_are_counted(form, tmp_path):
    folder = folder_of_synsets(tmp_path / "mine")
    store = pack(folder, tmp_path / "out", form=form, size=20 if form == "decoded" else None)
    rules = {(item["rule"], item["sample"]): item["count"] for item in store.manifest.handled}
    assert rules == {
        ("grey-converted-to-rgb", "train"): 1,
        ("cmyk-converted-to-rgb", "train"): 1,
        ("png-read-by-content", "train"): 1,
        ("exif-orientation-not-applied", "val"): 1,
    }
    if form == "encoded":
        for split in ("train", "val"):
            for index, path in enumerate(sorted((folder / split).rglob("*.JPEG"))):
                with Image.open(path) as image:
                    expected = np.array(image.convert("RGB"))
                np.testing.assert_array_equal(store.image(split, index), expected)


def test_a_photograph_cut_short_is_found_without_a_full_decode(tmp_path):
    folder = folder_of_synsets(tmp_path / "mine")
    path = folder / "val" / "n02000001" / "n02000001_1.JPEG"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(BenchError, match=r"n02000001_1\.JPEG: not a readable picture"):
        pack(folder, tmp_path / "out", form="encoded")
    assert nothing_left(tmp_path / "out")


def test_a_photograph_that_grows_or_goes_while_it_is_read_is_named(tmp_path, monkeypatch):
    folder = folder_of_synsets(tmp_path / "mine")
    path = folder / "val" / "n02000001" / "n02000001_1.JPEG"
    pack_piece = photographs.pack_piece

    def spoilt(change):
        def first(task, piece):
            change() if str(path) in piece.paths else None
            return pack_piece(task, piece)

        monkeypatch.setattr(photographs, "pack_piece", first)

    spoilt(lambda: path.write_bytes(path.read_bytes() + bytes(3)))
    with pytest.raises(
        BenchError, match=r"n02000001_1\.JPEG: changed while it was read; leave the files alone"
    ):
        pack(folder, tmp_path / "out")
    spoilt(path.unlink)
    with pytest.raises(BenchError, match=r"n02000001_1\.JPEG: cannot be read \(No such file or directory\)"):
        pack(folder, tmp_path / "out")
    assert nothing_left(tmp_path / "out")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_coarse_check_refuses_what_a_full_decode_refuses(progressive):
    rng = np.random.default_rng(1)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (64, 48, 3), dtype=np.uint8)).save(
        stream, "JPEG", progressive=progressive
    )
    whole = stream.getvalue()
    assert check_photograph(whole, "a").mode == "RGB"
    for end in range(0, len(whole), 97):
        refused = []
        for look in (check_photograph, read_rgb):
            try:
                look(whole[:end], "a")
            except BenchError:
                refused.append(look)
        assert refused in ([], [check_photograph, read_rgb]), end


def test_a_photograph_of_sixteen_bits_is_named():
    stream = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(stream, "PNG")
    with pytest.raises(BenchError, match=r"a: a photograph of mode I;16; expected 8-bit grey or colour"):
        check_photograph(stream.getvalue(), "a")


def test_an_extracted_tree_with_an_unsorted_val_is_read_through_the_devkit(drawn, tmp_path):
    folder = copy_of(drawn, "imagenet1k", tmp_path) / "raw"
    store = pack(folder, tmp_path / "out", form="decoded", size=16)
    published = ClassificationStore(drawn / "imagenet1k" / "manifest.json")
    assert store.classes == published.classes
    for split in ("train", "val"):
        assert store.count(split) == published.count(split)
        for index in range(store.count(split)):
            assert store.label(split, index) == published.label(split, index)
            np.testing.assert_array_equal(store.image(split, index), published.image(split, index))


def test_an_unsorted_val_without_the_devkit_is_named(drawn, tmp_path):
    folder = copy_of(drawn, "imagenet1k", tmp_path) / "raw"
    (folder / "ILSVRC2012_devkit_t12").rename(tmp_path / "devkit")
    with pytest.raises(
        BenchError, match="photographs without synset folders, and no ILSVRC2012_devkit_t12/ beside"
    ):
        pack(folder, tmp_path / "out")


def test_a_manifest_says_the_same_after_a_round_trip(drawn):
    for name in CATALOG:
        path = drawn / name / "manifest.json"
        kind = ClassificationStore if CATALOG[name].kind == "classification" else SegmentationStore
        again = path.with_name("again.json")
        kind(path).manifest.write(again)
        assert json.loads(again.read_text()) == json.loads(path.read_text())
        again.unlink()
