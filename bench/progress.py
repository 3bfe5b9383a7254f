"""What a person sees of a long job: a bar on a terminal, plain lines otherwise; and its CSV."""

import csv
import shutil
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Never, Self, TextIO, TypeVar

from tqdm import tqdm

from bench.errors import BenchError
from bench.record import atomic
from bench.tracker import Tracker

T = TypeVar("T")

PLAIN_INTERVAL, BAR_INTERVAL = 10.0, 1.0
"""Seconds between plain lines; between values shown beside a bar."""


class Progress:
    """Rate and time left of a loop of `total` steps; `unit_size` items pass in one step.

    Use as a context manager and call `update` once a step. `stream` is stderr unless a test gives another.
    """

    def __init__(
        self,
        label: str,
        total: int,
        *,
        start: int = 0,
        unit: str = "img",
        unit_size: int = 1,
        stream: TextIO | None = None,
    ) -> None:
        self.label, self.total, self.start, self.unit, self.size = label, total, start, unit, unit_size
        self.stream = stream or sys.stderr
        self.step = start
        self.began = self.spoke = time.monotonic()
        self.bar: tqdm[Never] | None = None
        if self.stream.isatty():
            self.bar = tqdm(
                total=total * unit_size,
                initial=start * unit_size,
                desc=label,
                unit=unit,
                file=self.stream,
                dynamic_ncols=True,
            )

    def due(self) -> bool:
        """Say whether the next update shows its values; what costs (reading a loss back) can wait for it."""
        interval = PLAIN_INTERVAL if self.bar is None else BAR_INTERVAL
        return time.monotonic() - self.spoke >= interval or self.step + 1 >= self.total

    def update(self, **values: float) -> None:
        """Count one step and show `values` (a loss, a rate) if it is time to."""
        shown = self.due()
        self.step += 1
        if shown:
            self.spoke = time.monotonic()
        if self.bar is not None:
            if shown:
                self.bar.set_postfix({key: f"{value:.4g}" for key, value in values.items()}, refresh=False)
            self.bar.update(self.size)
        elif shown:
            print(self.line(values), file=self.stream, flush=True)

    def line(self, values: dict[str, float]) -> str:
        """Return the plain line: label, step of total, rate, time left, values."""
        elapsed = max(time.monotonic() - self.began, 1e-9)
        per_second = (self.step - self.start) / elapsed
        left = (self.total - self.step) / per_second if per_second else 0.0
        words = [
            f"{self.label}: {self.step}/{self.total}",
            f"{per_second * self.size:.0f} {self.unit}/s",
            f"{int(left) // 60}:{int(left) % 60:02d} left",
            *(f"{key} {value:.4g}" for key, value in values.items()),
        ]
        return ", ".join(words)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()


def tracked(items: Collection[T], label: str, unit: str) -> Iterator[T]:
    """Yield `items` in order and show how far they are."""
    with Progress(label, len(items), unit=unit) as progress:
        for item in items:
            yield item
            progress.update()


class CsvLog:
    """A CSV of losses and scores whose first column is the step; it survives a resume.

    It grows at `path`, beside the checkpoints; `publish` copies it to its final name. Rows after the resumed
    step are cut off, since the resumed run writes them again, byte for byte: so it holds no times.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], *, resumed: int) -> None:
        self.path, self.columns = path, ("step", *columns)
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = self._rows(resumed) if resumed else []
        with atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows([self.columns, *kept])
        # Beside the state, which the run clears.
        self.tracker = Tracker(path.parent.parent / "tensorboard", resumed=resumed)

    def _rows(self, resumed: int) -> list[list[str]]:
        """Return the whole rows of the old log up to the resumed step; a row torn by a crash is dropped."""
        if not self.path.is_file():
            return []
        header, *rows = list(csv.reader(self.path.read_text(encoding="utf-8").splitlines())) or [[]]
        if header != list(self.columns):
            raise BenchError(
                f"{self.path}: columns {header}, expected {list(self.columns)}; remove its folder and re-run"
            )
        return [
            row for row in rows if len(row) == len(header) and row[0].isdigit() and int(row[0]) <= resumed
        ]

    def write(self, step: int, *values: float | int | str) -> None:
        """Append one row, floats by repr, and hand it to the system at once."""
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerow([step, *values])
        named = zip(self.columns[1:], values, strict=False)
        self.tracker.scalars(step, {f"{self.path.stem}/{column}": value for column, value in named})

    def publish(self, final: Path) -> None:
        """Copy the log to its final name, whole or not at all."""
        with atomic(final) as partial:
            shutil.copyfile(self.path, partial)
