"""Small drawn versions of the five datasets, in the archives, names and encodings of the real ones.

Nothing downstream knows them from the real archives: the same code unpacks, checks and prepares both. Every
picture is drawn from a seed of its own role (`bench.seeds`), so one more scene moves no other. What is published
with a defect is drawn with it: Potsdam's blended label 4_12, its cars of 252,255,0 in 6_7, its heights of 3_13
that lack the last column and its empty `ownapproach` picture, MFNet's `_flip` names without files, PST900's zero
holes, ImageNet's grey and CMYK pictures.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.catalog.isaid import ISAID
from bench.data.miniature.canvas import digital, dull_colour
from bench.data.miniature.dealing import dealt, generator_for, other_scenes
from bench.data.miniature.imagenet import write_imagenet
from bench.data.miniature.packing import picture, write_zip
from bench.data.miniature.potsdam import write_potsdam
from bench.data.miniature.scenes import (
    ISAID_KINDS,
    MFNET_GUARDRAIL,
    MFNET_KINDS,
    PST900_KINDS,
    Scene,
    isaid_scene,
    mfnet_scene,
    pst900_scene,
)
from bench.errors import RequestError
from bench.study.datasets import Miniature

NIGHT_SHARE = 2
"""Every second MFNet frame is a night frame (the real share is 749 of 1,569)."""


def write_archives(name: str, folder: Path, sizes: Miniature) -> None:
    """Write all archives of the catalogue entry `name` under `folder`, at the catalogue's own paths.

    The same sizes give the same bytes. Each archive appears whole or not at all. Raises RequestError for a name
    that has no miniature.
    """
    if name not in _WRITERS:
        raise RequestError(
            f"no miniature of {name!r} can be drawn; there is one of each of {sorted(_WRITERS)}"
        )
    _WRITERS[name](folder, sizes)


def _write_isaid(folder: Path, sizes: Miniature) -> None:
    colours = np.array([entry.colour for entry in ISAID.classes], np.uint8)
    images: dict[str, dict[str, bytes]] = {"train": {}, "val": {}}
    masks: dict[str, dict[str, bytes]] = {"train": {}, "val": {}}
    counts = {"train": sizes.scenes, "val": other_scenes(sizes)}
    number = 0
    for split, count in counts.items():
        for index in range(count):
            # Both splits number the same series of images, with gaps (the rest is the unpublished test split).
            number += 2 + index % 2
            generator = generator_for(sizes, "isaid", split, index)
            scene = isaid_scene(
                generator, _isaid_shape(generator, sizes.side, index), dealt(ISAID_KINDS, index, count)
            )
            # A few of the real images are stored as one grey plane.
            grey = "L" if (split, index) == ("train", 1) else None
            images[split][f"images/P{number:04d}.png"] = picture(scene.rgb_HWC, "PNG", grey)
            mask = picture(colours[scene.label_HW], "PNG")
            masks[split][f"images/P{number:04d}_instance_color_RGB.png"] = mask
    for split, parts in (("train", 3), ("val", 1)):
        names = sorted(images[split])
        for part in range(parts):
            members = {name: images[split][name] for name in names[part::parts]}
            write_zip(folder / split / "images" / f"part{part + 1}.zip", {"images/": b"", **members})
        write_zip(folder / split / "Semantic_masks" / "images.zip", {"images/": b"", **masks[split]})


def _isaid_shape(generator: np.random.Generator, side: int, index: int) -> tuple[int, int]:
    """Return a size of its own for each image: sides no multiple of 32, every sixth smaller than a crop."""
    low, high = (0.75, 0.95) if index % 6 == 5 else (1.6, 2.6)
    height, width = (int(side * factor) for factor in generator.uniform(low, high, 2))
    return height + (height % 32 == 0), width + (width % 32 == 0)


def _write_mfnet(folder: Path, sizes: Miniature) -> None:
    root = "ir_seg_dataset"
    members = {f"{root}/": b"", f"{root}/images/": b"", f"{root}/labels/": b""}
    shape = (2 * sizes.side, 8 * sizes.side // 3)
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": [], "test_day": [], "test_night": []}
    number = 0
    for split in ("train", "val", "test"):
        count = sizes.scenes if split == "train" else other_scenes(sizes)
        for index in range(count):
            number += 1 + index % 3
            night = index % NIGHT_SHARE == 1
            wanted = dealt(MFNET_KINDS, index, count)
            # The guardrail is nearly absent from the real data; here one training frame shows it.
            wanted = [*wanted, MFNET_GUARDRAIL] if (split, index) == ("train", 0) else wanted
            scene = mfnet_scene(generator_for(sizes, "mfnet", split, index), shape, wanted, night=night)
            frame = f"{number:05d}{'N' if night else 'D'}"
            members[f"{root}/images/{frame}.png"] = picture(_with_thermal(scene), "PNG")
            members[f"{root}/labels/{frame}.png"] = picture(scene.label_HW, "PNG")
            lists[split].append(frame)
            if split == "test":
                lists["test_night" if night else "test_day"].append(frame)
    lists["train"] += [f"{frame}_flip" for frame in lists["train"]]
    # One frame that was never annotated: a picture without labels, in no list but this one.
    unseen = f"{number + 1:05d}D"
    scene = mfnet_scene(generator_for(sizes, "mfnet", "black", 0), shape, (), night=False)
    members[f"{root}/images/{unseen}.png"] = picture(_with_thermal(scene), "PNG")
    lists["black_list"] = [unseen]
    for list_name, frames in lists.items():
        members[f"{root}/{list_name}.txt"] = "".join(f"{frame}\n" for frame in frames).encode()
    members[f"{root}/make_flip.py"] = (
        b"# The published archive has a script here that writes the mirrored frames which train.txt names.\n"
    )
    write_zip(folder / "ir_seg_dataset.zip", members)


def _with_thermal(scene: Scene) -> NDArray[np.uint8]:
    assert scene.thermal_HW is not None
    return np.dstack([scene.rgb_HWC, digital(scene.thermal_HW)])


def _write_pst900(folder: Path, sizes: Miniature) -> None:
    root, kinds = "PST900_RGBT_Dataset", ("rgb", "thermal", "thermal_raw", "depth", "labels")
    members = {f"{root}/": b""}
    for split, first_bag in (("train", 1), ("test", 21)):
        members |= {f"{root}/{split}/": b"", **{f"{root}/{split}/{kind}/": b"" for kind in kinds}}
        count = sizes.scenes if split == "train" else other_scenes(sizes)
        bags = max(2, count // 2)
        for index in range(count):
            bag = f"bag{first_bag + index % bags // 2}{'ab'[index % bags % 2]}"
            place = generator_for(sizes, "pst900", "bag", bag)
            rock, level = dull_colour(place), float(place.uniform(60, 140))
            generator = generator_for(sizes, "pst900", split, index)
            shape = (3 * sizes.side // 2, 8 * sizes.side // 3)
            scene = pst900_scene(generator, shape, dealt(PST900_KINDS, index, count), rock=rock, level=level)
            # The leading number names the sequence, one a bag: every frame of it carries the same.
            file = f"{30 + first_bag + index % bags}_{bag}_rect_rgb_frame{7 + 30 * (index // bags):010d}.png"
            for kind, pixels in _pst900_planes(generator, scene).items():
                members[f"{root}/{split}/{kind}/{file}"] = picture(pixels, "PNG")
    write_zip(folder / "PST900_RGBT_Dataset.zip", members)


def _pst900_planes(
    generator: np.random.Generator, scene: Scene
) -> dict[str, NDArray[np.uint8] | NDArray[np.uint16]]:
    """Return the five published pictures; thermal has zero holes where the projection saw nothing."""
    assert scene.thermal_HW is not None
    assert scene.depth_HW is not None
    unseen = generator.random(scene.label_HW.shape) < 0.003
    unseen[:, :2] = True
    raw = np.where(unseen, 0, np.clip(7000 + 12 * scene.thermal_HW, 1, 65535)).astype(np.uint16)
    unknown = generator.random(scene.label_HW.shape) < 0.02
    return {
        "rgb": scene.rgb_HWC,
        "thermal": np.where(unseen, 0, np.maximum(digital(scene.thermal_HW), 1)).astype(np.uint8),
        "thermal_raw": raw,
        "depth": np.where(unknown, 0, np.rint(1000 * scene.depth_HW)).astype(np.uint16),
        "labels": scene.label_HW,
    }


_WRITERS: dict[str, Callable[[Path, Miniature], None]] = {
    "imagenet1k": write_imagenet,
    "isaid": _write_isaid,
    "mfnet": _write_mfnet,
    "pst900": _write_pst900,
    "potsdam": write_potsdam,
}
