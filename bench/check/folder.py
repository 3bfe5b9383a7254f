"""A results folder as the checks see it: the study, records by path, manifests, arrays; each read once.

What cannot be read is a finding of the check that needs it, not the end of the whole examination.
"""

import json
import lzma
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError, RequestError
from bench.record import Record, read_record
from bench.study.jobs import Job
from bench.study.place import own_file
from bench.study.reading import load_study
from bench.study.runs import Runs
from bench.study.schema import Study

Arrays = dict[str, NDArray[Any]]


@dataclass
class Folder:
    """One results folder and the study it claims to be of."""

    path: Path
    study_file: Path
    broken: dict[str, str] = field(default_factory=dict)
    """Records that cannot be read, by path below the folder, and why."""

    @cached_property
    def study(self) -> Study:
        """The study, as this version reads its file."""
        return load_study(self.study_file)

    @cached_property
    def runs(self) -> Runs:
        """The jobs that the study asks for."""
        return Runs(self.study)

    @cached_property
    def jobs(self) -> dict[str, Job]:
        """Every training and evaluation that the study asks for, by its folder below the results folder."""
        runs = self.runs
        every = [*runs.pretrainings, *runs.finetunings, *runs.evaluations, *runs.classifiers]
        return {job.folder.removeprefix(f"{runs.root}/"): job for job in every}

    @cached_property
    def records(self) -> dict[str, Record]:
        """Every readable record of the stages by its folder below the results folder, sorted."""
        found = {}
        for stage in ("pretrain", "finetune", "evaluate"):
            for path in sorted((self.path / stage).rglob("record.json")):
                place = path.parent.relative_to(self.path).as_posix()
                try:
                    found[place] = read_record(path)
                except BenchError as error:
                    self.broken[place] = str(error)
        return found

    @property
    def paper(self) -> Path:
        """Where the paper's numbers are that verdicts were read from: in the folder, or the project's own."""
        own = self.path / "paper"
        return own if (own / "reported.csv").is_file() else Path(own_file("paper"))

    def of_stage(self, stage: str) -> dict[str, Record]:
        """Return the readable records of one stage by folder."""
        return {place: record for place, record in self.records.items() if record.stage == stage}

    @cached_property
    def manifests(self) -> dict[str, dict[str, Any]]:
        """Every readable manifest by dataset."""
        found = {}
        for path in sorted((self.path / "data").glob("*/manifest.json")):
            try:
                value = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, json.JSONDecodeError):
                continue
            if isinstance(value, dict):
                found[path.parent.name] = value
        return found

    def arrays(self, place: str, name: str) -> Arrays:
        """Return the arrays of one .npz. Raises BenchError if it is missing or damaged."""
        path = self.path / place / name
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        except (OSError, ValueError, EOFError, KeyError, BadZipFile, zlib.error, lzma.LZMAError) as error:
            raise BenchError(f"{place}/{name}: missing or damaged ({error}); expected counts") from None


def open_folder(path: Path, study_file: Path | None) -> Folder:
    """Return a results folder. Raises RequestError if it is none, or if nothing says which study it is of."""
    if not path.is_dir():
        raise RequestError(f"{path}: no such folder; give a results folder such as results/published/demo")
    own = path / "study.yaml"
    chosen = study_file or (own if own.is_file() else None)
    if chosen is None:
        raise RequestError(f"{path}: holds no study.yaml; say with --study FILE which study it is of")
    if not chosen.is_file():
        raise RequestError(f"{chosen}: no such study file")
    return Folder(path, chosen)
