"""What is compared: an arm, which is a strategy (what is pre-trained) and a stem (how its weights meet n channels)."""

from dataclasses import dataclass
from typing import Literal

from bench.study.checks import require, within

Stem = Literal["repeat", "repeat-normalised", "mean", "copy-red", "zero", "random", "reinit"]
Strategy = Literal["rgb", "duplicate", "csp", "sample", "grey", "weights", "scratch"]
Fill = Literal["cycle", "random"]
Scope = Literal["image", "batch", "epoch"]
Placed = Literal["before-erasing", "after-erasing"]
Normalise = Literal["follow", "position"]
DRAWN = ("csp", "sample", "weights")
"""Strategies that draw, and so have a scope and a probability."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What is compared: a strategy (what is pre-trained) and a stem (how its weights meet n channels)."""

    strategy: Strategy
    stem: Stem = "repeat"
    """How three-channel weights become n-channel weights; without effect where the channels agree already."""
    fill: Fill = "cycle"
    """csp: which source channels are repeated when n is no multiple of 3 (R G B R G, or drawn)."""
    scope: Scope = "image"
    """csp, sample, weights: how often a new arrangement is drawn."""
    probability: float = 1.0
    """csp, sample, weights: share of draws that are used; the others keep the fill order."""
    order: Placed = "before-erasing"
    """Where the strategy stands: erasing meets its n channels, or the three before it."""
    normalise: Normalise = "follow"
    """csp, sample, weights: mean and std of what a channel shows, or fixed for its position."""
    epochs: int | None = None
    """Epochs of this arm's pre-training; unset: the recipe's."""
    min_channels: int = 3
    """The arm is run only on targets with at least this many channels."""

    def __post_init__(self) -> None:
        within(self, "[0, 1]", "probability")
        within(self, "[1, inf)", "epochs")
        within(self, "[3, 8]", "min_channels")
        require(
            self.strategy == "csp" or self.fill == "cycle", f"fill belongs to csp, not to {self.strategy}"
        )
        if self.strategy not in DRAWN:
            plain = (self.scope, self.probability, self.normalise) == ("image", 1.0, "follow")
            owners = f"{', '.join(DRAWN)}, not to {self.strategy}"
            require(plain, f"scope, probability and normalise belong to {owners}")
        if self.strategy in ("rgb", "scratch"):
            require(self.order == "before-erasing", f"order has no meaning for {self.strategy}")
        if self.strategy == "scratch":
            require(self.stem == "repeat", "stem: scratch has no weights to adapt")
            require(self.epochs is None, "epochs: scratch has no pre-training")
