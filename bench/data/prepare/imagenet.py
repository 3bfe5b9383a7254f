"""ImageNet-1K from its archives, and the same from folders a synset: which photograph is of which class.

A class index is the place of its WNID in sorted order, as timm and torchvision count. The devkit counts
otherwise: its ILSVRC ids are mapped through `meta.mat`, where the synsets without children are the classes.
"""

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
Photographs = tuple[tuple[Path, int], ...]


@dataclass(frozen=True, kw_only=True)
class Photos:
    """The photographs of each split with their class indices, and the classes (wnid, name) in order."""

    classes: tuple[tuple[str, str], ...]
    splits: dict[str, Photographs]


def collect_archives(raw: Path) -> Photos:
    """Return the photographs of the published archives, unpacked to `train/<wnid>/`, `val/` and the "
    "devkit.
    """
    leaves = _leaves(raw / "ILSVRC2012_devkit_t12")
    wnids = sorted(wnid for wnid, _ in leaves.values())
    index = {wnid: place for place, wnid in enumerate(wnids)}
    names = {wnid: name for wnid, name in leaves.values()}
    folders = _folders(raw / "train")
    if folders != wnids:
        odd = sorted(set(folders) ^ set(wnids))
        raise BenchError(
            f"{raw / 'train'}: synsets differ from those of the devkit, first {odd[0]}; unpack both anew"
        )
    return Photos(
        classes=tuple((wnid, names[wnid]) for wnid in wnids),
        splits={"train": _by_folder(raw / "train", wnids), "val": _val(raw, leaves, index)},
    )


def collect_folders(raw: Path) -> Photos:
    """Return the photographs of `{train,val}/<wnid>/` below a user's folder; both splits have the same
    classes.
    """
    for split in ("train", "val"):
        if not (raw / split).is_dir():
            raise BenchError(f"{raw / split}: no such folder; expected train and val with a folder a synset")
    wnids = _folders(raw / "train")
    if len(wnids) < 2:
        raise BenchError(
            f"{raw / 'train'}: {len(wnids)} synset folders (such as n01440764); a classifier needs two"
        )
    if odd := sorted(set(wnids) ^ set(_folders(raw / "val"))):
        raise BenchError(
            f"{raw}: synset {odd[0]} is in one of train and val only; both need the same classes"
        )
    return Photos(
        classes=tuple((wnid, wnid) for wnid in wnids),
        splits={split: _by_folder(raw / split, wnids) for split in ("train", "val")},
    )


def check_counts(photos: Photos, raw: Path) -> None:
    """Raise BenchError unless the splits have the published numbers of photographs."""
    for split, expected in IMAGENET1K.expected_counts.items():
        if (found := len(photos.splits[split])) != expected:
            raise BenchError(
                f"{raw}: {found} photographs in {split}, published are {expected}; acquire it again"
            )


def _folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and WNID.match(path.name))


def _by_folder(folder: Path, wnids: list[str]) -> Photographs:
    found: list[tuple[Path, int]] = []
    for place, wnid in enumerate(wnids):
        photographs = sorted(p for p in (folder / wnid).iterdir() if p.suffix.lower() in SUFFIXES)
        if not photographs:
            raise BenchError(f"{folder / wnid}: holds no photographs ({', '.join(SUFFIXES)})")
        found.extend((path, place) for path in photographs)
    return tuple(found)


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


def _val(raw: Path, leaves: dict[int, tuple[str, str]], index: dict[str, int]) -> Photographs:
    folder = folder_with(raw / "ILSVRC2012_devkit_t12", "data/meta.mat")
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
        found.append((photographs[place], index[leaves[int(number)][0]]))
    return tuple(found)
