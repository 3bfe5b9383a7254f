"""The drawn archives of every dataset, acquired and prepared, and copies of them to spoil."""

import os
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from bench.catalog.index import CATALOG
from bench.data.acquire import acquire_archives
from bench.data.miniature.archives import write_archives
from bench.data.prepare.run import prepare_classification, prepare_target
from bench.data.store import SegmentationStore
from bench.study.datasets import Miniature, PretrainData, Target

SIZES = Miniature(seed=3, train_images=3, val_images=2, scenes=6, side=16)


def prepare(
    out: Path,
    name: str,
    channels: list[str] | None = None,
    scale: str = "miniature",
    raw: Path | None = None,
    workers: int = 0,
    **target,
) -> SegmentationStore:
    """Prepare a target with the given channels (unset: all of the catalogue) and open it."""
    wanted = channels or [channel.name for channel in CATALOG[name].channels]
    chosen = Target(channels=tuple(wanted), **target)
    prepare_target(
        name, chosen, raw or out / "raw", out, digest="p", spec={"s": 1}, scale=scale, workers=workers
    )
    return SegmentationStore(out / "manifest.json")


def draw_all(root: Path) -> Path:
    """Draw, acquire and prepare the miniature of every dataset, with all channels of the catalogue."""
    for name, entry in CATALOG.items():
        out = root / name
        write_archives(name, out / "archives", SIZES)
        acquire_archives(name, entry, out / "archives", out, digest="a", spec={}, drawn=True)
        if entry.kind == "classification":
            data = PretrainData(source=name, form="decoded", size=16)
            prepare_classification(name, data, out / "raw", out, digest="p", spec={"s": 1}, scale="miniature")
        else:
            prepare(out, name)
    return root


def copy_of(drawn: Path, name: str, folder: Path) -> Path:
    """A copy of the acquired files by hard links, to spoil."""
    out = folder / name
    for path in (drawn / name / "raw").rglob("*"):
        if path.is_file():
            copy = out / path.relative_to(drawn / name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, copy)
    (out / "acquired.json").write_bytes((drawn / name / "acquired.json").read_bytes())
    return out


def rewrite(path: Path, content: np.ndarray) -> None:
    """Replace a picture of a copy; its first link stays as it is."""
    path.unlink()
    tifffile.imwrite(path, content) if path.suffix == ".tif" else Image.fromarray(content).save(path)


def nothing_left(out: Path) -> bool:
    """Say that neither a manifest nor arrays under a final name are there."""
    return not (out / "manifest.json").exists() and not (out / "prepared").exists()


def prepared_bytes(out: Path) -> dict[str, bytes]:
    """Return the manifest and every prepared file by its path."""
    files = [out / "manifest.json", *(path for path in (out / "prepared").rglob("*") if path.is_file())]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}
