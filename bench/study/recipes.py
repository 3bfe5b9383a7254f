"""Hyper-parameters of a study as frozen dataclasses: pre-training, fine-tuning, evaluation.

Sources of the values stand in `config/*.yaml` beside them.
"""

import re
from dataclasses import dataclass
from typing import Literal

from bench.study.checks import distinct, require, within

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
        within(self, "[1, inf)", "epochs", "batch_size", "crop")
        within(self, f"[0, {self.epochs})", "warmup_epochs")
        within(self, "(0, inf)", "lr", "clip_grad")
        within(self, f"[0, {self.lr}]", "min_lr", "warmup_lr")
        within(self, "[0, inf)", "weight_decay", "mixup", "cutmix")
        within(self, "[0, 1)", "drop_path", "label_smoothing", "erasing", "betas")
        within(self, "(0, 1)", "ema")
        within(self, "(0, 1]", "scale_min", "eval_ratio")
        policy = self.randaugment
        named = policy is None or re.fullmatch(POLICY, policy) is not None
        require(named, f"randaugment is a policy such as rand-m9-mstd0.5-inc1, found {policy!r}")


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
        distinct("pixels", self.pixels, least=1)
        distinct("leave_out", self.leave_out)
        named = self.primary in self.pixels
        require(named, f"primary {self.primary!r} is not among pixels {list(self.pixels)}")
        within(self, "[1, inf)", "window")
        within(self, f"[1, {self.window}]", "stride")
