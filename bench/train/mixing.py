"""What happens to a batch before it is learned from: channels, normalisation, erasing, mixup or cutmix, targets.

Every draw is made for the global batch from (seed, step), or (seed, step, position in the global batch),
never from a running generator.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.transforms import normalise
from bench.seeds import seed_for
from bench.strategies import apply_plan, statistics
from bench.study.recipes import PretrainRecipe
from bench.train.noise import normal_noise


@dataclass(frozen=True)
class Mix:
    """How the images of a global batch are mixed: image b keeps `share` and takes the rest from `partner[b]`.

    `box` (top, bottom, left, right in pixels) is what cutmix pastes; None is mixup.
    """

    partner: NDArray[np.int64]
    share: float
    box: tuple[int, int, int, int] | None = None


def draw_mix(
    images: int,
    side: int,
    *,
    mixup: float,
    cutmix: float,
    seed: int,
    step: int,
    probability: float = 1.0,
    switch: float = 0.5,
) -> Mix | None:
    """Draw one mix for a global batch of `images` square images of `side` pixels; None where nothing is mixed.

    A batch is mixed with `probability`. `mixup` and `cutmix` are Beta parameters, 0 is off; where both are on,
    `switch` is the share of cutmix. Partners are a uniform permutation (timm reverses the local batch).
    mixup: share ~ Beta(a, a). cutmix: the box of `cut_box` around a uniform centre, the share corrected to
    what is left. Zhang et al., arXiv 1710.09412; Yun et al., arXiv 1905.04899.
    """
    draw = np.random.default_rng(seed_for("mix", seed, step))
    mixed, switched = draw.random(2)
    cut = switched < switch if mixup and cutmix else bool(cutmix)
    alpha = cutmix if cut else mixup
    if not alpha or mixed >= probability:
        return None
    partner = draw.permutation(images)
    share = float(draw.beta(alpha, alpha))
    if not cut:
        return Mix(partner, share)
    row, column = (int(centre) for centre in draw.integers(0, side, 2))
    top, bottom, left, right = box = cut_box(side, share, row, column)
    return Mix(partner, 1 - (bottom - top) * (right - left) / side**2, box)


def draw_mixes(recipe: PretrainRecipe, *, seed: int, step: int) -> list[Mix | None]:
    """Draw what `recipe` mixes at `step`: for every block of neighbours in the global batch its `draw_mix`, in order.

    Each block draws partners, share and box of its own and pairs within itself, as timm's loader does with the local
    batch of a process. Whoever holds only a part of the global batch draws all and takes its own.
    """
    return [
        draw_mix(
            recipe.mixed_together,
            recipe.crop,
            mixup=recipe.mixup,
            cutmix=recipe.cutmix,
            probability=recipe.mix_probability,
            switch=recipe.mix_switch,
            seed=seed_for("mix-block", seed, number),
            step=step,
        )
        for number in range(recipe.batch_size // recipe.mixed_together)
    ]


def cut_box(side: int, share: float, row: int, column: int) -> tuple[int, int, int, int]:
    """Return cutmix's box of area (1 - share) side**2 around a centre, cut at the border: top, bottom, left, right."""
    length = int(side * math.sqrt(1 - share))
    top, left = row - length // 2, column - length // 2
    return max(top, 0), min(top + length, side), max(left, 0), min(left + length, side)


def mix_images(images_NCHW: Tensor, mix: Mix) -> Tensor:
    """Return the mixed images of a whole global batch."""
    partner = torch.from_numpy(mix.partner).to(images_NCHW.device)
    if mix.box is None:
        # `index_select` copies whole images; indexing would go pixel by pixel.
        return images_NCHW.index_select(0, partner).lerp_(images_NCHW, mix.share)
    top, bottom, left, right = mix.box
    mixed = images_NCHW.clone()
    mixed[..., top:bottom, left:right] = images_NCHW[..., top:bottom, left:right][partner]
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


@dataclass(frozen=True)
class Boxes:
    """What is erased of each image, int64 [B] each: pixels from `top`, `left`; `height` 0 is nothing."""

    top: NDArray[np.int64]
    left: NDArray[np.int64]
    height: NDArray[np.int64]
    width: NDArray[np.int64]


TRIES = 10
"""How often a box that does not fit is drawn again."""


def draw_boxes(
    images: int, height: int, width: int, probability: float, *, seed: int, step: int, first: int = 0
) -> Boxes:
    """Draw the boxes of `images` images from position `first` of the global batch on.

    An image has one with `probability`: area share U(0.02, 1/3), log of height over width U(log 0.3, -log
    0.3), a uniform place; one that does not fit is drawn again, ten times at most, as in timm's
    RandomErasing. Zhong et al., arXiv 1708.04896. A row of numbers is drawn for each position, so that an
    image's box depends on (seed, step, position) alone.
    """
    draw = np.random.Generator(np.random.Philox(key=seed_for("erase", seed, step)))
    numbers = draw.random((first + images, 1 + 4 * TRIES))[first:]
    erased, tries = numbers[:, 0] < probability, numbers[:, 1:].reshape(images, TRIES, 4)
    area = (0.02 + (1 / 3 - 0.02) * tries[..., 0]) * height * width
    aspect = np.exp(math.log(0.3) * (1 - 2 * tries[..., 1]))
    h, w = (np.rint(np.sqrt(size)).astype(np.int64) for size in (area * aspect, area / aspect))
    fits = (h < height) & (w < width)
    chosen = np.arange(images), fits.argmax(1)
    erased &= fits[chosen]
    h, w, down, right = h[chosen], w[chosen], tries[..., 2][chosen], tries[..., 3][chosen]
    top, left = (down * (height - h + 1)).astype(np.int64), (right * (width - w + 1)).astype(np.int64)
    return Boxes(top, left, h * erased, w * erased)


def erase(
    images_NCHW: Tensor,
    probability: float,
    *,
    seed: int,
    step: int,
    first: int = 0,
    mean: Tensor | None = None,
    std: Tensor | None = None,
) -> None:
    """Erase a random box of each float image, in place, with `probability`: pixels become normal noise.

    The noise is standard normal, or of `mean` and `std` [C], in the units of images that are not normalised
    yet. Box and noise depend on (seed, step, position in the global batch), of which `first` is the first
    image's, on pixel and channel, and on nothing else. The boxes are known on the host, so nothing waits for
    the device and no image has a loop of its own.
    """
    count, channels, height, width = images_NCHW.shape
    boxes = draw_boxes(count, height, width, probability, seed=seed, step=step, first=first)
    areas = boxes.height * boxes.width
    total = int(areas.sum())
    if not total:
        return
    device = images_NCHW.device
    # Of each image: where its erased pixels begin in the list of all of them, and its box.
    table = np.stack([np.arange(count), np.cumsum(areas) - areas, boxes.top, boxes.left, boxes.width])
    held = torch.from_numpy(table).to(device, non_blocking=True)
    repeats = torch.from_numpy(areas).to(device, non_blocking=True)
    image, start, top, left, across = held.repeat_interleave(repeats, dim=1, output_size=total)
    within = torch.arange(total, device=device) - start
    row, column = top + within // across, left + within % across
    for block in range(0, channels, 4):
        counter = torch.stack([row * width + column, torch.full_like(image, block), image + first, 0 * image])
        noise = normal_noise(counter, seed_for("erase-noise", seed, step))[: channels - block]
        here = slice(block, block + 4)
        if mean is not None and std is not None:
            noise = noise * std[here, None].to(device) + mean[here, None].to(device)
        images_NCHW[image, here, row, column] = noise.T.to(images_NCHW.dtype)


def network_inputs(
    images_NCHW: Tensor,
    plan: Tensor,
    mean: Tensor,
    std: Tensor,
    *,
    normalise_by: str = "follow",
    order: str = "before-erasing",
    erasing: float = 0.0,
    seed: int,
    step: int,
    first: int = 0,
) -> Tensor:
    """Return what the network sees of uint8 RGB images: arranged by `plan`, normalised, erased; float32 [B, n, H, W].

    `plan` holds these images' rows; `mean` and `std` are those of red, green, blue. `order` places the
    strategy: `before-erasing` shuffles first, and each of the n channels is erased with noise of its own;
    `after-erasing` erases the three channels first, so that copies of a channel show the same noise and noise
    is shuffled with the pixels. Without erasing the two are equal.
    """
    if order == "after-erasing" and erasing:
        pixels = images_NCHW.float()
        erase(pixels, erasing, seed=seed, step=step, first=first, mean=mean, std=std)
        return normalise(apply_plan(pixels, plan), *statistics(plan, mean, std, normalise_by))
    inputs = normalise(apply_plan(images_NCHW, plan), *statistics(plan, mean, std, normalise_by))
    if erasing:
        erase(inputs, erasing, seed=seed, step=step, first=first)
    return inputs


def mix_blocks(
    inputs_NCHW: Tensor,
    labels_N: Tensor,
    num_classes: int,
    smoothing: float,
    mixes: Sequence[Mix | None],
    blocks: Iterable[tuple[int, slice]],
) -> tuple[Tensor, Tensor]:
    """Return the mixed images and soft targets [N, num_classes] of whole `blocks` of the global batch.

    A block is (number, rows): the place of its mix among `mixes`, those of the global batch, and its rows here.
    """
    images, targets = [], []
    for number, rows in blocks:
        mix = mixes[number]
        images.append(inputs_NCHW[rows] if mix is None else mix_images(inputs_NCHW[rows], mix))
        targets.append(soft_targets(labels_N[rows], num_classes, smoothing, mix))
    return (images[0], targets[0]) if len(images) == 1 else (torch.cat(images), torch.cat(targets))
