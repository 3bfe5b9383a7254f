"""Contact sheets: scenes with every channel, their labels over the picture, and the legend; photographs by class.

Legend of axes: `image_HWC` values as the network reads them before normalisation, `labels_HW` class ids or 255.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.patches import Patch
from numpy.typing import NDArray

from bench.data.store import ClassificationStore, SegmentationStore
from bench.look.channels import every
from bench.look.grid import Cell, Picture, Row, Sheet, sheet
from bench.look.scenes import Tile
from bench.report.pictures import IGNORED, composite, painted, stretched

STRIPES = (120, 120, 120)
OVERLAY = 0.55
"""Share of the label's colour where it lies over the picture."""
CLASSES, EACH = 20, 8
"""Classes, and photographs of each, on a sheet of photographs."""
SIDE = 1.15
"""Inches: the width of a scene's pictures."""


def scene_sheet(
    store: SegmentationStore, chosen: Sequence[Tile], *, title: str, stamp: str = "", note: str = ""
) -> Sheet:
    """Draw a row for each chosen tile: colour, every channel in grey with its range, labels, overlay."""
    channels = [channel["name"] for channel in store.channels]
    colours = [entry["colour"] for entry in store.classes]
    variants = store.manifest.label_variants
    rows, ignored = [], False
    for tile in chosen:
        image_HWC, labels = store.crop(tile.sample, tile.top, tile.left, tile.height, tile.width)
        ignored = ignored or any((found == store.manifest.ignore_index).any() for found in labels.values())
        rows.append(Row(tile.sample, _cells(image_HWC, labels, channels, colours), _words(store, tile)))
    headings = [_colour_heading(channels)]
    headings += [f"{_spaced(channel['name'])}\n{channel['unit']}" for channel in store.channels]
    for variant in variants:
        labels_of = "labels" if len(variants) == 1 else f"{variant} labels"
        headings += [labels_of, f"{labels_of} over colour"]
    return sheet(
        rows,
        headings,
        side=SIDE,
        title=title,
        stamp=stamp,
        note=f"{note} Grey: 1st percentile black, 99th white; below it the least and the largest value.".strip(),
        handles=class_swatches(store.classes, ignored=ignored),
    )


def _cells(
    image_HWC: NDArray[np.float32],
    labels: Mapping[str, NDArray[np.uint8]],
    channels: Sequence[str],
    colours: Sequence[Sequence[int]],
) -> list[Cell]:
    colour_HW3 = in_colour(image_HWC, channels)
    cells = [Cell(colour_HW3)]
    for place in range(len(channels)):
        plane_HW = image_HWC[..., place]
        grey_HW = _bytes(stretched(plane_HW))
        values = f"{_number(float(plane_HW.min()))} to {_number(float(plane_HW.max()))}"
        cells.append(Cell(np.repeat(grey_HW[..., None], 3, axis=2), values))
    for labels_HW in labels.values():
        cells.append(Cell(label_picture(labels_HW, colours), sharp=True))
        cells.append(Cell(overlay(colour_HW3, labels_HW, colours)))
    return cells


def in_colour(image_HWC: NDArray[np.float32], channels: Sequence[str]) -> Picture:
    """Return red, green and blue (else the first three channels) as a picture, uint8 (H, W, 3)."""
    if image_HWC.min() >= 0:
        return _bytes(composite(image_HWC, channels)[0])
    # Standardised by scene: there is no black to start from, so each plane is stretched by itself.
    shown = np.stack([stretched(image_HWC[..., place]) for place in range(image_HWC.shape[2])], axis=-1)
    return _bytes(composite(shown.astype(np.float32), channels)[0])


def label_picture(labels_HW: NDArray[np.uint8], colours: Sequence[Sequence[int]]) -> Picture:
    """Return class ids as colours, uint8 (H, W, 3); what has no class is light grey with darker stripes."""
    painted_HW3 = painted(labels_HW, colours).copy()
    painted_HW3[(labels_HW >= len(colours)) & _striped(labels_HW.shape)] = STRIPES
    return painted_HW3


def overlay(colour_HW3: Picture, labels_HW: NDArray[np.uint8], colours: Sequence[Sequence[int]]) -> Picture:
    """Return the labels' colours laid over the picture; ignored pixels keep it, with stripes across."""
    mixed = (1 - OVERLAY) * colour_HW3 + OVERLAY * label_picture(labels_HW, colours)
    untouched = (labels_HW >= len(colours)) & ~_striped(labels_HW.shape)
    mixed[untouched] = colour_HW3[untouched]
    return mixed.round().astype(np.uint8)


def _striped(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return diagonal stripes, about 14 across the picture, a third of it covered."""
    height, width = shape
    period = max(3, round(max(height, width) / 20))
    return np.add.outer(np.arange(height), np.arange(width)) % period < max(1, period // 3)


def class_swatches(classes: Sequence[Mapping[str, object]], *, ignored: bool) -> list[Artist]:
    """Return a legend entry a class, with its index and name, and one for ignored pixels."""
    found: list[Artist] = [
        _swatch(entry["colour"], f"{entry['index']} {_spaced(str(entry['name']))}") for entry in classes
    ]
    if ignored:
        light, dark = (f"#{value:02x}{value:02x}{value:02x}" for value in (IGNORED[0], STRIPES[0]))
        found.append(Patch(facecolor=light, edgecolor=dark, hatch="/////", linewidth=0.5, label="ignored"))
    return found


def _swatch(colour: object, label: str) -> Patch:
    red, green, blue = (int(part) / 255 for part in colour)  # type: ignore[attr-defined]
    return Patch(facecolor=(red, green, blue), edgecolor="#888888", linewidth=0.5, label=label)


def photograph_sheet(
    store: ClassificationStore, split: str, *, title: str, stamp: str = "", note: str = ""
) -> Sheet:
    """Draw a row of photographs for each class, cut to squares; of many classes some, evenly spaced."""
    by_class = photographs_by_class(store, split)
    kept = every(store.num_classes, CLASSES)
    rows = []
    for index in kept:
        entry, members = store.classes[index], by_class[index]
        shown = [members[place] for place in every(len(members), EACH)] if members else []
        cells = [Cell(squared(store.image(split, place))) for place in shown]
        synset = [] if entry["wnid"] == entry["name"] else [entry["wnid"]]
        words = "\n".join([*synset, f"{len(members):,} pictures"])
        rows.append(Row(f"{index} {_spaced(entry['name'])}", cells, words))
    which = (
        "Every class" if len(kept) == store.num_classes else f"{len(kept)} of {store.num_classes:,} classes"
    )
    rule = f"{which}, in index order; photographs at equal distances in the class's list, cut to squares."
    return sheet(
        rows,
        [""] * min(EACH, max(map(len, by_class))),
        side=0.7,
        title=title,
        stamp=stamp,
        note=f"{rule} {note}",
    )


def photographs_by_class(store: ClassificationStore, split: str) -> list[list[int]]:
    """Return the indices of a split's photographs, a list a class."""
    found: list[list[int]] = [[] for _ in store.classes]
    for place in range(store.count(split)):
        found[store.label(split, place)].append(place)
    return found


def squared(image_HW3: Picture) -> Picture:
    """Return the middle square of a picture."""
    height, width = image_HW3.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(image_HW3[top : top + side, left : left + side])


def _words(store: SegmentationStore, tile: Tile) -> str:
    """Return what stands under the sample's name: size or window, unit, group, classes shown."""
    height, width = store.shape(tile.sample)
    bottom, right = tile.top + tile.height - 1, tile.left + tile.width - 1
    words = [f"{height} x {width} pixels"]
    if not tile.whole:
        words.append(f"rows {tile.top} to {bottom}, columns {tile.left} to {right}")
    if tile.unit != tile.sample:
        words.append(f"{store.manifest.unit} {tile.unit}")
    if group := store.group(tile.sample):
        words.append(group)
    seen = int((tile.pixels[:-1] > 0).sum())
    return "\n".join([*words, f"{seen} of {store.num_classes} classes"])


def _colour_heading(channels: Sequence[str]) -> str:
    shown = ["red", "green", "blue"] if {"red", "green", "blue"} <= set(channels) else list(channels[:3])
    return (
        "colour" if shown == ["red", "green", "blue"] else f"false colour\n{', '.join(map(_spaced, shown))}"
    )


def _bytes(shown: NDArray[np.float64]) -> Picture:
    return (255 * shown).round().astype(np.uint8)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _spaced(name: str) -> str:
    return name.replace("_", " ")
