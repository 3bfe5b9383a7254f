"""How far every run of a study is, read from what the runs leave behind: records, logs, marks and locks.

It asks no process anything and changes nothing, so it works beside a run, after one, and on a results folder that
was copied from another machine.

    done          its record belongs to the study as it stands
    stale         its record belongs to another study or version: it will be run again
    running       a process holds its folder's lock, or its log grew within the last minute (a lock that is held on
                  another machine may not be visible here)
    pre-empted    it was told to stop, saved its state, and waits to go on
    failed        its log ends in an error
    stopped       it began, and nobody works on it: killed, or its machine went down
    waiting       it has not begun
"""

import csv
import fcntl
import json
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from bench.errors import BenchError
from bench.record import read_record
from bench.study.jobs import DataRun, FinetuneRun, Job
from bench.study.runs import Runs

STATES = ("running", "failed", "pre-empted", "stopped", "stale", "waiting", "done")
"""In the order in which a screen that is too small shows them."""
FRESH = 60.0
"""Seconds since its last line for which a log says that its run goes on."""
EVERY = 5.0
"""Seconds between two looks."""
TAIL = 8192
"""Bytes of a log that are read, from its end."""
LAST_LINES = 5
"""Lines of a failed run's log that are shown."""
PROGRESS = re.compile(r": (\d+)/(\d+), ([\d.]+ \S+/s), (\d+):(\d\d) left")


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """One run: where it is and how far."""

    stage: str
    run: str
    """Folder below the study's."""
    state: str
    step: int | None = None
    steps: int | None = None
    """Steps in all, where they are known."""
    rate: str | None = None
    """As the log says it, such as `34 img/s`."""
    seconds_left: int | None = None
    score: str | None = None
    """The last score or loss, by its name."""
    log: list[str] | None = None
    """failed: the last lines of its log."""


def study_status(runs: Runs) -> list[RunStatus]:
    """Return the state of every run of the study, in pipeline order."""
    data = (runs.pretrain_data, *runs.target_data.values())
    trained = (*runs.pretrainings, *runs.finetunings)
    return [run_status(job, runs.root) for job in (*data, *trained, *runs.evaluations, *runs.classifiers)]


def run_status(job: Job, root: str) -> RunStatus:
    """Return the state of one run whose study lies in `root`."""
    folder, name = Path(job.folder), job.folder.removeprefix(f"{root}/")
    lines, age = _tail(_log(job, root, name))
    # Locks are asked first: a run that ends between the two questions is done, not stopped.
    held = is_held(folder / ".lock")
    digest, metrics = _finished(job)
    step, steps = _saved_step(folder), job.recipe.iterations if isinstance(job, FinetuneRun) else None
    rate, left = None, None
    if spoken := next((match for line in reversed(lines) if (match := PROGRESS.search(line))), None):
        steps = int(spoken[2])
        if int(spoken[1]) >= (step or 0):
            step, rate, left = int(spoken[1]), spoken[3], 60 * int(spoken[4]) + int(spoken[5])
    score = _last_score(folder)
    if digest == job.digest:
        state, step, score = "done", steps, _score(metrics) or score
    elif held or (age is not None and age < FRESH and not _ends_badly(lines)):
        state = "running"
    elif digest is not None:
        state = "stale"
    elif (folder / "state" / "preempted.json").is_file():
        state = "pre-empted"
    elif _ends_badly(lines):
        state = "failed"
    elif lines or step is not None:
        state = "stopped"
    else:
        state = "waiting"
    return RunStatus(
        stage=job.stage,
        run=name,
        state=state,
        step=step if state != "waiting" else None,
        steps=steps,
        rate=rate if state == "running" else None,
        seconds_left=left if state == "running" else None,
        score=score,
        log=lines[-LAST_LINES:] if state == "failed" else None,
    )


def is_held(lock: Path) -> bool:
    """Say whether a process of this machine holds a lock file. Asking takes a shared lock for an instant."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)
    return False


def _log(job: Job, root: str, name: str) -> Path:
    """Return the log of a run; of data, the acquisition's as long as the preparation has none."""
    if not isinstance(job, DataRun):
        return Path(root, "logs", f"{name}.log")
    prepared = Path(root, "logs", "prepare", f"{job.name}.log")
    return prepared if prepared.is_file() else Path(root, "logs", "acquire", f"{job.name}.log")


def _tail(log: Path) -> tuple[list[str], float | None]:
    """Return the last lines of a log that are not empty, and the seconds since it grew; None without a log."""
    try:
        with log.open("rb") as stream:
            size, changed = (stat := os.fstat(stream.fileno())).st_size, stat.st_mtime
            stream.seek(max(0, size - TAIL))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return [], None
    return [line for line in text.splitlines() if line.strip()], time.time() - changed


def _ends_badly(lines: list[str]) -> bool:
    """Say whether a log ends in our one sentence or in a Python error."""
    return bool(lines) and (
        lines[-1].startswith("bench ")
        or any(line.startswith("Traceback (most recent call last)") for line in lines)
    )


def _finished(job: Job) -> tuple[str | None, dict[str, Any]]:
    """Return the digest and metrics that a run's result names; None if there is no result."""
    try:
        if isinstance(job, DataRun):
            return str(json.loads(Path(job.manifest).read_text(encoding="utf-8"))["digest"]), {}
        record = read_record(Path(job.record))
        return record.digest, record.metrics
    except (BenchError, OSError, ValueError, KeyError, TypeError):
        return None, {}


def _saved_step(folder: Path) -> int | None:
    """Return the newest step that the run's state speaks of: its checkpoints and its rows of losses."""
    state = folder / "state"
    steps = [
        int(match[1]) for path in state.glob("*.json") if (match := re.search(r"-(\d{9,})\.json$", path.name))
    ]
    steps += [int(row["step"]) for row in _last_row(state / "log.csv")]
    return max(steps, default=None)


def _last_row(path: Path) -> Iterator[dict[str, str]]:
    """Yield the last whole row of a CSV, if there is one."""
    try:
        header, *rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, ValueError):
        return
    whole = [row for row in rows if len(row) == len(header) and row[0].isdigit()]
    if whole:
        yield dict(zip(header, whole[-1], strict=True))


def _last_score(folder: Path) -> str | None:
    """Return the last score on validation data, or else the last loss, of a run under way."""
    for name in ("validation.csv", "log.csv"):
        for row in _last_row(folder / "state" / name):
            with suppress(ValueError):  # a row that is being written
                return _score({key: float(value) for key, value in row.items() if key in SHOWN})
    return None


SHOWN = ("top1/natural", "val_mIoU", "mIoU", "top1", "loss")
"""Metrics worth a column; the first that a run has is shown."""


def _score(metrics: dict[str, Any]) -> str | None:
    return next((f"{key} {metrics[key]:.4g}" for key in SHOWN if isinstance(metrics.get(key), float)), None)


# -- what a person or a script sees ------------------------------------------------------------------------------


def show_status(runs: Runs, *, watch: bool, as_json: bool, stream: TextIO | None = None) -> int:
    """Print the state of the study's runs, once or until nobody works on it any more; return 0.

    On a terminal a repeated look replaces the one before, and shows as many rows as there is room for.
    """
    out = stream or sys.stdout
    screen = watch and out.isatty() and not as_json
    while True:
        found = study_status(runs)
        active = is_held(Path(runs.root, ".lock")) or any(item.state == "running" for item in found)
        if as_json:
            text = json.dumps(_as_json(runs, found, active), indent=None if watch else 1)
        else:
            size = shutil.get_terminal_size()
            text = table(runs.study.study, found, rows=size.lines - 5 if screen else None)
        print(f"\x1b[H\x1b[2J{text}" if screen else text, file=out, flush=True)
        if not (watch and active):
            return 0
        time.sleep(EVERY)


def _as_json(runs: Runs, found: list[RunStatus], active: bool) -> dict[str, Any]:
    return {
        "study": runs.study.study,
        "folder": runs.root,
        "active": active,
        "counts": dict(Counter(item.state for item in found)),
        "runs": [asdict(item) for item in found],
    }


def table(study: str, found: list[RunStatus], rows: int | None = None) -> str:
    """Return the state of the runs as text: counts, then a row a run; with `rows`, the most urgent so many."""
    counts = Counter(item.state for item in found)
    lines = [f"{study}: " + ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])]
    shown = found
    if rows is not None and len(found) > rows:
        shown = sorted(found, key=lambda item: STATES.index(item.state))[: max(1, rows)]
    cells = [("state", "run", "step", "rate", "left", "last score"), *map(_cells, shown)]
    widths = [max(len(row[column]) for row in cells) for column in range(6)]
    for cell, item in zip(cells, [None, *shown], strict=True):
        lines.append("  ".join(word.ljust(width) for word, width in zip(cell, widths, strict=True)).rstrip())
        lines += [f"    | {line}" for line in (item.log or [] if item else [])]
    if len(shown) < len(found):
        lines.append(f"... and {len(found) - len(shown)} more")
    return "\n".join(lines)


def _cells(item: RunStatus) -> tuple[str, ...]:
    step = "" if item.step is None else f"{item.step}/{item.steps}" if item.steps else str(item.step)
    left = ""
    if item.seconds_left is not None:
        hours, rest = divmod(item.seconds_left, 3600)
        left = f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
    return item.state, item.run, step, item.rate or "", left, item.score or ""
