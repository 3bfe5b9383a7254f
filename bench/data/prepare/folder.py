"""Data of one's own: a folder a modality, a folder of labels, split lists, and a description of channels and
classes.

A sample is a name: `rgb/0001.jpg`, `thermal/0001.png`, `labels/0001.png` are sample 0001, and
`splits/train.txt`, `splits/val.txt` and `splits/test.txt` list names, one a line. Pictures have 1 to 4 planes
of 8 or 16 bits or float32; labels have one plane of class indices.
"""

import re
from pathlib import Path

from numpy.typing import NDArray

from bench.data.pictures import read_plane, read_planes
from bench.data.prepare.collection import Collection, Plane, Scene, by_key
from bench.data.prepare.description import SPLITS, chosen, read_description
from bench.errors import BenchError
from bench.study.datasets import Target

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
SAMPLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*$")


def collect(raw: Path, target: Target, description: Path) -> Collection:
    """Return the samples that the split lists of the folder `raw` name, described by the file `description`.

    Raises RequestError for a description that does not fit the study, BenchError for files that do not fit
    it.
    """
    described = read_description(description)
    channels = chosen(described, target, description)
    splits = {split: _read_list(raw / "splits" / f"{split}.txt") for split in SPLITS}
    for split in ("train", described.evaluation_split):
        if not splits[split]:
            raise BenchError(
                f"{raw / 'splits' / split}.txt: missing; training and evaluation need their list of names"
            )
    folders = {
        role: _pictures(raw / role) for role in sorted({c.folder for c in channels} | {described.labels})
    }
    for split, names in splits.items():
        for name in names:
            for role, pictures in folders.items():
                if name not in pictures:
                    raise BenchError(
                        f"sample {name} of splits/{split}.txt has no picture in {raw / role}; "
                        f"expected {name} with one of {', '.join(SUFFIXES)}"
                    )

    def read(sample: str) -> Scene:
        opened: dict[str, NDArray] = {}  # type: ignore[type-arg]
        planes = {}
        for item in channels:
            path = folders[item.folder][sample]
            if item.folder not in opened:
                opened[item.folder] = read_planes(path)
            image_HWC = opened[item.folder]
            if item.plane >= image_HWC.shape[2]:
                raise BenchError(
                    f"{path}: has {image_HWC.shape[2]} planes, but channel {item.channel.name} is declared "
                    "its "
                    f"plane {item.plane} (the first is 0)"
                )
            planes[item.channel.name] = Plane(image_HWC[..., item.plane], path)
        label = folders[described.labels][sample]
        return Scene(planes=planes, labels={"full": Plane(read_plane(label), label)})

    return Collection(
        channels=tuple(item.channel for item in channels),
        classes=described.classes,
        label_variants=("full",),
        training_labels="full",
        ignore_index=described.ignore_index,
        unit=described.unit,
        evaluation_split=described.evaluation_split,
        splits=splits,
        read=read,
    )


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
