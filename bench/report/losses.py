"""Training losses for the learning curves: from each run's log.csv, or from a published study's losses.npz.

Curves are drawn from at most `POINTS` points a run, and those points are all that is published.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.study.jobs import FinetuneRun, PretrainRun

POINTS = 300
"""Points of a curve: the panel of a figure is about as many pixels wide."""
PUBLISHED = "losses.npz"


def thinned(steps_losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return at most `POINTS` columns of (2, n): the mean step and loss of neighbours, in order."""
    parts = np.array_split(steps_losses, min(POINTS, steps_losses.shape[1]), axis=1)
    return np.stack([part.mean(axis=1) for part in parts], axis=1).astype(np.float32).astype(np.float64)


def read_log(path: Path, stage: str) -> NDArray[np.float64]:
    """Return steps and losses, float64 (2, points), thinned. Raises BenchError naming the log and what it lacks."""
    try:
        frame = pd.read_csv(path)
        found = frame[["step", "loss"]].to_numpy(dtype=np.float64).T
    except (FileNotFoundError, pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise BenchError(f"{path}: no readable log ({error}); run `bench {stage}` for it again") from None
    except KeyError as error:
        raise BenchError(
            f"{path}: expected columns step and loss ({error.args[0]}); run `bench {stage}` again"
        ) from None
    if found.shape[1] == 0:
        raise BenchError(f"{path}: no readable log (it holds no step); run `bench {stage}` for it again")
    return thinned(found)


def key_of(job: PretrainRun | FinetuneRun) -> str:
    """Return a run's name in losses.npz: its folder below the study's."""
    if isinstance(job, PretrainRun):
        return f"pretrain/{job.backbone}/{job.label}/seed{job.repetition}"
    return f"finetune/{job.dataset}/{job.backbone}/{job.arm}/seed{job.repetition}"


def read_losses(jobs: Sequence[PretrainRun | FinetuneRun], results: Path) -> dict[str, NDArray[np.float64]]:
    """Return steps and losses of the runs that have them, by `key_of`: float64 (2, points).

    `results` is the study's folder. A run without a log is left out; the caller knows whether that is an error.
    """
    published = results / PUBLISHED
    if published.is_file():
        try:
            with np.load(published, allow_pickle=False) as arrays:
                return {
                    key_of(job): arrays[key_of(job)].astype(np.float64)
                    for job in jobs
                    if key_of(job) in arrays
                }
        except (OSError, ValueError) as error:
            raise BenchError(f"{published}: cannot be read ({error}); publish the study again") from None
    found = {}
    for job in jobs:
        path = results / key_of(job) / "log.csv"
        if path.is_file():
            found[key_of(job)] = read_log(path, job.stage)
    return found
