"""What a job does about the cluster that it runs on: look for its GPUs at the start, and get back into the queue.

Light, and without effect anywhere else. `bench run` sets BENCH_REQUEUE for the jobs of a SLURM profile.
"""

import os
import subprocess
from pathlib import Path

import yaml

from bench.errors import BenchError
from bench.lock import say
from bench.machine import gpu_count, gpus_per_job


def executor_of(profile: str) -> str:
    """Return what a Snakemake profile runs jobs with: local, slurm, kubernetes, ..."""
    path = Path(profile, "config.yaml")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return "local"  # Snakemake says what is wrong with it
    return str((settings or {}).get("executor", "local")) if isinstance(settings, dict | None) else "local"


def check_devices(processes: int | None = None) -> None:
    """Raise BenchError if a SLURM job sees fewer GPUs than it was given, or than its processes need.

    `processes` is their number (unset: BENCH_GPUS_PER_JOB). Without the check a job on a node with a broken driver
    would go on, silently, on the CPU. Jobs that asked for no GPU, or say BENCH_DEVICE=cpu, are left alone.
    """
    given = os.environ.get("SLURM_GPUS", "").rpartition(":")[2]
    if not given.isdigit() or os.environ.get("BENCH_DEVICE") == "cpu":
        return
    needed, seen = processes or gpus_per_job(), gpu_count()
    if seen < max(int(given), needed):
        node = os.environ.get("SLURMD_NODENAME", "this node")
        raise BenchError(
            f"SLURM gave the job {given} GPUs, its processes need {needed}, and {seen} are visible on {node}: exclude "
            "the node (slurm_extra: --exclude), or set gpu in the profile to what BENCH_GPUS_PER_JOB says"
        )


def requeue() -> None:
    """Put this SLURM job, which has saved its state, back into the queue under its own number.

    Snakemake turns every exit code into 1, so SLURM cannot tell a pre-empted job by its code; the job says it itself.
    Where SLURM requeues what it pre-empts, it has done so already and refuses: no harm. Where nothing works,
    Snakemake's retries start the job again.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if os.environ.get("BENCH_REQUEUE") != "slurm" or job is None or "RANK" in os.environ:
        return
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        say(
            f"SLURM job {job} could not be put back into the queue ({error}); Snakemake's retries start it again"
        )
        return
    words = done.stderr.strip() or "no reason given"
    say(
        f"SLURM job {job} is back in the queue"
        if done.returncode == 0
        else f"SLURM job {job} was not put back into the queue ({words}); SLURM or Snakemake's retries start it again"
    )
