"""How everything here is timed: interleaved rounds in one process, medians, ratios, one CSV a benchmark.

Absolute times belong to a machine and an hour; the ratio of two medians whose rounds took turns holds when the
machine's speed drifts. A limit is a promise of the project's; whether it was met is printed, and asserted nowhere.
"""

import csv
import gc
import io
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.errors import RequestError
from bench.record import write_text

BENCHMARKS = ("data", "train", "evaluate", "stats", "calibration", "tables", "scale")
"""Each is a module beside this one with a function `measure() -> list[Row]`."""
PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "Pillow")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured figure. `limit` is what it should be (`at least 1.3`, `at most 0.05`), empty for none."""

    what: str
    value: float
    unit: str
    limit: str = ""
    note: str = ""

    @property
    def met(self) -> str:
        """Say `yes` or `no` where there is a limit, else nothing."""
        if not self.limit:
            return ""
        words = self.limit.split()
        bound = float(words[-1])
        return "yes" if (self.value >= bound if words[1] == "least" else self.value <= bound) else "no"


def interleaved(
    tasks: Mapping[str, Callable[[], object]], *, rounds: int = 7, warmup: int = 1
) -> dict[str, float]:
    """Return the median seconds of each task over `rounds` in which the tasks take turns, after `warmup` rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(warmup + rounds):
        for name, task in tasks.items():
            gc.collect()
            began = time.perf_counter()
            task()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(found) for name, found in seconds.items()}


def run_benchmark(name: str, out: Path) -> Path:
    """Run one benchmark, print its figures and write `out`/<name>.csv; return that path.

    Raises RequestError for a benchmark that there is not.
    """
    if name not in BENCHMARKS:
        raise RequestError(f"benchmark {name!r}: there are {', '.join(BENCHMARKS)}")
    rows: list[Row] = import_module(f"bench.benchmark.{name}").measure()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["what", "value", "unit", "limit", "met", "note"])
    writer.writerows([row.what, f"{row.value:.4g}", row.unit, row.limit, row.met, row.note] for row in rows)
    writer.writerow(["machine", "", "", "", "", _machine()])
    path = out / f"{name}.csv"
    write_text(path, text.getvalue())
    for row in rows:
        limit = f"  ({row.limit}: {row.met})" if row.limit else ""
        print(f"{row.what:<58} {row.value:>10.4g} {row.unit}{limit}{'  ' + row.note if row.note else ''}")
    print(f"written to {path}")
    return path


def _machine() -> str:
    """Return processor, cores, threads, device and package versions in one line."""
    cpu = platform.processor() or platform.machine()
    try:
        listed = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        cpu = next(
            line.split(":")[1].strip() for line in listed.splitlines() if line.startswith("model name")
        )
    except (OSError, StopIteration):
        pass
    found = [f"{cpu}, {os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}"]
    found.append(f"Python {platform.python_version()}")
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return "; ".join(found)
