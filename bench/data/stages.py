"""The two data stages as the workflow calls them: find the files, hand them on.

A miniature study draws its archives first; from there on the code that reads the published archives reads these.
"""

import os
import shutil
from pathlib import Path

from bench.catalog.index import CATALOG, OWN_DATA
from bench.data.acquire import acquire_archives, acquire_folder, read_acquired
from bench.data.handshake import held, request, request_all
from bench.data.miniature.archives import write_archives
from bench.data.prepare.description import check_request as check_description
from bench.data.prepare.run import prepare_classification, prepare_target
from bench.errors import BenchError
from bench.lock import run_lock
from bench.machine import data_root, file_workers
from bench.study.datasets import PretrainData, Target
from bench.study.files import fingerprint
from bench.study.jobs import DataRun
from bench.study.runs import Runs
from bench.study.schema import Study

FOLDERS = tuple(OWN_DATA)
"""Sources that are a user's own folders, read where they are."""
WORKERS = "BENCH_WORKERS"
WORTH_A_PROCESS = 2**26
"""Bytes of sources for each process of a preparation."""


def acquire_data(study: Study, run: DataRun) -> None:
    """Verify and unpack the archives of one dataset, or list a user's own folder.

    A miniature's archives are drawn first. Raises RequestError if BENCH_DATA is needed and not set, BenchError for
    missing or broken archives.
    """
    with run_lock(Path(run.folder)):
        _acquire(study, run)


def _acquire(study: Study, run: DataRun) -> None:
    out, spec, digest = Path(run.folder), run.acquire_spec, run.acquire_digest
    # Taken first: what changes while the files are read is a change.
    files = fingerprint(study, run)
    if run.source in FOLDERS:
        folder, expected = user_folder(study, run), spec.get("sha256")
        acquire_folder(run.name, folder, out, digest=digest, spec=spec, expected=expected, files=files)
        return
    entry = CATALOG[run.source]
    if study.miniature is not None:
        archives = out / "archives"
        # Drawn anew at every acquisition: of other sizes there may be more files than of these.
        shutil.rmtree(archives, ignore_errors=True)
        write_archives(entry.name, archives, study.miniature)
    else:
        archives = data_root() / entry.name
    drawn = study.miniature is not None
    acquire_archives(run.name, entry, archives, out, digest=digest, spec=spec, drawn=drawn, files=files)


def prepare_data(study: Study, run: DataRun) -> None:
    """Turn one acquired dataset into arrays and a manifest, written last."""
    with run_lock(Path(run.folder)):
        _prepare(study, run)


def _prepare(study: Study, run: DataRun) -> None:
    out = Path(run.folder)
    raw = user_folder(study, run) if run.source in FOLDERS else out / "raw"
    if run.name == study.pretrain_data.name:
        prepare_classification(
            run.name,
            study.pretrain_data,
            raw,
            out,
            digest=run.digest,
            spec=run.spec,
            scale=study.scale,
            workers=processes(out),
        )
        return
    target = study.datasets[run.name]
    prepare_target(
        run.name,
        target,
        raw,
        out,
        digest=run.digest,
        spec=run.spec,
        scale=study.scale,
        description=Path(target.description) if target.description else None,
        workers=processes(out),
    )


def processes(out: Path) -> int:
    """Return how many processes prepare: as many as BENCH_WORKERS says; unset, one a core, fewer for little data.

    Starting one takes a second, so each has some data to be worth it.
    """
    if WORKERS in os.environ:
        return file_workers()
    size = sum(int(source["bytes"]) for source in read_acquired(out / "acquired.json").sources)
    return min(file_workers(), 1 + size // WORTH_A_PROCESS)


def check_request(runs: Runs) -> None:
    """Refuse, before anything runs, a study that its data cannot serve.

    Raises RequestError if BENCH_DATA is needed and not set, one BenchError for all archives and folders of the
    user's that are missing; what a folder dataset's description does not hold (a channel, a class) is a
    RequestError too.
    """
    study = runs.study
    lacking: dict[str, None] = {}
    for run in (runs.pretrain_data, *runs.target_data.values()):
        if run.source in FOLDERS:
            folder = user_folder(study, run)
            if not folder.is_dir():
                lacking[f"{run.name}: no folder {folder}; BENCH_DATA and the study's path lead there"] = None
        elif study.miniature is None and not Path(run.acquired).exists():
            holding = held(CATALOG[run.source], data_root() / run.source)
            if holding.missing:
                lacking[request(holding)] = None
        target = study.datasets.get(run.name)
        if target is not None and target.description is not None:
            check_description(run.name, target, study.evaluate[run.name], Path(target.description))
    if lacking:
        raise BenchError(request_all(list(lacking)))


def user_folder(study: Study, run: DataRun) -> Path:
    """Return the user's own folder of a dataset: its `path` in the study, below BENCH_DATA."""
    described: PretrainData | Target = (
        study.pretrain_data if run.name == study.pretrain_data.name else study.datasets[run.name]
    )
    return data_root() / os.fspath(described.path or run.name)
