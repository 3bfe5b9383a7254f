"""Stop a training that has become worthless: the first loss, norm or weight that is not finite, by name and step.

A checkpoint holds finite weights, but they may have just exploded: it is confirmed by the finite loss of the step
that follows. One from which no finite loss followed is dropped, so that the next start has the one before it.
"""

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.train.checkpoint import Checkpoints
from bench.train.distributed import Ranks
from bench.train.state import TrainingState

NEVER = torch.iinfo(torch.int64).max
"""The step at which nothing has happened."""


class FiniteGuard:
    """Remember, on the device, the first step at which each noted quantity was not finite.

    `note` costs no synchronisation; `check` reads the memory back and raises, in all processes alike. A loop
    notes every step, checks before it logs, and checks the weights too (`check_state`) before it saves them
    or hands them on, so that no checkpoint ever holds what came after.
    """

    def __init__(
        self, device: torch.device, ranks: Ranks | None = None, checkpoints: Checkpoints | None = None
    ) -> None:
        self.device, self.ranks, self.checkpoints = device, ranks or Ranks(), checkpoints
        self.first: dict[str, Tensor] = {}

    def note(self, step: int, **quantities: Tensor) -> None:
        """Note scalars on the device, under their names, at `step`."""
        for name, value in quantities.items():
            first = self.first.setdefault(name, torch.full((), NEVER, dtype=torch.int64, device=self.device))
            bad = (first == NEVER) & ~torch.isfinite(value.detach())
            self.first[name] = torch.where(bad, step, first)

    def check_state(self, step: int, training: TrainingState, label: str) -> None:
        """Raise as `check` does, also for weights that `step` left not finite; and for a collapsed float16 scale."""
        self.note(step, largest_weight=training.largest())
        self.check(label)
        training.check_scale(label)

    def check(self, label: str) -> None:
        """Raise BenchError if a noted quantity was not finite; the earliest is named, and the last good state.

        A checkpoint that the step started from is unconfirmed, and removed.
        """
        if not self.first:
            return
        names = sorted(self.first)
        steps = self.ranks.smallest(torch.stack([self.first[name] for name in names])).tolist()
        step, name = min(zip(steps, names, strict=True))
        if step != NEVER:
            good = ""
            if self.checkpoints is not None:
                good = f" (the last good state: {self.checkpoints.last_before(step)})"
                if self.ranks.first:
                    self.checkpoints.drop_from(step)
            raise BenchError(
                f"{label}: {name.replace('_', ' ')} was not finite at step {step}; nothing after it was "
                f"saved{good}: lower the learning rate, clip gradients (clip_grad) or switch amp off in the recipe"
            )
