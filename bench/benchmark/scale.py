"""What grows with what: the workflow's dry run and the tables of a study, up to 5,120 fine-tunings.

Images grow to sixteen times by themselves, datasets to four times, then arms and seeds to eight times. The study is the
demo's with a grid of arms; its records are drawn (`bench.benchmark.records`), nothing is trained. Run from the top
folder of the repository.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.benchmark.measure import Row
from bench.benchmark.records import write_records
from bench.errors import BenchError
from bench.plan.state import states
from bench.report.tables import write_tables
from bench.stats.stage import compare_study
from bench.study.reading import load_study, read_yaml
from bench.study.runs import Runs

DEMO = Path("config/demo.yaml")
SIDE = 100
"""Root of the pixels of an evaluated image."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """A study on two backbones."""

    datasets: int = 4
    levels: int = 5
    """Of the axis `probability`: three scopes each, and one baseline, are the arms."""
    seeds: int = 5
    images: int = 60
    """Evaluated, of each dataset."""

    @property
    def words(self) -> str:
        """The size as a row of the benchmark names it."""
        return f"{self.datasets} datasets x {3 * self.levels + 1} arms x {self.seeds} seeds x {self.images} images"


SIZES = (
    Size(datasets=1),
    Size(datasets=1, images=240),
    Size(datasets=1, images=960),
    Size(datasets=2),
    Size(),
    Size(levels=21),
    Size(levels=21, seeds=10),
)

WATCH = """
import resource, subprocess, sys
code = subprocess.run([sys.executable, "-m", *sys.argv[1:]], stdout=subprocess.DEVNULL).returncode
spent = resource.getrusage(resource.RUSAGE_CHILDREN)
print(spent.ru_utime + spent.ru_stime, spent.ru_maxrss)
sys.exit(code)
"""
"""Runs a module, and prints its CPU seconds and peak memory in KiB."""


def measure() -> list[Row]:
    """Return processor seconds and memory of each step at each size; the limits are those of the largest."""
    found: list[Row] = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            found += _at(Path(name), size, last=size == SIZES[-1])
    return found


def study_of(size: Size) -> dict[str, object]:
    """Return the demo's study with a grid of three scopes and so many probabilities, and so many seeds and datasets."""
    study: dict[str, Any] = dict(read_yaml(DEMO))
    study["study"] = "scale"
    study["repetitions"] = {"design": "nested", "pretrain": 1, "finetune": size.seeds}
    shares = [round(1 - level / (2 * size.levels), 4) for level in range(size.levels)]
    study["grid"] = {"axes": {"scope": ["image", "batch", "epoch"], "probability": shares}}
    for section in (study, study["finetune"]):
        for key in ("datasets", "evaluate"):
            if key in section:
                section[key] = dict(list(section[key].items())[: size.datasets])
    return study


def _at(folder: Path, size: Size, *, last: bool) -> list[Row]:
    path = folder / "scale.yaml"
    path.write_text(yaml.safe_dump(study_of(size), sort_keys=False), encoding="utf-8")
    began = time.process_time()
    runs = Runs(load_study(path), str(folder / "results"))
    digests = [run.digest for run in (*runs.finetunings, *runs.evaluations)]
    enumerated = time.process_time() - began
    began = time.process_time()
    found = states(runs)
    planned = time.process_time() - began
    dry, memory = _dry_run(path, folder)
    samples, side = (dict.fromkeys(runs.study.datasets, count) for count in (size.images, SIDE))
    write_records(runs, samples=samples, side=side, images=200, steps=2, picture=16)
    began = time.process_time()
    compare_study(runs)
    compared = time.process_time() - began
    began = time.process_time()
    write_tables(runs.study, Path(runs.root, "compare"), Path(runs.root, "tables"))
    tabled = time.process_time() - began
    note = f"{len(runs.finetunings)} fine-tunings, {len(digests)} digests, {len(found)} jobs"
    limits = ("at most 60", "at most 1000", "at most 300") if last else ("", "", "")
    return [
        Row(what=f"{size.words}: study enumerated, digests", value=enumerated, unit="s", note=note),
        Row(what=f"{size.words}: what is done and stale", value=planned, unit="s"),
        Row(what=f"{size.words}: dry run of the workflow", value=dry, unit="s", limit=limits[0]),
        Row(what=f"{size.words}: its peak memory", value=memory, unit="MB", limit=limits[1]),
        Row(what=f"{size.words}: comparison from counts", value=compared, unit="s"),
        Row(what=f"{size.words}: comparison and tables", value=compared + tabled, unit="s", limit=limits[2]),
    ]


def _dry_run(study: Path, folder: Path) -> tuple[float, float]:
    """Return the CPU seconds and the peak memory in MB of `snakemake -n` on one core, from nothing.

    A small process starts it and asks the kernel: a child of this one would be counted with what it was forked from.
    """
    words = ["snakemake", "-n", "-q", "--nolock", "--cores", "1", "--configfile", str(study)]
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *words], capture_output=True, text=True, env=_environment(folder)
    )
    if done.returncode != 0:
        raise BenchError(f"snakemake -n failed: {done.stderr.strip().splitlines()[-1:]}")
    seconds, kilobytes = done.stdout.split()[-2:]
    return float(seconds), int(kilobytes) * 1024 / 1e6


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "BENCH_RESULTS": str(folder / "dry")}
