"""What each pre-training strategy does to a photograph: its output channels, each in the colour of its source.

A plan says how an output channel is mixed from red, green and blue. That is read off what it makes of pure
colours, so that the picture shows what the strategy does and not what this module believes it does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bench.data.store import ClassificationStore
from bench.errors import RequestError
from bench.look.channels import every
from bench.look.grid import Cell, Picture, Row, Sheet, sheet
from bench.look.sheets import photographs_by_class, squared
from bench.strategies import FILLS, SOURCES, STRATEGIES, apply_plan, channel_plan, plan_generator

PHOTOGRAPHS = 3
PIXELS = 160
"""Side to which larger photographs are cut and reduced: more than the page resolves."""


@dataclass(frozen=True)
class Shown:
    """A strategy's output for some photographs, with the mixture that each channel is."""

    name: str
    words: str
    planes_NCHW: NDArray[np.uint8]
    weights_NCS: NDArray[np.float64]
    """Share of red, green and blue in each output channel."""


def shown(photographs_N3HW: Tensor, n: int, *, seed: int) -> list[Shown]:
    """Apply every strategy to uint8 photographs (N, 3, H, W); `rgb` keeps three channels, the others make `n`.

    The draws are those of the first step of a pre-training with this seed.
    """
    found = []
    for strategy in STRATEGIES:
        channels = SOURCES if strategy == "rgb" else n
        fills = FILLS if strategy == "csp" and n % SOURCES else ["cycle"]
        for fill in fills:
            generator = plan_generator(seed, scope="image", epoch=0, step=0)
            plan = channel_plan(strategy, channels, len(photographs_N3HW), generator, fill=fill)
            words = f"fill: {fill}" if len(fills) > 1 else ""
            planes = apply_plan(photographs_N3HW, plan)
            found.append(Shown(strategy, words, planes.numpy(), weights_of(plan)))
    return found


def weights_of(plan: Tensor) -> NDArray[np.float64]:
    """Return the share of each source in each output channel, (N, n, 3): what a plan makes of pure colours."""
    pure_N3HW = torch.eye(SOURCES).view(1, SOURCES, 1, SOURCES).expand(len(plan), -1, -1, -1)
    mixed: NDArray[np.float64] = apply_plan(pure_N3HW.contiguous(), plan)[:, :, 0].double().numpy()
    return mixed


def tinted(plane_HW: NDArray[np.uint8], weights: NDArray[np.float64]) -> Picture:
    """Return a channel in the colour of its sources, uint8 (H, W, 3): a grey mixture in grey, pure red in red."""
    tint = weights / weights.max()
    shown_HW3: Picture = (plane_HW[..., None] * tint).round().astype(np.uint8)
    return shown_HW3


def strategy_figure(
    store: ClassificationStore, split: str, n: int, *, seed: int, title: str, stamp: str = ""
) -> Sheet:
    """Draw a row a strategy: the n channels it makes of three photographs.

    The photographs are the first ones of classes at equal distances. Raises RequestError for n below 3.
    """
    if n < SOURCES:
        raise RequestError(f"strategies show each of {SOURCES} source channels, which n = {n} cannot hold")
    members = [places for places in photographs_by_class(store, split) if places]
    pictures = [_small(store.image(split, members[place][0])) for place in every(len(members), PHOTOGRAPHS)]
    side = min(picture.shape[0] for picture in pictures)
    batch = np.stack([_resized(picture, side).transpose(2, 0, 1) for picture in pictures])
    photographs_N3HW = torch.from_numpy(batch)
    first = [cell for picture in pictures for cell in (Cell(picture), *[None] * (n - 1))]
    rows = [Row("photograph", first)]
    for entry in shown(photographs_N3HW, n, seed=seed):
        rows.append(Row(entry.name, _strategy_cells(entry, n), entry.words))
    return sheet(
        rows,
        [f"channel {place + 1}" for _ in pictures for place in range(n)],
        side=max(0.5, min(0.8, 8.4 / (n * len(pictures)))),
        block=n,
        title=title,
        stamp=stamp,
        note="Each channel in the colour of the source it shows: R, G, B, or the mixture in per cent; rgb has three "
        "channels. The draws are those of a first step, one for each picture.",
    )


def _strategy_cells(entry: Shown, n: int) -> list[Cell | None]:
    cells: list[Cell | None] = []
    for planes_CHW, weights_CS in zip(entry.planes_NCHW, entry.weights_NCS, strict=True):
        cells += [
            Cell(tinted(plane_HW, weights), source_name(weights))
            for plane_HW, weights in zip(planes_CHW, weights_CS, strict=True)
        ]
        cells += [None] * (n - len(planes_CHW))
    return cells


def source_name(weights: Sequence[float] | NDArray[np.float64]) -> str:
    """Return R, G or B for a copied channel, `R21 G35 B44` (per cent) for a mixture."""
    parts = [(letter, round(100 * float(share))) for letter, share in zip("RGB", weights, strict=True)]
    return next((letter for letter, share in parts if share == 100), " ".join(f"{a}{b}" for a, b in parts))


def _small(image_HW3: Picture) -> Picture:
    square = squared(image_HW3)
    return _resized(square, min(PIXELS, len(square)))


def _resized(picture: Picture, side: int) -> Picture:
    if len(picture) == side:
        return picture
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BOX))
