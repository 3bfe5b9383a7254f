"""ISPRS Potsdam: orthophotos, surface models and two forms of labels, one file each a tile.

Orthophotos and labels number tiles plainly (2_10), surface models with zeros (02_10): tiles are matched as
integers. A band comes from the first of the RGBIR, RGB and IRRG orthophotos that was placed and has it; they hold
the same values. In the eroded labels black is the boundary between objects and becomes 255; in the full ones it is
an error. Three tiles are published with defects, each mended by a rule that the manifest names with the pixels it
changed: the surface models of 3_13 lack their last column (repeated); the labels of 4_12 are blended with the
picture (each channel cut at 128: the palette knows 0 and 255 alone); cars of 6_7 are 252,255,0. Any other colour
outside the palette is an error. As reported in public code; never checked against the archives here.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial as bound
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.catalog.entry import Channel, Colour
from bench.catalog.potsdam import POTSDAM, POTSDAM_SPLIT, POTSDAM_SPLITS
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

ORTHOS = {
    "4_Ortho_RGBIR": (BANDS, re.compile(r"top_potsdam_(\d+)_(\d+)_RGBIR\.tif$")),
    "2_Ortho_RGB": (("red", "green", "blue"), re.compile(r"top_potsdam_(\d+)_(\d+)_RGB\.tif$")),
    "3_Ortho_IRRG": (("infrared", "red", "green"), re.compile(r"top_potsdam_(\d+)_(\d+)_IRRG\.tif$")),
}
"""Order of the planes and names of the files, by archive; the first that has a band serves."""
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
Files = Mapping[str, Mapping[str, Path]]
"""Path of a tile's file by role: a folder with orthophotos, a channel of heights, a label variant."""


def collect(raw: Path, target: Target, *, partial: bool) -> Collection:
    """Return the tiles of one of the catalogue's splits; officially 24 to train on and 14 to test on.

    `partial` (a miniature) restricts the split to the tiles at hand; otherwise each of the 38 tiles must be there.
    """
    channels = tuple(c for name in target.channels for c in POTSDAM.channels if c.name == name)
    sources = {c.name: _ortho_of(c.name, raw) for c in channels if c.name in BANDS}
    wanted = {folder: (folder, ORTHOS[folder][1]) for folder in sources.values()}
    wanted |= {c.name: HEIGHTS[c.name] for c in channels if c.name in HEIGHTS}
    variants = [name for name in LABELS if name == target.labels or (raw / LABELS[name][0]).is_dir()]
    wanted |= {variant: LABELS[variant] for variant in variants}
    files = {role: _tiles(raw / folder, pattern) for role, (folder, pattern) in wanted.items()}
    official = [tile for tiles in POTSDAM_SPLIT.values() for tile in tiles]
    at_hand = set().union(*files.values()) if partial else set(official)
    for role, tiles in files.items():
        folder, pattern = wanted[role]
        if missing := [tile for tile in official if tile in at_hand and tile not in tiles]:
            raise BenchError(
                f"{raw / folder}: {len(missing)} tiles have no file there that matches "
                f"{pattern.pattern} ({', '.join(missing)}); the archive is not whole"
            )
        if foreign := sorted(set(tiles) - set(official)):
            raise BenchError(
                f"{tiles[foreign[0]]}: tile {foreign[0]} is none of the 38 published ones; take it out"
            )
    splits = {
        split: tuple(tile for tile in POTSDAM_SPLITS[target.split].get(split, ()) if tile in at_hand)
        for split in ("train", "val", "test")
    }
    return Collection(
        channels=channels,
        classes=POTSDAM.classes,
        label_variants=tuple(variants),
        training_labels=target.labels,
        unit=POTSDAM.unit,
        evaluation_split="test",
        splits=splits,
        read=bound(read_tile, files, channels, sources),
        published={split: sum(tile in at_hand for tile in tiles) for split, tiles in POTSDAM_SPLIT.items()},
    )


def _ortho_of(band: str, raw: Path) -> str:
    """Return the folder of the first orthophotos at hand that have a band."""
    having = [folder for folder, (bands, _) in ORTHOS.items() if band in bands]
    for folder in having:
        if (raw / folder).is_dir():
            return folder
    raise BenchError(
        f"{raw}: channel {band} is in {' or '.join(having)}, and none of them was placed; acquire one of them"
    )


def read_tile(files: Files, channels: tuple[Channel, ...], sources: Mapping[str, str], tile: str) -> Scene:
    """Read one tile: `files` by role and tile, `sources` the folder of orthophotos of each band."""
    planes, handled, labels = {}, list[Handled](), {}
    for variant in [name for name in LABELS if name in files]:
        labels[variant], mended = _read_label(files[variant][tile], tile, variant)
        handled.extend(mended)
    orthos: dict[str, NDArray[Any]] = {}
    shape = next(iter(labels.values())).array.shape
    for channel in channels:
        if channel.name in BANDS:
            folder = sources[channel.name]
            bands, path = ORTHOS[folder][0], files[folder][tile]
            if folder not in orthos:
                orthos[folder] = read_planes(path)
            image_HWC = orthos[folder]
            if image_HWC.shape[2] != len(bands):
                raise BenchError(
                    f"{path}: has {image_HWC.shape[2]} planes, expected {len(bands)} ({', '.join(bands)})"
                )
            planes[channel.name] = Plane(image_HWC[..., bands.index(channel.name)], path)
            continue
        path = files[channel.name][tile]
        height_HW, added = _fill_edge(read_plane(path), shape, tile)
        planes[channel.name] = Plane(height_HW, path)
        if added:
            handled.append(Handled(f"potsdam-3_13-{channel.name}-edge-repeated", tile, added))
    return Scene(planes=planes, labels=labels, handled=tuple(handled))


def _read_label(path: Path, tile: str, variant: str) -> tuple[Plane, tuple[Handled, ...]]:
    colours_HW3 = read_planes(path)
    if colours_HW3.shape[2] != 3:
        raise BenchError(f"{path}: has {colours_HW3.shape[2]} planes, expected 3 (a colour a class)")
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
