"""Photographs to files that are read without opening a million of them: encoded bytes end to end, or decoded
pixels.

Every photograph is decoded once here, so that none fails in the middle of a training. Pixels stay as they are
stored: an EXIF orientation is not applied, since the loaders of the published recipes (torchvision's, timm's) do
not; it is counted, as are grey and CMYK photographs and those that are no JPEG whatever their name says.
"""

import os
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.data.pictures import Traits, check_photograph, read_rgb
from bench.data.prepare.imagenet import Photographs
from bench.data.prepare.processes import each
from bench.data.prepare.statistics import Moments, moments
from bench.data.prepare.workbench import INSIDE, Workbench, npy_header
from bench.errors import BenchError
from bench.progress import Progress

PIECE = 256
"""Photographs of one piece of work."""
GREY = {"L": "grey", "1": "grey", "LA": "grey"}
"""A word for modes whose names say little."""


def square(image: Image.Image, size: int) -> Image.Image:
    """Return `image` with its short side resized to `size` (bicubic) and cut square about the centre.

    A picture of that size already is returned untouched.
    """
    if image.size == (size, size):
        return image
    width, height = image.size
    scale = size / min(width, height)
    width, height = max(size, round(width * scale)), max(size, round(height * scale))
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return resized.crop((left, top, left + size, top + size))


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Photographs that follow each other, and where in the file their bytes go."""

    name: str
    paths: tuple[str, ...]
    start: int
    lengths: tuple[int, ...]
    """Bytes of each, as stored (encoded) or of its pixels (decoded)."""


@dataclass(frozen=True, kw_only=True)
class PackTask:
    """What another process needs to know to pack any piece."""

    file: str
    size: int | None
    measure: bool
    workbench: Workbench


def pack(
    photographs: Photographs,
    split: str,
    workbench: Workbench,
    *,
    size: int | None,
    measure: bool,
    workers: int,
) -> tuple[dict[str, Any], Moments | None, list[dict[str, Any]]]:
    """Write one split and return its manifest entry, its pixels' moments if `measure`, and what was counted.

    `size` given: uint8 [N, S, S, 3], decoded. None: the files' bytes as they are, end to end, and int64
    offsets (N + 1). Labels are int64 [N]. Pieces that are finished already are not made again. Raises BenchError
    naming a file that is no readable photograph.
    """
    paths = [path for path, _ in photographs]
    labels = np.array([label for _, label in photographs], np.int64)
    entry: dict[str, Any] = {
        "count": len(paths),
        "labels": workbench.save(f"{split}.labels.npy", labels),
    }
    if size is None:
        file, header = f"{split}.bin", b""
        lengths = [os.stat(path).st_size for path in paths]
    else:
        file, header = f"{split}.npy", npy_header(np.uint8, (len(paths), size, size, 3))
        lengths = [3 * size * size] * len(paths)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    workbench.reserve(file, int(offsets[-1]), header)
    entry["images"] = f"{INSIDE}/{file}"
    if size is None:
        entry["offsets"] = workbench.save(f"{split}.offsets.npy", offsets)
    pieces = [
        Piece(
            name=f"{split}.{first:08d}",
            paths=tuple(paths[first : first + PIECE]),
            start=len(header) + int(offsets[first]),
            lengths=tuple(lengths[first : first + PIECE]),
        )
        for first in range(0, len(paths), PIECE)
    ]
    task = PackTask(file=file, size=size, measure=measure, workbench=workbench)
    found = _results(task, pieces, split, workers)
    total: Moments | None = None
    for result in found if measure else ():
        part = Moments.from_json(result["moments"])
        total = part if total is None else total.merge(part)
    rules = sum((Counter(result["rules"]) for result in found), Counter[str]())
    handled = [{"rule": rule, "sample": split, "count": rules[rule]} for rule in sorted(rules)]
    return entry, total, handled


def _results(task: PackTask, pieces: list[Piece], split: str, workers: int) -> list[dict[str, Any]]:
    """Return each piece's result, made now unless it was finished before and still belongs where it lies."""
    found: dict[str, dict[str, Any]] = {}
    for piece in pieces:
        result = task.workbench.finished(piece.name)
        if result is not None and result["start"] == piece.start and result["count"] == len(piece.paths):
            found[piece.name] = result
    missing = [piece for piece in pieces if piece.name not in found]
    done = len(found)
    with Progress(f"prepare {split}", len(pieces), start=done, unit_size=PIECE) as progress:
        for piece, result in zip(
            missing, each(partial(pack_piece, task), missing, workers=workers), strict=True
        ):
            found[piece.name] = result
            progress.update()
    return [found[piece.name] for piece in pieces]


def pack_piece(task: PackTask, piece: Piece) -> dict[str, Any]:
    """Check and write the photographs of one piece, and return what the manifest needs of them."""
    rules: Counter[str] = Counter()
    total: Moments | None = None
    with (task.workbench.arrays / task.file).open("r+b") as sink:
        sink.seek(piece.start)
        for path, length in zip(piece.paths, piece.lengths, strict=True):
            try:
                encoded = Path(path).read_bytes()
            except OSError as error:
                raise BenchError(
                    f"{path}: cannot be read ({error.strerror}); acquire the data again"
                ) from None
            pixels = None
            if task.size is not None:
                pixels = np.asarray(square(read_rgb(encoded, path), task.size))
            elif task.measure:
                pixels = np.asarray(read_rgb(encoded, path))
            rules.update(rules_of(check_photograph(encoded, path, decode=pixels is None)))
            if task.measure and pixels is not None:
                part = moments(pixels)
                total = part if total is None else total.merge(part)
            content = encoded if task.size is None else np.ascontiguousarray(pixels).tobytes()
            if len(content) != length:
                raise BenchError(f"{path}: changed while it was read; leave the files alone and run again")
            sink.write(content)
    result = {
        "start": piece.start,
        "count": len(piece.paths),
        "moments": None if total is None else total.as_json(),
        "rules": dict(rules),
    }
    task.workbench.note(piece.name, piece.paths, [task.file], result)
    return result


def rules_of(traits: Traits) -> list[str]:
    """Return the names of what is done with a photograph that is not stored as an RGB JPEG seen upright."""
    found = []
    if traits.form not in ("JPEG", "MPO"):
        found.append(f"{traits.form.lower()}-read-by-content")
    if traits.mode != "RGB":
        found.append(f"{GREY.get(traits.mode, traits.mode.lower())}-converted-to-rgb")
    if traits.turned:
        found.append("exif-orientation-not-applied")
    return found
