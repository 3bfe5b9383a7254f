"""The spectral suite: what becomes of a network when its input channels are exchanged, silenced or shifted.

The paper's claim is that a network pre-trained under shuffling does not lean on fixed spectral cues. Each
disturbance changes the stored values x_j (channel j, mean m_j and standard deviation s_j of the training
split) and nothing else; z_j = (x_j - m_j) / s_j.

    reversed    z_j <- z_{n-1-j}                  the channels in reverse order, each by its own statistics
    orders:K    z_j <- z_{pi(j)}                  K orders drawn from the seed, none twice; all where there are no more
    mean        x_j <- m_j                        one channel at a time holds nothing
    gain:G      x_j <- G x_j                      one channel at a time
    offset:D    x_j <- x_j + D s_j                one channel at a time
"""

import itertools
import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench.errors import RequestError
from bench.seeds import seed_for

Change = Callable[[Tensor], Tensor]
"""Pixels [..., C, h, w] in stored units to the same, changed."""


def disturbances(
    wanted: Sequence[str], channels: Sequence[str], mean: Tensor, std: Tensor, seed: int
) -> dict[str, Change]:
    """Return the disturbances that the words of a study stand for, by name: `mean/thermal`, `order2`.

    `mean` and `std`: [C] in stored units, on the device of the pixels. Raises RequestError for an unknown word.
    """
    found: dict[str, Change] = {}
    for word in wanted:
        kind, _, amount = word.partition(":")
        if kind == "reversed" and not amount:
            found["reversed"] = _exchange(range(len(channels))[::-1], mean, std)
        elif kind == "orders" and amount.isdigit():
            for number, order in enumerate(drawn_orders(len(channels), int(amount), seed), start=1):
                found[f"order{number}"] = _exchange(order, mean, std)
        elif kind == "mean" and not amount:
            for index, name in enumerate(channels):
                found[f"mean/{name}"] = _one(index, 0.0, mean)
        elif kind in ("gain", "offset") and _is_number(amount):
            value = float(amount)
            for index, name in enumerate(channels):
                gain, shift = (value, torch.zeros_like(std)) if kind == "gain" else (1.0, value * std)
                found[f"{kind}{amount}/{name}"] = _one(index, gain, shift)
        else:
            raise RequestError(
                f"spectral {word!r}: expected reversed, orders:K, mean, gain:G or offset:D with numbers for K, G and D"
            )
    return found


def drawn_orders(channels: int, count: int, seed: int) -> list[tuple[int, ...]]:
    """Return `count` orders of the channels other than the natural and the reversed one, none twice.

    All there are, in lexical order, where there are no more than `count`.
    """
    natural = tuple(range(channels))
    every = [order for order in itertools.permutations(natural) if order not in (natural, natural[::-1])]
    if count >= len(every):
        return every
    return random.Random(seed_for("spectral orders", seed, channels)).sample(every, count)


def _exchange(order: Sequence[int], mean: Tensor, std: Tensor) -> Change:
    places = torch.tensor(list(order), device=mean.device)

    def change(pixels: Tensor) -> Tensor:
        standard = (pixels - mean[:, None, None]) / std[:, None, None]
        return standard.index_select(-3, places) * std[:, None, None] + mean[:, None, None]

    return change


def _one(index: int, gain: float, shift: Tensor) -> Change:
    def change(pixels: Tensor) -> Tensor:
        changed = pixels.clone()
        changed[..., index, :, :] = changed[..., index, :, :] * gain + shift[index]
        return changed

    return change


def _is_number(text: str) -> bool:
    try:
        return torch.tensor(float(text)).isfinite().item() is True
    except ValueError:
        return False
