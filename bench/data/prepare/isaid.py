"""iSAID: DOTA images and colour-coded semantic masks, one pair a source image; the masks of test are not
public.

Three layouts are published, and all are read by the names of files and of the folder of their split: the devkit's
(image and masks side by side in `train/images/`), the archives' as downloaded, which mmsegmentation reads too
(`train/images/part1/images/`, `train/Semantic_masks/images/images/`), and the mirror's with one archive of images
and one of annotations a split (`..._train/images/`, `..._train/Semantic_masks/`). A class mask is
`P0001_instance_color_RGB.png`; `P0001_instance_id_RGB.png` beside it numbers the instances and is never read.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from bench.catalog.entry import Channel
from bench.catalog.isaid import ISAID
from bench.data.pictures import read_planes
from bench.data.prepare.collection import Collection, Handled, Plane, Scene, by_key, require_pairs
from bench.data.prepare.labels import ids_of_colours
from bench.errors import BenchError
from bench.study.datasets import Target

IMAGE = re.compile(r"P\d{4,}$")
MASK = re.compile(r"(P\d{4,})_instance_color_RGB$")
INSTANCES = re.compile(r"(P\d{4,})_instance_id_RGB$")
SPLIT = re.compile(r"(?:.*[_-])?(train|val|test)$")


def collect(raw: Path, target: Target) -> Collection:
    """Return the source images of train and val; papers evaluate on val, so does the harness."""
    channels = tuple(c for name in target.channels for c in ISAID.channels if c.name == name)
    found = [(path, _split(path, raw)) for path in raw.rglob("*") if path.suffix.lower() == ".png"]
    files: dict[str, tuple[Path, Path]] = {}
    splits: dict[str, tuple[str, ...]] = {"train": (), "val": (), "test": ()}
    for split in ("train", "val"):
        inside = [path for path, name in found if name == split]
        images = by_key(inside, lambda path: path.stem if IMAGE.match(path.stem) else None)
        masks = by_key(inside, partial(_of, MASK))
        if not masks and any(INSTANCES.match(path.stem) for path in inside):
            raise BenchError(
                f"{raw}: the {split} split has masks of instances alone (_instance_id_RGB); the classes are in "
                "those named _instance_color_RGB: acquire the semantic masks"
            )
        require_pairs(images, masks, ("an image", "a semantic mask"))
        if twice := sorted(set(images) & set(files)):
            raise BenchError(
                f"{images[twice[0]]}: source image {twice[0]} is in train and in val; it belongs to one"
            )
        splits[split] = tuple(sorted(images))
        files.update({sample: (images[sample], masks[sample]) for sample in images})
    return Collection(
        channels=channels,
        classes=ISAID.classes,
        label_variants=ISAID.label_variants,
        training_labels=target.labels,
        unit=ISAID.unit,
        evaluation_split="val",
        splits=splits,
        published={split: len(ids) for split, ids in splits.items() if ids},
        read=partial(read_pair, files, channels),
    )


def read_pair(files: Mapping[str, tuple[Path, Path]], channels: tuple[Channel, ...], sample: str) -> Scene:
    """Read one source image and its class mask, which `files` names by sample."""
    image, mask = files[sample]
    # The mask first: its colours are gone before the image comes, which halves the memory of a large pair.
    colours_HWC = read_planes(mask)
    if colours_HWC.shape[2] not in (3, 4):
        raise BenchError(f"{mask}: has {colours_HWC.shape[2]} planes, expected 3 (a colour a class)")
    ids_HW = ids_of_colours(colours_HWC[..., :3], ISAID.classes, mask)
    del colours_HWC
    image_HWC = read_planes(image)
    handled: tuple[Handled, ...] = ()
    if image_HWC.shape[2] == 1:  # a few DOTA images are grey
        handled = (Handled("isaid-grey-repeated", sample, image_HWC.size),)
        image_HWC = np.broadcast_to(image_HWC, (*image_HWC.shape[:2], 3))
    if image_HWC.shape[2] not in (3, 4):
        raise BenchError(f"{image}: has {image_HWC.shape[2]} planes, expected grey or colour")
    names = [channel.name for channel in ISAID.channels]
    return Scene(
        planes={c.name: Plane(image_HWC[..., names.index(c.name)], image) for c in channels},
        labels={"full": Plane(ids_HW, mask)},
        handled=handled,
    )


def _split(path: Path, raw: Path) -> str | None:
    """Return the split that the innermost folder with such a name says, None if there is none."""
    for folder in reversed(path.relative_to(raw).parts[:-1]):
        if named := SPLIT.match(folder):
            return named.group(1)
    return None


def _of(pattern: re.Pattern[str], path: Path) -> str | None:
    found = pattern.match(path.stem)
    return found.group(1) if found else None
