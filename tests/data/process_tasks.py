"""What the tests of processes let them do; a module of its own, so that a process starts without libraries."""

import os
import signal
import time
from pathlib import Path

from bench.errors import BenchError


def double(number: int) -> int:
    """Return twice the number; the first ends last."""
    time.sleep(0.05 if number == 0 else 0)
    return 2 * number


def refuse_odd(number: int) -> int:
    """Return the number, or refuse it."""
    if number % 2:
        raise BenchError(f"{number} is odd; give even ones")
    return number


def die(number: int) -> None:
    """End as one does whom the kernel kills for want of memory."""
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def sleep_long(path: str) -> None:
    """Leave the number of this process in `path`.pid, and sleep."""
    Path(path).write_text(str(os.getpid()))
    os.rename(path, f"{path}.pid")
    time.sleep(300)
