"""`bench publish`: a study's light record, copied to results/published/<study>/, which no rule writes or reads.

What is copied: the study file, the paper's numbers it was held against, every record, the counts, the manifests
without their lists of files, losses and examples in the form that figures draw. Tables, figures and report are not
copied but made from the copy, and its tables must be those of the study: what cannot be regenerated is not published.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.publish.lighter import REPORT, keep_counts, keep_pictures, left_out, lighten, save_arrays
from bench.publish.page import write_page
from bench.publish.privacy import machine_names, refuse_private
from bench.publish.regenerate import STUDY_FILE, regenerate
from bench.record import read_record, sha256_file, write_json
from bench.report import discussion, losses
from bench.report.examples import FILE as EXAMPLES
from bench.report.examples import drawn
from bench.stats.stage import require_fresh
from bench.study.jobs import EvaluateRun, FinetuneRun, Job, PretrainRun
from bench.study.place import own_file
from bench.study.runs import Runs

PUBLISHED = Path("results/published")
LIMIT = 5 * 2**20
"""Bytes of a published study: it is kept in git."""
ROOM = 64 * 2**10
"""Bytes kept for the page and the seal, which are written last."""
SEAL = "published.json"
MADE_WITH = ("numpy", "scipy", "pandas", "matplotlib", "pillow", "PyYAML")
PAPER = ("reported.csv", "context.csv")
"""Files of paper/ that the comparison reads."""
SOURCES = 50
"""A manifest that names more source files than this has them summed up."""


def publish(runs: Runs, study_file: Path, out: Path = PUBLISHED, *, limit: int = LIMIT) -> Path:
    """Write the light record of a finished study into `out`/<study> and return that folder.

    Raises BenchError if the study is stale or partial, if its tables do not follow from its counts, if a file names
    the machine or its user, or if the record is larger than `limit` bytes; what was published before stays then.
    """
    if require_fresh(runs):
        raise BenchError(f"{runs.root}: runs are missing; finish the study, then publish it")
    final = out / runs.study.study
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{final.name}-") as name:
        folder = Path(name) / final.name
        folder.mkdir()
        if runs.study.pictures == "local":
            keep_pictures(folder)
        _copy(runs, study_file, folder)
        regenerate(folder)
        _require_same_tables(Path(runs.root, "tables"), folder / "tables")
        _write_report(runs, study_file, folder)
        lighten(folder, limit - ROOM)
        write_page(folder)
        refuse_private(folder, machine_names(runs, study_file))
        seal(folder)
        require_small(folder, limit)
        old = Path(name) / "old"
        if final.exists():
            os.replace(final, old)
        os.replace(folder, final)
    return final


def _copy(runs: Runs, study_file: Path, folder: Path) -> None:
    shutil.copyfile(study_file, folder / STUDY_FILE)
    (folder / "paper").mkdir()
    for name in PAPER:
        if (source := Path(own_file(f"paper/{name}"))).is_file():
            shutil.copyfile(source, folder / "paper" / name)
    trained: list[PretrainRun | FinetuneRun] = [*runs.pretrainings, *runs.finetunings]
    for job in (*trained, *runs.evaluations, *runs.classifiers):
        _copy_job(job, folder / _below(runs, job), pictures="pictures" not in left_out(folder))
    if (words := discussion.path_of(runs.study)) is not None:
        shutil.copyfile(words, folder / discussion.FILE)
    (folder / "compare").mkdir()
    shutil.copyfile(Path(runs.root, "compare", "record.json"), folder / "compare" / "record.json")
    curves = {
        key: found.astype(np.float32) for key, found in losses.read_losses(trained, Path(runs.root)).items()
    }
    save_arrays(folder / losses.PUBLISHED, curves)
    for data in (runs.pretrain_data, *runs.target_data.values()):
        path = Path(data.manifest)
        if not path.is_file():
            raise BenchError(
                f"{path}: no such file; the evaluated samples are held to it: run the study again"
            )
        light = light_manifest(json.loads(path.read_text(encoding="utf-8")))
        write_json(folder / _below(runs, data) / "manifest.json", light)


def _below(runs: Runs, job: Job) -> str:
    return job.folder.removeprefix(f"{runs.root}/")


def _write_report(runs: Runs, study_file: Path, folder: Path) -> None:
    """Set the report from what is published, so that it shows nothing else."""
    # `make tables` and `bench check` have no typst.
    from bench.report.paper import write_report

    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        out = Path(name) / REPORT
        write_report(
            runs.study, folder, out, study_file=study_file, pictures="pictures" not in left_out(folder)
        )
        # All its words stand in report.json beside it, where they can be read.
        refuse_private(Path(name), machine_names(runs, study_file))
        os.replace(out, folder / REPORT)


def _copy_job(job: Job, folder: Path, *, pictures: bool) -> None:
    record = read_record(Path(job.record))
    if record.digest != job.digest:
        raise BenchError(
            f"{job.record}: made by another study or version (digest {record.digest[:12]}, expected "
            f"{job.digest[:12]}); run the study again before it is published"
        )
    folder.mkdir(parents=True)
    shutil.copyfile(job.record, folder / "record.json")
    if not isinstance(job, EvaluateRun):
        return
    if job.pretrainings:
        with np.load(Path(job.folder, "correct.npz"), allow_pickle=False) as stored:
            save_arrays(folder / "correct.npz", dict(stored))
        return
    shutil.copyfile(Path(job.folder, "counts.npz"), folder / "counts.npz")
    keep_counts(folder)
    examples = Path(job.folder, EXAMPLES)
    if pictures and examples.is_file():
        with np.load(examples, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        save_arrays(folder / EXAMPLES, drawn(arrays, record.extra["channels"], examples))


def light_manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest without the files of its samples, and with many sources summed up as one digest.

    Of the samples it keeps the unit of each that is evaluated.
    """
    light = {key: value for key, value in manifest.items() if key != "samples"}
    if manifest.get("samples"):
        # What the statistics resample, by the evaluated samples in their order.
        split = manifest["splits"][manifest["evaluation_split"]]
        light["units"] = [manifest["samples"][name]["unit"] for name in split]
    sources = manifest["sources"]
    if len(sources) > SOURCES:
        text = json.dumps(sources, sort_keys=True).encode()
        light["sources"] = [
            {
                "files": len(sources),
                "bytes": sum(s["bytes"] for s in sources),
                "sha256": hashlib.sha256(text).hexdigest(),
            }
        ]
    return light


def _require_same_tables(studys: Path, made: Path) -> None:
    for path in sorted(made.iterdir()):
        if not (studys / path.name).is_file() or (studys / path.name).read_bytes() != path.read_bytes():
            raise BenchError(
                f"{studys / path.name}: differs from the table that follows from the study's counts; run the study "
                "again (`python -m bench run`), then publish it"
            )


def files_of(folder: Path) -> Iterator[Path]:
    """Yield every file of a published study but its seal, sorted."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != SEAL)


def seal(folder: Path) -> None:
    """Write published.json: the SHA-256 of every file, and the versions that drew the figures."""
    sums = {path.relative_to(folder).as_posix(): sha256_file(path) for path in files_of(folder)}
    made = {name: version(name) for name in MADE_WITH}
    write_json(folder / SEAL, {"schema": 1, "study": folder.name, "made_with": made, "files": sums})


def require_small(folder: Path, limit: int) -> None:
    """Raise BenchError, naming the three largest files, if a published study takes more than `limit` bytes."""
    sizes = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file()
    }
    total = sum(sizes.values())
    if total > limit:
        largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:3]
        named = ", ".join(f"{name} ({sizes[name] / 1e6:.2f} MB)" for name in largest)
        raise BenchError(
            f"{folder.name}: the light record takes {total / 1e6:.2f} MB, git keeps {limit / 1e6:.2f} MB at most; "
            f"largest: {named}"
        )
