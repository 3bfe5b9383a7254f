"""Which samples a training step sees: keys (epoch, index), a function of the seed that can be entered at any step.

The global batch of a step is the same whatever the ranks, the accumulation and the loader processes: they only cut
it into pieces. Rank r of `world` owns one stretch of its positions, cut into micro-batches.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from bench.errors import BenchError
from bench.seeds import seed_for

Key = tuple[int, int]
"""(epoch, index)"""


def micro_batches(batch_size: int, *, rank: int = 0, world: int = 1, micro: int | None = None) -> list[range]:
    """Return the positions in the global batch of each micro-batch of one rank, in order.

    Rank r owns r * batch_size // world up to (r + 1) * batch_size // world, in pieces of `micro` images, the last
    one short; unset: in one piece. Raises BenchError for more ranks than images, since one would have none.
    """
    if not 0 <= rank < world or (micro is not None and micro < 1):
        raise ValueError(f"rank {rank} of {world}, micro {micro}; expected 0 <= rank < world and micro >= 1")
    if world > batch_size:
        raise BenchError(
            f"batch_size {batch_size} on {world} ranks leaves a rank without images; use at most {batch_size} ranks"
        )
    own = range(rank * batch_size // world, (rank + 1) * batch_size // world)
    step = len(own) if micro is None else micro
    return [own[first : first + step] for first in range(0, len(own), step)]


class KeyStream(Sampler[list[Key]]):
    """The micro-batches of keys from step `start` up to `stop`; each epoch is a permutation of `count` indices.

    An epoch shows its first `per_epoch` indices (unset: all); a batch may take the end of one epoch and the
    beginning of the next. The global batch of step s holds the keys s * batch_size .. (s + 1) * batch_size - 1 of
    the endless stream; `rank`, `world` and `micro` say which of them come, and in what pieces.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        *,
        start: int,
        stop: int,
        per_epoch: int | None = None,
        rank: int = 0,
        world: int = 1,
        micro: int | None = None,
    ) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.start, self.stop, self.per_epoch = start, stop, per_epoch or count
        self.pieces = micro_batches(batch_size, rank=rank, world=world, micro=micro)
        self._order = lru_cache(maxsize=2)(self._permutation)

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng(seed_for("order", self.seed, epoch)).permutation(self.count)

    def __len__(self) -> int:
        return max(0, self.stop - self.start) * len(self.pieces)

    def __iter__(self) -> Iterator[list[Key]]:
        for step in range(self.start, self.stop):
            for piece in self.pieces:
                yield list(self._keys(step * self.batch_size + piece.start, len(piece)))

    def _keys(self, first: int, count: int) -> Iterator[Key]:
        """Yield `count` keys of the endless stream from its place `first` on, a stretch of one epoch at a time."""
        while count:
            epoch, place = divmod(first, self.per_epoch)
            stretch = min(count, self.per_epoch - place)
            yield from ((epoch, index) for index in self._order(epoch)[place : place + stretch].tolist())
            first, count = first + stretch, count - stretch


class InOrder(Sampler[list[Key]]):
    """Indices `first` .. `stop` - 1 in batches, the last one short."""

    def __init__(self, stop: int, batch_size: int, *, first: int = 0) -> None:
        self.first, self.stop, self.batch_size = first, stop, batch_size

    def __len__(self) -> int:
        return len(self.pieces())

    def __iter__(self) -> Iterator[list[Key]]:
        for piece in self.pieces():
            yield [(0, index) for index in piece]

    def pieces(self) -> list[range]:
        """Return the indices of each batch."""
        own = range(self.first, self.stop)
        return [own[place : place + self.batch_size] for place in range(0, len(own), self.batch_size)]


class Chunked(Sampler[list[Key]]):
    """The same keys in the same order, in chunks of `size` keys whatever the batches, the last one short."""

    def __init__(self, batches: Sampler[list[Key]], size: int) -> None:
        self.batches, self.size = batches, size

    def __iter__(self) -> Iterator[list[Key]]:
        stream = chain.from_iterable(self.batches)
        while chunk := list(islice(stream, self.size)):
            yield chunk
