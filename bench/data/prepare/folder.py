"""Data of one's own: a folder a modality, a folder of labels, and a description of channels and classes.

A sample is a name: `rgb/0001.jpg`, `thermal/0001.png`, `labels/0001.png` are sample 0001. Its split stands in
`splits/train.txt`, `splits/val.txt` and `splits/test.txt`, one name a line, or follows from the hash of its unit's
name, so that a sample more moves no other. Pictures have 1 to 4 planes of 8 or 16 bits or float32; labels are one
plane of class indices or colours.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bench.data.pictures import read_plane, read_planes
from bench.data.prepare.collection import Collection, Handled, Plane, Scene, by_key, require_pairs
from bench.data.prepare.description import SPLITS, Description, FolderChannel, chosen, read_description
from bench.data.prepare.labels import ids_of_colours
from bench.errors import BenchError
from bench.seeds import seed_for
from bench.study.datasets import Target

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
SAMPLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*$")
MOST_PLANES = 4
Folders = Mapping[str, Mapping[str, Path]]
"""Path of a sample's picture by folder."""


def collect(raw: Path, target: Target, description: Path) -> Collection:
    """Return the samples of the folder `raw`, described by the file `description`.

    With split lists, samples in none of them are left out by name; without, every folder holds the same samples.
    Raises RequestError for a description that does not fit the study, BenchError for files that do not fit
    it.
    """
    described = read_description(description)
    channels = chosen(described, target, description)
    folders = {
        role: _pictures(raw / role) for role in sorted({c.folder for c in channels} | {described.labels})
    }
    labelled = folders[described.labels]
    known = set().union(*folders.values())
    handled: tuple[Handled, ...] = ()
    if described.shares is None:
        splits = _listed(raw, described, folders)
        listed = sorted({name for names in splits.values() for name in names})
        units = {name: _unit(labelled[name], described) for name in listed}
        unlisted = sorted(known - set(listed))
        handled = tuple(Handled("folder-unlisted-left-out", name, 1) for name in unlisted)
    else:
        for role, pictures in folders.items():
            require_pairs(pictures, labelled, (f"a picture in {role}/", f"one in {described.labels}/"))
        units = {name: _unit(path, described) for name, path in labelled.items()}
        splits = _hashed(raw, described.shares, units)
    return Collection(
        channels=tuple(item.channel for item in channels),
        classes=described.classes,
        label_variants=("full",),
        training_labels="full",
        ignore_index=described.ignore_index if described.label_form == "ids" else 255,
        unit=described.unit,
        evaluation_split=described.evaluation_split,
        splits=splits,
        read=partial(_read, folders, channels, described),
        units={name: unit for name, unit in units.items() if unit != name},
        handled=handled,
        own=True,
    )


def _read(
    folders: Folders, channels: tuple[FolderChannel, ...], described: Description, sample: str
) -> Scene:
    opened: dict[str, NDArray[Any]] = {}
    planes = {}
    for item in channels:
        path = folders[item.folder][sample]
        if item.folder not in opened:
            opened[item.folder] = read_planes(path)
        image_HWC = opened[item.folder]
        count = image_HWC.shape[2]
        if count > MOST_PLANES or item.planes not in (None, count):
            expected = f"1 to {MOST_PLANES}" if item.planes is None else item.planes
            raise BenchError(f"{path}: has {count} planes, expected {expected}")
        if item.plane >= count:
            raise BenchError(
                f"{path}: has {count} planes, but channel {item.channel.name} is declared its "
                f"plane {item.plane} (the first is 0)"
            )
        planes[item.channel.name] = Plane(image_HWC[..., item.plane], path)
    label = folders[described.labels][sample]
    if described.label_form == "ids":
        return Scene(planes=planes, labels={"full": Plane(read_plane(label, indices=True), label)})
    colours_HWC = read_planes(label)
    if colours_HWC.shape[2] != 3:
        raise BenchError(f"{label}: has {colours_HWC.shape[2]} planes, expected 3 (label_form: colours)")
    ids_HW = ids_of_colours(colours_HWC, described.classes, label, described.ignore_colours)
    return Scene(planes=planes, labels={"full": Plane(ids_HW, label)})


def _unit(path: Path, described: Description) -> str:
    if described.unit_pattern is None:
        return path.stem
    found = described.unit_pattern.match(path.stem)
    if found is None or not found.group(1):
        raise BenchError(
            f"{path}: unit_pattern {described.unit_pattern.pattern!r} finds no {described.unit} in its name"
        )
    return found.group(1)


def _listed(raw: Path, described: Description, folders: Folders) -> dict[str, tuple[str, ...]]:
    splits = {split: _read_list(raw / "splits" / f"{split}.txt") for split in SPLITS}
    for split in ("train", described.evaluation_split):
        if not splits[split]:
            raise BenchError(
                f"{raw / 'splits' / split}.txt: missing; training and evaluation need their list of names"
            )
    for split, names in splits.items():
        for name in names:
            for role, pictures in folders.items():
                if name not in pictures:
                    raise BenchError(
                        f"sample {name} of splits/{split}.txt has no picture in {raw / role}; "
                        f"expected {name} with one of {', '.join(SUFFIXES)}"
                    )
    return splits


def _hashed(raw: Path, shares: Mapping[str, float], units: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Deal units to splits by the hash of their names, read as a number from 0 to 1."""
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for sample in sorted(units):
        if not SAMPLE.match(sample):
            raise BenchError(
                f"{raw}: {sample!r} is no sample name; expected letters, digits, '_', '-' and '.'"
            )
        place = seed_for("split", units[sample]) / 2**63
        if place < shares["test"]:
            splits["test"].append(sample)
        elif place < shares["test"] + shares["val"]:
            splits["val"].append(sample)
        else:
            splits["train"].append(sample)
    for split, share in {"train": 1 - sum(shares.values()), **shares}.items():
        if share and not splits[split]:
            raise BenchError(
                f"{raw}: the hash of their names deals none of {len(set(units.values()))} units to {split} (share "
                f"{share:g}); raise its share, or write split lists"
            )
    return {split: tuple(names) for split, names in splits.items()}


def _pictures(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise BenchError(f"{folder}: no such folder; the description names it")
    return by_key(folder.iterdir(), _sample)


def _sample(path: Path) -> str | None:
    return path.stem if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") else None


def _read_list(path: Path) -> tuple[str, ...]:
    """Return the names of a list, () where there is none; a list that is there names something."""
    if not path.is_file():
        return ()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BenchError(f"{path}: not UTF-8 text ({error}); write one sample name a line") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise BenchError(f"{path}: the list is empty; name a sample a line, or remove the file")
    for name in names:
        if not SAMPLE.match(name):
            raise BenchError(
                f"{path}: {name!r} is no sample name; expected letters, digits, '_', '-' and '.', without "
                "a folder"
            )
    return names
