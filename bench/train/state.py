"""What a step changes, gathered so that it can be kept and put back: weights, optimizer, average, gradient scale."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.study.recipes import PretrainRecipe
from bench.train.optim import adamw, has_bfloat16, parameter_groups


@dataclass(frozen=True)
class TrainingState:
    """The parts of a training that have a memory."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    """float16 has few exponents: gradients are scaled up against underflow, and back before they are used."""
    average: Any = None
    """timm's ModelEmaV3, whose weights are in `module`; None where the recipe averages nothing."""

    @property
    def averaged(self) -> nn.Module:
        """The averaged model, or the model itself where there is no average."""
        return self.model if self.average is None else cast(nn.Module, self.average.module)

    def kept(self) -> dict[str, Any]:
        """Return all of it as a checkpoint holds it."""
        found = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        return found if self.average is None else {**found, "average": self.average.module.state_dict()}

    def restore(self, kept: dict[str, Any]) -> None:
        """Put back what `kept` returned."""
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.scaler.load_state_dict(kept["scaler"])
        if self.average is not None:
            self.average.module.load_state_dict(kept["average"])

    def update(self, clip_grad: float | None) -> Tensor | None:
        """Take one optimizer step from the gradients; return their norm before clipping where it is to be finite.

        Under float16 a step whose gradients overflow is skipped and the scale lowered, so a norm says nothing.
        """
        norm = None
        if clip_grad is not None:
            self.scaler.unscale_(self.optimizer)
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.model)
        return None if self.scaler.is_enabled() else norm


def training_state(
    model: nn.Module, recipe: PretrainRecipe, device: torch.device
) -> tuple[TrainingState, torch.dtype | None]:
    """Return the fresh state of a training of `model`, which is on `device`, and the type of its autocast."""
    precision = autocast_type(recipe.amp, device)
    groups = parameter_groups(model.named_parameters(), weight_decay=recipe.weight_decay)
    optimizer = adamw(groups, betas=recipe.betas, eps=recipe.eps, device=device)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
    average = None
    if recipe.ema is not None:
        from timm.utils.model_ema import ModelEmaV3

        average = ModelEmaV3(model, decay=recipe.ema)
    return TrainingState(model, optimizer, scaler, average), precision


def autocast_type(amp: str | bool, device: torch.device) -> torch.dtype | None:
    """Return the type that `amp` (off, bf16, fp16) asks for; None for float32.

    Where the device has no bfloat16 of its own, emulating it would cost and not gain: float32 serves, and the
    record says so.
    """
    if amp == "fp16":
        return torch.float16
    return torch.bfloat16 if amp == "bf16" and has_bfloat16(device) else None
