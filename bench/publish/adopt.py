"""`bench adopt`: runs of a published study that another study asks for too, taken over by their digests.

A light record has no weights. What it has of a run, its record, its losses and all that was counted, is what a study
needs of one whose weights nothing else starts from: so a study can be done in pieces, by several people, or grow by
an arm, and what is done is not trained again.
"""

import csv
import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.adopted import counted_as, write_adopted
from bench.errors import BenchError
from bench.lock import run_lock
from bench.publish.lighter import left_out
from bench.publish.regenerate import records_of
from bench.record import Record, read_record, sha256_file, write_text
from bench.report.losses import PUBLISHED
from bench.study.jobs import EvaluateRun, FinetuneRun, PretrainRun
from bench.study.runs import Runs


@dataclass(frozen=True)
class Held:
    """What a light record has of one run: its record, its losses, and what was counted of it, and how."""

    record: Record
    steps_losses: NDArray[Any]
    """Steps and losses, (2, points)."""
    asked: str
    samples: tuple[str, ...]
    arrays: dict[str, NDArray[Any]]


@dataclass
class Outcome:
    """What became of the runs that both studies have."""

    taken: list[str] = field(default_factory=list)
    here: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    """Folder -> why it was not taken."""


def adopt(runs: Runs, folder: Path) -> Outcome:
    """Take over every run of the published study in `folder` that the study asks for and does not have.

    The prepared data must be there and be the bytes that the runs were trained on. A fine-tuning is taken with the
    pre-training that it started from or not at all. Raises BenchError if `folder` holds no evaluated run.
    """
    held = _held(folder)
    if not held:
        raise BenchError(
            f"{folder}: holds no counts of any run; name a folder that `bench publish` has written"
        )
    further = "further" not in left_out(folder)
    outcome = Outcome()
    for evaluation in (*runs.classifiers, *runs.evaluations):
        cells: tuple[PretrainRun | FinetuneRun, ...] = (*evaluation.pretrainings, *evaluation.finetunings)
        for run in cells:
            found = held.get(run.digest)
            if found is None:
                continue
            if Path(run.record).exists() and read_record(Path(run.record)).digest == run.digest:
                outcome.here.append(run.folder)
            elif why := _against(run, evaluation, found, further=further):
                outcome.left[run.folder] = why
            else:
                _take(run, found)
                outcome.taken.append(run.folder)
    return outcome


def _against(run: PretrainRun | FinetuneRun, evaluation: EvaluateRun, found: Held, *, further: bool) -> str:
    """Return why a run cannot be taken over; nothing if it can."""
    if found.asked != counted_as(evaluation.spec):
        return "it was counted under other settings of `evaluate` or `orders` than the study's"
    if not further and (evaluation.spec.get("boundary") or evaluation.spec.get("spectral")):
        return "the light record was published without its counts of edges and disturbed channels"
    manifest = Path(run.manifest)
    if not manifest.is_file():
        return f"{manifest} is not there"
    if found.record.extra["manifest_sha256"] != sha256_file(manifest):
        return f"it was trained on other data than {manifest}"
    if isinstance(run, FinetuneRun) and run.pretrain and not Path(run.pretrain.record).exists():
        return f"the pre-training it started from was not taken ({run.pretrain.folder})"
    return ""


def _take(run: PretrainRun | FinetuneRun, found: Held) -> None:
    """Put counts, losses and, last, the record into the run's folder."""
    folder, record = Path(run.folder), found.record
    with run_lock(folder):
        # Weights without this record belong to another run, whose counts these are not.
        for name in ("weights.safetensors", "weights.json"):
            (folder / name).unlink(missing_ok=True)
        write_adopted(folder, found.arrays, asked=found.asked, digest=run.digest, samples=found.samples)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["step", "loss"])
        writer.writerows([float(step), float(loss)] for step, loss in found.steps_losses.T)
        write_text(folder / "log.csv", text.getvalue())
        replace(
            record,
            names=record.names | {"study": run.study},
            extra=record.extra | {"adopted": record.extra.get("adopted", record.names.get("study"))},
        ).write(folder / "record.json")


def _held(folder: Path) -> dict[str, Held]:
    """Return by digest every run of a published study of which record, losses and counts are there."""
    losses: dict[str, NDArray[Any]] = {}
    if (path := folder / PUBLISHED).is_file():
        with np.load(path, allow_pickle=False) as stored:
            losses = dict(stored)
    trained = {}
    for path in records_of(folder, "pretrain", "finetune"):
        key, record = path.parent.relative_to(folder).as_posix(), read_record(path)
        if key in losses:
            trained[record.digest] = record, losses[key]
    found = {}
    for path in records_of(folder, "evaluate"):
        record = read_record(path)
        counts = path.with_name("correct.npz" if record.stage == "top1" else "counts.npz")
        with np.load(counts, allow_pickle=False) as stored:
            arrays = dict(stored)
        for row, cell in enumerate(record.extra["cells"]):
            if cell["digest"] in trained:
                found[cell["digest"]] = Held(
                    *trained[cell["digest"]],
                    asked=counted_as(record.spec),
                    samples=tuple(record.extra.get("samples", ())),
                    arrays={name: array[row] for name, array in arrays.items()},
                )
    return found
