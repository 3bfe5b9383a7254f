"""What a training step and a prediction cost on this machine: measured once, kept beside the study.

`bench calibrate` writes results/<study>/calibration.json (or the file that BENCH_CALIBRATION names, which several
studies may share). A case is what decides the cost of a step; the arm, the seed and the learning rate do not.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.record import digest_of, write_json
from bench.study.jobs import FinetuneRun, PretrainRun
from bench.study.runs import Runs

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network at a size: everything that the cost of a step depends on but the machine."""

    stage: str
    """pretrain or finetune; predictions are measured with them."""
    backbone: str
    architecture: Mapping[str, Any]
    channels: int
    crop: int
    """Side of the training crop in pixels."""
    batch: int
    """Images in the recipe's batch."""
    window: int
    """Side of the picture or window that is predicted, in pixels."""
    heads: tuple[int, int] | None = None
    """finetune: channels of UperNet's head and of its auxiliary head."""
    amp: str = "off"

    @property
    def key(self) -> str:
        """A digest of all but the backbone's name."""
        return digest_of({name: value for name, value in asdict(self).items() if name != "backbone"}, {})[:16]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one case costs on one device."""

    seconds_per_image: float
    """Forward, backward and optimizer step, for each image of a batch."""
    predicted_per_image: float
    """Seconds of a forward pass, for each image or window."""
    memory: int | None
    """Peak bytes of a training step at `batch` images: the device's, or on a CPU the process's; None: not known."""
    predicted_memory: int | None
    """Peak bytes of a prediction of one image or window."""
    parameters: int
    batch: int
    """Images in the timed steps: the recipe's batch, or as many as this device was asked to hold."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Measured cases of one machine, with its device and the versions that they were measured with."""

    device: str
    machine: str
    packages: dict[str, str]
    cases: dict[str, Measured]
    """By `Case.key`."""
    schema: int = SCHEMA

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        write_json(path, asdict(self))


def calibration_file(runs: Runs) -> Path:
    """Return the file of the calibration: BENCH_CALIBRATION, or calibration.json beside the study's results."""
    return Path(os.environ.get("BENCH_CALIBRATION") or f"{runs.root}/calibration.json")


def read_calibration(path: Path) -> Calibration | None:
    """Return a calibration; None where there is none. Raises BenchError for a file that is no calibration."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        cases = {key: Measured(**measured) for key, measured in value.pop("cases").items()}
        found = Calibration(cases=cases, **value)
        if found.schema != SCHEMA:
            raise ValueError(f"schema {found.schema}, this version reads {SCHEMA}")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchError(
            f"{path}: no calibration ({error}); remove it and run `bench calibrate` again"
        ) from None
    return found


def case_of(run: PretrainRun | FinetuneRun, window: int) -> Case:
    """Return the case of a training; `window` is the side of what is predicted with it afterwards."""
    recipe = run.recipe
    heads = None if isinstance(run, PretrainRun) else (run.recipe.head_channels, run.recipe.aux_channels)
    return Case(
        stage=run.stage,
        backbone=run.backbone,
        architecture=run.spec["architecture"],
        channels=run.channels,
        crop=recipe.crop,
        batch=recipe.batch_size,
        window=window,
        heads=heads,
        amp=str(recipe.amp),
    )


def cases(runs: Runs) -> dict[str, Case]:
    """Return every case of the study by its key, pre-trainings first."""
    found: dict[str, Case] = {}
    for start in runs.pretrainings:
        if start.published is None:
            case = case_of(start, start.recipe.crop)
            found.setdefault(case.key, case)
    for cell in runs.finetunings:
        case = case_of(cell, runs.study.evaluate[cell.dataset].window)
        found.setdefault(case.key, case)
    return found
