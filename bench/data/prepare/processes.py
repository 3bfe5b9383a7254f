"""Work on many files with several processes, in an order and with a result that do not depend on their number."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, TypeVar

from bench.errors import BenchError

T = TypeVar("T")
R = TypeVar("R")

_task: Callable[[Any], Any]


def each(task: Callable[[T], R], items: Sequence[T], *, workers: int) -> Iterator[R]:
    """Yield `task(item)` for each of `items`, in their order, from `workers` processes (0 or 1: this one).

    `task` is picklable: a function of a module or a partial of one. The first error in the order of the items is
    raised, as it would be without processes; what was not begun by then is not begun. Raises BenchError if a
    process is killed.
    """
    if workers < 2 or len(items) < 2:
        yield from map(task, items)
        return
    # Spawned, not forked: a fork of a process with threads (a progress bar has one) may hang.
    with ProcessPoolExecutor(
        min(workers, len(items)), multiprocessing.get_context("spawn"), _begin, (task,)
    ) as pool:
        try:
            yield from pool.map(_call, items)
        except BrokenProcessPool:
            raise BenchError(
                f"one of {workers} processes was killed, most likely for want of memory; what is finished is kept: "
                "run again with fewer (BENCH_WORKERS=1)"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(task: Callable[[Any], Any]) -> None:
    global _task
    _task = task
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _call(item: Any) -> Any:
    return _task(item)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however it died: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
