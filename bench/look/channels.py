"""How the values of each channel are distributed: finished numbers, from pixels on a regular grid.

Mean and std are those of the manifest, over every pixel of the training split; the rest is counted on rows
taken at equal distances, so that a dataset of any size costs the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.data.store import ClassificationStore, SegmentationStore

PIXELS = 1_000_000
"""Pixels looked at, about: all of a small split, evenly spaced rows of a larger one."""
SAMPLES = 400
"""Samples looked at, at most, evenly spaced in the split's list."""
PHOTOGRAPHS = 200
"""Photographs looked at: each may have to be decoded."""
BINS = 64


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """One channel of the training split, in stored units unless `standardised`."""

    name: str
    unit: str
    mean: float
    std: float
    low: float
    high: float
    zeros: float
    """Share of the pixels that are exactly 0."""
    saturated: float | None
    """Share at the largest value of an integer type; None for floating point."""
    edges: NDArray[np.float64]
    shares: NDArray[np.float64]
    """Share of the pixels in each bin; they add up to 1."""


def every(total: int, wanted: int) -> list[int]:
    """Return at most `wanted` indices of 0..total-1 at equal distances, in the middle of their stretches."""
    kept = min(total, wanted)
    return [int((place + 0.5) * total / kept) for place in range(kept)]


def distribution(
    values: NDArray[np.floating] | NDArray[np.integer],
    *,
    name: str,
    unit: str,
    dtype: str,
    mean: float,
    std: float,
    raw: bool = True,
) -> Distribution:
    """Count the values of one channel. `raw`: stored values, of `dtype`; False where they were standardised.

    8-bit values fall into 64 bins of four, others into 64 bins from the least to the largest value.
    """
    integer = raw and np.issubdtype(np.dtype(dtype), np.integer)
    low, high = float(values.min()), float(values.max())
    if integer and dtype == "uint8":
        edges = np.linspace(-0.5, 255.5, BINS + 1)
    else:
        edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    counts, _ = np.histogram(values, bins=edges)
    top = np.iinfo(dtype).max if integer else None
    return Distribution(
        name=name,
        unit=unit if raw else f"standardised in each scene; stored: {unit}",
        mean=mean,
        std=std,
        low=low,
        high=high,
        zeros=float((values == 0).mean()),
        saturated=None if top is None else float((values == top).mean()),
        edges=edges,
        shares=counts / len(values),
    )


def target_distributions(store: SegmentationStore, split: str = "train") -> tuple[list[Distribution], str]:
    """Return the distribution of each channel of a target, and a sentence on what was looked at."""
    ids = store.split(split)
    chosen = [ids[place] for place in every(len(ids), SAMPLES)]
    area = sum(height * width for height, width in map(store.shape, chosen))
    rows: list[NDArray[np.float32]] = []
    for sample in chosen:
        height = store.shape(sample)[0]
        if area <= PIXELS:
            rows.append(store.image(sample).reshape(-1, len(store.channels)))
            continue
        for row in every(height, max(1, round(height * PIXELS / area))):
            rows.append(store.pixels(sample, slice(row, row + 1), slice(None))[0])
    pixels_PC = np.concatenate(rows)
    standardised = _standardised(store)
    found = [
        distribution(
            pixels_PC[:, place],
            name=channel["name"],
            unit=channel["unit"],
            dtype=channel["dtype"],
            mean=store.mean[place],
            std=store.std[place],
            raw=channel["name"] not in standardised,
        )
        for place, channel in enumerate(store.channels)
    ]
    whole = len(chosen) == len(ids) and area <= PIXELS
    what = "every pixel" if whole else f"{len(pixels_PC):,} pixels in evenly spaced rows"
    return found, f"{what} of {_share(len(chosen), len(ids))} samples of {split}"


def _share(part: int, whole: int) -> str:
    return f"all {whole:,}" if part == whole else f"{part:,} of the {whole:,}"


def _standardised(store: SegmentationStore) -> set[str]:
    """Return the channels that are read standardised by each scene's own mean and std."""
    return {name for entry in store.manifest.samples.values() for name in entry.get("statistics", {})}


def photograph_distributions(
    store: ClassificationStore, split: str = "train"
) -> tuple[list[Distribution], str]:
    """Return the distribution of red, green and blue of the classification data, and what was looked at."""
    chosen = every(store.count(split), PHOTOGRAPHS)
    pixels_PC = np.concatenate([store.image(split, index).reshape(-1, 3) for index in chosen])
    names: Sequence[str] = ("red", "green", "blue")
    found = [
        distribution(
            pixels_PC[:, place],
            name=name,
            unit="8-bit digital number",
            dtype="uint8",
            mean=store.mean[place],
            std=store.std[place],
        )
        for place, name in enumerate(names)
    ]
    return found, f"every pixel of {_share(len(chosen), store.count(split))} photographs of {split}"
