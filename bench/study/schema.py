"""The study as frozen dataclasses: every key a study file may hold, with its unit, and the checks on its value.

The classes carry no default for a choice of science that a study should state aloud; defaults are kept for
switches that are off. `None` means unset. Data and recipes have modules of their own beside this one.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from bench.study.checks import distinct, require, within
from bench.study.datasets import Miniature, PretrainData, Target
from bench.study.recipes import Evaluation, FinetuneRecipe, PretrainRecipe

Stem = Literal["repeat", "repeat-normalised", "mean", "copy-red", "zero", "random", "reinit"]
Strategy = Literal["rgb", "duplicate", "csp", "scratch"]
Order = Literal["natural", "reversed", "random"]


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A timm ConvNeXt or Swin by its own numbers; `convnext_tiny` is depths 3-3-9-3, widths 96 to 768."""

    family: Literal["convnext", "swin"]
    depths: tuple[int, ...]
    """Blocks a stage, four stages."""
    widths: tuple[int, ...]
    """Channels a stage; for Swin each is twice the one before."""
    heads: tuple[int, ...] | None = None
    """Attention heads a stage (Swin)."""
    window: int | None = None
    """Attention window in tokens (Swin)."""
    layer_scale: float | None = None
    """Initial weight of each residual branch (ConvNeXt); unset: the paper's 1e-6."""

    def __post_init__(self) -> None:
        require(len(self.depths) == len(self.widths) == 4, "depths and widths need four stages each")
        within(self, "[1, inf)", "depths", "widths", "heads")
        if self.family == "convnext":
            require(self.heads is None and self.window is None, "heads and window belong to swin")
            return
        heads, widths = self.heads or (), self.widths
        require(len(heads) == 4, f"heads are four for swin, found {list(heads)}")
        require(self.window is not None and self.window > 1, "window is at least 2 tokens for swin")
        require(self.layer_scale is None, "layer_scale belongs to convnext")
        doubled = all(b == 2 * a for a, b in pairwise(widths))
        require(doubled, f"widths of swin double from stage to stage, found {list(widths)}")
        whole = all(width % head == 0 for width, head in zip(widths, heads, strict=True))
        require(whole, f"widths {list(widths)} are no multiples of heads {list(heads)}")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What is compared: a strategy (what is pre-trained) and a stem (how its weights meet n channels)."""

    strategy: Strategy
    stem: Stem = "repeat"
    """How three-channel weights become n-channel weights; without effect where the channels agree already."""
    fill: Literal["cycle", "random"] = "cycle"
    """csp: which source channels are repeated when n is no multiple of 3 (R G B R G, or drawn)."""
    scope: Literal["image", "batch", "epoch"] = "image"
    """csp: how often a new order is drawn."""
    probability: float = 1.0
    """csp: share of draws that are shuffled; the others keep the fill order."""
    min_channels: int = 3
    """The arm is run only on targets with at least this many channels."""

    def __post_init__(self) -> None:
        within(self, "[0, 1]", "probability")
        within(self, "[3, 8]", "min_channels")
        if self.strategy != "csp":
            plain = (self.fill, self.scope, self.probability) == ("cycle", "image", 1.0)
            require(plain, f"fill, scope and probability belong to csp, not to {self.strategy}")
        if self.strategy == "scratch":
            require(self.stem == "repeat", "stem: scratch has no weights to adapt")


@dataclass(frozen=True, kw_only=True)
class Repetitions:
    """What is repeated. nested: `finetune` seeds on each of `pretrain` seeds; matched: pairs (k, k)."""

    design: Literal["nested", "matched"]
    pretrain: int
    finetune: int
    """nested: fine-tunings on each pre-training; matched: equal to `pretrain`."""

    def __post_init__(self) -> None:
        within(self, "[1, inf)", "pretrain", "finetune")
        if self.design == "matched":
            require(self.pretrain == self.finetune, "pretrain and finetune are equal when matched")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared, declared before the runs."""

    treatment: str
    """The arm under test."""
    primary: str
    """The baseline arm that decides the claim about the gain."""
    level: float = 0.05
    margin: float
    """Equivalence margin for a reported value, as a fraction (0.005 is half a point)."""
    resamples: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        within(self, "(0, 0.5)", "level")
        within(self, "(0, inf)", "margin")
        within(self, "[100, inf)", "resamples")


@dataclass(frozen=True, kw_only=True)
class Study:
    """One study file."""

    study: str
    """The study's name: its folder in results/."""
    title: str
    scale: Literal["full", "small", "miniature"]
    """Printed on every table, figure and report."""
    seed: int
    """Root of every seed of the study."""
    miniature: Miniature | None = None
    backbones: dict[str, Backbone]
    datasets: dict[str, Target]
    arms: dict[str, Arm]
    repetitions: Repetitions
    pretrain_data: PretrainData
    pretrain: dict[str, PretrainRecipe]
    """Recipe by backbone, `common` laid under each."""
    finetune: dict[str, dict[str, FinetuneRecipe]]
    """Recipe by dataset and backbone: `common`, then `backbones`, then `datasets` laid over each other."""
    evaluate: dict[str, Evaluation]
    orders: tuple[Order, ...] = ("natural", "reversed")
    """Channel orders in which the pre-trained classifiers are read."""
    compare: Comparison

    def __post_init__(self) -> None:
        require(self.study != "published", "study: the name 'published' is taken")
        for key in ("backbones", "datasets", "arms"):
            require(bool(getattr(self, key)), f"{key} holds nothing; a study needs one at least")
        distinct("orders", self.orders, least=1)
        drawn = self.scale == "miniature"
        require((self.miniature is not None) == drawn, "miniature and scale: miniature go together")
        for key in ("treatment", "primary"):
            arm = getattr(self.compare, key)
            require(arm in self.arms, f"compare.{key} {arm!r} is no arm; there are {list(self.arms)}")
        differ = self.compare.treatment != self.compare.primary
        require(differ, "compare.treatment and compare.primary are the same arm")
        sizes = [("miniature.side", self.miniature.side if self.miniature else None, 24)]
        # Both backbones reduce a picture 32 times.
        sizes += [("pretrain.data.size", self.pretrain_data.size, 32)]
        sizes += [
            (f"pretrain (common, backbones.{key}).crop", it.crop, 32) for key, it in self.pretrain.items()
        ]
        for key, side, least in sizes:
            require(side is None or side >= least, f"{key} is at least {least} pixels, found {side}")
        for name in self.datasets:
            require(name not in ("top1", self.pretrain_data.name), f"datasets: the name {name!r} is taken")
            require(name in self.evaluate, f"evaluate lacks {name!r}")
