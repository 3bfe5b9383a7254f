"""Figures of the benchmark `data` that concern preparation: palette decoding, a whole tile, memory, processes."""

import hashlib
import io
import multiprocessing
import resource
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from bench.benchmark.measure import Row, interleaved
from bench.catalog.entry import LabelClass
from bench.catalog.isaid import ISAID
from bench.catalog.potsdam import POTSDAM
from bench.data.pictures import check_photograph, read_planes, read_rgb
from bench.data.prepare import isaid, potsdam
from bench.data.prepare.arrays import SampleTask, write_sample
from bench.data.prepare.labels import check_ids, ids_of_colours
from bench.data.prepare.statistics import moments
from bench.data.prepare.workbench import Workbench
from bench.study.datasets import Target

SIDE = 6000
"""Of a Potsdam tile, in pixels."""
LARGE = (13_000, 4_000)
"""Width and height of a large iSAID image."""
TILE = "2_10"


def prepare_rows() -> list[Row]:
    """Return the figures: decoding against a mask a colour, a tile against its parts, memory of a large image."""
    with tempfile.TemporaryDirectory(prefix="csp-bench-") as folder:
        return [*_palette_rows(), _photograph_row(), *_tile_rows(Path(folder)), _memory_row(Path(folder))]


def _blocks(side_y: int, side_x: int, count: int) -> NDArray[np.uint8]:
    """Return drawn class ids in blocks of 40 pixels: real labels are constant over stretches, too."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, count, (-(-side_y // 40), -(-side_x // 40)), dtype=np.uint8)
    return coarse.repeat(40, axis=0).repeat(40, axis=1)[:side_y, :side_x]


def _coloured(ids_HW: NDArray[np.uint8], classes: tuple[LabelClass, ...]) -> NDArray[np.uint8]:
    palette = np.array([entry.colour for entry in classes], np.uint8)
    return palette[ids_HW]


def masks_per_colour(colours_HW3: NDArray[np.uint8], classes: tuple[LabelClass, ...]) -> NDArray[np.uint8]:
    """Return class ids the usual way: one comparison of the whole picture a colour, 255 elsewhere."""
    ids_HW = np.full(colours_HW3.shape[:2], 255, np.uint8)
    for index, entry in enumerate(classes):
        ids_HW[(colours_HW3 == np.array(entry.colour, np.uint8)).all(-1)] = index
    return ids_HW


def _palette_rows() -> list[Row]:
    rows = []
    for entry in (POTSDAM, ISAID):
        side = SIDE // 2
        picture = _coloured(_blocks(side, side, entry.num_classes), entry.classes)
        seconds = interleaved(
            {
                "masks": partial(masks_per_colour, picture, entry.classes),
                "table": partial(ids_of_colours, picture, entry.classes, Path("label.tif")),
            },
            rounds=3,
        )
        rows.append(
            Row(
                what=f"palette of {entry.num_classes} colours to ids, against a mask a colour",
                value=seconds["masks"] / seconds["table"],
                unit="x",
                limit="at least 20",
                note=f"{side * side / seconds['table'] / 1e6:.0f} Mpx/s; foreign colours are found",
            )
        )
    return rows


def _photograph_row() -> Row:
    """Return what the check of a JPEG of ImageNet's usual size costs, against decoding it."""
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(0, 256, (75, 100, 3), dtype=np.uint8))
    stream = io.BytesIO()
    coarse.resize((500, 375), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=95)
    encoded = stream.getvalue()

    def repeat(look: Callable[[bytes, str], object]) -> None:
        for _ in range(50):
            look(encoded, "drawn")

    seconds = interleaved(
        {"check": partial(repeat, check_photograph), "decode": partial(repeat, read_rgb)}, rounds=5
    )
    return Row(
        what="checking that a JPEG is whole, against decoding it",
        value=seconds["check"] / seconds["decode"],
        unit="x",
        note=f"{50 / seconds['check']:.0f} img/s a process, {len(encoded) / 1e3:.0f} kB each",
    )


def _draw_tile(raw: Path) -> list[Path]:
    """Write one Potsdam tile as published (6000 x 6000, uncompressed TIFFs) and return its files."""
    rng = np.random.default_rng(1)
    label = _coloured(_blocks(SIDE, SIDE, POTSDAM.num_classes), POTSDAM.classes)
    ortho = rng.integers(0, 256, (SIDE, SIDE, 4), dtype=np.uint8)
    height = rng.normal(60, 8, (SIDE, SIDE)).astype(np.float32)
    files: dict[str, NDArray[Any]] = {
        f"4_Ortho_RGBIR/top_potsdam_{TILE}_RGBIR.tif": ortho,
        "1_DSM/dsm_potsdam_02_10.tif": height,
        f"5_Labels_all/top_potsdam_{TILE}_label.tif": label,
        f"5_Labels_all_noBoundary/top_potsdam_{TILE}_label_noBoundary.tif": label,
    }
    for name, array in files.items():
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        kind = "minisblack" if array.ndim == 2 else "rgb"
        extra = ["unspecified"] if array.ndim == 3 and array.shape[2] == 4 else None
        tifffile.imwrite(raw / name, array, photometric=kind, extrasamples=extra, metadata=None)
    return [raw / name for name in files]


def _tile_rows(folder: Path) -> list[Row]:
    files = _draw_tile(folder / "raw")
    target = Target(channels=POTSDAM.default_channels)
    # One tile is no split, so the tasks are made from what a collection is made of.
    collection = partial(
        potsdam.read_tile,
        {
            "4_Ortho_RGBIR": {TILE: files[0]},
            "height": {TILE: files[1]},
            "full": {TILE: files[2]},
            "eroded": {TILE: files[3]},
        },
        tuple(c for c in POTSDAM.channels if c.name in target.channels),
        dict.fromkeys(("red", "green", "blue", "infrared"), "4_Ortho_RGBIR"),
    )
    task = SampleTask(
        read=collection,
        channels=tuple(c for c in POTSDAM.channels if c.name in target.channels),
        num_classes=POTSDAM.num_classes,
        ignore_index=255,
        label_variants=("full", "eroded"),
        workbench=Workbench(folder, "tile"),
    )
    arrays = [read_planes(path) for path in files]
    ids = ids_of_colours(arrays[2], POTSDAM.classes, files[2])

    def read() -> None:
        for path in files:
            read_planes(path)

    def hash_() -> None:
        for path in files:
            with path.open("rb") as stream:
                hashlib.file_digest(stream, "sha256")

    def measure() -> None:
        moments(arrays[0])
        moments(arrays[1])
        for _ in range(2):
            check_ids(ids, POTSDAM.num_classes, 255, files[2])

    def write() -> None:
        for index, array in enumerate((arrays[0], arrays[1], ids, ids)):
            np.save(folder / f"part{index}.npy", array)

    def clear() -> None:
        # A preparation writes new files: to free the pages of old ones is no part of it.
        for path in [*task.workbench.arrays.iterdir(), *folder.glob("part*.npy")]:
            path.unlink()

    tasks: dict[str, Callable[[], object]] = {
        "clearing": clear,
        "whole": partial(write_sample, task, TILE),
        "reading": read,
        "hashing": hash_,
        "statistics": measure,
        "writing": write,
    }
    seconds = interleaved(tasks, rounds=5)
    parts = {name: seconds[name] for name in ("reading", "hashing", "statistics", "writing")}
    told = ", ".join(f"{name} {value:.2f} s" for name, value in parts.items())
    return [
        Row(
            what="preparing a tile of 6000 x 6000 x 5, against its parts alone",
            value=seconds["whole"] / sum(parts.values()),
            unit="x",
            limit="at most 1.5",
            note=f"{seconds['whole']:.2f} s; {told}; sources are hashed at acquisition",
        ),
        Row(
            what="the same, against reading, statistics and writing",
            value=seconds["whole"] / (sum(parts.values()) - parts["hashing"]),
            unit="x",
            note="the rest: two palettes to ids",
        ),
    ]


def _memory_row(folder: Path) -> Row:
    """Prepare one large iSAID pair in a process of its own, and return the most memory that it held."""
    width, height = LARGE
    rng = np.random.default_rng(2)
    image, mask = folder / "P0001.png", folder / "P0001_instance_color_RGB.png"
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    Image.fromarray(coarse.repeat(8, axis=0).repeat(8, axis=1)).save(image, compress_level=1)
    Image.fromarray(_coloured(_blocks(height, width, ISAID.num_classes), ISAID.classes)).save(
        mask, compress_level=1
    )
    # Spawned: a forked process would start with what this one holds.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        peak = pool.apply(peak_of_a_pair, (image, mask, folder / "large"))
    return Row(
        what=f"peak memory of preparing an iSAID image of {width} x {height}",
        value=peak / 2**30,
        unit="GiB",
        limit="at most 2",
        note="one process, libraries included",
    )


def peak_of_a_pair(image: Path, mask: Path, out: Path) -> int:
    """Prepare one pair and return the peak resident memory of this process in bytes."""
    task = SampleTask(
        read=partial(isaid.read_pair, {"P0001": (image, mask)}, ISAID.channels),
        channels=ISAID.channels,
        num_classes=ISAID.num_classes,
        ignore_index=255,
        label_variants=("full",),
        workbench=Workbench(out, "large"),
    )
    write_sample(task, "P0001")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
