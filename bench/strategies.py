"""How an RGB batch becomes an n-channel batch in pre-training.

Every strategy starts from the filled arrangement f[j] in {R, G, B}, j = 0..n-1: `cycle`, f[j] = j mod 3 (R G B R G
...), or `random`, each source floor(n / 3) times and the n mod 3 left over drawn without replacement. It
returns a *plan* that says what each output channel j of image b shows. A selection plan names one source,

    plan[b, j] in {0, 1, 2}              out[b, j] = images[b, plan[b, j]]

and a weighted plan mixes them, with weights w >= 0 that sum to one over the sources c:

    plan[b, j, c] = w[b, j, c]           out[b, j] = sum_c w[b, j, c] images[b, c]

    rgb         plan[b] = (0, 1, 2)                                  the identity, n = 3
    duplicate   plan[b] = f                                          repeated, never shuffled
    csp         plan[b] = f[sigma_b],     sigma_b uniform over S_n   Channel Shuffling Pre-training
    sample      plan[b, j]                uniform over {0, 1, 2}     drawn with replacement, independently
    grey        w[b, j] = (1, 1, 1) / 3                              the channel mean, repeated
    weights     w[b, j]                   uniform over the simplex   Dirichlet(1, 1, 1), independently

csp is arXiv 2604.27704; what the paper leaves open is a setting: `fill`; `scope`, one draw an image, a batch or an
epoch; `probability`, the share of draws that are used (the others keep f). A uniform sigma makes every distinct
arrangement of f equally likely. It permutes *input* channels; `torch.nn.ChannelShuffle`, the name
notwithstanding, permutes groups of features and is not used.

A plan is drawn on the host, from an explicit generator, for the *global* batch; a rank or micro-batch takes its
rows, so that an image's draw depends on its position there and on nothing else. Applying one is a single
uint8 `index_select` on the device (weighted: three multiply-adds).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bench.errors import BenchError, RequestError
from bench.seeds import seed_for

SOURCES = 3
"""Channels of the pre-training images: red, green, blue."""


def rgb(filled: Tensor, generator: torch.Generator) -> Tensor:
    """Keep red, green, blue. Raises RequestError unless n is 3."""
    if (n := filled.shape[1]) != SOURCES:
        raise RequestError(
            f"strategy rgb keeps the {SOURCES} source channels, found n = {n}: use duplicate or csp"
        )
    return filled


def duplicate(filled: Tensor, generator: torch.Generator) -> Tensor:
    """Keep the filled arrangement: repetition without a shuffle."""
    return filled


def csp(filled: Tensor, generator: torch.Generator) -> Tensor:
    """Shuffle each arrangement by a permutation that is uniform over S_n."""
    # argsort of independent uniforms is one; in float64 ties are out of reach (n^2 / 2^54).
    order = torch.rand(filled.shape, generator=generator, dtype=torch.float64).argsort(dim=1)
    return filled.gather(1, order)


def sample(filled: Tensor, generator: torch.Generator) -> Tensor:
    """Draw each output channel from the three sources, with replacement: some images lose a source."""
    return torch.randint(SOURCES, filled.shape, generator=generator)


def grey(filled: Tensor, generator: torch.Generator) -> Tensor:
    """Show the mean of red, green and blue in every channel: no colour, n times the same plane."""
    return torch.full((*filled.shape, SOURCES), 1 / SOURCES)


def weights(filled: Tensor, generator: torch.Generator) -> Tensor:
    """Mix the sources in each output channel with weights that are uniform over the simplex."""
    # Independent exponentials divided by their sum are Dirichlet(1, 1, 1).
    drawn = torch.empty(*filled.shape, SOURCES, dtype=torch.float64).exponential_(generator=generator)
    return (drawn / drawn.sum(-1, keepdim=True)).float()


STRATEGIES: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "rgb": rgb,
    "duplicate": duplicate,
    "csp": csp,
    "sample": sample,
    "grey": grey,
    "weights": weights,
}
"""Every strategy by name: (filled arrangements int64 [draws, n], generator) -> plans. A newcomer is one function
and one row, here and in the contract suite.
"""

SCOPES = ("image", "batch", "epoch")


def natural_order(n: int) -> Tensor:
    """Return the unshuffled arrangement R G B R G ...: int64 [n]. It is the identity for n = 3."""
    return torch.arange(n) % SOURCES


def _fill_cycle(n: int, draws: int, generator: torch.Generator) -> Tensor:
    return natural_order(n).expand(draws, n)


def _fill_random(n: int, draws: int, generator: torch.Generator) -> Tensor:
    order = torch.rand(draws, SOURCES, generator=generator, dtype=torch.float64).argsort(dim=1)
    return torch.cat([natural_order(n - n % SOURCES).expand(draws, -1), order[:, : n % SOURCES]], dim=1)


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
    """Draw the plan of a global batch: int64 [images, n] of sources 0..2, or float32 [images, n, 3] of weights.

    `images` is the size of the global batch; whoever holds only a part of it draws the whole and takes its
    rows. Which draws a `probability` keeps is drawn last, so that those kept are what probability 1 would
    show. Raises RequestError for an unknown strategy, fill or scope, for n below 3, and for a probability
    outside [0, 1].
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
    draws = images if scope == "image" else 1
    filled = FILLS[fill](n, draws, generator)
    plan = STRATEGIES[strategy](filled, generator)
    if probability < 1.0:
        kept = torch.rand(draws, generator=generator, dtype=torch.float64) < probability
        plan = torch.where(
            kept.view(-1, *[1] * (plan.ndim - 1)), plan, filled if plan.ndim == 2 else mixing(filled)
        )
    return plan.expand(images, *plan.shape[1:])


def strategy_order(strategy: str, order: Tensor) -> Tensor:
    """Return what a strategy makes of an arrangement at evaluation: int64 [n], or float32 [n, 3] of weights.

    `grey` has its mean of the three sources in every channel, all that its network has ever seen. Every other
    strategy has the arrangement itself, which it draws too (`weights`: a corner of its simplex).
    """
    return STRATEGIES[strategy](order[None], torch.Generator())[0] if strategy == "grey" else order


def mixing(plan: Tensor) -> Tensor:
    """Return any plan as weights, float32 [B, n, 3]: the weights of a selection are 1 at its source, else 0."""
    return plan if plan.ndim == 3 else torch.nn.functional.one_hot(plan, SOURCES).float()


def apply_plan(images_NCHW: Tensor, plan: Tensor) -> Tensor:
    """Arrange channels by a plan: [B, 3, H, W] gives [B, n, H, W] on the same device.

    A selection [B, n] keeps the dtype and copies pixels, by one `index_select` over the B*3 planes, on uint8 at
    some 1.2 times a plain copy. Weights [B, n, 3] give float32, by multiply-adds and not by a matrix product:
    these round alike on every device and in every split of the batch, whatever precision is allowed to
    products. Raises BenchError if the plan has not one row an image.
    """
    batch, channels, height, width = images_NCHW.shape
    if plan.ndim not in (2, 3) or len(plan) != batch:
        raise BenchError(f"a plan has one row an image: found {tuple(plan.shape)} for {batch} images")
    if plan.ndim == 3:
        share = plan.to(images_NCHW.device, non_blocking=True)[..., None, None]
        source = images_NCHW.float().unsqueeze(1)
        mixed = share[:, :, 0] * source[:, :, 0]
        for c in range(1, channels):
            mixed.addcmul_(share[:, :, c], source[:, :, c])
        return mixed
    planes = images_NCHW.reshape(batch * channels, height * width)
    rows = (plan + channels * torch.arange(batch).unsqueeze(1)).flatten()
    return planes.index_select(0, rows.to(planes.device, non_blocking=True)).view(batch, -1, height, width)


def statistics(plan: Tensor, mean: Tensor, std: Tensor, normalise: str = "follow") -> tuple[Tensor, Tensor]:
    """Return the mean and std, float32 [B, n] each, that normalise what a plan shows.

    `mean` and `std` are the sources', [3]. `follow`: each output channel has the statistics of what it shows,
    mean[plan] and std[plan]; of a mixture sum_c w_c mean_c and sum_c w_c std_c (its std if the sources were
    perfectly correlated, and never less than its true one). `position`: output channel j has those of source
    j mod 3 whatever it shows, so that a shuffled channel keeps its colour's offset. Raises RequestError for
    another name.
    """
    if normalise not in ("follow", "position"):
        raise RequestError(f"normalise {normalise!r} is not known; there are follow, position")
    if normalise == "position":
        plan = natural_order(plan.shape[1]).expand(plan.shape[:2])
    if plan.ndim == 2:
        return mean[plan], std[plan]
    return (plan * mean).sum(-1), (plan * std).sum(-1)
