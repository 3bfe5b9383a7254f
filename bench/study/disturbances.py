"""What the words of the spectral suite stand for, by name; `bench.evaluate.spectral` says what each does.

A word of a study may stand for several disturbances: `mean` is one for each channel. Light: no torch.
"""

import math
from collections.abc import Sequence

OF_CLASSIFIERS = r"mean|(gain|offset):-?\d+(\.\d+)?"
"""What a disturbance of a pre-trained classifier looks like: channel orders have a key of their own."""
RANDOM_ORDERS = 4
"""Drawn channel orders that `random` stands for."""


def channel_names(count: int) -> list[str]:
    """Return the names of a classifier's input channels: channel_1, channel_2, ..., in natural order R G B R G ..."""
    return [f"channel_{number}" for number in range(1, count + 1)]


def disturbance_names(wanted: Sequence[str], channels: Sequence[str]) -> list[str]:
    """Return the names of the disturbances that words stand for: reversed, order2, mean/thermal, gain0.5/red.

    `orders:K` are K orders besides the natural and the reversed one, or all of them where there are no more.
    """
    found: list[str] = []
    for word in wanted:
        kind, _, amount = word.partition(":")
        if kind == "reversed":
            found.append(kind)
        elif kind == "orders":
            others = math.factorial(len(channels)) - 2
            found += [f"order{number}" for number in range(1, min(int(amount), others) + 1)]
        else:
            found += [f"{kind}{amount}/{channel}" for channel in channels]
    return found
