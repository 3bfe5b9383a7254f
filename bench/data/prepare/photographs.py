"""Photographs to files that are read without opening a million of them: encoded bytes end to end, or decoded
pixels.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from PIL import Image

from bench.data.pictures import read_rgb
from bench.data.prepare.arrays import Moments, moments
from bench.data.prepare.imagenet import Photographs
from bench.progress import tracked


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


def pack(
    photographs: Photographs, split: str, folder: Path, inside: str, *, size: int | None, measure: bool
) -> tuple[dict[str, Any], Moments | None]:
    """Write one split into `folder` and return its manifest entry and, if `measure`, its pixels' moments.

    `size` given: uint8 [N, S, S, 3], decoded. None: the files' bytes as they are, end to end, and int64
    offsets (N + 1). Labels are int64 [N]. `inside` is the folder's final name. Raises BenchError naming a
    file that is no readable photograph (encoded files are looked into only if measured).
    """
    entry: dict[str, Any] = {"count": len(photographs), "labels": f"{inside}/{split}.labels.npy"}
    np.save(folder / f"{split}.labels.npy", np.array([label for _, label in photographs], np.int64))
    steps = tracked(photographs, f"prepare {split}", "img")
    total: Moments | None = None
    if size is not None:
        entry["images"] = f"{inside}/{split}.npy"
        images = open_memmap(
            folder / f"{split}.npy", mode="w+", dtype=np.uint8, shape=(len(photographs), size, size, 3)
        )
        for place, (path, _) in enumerate(steps):
            images[place] = np.asarray(square(read_rgb(path, str(path)), size))
            if measure:
                total = _add(total, moments(images[place]))
        images.flush()
        return entry, total
    entry |= {"images": f"{inside}/{split}.bin", "offsets": f"{inside}/{split}.offsets.npy"}
    offsets = [0]
    with (folder / f"{split}.bin").open("wb") as sink:
        for path, _ in steps:
            encoded = path.read_bytes()
            if measure:
                total = _add(total, moments(np.asarray(read_rgb(encoded, str(path)))))
            sink.write(encoded)
            offsets.append(offsets[-1] + len(encoded))
    np.save(folder / f"{split}.offsets.npy", np.array(offsets, np.int64))
    return entry, total


def _add(total: Moments | None, part: Moments) -> Moments:
    return part if total is None else total.merge(part)
