"""The comparison as the workflow calls it, and the check that what follows from it still belongs to the study."""

import time
import warnings
from collections.abc import Iterable
from pathlib import Path

from bench.errors import BenchError
from bench.lock import run_lock, say
from bench.record import Record, read_record, receipt, write_text
from bench.stats.classifiers import ExpectedClassifier
from bench.stats.compare import TABLES, compare, table_text
from bench.stats.contrasts import comparison_rows
from bench.stats.forecast import forecast_rows, forecast_text
from bench.stats.power import TARGET
from bench.stats.protocols import check_evaluations
from bench.stats.scores import ExpectedCell, read_evaluations
from bench.stats.stated import Stated
from bench.stats.verdicts import read_claims
from bench.study.jobs import FinetuneRun, Job, PretrainRun
from bench.study.place import own_file
from bench.study.runs import Runs


def compare_study(runs: Runs, *, partial: bool = False) -> None:
    """Write compare/*.csv of a study, and its record last.

    Every digest is computed anew from the study; a record of another study or version is refused by name. With
    `partial`, missing runs are listed instead of refused.
    """
    with run_lock(Path(runs.root, "compare")):
        _compare(runs, partial)


def _compare(runs: Runs, partial: bool) -> None:
    began = time.monotonic()
    study, out = runs.study, Path(runs.root, "compare")
    (out / "record.json").unlink(missing_ok=True)
    trained: list[PretrainRun | FinetuneRun] = [*runs.pretrainings, *runs.finetunings]
    records = [Path(run.record) for run in trained]
    evaluations = [Path(run.record) for run in (*runs.evaluations, *runs.classifiers)]
    if partial:
        records = [path for path in records if path.exists()]
        evaluations = [path for path in evaluations if path.exists()]
    there = set(records)
    _refuse_stale(run for run in trained if Path(run.record) in there)
    with warnings.catch_warnings():
        # Each alarm is a row of alarms.csv and a line below; a warning would say it a third time.
        warnings.simplefilter("ignore", UserWarning)
        alarms = compare(
            evaluations,
            [expected_cell(run) for run in runs.finetunings],
            study.compare,
            study.evaluate,
            study.scale,
            study.repetitions,
            Path(own_file("paper/reported.csv")),
            out,
            classifiers=[
                ExpectedClassifier(
                    backbone=run.backbone,
                    label=run.label,
                    strategy=run.strategy,
                    channels=run.channels,
                    seed=run.repetition,
                    digest=run.digest,
                )
                for run in runs.pretrainings
            ],
            digests={
                f"{run.dataset}/{run.backbone}": run.digest for run in (*runs.evaluations, *runs.classifiers)
            },
            records=records,
            factors=study.factors,
            named=study.named,
            stated=Stated(study),
            context=Path(own_file("paper/context.csv")),
            partial=partial,
        )
    for alarm in alarms:
        say(f"ALARM, {alarm['kind']}: {alarm['first']}: {alarm['reason']}")
    Record(
        stage="compare",
        names={"study": study.study},
        spec=runs.compare_spec,
        digest=runs.compare_digest,
        inputs=runs.compare_inputs,
        metrics={},
        receipt=receipt(device="cpu", wall_seconds=time.monotonic() - began),
        extra={"partial": any(alarm["kind"] == "missing" for alarm in alarms)},
    ).write(out / "record.json")


def power_study(runs: Runs) -> Path:
    """Print how many seeds or test units would decide each claim, from whatever was evaluated so far; write it as CSV.

    Reads the evaluations that are there and belong to the study, trainings or not, and leaves compare/ alone: a plan is
    made before the runs are done. Raises BenchError, and writes nothing, where no contrast has two seeds and two units.
    """
    study = runs.study
    evaluations = [Path(run.record) for run in runs.evaluations if Path(run.record).exists()]
    digests = {f"{run.dataset}/{run.backbone}": run.digest for run in runs.evaluations}
    evaluated, missing = read_evaluations(
        evaluations, [expected_cell(run) for run in runs.finetunings], digests, partial=True
    )
    check_evaluations(evaluated)
    rows = [
        row
        for e in evaluated
        for row in comparison_rows(e, study.evaluate[e.dataset], study.compare, study.repetitions)
    ]
    found = forecast_rows(rows, read_claims(Path(own_file("paper/reported.csv"))), study.compare)
    if not found:
        raise BenchError(
            f"{runs.root}/evaluate: no contrast of {study.compare.treatment} with two seeds and two test units; "
            "evaluate two repetitions of both arms of one dataset first"
        )
    path = Path(runs.root, "power", "power.csv")
    write_text(path, table_text(found, TABLES["power"].split()))
    level = study.compare.level
    print(
        "Seeds (at the units there are) or test units (at the seeds there are) that decide with probability "
        f"{TARGET:g} at level {level:g}, from the spread so far. Per cent; `finds`: the smallest gain that this design "
        "finds so."
    )
    print(forecast_text(found))
    if missing:
        print(f"{len(missing)} of {len(runs.finetunings)} cells are not evaluated yet")
    print(f"written to {path}")
    return path


def expected_cell(run: FinetuneRun) -> ExpectedCell:
    """Return what the study expects of a fine-tuning's evaluation."""
    return ExpectedCell(
        dataset=run.dataset,
        backbone=run.backbone,
        arm=run.arm,
        names=run.names,
        pretrain_seed=run.pretrain.repetition if run.pretrain else None,
        seed=run.repetition,
        digest=run.digest,
    )


def require_fresh(runs: Runs) -> bool:
    """Raise BenchError unless compare/ was made from this study as it stands; return whether it is partial."""
    path = Path(runs.root, "compare", "record.json")
    record = read_record(path)
    if record.digest != runs.compare_digest:
        raise BenchError(
            f"{path}: the comparison is of another study or version (digest {record.digest[:12]}, expected "
            f"{runs.compare_digest[:12]}); run compare again: `python -m bench run` does"
        )
    return bool(record.extra["partial"])


def _refuse_stale(trained: Iterable[Job]) -> None:
    for run in trained:
        path = Path(run.folder, "record.json")
        found = read_record(path).digest
        if found != run.digest:
            raise BenchError(
                f"{path}: stale: made by another study or version (digest {found[:12]}, expected "
                f"{run.digest[:12]}); run it and what follows again: `python -m bench run` does, or remove it"
            )
