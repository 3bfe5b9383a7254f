"""Bytes that the data of a study take on the disk: as they lie there, else as the catalogue says, else not known."""

import json
import os
from pathlib import Path

import numpy as np

from bench.catalog.index import CATALOG, OWN_DATA
from bench.data.miniature.class_pictures import CLASSES
from bench.plan.price import SCENES
from bench.study.jobs import DataRun
from bench.study.runs import Runs


def unpacked(runs: Runs, run: DataRun) -> int | None:
    """Return the bytes of a dataset's unpacked files: about those of its archives, which hold compressed pictures.

    0 for a user's own folder, which is read where it is; None where nothing tells.
    """
    if run.source in OWN_DATA:
        return 0
    try:
        sources = json.loads(Path(run.acquired).read_text(encoding="utf-8"))["sources"]
        return sum(int(source["bytes"]) for source in sources)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return _published_archives(run) if runs.study.miniature is None else None


def prepared(runs: Runs, run: DataRun) -> int | None:
    """Return the bytes of a dataset's prepared arrays; None where nothing tells."""
    folder = Path(run.folder, "prepared")
    if Path(run.manifest).exists() and folder.is_dir():
        return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
    if run.name == runs.pretrain_data.name:
        return _photographs(runs, run)
    return _scenes(runs, run)


def _published_archives(run: DataRun) -> int | None:
    """The published sizes; None without any. An archive without one beside others that have it is a list, not data."""
    known = [archive.size for archive in CATALOG[run.source].archives if archive.size is not None]
    return sum(known) if known else None


def _photographs(runs: Runs, run: DataRun) -> int | None:
    """The bytes of the JPEGs, which the archives hold as they are, or three for each decoded pixel."""
    data, mini, entry = runs.study.pretrain_data, runs.study.miniature, CATALOG.get(run.source)
    if data.size is None:
        return _published_archives(run) if entry is not None and mini is None else None
    if mini is not None:
        count = (mini.train_images + mini.val_images) * len(CLASSES)
    elif entry is not None:
        count = sum(entry.expected_counts.values())
    else:
        return None
    return count * 3 * data.size**2


def _scenes(runs: Runs, run: DataRun) -> int | None:
    """Every channel in its type and a byte for each label variant, of all scenes of the published size."""
    entry, size = CATALOG.get(run.source), SCENES.get(run.source)
    if entry is None or size is None or runs.study.miniature is not None:
        return None
    kinds = {channel.name: np.dtype(channel.dtype).itemsize for channel in entry.channels}
    values = sum(kinds[name] for name in runs.study.datasets[run.name].channels)
    labels = len(run.spec["variants"])
    return sum(entry.expected_counts.values()) * size[0] * size[1] * (values + labels)
