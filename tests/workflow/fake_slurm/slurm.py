"""Stands in for SLURM's commands, as far as Snakemake's plugin uses them: jobs run at once, on this machine.

`slurm.py COMMAND WORDS...` with FAKE_SLURM naming a folder that holds a JSON file a job and the calls as they came.
Like the real one: a requeued job keeps its number and runs its script again once its processes are gone; a job whose
script ends with another code than 0 is FAILED.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

HOME = Path(os.environ["FAKE_SLURM"])
OVER = ("COMPLETED", "FAILED", "CANCELLED")


@contextmanager
def job(number):
    """Hold one job's file and write back what is changed."""
    with (HOME / f"{number}.lock").open("w") as door:
        fcntl.flock(door, fcntl.LOCK_EX)
        path = HOME / f"{number}.json"
        held = json.loads(path.read_text()) if path.exists() else {}
        yield held
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(held))
        partial.replace(path)


def jobs():
    return {path.stem: json.loads(path.read_text()) for path in sorted(HOME.glob("*.json"))}


def option(words, *names):
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word in names:
            return after
        for name in names:
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
    return None


def sbatch(words):
    with (HOME / "numbers").open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        number = str(len(stream.read().split()) + 1)
        stream.write(f"{number}\n")
    with job(number) as held:
        held |= {
            "state": "PENDING", "name": option(words, "--job-name"), "script": option(words, "--wrap"),
            "comment": option(words, "--comment"), "gpus": option(words, "--gpus"), "words": words, "lives": 0,
            "output": option(words, "--output").replace("%j", number), "requeue": False,
        }  # fmt: skip
    subprocess.Popen(
        [sys.executable, __file__, "--run", number], start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    print(number)


def run(number):
    """What slurmd does: the script, again for as long as the job is put back into the queue."""
    while True:
        with job(number) as held:
            held |= {"state": "RUNNING", "requeue": False, "lives": held["lives"] + 1, "step": None}
            script, output, gpus, lives = held["script"], held["output"], held["gpus"], held["lives"]
        own = {"SLURM_JOB_ID": number, "SLURM_RESTART_COUNT": str(lives - 1), "SLURMD_NODENAME": "node1"}
        own |= {"SLURM_GPUS": gpus} if gpus else {}
        with Path(output).open("a") as stream:
            code = subprocess.call(["sh", "-c", script], env=os.environ | own, stdout=stream, stderr=stream)
        with job(number) as held:
            if not held["requeue"]:
                if held["state"] != "CANCELLED":
                    held["state"] = "COMPLETED" if code == 0 else "FAILED"
                return
            held["state"] = "PENDING"


def srun(words):
    """Take the place of the step, and say which process it is."""
    with job(os.environ["SLURM_JOB_ID"]) as held:
        held["step"] = os.getpid()
    command = words[next(i for i, word in enumerate(words) if not word.startswith("-")) :]
    os.execvp(command[0], command)


def sacct(words):
    if option(words, "--format") != "JobIdRaw,State":
        return
    # Answers once something is over, so that the plugin's pauses, which grow by ten seconds, cost no time; it waits a
    # minute for an answer.
    seen = HOME / "seen"
    before, until = seen.read_text() if seen.exists() else "", time.monotonic() + 50
    while (over := " ".join(n for n, held in jobs().items() if held["state"] in OVER)) == before:
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    seen.write_text(over)
    for number, held in jobs().items():
        print(f"{number}|{held['state']}")


def scontrol(words):
    if words[0] != "requeue":
        return
    with job(words[1]) as held:
        if held["state"] != "RUNNING":
            sys.exit(f"slurm_requeue error: job {words[1]} is {held['state']}")
        held["requeue"] = True


def scancel(words):
    for number in words:
        with job(number) as held:
            held["state"] = "CANCELLED"
            if held.get("step"):
                os.kill(held["step"], signal.SIGTERM)


def sinfo(words):
    print("PARTITION\nmain*")


if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    if name == "--run":
        run(*rest)
    else:
        with (HOME / "calls.txt").open("a") as calls:
            calls.write(f"{name} {' '.join(rest)[:300]}\n")
        {
            "sbatch": sbatch,
            "srun": srun,
            "sacct": sacct,
            "scontrol": scontrol,
            "scancel": scancel,
            "sinfo": sinfo,
        }[name](rest)
