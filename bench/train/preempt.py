"""Being told to stop: SIGTERM, which a cluster sends some time before it takes the machine away.

The loop looks at `requested` between two steps, writes its state and raises Preempted, whose exit code says that
the same command goes on from there. The run's folder says it too, for whoever started many jobs at once.
"""

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from bench.errors import Preempted
from bench.record import write_json


class Preemption:
    """Notice SIGTERM for as long as the context lasts; `folder` is the run's.

    During the steps the signal is only noted; once the last state is saved (`all_saved`), it ends the process at
    once, by the same exception.
    """

    MARK = "preempted.json"

    def __init__(self, folder: Path, label: str) -> None:
        self.mark = folder / "state" / self.MARK
        self.label = label
        self.requested = False
        self.saved: tuple[int, Path] | None = None
        """Set once the state after the last step is on disk: from then on the signal ends the process at once."""

    def __enter__(self) -> Self:
        # Only the main thread may set handlers; in any other the signal keeps its old meaning.
        self.handled = threading.current_thread() is threading.main_thread()
        if self.handled:
            self.before = signal.signal(signal.SIGTERM, self._told)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.handled:
            signal.signal(signal.SIGTERM, self.before)

    def _told(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if self.saved is not None:
            raise self.stopped(*self.saved)

    def all_saved(self, step: int, path: Path) -> None:
        """Say that the training is over and its state on disk; stop here if that was asked for."""
        self.saved = (step, path)
        if self.requested:
            raise self.stopped(step, path)

    def stopped(self, step: int, path: Path) -> Preempted:
        """Leave the mark and return the exception that says where the state lies."""
        write_json(self.mark, {"step": step, "state": path.name})
        return Preempted(
            f"{self.label}: told to stop (SIGTERM); the state after step {step} is in {path}, and the same command "
            "goes on from there"
        )

    def begin(self) -> None:
        """Remove the mark of an earlier stop: the run goes on."""
        self.mark.unlink(missing_ok=True)
