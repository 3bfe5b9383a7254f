"""Mean and standard deviation per channel, in one pass and without rounding where values are whole numbers.

Pixels of 8 or 16 bits are counted by value; from such a histogram the sums follow in whole numbers, however
many images there are. Floats are summed in float64 about their first value.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIXELS = 1 << 18
"""Pixels taken at once, so that what is computed from them stays in the cache."""


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations per channel, float64."""

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of both samples together (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        delta = other.mean - self.mean
        return Moments(
            count,
            self.mean + delta * (other.count / count),
            self.squares + other.squares + delta**2 * (self.count * other.count / count),
        )

    @property
    def std(self) -> NDArray[np.float64]:
        """The population standard deviation."""
        return np.sqrt(self.squares / self.count)

    def as_json(self) -> list[Any]:
        """Return count, means and squares as JSON holds them, without loss."""
        return [self.count, self.mean.tolist(), self.squares.tolist()]

    @classmethod
    def from_json(cls, value: list[Any]) -> "Moments":
        """Return what `as_json` gave."""
        count, mean, squares = value
        return cls(int(count), np.array(mean, np.float64), np.array(squares, np.float64))


class Tally:
    """Gathers the moments of `channels` channels of one dtype, block by block."""

    def __init__(self, channels: int, dtype: np.dtype[Any]) -> None:
        self.whole = np.issubdtype(dtype, np.unsignedinteger) and dtype.itemsize <= 2
        # An even number of bytes is counted two at a time: half as many steps, and the margins of the joint
        # counts are the counts.
        self.paired = self.whole and dtype.itemsize == 1 and channels % 2 == 0
        self.count = 0
        rows, bins = (channels // 2, 1 << 16) if self.paired else (channels, 1 << 8 * dtype.itemsize)
        self.bins = np.zeros((rows, bins) if self.whole else (0, 0), np.int64)
        self.shift = np.zeros(channels)
        self.sums = np.zeros((2, channels))

    def add(self, block_HWC: NDArray[Any]) -> None:
        """Count the pixels of a block."""
        flat = np.ascontiguousarray(block_HWC).reshape(-1, block_HWC.shape[2])
        if not self.whole and self.count == 0:
            self.shift = flat[0].astype(np.float64)
        self.count += len(flat)
        flat = flat.view("<u2") if self.paired else flat
        for start in range(0, len(flat), PIXELS):
            part = flat[start : start + PIXELS]
            for channel in range(part.shape[1]):
                if self.whole:
                    self.bins[channel] += np.bincount(part[:, channel], minlength=self.bins.shape[1])
                else:
                    centred = part[:, channel] - self.shift[channel]  # float64, since the shift is
                    self.sums[:, channel] += centred.sum(), (centred * centred).sum()

    def moments(self) -> Moments:
        """Return the moments of all that was added."""
        if not self.whole:
            sums, squares = self.sums
            return Moments(
                self.count, self.shift + sums / self.count, np.maximum(squares - sums**2 / self.count, 0)
            )
        counts = self.bins
        if self.paired:  # the first of a pair is the lower byte, the last axis of the joint counts
            joint = self.bins.reshape(-1, 256, 256)
            counts = np.stack([joint.sum(axis=1), joint.sum(axis=2)], axis=1).reshape(-1, 256)
        values = np.arange(counts.shape[1])
        mean, deviations = [], []
        for bins in counts:
            # Python's whole numbers: the difference of two large products must not be rounded.
            total, square = int((bins * values).sum()), int((bins * values**2).sum())
            mean.append(total / self.count)
            deviations.append((self.count * square - total * total) / self.count)
        return Moments(self.count, np.array(mean), np.array(deviations))


def moments(image_HWC: NDArray[Any]) -> Moments:
    """Return the moments of each channel over the pixels of an image of any dtype, in stored units."""
    tally = Tally(image_HWC.shape[2], image_HWC.dtype)
    tally.add(image_HWC)
    return tally.moments()
