"""What grows with what: the workflow's dry run and the tables of a study at three sizes, up to 5,120 fine-tunings.

The study is the demo's with a grid of arms; its records are drawn (`bench.benchmark.records`), nothing is trained. Run
from the top folder of the repository.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
SIZES = ((5, 5), (21, 5), (21, 10))
"""Levels of the axis `probability` (three scopes each, and one baseline), and seeds, on 4 datasets x 2 backbones."""
SAMPLES, SIDE = 60, 100
"""Evaluated samples of a dataset, and the root of the pixels of each."""

WATCH = """
import resource, subprocess, sys
code = subprocess.run([sys.executable, "-m", *sys.argv[1:]], stdout=subprocess.DEVNULL).returncode
spent = resource.getrusage(resource.RUSAGE_CHILDREN)
print(spent.ru_utime + spent.ru_stime, spent.ru_maxrss)
sys.exit(code)
"""
"""Runs a module, and prints its CPU seconds and peak memory in KiB."""


def measure() -> list[Row]:
    """Return seconds and memory of each step at the three sizes; the limits are those of the largest."""
    found: list[Row] = []
    for levels, seeds in SIZES:
        with tempfile.TemporaryDirectory() as name:
            found += _at(Path(name), levels, seeds, last=(levels, seeds) == SIZES[-1])
    return found


def study_of(levels: int, seeds: int) -> dict[str, object]:
    """Return the demo's study with a grid of three scopes and so many probabilities, and so many seeds."""
    study: dict[str, object] = dict(read_yaml(DEMO))
    study["study"] = "scale"
    study["repetitions"] = {"design": "nested", "pretrain": 1, "finetune": seeds}
    shares = [round(1 - level / (2 * levels), 4) for level in range(levels)]
    study["grid"] = {"axes": {"scope": ["image", "batch", "epoch"], "probability": shares}}
    return study


def _at(folder: Path, levels: int, seeds: int, *, last: bool) -> list[Row]:
    path = folder / "scale.yaml"
    path.write_text(yaml.safe_dump(study_of(levels, seeds)), encoding="utf-8")
    began = time.perf_counter()
    runs = Runs(load_study(path), str(folder / "results"))
    digests = [run.digest for run in (*runs.finetunings, *runs.evaluations)]
    enumerated = time.perf_counter() - began
    began = time.perf_counter()
    found = states(runs)
    planned = time.perf_counter() - began
    dry, memory = _dry_run(path, folder)
    samples = dict.fromkeys(runs.study.datasets, SAMPLES)
    side = dict.fromkeys(runs.study.datasets, SIDE)
    write_records(runs, samples=samples, side=side, images=200, steps=2, picture=16)
    began = time.perf_counter()
    compare_study(runs)
    compared = time.perf_counter() - began
    began = time.perf_counter()
    write_tables(runs.study, Path(runs.root, "compare"), Path(runs.root, "tables"))
    tabled = time.perf_counter() - began
    size = f"{len(runs.finetunings)} fine-tunings"
    note = f"{len(runs.study.arms)} arms, {seeds} seeds, {len(digests)} digests, {len(found)} jobs"
    limits = ("at most 60", "at most 1000", "at most 300") if last else ("", "", "")
    return [
        Row(what=f"{size}: study enumerated, digests", value=enumerated, unit="s", note=note),
        Row(what=f"{size}: what is done and stale", value=planned, unit="s"),
        Row(what=f"{size}: dry run of the workflow", value=dry, unit="s", limit=limits[0]),
        Row(what=f"{size}: its peak memory", value=memory, unit="MB", limit=limits[1]),
        Row(what=f"{size}: comparison from counts", value=compared, unit="s"),
        Row(what=f"{size}: comparison and tables", value=compared + tabled, unit="s", limit=limits[2]),
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
