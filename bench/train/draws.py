"""Draws of a training on the host, some steps ahead: each is a function of its step, so when it is made is free.

Within a step they would cost three times as much: the network's tensors have driven their code and data out of the
cache by the time that the next draw is due.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

Drawn = TypeVar("Drawn")

AHEAD = 16
"""Steps that are drawn at a time."""


def drawn_ahead(draw: Callable[[int], Drawn], start: int, stop: int) -> Iterator[Drawn]:
    """Yield `draw(step)` for each step `start` .. `stop` - 1, in order; no more than AHEAD of them are held."""
    for first in range(start, stop, AHEAD):
        yield from [draw(step) for step in range(first, min(first + AHEAD, stop))]
