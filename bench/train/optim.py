"""AdamW, its parameter groups, and the two learning-rate schedules, as pure functions of the step.

The rate of a step is computed, not remembered: a resumed run needs no scheduler state. A group may carry a
`factor` on the rate (layer-wise decay).
"""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

POSITION_TABLES = ("absolute_pos_embed", "relative_position_bias_table")
"""Swin's position tables, two-dimensional and yet not decayed (microsoft/Swin-Transformer, optimizer.py)."""

STAGES = 4
LEVELS = 8
"""Levels of the official ConvNeXt segmentation recipe: `num_layers` 6, plus 2."""


def decays(name: str, parameter: Tensor) -> bool:
    """Say whether weight decay applies: not to 1-D tensors (norms, layer scale), biases, position tables.

    One rule for both trainings and both networks, that of both pre-trainings and of ConvNeXt's fine-tuning. Swin's
    fine-tuning in mmsegmentation spares the norms of the backbone and the tables alone (`custom_keys`).
    """
    return parameter.ndim > 1 and not name.endswith((".bias", *POSITION_TABLES))


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]],
    *,
    weight_decay: float,
    factor: Callable[[str], float] | None = None,
) -> list[dict[str, Any]]:
    """Sort trainable parameters into AdamW groups by weight decay and rate factor.

    `named` is `model.named_parameters()`; `factor` maps a name to the factor on the rate (unset: 1 for all).
    Groups come in the order in which the parameters do, which does not depend on their values.
    """
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        key = (factor(name) if factor else 1.0, weight_decay if decays(name, parameter) else 0.0)
        fresh = {"params": [], "weight_decay": key[1], "factor": key[0]}
        groups.setdefault(key, fresh)["params"].append(parameter)
    return list(groups.values())


def adamw(
    groups: list[dict[str, Any]], *, betas: tuple[float, float], device: torch.device, eps: float = 1e-8
) -> torch.optim.AdamW:
    """Return AdamW over `groups`, fused where the device has it; `set_lr` gives it its rate."""
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=eps, fused=device.type in ("cpu", "cuda"))


def has_bfloat16(device: torch.device) -> bool:
    """Say whether the device computes in bfloat16 natively, so that autocast to it gains anything."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the rate of every group to `lr` times the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("factor", 1.0)


def cosine_lr(
    step: int, *, steps: int, warmup_steps: int, peak: float, warmup_lr: float, min_lr: float
) -> float:
    """Return the rate of `step` (0-based) under linear warm-up, then a half cosine.

        t < W:  warmup_lr + (peak - warmup_lr) t / W
        else:   min_lr + (peak - min_lr) (1 + cos(pi (t - W) / (T - W))) / 2

    with W warm-up steps of T in all: the warm-up comes before the cosine, as in timm's CosineLRScheduler with
    `warmup_prefix`. Both official recipes deviate from it by at most one step of the warm-up, (peak - warmup_lr) / W:
    ConvNeXt's `cosine_scheduler` divides its warm-up by W - 1 and so has the peak at step W - 1 too; Swin's training
    loop sets the rate after the optimizer's step, so that step t has the rate of t - 1.
    """
    if step < warmup_steps:
        return warmup_lr + (peak - warmup_lr) * step / warmup_steps
    share = (step - warmup_steps) / max(1, steps - warmup_steps)
    return min_lr + (peak - min_lr) * (1 + math.cos(math.pi * share)) / 2


def poly_lr(
    step: int, *, steps: int, warmup_steps: int, peak: float, warmup_factor: float, power: float
) -> float:
    """Return the rate of `step` (0-based) under linear warm-up, then polynomial decay to zero.

        t < W:  peak (warmup_factor + (1 - warmup_factor) t / W)
        else:   peak (1 - (t - W) / (T - W)) ** power

    mmsegmentation's LinearLR followed by PolyLR, but for one step: mmengine divides by W - 1 and T - W - 1,
    so that its last iteration has rate 0 and changes nothing.
    """
    if step < warmup_steps:
        return peak * (warmup_factor + (1 - warmup_factor) * step / warmup_steps)
    return float(peak * (1 - (step - warmup_steps) / max(1, steps - warmup_steps)) ** power)


def convnext_stage_factor(name: str, decay: float) -> float:
    """Return the rate factor of a segmenter's parameter by the official ConvNeXt stage-wise rule.

    decay ** (7 - level), with level 0 for the stem and every downsampling layer, i + 1 for the blocks of
    stage i, and 7 (factor 1) for all else: the output norms, the decode head, the auxiliary head. Levels 5
    and 6 stay empty, as `num_layers` is 6 there (ConvNeXt `mmcv_custom/layer_decay_optimizer_constructor.py`,
    `stage_wise`). Names are timm's under a `backbone.` prefix, with stages written `stages.0` or `stages_0`.
    """
    level = LEVELS - 1
    if re.match(r"backbone\.(.*\.)?(stem[._]|stages[._]\d\.downsample\.)", name):
        level = 0
    elif found := re.match(rf"backbone\.(?:.*\.)?stages[._]([0-{STAGES - 1}])\.", name):
        level = int(found[1]) + 1
    return float(decay ** (LEVELS - 1 - level))
