"""The comparison of one study: from evaluation outputs to the tables of scores, contrasts, verdicts and
receipts.

`scores.csv`, `comparisons.csv`, `verdicts.csv`, `top1.csv` and `alarms.csv` carry no time, commit or host:
same counts, same bytes. `cost.csv` and `receipts.csv` stand apart. Fractions are float64 written so that they
read back exactly; what is undefined is an empty cell.
"""

import csv
import io
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.record import Record, read_record, write_text
from bench.stats.claims import Evidence
from bench.stats.classifiers import ExpectedClassifier, read_classifiers, top1_rows
from bench.stats.contrasts import comparison_rows, correct
from bench.stats.scores import (
    TOP1,
    Evaluated,
    ExpectedCell,
    read_evaluations,
    record_of,
    score_rows,
)
from bench.stats.verdicts import read_claims
from bench.study.recipes import Evaluation
from bench.study.schema import Comparison, Repetitions

TABLES: dict[str, str] = {
    "scores": "dataset backbone arm pretrain_seed seed metric pixels classes value units absent primary",
    "comparisons": (
        "dataset backbone treatment baseline metric pixels classes treatment_value baseline_value estimate "
        "low high level df method question seeds units p p_holm p_models p_seeds smallest_p family decides "
        "statement same_run bootstrap_low bootstrap_high"
    ),
    "verdicts": (
        "claim dataset backbone kind metric paper_low paper_high value low high margin verdict reason"
    ),
    "top1": "backbone label strategy channels seed order value images",
    "alarms": "kind dataset backbone first second reason",
    "cost": "stage name wall_seconds peak_memory_bytes device",
    "receipts": "stage name digest commit dirty python packages machine device host_cores",
}
"""Columns of each table, in order; the leading ones identify a row."""


def compare(
    evaluations: Sequence[Path],
    expected: Sequence[ExpectedCell],
    comparison: Comparison,
    settings: Mapping[str, Evaluation],
    scale: str,
    repetitions: Repetitions,
    reported: Path,
    out: Path,
    *,
    classifiers: Sequence[ExpectedClassifier] = (),
    digests: Mapping[str, str] | None = None,
    records: Sequence[Path] = (),
    partial: bool = False,
) -> list[dict[str, Any]]:
    """Write every table of a study into the folder `out`, each whole or not at all; return the alarms.

    `evaluations`: record.json (or folder) of each evaluation, top-1 among them. `expected`, `classifiers`:
    what the study asks for. `settings`: how each dataset is scored. `digests`: the study's digest of each
    evaluation, "dataset/backbone" or "top1/backbone". `records`: further records for cost and receipts.
    `partial`: a missing cell is listed in alarms.csv instead of stopping the comparison.

    Warns (UserWarning) of each alarm. Raises BenchError, naming the cell, for anything stale, foreign, given
    twice or missing; nothing is written then.
    """
    claims = read_claims(reported)
    paths = [record_of(Path(path)) for path in evaluations]
    read = {path: read_record(path) for path in [*paths, *(record_of(Path(p)) for p in records)]}
    top1_paths = [path for path in paths if read[path].stage == TOP1]
    evaluated, missing = read_evaluations(
        [path for path in paths if path not in top1_paths], expected, digests, partial=partial
    )
    classified, missing_top1 = read_classifiers(top1_paths, classifiers, digests, partial=partial)
    for found in evaluated:
        _check_protocol(found, settings)
    contrasts = [
        row for e in evaluated for row in comparison_rows(e, settings[e.dataset], comparison, repetitions)
    ]
    evidence = Evidence(
        evaluated=evaluated,
        classified=classified,
        evaluations=settings,
        comparison=comparison,
        design=repetitions,
        scale=scale,
    )
    alarms = [alarm for e in evaluated for alarm in identical_counts(e)]
    gaps = [(cell.dataset, cell.backbone, cell.title) for cell in missing]
    gaps += [(TOP1, cell.backbone, cell.title) for cell in missing_top1]
    for place, backbone, title in gaps:
        gap = {"kind": "missing", "dataset": place, "backbone": backbone, "first": title}
        alarms.append(gap | {"reason": "the study asks for this run and it is not there"})
    tables: dict[str, Iterable[Mapping[str, Any]]] = {
        "scores": [row for e in evaluated for row in score_rows(e, settings[e.dataset])],
        "comparisons": correct(contrasts, comparison),
        "verdicts": evidence.rows(claims),
        "top1": [row for c in classified for row in top1_rows(c)],
        "alarms": alarms,
        "cost": [_cost(record) for record in read.values()],
        "receipts": [_receipt(record) for record in read.values()],
    }
    texts = {name: table_text(rows, TABLES[name].split()) for name, rows in tables.items()}
    for name, text in texts.items():
        write_text(out / f"{name}.csv", text)
    for alarm in alarms:
        warnings.warn(f"{alarm['kind']}: {alarm['first']}: {alarm['reason']}", stacklevel=2)
    return alarms


def _check_protocol(found: Evaluated, settings: Mapping[str, Evaluation]) -> None:
    where = f"the evaluation of {found.dataset}/{found.backbone}"
    if found.dataset not in settings:
        raise BenchError(f"{where}: the study has no evaluation settings for {found.dataset}")
    if set(found.counts) != set(settings[found.dataset].pixels):
        raise BenchError(
            f"{where} counted {sorted(found.counts)}; the study asks for "
            f"{sorted(settings[found.dataset].pixels)}: run it again"
        )


def identical_counts(evaluated: Evaluated) -> list[dict[str, Any]]:
    """Return an alarm for each two runs of different specs with bit-identical counts: a knob that does
    nothing.
    """
    prints = [b"".join(evaluated.counts[rule][i].tobytes() for rule in sorted(evaluated.counts))
              for i in range(len(evaluated.cells))]  # fmt: skip
    alarms = []
    for (i, first), (j, second) in combinations(enumerate(evaluated.cells), 2):
        if first.digest != second.digest and prints[i] == prints[j]:
            alarms.append(
                {
                    "kind": "identical counts",
                    "dataset": evaluated.dataset,
                    "backbone": evaluated.backbone,
                    "first": first.title,
                    "second": second.title,
                    "reason": f"bit-identical to {second.title} though their specs differ: "
                    "a setting without effect, or a mixed-up file",
                }
            )
    return alarms


def _name(record: Record) -> str:
    order = ["dataset", "backbone", "arm", "label"]
    known = [key for key in order if key in record.names]
    rest = sorted(key for key in record.names if key not in order and key != "study")
    return "/".join(
        str(record.names[key]) if key in order else f"{key}{record.names[key]}" for key in known + rest
    )


def _cost(record: Record) -> dict[str, Any]:
    kept = {key: record.receipt.get(key) for key in ("wall_seconds", "peak_memory_bytes", "device")}
    return {"stage": record.stage, "name": _name(record), **kept}


def _receipt(record: Record) -> dict[str, Any]:
    packages = record.receipt.get("packages", {})
    keys = ("commit", "dirty", "python", "machine", "device", "host_cores")
    return {
        "stage": record.stage,
        "name": _name(record),
        "digest": record.digest,
        "packages": ";".join(f"{name} {packages[name]}" for name in sorted(packages)),
        **{key: record.receipt.get(key) for key in keys},
    }


def table_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows as CSV: sorted by their cells from the left, floats by repr, NaN and None as empty
    cells.
    """
    body = sorted(([_cell(row.get(column)) for column in columns] for row in rows), key=_natural)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(body)
    return stream.getvalue()


def _natural(cells: Sequence[str]) -> list[tuple[int, int, str]]:
    """Sort whole numbers by value (seed 10 after seed 2), all else as text."""
    return [(0, int(cell), "") if cell.isdecimal() else (1, 0, cell) for cell in cells]


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(float(value)) if isinstance(value, float) else str(value)
