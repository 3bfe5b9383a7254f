"""MFNet: street frames by day and night; thermal is stored where a PNG keeps its alpha.

The planes are split before anything else is done: a library that resizes an RGBA picture multiplies the
colours by the fourth plane. The training list names `_flip` frames, which exist only after a script of the
authors' has run; they are the mirrored frames, and are mirrored when loaded. Test frames are by day or by night as
the two published lists of them say; other frames as the last letter of their name does.
"""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.catalog.entry import Channel
from bench.catalog.mfnet import MFNET
from bench.data.pictures import read_plane, read_planes
from bench.data.prepare.collection import Collection, Handled, Plane, Scene, folder_with
from bench.errors import BenchError
from bench.study.datasets import Target

NAME = re.compile(r"(\d+)([DN])(_flip)?$")
GROUPS = {"D": "day", "N": "night"}


def collect(raw: Path, target: Target) -> Collection:
    """Return the frames of the published lists, or for `train+val` those of train and val trained on
    together.

    `train+val` leaves the `_flip` names out, so that frames of both lists weigh the same (1,176 of them, as
    in the public code that trains this way). Frames on the black list have no annotation and are left out by
    name.
    """
    root = folder_with(raw, "images", "labels", "train.txt")
    lists = {split: _read_list(root / f"{split}.txt") for split in ("train", "val", "test")}
    published = {split: len(names) for split, names in lists.items()}
    handled: list[Handled] = []
    black_list = root / "black_list.txt"
    excluded = set(_read_list(black_list)) if black_list.is_file() else set()
    for split, names in lists.items():
        for name in names:
            if _source(name) in excluded:
                handled.append(Handled("mfnet-black-list-left-out", name, 1))
        lists[split] = [name for name in names if _source(name) not in excluded]
    if target.split == "train+val":
        flips = [name for name in lists["train"] if name.endswith("_flip")]
        handled += [Handled("mfnet-flip-left-out", name, 1) for name in flips]
        lists["train"] = [name for name in lists["train"] if not name.endswith("_flip")] + lists["val"]
        lists["val"] = []
    sources = {name: _source(name) for names in lists.values() for name in names}
    unlisted = _unlisted(root, excluded | set(sources.values()))
    handled += [Handled("mfnet-unlisted-left-out", name, 1) for name in unlisted]
    for name, source in sources.items():
        for folder, lacks in (("images", "image"), ("labels", "label")):
            if not (root / folder / f"{source}.png").is_file():
                raise BenchError(
                    f"{root / folder / source}.png: the {lacks} of listed frame {name} is missing"
                )
    channels = tuple(c for name in target.channels for c in MFNET.channels if c.name == name)
    groups = {source: GROUPS[_parts(source)[1]] for source in sources.values()}
    collection = Collection(
        channels=channels,
        classes=MFNET.classes,
        label_variants=MFNET.label_variants,
        training_labels=target.labels,
        ignore_index=None,  # the labels have none
        unit=MFNET.unit,
        evaluation_split="test",
        splits={split: tuple(names) for split, names in lists.items()},
        read=partial(_read, root, channels),
        groups=groups,
        flips={name: source for name, source in sources.items() if name != source},
        published=published,
        handled=tuple(handled),
    )
    return replace(collection, groups=groups | _test_groups(root, lists["test"], excluded))


def _read(root: Path, channels: tuple[Channel, ...], sample: str) -> Scene:
    names = [channel.name for channel in MFNET.channels]
    image, label = root / "images" / f"{sample}.png", root / "labels" / f"{sample}.png"
    image_HWC = read_planes(image)
    if image_HWC.shape[2] != len(names):
        raise BenchError(f"{image}: has {image_HWC.shape[2]} planes, expected 4 (red, green, blue, thermal)")
    return Scene(
        planes={c.name: Plane(image_HWC[..., names.index(c.name)], image) for c in channels},
        labels={"full": Plane(read_plane(label, indices=True), label)},
    )


def _test_groups(root: Path, test: list[str], excluded: set[str]) -> dict[str, str]:
    """Return day or night for each test frame, as test_day.txt and test_night.txt say; each is in one of them."""
    found: dict[str, str] = {}
    for group in GROUPS.values():
        path = root / f"test_{group}.txt"
        for name in _read_list(path):
            if name in found:
                raise BenchError(
                    f"{path}: test frame {name} is in the list of {found[name]} too; it belongs to one"
                )
            found[name] = group
    if odd := sorted(set(found) - excluded ^ set(test)):
        where = "lists it by day or night alone" if odd[0] in found else "does not list it by day or night"
        raise BenchError(
            f"{root}: test frame {odd[0]}: the archive {where}; test.txt is test_day.txt and test_night.txt together"
        )
    return {name: group for name, group in found.items() if name not in excluded}


def _unlisted(root: Path, known: set[str]) -> list[str]:
    """Return the frames, of image or label, that no list names, sorted; mirrored ones that the authors' script
    wrote are none.
    """
    pictures = [path for folder in ("images", "labels") for path in (root / folder).iterdir()]
    frames = {path.stem for path in pictures if path.suffix.lower() == ".png" and NAME.match(path.stem)}
    return sorted(name for name in frames - known if not name.endswith("_flip"))


def _parts(name: str) -> tuple[str, str, str | None]:
    found = NAME.match(name)
    if found is None:
        raise BenchError(f"frame name {name!r}: expected digits and D or N, such as 00001D or 00001D_flip")
    return found.group(1), found.group(2), found.group(3)


def _source(name: str) -> str:
    digits, time, _ = _parts(name)
    return digits + time


def _read_list(path: Path) -> list[str]:
    """Return the names of a list, one a line, whatever its suffix and blank lines."""
    if not path.is_file():
        raise BenchError(f"{path}: the published list is missing; it is not the published archive")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BenchError(f"{path}: not UTF-8 text ({error}); acquire the archive again") from None
    names = [name for line in lines if (name := line.strip().removesuffix(".png"))]
    for name in names:
        _parts(name)
    return names
