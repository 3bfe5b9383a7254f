"""Runs of different specs with bit-identical counts: a setting that does nothing, or files that were mixed up."""

import hashlib
from collections.abc import Mapping
from typing import Any

from bench.stats.scores import Evaluated
from bench.study.grid import neighbours


def fingerprints(evaluated: Evaluated) -> list[str]:
    """Return a digest of each cell's counts under all pixel rules."""
    found = []
    for index in range(len(evaluated.cells)):
        whole = hashlib.sha256()
        for rule in sorted(evaluated.counts):
            whole.update(evaluated.counts[rule][index].tobytes())
        found.append(whole.hexdigest())
    return found


def identical_counts(evaluated: Evaluated) -> list[dict[str, Any]]:
    """Return an alarm for each run whose counts are bit for bit those of an earlier one with another spec.

    Each is held against the first of its kind, so that many runs which learned nothing give as many alarms, and not
    as many as they have pairs.
    """
    alarms, first_of = list[dict[str, Any]](), dict[str, int]()
    for index, mark in enumerate(fingerprints(evaluated)):
        first, second = evaluated.cells[first_of.setdefault(mark, index)], evaluated.cells[index]
        if first.digest != second.digest:
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


def axes_without_effect(
    evaluated: Evaluated, factors: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return an alarm for each axis of the grid that changes specs here, and no bit of any result.

    `factors`: the level of each axis by arm. Runs are held against each other that differ in this axis alone and share
    their repetition; an axis whose arms are the same runs changes no spec, which the plan says beforehand.
    """
    marks = fingerprints(evaluated)
    cells: dict[str, dict[int, tuple[str, str]]] = {}
    for cell, mark in zip(evaluated.cells, marks, strict=True):
        for name in cell.names:
            cells.setdefault(name, {})[cell.seed] = (cell.digest, mark)
    outcomes: dict[str, list[bool]] = {}
    for axis, one, other in neighbours(
        {arm: dict(levels) for arm, levels in factors.items() if arm in cells}
    ):
        for seed in cells[one].keys() & cells[other].keys():
            (digest, mark), (digest_there, mark_there) = cells[one][seed], cells[other][seed]
            if digest != digest_there:
                outcomes.setdefault(axis, []).append(mark == mark_there)
    return [
        {
            "kind": "axis without effect",
            "dataset": evaluated.dataset,
            "backbone": evaluated.backbone,
            "first": axis,
            "reason": f"the axis {axis} changes the spec of {len(same)} pairs of runs on {evaluated.dataset}/"
            f"{evaluated.backbone}, and no bit of their counts",
        }
        for axis, same in outcomes.items()
        if all(same)
    ]
