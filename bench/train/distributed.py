"""One training in several processes: each process's share of the global batch, and what they say to each other.

The processes find each other by torchrun's environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT),
which `bench.train.launch` sets for one machine and `torchrun -m bench pretrain ...` for several. The global
batch is the invariant: rank r of W holds the contiguous positions rB/W .. (r+1)B/W - 1 of it, cut into
micro-batches, and whatever is drawn for an image is a function of its position.
"""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bench.errors import BenchError, RequestError

TIMEOUT = timedelta(hours=12)
"""How long one process waits for another: a second writer of a run waits for the first within it."""


@dataclass(frozen=True)
class Ranks:
    """Which of the training's processes this one is; with one process every exchange is the identity."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Say whether this is the process that logs and writes."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.world > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor)
        return tensor

    def smallest(self, tensor: Tensor) -> Tensor:
        """Return the elementwise minimum of a tensor over all processes."""
        if self.world > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor, dist.ReduceOp.MIN)
        return tensor

    def each(self, tensor: Tensor) -> Tensor:
        """Return a scalar of every process, by rank: [world]."""
        found = torch.zeros(self.world, dtype=tensor.dtype, device=tensor.device)
        found[self.rank] = tensor
        return self.sum(found)

    def own(self, each: Tensor) -> Tensor:
        """Undo `each`; where the number of processes has changed, the first takes the sum and the others 0.

        Sums that were averaged over `len(each)` processes are rescaled to the average over these.
        """
        if len(each) == self.world:
            return each[self.rank]
        return each.sum() * (self.world / len(each)) * int(self.first)

    def told(self, number: int) -> int:
        """Return the number that the first process has, in all of them."""
        held = torch.tensor([int(number) if self.first else 0])
        return int(self.sum(held)[0])

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Say of each flag whether any process has raised it. On the host: no device waits for it."""
        if self.world == 1:
            return flags
        held = torch.tensor([int(flag) for flag in flags])
        dist.all_reduce(held, dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in held)


@contextmanager
def process_group(device: torch.device) -> Iterator[Ranks]:
    """Join the processes of this training, and leave them at the end; alone where the environment names none.

    CUDA tensors go over NCCL, those of the host over gloo. Raises BenchError when another process is gone, by whatever
    it died: it may have had no time to say so itself.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks()
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group(backend, timeout=TIMEOUT)
        yield Ranks(dist.get_rank(), dist.get_world_size())
    except RuntimeError as error:
        if not _says_that_another_is_gone(error):
            raise
        # gloo begins with the place in its own source and ends with what such an error may mean.
        reason = re.sub(r"^\[[^]]*\] *|\. This .*", "", str(error).strip().splitlines()[0])
        raise BenchError(
            f"process {os.environ['RANK']} of {world}: another process of this training is gone, so this one ends too "
            f"({reason}); the same command goes on from the last state"
        ) from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _says_that_another_is_gone(error: RuntimeError) -> bool:
    """Say whether an exchange failed: NCCL's errors have a type of their own, gloo's only its name in the text."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


def averaging(network: nn.Module) -> nn.Module:
    """Return the network such that its gradients are averaged over all processes as they are computed.

    Weights are equal from the start. Buffers are not exchanged: a classifier has none, and a segmenter's batch norm
    sees the batch of all processes by itself (`batch_norm`), or is each process's own where a recipe says so.
    """
    with warnings.catch_warnings():
        # Newer versions call it forward_sync_buffers, which older ones do not know.
        warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)
        return DistributedDataParallel(network, broadcast_buffers=False, gradient_as_bucket_view=True)


@dataclass(frozen=True)
class Share:
    """What one process holds of each global batch of `batch` images.

    `micro` is the number of images in one forward pass (unset: the whole share), a fact of the machine.
    `block` is the number of neighbouring positions that mixing pairs among (unset: the whole batch).
    """

    batch: int
    ranks: Ranks = Ranks()
    micro: int | None = None
    block: int | None = None

    def __post_init__(self) -> None:
        """Raise RequestError for a partition that is not whole, or that would part images from their partners."""
        batch, world, size = self.batch, self.ranks.world, self.batch // self.ranks.world
        if batch % world:
            raise RequestError(
                f"the global batch of {batch} images cannot be shared equally by {world} processes: choose "
                f"BENCH_GPUS_PER_JOB among the divisors of {batch}, or another batch_size"
            )
        if size % self.images:
            raise RequestError(
                f"BENCH_MICRO_BATCH={self.images} does not divide the {size} images that each of {world} "
                f"process(es) holds of the global batch of {batch}: choose one of {_divisors(size)}"
            )
        if self.block is None or self.images % self.block == 0:
            return
        asked = f"BENCH_MICRO_BATCH={self.micro}" if self.micro else f"BENCH_GPUS_PER_JOB={world}"
        fitting = [part for part in _divisors(size) if part % self.block == 0]
        if fitting:
            remedy = f"choose BENCH_MICRO_BATCH among {fitting}"
        else:
            remedy = (
                f"a smaller mix_block in the recipe, such as {size}, allows it (and is another experiment)"
            )
        raise RequestError(
            f"{asked}: a forward pass of {self.images} images is no multiple of the {self.block} neighbours of the "
            f"global batch that mixup and cutmix pair among (mix_block), so partners would be parted: {remedy}"
        )

    @property
    def images(self) -> int:
        """Images in one forward pass."""
        return self.micro or self.batch // self.ranks.world

    @property
    def passes(self) -> int:
        """Forward passes a step."""
        return self.batch // self.ranks.world // self.images

    def blocks(self, first: int) -> Iterator[tuple[int, slice]]:
        """Yield the mixing blocks of the micro-batch at global position `first`: (number, its rows)."""
        block = self.block or self.batch
        for start in range(0, self.images, block):
            yield (first + start) // block, slice(start, start + block)


def _divisors(number: int) -> list[int]:
    return [part for part in range(1, number + 1) if number % part == 0]
