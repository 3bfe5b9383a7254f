"""Axes of a grid that change nothing: neither a run's spec nor, so, any of its bits."""

from collections.abc import Iterator

from bench.study.grid import neighbours
from bench.study.runs import Runs


def idle_axes(runs: Runs) -> Iterator[str]:
    """Yield a sentence for each axis, dataset and backbone where arms that differ in this axis alone are one run.

    An axis that is idle everywhere is said once.
    """
    pairs: dict[str, list[tuple[str, str]]] = {}
    for axis, one, other in neighbours(runs.study.factors):
        pairs.setdefault(axis, []).append((one, other))
    for axis, differing in pairs.items():
        idle, busy = list[str](), 0
        for (dataset, backbone), cells in runs.places.items():
            names: dict[str, set[str]] = {}
            for run in cells:
                for name in run.names:
                    names.setdefault(name, set()).add(run.digest)
            there = [(one, other) for one, other in differing if one in names and other in names]
            if there and all(names[one] & names[other] for one, other in there):
                idle.append(f"{dataset}/{backbone}")
            elif there:
                busy += 1
        if idle:
            where = "any run" if not busy else f"a run on {', '.join(idle)}"
            yield f"{axis}: no two of its levels change the spec of {where}"
