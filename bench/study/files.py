"""What lies where a dataset's files are expected: a fingerprint for the workflow, never part of a digest.

A digest says what was asked for; which bytes answered is in the manifest. That the bytes have changed (another
folder, an edited picture, a replaced archive) the workflow notices by this fingerprint, and acquires anew.
"""

import hashlib
import json
import os
from pathlib import Path

from bench.study.jobs import DataRun
from bench.study.schema import Study


def fingerprint(study: Study, run: DataRun) -> str:
    """Return a digest of the names, sizes and times of the user's files of one dataset, hidden ones aside.

    `drawn` for a miniature. Where BENCH_DATA is unset or the folder is missing, the digest of those that were acquired,
    so that a finished study needs no archives any more; `nowhere` if nothing was. None of the user's files is opened.
    """
    if study.miniature is not None:
        return "drawn"
    described = study.pretrain_data if run.name == study.pretrain_data.name else study.datasets[run.name]
    folder = Path(os.environ.get("BENCH_DATA", ""), described.path or run.source)
    if not os.environ.get("BENCH_DATA") or not folder.is_dir():
        return acquired_files(run) or "nowhere"
    found = hashlib.sha256()
    for here, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        for name in sorted(file for file in files if not file.startswith(".")):
            facts = os.stat(os.path.join(here, name))
            found.update(
                f"{os.path.relpath(here, folder)}/{name} {facts.st_size} {facts.st_mtime_ns}\n".encode()
            )
    return found.hexdigest()


def acquired_files(run: DataRun) -> str | None:
    """Return the fingerprint of the files from which a dataset was acquired; None where nothing tells."""
    try:
        found = json.loads(Path(run.acquired).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) and found else None


def files_changed(study: Study, run: DataRun) -> bool:
    """Say whether the user's files of a dataset are others than those it was acquired from."""
    before = acquired_files(run)
    return before is not None and fingerprint(study, run) != before
