"""The study as frozen dataclasses: every key a study file may hold, with its unit, and the checks on its value.

The classes carry no default for a choice of science that a study should state aloud; defaults are kept for
switches that are off. `None` means unset. Sources of the values stand in `config/*.yaml` beside them.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

SLOT = r"[a-z0-9][a-z0-9_-]*"
"""What a name that becomes a folder may look like."""
POLICY = r"rand(-(m|n|mmax|inc)\d+|-(mstd|p)\d+(\.\d+)?|-t\w+)+"
"""What a RandAugment policy of timm's may look like."""

Stem = Literal["repeat", "repeat-normalised", "mean", "copy-red", "zero", "random", "reinit"]
Strategy = Literal["rgb", "duplicate", "csp", "scratch"]
Order = Literal["natural", "reversed", "random"]


def _require(condition: bool, message: str) -> None:
    """Raise ValueError; a message begins with the key it is about, which the reader sets its path before."""
    if not condition:
        raise ValueError(message)


def _within(owner: Any, interval: str, *keys: str) -> None:
    """Require that values, or every one of several, lie in an interval such as `[0, 1)`; unset ones pass."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    for key in keys:
        value = getattr(owner, key)
        for part in value if isinstance(value, tuple) else (value,):
            above = part is None or low < part or (part == low and interval[0] == "[")
            below = part is None or part < high or (part == high and interval[-1] == "]")
            _require(above and below, f"{key} lies in {interval}, found {part}")


def _below_root(path: str | None) -> None:
    inside = path is None or (path.strip() != "" and path[0] != "/" and ".." not in path.split("/"))
    _require(inside, f"path lies below the data root: relative and without '..', found {path!r}")


def _distinct(key: str, names: tuple[str, ...], least: int = 0) -> None:
    _require(len(set(names)) == len(names), f"{key} names one twice: {list(names)}")
    _require(len(names) >= least, f"{key} is an empty list; give at least {least}")


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
        _require(len(self.depths) == len(self.widths) == 4, "depths and widths need four stages each")
        _within(self, "[1, inf)", "depths", "widths", "heads")
        if self.family == "convnext":
            _require(self.heads is None and self.window is None, "heads and window belong to swin")
            return
        heads, widths = self.heads or (), self.widths
        _require(len(heads) == 4, f"heads are four for swin, found {list(heads)}")
        _require(self.window is not None and self.window > 1, "window is at least 2 tokens for swin")
        _require(self.layer_scale is None, "layer_scale belongs to convnext")
        doubled = all(b == 2 * a for a, b in pairwise(widths))
        _require(doubled, f"widths of swin double from stage to stage, found {list(widths)}")
        whole = all(width % head == 0 for width, head in zip(widths, heads, strict=True))
        _require(whole, f"widths {list(widths)} are no multiples of heads {list(heads)}")


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
        _within(self, "[0, 1]", "probability")
        _within(self, "[3, 8]", "min_channels")
        if self.strategy != "csp":
            plain = (self.fill, self.scope, self.probability) == ("cycle", "image", 1.0)
            _require(plain, f"fill, scope and probability belong to csp, not to {self.strategy}")
        if self.strategy == "scratch":
            _require(self.stem == "repeat", "stem: scratch has no weights to adapt")


@dataclass(frozen=True, kw_only=True)
class Target:
    """One segmentation dataset of the study, with its protocol."""

    source: str | None = None
    """Catalogue entry, or `folder` for data of one's own; unset: the key itself."""
    path: str | None = None
    """folder: where the data are, below the data root."""
    description: str | None = None
    """folder: the `dataset.yaml` with channels and classes, from the working folder; its content is in the digest."""
    channels: tuple[str, ...]
    """The network's input channels, in this order."""
    split: str = "official"
    """Named split protocol of the catalogue."""
    labels: str = "full"
    """Label variant for training (Potsdam: full or eroded)."""

    def __post_init__(self) -> None:
        _distinct("channels", self.channels)
        _require(3 <= len(self.channels) <= 8, f"channels are 3 to 8, found {len(self.channels)}")
        own = self.source == "folder"
        _require((self.path is not None) == own, "path belongs to source: folder, and it needs one")
        _below_root(self.path)
        _require(
            (self.description is not None) == own, "description belongs to source: folder, and it needs one"
        )


@dataclass(frozen=True, kw_only=True)
class PretrainData:
    """The classification dataset and the form in which it is stored."""

    source: str
    """`imagenet1k` (the archives as published) or `folders` ({train,val}/<synset>/ image folders)."""
    path: str | None = None
    """folders: where the data are, below the data root."""
    form: Literal["encoded", "decoded"] = "encoded"
    """encoded: JPEG bytes in one packed file; decoded: uint8 arrays of `size` pixels a side."""
    size: int | None = None
    """decoded: side in pixels (short side resized, centre cut)."""

    def __post_init__(self) -> None:
        known = self.source in ("imagenet1k", "folders")
        _require(known, f"source is imagenet1k or folders, found {self.source!r}")
        own, decoded = self.source == "folders", self.form == "decoded"
        _require((self.path is not None) == own, "path belongs to source: folders, and it needs one")
        _below_root(self.path)
        slot = re.fullmatch(SLOT, self.name) is not None
        _require(slot, f"path names a folder of results (letters, digits, /, - and _), found {self.path!r}")
        _require((self.size is not None) == decoded, "size belongs to form: decoded, and it needs one")

    @property
    def name(self) -> str:
        """The folder name of this dataset in results/<study>/data/."""
        return self.source if self.path is None else self.path.strip("/").replace("/", "-").lower()


@dataclass(frozen=True, kw_only=True)
class PretrainRecipe:
    """Hyper-parameters of supervised classification."""

    epochs: int
    batch_size: int
    """Images in the global batch."""
    crop: int
    """Side of the training crop and of the evaluation crop in pixels."""
    lr: float
    """Peak learning rate at `batch_size`."""
    weight_decay: float
    """Not applied to 1-D tensors, biases and position tables."""
    warmup_epochs: float
    warmup_lr: float = 0.0
    min_lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    drop_path: float
    label_smoothing: float
    mixup: float = 0.0
    """Beta parameter; 0 is off."""
    cutmix: float = 0.0
    """Beta parameter; 0 is off."""
    scale_min: float = 0.08
    """Smallest share of the area in RandomResizedCrop."""
    randaugment: str | None = None
    """timm policy such as rand-m9-mstd0.5-inc1."""
    erasing: float = 0.0
    """Probability of random erasing."""
    clip_grad: float | None = None
    ema: float | None = None
    """Decay of the weight average that is evaluated and handed on; unset: none."""
    eval_ratio: float = 0.875
    """Centre crop over resized short side at evaluation."""
    amp: bool = False
    """bfloat16 autocast where the device has it."""

    def __post_init__(self) -> None:
        _within(self, "[1, inf)", "epochs", "batch_size", "crop")
        _within(self, f"[0, {self.epochs})", "warmup_epochs")
        _within(self, "(0, inf)", "lr", "clip_grad")
        _within(self, f"[0, {self.lr}]", "min_lr", "warmup_lr")
        _within(self, "[0, inf)", "weight_decay", "mixup", "cutmix")
        _within(self, "[0, 1)", "drop_path", "label_smoothing", "erasing", "betas")
        _within(self, "(0, 1)", "ema")
        _within(self, "(0, 1]", "scale_min", "eval_ratio")
        policy = self.randaugment
        named = policy is None or re.fullmatch(POLICY, policy) is not None
        _require(named, f"randaugment is a policy such as rand-m9-mstd0.5-inc1, found {policy!r}")


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe:
    """Hyper-parameters of UperNet fine-tuning, counted in iterations."""

    iterations: int
    batch_size: int
    crop: int
    """Side of the square training crop in pixels."""
    lr: float
    weight_decay: float
    """Not applied to 1-D tensors, biases and position tables."""
    warmup_iterations: int
    warmup_factor: float = 1e-6
    power: float = 1.0
    """Exponent of the polynomial decay to zero."""
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: float | None = None
    """Stage-wise learning-rate decay of the official ConvNeXt recipe; unset: none."""
    drop_path: float
    dropout: float = 0.1
    head_channels: int = 512
    aux_channels: int = 256
    aux_weight: float = 0.4
    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    scale_range: tuple[float, float] = (0.5, 2.0)
    """Random resize ratio before the crop."""
    max_class_share: float = 0.75
    """A crop with more than this share of one class is drawn again, ten times at most."""
    flip: float = 0.5
    photometric: bool = False
    """Photometric distortion on the RGB planes."""
    clip_grad: float | None = None
    amp: bool = False

    def __post_init__(self) -> None:
        _within(self, "[1, inf)", "iterations", "crop", "head_channels", "aux_channels", "pool_scales")
        # Batch norm over the 1 x 1 pooled map has one value a channel and picture: one picture has no variance.
        _within(self, "[2, inf)", "batch_size")
        _within(self, f"[0, {self.iterations})", "warmup_iterations")
        _within(self, "(0, inf)", "lr", "power", "clip_grad", "scale_range")
        _within(self, "[0, inf)", "weight_decay", "aux_weight")
        _within(self, "[0, 1)", "drop_path", "dropout", "betas")
        _within(self, "[0, 1]", "warmup_factor", "flip")
        _within(self, "(0, 1]", "layer_decay", "max_class_share")
        _require(self.scale_range[0] <= self.scale_range[1], "scale_range is low, high with low <= high")
        _require(bool(self.pool_scales), "pool_scales is an empty list; give at least 1")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How one target is predicted and scored."""

    pixels: tuple[str, ...]
    """Pixel rules counted side by side: a label variant such as full or eroded."""
    primary: str
    """The pixel rule of the headline number."""
    metric: Literal["mIoU", "mF1"]
    """The headline metric."""
    leave_out: tuple[str, ...] = ()
    """Classes left out of the headline mean (their pixels still count as errors of the others)."""
    window: int
    """Side of the sliding window in pixels."""
    stride: int

    def __post_init__(self) -> None:
        _distinct("pixels", self.pixels, least=1)
        _distinct("leave_out", self.leave_out)
        named = self.primary in self.pixels
        _require(named, f"primary {self.primary!r} is not among pixels {list(self.pixels)}")
        _within(self, "[1, inf)", "window")
        _within(self, f"[1, {self.window}]", "stride")


@dataclass(frozen=True, kw_only=True)
class Repetitions:
    """What is repeated. nested: `finetune` seeds on each of `pretrain` seeds; matched: pairs (k, k)."""

    design: Literal["nested", "matched"]
    pretrain: int
    finetune: int
    """nested: fine-tunings on each pre-training; matched: equal to `pretrain`."""

    def __post_init__(self) -> None:
        _within(self, "[1, inf)", "pretrain", "finetune")
        if self.design == "matched":
            _require(self.pretrain == self.finetune, "pretrain and finetune are equal when matched")


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
        _within(self, "(0, 0.5)", "level")
        _within(self, "(0, inf)", "margin")
        _within(self, "[100, inf)", "resamples")


@dataclass(frozen=True, kw_only=True)
class Miniature:
    """Sizes of the drawn archives; nothing but `scale: miniature` studies has them."""

    seed: int
    train_images: int
    """ImageNet: training images a class."""
    val_images: int
    """ImageNet: validation images a class."""
    scenes: int
    """Targets: training scenes each; a third as many for each other split (at least two)."""
    side: int
    """Side of the classification images in pixels; scenes are a small multiple of it."""

    def __post_init__(self) -> None:
        _within(self, "[1, inf)", "train_images", "val_images", "side")
        _within(self, "[2, inf)", "scenes")


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
        _require(self.study != "published", "study: the name 'published' is taken")
        for key in ("backbones", "datasets", "arms"):
            _require(bool(getattr(self, key)), f"{key} holds nothing; a study needs one at least")
        _distinct("orders", self.orders, least=1)
        drawn = self.scale == "miniature"
        _require((self.miniature is not None) == drawn, "miniature and scale: miniature go together")
        for key in ("treatment", "primary"):
            arm = getattr(self.compare, key)
            _require(arm in self.arms, f"compare.{key} {arm!r} is no arm; there are {list(self.arms)}")
        differ = self.compare.treatment != self.compare.primary
        _require(differ, "compare.treatment and compare.primary are the same arm")
        sizes = [("miniature.side", self.miniature.side if self.miniature else None, 24)]
        # Both backbones reduce a picture 32 times.
        sizes += [("pretrain.data.size", self.pretrain_data.size, 32)]
        sizes += [
            (f"pretrain (common, backbones.{key}).crop", it.crop, 32) for key, it in self.pretrain.items()
        ]
        for key, side, least in sizes:
            _require(side is None or side >= least, f"{key} is at least {least} pixels, found {side}")
        for name in self.datasets:
            _require(name not in ("top1", self.pretrain_data.name), f"datasets: the name {name!r} is taken")
            _require(name in self.evaluate, f"evaluate lacks {name!r}")
