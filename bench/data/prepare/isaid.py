"""iSAID: DOTA images and colour-coded semantic masks, one pair a source image; the masks of test are not
public.
"""

import re
from pathlib import Path

import numpy as np

from bench.catalog.isaid import ISAID
from bench.data.pictures import read_planes
from bench.data.prepare.collection import Collection, Plane, Scene, by_key, require_pairs
from bench.data.prepare.labels import ids_of_colours
from bench.errors import BenchError
from bench.study.datasets import Target

IMAGE = re.compile(r"P\d{4,}$")
MASK = re.compile(r"(P\d{4,})_instance_color_RGB$")


def collect(raw: Path, target: Target) -> Collection:
    """Return the source images of train and val; papers evaluate on val, so does the harness."""
    channels = tuple(c for name in target.channels for c in ISAID.channels if c.name == name)
    files: dict[str, tuple[Path, Path]] = {}
    splits: dict[str, tuple[str, ...]] = {"train": (), "val": (), "test": ()}
    for split in ("train", "val"):
        images = by_key((raw / split / "images").rglob("*.png"), _image_id)
        masks = by_key((raw / split / "Semantic_masks").rglob("*.png"), _mask_id)
        require_pairs(images, masks, ("an image", "a semantic mask"))
        if twice := sorted(set(images) & set(files)):
            raise BenchError(
                f"{images[twice[0]]}: source image {twice[0]} is in train and in val; it belongs to one"
            )
        splits[split] = tuple(sorted(images))
        files.update({sample: (images[sample], masks[sample]) for sample in images})

    def read(sample: str) -> Scene:
        image, mask = files[sample]
        image_HWC = read_planes(image)
        if image_HWC.shape[2] == 1:  # a few DOTA images are grey
            image_HWC = np.repeat(image_HWC, 3, axis=2)
        if image_HWC.shape[2] not in (3, 4):
            raise BenchError(f"{image}: has {image_HWC.shape[2]} planes, expected grey or colour")
        names = [channel.name for channel in ISAID.channels]
        colours_HW3 = read_planes(mask)[..., :3]
        return Scene(
            planes={c.name: Plane(image_HWC[..., names.index(c.name)], image) for c in channels},
            labels={"full": Plane(ids_of_colours(colours_HW3, ISAID.classes, mask), mask)},
        )

    return Collection(
        channels=channels,
        classes=ISAID.classes,
        label_variants=ISAID.label_variants,
        training_labels=target.labels,
        unit=ISAID.unit,
        evaluation_split="val",
        splits=splits,
        published={split: len(ids) for split, ids in splits.items() if ids},
        read=read,
    )


def _image_id(path: Path) -> str | None:
    return path.stem if IMAGE.match(path.stem) else None


def _mask_id(path: Path) -> str | None:
    found = MASK.match(path.stem)
    return found.group(1) if found else None
