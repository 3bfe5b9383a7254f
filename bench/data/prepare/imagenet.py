"""ImageNet-1K from its archives, and the same from folders a synset: which photograph is of which class.

A class index is the place of its WNID in sorted order, as timm and torchvision count. The devkit counts
otherwise: its ILSVRC ids are mapped through `meta.mat`, where the synsets without children are the classes.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from bench.catalog.imagenet1k import IMAGENET1K
from bench.data.prepare.collection import folder_with
from bench.errors import BenchError

VAL = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG$")
WNID = re.compile(r"n\d{8}$")
SUFFIXES = (".jpeg", ".jpg", ".png")
DEVKIT = "ILSVRC2012_devkit_t12"
WNIDS_SHA256 = "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"
"""Of ImageNet-1K's 1,000 WNIDs, sorted, one a line (timm's imagenet_synsets.txt)."""
Photographs = tuple[tuple[str, int], ...]
"""Path and class index of each photograph; plain strings, since there are more than a million."""


@dataclass(frozen=True, kw_only=True)
class Photos:
    """The photographs of each split with their class indices, and the classes (wnid, name) in order."""

    classes: tuple[tuple[str, str], ...]
    splits: dict[str, Photographs]


def collect_archives(raw: Path) -> Photos:
    """Return the photographs of the published archives, unpacked to `train/<wnid>/`, `val/` and the devkit."""
    leaves = _leaves(raw / DEVKIT)
    wnids = sorted(wnid for wnid, _ in leaves.values())
    names = dict(leaves.values())
    folders = _folders(raw / "train")
    if folders != wnids:
        odd = sorted(set(folders) ^ set(wnids))
        raise BenchError(
            f"{raw / 'train'}: synsets differ from those of the devkit, first {odd[0]}; unpack both anew"
        )
    return Photos(
        classes=tuple((wnid, names[wnid]) for wnid in wnids),
        splits={"train": _by_folder(raw / "train", wnids), "val": _val(raw, raw / DEVKIT, leaves, wnids)},
    )


def collect_folders(raw: Path) -> Photos:
    """Return the photographs of `{train,val}/<wnid>/` below a user's folder; both splits have the same
    classes.

    A `val` of ImageNet's own file names, not sorted into synsets, is read with the devkit's labels where the
    devkit lies beside it.
    """
    for split in ("train", "val"):
        if not (raw / split).is_dir():
            raise BenchError(f"{raw / split}: no such folder; expected train and val with a folder a synset")
    wnids = _folders(raw / "train")
    if len(wnids) < 2:
        raise BenchError(
            f"{raw / 'train'}: {len(wnids)} synset folders (such as n01440764); a classifier needs two"
        )
    train = _by_folder(raw / "train", wnids)
    sorted_val = _folders(raw / "val")
    if not sorted_val and any(VAL.match(path.name) for path in (raw / "val").iterdir()):
        if not (raw / DEVKIT).is_dir():
            raise BenchError(
                f"{raw / 'val'}: photographs without synset folders, and no {DEVKIT}/ beside it to say what they "
                "show; unpack the devkit there"
            )
        leaves = _leaves(raw / DEVKIT)
        if odd := sorted(set(wnids) ^ {wnid for wnid, _ in leaves.values()}):
            raise BenchError(f"{raw / 'train'}: synset {odd[0]} is in one of train and the devkit only")
        return Photos(
            classes=tuple((wnid, dict(leaves.values())[wnid]) for wnid in wnids),
            splits={"train": train, "val": _val(raw, raw / DEVKIT, leaves, wnids)},
        )
    if odd := sorted(set(wnids) ^ set(sorted_val)):
        raise BenchError(
            f"{raw}: synset {odd[0]} is in one of train and val only; both need the same classes"
        )
    return Photos(
        classes=tuple((wnid, wnid) for wnid in wnids),
        splits={"train": train, "val": _by_folder(raw / "val", wnids)},
    )


def is_imagenet(photos: Photos) -> bool:
    """Say whether the classes are the 1,000 synsets of ImageNet-1K."""
    wnids = "\n".join(wnid for wnid, _ in photos.classes)
    return hashlib.sha256(wnids.encode()).hexdigest() == WNIDS_SHA256


def check_counts(photos: Photos, raw: Path) -> None:
    """Raise BenchError unless the splits have the published numbers of photographs."""
    for split, expected in IMAGENET1K.expected_counts.items():
        if (found := len(photos.splits[split])) != expected:
            raise BenchError(
                f"{raw}: {found} photographs in {split}, published are {expected}; acquire it again"
                ", or give a study of fewer another scale than full"
            )


def _folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and WNID.match(path.name))


def _by_folder(folder: Path, wnids: list[str]) -> Photographs:
    found: list[tuple[str, int]] = []
    for place, wnid in enumerate(wnids):
        names = sorted(name for name in os.listdir(folder / wnid) if _is_photograph(name))
        if not names:
            raise BenchError(f"{folder / wnid}: holds no photographs ({', '.join(SUFFIXES)})")
        found.extend((f"{folder / wnid}/{name}", place) for name in names)
    return tuple(found)


def _is_photograph(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _leaves(devkit: Path) -> dict[int, tuple[str, str]]:
    """Return the classes of the devkit: ILSVRC id to WNID and first name."""
    path = folder_with(devkit, "data/meta.mat") / "data" / "meta.mat"
    try:
        synsets = np.atleast_1d(loadmat(path, squeeze_me=True)["synsets"])
        rows = [
            (int(s["ILSVRC2012_ID"]), str(s["WNID"]), str(s["words"]), int(s["num_children"]))
            for s in synsets
        ]
    except (ValueError, KeyError, TypeError, NotImplementedError, OSError) as error:
        raise BenchError(f"{path}: not the devkit's table of synsets ({error}); acquire it again") from None
    return {
        number: (wnid, words.split(",")[0].strip()) for number, wnid, words, children in rows if children == 0
    }


def _val(raw: Path, devkit: Path, leaves: dict[int, tuple[str, str]], wnids: list[str]) -> Photographs:
    folder = folder_with(devkit, "data/meta.mat")
    index = {wnid: place for place, wnid in enumerate(wnids)}
    path = folder / "data" / "ILSVRC2012_validation_ground_truth.txt"
    if not path.is_file():
        raise BenchError(f"{path}: the devkit lacks the labels of val; acquire it again")
    try:
        numbers = path.read_text(encoding="ascii").split()
    except UnicodeDecodeError as error:
        raise BenchError(f"{path}: not ASCII text ({error}); acquire the devkit again") from None
    photographs = {int(m.group(1)): p for p in (raw / "val").rglob("*.JPEG") if (m := VAL.match(p.name))}
    if sorted(photographs) != list(range(1, len(numbers) + 1)):
        raise BenchError(
            f"{raw / 'val'}: {len(photographs)} photographs, labels for 1..{len(numbers)}; both are of one "
            "archive set"
        )
    found = []
    for place, number in enumerate(numbers, start=1):
        if not number.isdigit() or int(number) not in leaves:
            raise BenchError(
                f"{path}: line {place} is {number!r}; expected the ILSVRC id of a class in meta.mat"
            )
        found.append((str(photographs[place]), index[leaves[int(number)][0]]))
    return tuple(found)
