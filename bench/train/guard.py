"""Stop a training that has become worthless: the first loss or norm that is not finite, by name and step."""

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.train.distributed import Ranks

NEVER = torch.iinfo(torch.int64).max
"""The step at which nothing has happened."""


class FiniteGuard:
    """Remember, on the device, the first step at which each noted quantity was not finite.

    `note` costs no synchronisation; `check` reads the memory back and raises, in all processes alike. A loop
    notes every step and checks before it logs or saves, so that no checkpoint ever holds what came after.
    """

    def __init__(self, device: torch.device, ranks: Ranks | None = None) -> None:
        self.device, self.ranks = device, ranks or Ranks()
        self.first: dict[str, Tensor] = {}

    def note(self, step: int, **quantities: Tensor) -> None:
        """Note scalars on the device, under their names, at `step`."""
        for name, value in quantities.items():
            first = self.first.setdefault(name, torch.full((), NEVER, dtype=torch.int64, device=self.device))
            bad = (first == NEVER) & ~torch.isfinite(value.detach())
            self.first[name] = torch.where(bad, step, first)

    def check(self, label: str, saved: str = "") -> None:
        """Raise BenchError if a noted quantity was not finite; the earliest is named.

        `saved` says where the last good state is.
        """
        if not self.first:
            return
        names = sorted(self.first)
        steps = self.ranks.smallest(torch.stack([self.first[name] for name in names])).tolist()
        step, name = min(zip(steps, names, strict=True))
        if step != NEVER:
            good = f" (the last good state: {saved})" if saved else ""
            raise BenchError(
                f"{label}: {name.replace('_', ' ')} was not finite at step {step}; nothing after it was "
                f"saved{good}: lower the learning rate, clip gradients (clip_grad) or switch amp off in the recipe"
            )
