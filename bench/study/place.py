"""Where a study is run: the folder of its results, the project's own files, the GPUs of a job. No part of a digest."""

import os
from pathlib import Path

from bench.errors import RequestError

PROJECT = Path(__file__).resolve().parents[2]


def results_folder() -> str:
    """Return the folder below which every study has its own (BENCH_RESULTS; unset: results)."""
    named = os.environ.get("BENCH_RESULTS", "results").rstrip("/")
    if not named:
        raise RequestError("BENCH_RESULTS is empty or /: name a folder for the results, or leave it unset")
    return named


def own_file(path: str) -> str:
    """Return the path of a file of the project, such as paper/reported.csv.

    From the working folder, where that is the project's; otherwise where the code lies: another workflow can use this
    one from a folder of its own, and a file of the same name there is its own business.
    """
    here = Path("bench", "study", "place.py").is_file() and Path(path).exists()
    return path if here else str(PROJECT / path)


def whole_number(name: str, what: str, least: int = 1) -> int | None:
    """Return a whole number of the environment, None where it is unset.

    Raises RequestError unless it is one, `least` or more; `what` says of which things.
    """
    named = os.environ.get(name)
    if named is None:
        return None
    if not named.isdigit() or int(named) < least:
        raise RequestError(f"{name}={named}: expected a whole number of {what}, {least} or more")
    return int(named)


def gpus_per_job() -> int:
    """Return the processes, each with a GPU of its own, that one job is run by (BENCH_GPUS_PER_JOB).

    Unset: 1. Without a GPU (or with BENCH_DEVICE=cpu) they share the CPU. The result does not depend on it,
    up to the rounding of a sum over processes.
    """
    return whole_number("BENCH_GPUS_PER_JOB", "GPUs") or 1
