"""Hyper-parameters of a study as frozen dataclasses: pre-training, fine-tuning, evaluation.

Sources of the values stand in `config/*.yaml` beside them.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bench.study.checks import below_root, distinct, hexadecimal, require, within

SPECTRAL = r"reversed|mean|orders:[1-9]\d*|(gain|offset):-?\d+(\.\d+)?"
"""What a disturbance of the spectral suite looks like."""
POLICY = r"rand(-(m|n|mmax|inc)\d+|-(mstd|p)\d+(\.\d+)?|-t\w+)+"
"""What a RandAugment policy of timm's may look like."""


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
    """Epochs of linear warm-up, which comes before the cosine; `warmup` is what a shorter budget makes of them."""
    published_epochs: int | None = None
    """Epochs of the recipe that `warmup_epochs` belongs to; unset: `epochs`."""
    warmup_lr: float = 0.0
    """Rate of the first step."""
    min_lr: float
    """Rate at which the cosine would arrive one step after the last."""
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    drop_path: float
    label_smoothing: float
    mixup: float = 0.0
    """Beta parameter; 0 is off."""
    cutmix: float = 0.0
    """Beta parameter; 0 is off."""
    mix_probability: float = 1.0
    """Share of batches that are mixed at all."""
    mix_switch: float = 0.5
    """Share of cutmix among them where mixup and cutmix are both on."""
    scale_min: float = 0.08
    """Smallest share of the area in RandomResizedCrop."""
    randaugment: str | None = None
    """timm policy such as rand-m9-mstd0.5-inc1."""
    resize: Literal["pillow", "torch"] = "pillow"
    """What resizes photographs: pillow as in the published recipes; torch is faster and rounds otherwise."""
    erasing: float = 0.0
    """Probability of random erasing: one box an image, normal noise."""
    clip_grad: float | None = None
    """Largest L2 norm of the whole gradient; unset: no clipping."""
    ema: float | None = None
    """Decay of the average of the weights, updated each step; unset: none."""
    hand_on: Literal["average", "last"] = "average"
    """ema: which weights the fine-tunings start from and the later evaluations read."""
    eval_ratio: float = 0.875
    """Centre crop over resized short side at evaluation."""
    amp: Literal[True, False, "off", "bf16", "fp16"] = "off"
    """Autocast: bf16 where the device has it, fp16 with scaled gradients; true is bf16, false is off."""
    mix_block: int | None = None
    """Neighbouring positions of the global batch that mixup and cutmix pair among; unset: the whole batch."""
    compile: bool = False
    """torch.compile of the network: other kernels, so other roundings."""
    validate_every: int = 0
    """Epochs between looks at the validation images, which are logged and choose nothing; 0: at the end only."""

    def __post_init__(self) -> None:
        if isinstance(self.amp, bool):
            object.__setattr__(self, "amp", "bf16" if self.amp else "off")
        within(self, "[1, inf)", "epochs", "batch_size", "crop", "mix_block")
        within(self, "[0, inf)", "validate_every")
        within(self, "[1, inf)", "published_epochs")
        within(self, f"[0, {self.published_epochs or self.epochs})", "warmup_epochs")
        within(self, "(0, inf)", "lr", "clip_grad", "eps")
        within(self, f"[0, {self.lr}]", "min_lr", "warmup_lr")
        within(self, "[0, 1]", "mix_probability", "mix_switch")
        within(self, "[0, inf)", "weight_decay", "mixup", "cutmix")
        within(self, "[0, 1)", "drop_path", "label_smoothing", "erasing", "betas")
        within(self, "(0, 1)", "ema")
        within(self, "(0, 1]", "scale_min", "eval_ratio")
        policy = self.randaugment
        named = policy is None or re.fullmatch(POLICY, policy) is not None
        require(named, f"randaugment is a policy such as rand-m9-mstd0.5-inc1, found {policy!r}")
        require(
            self.batch_size % self.mixed_together == 0,
            f"mix_block divides batch_size ({self.batch_size}), found {self.mix_block}",
        )
        require(
            self.hand_on == "average" or self.ema is not None, "hand_on: last belongs to ema, which is unset"
        )

    @property
    def mixed_together(self) -> int:
        """Neighbouring images of the global batch that mixup and cutmix pair among: `mix_block`, or the whole batch."""
        return self.mix_block or self.batch_size

    @property
    def warmup(self) -> float:
        """Epochs of warm-up at this budget: the same share of `epochs` as of the published recipe's."""
        return self.warmup_epochs * self.epochs / (self.published_epochs or self.epochs)

    @property
    def spec(self) -> dict[str, Any]:
        """The recipe as it enters a digest: settings that train the same weights are written alike.

        Looks at the validation images choose nothing and are left out; of the two keys that make it stands the
        warm-up alone; a `mix_block` of the whole batch is an unset one.
        """
        left_out = ("validate_every", "warmup_epochs", "published_epochs")
        kept = {key: value for key, value in asdict(self).items() if key not in left_out}
        return kept | {
            "warmup": self.warmup,
            "mix_block": None if self.mix_block == self.batch_size else self.mix_block,
        }


@dataclass(frozen=True, kw_only=True)
class Published:
    """Published ImageNet-1K weights that stand in for a backbone's `rgb` pre-training."""

    timm: str | None = None
    """timm's name with its tag, such as convnext_tiny.fb_in1k; downloaded when needed."""
    path: str | None = None
    """A .safetensors, .pth, .pt or .bin file below the data root, in timm's or the authors' own names."""
    sha256: str | None = None
    """Digest of the file, 64 hex digits; path needs one, and with timm it pins what is downloaded."""

    def __post_init__(self) -> None:
        require(
            (self.timm is None) != (self.path is None), "timm or path: exactly one of them names the weights"
        )
        named = self.timm is None or re.fullmatch(r"\w+\.[\w.-]+", self.timm) is not None
        require(named, f"timm is a model with its tag, such as convnext_tiny.fb_in1k, found {self.timm!r}")
        below_root(self.path)
        known = (".safetensors", ".pth", ".pt", ".bin")
        require(
            self.path is None or self.path.endswith(known),
            f"path ends in {', '.join(known)}, found {self.path!r}",
        )
        require(self.path is None or self.sha256 is not None, "sha256 is missing; `sha256sum FILE` prints it")
        hexadecimal(self.sha256)

    @property
    def words(self) -> str:
        """The source in words, for logs, records and tables."""
        return f"published weights {self.timm or self.path}"


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
    amp: Literal[True, False, "off", "bf16", "fp16"] = "off"
    """Autocast: bf16 where the device has it, fp16 with scaled gradients; true is bf16, false is off."""
    loss_mean: Literal["all", "labelled"] = "all"
    """Pixels that the loss is a mean over: all, ignored ones counting 0 as in mmsegmentation, or the labelled ones."""
    sync_bn: bool = True
    """Batch norm over the batch of all processes; off: over each process's own share."""
    micro_batch: int | None = None
    """Images of one forward pass, over which batch norm is taken; unset: the whole batch. One process only."""
    select: Literal["last", "best-val"] = "last"
    """Weights that are handed on; best-val needs a target with selection: holdout."""
    validate_every: int = 0
    """Iterations between looks at the validation part of a holdout, and after the last; 0: never."""

    def __post_init__(self) -> None:
        if isinstance(self.amp, bool):
            object.__setattr__(self, "amp", "bf16" if self.amp else "off")
        within(self, "[2, inf)", "micro_batch")
        within(self, "[0, inf)", "validate_every")
        whole = self.batch_size % (self.micro_batch or self.batch_size) == 0
        require(whole, f"micro_batch divides batch_size ({self.batch_size}), found {self.micro_batch}")
        looks = self.select == "last" or self.validate_every > 0
        require(looks, "select: best-val needs validate_every, the iterations between its looks")
        within(self, "[1, inf)", "iterations", "crop", "head_channels", "aux_channels", "pool_scales")
        # Batch norm over the 1 x 1 pooled map has one value a channel and picture: one picture has no variance.
        within(self, "[2, inf)", "batch_size")
        within(self, f"[0, {self.iterations})", "warmup_iterations")
        within(self, "(0, inf)", "lr", "power", "clip_grad", "scale_range")
        within(self, "[0, inf)", "weight_decay", "aux_weight")
        within(self, "[0, 1)", "drop_path", "dropout", "betas")
        within(self, "[0, 1]", "warmup_factor", "flip")
        within(self, "(0, 1]", "layer_decay", "max_class_share")
        require(self.scale_range[0] <= self.scale_range[1], "scale_range is low, high with low <= high")
        require(bool(self.pool_scales), "pool_scales is an empty list; give at least 1")

    @property
    def spec(self) -> dict[str, Any]:
        """The recipe as it enters a digest: without looks at validation images that choose nothing."""
        looks = self.select == "best-val"
        return {key: value for key, value in asdict(self).items() if looks or key != "validate_every"}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How one target is predicted and scored."""

    pixels: tuple[str, ...]
    """Pixel rules counted side by side: a label variant such as full or eroded (every pixel once), or patches (each
    window by itself on the full labels, overlaps as often as they are covered)."""
    primary: str
    """The pixel rule of the headline number."""
    metric: Literal["mIoU", "mF1"]
    """The headline metric."""
    leave_out: tuple[str, ...] = ()
    """Classes left out of the headline mean (their pixels still count as errors of the others)."""
    window: int
    """Side of the sliding window in pixels."""
    stride: int
    subsets: tuple[str, ...] = ()
    """Groups of samples, such as day and night, that are also scored by themselves."""
    scales: tuple[float, ...] = (1.0,)
    """Ratios at which each scene is seen; their probabilities are averaged."""
    flip: bool = False
    """Whether each window is seen mirrored too."""
    boundary: tuple[int, ...] = ()
    """Widths in pixels at which Boundary IoU and boundary F1 are measured, on the full labels."""
    spectral: tuple[str, ...] = ()
    """Disturbances of the input channels: reversed, orders:K, mean, gain:G, offset:D."""
    spectral_samples: int | None = None
    """Scenes of the spectral suite, evenly spaced in the split; unset: all."""

    def __post_init__(self) -> None:
        for key in ("boundary", "spectral", "scales"):
            distinct(key, tuple(map(str, getattr(self, key))))
        within(self, "(0, inf)", "scales")
        require(bool(self.scales), "scales is an empty list; give at least 1")
        within(self, "[1, inf)", "boundary", "spectral_samples")
        seen = "patches" not in self.pixels or 1.0 in self.scales
        require(
            seen,
            f"scales hold 1.0 where pixels hold patches, which are counted in that view; found {self.scales}",
        )
        for word in self.spectral:
            require(
                re.fullmatch(SPECTRAL, word) is not None,
                f"spectral holds reversed, orders:K, mean, gain:G or offset:D, found {word!r}",
            )
        distinct("pixels", self.pixels, least=1)
        distinct("leave_out", self.leave_out)
        distinct("subsets", self.subsets)
        named = self.primary in self.pixels
        require(named, f"primary {self.primary!r} is not among pixels {list(self.pixels)}")
        within(self, "[1, inf)", "window")
        within(self, f"[1, {self.window}]", "stride")

    @property
    def label_variants(self) -> tuple[str, ...]:
        """The label variants that the pixel rules and the edges read."""
        whole = "patches" in self.pixels or bool(self.boundary) or bool(self.spectral)
        named = [rule for rule in self.pixels if rule != "patches"]
        return tuple(dict.fromkeys([*named, *(["full"] if whole else [])]))
