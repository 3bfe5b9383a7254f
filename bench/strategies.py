"""How an RGB batch becomes an n-channel batch in pre-training.

A strategy only says *which* source channel each output channel shows. That is a channel plan,

    plan[b, j] in {0, 1, 2}      out[b, j] = images[b, plan[b, j]]      b image, j = 0..n-1 output channel,

drawn on the host from an explicit generator and applied on the device by one uint8 `index_select`; the mean
and std of normalisation follow it, `mean[plan]`. A plan is drawn for the *global* batch and a rank or
micro-batch takes its rows, so that the draw of an image depends on its position there and on nothing else.

    rgb         plan[b] = (0, 1, 2)                                 the identity, n = 3
    duplicate   plan[b] = f,            f[j] = j mod 3              R G B R G ...
    csp         plan[b] = f[sigma_b],   sigma_b uniform over S_n    Channel Shuffling Pre-training

The last is arXiv 2604.27704; its fill f is `cycle` (j mod 3, as above) or `random`: each source floor(n / 3)
times, the n mod 3 left over drawn without replacement. A uniform sigma makes every distinct arrangement of f
equally likely. This permutes *input* channels; `torch.nn.ChannelShuffle`, the name notwithstanding, permutes
groups of features and is not used.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bench.errors import BenchError, RequestError
from bench.seeds import seed_for

SOURCES = 3
"""Channels of the pre-training images: red, green, blue."""


def rgb(n: int, images: int, generator: torch.Generator, fill: str, scope: str, probability: float) -> Tensor:
    """Plan the identity for every image: int64 [images, 3]. Raises RequestError unless n is 3."""
    if n != SOURCES:
        raise RequestError(
            f"strategy rgb keeps the {SOURCES} source channels, found n = {n}: use duplicate or csp"
        )
    return natural_order(n).expand(images, n)


def duplicate(
    n: int, images: int, generator: torch.Generator, fill: str, scope: str, probability: float
) -> Tensor:
    """Plan R G B R G ... for every image, no shuffle: int64 [images, n]."""
    return natural_order(n).expand(images, n)


def csp(n: int, images: int, generator: torch.Generator, fill: str, scope: str, probability: float) -> Tensor:
    """Plan a filled and shuffled arrangement for each draw: int64 [images, n].

    There is one draw an image (scope `image`) or one for all of them (`batch`, `epoch`). Each is shuffled
    with `probability` and keeps the fill order otherwise.
    """
    draws = images if scope == "image" else 1
    filled = FILLS[fill](n, draws, generator)
    # argsort of independent uniforms is a uniform permutation; in float64 ties are out of reach (n^2 / 2^54).
    order = torch.rand(draws, n, generator=generator, dtype=torch.float64).argsort(dim=1)
    shuffled = torch.rand(draws, 1, generator=generator, dtype=torch.float64) < probability
    return torch.where(shuffled, filled.gather(1, order), filled).expand(images, n)


STRATEGIES: dict[str, Callable[[int, int, torch.Generator, str, str, float], Tensor]] = {
    "rgb": rgb,
    "duplicate": duplicate,
    "csp": csp,
}
"""Every pre-training strategy: a newcomer is one function and one row."""

SCOPES = ("image", "batch", "epoch")


def natural_order(n: int) -> Tensor:
    """Return the unshuffled arrangement R G B R G ...: int64 [n]. It is the identity for n = 3."""
    return torch.arange(n) % SOURCES


def _fill_cycle(n: int, draws: int, generator: torch.Generator) -> Tensor:
    return natural_order(n).expand(draws, n)


def _fill_random(n: int, draws: int, generator: torch.Generator) -> Tensor:
    rest = torch.rand(draws, SOURCES, generator=generator, dtype=torch.float64).argsort(dim=1)[
        :, : n % SOURCES
    ]
    return torch.cat([natural_order(n - n % SOURCES).expand(draws, -1), rest], dim=1)


FILLS: dict[str, Callable[[int, int, torch.Generator], Tensor]] = {
    "cycle": _fill_cycle,
    "random": _fill_random,
}
"""Which sources are repeated when n is no multiple of 3: int64 [draws, n], before any shuffle."""


def plan_generator(seed: int, *, scope: str, epoch: int, step: int) -> torch.Generator:
    """Return the generator of one step's plan.

    It is keyed by (seed, step), and by (seed, epoch) where the scope is `epoch`, so that all steps of an
    epoch draw the same arrangement.
    """
    key = ("epoch", epoch) if scope == "epoch" else ("step", step)
    return torch.Generator().manual_seed(seed_for("channels", seed, *key))


def channel_plan(
    strategy: str,
    n: int,
    images: int,
    generator: torch.Generator,
    *,
    fill: str = "cycle",
    scope: str = "image",
    probability: float = 1.0,
) -> Tensor:
    """Draw the plan of a global batch: int64 [images, n] of source channels 0..2.

    `images` is the size of the global batch; whoever holds only a part of it draws the whole and takes its
    rows. `fill`, `scope` and `probability` concern csp alone. Raises RequestError for an unknown strategy,
    fill or scope, for n below 3, and for a probability outside [0, 1].
    """
    for name, value, known in (
        ("strategy", strategy, STRATEGIES),
        ("fill", fill, FILLS),
        ("scope", scope, SCOPES),
    ):
        if value not in known:
            raise RequestError(f"{name} {value!r} is not known; there are {', '.join(known)}")
    if n < SOURCES:
        raise RequestError(
            f"strategy {strategy} shows each of {SOURCES} source channels, which n = {n} cannot hold"
        )
    if not 0.0 <= probability <= 1.0:
        raise RequestError(f"probability lies in [0, 1], found {probability}")
    return STRATEGIES[strategy](n, images, generator, fill, scope, probability)


def apply_plan(images_NCHW: Tensor, plan: Tensor) -> Tensor:
    """Arrange channels by a plan: [B, C, H, W] and int64 [B, n] give [B, n, H, W], same dtype and device.

    One `index_select` over the B*C planes; on uint8 it runs at the speed of a copy. Pixels are copied, never
    changed. Raises BenchError if the plan has not one row an image.
    """
    batch, channels, height, width = images_NCHW.shape
    if plan.ndim != 2 or len(plan) != batch:
        raise BenchError(f"a plan has one row an image: found {tuple(plan.shape)} for {batch} images")
    planes = images_NCHW.reshape(batch * channels, height * width)
    rows = (plan + channels * torch.arange(batch).unsqueeze(1)).flatten()
    return planes.index_select(0, rows.to(planes.device)).view(batch, plan.shape[1], height, width)
