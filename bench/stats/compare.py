"""The comparison of one study: from evaluation outputs to the tables of scores, contrasts, verdicts and
receipts.

All but `notes.csv`, `cost.csv` and `receipts.csv` carry no time, commit or host: same counts, same bytes. Fractions are
float64 written so that they read back exactly; what is undefined is an empty cell.
"""

import csv
import io
import math
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.record import Record, read_record, write_text
from bench.stats.claims import Evidence
from bench.stats.classifiers import ExpectedClassifier, read_classifiers, top1_rows
from bench.stats.context import read_context
from bench.stats.contrasts import class_rows, comparison_rows, correct, subset_rows
from bench.stats.forecast import forecast_rows
from bench.stats.identical import axes_without_effect, identical_counts
from bench.stats.measures import boundary_rows, further_contrasts, spectral_rows
from bench.stats.protocols import check_arms, check_evaluations, name_of, note_rows
from bench.stats.ranks import rank_rows
from bench.stats.scores import (
    TOP1,
    Evaluated,
    ExpectedCell,
    read_evaluations,
    record_of,
    score_rows,
)
from bench.stats.stated import Stated
from bench.stats.verdicts import read_claims
from bench.study.recipes import Evaluation
from bench.study.schema import Comparison, Repetitions

TABLES: dict[str, str] = {
    "scores": "dataset backbone arm pretrain_seed seed metric pixels classes value units absent primary",
    "comparisons": (
        "dataset backbone treatment baseline metric pixels classes treatment_value baseline_value estimate "
        "low high level df method question seeds units p p_holm p_models p_seeds smallest_p family decides "
        "statement same_run bootstrap_low bootstrap_high bca_low bca_high best_baseline detectable paired_d hedges_g "
        "standardised improvement"
    ),
    "classes": (
        "dataset backbone treatment baseline metric pixels treatment_value baseline_value estimate low high level df p "
        "p_holm seeds units family statement"
    ),
    "subsets": (
        "dataset backbone subset treatment baseline metric pixels classes treatment_value baseline_value estimate low "
        "high level df method seeds units statement"
    ),
    "tests": (
        "dataset backbone treatment baseline metric pixels classes test question statistic p smallest_p pairs exact "
        "reachable"
    ),
    "boundary": "dataset backbone arm pretrain_seed seed metric width region value units",
    "spectral": "dataset backbone arm pretrain_seed seed probe strength metric value units",
    "further": (
        "dataset backbone measure treatment baseline treatment_value baseline_value estimate low high level df method "
        "p seeds units statement"
    ),
    "ranks": (
        "arm average_rank best_in blocks arms friedman p_friedman p_iman_davenport critical_difference level statement"
    ),
    "posthoc": "first second rank_difference critical_difference p_nemenyi blocks level",
    "power": (
        "dataset backbone treatment baseline metric pixels classes claim assumed half_width seeds units standard_error "
        "power seeds_needed units_needed detectable statement"
    ),
    "verdicts": (
        "claim dataset backbone kind metric paper_low paper_high value low high margin verdict reason level "
        "p_equivalence"
    ),
    "top1": "backbone label strategy channels seed order value images",
    "context": "dataset method backbone metric value classes protocol source status",
    "alarms": "kind dataset backbone first second reason",
    "notes": "kind value runs reason",
    "cost": "stage name wall_seconds peak_memory_bytes peak_device_memory_bytes device",
    "receipts": "stage name digest commit dirty python packages machine device host_cores",
}
"""Columns of each table, in order; the leading ones identify a row."""
FACTORS = ("arm", "factor", "level")
"""Columns of factors.csv, which a study with a grid has besides."""


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
    context: Path | None = None,
    factors: Mapping[str, Mapping[str, Any]] | None = None,
    named: Collection[str] | None = None,
    stated: Stated | None = None,
    partial: bool = False,
) -> list[dict[str, Any]]:
    """Write every table of a study into the folder `out`, each whole or not at all; return the alarms.

    `evaluations`: record.json (or folder) of each evaluation, top-1 among them. `expected`, `classifiers`:
    what the study asks for. `settings`: how each dataset is scored. `digests`: the study's digest of each
    evaluation, "dataset/backbone" or "top1/backbone". `records`: further records for cost and receipts, the trainings'
    among them. `context`: published results of other work, passed on.
    `factors`: of the arms on a grid, the level of each axis. `named`: the arms that are compared and tested; unset:
    all. The other arms of a grid are scored and ranked, and held against nothing: they are too many for a family.
    `stated`: what the paper states of its protocol; a study that departs from it decides nothing about its numbers.
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
    check_evaluations(evaluated)
    check_arms(read.values())
    tested = [e if named is None else e.shown_as(named) for e in evaluated]
    contrasts, classes, subsets = (
        [row for e in tested for row in rows_of(e, settings[e.dataset], comparison, repetitions)]
        for rows_of in (comparison_rows, class_rows, subset_rows)
    )
    correct([*contrasts, *classes], comparison)
    scores = [row for e in evaluated for row in score_rows(e, settings[e.dataset])]
    ranks, pairs = rank_rows(_blocks(scores), comparison.level)
    evidence = Evidence(
        evaluated=tested,
        classified=classified,
        evaluations=settings,
        comparison=comparison,
        design=repetitions,
        scale=scale,
        stated=stated,
    )
    alarms = [alarm for e in evaluated for alarm in identical_counts(e)]
    alarms += [alarm for e in evaluated for alarm in axes_without_effect(e, factors or {})]
    gaps = [(cell.dataset, cell.backbone, cell.title) for cell in missing]
    gaps += [(TOP1, cell.backbone, cell.title) for cell in missing_top1]
    for place, backbone, title in gaps:
        gap = {"kind": "missing", "dataset": place, "backbone": backbone, "first": title}
        alarms.append(gap | {"reason": "the study asks for this run and it is not there"})
    tables: dict[str, Iterable[Mapping[str, Any]]] = {
        "scores": scores,
        "comparisons": contrasts,
        "classes": classes,
        "subsets": subsets,
        "tests": [test for row in contrasts for test in row.get("_tests", [])],
        "boundary": [row for e in evaluated for row in boundary_rows(e, settings[e.dataset])],
        "spectral": [row for e in evaluated for row in spectral_rows(e, settings[e.dataset])],
        "further": [
            row for e in tested for row in further_contrasts(e, settings[e.dataset], comparison, repetitions)
        ],
        "ranks": ranks,
        "posthoc": pairs,
        "power": forecast_rows(contrasts, claims, comparison),
        "verdicts": evidence.rows(claims),
        "top1": [row for c in classified for row in top1_rows(c)],
        "context": read_context(context) if context else [],
        "alarms": alarms,
        "notes": note_rows(read.values()),
        "cost": [_cost(record) for record in read.values()],
        "receipts": [_receipt(record) for record in read.values()],
    }
    texts = {name: table_text(rows, TABLES[name].split()) for name, rows in tables.items()}
    if factors:
        rows = [
            {"arm": arm, "factor": factor, "level": level}
            for arm, levels in factors.items()
            for factor, level in levels.items()
        ]
        texts["factors"] = table_text(rows, FACTORS)
    else:
        # A grid that the study no longer has.
        (out / "factors.csv").unlink(missing_ok=True)
    for name, text in texts.items():
        write_text(out / f"{name}.csv", text)
    for alarm in alarms:
        warnings.warn(f"{alarm['kind']}: {alarm['first']}: {alarm['reason']}", stacklevel=2)
    return alarms


def _blocks(scores: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the mean headline score of each arm on each dataset and backbone."""
    held: dict[str, dict[str, list[float]]] = {}
    for row in scores:
        if row["primary"]:
            block = held.setdefault(f"{row['dataset']}/{row['backbone']}", {})
            block.setdefault(row["arm"], []).append(row["value"])
    return {
        block: {arm: math.fsum(values) / len(values) for arm, values in arms.items()}
        for block, arms in held.items()
    }


def _check_protocol(found: Evaluated, settings: Mapping[str, Evaluation]) -> None:
    where = f"the evaluation of {found.dataset}/{found.backbone}"
    if found.dataset not in settings:
        raise BenchError(f"{where}: the study has no evaluation settings for {found.dataset}")
    if set(found.counts) != set(settings[found.dataset].pixels):
        raise BenchError(
            f"{where} counted {sorted(found.counts)}; the study asks for "
            f"{sorted(settings[found.dataset].pixels)}: run it again"
        )


def _cost(record: Record) -> dict[str, Any]:
    keys = ("wall_seconds", "peak_memory_bytes", "peak_device_memory_bytes", "device")
    kept = {key: record.receipt.get(key) for key in keys}
    return {"stage": record.stage, "name": name_of(record), **kept}


def _receipt(record: Record) -> dict[str, Any]:
    packages = record.receipt.get("packages", {})
    keys = ("commit", "dirty", "python", "machine", "device", "host_cores")
    return {
        "stage": record.stage,
        "name": name_of(record),
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
