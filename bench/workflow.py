"""Start a whole study: take the lock, find what is stale, call Snakemake, make the report, say where it is.

Snakemake judges staleness by metadata it keeps beside itself. Where that is missing (a fresh clone with records,
a failed re-run) it can call an old result done. The records know better: each carries the digest of all it
depends on, so what differs from the study is forced here, by name.
"""

import fcntl
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError, RequestError
from bench.record import read_record
from bench.study.runs import Runs


def print_plan(runs: Runs) -> None:
    """Print how many jobs each stage of the study has."""
    for stage, count in job_counts(runs).items():
        print(f"{stage:<9} {count:>5}")


def job_counts(runs: Runs) -> Counter[str]:
    """Return the number of jobs by rule, as a run from nothing has them."""
    datasets = len(runs.target_data) + 1
    return Counter(
        {
            "acquire": datasets,
            "prepare": datasets,
            "pretrain": len(runs.pretrainings),
            "finetune": len(runs.finetunings),
            "evaluate": len(runs.evaluations),
            "top1": len(runs.classifiers),
            "compare": 1,
            "tables": 1,
            "figures": 1,
            "report": 1,
        }
    )


def stale_records(runs: Runs) -> list[str]:
    """Return the records that are there and do not belong to the study: another digest, or unreadable."""
    found = []
    for run in (*runs.pretrainings, *runs.finetunings, *runs.evaluations, *runs.classifiers):
        path = Path(run.record)
        if not path.exists():
            continue
        try:
            fresh = read_record(path).digest == run.digest
        except BenchError:
            fresh = False
        if not fresh:
            found.append(run.record)
    return found


@contextmanager
def study_lock(root: Path) -> Iterator[None]:
    """Hold the study's lock as long as this process lives; RequestError names the process that has it.

    An OS lock, because Snakemake's own lock survives a kill and must then be removed by hand.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "another process"
            raise RequestError(
                f"{root}: the study is being run already, by {holder}; wait for it, or stop it first"
            ) from None
        stream.truncate(0)
        stream.write(f"process {os.getpid()}\n")
        stream.flush()
        yield


def run_study(runs: Runs, study_file: Path, *, cores: int | None, profile: str) -> int:
    """Run everything of the study that is missing or stale; return the exit code.

    Ends by printing the main table and where the report is.
    """
    root = Path(runs.root)
    if not Path("Snakefile").is_file():
        raise RequestError(f"{Path.cwd()}: no Snakefile here; run from the top folder of the repository")
    with study_lock(root):
        started = time.time()
        forced = stale_records(runs)
        for path in forced:
            print(f"stale, made by another study or version, will be run again: {path}", file=sys.stderr)
        code = _snakemake(study_file, cores, profile, ["--forcerun", *forced] if forced else [])
        if code != 0:
            print(
                f"bench run: a stage failed (see above; logs in {root}/logs); the same command goes on from here",
                file=sys.stderr,
            )
            return 1
        page = root / "report" / "report.html"
        newest = (root / "report" / "report.pdf").stat().st_mtime
        if not page.exists() or page.stat().st_mtime < newest:
            code = _snakemake(study_file, cores, profile, ["--report", str(page)])
            if code != 0:
                raise BenchError(f"{page}: Snakemake could not make the HTML report (see above)")
    table = root / "tables" / "main.txt"
    print(f"\n{table.read_text(encoding='utf-8').rstrip()}\n")
    print(f"report  {root}/report/report.pdf\n        {root}/report/report.html")
    print(f"tables  {root}/tables/\nfigures {root}/figures/")
    print(f"time    {time.time() - started:.0f} s")
    return 0


def _snakemake(study_file: Path, cores: int | None, profile: str, words: list[str]) -> int:
    command = [sys.executable, "-m", "snakemake", "--configfile", str(study_file)]
    command += ["--nolock", "--rerun-incomplete", "--cores", str(cores or os.cpu_count() or 1)]
    if Path(profile).is_dir():
        command += ["--workflow-profile", profile]
    return subprocess.run([*command, *words]).returncode
