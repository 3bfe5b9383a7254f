"""Stop a training that has become worthless: the first loss or norm that is not finite, by name and step."""

import torch
from torch import Tensor

from bench.errors import BenchError


class FiniteGuard:
    """Remember, on the device, the first step at which each noted quantity was not finite.

    `note` costs no synchronisation; `check` reads the memory back and raises. A loop notes every step and
    checks before it logs or saves, so that no checkpoint ever holds what came after.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.first: dict[str, Tensor] = {}

    def note(self, step: int, **quantities: Tensor) -> None:
        """Note scalars on the device, under their names, at `step`."""
        for name, value in quantities.items():
            first = self.first.setdefault(name, torch.full((), -1, dtype=torch.int64, device=self.device))
            bad = (first < 0) & ~torch.isfinite(value.detach())
            self.first[name] = torch.where(bad, step, first)

    def check(self, label: str) -> None:
        """Raise BenchError if a noted quantity was not finite; the earliest is named."""
        found = [(int(first), name) for name, first in self.first.items() if int(first) >= 0]
        if found:
            step, name = min(found)
            raise BenchError(
                f"{label}: {name.replace('_', ' ')} was not finite at step {step}; nothing after it was "
                "saved: lower the learning rate, clip gradients (clip_grad) or switch amp off in the recipe"
            )
