"""The initial value of every tensor, each from its own generator.

One running generator would give two models that differ in a single layer different values in all that follow.
Here a tensor's seed is a hash of (role, root seed, repetition, tensor name), so that two models agree in
every tensor that they have in common, whatever else they hold and whatever the global random state is.

Distributions are the field's: timm's for the backbones (ConvNeXt: `timm/models/convnext.py`; Swin:
`timm/models/swin_transformer.py`, where the patch convolution keeps PyTorch's default), mmsegmentation's for
the heads (`ConvModule`: Kaiming normal, fan out; last convolution: normal, standard deviation 0.01).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.seeds import seed_for

Fill = Callable[[Tensor, torch.Generator], object]

LAYER_SCALE = 1e-6
"""ConvNeXt's initial weight of each residual branch."""

_NORM = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0, "num_batches_tracked": 0.0}


def initialise(
    model: nn.Module, role: str, root_seed: int, repetition: int, *, layer_scale: float | None = None
) -> None:
    """Set every parameter and persistent buffer of `model` in place; `layer_scale` is ConvNeXt's (unset: 1e-6).

    Tensor `name` is drawn on the CPU in float32 from a generator seeded with `seed_for(role, root_seed,
    repetition, name)` and copied to where the model lives: device, order and global state have no influence.
    Raises BenchError if a tensor has no rule, so that a new layer cannot start at whatever its class left
    there.
    """
    for name, tensor in model.state_dict().items():
        fill = _rule(model, name, LAYER_SCALE if layer_scale is None else layer_scale)
        generator = torch.Generator().manual_seed(seed_for(role, root_seed, repetition, name))
        value = torch.empty(tensor.shape, dtype=torch.float32)
        fill(value, generator)
        tensor.copy_(value)


def _rule(model: nn.Module, name: str, layer_scale: float) -> Fill:
    """Return the rule that fills the tensor called `name`."""
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    if isinstance(module, nn.LayerNorm | nn.BatchNorm2d) and leaf in _NORM:
        return _constant(_NORM[leaf])
    if leaf == "gamma":
        return _constant(layer_scale)
    if leaf == "relative_position_bias_table":
        return _truncated_normal
    if isinstance(module, nn.Conv2d | nn.Linear) and leaf in ("weight", "bias"):
        return _layer_rule(module, path, leaf)
    raise BenchError(
        f"{name}: no rule for the initial value of {leaf} in {type(module).__name__}; "
        "add one to bench/models/initial.py"
    )


def _layer_rule(module: nn.Conv2d | nn.Linear, path: str, leaf: str) -> Fill:
    if path.endswith("patch_embed.proj"):
        # Swin's own initialisation passes over its convolution, which so keeps PyTorch's default.
        return _uniform(1 / math.sqrt(math.prod(module.weight.shape[1:])))
    if leaf == "bias":
        return _constant(0.0)
    if path.startswith(("decode_head.", "auxiliary_head.")):
        return _classifier_normal if path.endswith(".classifier") else _kaiming_normal
    return _truncated_normal


def _constant(value: float) -> Fill:
    return lambda tensor, generator: tensor.fill_(value)


def _uniform(bound: float) -> Fill:
    return lambda tensor, generator: tensor.uniform_(-bound, bound, generator=generator)


def _truncated_normal(tensor: Tensor, generator: torch.Generator) -> None:
    # Cut at -2 and 2, not at two standard deviations: timm's bounds, far out of reach.
    nn.init.trunc_normal_(tensor, std=0.02, a=-2.0, b=2.0, generator=generator)


def _kaiming_normal(tensor: Tensor, generator: torch.Generator) -> None:
    nn.init.kaiming_normal_(tensor, mode="fan_out", nonlinearity="relu", generator=generator)


def _classifier_normal(tensor: Tensor, generator: torch.Generator) -> None:
    nn.init.normal_(tensor, std=0.01, generator=generator)
