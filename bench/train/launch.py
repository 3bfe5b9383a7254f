"""Start one training or evaluation as several processes of this machine, one a GPU, and end them together.

torchrun's job with two differences: the exit code of the training is passed on (75 says that it was
pre-empted), and the GPUs are taken from the slots that the jobs of this machine share. Over several machines
`torchrun -m bench pretrain ...` starts the same processes. Light: no torch.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import FrameType
from typing import IO

from bench.errors import Preempted, RequestError
from bench.lock import say
from bench.machine import HELD, cores, gpu_count, gpu_slots, gpus_per_job, visible_gpus

GRACE = 10.0
"""Seconds that the others have to end by themselves once one process has failed."""


def launched(words: Sequence[str]) -> int | None:
    """Run `python -m bench WORDS` as BENCH_GPUS_PER_JOB processes and return the exit code.

    None where there is nothing to launch: one process is asked for, or this is one of several already.
    Raises RequestError for more GPUs than there are, and for BENCH_DEVICE naming one of them.
    """
    processes = gpus_per_job()
    if processes == 1 or "RANK" in os.environ:
        return None
    return together([sys.executable, "-m", "bench", *words], processes, _place(processes))


def together(command: Sequence[str], processes: int, environment: Mapping[str, str]) -> int:
    """Run a command as `processes` processes that find each other as torchrun's do; return the exit code of all.

    SIGTERM is passed on. The code is 75 if one of them was pre-empted, else that of the first that failed.
    """
    shared = {**os.environ, **environment, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    shared |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    children: list[subprocess.Popen[bytes]] = []
    told: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        told.append(number)
        for child in children:
            child.send_signal(number)

    before = signal.signal(signal.SIGTERM, pass_on)
    with ExitStack() as held:
        # The first process speaks for all; what another one says is shown if that one fails alone.
        voices = [
            held.enter_context(tempfile.TemporaryFile("w+", errors="replace")) for _ in range(processes - 1)
        ]
        try:
            for rank in range(processes):
                own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                # The children hold the GPU slots too, should this process be killed alone.
                voice = voices[rank - 1] if rank else None
                children.append(subprocess.Popen(command, env=shared | own, pass_fds=HELD, stderr=voice))
                if told:
                    children[-1].send_signal(told[-1])
            code = _ended(children)
            if code and children[0].returncode <= 0:
                _show(children, voices)
            return code
        finally:
            signal.signal(signal.SIGTERM, before)
            for child in children:
                if child.poll() is None:
                    child.kill()
                    child.wait()


def _place(processes: int) -> dict[str, str]:
    """Take the GPUs and return the variables that show them, and no other, to the processes."""
    named, count = os.environ.get("BENCH_DEVICE", ""), gpu_count()
    if named.startswith("cuda:"):
        raise RequestError(
            f"BENCH_DEVICE={named} with BENCH_GPUS_PER_JOB={processes}: one GPU cannot serve several processes; "
            "leave BENCH_DEVICE unset"
        )
    if named == "cpu" or (not named and count == 0):
        return {"BENCH_DEVICE": "cpu"}
    slots = gpu_slots(processes, count)
    devices = visible_gpus()
    # The loaders of jobs on the other GPUs need cores too.
    share = max(1, cores() * processes // count)
    return {"CUDA_VISIBLE_DEVICES": ",".join(devices[slot] for slot in slots), "BENCH_CORES": str(share)}


def _ended(children: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for all processes; once one has failed, end the others, which would wait for it for ever."""
    deadline, ended_here = float("inf"), list[subprocess.Popen[bytes]]()
    while running := [child for child in children if child.poll() is None]:
        failed = [rank for rank, child in enumerate(children) if child.returncode]
        if failed:
            deadline = min(deadline, time.monotonic() + GRACE)
        if time.monotonic() > deadline:
            say(f"process {failed[0]} of {len(children)} failed; ending the others")
            for child in running:
                child.kill()
                child.wait()
                ended_here.append(child)
        time.sleep(0.05)
    for rank, child in enumerate(children):
        if child.returncode < 0 and child not in ended_here:
            say(
                f"process {rank} was {_killed_by(-child.returncode)}; the same command goes on from the last state"
            )
    codes = [child.returncode for child in children]
    if Preempted.exit_code in codes:
        return Preempted.exit_code
    # What a process says of itself is worth more than that another one was killed for it.
    return next((code for code in codes if code > 0), 1 if any(codes) else 0)


def _killed_by(number: int) -> str:
    """Return the words for a death by a signal."""
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    # Nobody else says so: the kernel's own log does, where users seldom look.
    return f"killed by {name}" + (" (the system does so where memory runs out)" if name == "SIGKILL" else "")


def _show(children: Sequence[subprocess.Popen[bytes]], voices: Sequence[IO[str]]) -> None:
    """Print the last words of the processes that failed while the first had none of its own."""
    for rank, voice in enumerate(voices, start=1):
        if children[rank].returncode > 0:
            voice.seek(0)
            say(f"process {rank}:\n" + "".join(deque(voice, maxlen=20)).rstrip())


def _free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
