"""What happens to a normalised batch before it is learned from: erasing, mixup or cutmix, soft targets.

Every draw is made for the global batch from (seed, step), or (seed, step, position in the global batch),
never from a running generator.
"""

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.seeds import seed_for


@dataclass(frozen=True)
class Mix:
    """How the images of a global batch are mixed: image b keeps `share` and takes the rest from `partner[b]`.

    `box` (top, bottom, left, right in pixels) is what cutmix pastes; None is mixup.
    """

    partner: NDArray[np.int64]
    share: float
    box: tuple[int, int, int, int] | None = None


def draw_mix(images: int, side: int, *, mixup: float, cutmix: float, seed: int, step: int) -> Mix | None:
    """Draw one mix for a global batch of `images` square images of `side` pixels; None where both are off.

    `mixup` and `cutmix` are Beta parameters, 0 is off; where both are on, each has probability 1/2. Partners
    are a uniform permutation (timm reverses the local batch). mixup: share ~ Beta(a, a). cutmix: a box of
    area 1 - share around a uniform centre, cut at the border, the share corrected to what is left. Zhang et
    al., arXiv 1710.09412; Yun et al., arXiv 1905.04899.
    """
    draw = np.random.default_rng(seed_for("mix", seed, step))
    cut = draw.random() < 0.5 if mixup and cutmix else bool(cutmix)
    alpha = cutmix if cut else mixup
    if not alpha:
        return None
    partner = draw.permutation(images)
    share = float(draw.beta(alpha, alpha))
    if not cut:
        return Mix(partner, share)
    length = int(side * math.sqrt(1 - share))
    top, left = (int(centre) - length // 2 for centre in draw.integers(0, side, 2))
    bottom, right = min(top + length, side), min(left + length, side)
    top, left = max(top, 0), max(left, 0)
    return Mix(partner, 1 - (bottom - top) * (right - left) / side**2, (top, bottom, left, right))


def mix_images(images_NCHW: Tensor, mix: Mix) -> Tensor:
    """Return the mixed images of a whole global batch."""
    partners = images_NCHW[torch.from_numpy(mix.partner).to(images_NCHW.device)]
    if mix.box is None:
        return torch.lerp(partners, images_NCHW, mix.share)
    top, bottom, left, right = mix.box
    mixed = images_NCHW.clone()
    mixed[..., top:bottom, left:right] = partners[..., top:bottom, left:right]
    return mixed


def soft_targets(labels_N: Tensor, num_classes: int, smoothing: float, mix: Mix | None) -> Tensor:
    """Return float32 [N, num_classes] target distributions: smoothed one-hot labels, mixed as the images are.

    y = (1 - smoothing) onehot + smoothing / K (Szegedy et al., arXiv 1512.00567); then share y + (1 - share)
    y[partner].
    """
    targets = torch.full((len(labels_N), num_classes), smoothing / num_classes, device=labels_N.device)
    targets.scatter_(1, labels_N[:, None], 1 - smoothing + smoothing / num_classes)
    if mix is None:
        return targets
    partners = targets[torch.from_numpy(mix.partner).to(labels_N.device)]
    return torch.lerp(partners, targets, mix.share)


def erase(images_NCHW: Tensor, probability: float, *, seed: int, step: int, first: int = 0) -> None:
    """Erase a random box of each image, in place, with `probability`: pixels become standard normal noise.

    Area share U(0.02, 1/3), log aspect U(log 0.3, log 1/0.3), ten attempts at a box that fits: timm's `pixel`
    mode, on normalised images. `first` is the global position of the batch's first image. Zhong et al., arXiv
    1708.04896.
    """
    height, width = images_NCHW.shape[2:]
    for position, image in enumerate(images_NCHW, start=first):
        draw = random.Random(seed_for("erase", seed, step, position))
        if draw.random() >= probability:
            continue
        for _ in range(10):
            area = draw.uniform(0.02, 1 / 3) * height * width
            aspect = math.exp(draw.uniform(math.log(0.3), -math.log(0.3)))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h < height and w < width:
                top, left = draw.randint(0, height - h), draw.randint(0, width - w)
                noise = torch.Generator(images_NCHW.device).manual_seed(draw.getrandbits(63))
                box = image[:, top : top + h, left : left + w]
                box.normal_(generator=noise)
                break
