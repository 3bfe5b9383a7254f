"""What a step changes, gathered so that it can be kept and put back: weights, optimizer, average, gradient scale."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.lock import say
from bench.study.recipes import PretrainRecipe
from bench.train.optim import adamw, has_bfloat16, parameter_groups

SCALE, LEAST_SCALE = 2.0**16, 1.0
"""The scale of float16 gradients at first (GradScaler's own default), and the one below which it no longer helps."""


@dataclass(frozen=True)
class TrainingState:
    """The parts of a training that have a memory."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    """float16 has few exponents: gradients are scaled up against underflow, and back before they are used."""
    average: Any = None
    """timm's ModelEmaV3, whose weights are in `module`; None where the recipe averages nothing."""
    precision: torch.dtype | None = None
    """The type of autocast; None for float32."""

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
            "precision": name_of(self.precision),
        }
        return found if self.average is None else {**found, "average": self.average.module.state_dict()}

    def restore(self, kept: dict[str, Any], where: Path) -> None:
        """Put back what `kept` returned and `where` held. Raises BenchError for a training in another precision."""
        ours = name_of(self.precision)
        # States of earlier versions do not say it.
        before = kept.get("precision", ours)
        if before != ours:
            raise BenchError(
                f"{where}: this state was trained in {before}, and this device would go on in {ours}: one run has one "
                f"precision; go on on a device like the first, or remove {where.parent} to begin again on this one"
            )
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        # A fused optimizer walks weights and moments in the order of memory, which a state of another layout has not.
        for weight, moments in self.optimizer.state.items():
            for name, moment in moments.items():
                if moment.shape == weight.shape and moment.stride() != weight.stride():
                    moments[name] = torch.empty_like(weight, dtype=moment.dtype).copy_(moment)
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

    def largest(self) -> Tensor:
        """Return the largest magnitude in the model and its average: a scalar, not finite if any value is not."""
        held = [*self.model.state_dict().values(), *self.averaged.state_dict().values()]
        return torch.stack(
            [value.detach().abs().amax() for value in held if value.is_floating_point()]
        ).amax()

    def check_scale(self, label: str, steps: int | None = None) -> None:
        """Raise BenchError where float16 gradients overflowed until their scale was spent, so that nothing is learned.

        With `steps`, all that there were: also where each of them overflowed.
        """
        if not self.scaler.is_enabled():
            return
        scale = self.scaler.get_scale()
        every = steps is not None and scale <= SCALE * self.scaler.get_backoff_factor() ** steps
        if scale < LEAST_SCALE or every:
            count = "every step" if every else "step after step"
            raise BenchError(
                f"{label}: float16 gradients overflowed in {count} (their scale fell from {SCALE:g} to {scale:g}), and "
                "such a step changes no weight: set amp to bf16 or off in the recipe, or lower the learning rate"
            )


def gradient_scaler(precision: torch.dtype | None, device: torch.device) -> torch.amp.GradScaler:
    """Return the scaler of a training in `precision`; it does nothing but for float16."""
    return torch.amp.GradScaler(device.type, init_scale=SCALE, enabled=precision == torch.float16)


def training_state(
    model: nn.Module, recipe: PretrainRecipe, device: torch.device
) -> tuple[TrainingState, torch.dtype | None]:
    """Return the fresh state of a training of `model`, which is on `device`, and the type of its autocast."""
    precision = autocast_type(recipe.amp, device)
    groups = parameter_groups(model.named_parameters(), weight_decay=recipe.weight_decay)
    optimizer = adamw(groups, betas=recipe.betas, eps=recipe.eps, device=device)
    scaler = gradient_scaler(precision, device)
    average = None
    if recipe.ema is not None:
        from timm.utils.model_ema import ModelEmaV3

        average = ModelEmaV3(model, decay=recipe.ema)
    return TrainingState(model, optimizer, scaler, average, precision), precision


def autocast_type(amp: str | bool, device: torch.device) -> torch.dtype | None:
    """Return the type that `amp` (off, bf16, fp16) asks for; None for float32.

    Where the device has no bfloat16 of its own, emulating it would cost and not gain: float32 serves; the
    record says so, and so does `say_precision` as a training begins.
    """
    if amp == "fp16":
        return torch.float16
    return torch.bfloat16 if amp == "bf16" and has_bfloat16(device) else None


def say_precision(label: str, amp: str | bool, precision: torch.dtype | None, device: torch.device) -> None:
    """Say so where a training is not in the precision that `amp` asks for."""
    if amp == "bf16" and precision is None:
        say(
            f"{label}: WARNING amp asks for bf16, which {device} has not of its own; this training is in float32"
        )


def name_of(precision: torch.dtype | None) -> str:
    """Return the name of the type of autocast, such as `bfloat16`, as checkpoints and records keep it."""
    return str(precision or torch.float32).removeprefix("torch.")
