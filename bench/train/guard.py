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


class FiniteGuard:
    """Keep, on the device, what was noted of each step since the last check, and name the first that is not finite.

    `note` computes nothing and waits for nothing; `check` reads it all back at once and raises, in all processes
    alike. A loop notes every step, checks before it logs, and checks the weights too (`check_state`) before it saves
    them or hands them on, so that no checkpoint ever holds what came after.
    """

    def __init__(self, ranks: Ranks | None = None, checkpoints: Checkpoints | None = None) -> None:
        self.ranks, self.checkpoints = ranks or Ranks(), checkpoints
        self.noted: list[tuple[int, str, Tensor]] = []

    def note(self, step: int, **quantities: Tensor) -> None:
        """Note scalars on the device, under their names, at `step`."""
        self.noted += [(step, name, value.detach()) for name, value in quantities.items()]

    def check_state(self, step: int, training: TrainingState, label: str) -> None:
        """Raise as `check` does, also for weights that `step` left not finite; and for a collapsed float16 scale."""
        self.note(step, largest_weight=training.largest())
        self.check(label)
        training.check_scale(label)

    def check(self, label: str) -> None:
        """Raise BenchError if a noted quantity was not finite; the earliest is named, and the last good state.

        A checkpoint that the step started from is unconfirmed, and removed.
        """
        if not self.noted:
            return
        noted, self.noted = self.noted, []
        values = torch.stack([value.float() for _, _, value in noted])
        # All processes note the same steps and names in the same order.
        finite = self.ranks.smallest(torch.isfinite(values).to(torch.int64)).tolist()
        bad = [(step, name) for (step, name, _), good in zip(noted, finite, strict=True) if not good]
        if not bad:
            return
        (step, name), good = min(bad), ""
        if self.checkpoints is not None:
            good = f" (the last good state: {self.checkpoints.last_before(step)})"
            if self.ranks.first:
                self.checkpoints.drop_from(step)
        raise BenchError(
            f"{label}: {name.replace('_', ' ')} was not finite at step {step}; nothing after it was "
            f"saved{good}: lower the learning rate, clip gradients (clip_grad) or switch amp off in the recipe"
        )
