"""The study as frozen dataclasses: every key a study file may hold, with its unit, and the checks on its value.

The classes carry no default for a choice of science that a study should state aloud; defaults are kept for
switches that are off. `None` means unset. Sources of the values stand in `config/*.yaml` beside them.
"""

from dataclasses import dataclass
from typing import Literal

from bench.catalog import CATALOG

SLOT = r"[a-z0-9][a-z0-9_+-]*"
"""What a name that becomes a folder may look like."""

Stem = Literal["repeat", "repeat-normalised", "mean", "copy-red", "zero", "random", "reinit"]
Strategy = Literal["rgb", "duplicate", "csp", "scratch"]
Order = Literal["natural", "reversed", "random"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


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
        if self.family == "swin":
            _require(self.heads is not None and len(self.heads) == 4, "swin needs four heads")
            _require(self.window is not None and self.window > 1, "swin needs a window of at least 2 tokens")
            _require(self.layer_scale is None, "layer_scale belongs to convnext")
            doubled = all(b == 2 * a for a, b in zip(self.widths, self.widths[1:], strict=False))
            _require(doubled, f"swin doubles its width from stage to stage, found {list(self.widths)}")
        else:
            _require(self.heads is None and self.window is None, "heads and window belong to swin")


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
        _require(0.0 <= self.probability <= 1.0, f"probability lies in [0, 1], found {self.probability}")
        _require(3 <= self.min_channels <= 8, f"min_channels lies in 3..8, found {self.min_channels}")
        if self.strategy != "csp":
            plain = (self.fill, self.scope, self.probability) == ("cycle", "image", 1.0)
            _require(plain, f"fill, scope and probability belong to csp, not to {self.strategy}")
        if self.strategy == "scratch":
            _require(self.stem == "repeat", "scratch has no weights for a stem to adapt")


@dataclass(frozen=True, kw_only=True)
class Target:
    """One segmentation dataset of the study, with its protocol."""

    source: str | None = None
    """Catalogue entry, or `folder` for data of one's own; unset: the key itself."""
    path: str | None = None
    """folder: where the data are, below the data root."""
    description: str | None = None
    """folder: the `dataset.yaml` with channels and classes, relative to the working folder; unset: at `path`."""
    channels: tuple[str, ...]
    """The network's input channels, in this order."""
    split: str = "official"
    """Named split protocol of the catalogue."""
    labels: str = "full"
    """Label variant for training (Potsdam: full or eroded)."""

    def __post_init__(self) -> None:
        _require(
            len(set(self.channels)) == len(self.channels), f"a channel is named twice: {list(self.channels)}"
        )
        _require(3 <= len(self.channels) <= 8, f"3 to 8 channels are supported, found {len(self.channels)}")
        _require(
            (self.path is not None) == (self.source == "folder"),
            "path belongs to source: folder, and it needs one",
        )
        _require(self.description is None or self.source == "folder", "description belongs to source: folder")


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
        _require(
            self.source in ("imagenet1k", "folders"),
            f"source is imagenet1k or folders, found {self.source!r}",
        )
        _require(
            (self.path is not None) == (self.source == "folders"),
            "path belongs to source: folders, and it needs one",
        )
        _require(
            (self.size is not None) == (self.form == "decoded"),
            "size belongs to form: decoded, and it needs one",
        )

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
        _require(
            self.epochs > 0 and self.batch_size > 0 and self.crop > 0,
            "epochs, batch_size and crop are positive",
        )
        _require(0 <= self.warmup_epochs < self.epochs, f"warmup_epochs lies in [0, {self.epochs})")
        _require(self.lr > 0 and 0 <= self.min_lr <= self.lr, "0 <= min_lr <= lr, and lr > 0")
        for name in ("drop_path", "label_smoothing", "erasing"):
            _require(0 <= getattr(self, name) < 1, f"{name} lies in [0, 1), found {getattr(self, name)}")
        _require(
            0 < self.scale_min <= 1 and 0 < self.eval_ratio <= 1, "scale_min and eval_ratio lie in (0, 1]"
        )


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
        _require(
            self.iterations > 0 and self.batch_size > 0 and self.crop > 0,
            "iterations, batch_size and crop are positive",
        )
        _require(
            0 <= self.warmup_iterations < self.iterations, f"warmup_iterations lies in [0, {self.iterations})"
        )
        _require(self.lr > 0, "lr is positive")
        _require(
            0 < self.scale_range[0] <= self.scale_range[1], "scale_range is low, high with 0 < low <= high"
        )
        for name in ("drop_path", "dropout"):
            _require(0 <= getattr(self, name) < 1, f"{name} lies in [0, 1), found {getattr(self, name)}")
        _require(self.layer_decay is None or 0 < self.layer_decay <= 1, "layer_decay lies in (0, 1]")


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
        _require(
            self.primary in self.pixels, f"primary {self.primary!r} is not among pixels {list(self.pixels)}"
        )
        _require(
            0 < self.stride <= self.window, f"0 < stride <= window, found {self.stride} and {self.window}"
        )


@dataclass(frozen=True, kw_only=True)
class Repetitions:
    """What is repeated. nested: `finetune` seeds on each of `pretrain` seeds; matched: pairs (k, k)."""

    design: Literal["nested", "matched"]
    pretrain: int
    finetune: int
    """nested: fine-tunings on each pre-training; matched: equal to `pretrain`."""

    def __post_init__(self) -> None:
        _require(self.pretrain > 0 and self.finetune > 0, "at least one repetition")
        if self.design == "matched":
            _require(self.pretrain == self.finetune, "matched: pretrain and finetune are equal")


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
        _require(0 < self.level < 0.5, f"level lies in (0, 0.5), found {self.level}")
        _require(self.margin > 0, "margin is positive")
        _require(self.resamples >= 100, "at least 100 resamples")


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
        _require(
            bool(self.backbones) and bool(self.datasets) and bool(self.arms),
            "a study needs backbones, datasets and arms",
        )
        _require(
            (self.miniature is not None) == (self.scale == "miniature"),
            "miniature sizes and scale: miniature go together",
        )
        _require(
            self.compare.treatment in self.arms, f"compare.treatment {self.compare.treatment!r} is no arm"
        )
        _require(self.compare.primary in self.arms, f"compare.primary {self.compare.primary!r} is no arm")
        _require(
            self.compare.treatment != self.compare.primary,
            "compare.treatment and compare.primary are the same arm",
        )
        for name, target in self.datasets.items():
            _require(name not in ("top1", self.pretrain_data.name), f"datasets: the name {name!r} is taken")
            _require(name in self.evaluate, f"evaluate lacks {name!r}")
            _check_target(name, target, self.evaluate[name])


def _check_target(name: str, target: Target, evaluation: Evaluation) -> None:
    source = target.source or name
    if source == "folder":
        return
    known = {key for key, entry in CATALOG.items() if entry.kind == "segmentation"}
    _require(
        source in known,
        f"datasets.{name}: {source!r} is no catalogue entry; there are {sorted(known)} and folder",
    )
    entry = CATALOG[source]
    channels = [channel.name for channel in entry.channels]
    for channel in target.channels:
        _require(
            channel in channels, f"datasets.{name}: {source} has no channel {channel!r}; it has {channels}"
        )
    _require(
        target.split in entry.split_protocols,
        f"datasets.{name}: split is one of {list(entry.split_protocols)}, found {target.split!r}",
    )
    _require(
        target.labels in entry.label_variants,
        f"datasets.{name}: labels is one of {list(entry.label_variants)}, found {target.labels!r}",
    )
    for rule in evaluation.pixels:
        known_rules = list(entry.label_variants)
        _require(rule in known_rules, f"evaluate.{name}: pixels are among {known_rules}, found {rule!r}")
    for left_out in evaluation.leave_out:
        names = [item.name for item in entry.classes]
        _require(
            left_out in names,
            f"evaluate.{name}: leave_out {left_out!r} is no class of {source}; it has {names}",
        )
