"""UPerNet on the four feature maps of a backbone, with an auxiliary FCN head.

Xiao et al., "Unified Perceptual Parsing for Scene Understanding" (arXiv 1807.10221), in the form in which
ConvNeXt and Swin are fine-tuned in mmsegmentation: one LayerNorm a map, pyramid pooling on the last, a
feature pyramid, fusion, a 1x1 classifier; while training, a second classifier on stage index 2.

Parameters of the whole model at 512 and 256 head channels, three input channels and 150 classes (ADE20K, at which the
official recipes state 60 M for both): 60,242,636 with ConvNeXt-T, 59,941,862 with Swin-T. Of these the backbone has
27,818,592 and 27,517,818, the four norms 2,880, the decode head 31,497,366, the auxiliary head 923,798. A class more
is 770 parameters (513 and 257 in the two classifiers), an input channel more 16 a filter, 1,536.

Axes: N image, C channel, H row, W column. Maps are ordered from fine (stride 4) to coarse (stride 32).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.errors import BenchError
from bench.models.backbone import build_features, pad_to_multiple
from bench.models.resizing import pool, resize
from bench.study.schema import Backbone

AUXILIARY_STAGE = 2
"""Index of the map (stride 16) that the auxiliary head reads."""

_NORM_EPS = {"convnext": 1e-6, "swin": 1e-5}


class ConvNormReLU(nn.Module):
    """Convolution without bias, batch norm, ReLU; keeps H and W."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the activated map, [N, outputs, H, W]."""
        return F.relu(self.norm(self.conv(x_NCHW)))


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of an NCHW map, at each pixel by itself."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the normed map, NCHW."""
        x_NHWC = x_NCHW.permute(0, 2, 3, 1)
        return super().forward(x_NHWC).permute(0, 3, 1, 2)


class PyramidPooling(nn.Module):
    """The map beside its averages over s x s grids, fused: context from the whole image at every pixel."""

    def __init__(self, inputs: int, channels: int, scales: Sequence[int]) -> None:
        super().__init__()
        self.scales = tuple(scales)
        self.levels = nn.ModuleList(ConvNormReLU(inputs, channels, 1) for _ in self.scales)
        self.fuse = ConvNormReLU(inputs + len(self.scales) * channels, channels, 3)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the fused map, [N, channels, H, W]."""
        pooled = (level(pool(x_NCHW, scale)) for scale, level in zip(self.scales, self.levels, strict=True))
        context = [resize(p, x_NCHW.shape[2:]) for p in pooled]
        fused: Tensor = self.fuse(torch.cat([x_NCHW, *context], dim=1))
        return fused


class UPerHead(nn.Module):
    """Pyramid pooling, feature pyramid, fusion and classifier: four maps -> logits at stride 4."""

    def __init__(
        self, widths: Sequence[int], channels: int, num_classes: int, scales: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.pyramid_pooling = PyramidPooling(widths[-1], channels, scales)
        self.laterals = nn.ModuleList(ConvNormReLU(width, channels, 1) for width in widths[:-1])
        self.smooth = nn.ModuleList(ConvNormReLU(channels, channels, 3) for _ in widths[:-1])
        self.fuse = ConvNormReLU(len(widths) * channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits [N, num_classes, H/4, W/4] of maps that are ordered from fine to coarse."""
        # 1. Lateral: every map to the same width; the coarsest through pyramid pooling.
        levels = [lateral(x) for lateral, x in zip(self.laterals, maps[:-1], strict=True)]
        levels.append(self.pyramid_pooling(maps[-1]))
        # 2. Top-down: each level adds the one above it, which has its own addition already.
        for i in range(len(levels) - 2, -1, -1):
            levels[i] = levels[i] + resize(levels[i + 1], levels[i].shape[2:])
        # 3. Fuse at the finest size; the coarsest level is smooth already.
        smoothed = [smooth(x) for smooth, x in zip(self.smooth, levels[:-1], strict=True)] + levels[-1:]
        finest = smoothed[0].shape[2:]
        fused = self.fuse(torch.cat([smoothed[0], *(resize(x, finest) for x in smoothed[1:])], dim=1))
        logits: Tensor = self.classifier(self.dropout(fused))
        return logits


class FCNHead(nn.Module):
    """One 3x3 convolution and a classifier on one map: the auxiliary loss of training."""

    def __init__(self, width: int, channels: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.conv = ConvNormReLU(width, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return logits [N, num_classes, H, W] at the map's own size."""
        logits: Tensor = self.classifier(self.dropout(self.conv(x_NCHW)))
        return logits


class Segmenter(nn.Module):
    """Backbone, per-map norms, UPerNet, auxiliary head: an image of any size to logits of the same size."""

    def __init__(
        self,
        architecture: Backbone,
        channels: int,
        num_classes: int,
        *,
        drop_path: float = 0.0,
        dropout: float = 0.1,
        head_channels: int = 512,
        aux_channels: int = 256,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.channels = channels
        widths, eps = architecture.widths, _NORM_EPS[architecture.family]
        self.backbone = build_features(architecture, channels, drop_path)
        self.norms = nn.ModuleList(ChannelNorm(width, eps=eps) for width in widths)
        self.decode_head = UPerHead(widths, head_channels, num_classes, pool_scales, dropout)
        self.auxiliary_head = FCNHead(widths[AUXILIARY_STAGE], aux_channels, num_classes, dropout)

    def forward(self, image_NCHW: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits [N, num_classes, H, W]; in training mode the pair (logits, auxiliary logits).

        `image_NCHW` is normalised. It is padded with zeros to multiples of 32, and the logits are cropped
        back to it, so that both have the image's size. Raises BenchError for a wrong number of channels, and
        in training mode for a single image: batch norm has no variance of one 1x1 pooled cell (it has, where it is
        over the batch of several processes).
        """
        count, channels, *size = image_NCHW.shape
        if channels != self.channels:
            raise BenchError(
                f"the image has {channels} channels; this segmenter was built for {self.channels}"
            )
        own = type(self.auxiliary_head.conv.norm) is nn.BatchNorm2d
        if self.training and own and count < 2:
            raise BenchError(
                "a training batch of 1 image: batch norm over the 1x1 pooled map needs at least 2; "
                "raise batch_size, or drop the last incomplete batch"
            )
        padded = pad_to_multiple(image_NCHW)
        maps = [norm(x) for norm, x in zip(self.norms, self.backbone(padded), strict=True)]

        def full_size(logits: Tensor) -> Tensor:
            return resize(logits, padded.shape[2:])[..., : size[0], : size[1]]

        logits = full_size(self.decode_head(maps))
        if not self.training:
            return logits
        return logits, full_size(self.auxiliary_head(maps[AUXILIARY_STAGE]))
