"""Start a whole study: take the lock, find what is stale, call Snakemake, make the report, say where it is.

Snakemake judges staleness by metadata it keeps beside itself. Where that is missing (a fresh clone with records,
a failed re-run) it can call an old result done. What the stages leave behind knows better: each carries the
digest of all it depends on, so what differs from the study is forced here, by name.
"""

import csv
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil

from bench.cluster import executor_of
from bench.data.stages import check_request
from bench.errors import BenchError, Preempted, RequestError
from bench.machine import cores as own_cores
from bench.machine import gpu_count, gpus_per_job
from bench.plan.reasons import stored
from bench.stats.stage import require_fresh
from bench.study.runs import Runs

PROFILE = "profiles/default"
UNBOUNDED = 10_000
"""Jobs that want a GPU at once where none is used: they run on the CPU, as many as there are cores."""
CLOCKS = 2.0
"""Seconds by which the clock of a file server may lag behind ours."""


def job_counts(runs: Runs) -> Counter[str]:
    """Return the number of jobs by rule, as a run from nothing has them."""
    datasets = len(runs.target_data) + 1
    return Counter(
        {
            "acquire": datasets,
            "prepare": datasets,
            "look": 1,
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


def stale_outputs(runs: Runs) -> list[str]:
    """Return what is there and does not belong to the study: another digest, or unreadable; in pipeline order."""
    expected: dict[str, str] = {}
    for data in (runs.pretrain_data, *runs.target_data.values()):
        expected[data.acquired] = data.acquire_digest
        expected[data.manifest] = data.digest
    for job in (*runs.pretrainings, *runs.finetunings, *runs.evaluations, *runs.classifiers):
        expected[job.record] = job.digest
    expected[f"{runs.root}/compare/record.json"] = runs.compare_digest
    return [
        path
        for path, digest in expected.items()
        if Path(path).exists() and stored(Path(path))["digest"] != digest
    ]


def preempted(runs: Runs, since: float) -> list[tuple[str, int]]:
    """Return the trainings that were told to stop after `since` (seconds since the epoch) and wait to go on: (folder,
    steps that are saved).
    """
    found = []
    for run in (*runs.pretrainings, *runs.finetunings):
        mark = Path(run.folder, "state", "preempted.json")
        try:
            if mark.stat().st_mtime >= since:
                held = json.loads(mark.read_text(encoding="utf-8"))
                found.append((run.folder, int(held["step"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


@contextmanager
def study_lock(root: Path) -> Iterator[int]:
    """Hold the study's lock and yield its file descriptor; RequestError names the process that has it.

    An OS lock, because Snakemake's own survives a kill and must then be removed by hand. Snakemake inherits the
    descriptor, so that the lock lives until both are gone: where only this process is killed, its Snakemake
    goes on, and a second start is still refused.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "another process"
            raise RequestError(
                f"{root}: the study is being run already, by {holder} or the Snakemake it started; wait for it, "
                "or stop it first"
            ) from None
        stream.truncate(0)
        stream.write(f"process {os.getpid()}\n")
        stream.flush()
        yield stream.fileno()


@contextmanager
def prepare_study(runs: Runs, study_file: Path, *, profile: str) -> Iterator[None]:
    """Prepare the data of a study, and hold its lock while something is done with them."""
    check_request(runs)
    with study_lock(Path(runs.root)) as lock:
        manifests = [data.manifest for data in (runs.pretrain_data, *runs.target_data.values())]
        if _snakemake(study_file, None, profile, ["--", *manifests], lock) != 0:
            raise BenchError(f"{runs.root}: the data could not be prepared (see above)")
        yield


def run_study(runs: Runs, study_file: Path, *, cores: int | None, profile: str) -> int:
    """Run everything of the study that is missing or stale; return the exit code.

    `cores`: processes at once on this machine; None: as many as it gives us. Ends by printing the main table and where
    the report is.
    """
    root = Path(runs.root)
    if cores is not None and cores < 1:
        raise RequestError(f"--cores {cores}: expected the number of processes at once, 1 or more")
    if not Path("Snakefile").is_file():
        raise RequestError(f"{Path.cwd()}: no Snakefile here; run from the top folder of the repository")
    check_request(runs)
    with study_lock(root) as lock:
        started, since = time.monotonic(), time.time() - CLOCKS
        forced = stale_outputs(runs)
        for path in forced:
            print(f"stale, made by another study or version, will be run again: {path}", file=sys.stderr)
        words = ["--forcerun", *forced] if forced else []
        code = _snakemake(study_file, cores, profile, words, lock)
        if code != 0:
            if stopped := preempted(runs, since):
                for folder, step in stopped:
                    print(
                        f"bench run: {folder} was told to stop; it is saved up to step {step}",
                        file=sys.stderr,
                    )
                print("bench run: pre-empted; the same command goes on from there", file=sys.stderr)
                return Preempted.exit_code
            print(
                f"bench run: a stage failed or was stopped (see above; logs in {root}/logs); the same command "
                "goes on from here",
                file=sys.stderr,
            )
            return 1
        require_fresh(runs)
        page = root / "report" / "report.html"
        newest = (root / "report" / "report.pdf").stat().st_mtime
        if not page.exists() or page.stat().st_mtime < newest:
            partial = page.with_name("partial.html")
            code = _snakemake(study_file, cores, profile, ["--report", str(partial)], lock)
            if code != 0:
                partial.unlink(missing_ok=True)
                raise BenchError(f"{page}: Snakemake could not make the HTML report (see above)")
            os.replace(partial, page)
    with (root / "compare" / "alarms.csv").open(encoding="utf-8", newline="") as stream:
        for alarm in csv.DictReader(stream):
            print(f"ALARM   {alarm['kind']}: {alarm['first']}: {alarm['reason']}")
    table = root / "tables" / "main.txt"
    print(f"\n{table.read_text(encoding='utf-8').rstrip()}\n")
    print(f"report  {root}/report/report.pdf\n        {root}/report/report.html")
    print(f"tables  {root}/tables/\nfigures {root}/figures/")
    print(f"time    {time.monotonic() - started:.0f} s")
    return 0


def _gpus() -> int:
    """Return how many GPUs the jobs of this machine share. Raises RequestError for fewer than one job wants."""
    count = 0 if os.environ.get("BENCH_DEVICE") == "cpu" else gpu_count()
    if 0 < count < gpus_per_job():
        raise RequestError(
            f"BENCH_GPUS_PER_JOB={gpus_per_job()}: this machine shows {count} GPUs, so that no training could ever "
            "start; lower it, or show it more of them (CUDA_VISIBLE_DEVICES)"
        )
    return count or UNBOUNDED


def _snakemake(study_file: Path, cores: int | None, profile: str, words: list[str], lock: int) -> int:
    """Run Snakemake with the lock in its hands and return its exit code.

    SIGTERM is passed on to it and to the jobs that it has started here: trainings save their state and end, and
    Snakemake, which waits for them, with them. Ctrl-C reaches them all by itself.
    """
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--configfile",
        str(study_file),
        "--nolock",
        "--rerun-incomplete",
    ]
    environment, executor = dict(os.environ), executor_of(profile)
    if executor == "local":
        command += ["--cores", str(own_cores() if cores is None else cores)]
        command += ["--resources", f"gpu={_gpus()}"]
    else:
        # The cluster's cores and GPUs are the profile's business; this machine's say nothing about them.
        command += ["--cores", str(cores)] if cores else []
        environment["BENCH_REQUEUE"] = executor
    if Path(profile).is_dir():
        command += ["--workflow-profile", profile]
    elif profile != PROFILE:
        raise RequestError(
            f"--profile {profile}: no such folder; profiles/ has those that come with the project"
        )
    child = subprocess.Popen([*command, *words], pass_fds=[lock], env=environment)

    def stop(number: int, frame: FrameType | None) -> None:
        jobs = psutil.Process(child.pid).children(recursive=True) if child.poll() is None else []
        child.terminate()
        for job in jobs:
            with suppress(psutil.NoSuchProcess):
                job.terminate()

    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, stop),
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
    }
    try:
        return child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
