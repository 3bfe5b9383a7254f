"""ConvNeXt and Swin from timm's own classes: as a classifier, and as four feature maps.

A classifier tensor and its counterpart in the feature extractor have the same name (`stem.0.weight`,
`layers.2.blocks.0.attn.qkv.weight`): the feature extractor has all of them but the classification head, whose
prefixes `HEAD_PREFIXES` lists. A segmenter that holds it as `backbone` maps name X to `backbone.X`.

Swin and image size. Every block attends within the architecture's own window and pads smaller maps up to it,
so no tensor's shape depends on the size of the image and weights carry over between any two sizes. (Left
alone, timm cuts window and position table down to the map it is built for.) The windows are shifted as the
published code shifts them: the classifier never where a single window covers the map, the segmentation
backbone always.

Axes: N image, C channel, H row, W column.
"""

from contextlib import AbstractContextManager
from typing import Literal, cast

import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.study.schema import Backbone

Family = Literal["convnext", "swin"]

STRIDES = (4, 8, 16, 32)
"""Pixels of the input per cell of each feature map, along each axis."""

STEM_WEIGHT: dict[Family, str] = {"convnext": "stem.0.weight", "swin": "patch_embed.proj.weight"}
"""The one tensor whose shape depends on the number of channels: [width, channels, 4, 4]."""

STEM_PREFIX: dict[Family, str] = {"convnext": "stem.", "swin": "patch_embed."}
"""The whole stem: the patch convolution and the norm behind it."""

HEAD_PREFIXES: dict[Family, tuple[str, ...]] = {"convnext": ("head.",), "swin": ("norm.", "head.")}
"""What a feature extractor has not of a classifier: the norm of the pooled features and the last layer."""

_STAGES: dict[Family, str] = {"convnext": "stages", "swin": "layers"}


class Features(nn.Module):
    """The stem and the four stages of a timm model, under timm's names."""

    def __init__(self, model: nn.Module, family: Family) -> None:
        super().__init__()
        self.channels_last = family == "swin"
        self._entry = STEM_PREFIX[family].rstrip(".")
        self._stages = _STAGES[family]
        for name in (self._entry, self._stages):
            self.add_module(name, model.get_submodule(name))

    def forward(self, image_NCHW: Tensor) -> list[Tensor]:
        """Return four NCHW maps, at strides 4, 8, 16 and 32 of an image whose sides are multiples of 32."""
        x = self.get_submodule(self._entry)(image_NCHW)
        maps: list[Tensor] = []
        for stage in self.get_submodule(self._stages).children():
            x = stage(x)
            maps.append(x.permute(0, 3, 1, 2) if self.channels_last else x)
        return maps


def build_classifier(
    architecture: Backbone, channels: int, num_classes: int, drop_path: float, image_size: int
) -> nn.Module:
    """Build a classifier [N, channels, S, S] -> logits [N, num_classes], with timm's tensor names.

    `image_size` is S, the side in pixels it is trained at. It changes no tensor; in Swin it says in which
    stages a single window covers the map, where windows are not shifted. Raises BenchError for a side that is
    no multiple of 4 or is below 32 pixels.
    """
    if image_size < 32 or image_size % 4:
        raise BenchError(
            f"image size {image_size}: a classifier needs a side of at least 32 pixels, in multiples of 4; "
            "change crop of the pre-training recipe"
        )
    if architecture.family == "convnext":
        return _convnext(architecture, channels, num_classes, drop_path)
    from timm.models.swin_transformer import SwinTransformerBlock

    model = _swin(architecture, channels, num_classes, drop_path, image_size)
    for block in model.modules():
        # Swin's rule, block by block: one window that covers the whole map has nothing to shift to.
        if isinstance(block, SwinTransformerBlock):
            size = cast("tuple[int, int]", block.input_resolution)
            block.shift_size = (0, 0) if min(size) <= block.window_size[0] else block.shift_size
    return model


def build_features(architecture: Backbone, channels: int, drop_path: float) -> Features:
    """Build a feature extractor [N, channels, H, W] -> four NCHW maps, for sides that are multiples of 32.

    Its tensors are those of `build_classifier` without the head, equal in name and shape. The maps are the
    stages' raw outputs; the norms that segmentation puts on them belong to the segmenter.
    """
    if architecture.family == "convnext":
        return Features(_convnext(architecture, channels, 0, drop_path), "convnext")
    return Features(_swin(architecture, channels, 0, drop_path, 224), "swin")


def pad_to_multiple(image_NCHW: Tensor, multiple: int = STRIDES[-1]) -> Tensor:
    """Pad with zeros at the bottom and the right until both sides are multiples of `multiple`.

    The image is normalised already, so zero is the mean of its channel.
    """
    height, width = image_NCHW.shape[-2:]
    return nn.functional.pad(image_NCHW, (0, -width % multiple, 0, -height % multiple))


def _convnext(architecture: Backbone, channels: int, num_classes: int, drop_path: float) -> nn.Module:
    from timm.models.convnext import ConvNeXt

    with _quiet_generator():
        return ConvNeXt(
            in_chans=channels,
            num_classes=num_classes,
            depths=architecture.depths,
            dims=architecture.widths,
            drop_path_rate=drop_path,
        )


def _swin(
    architecture: Backbone, channels: int, num_classes: int, drop_path: float, image_size: int
) -> nn.Module:
    from timm.models.swin_transformer import SwinTransformer

    with _quiet_generator():
        return SwinTransformer(
            img_size=image_size,
            in_chans=channels,
            num_classes=num_classes,
            embed_dim=architecture.widths[0],
            depths=architecture.depths,
            num_heads=architecture.heads,  # type: ignore[arg-type]
            window_size=architecture.window,  # type: ignore[arg-type]
            always_partition=True,
            strict_img_size=False,
            drop_path_rate=drop_path,
        )


def _quiet_generator() -> AbstractContextManager[None]:
    """Keep timm's own draws from the global generator; `bench.models.initial` overwrites every tensor."""
    return torch.random.fork_rng(devices=[])
