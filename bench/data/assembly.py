"""From keys to batches on the device: loader processes make small chunks, which are put together in order.

A chunk, not a batch, is what a process makes at a time: a batch of 4096 photographs would lie in memory once a
process, and the first one would be as late as one process is slow; small batches share a chunk, since handing one
over costs up to two milliseconds whatever it holds. What is made does not depend on the cut.
"""

import shutil
import signal
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from bench.data.keys import Chunked, Key
from bench.errors import BenchError

Arrays = tuple[NDArray[Any], NDArray[Any] | np.int64]
"""One sample: its image, its label or label map."""
Batch = tuple[Tensor, Tensor]
"""Images and labels."""

CHUNK_SAMPLES = 1024
CHUNK_BYTES = 16 << 20
"""A chunk is as many samples as both allow, one at least."""
QUEUE_BYTES = 1 << 30
"""Memory for what loader processes have made ahead, all of them together."""
QUEUED = 4
"""Chunks that a process makes ahead where memory allows."""
CUT = 2
"""Chunks that batches are being cut out of: the one that is left, and the next."""
OUTLIVED = 30
"""Seconds for which a loader process goes on after SIGTERM."""
START = "fork" if sys.platform == "linux" else "spawn"
"""How loader processes start."""
SHARED_MEMORY = Path("/dev/shm")
"""Where chunks pass between processes; containers often keep it small."""


class MicroBatch(NamedTuple):
    """A piece of a step's global batch; its first image stands at position `first` of that batch."""

    first: int
    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Failure:
    """What a loader process hands over instead of a chunk, since an exception would carry its traceback along."""

    message: str


class Samples(Dataset[Any], ABC):
    """What a loader process holds: makes each sample from its key. Can be pickled."""

    sample_bytes: int
    """Bytes of one sample, image and label."""

    @abstractmethod
    def sample(self, epoch: int, index: int) -> Arrays:
        """Return the sample that a key names."""

    def __getitems__(self, keys: Sequence[Key]) -> list[Arrays] | Failure:
        try:
            return [self.sample(*key) for key in keys]
        except BenchError as error:
            return Failure(str(error))


@dataclass(frozen=True)
class Queue:
    """How much is made at a time and how much ahead."""

    chunk: int
    """Samples in a chunk."""
    ahead: int
    """Chunks a process makes ahead."""


def plan_queue(total: int, largest: int, sample_bytes: int, workers: int, memory: int) -> Queue:
    """Return chunk and queue for `total` samples in batches of at most `largest`.

    What is ahead and the two chunks that batches are being cut out of fit into `memory` bytes. Without loader processes
    a chunk is no larger than a batch. Raises BenchError where not even chunks of one sample fit.
    """
    chunk = min(CHUNK_SAMPLES, max(1, CHUNK_BYTES // sample_bytes))
    if not workers:
        return Queue(min(chunk, largest), 0)
    fitting, least = min(memory, QUEUE_BYTES) // sample_bytes, workers + CUT
    if fitting < least:
        raise BenchError(
            f"{workers} loader processes need at least {least * sample_bytes >> 20} MiB of shared memory, "
            f"{memory >> 20} MiB are free; lower BENCH_WORKERS or enlarge {SHARED_MEMORY}"
        )
    # Where there are few samples, each process has its share of them.
    chunk = min(chunk, fitting // least, max(1, -(-total // workers)))
    return Queue(chunk, min(QUEUED, (fitting // chunk - CUT) // workers))


def assembled(
    samples: Samples,
    keys: Sampler[list[Key]],
    sizes: Iterator[int],
    *,
    total: int,
    largest: int,
    workers: int,
    device: torch.device,
) -> Generator[Batch]:
    """Yield the batches of `keys`, whose lengths are `sizes`, in order and on the device.

    The lengths are `largest` at most and `total` together. Whoever may fail between two batches closes this, which ends
    the loader processes. Raises BenchError, as one sentence, for what goes wrong in one of them or kills it.
    """
    memory = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else QUEUE_BYTES
    queue = plan_queue(total, largest, samples.sample_bytes, workers, memory)
    pinned = device.type == "cuda"
    loader: DataLoader[Any] = DataLoader(
        samples,
        batch_sampler=Chunked(keys, queue.chunk),
        num_workers=workers,
        collate_fn=_stack,
        pin_memory=pinned,
        prefetch_factor=queue.ahead or None,
        multiprocessing_context=START if workers else None,
        worker_init_fn=_outlive_signals,
        # A generator of its own, since the loader would otherwise draw from the global one.
        generator=torch.Generator().manual_seed(0),
    )
    chunks = _started(loader)
    try:
        yield from _cut(_whole(chunks), sizes, device)
    finally:
        # Now, and not when it is collected: the traceback of an error would keep the iterator until then.
        if workers:
            chunks._shutdown_workers()


def _started(loader: DataLoader[Any]) -> Any:
    """Return the loader's iterator with its processes running.

    They are forked from this process: children of its own, which end when it is killed and whose end it is told of at
    once (under a fork server neither holds), and which need not import torch again. They never touch a GPU, and start
    before this process has threads of its own that work; hence Python's warning of such forks is silenced.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*use of fork\\(\\) may lead to deadlocks", category=DeprecationWarning
        )
        return iter(loader)


def _outlive_signals(worker: int) -> None:
    """Go on for a while after SIGTERM: a cluster tells every process of a job to stop, and the training has to save.

    Not for ever, since the signal is also how this process is ended when the training has failed.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(OUTLIVED))


def _stack(samples: list[Arrays] | Failure) -> tuple[Tensor, Tensor | NDArray[Any]] | Failure:
    # In a loader process default_collate stacks into shared memory: one copy.
    if isinstance(samples, Failure):
        return samples
    images, labels = zip(*samples, strict=True)
    stacked: Tensor = default_collate([torch.from_numpy(image) for image in images])
    if np.ndim(labels[0]):
        return stacked, default_collate([torch.from_numpy(label) for label in labels])
    # A few bytes each: they go along with the message, which costs less than memory to share.
    return stacked, np.array(labels)


def _whole(chunks: Iterator[Any]) -> Iterator[Batch]:
    while True:
        try:
            chunk = next(chunks, None)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise BenchError(
                f"a loader process died ({str(error).splitlines()[0]}); if memory ran out, lower BENCH_WORKERS"
            ) from None
        if chunk is None:
            return
        if isinstance(chunk, Failure):
            raise BenchError(chunk.message)
        images, labels = chunk
        yield images, torch.as_tensor(labels)


def _cut(chunks: Iterator[Batch], sizes: Iterator[int], device: torch.device) -> Iterator[Batch]:
    """Yield the samples of the chunks in batches of `sizes`, on the device.

    A batch that lies within one chunk is a part of it and not copied on the host; any other is put together.
    """
    rest: Batch | None = None
    for size in sizes:
        whole, filled = None, 0
        while filled < size:
            images, labels = rest or next(chunks)
            taken = min(size - filled, len(images))
            rest = (images[taken:], labels[taken:]) if taken < len(images) else None
            images, labels = images[:taken], labels[:taken]
            if taken == size:
                whole = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            else:
                if whole is None:
                    whole = _empty(images, size, device), _empty(labels, size, device)
                here = slice(filled, filled + taken)
                # Images from pinned memory, straight to their place.
                whole[0][here].copy_(images, non_blocking=True)
                whole[1][here].copy_(labels, non_blocking=True)
            filled += taken
        if whole is not None:
            yield whole


def _empty(like: Tensor, size: int, device: torch.device) -> Tensor:
    return like.new_empty((size, *like.shape[1:]), device=device)
