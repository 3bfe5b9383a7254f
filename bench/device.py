"""The torch device of this process and its loader processes; apart from `machine`, which needs no torch."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bench.errors import RequestError
from bench.heap import keep_memory
from bench.machine import cores, gpu_count, gpu_slot
from bench.study.place import whole_number


def device() -> str:
    """Return the torch device to use: BENCH_DEVICE; unset: a free GPU where there is one, else cpu.

    One of several processes of a training (LOCAL_RANK is set) has the GPU of its number among those it sees. Threads,
    freed memory and float32 of this process are set up on the way. Raises RequestError for what cannot be used.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    if not threads.isdigit() or threads == "0":
        raise RequestError(f"OMP_NUM_THREADS={threads}: expected a whole number of threads, 1 or more")
    torch.set_num_threads(int(threads))
    keep_memory()
    exact_float32()
    named, own = os.environ.get("BENCH_DEVICE"), os.environ.get("LOCAL_RANK")
    if own is not None and (named == "cuda" or (named is None and torch.cuda.is_available())):
        return f"cuda:{int(own)}"
    if named is None:
        return f"cuda:{gpu_slot(torch.cuda.device_count())}" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=named)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RequestError(f"BENCH_DEVICE={named}: torch cannot use it ({reason}); try cpu or cuda") from None
    return named


def exact_float32() -> None:
    """Let float32 be float32 on a GPU too: cuDNN's convolutions would otherwise round their factors to TF32.

    10 bits instead of 23 show: predictions would differ from the CPU's in more than near-ties, and a record that says
    float32 would not be true. Low precision is what `amp` is for.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


def named(place: torch.device) -> str:
    """Return a device with its model, for the receipt: `cuda:0 (NVIDIA H100)`, `cpu`."""
    return f"{place} ({torch.cuda.get_device_name(place)})" if place.type == "cuda" else str(place)


def peak_memory(place: torch.device) -> int | None:
    """Return the most device memory that torch held at once, in bytes; None on the CPU (the receipt has the host's)."""
    return int(torch.cuda.max_memory_allocated(place)) if place.type == "cuda" else None


def workers() -> int:
    """Return the number of loader processes (BENCH_WORKERS; unset: 0 on the CPU, else up to 14).

    The cores (`machine.cores`) are shared by the GPUs that are visible, of which other jobs may use the others, and by
    the processes of one training.
    """
    named = whole_number("BENCH_WORKERS", "processes", least=0)
    if named is not None:
        return named
    if not device().startswith("cuda"):
        return 0
    shares = max(1, gpu_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return min(14, max(1, (cores() - 2) // shares))


def micro_batch() -> int | None:
    """Return the images of one forward pass in pre-training (BENCH_MICRO_BATCH; unset: all that the process holds).

    Gradients are summed over the passes of a step, so memory bounds the pass and not the global batch.
    """
    return whole_number("BENCH_MICRO_BATCH", "images")


def reseed(place: torch.device, seed: int) -> None:
    """Seed the generator that drop path and dropout on `place` draw from.

    `torch.manual_seed` would seed every device there is, which costs more than all other draws of a step.
    """
    if place.type == "cuda":
        with torch.cuda.device(place):
            torch.cuda.manual_seed(seed)
    elif place.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


@contextmanager
def determinism() -> Iterator[set[str] | None]:
    """Use torch's deterministic algorithms where BENCH_DETERMINISTIC is 1, and yield what stays without one.

    The set fills with the names of the operations that have none on this device as they are first called; None
    where the switch is off. On the CPU it stays empty. cuBLAS needs CUBLAS_WORKSPACE_CONFIG, which is set here and
    so must come before the first product on the GPU.
    """
    asked = os.environ.get("BENCH_DETERMINISTIC", "0")
    if asked not in ("0", "1"):
        raise RequestError(f"BENCH_DETERMINISTIC={asked}: expected 1 (deterministic algorithms) or 0")
    if asked == "0":
        yield None
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    benchmarked = torch.backends.cudnn.benchmark
    remaining: set[str] = set()
    shown = warnings.showwarning

    def note(message: Warning | str, *words: object, **named: object) -> None:
        if found := re.match(r"(\S+) does not have a deterministic implementation", str(message)):
            remaining.add(found[1])
        else:
            shown(message, *words, **named)  # type: ignore[arg-type]

    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=r"\S+ does not have a deterministic implementation")
        warnings.showwarning = note
        try:
            yield remaining
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
            torch.backends.cudnn.benchmark = benchmarked
