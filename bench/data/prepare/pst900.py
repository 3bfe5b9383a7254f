"""PST900: frames from tunnels, five folders a split with the same name in each; a frame belongs to a bag.

The bag (one recording) is read from the name: `31_bag1a` of `31_bag1a_rect_rgb_frame0000000007.png`. There is
no validation split. Where the projection of the thermal camera saw nothing, the thermal pictures hold 0: these holes
are counted, and filled if the study asks for the rule `thermal-inpaint`.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from bench.catalog.entry import Channel
from bench.catalog.pst900 import PST900
from bench.data.pictures import read_plane, read_planes
from bench.data.prepare.collection import (
    Collection,
    Handled,
    Plane,
    Scene,
    by_key,
    folder_with,
    require_pairs,
)
from bench.errors import BenchError
from bench.study.datasets import Target

FRAME = re.compile(r"(?P<bag>.+?)(_rect)?(_rgb)?_frame\d+$")
COLOURS = ("red", "green", "blue")
FOLDERS = ("rgb", "thermal", "thermal_raw", "depth", "labels")
THERMAL = ("thermal", "thermal_raw")
INPAINT = "thermal-inpaint"


def collect(raw: Path, target: Target) -> Collection:
    """Return the frames of train and test, with the folders that the study's channels need."""
    root = folder_with(raw, "train/labels", "test/labels")
    channels = tuple(c for name in target.channels for c in PST900.channels if c.name == name)
    folders = sorted({_folder(channel.name) for channel in channels} | {"labels"})
    files: dict[str, dict[str, Path]] = {}
    left_out: list[Handled] = []
    splits: dict[str, tuple[str, ...]] = {"train": (), "val": (), "test": ()}
    for split in ("train", "test"):
        indices = {folder: _frames(root / split / folder) for folder in folders}
        for folder in folders:
            if folder != "labels":
                require_pairs(
                    indices[folder], indices["labels"], (f"a picture in {folder}/", "one in labels/")
                )
        splits[split] = tuple(sorted(indices["labels"]))
        # What the study does not read is compared too, and named where it has frames more.
        unread = [_frames(root / split / folder) for folder in FOLDERS if folder not in folders]
        for sample in sorted(set().union(*unread) - set(splits[split])):
            count = sum(sample in frames for frames in unread)
            left_out.append(Handled("pst900-unlabelled-left-out", sample, count))
        for sample in splits[split]:
            if sample in files:
                raise BenchError(
                    f"{indices['labels'][sample]}: frame {sample} is in train and in test; it belongs to one"
                )
            files[sample] = {folder: indices[folder][sample] for folder in folders}

    return Collection(
        channels=channels,
        classes=PST900.classes,
        label_variants=PST900.label_variants,
        training_labels=target.labels,
        ignore_index=None,  # the labels have none
        unit=PST900.unit,
        evaluation_split="test",
        splits=splits,
        read=partial(_read, files, channels, INPAINT in target.rules),
        units={sample: _bag(paths["labels"]) for sample, paths in files.items()},
        published={split: len(ids) for split, ids in splits.items() if ids},
        handled=tuple(left_out),
    )


def _read(
    files: Mapping[str, Mapping[str, Path]], channels: tuple[Channel, ...], inpaint: bool, sample: str
) -> Scene:
    planes: dict[str, Plane] = {}
    handled: list[Handled] = []
    colours = None
    for channel in channels:
        path = files[sample][_folder(channel.name)]
        if channel.name in COLOURS:
            colours = read_planes(path) if colours is None else colours
            if colours.shape[2] != 3:
                raise BenchError(f"{path}: has {colours.shape[2]} planes, expected 3 (red, green, blue)")
            planes[channel.name] = Plane(colours[..., COLOURS.index(channel.name)], path)
            continue
        plane_HW = read_plane(path)
        holes = int((plane_HW == 0).sum()) if channel.name in THERMAL else 0
        if holes:
            word = channel.name.replace("_", "-")
            handled.append(Handled(f"pst900-{word}-holes-{'filled' if inpaint else 'kept'}", sample, holes))
            plane_HW = fill_holes(plane_HW, path) if inpaint else plane_HW
        planes[channel.name] = Plane(plane_HW, path)
    label = files[sample]["labels"]
    return Scene(
        planes=planes, labels={"full": Plane(read_plane(label, indices=True), label)}, handled=tuple(handled)
    )


def fill_holes(plane_HW: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return the plane with each 0 replaced by the nearest other value (Euclidean distance).

    Raises BenchError, naming the file, if there is none.
    """
    holes = plane_HW == 0
    if holes.all():
        raise BenchError(f"{path}: is 0 in every pixel, so its holes cannot be filled; leave the frame out")
    rows, columns = distance_transform_edt(holes, return_distances=False, return_indices=True)
    filled: NDArray[Any] = np.ascontiguousarray(plane_HW[rows, columns])
    return filled


def _frames(folder: Path) -> dict[str, Path]:
    """Return the pictures of a folder by frame; none where there is no such folder."""
    pictures = folder.iterdir() if folder.is_dir() else ()
    return by_key(pictures, lambda path: path.stem if path.suffix.lower() == ".png" else None)


def _folder(channel: str) -> str:
    return "rgb" if channel in COLOURS else channel


def _bag(path: Path) -> str:
    found = FRAME.match(path.stem)
    if found is None:
        raise BenchError(
            f"{path}: its bag cannot be read from its name; expected one like "
            "31_bag1a_rect_rgb_frame0000000007"
        )
    return found.group("bag")
