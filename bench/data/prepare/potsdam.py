"""ISPRS Potsdam: orthophotos, surface models and two forms of labels, one file each a tile.

Orthophotos and labels number tiles plainly (2_10), surface models with zeros (02_10): tiles are matched as
integers. In the eroded labels black is the boundary between objects and becomes 255; in the full ones it is
an error. Three tiles are published with defects, each mended by a rule that the manifest names with the
pixels it changed: the surface models of 3_13 lack their last column (repeated); the labels of 4_12 are
blended with the picture (each channel cut at 128: the palette knows 0 and 255 alone); cars of 6_7 are
252,255,0. Any other colour outside the palette is an error. As reported in public code; never checked against
the archives here.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.catalog.entry import Colour
from bench.catalog.potsdam import POTSDAM, POTSDAM_SPLIT
from bench.data.pictures import read_plane, read_planes
from bench.data.prepare.collection import Collection, Handled, Plane, Scene, by_key
from bench.data.prepare.labels import ids_of_colours
from bench.errors import BenchError
from bench.study.datasets import Target

BANDS = ("red", "green", "blue", "infrared")
BLACK: Colour = (0, 0, 0)
SHORT_HEIGHT_TILE = "3_13"
BLENDED_TILE = "4_12"
OFF_COLOUR_TILE, OFF_COLOUR, CAR = "6_7", (252, 255, 0), (255, 255, 0)

ORTHO = ("4_Ortho_RGBIR", re.compile(r"top_potsdam_(\d+)_(\d+)_RGBIR\.tif$"))
HEIGHTS = {
    "height": ("1_DSM", re.compile(r"dsm_potsdam_(\d+)_(\d+)\.tif$")),
    "height_normalised": (
        "1_DSM_normalisation",
        re.compile(r"dsm_potsdam_(\d+)_(\d+)_normalized_lastools\.jpg$"),
    ),
}
LABELS = {
    "full": ("5_Labels_all", re.compile(r"top_potsdam_(\d+)_(\d+)_label\.tif$")),
    "eroded": ("5_Labels_all_noBoundary", re.compile(r"top_potsdam_(\d+)_(\d+)_label_noBoundary\.tif$")),
}


def collect(raw: Path, target: Target, *, partial: bool) -> Collection:
    """Return the tiles of the official split, 24 to train on and 14 to test on.

    `partial` (a miniature) restricts the split to the tiles at hand; otherwise a missing tile is an error.
    """
    channels = tuple(c for name in target.channels for c in POTSDAM.channels if c.name == name)
    wanted = {"ortho": ORTHO, **{c.name: HEIGHTS[c.name] for c in channels if c.name in HEIGHTS}, **LABELS}
    files = {role: _tiles(raw / folder, pattern) for role, (folder, pattern) in wanted.items()}
    official = [tile for tiles in POTSDAM_SPLIT.values() for tile in tiles]
    at_hand = set().union(*files.values()) if partial else set(official)
    for role, tiles in files.items():
        missing = [tile for tile in official if tile in at_hand and tile not in tiles]
        if missing:
            raise BenchError(
                f"{raw / wanted[role][0]}: {len(missing)} tiles have no file there that matches "
                f"{wanted[role][1].pattern} ({', '.join(missing)}); the archive is not whole"
            )
    splits = {split: tuple(t for t in tiles if t in at_hand) for split, tiles in POTSDAM_SPLIT.items()}

    def read(tile: str) -> Scene:
        ortho = files["ortho"][tile]
        image_HWC = read_planes(ortho)
        if image_HWC.shape[2] != len(BANDS):
            raise BenchError(f"{ortho}: has {image_HWC.shape[2]} planes, expected 4 ({', '.join(BANDS)})")
        planes, handled = {}, []
        for channel in channels:
            if channel.name in BANDS:
                planes[channel.name] = Plane(image_HWC[..., BANDS.index(channel.name)], ortho)
                continue
            path = files[channel.name][tile]
            height_HW, added = _fill_edge(read_plane(path), image_HWC.shape[:2], tile)
            planes[channel.name] = Plane(height_HW, path)
            if added:
                handled.append(Handled(f"potsdam-3_13-{channel.name}-edge-repeated", tile, added))
        labels = {}
        for variant in LABELS:
            labels[variant], mended = _read_label(files[variant][tile], tile, variant)
            handled.extend(mended)
        return Scene(planes=planes, labels=labels, handled=tuple(handled))

    return Collection(
        channels=channels,
        classes=POTSDAM.classes,
        label_variants=POTSDAM.label_variants,
        training_labels=target.labels,
        unit=POTSDAM.unit,
        evaluation_split="test",
        splits={"train": splits["train"], "val": (), "test": splits["test"]},
        read=read,
        published={split: len(tiles) for split, tiles in splits.items()},
    )


def _read_label(path: Path, tile: str, variant: str) -> tuple[Plane, tuple[Handled, ...]]:
    colours_HW3 = read_planes(path)
    handled: tuple[Handled, ...] = ()
    if tile == BLENDED_TILE:
        cut = np.where(colours_HW3 >= 128, 255, 0).astype(np.uint8)
        if changed := int((cut != colours_HW3).any(axis=2).sum()):
            handled = (Handled(f"potsdam-4_12-{variant}-cut-at-128", tile, changed),)
        colours_HW3 = cut
    if tile == OFF_COLOUR_TILE:
        cars = (colours_HW3 == OFF_COLOUR).all(axis=2)
        if changed := int(cars.sum()):
            colours_HW3 = np.where(cars[..., None], np.array(CAR, np.uint8), colours_HW3)
            handled = (Handled(f"potsdam-6_7-{variant}-cars-recoloured", tile, changed),)
    ignored = (BLACK,) if variant == "eroded" else ()
    return Plane(ids_of_colours(colours_HW3, POTSDAM.classes, path, ignored), path), handled


def _fill_edge(height_HW: NDArray[Any], shape: tuple[int, ...], tile: str) -> tuple[NDArray[Any], int]:
    """Repeat the last column or row of tile 3_13 where it is one short; return the plane and the pixels
    added.
    """
    short = tuple(wanted - found for wanted, found in zip(shape, height_HW.shape, strict=True))
    if tile != SHORT_HEIGHT_TILE or short not in ((0, 1), (1, 0)):
        return height_HW, 0
    filled = np.pad(height_HW, ((0, short[0]), (0, short[1])), mode="edge")
    return filled, filled.size - height_HW.size


def _tiles(folder: Path, pattern: re.Pattern[str]) -> dict[str, Path]:
    return by_key(folder.rglob("*"), _tile_of(pattern))


def _tile_of(pattern: re.Pattern[str]) -> Callable[[Path], str | None]:
    def tile(path: Path) -> str | None:
        found = pattern.match(path.name)
        return f"{int(found.group(1))}_{int(found.group(2))}" if found else None

    return tile
