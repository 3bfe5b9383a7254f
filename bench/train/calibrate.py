"""A few timed steps of each network of a study on this device: what `bench plan` reckons with.

Networks, optimizer, autocast and sizes are those of the trainings; pictures are noise, and nothing is learned. What a
loader, a checkpoint or a look at validation pictures costs is not in it.
"""

import gc
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.device import micro_batch, named
from bench.lock import say
from bench.models.backbone import build_classifier
from bench.models.upernet import Segmenter
from bench.plan.calibration import Calibration, Case, Measured, calibration_file, cases, read_calibration
from bench.record import PACKAGES
from bench.seeds import seed_for
from bench.study.runs import Runs
from bench.study.schema import Backbone
from bench.train.optim import adamw, parameter_groups
from bench.train.state import autocast_type

ROUNDS = 5
"""Timed steps, after two that are not."""
PATIENCE = 20.0
"""Seconds after which no further step of a case is begun."""
CLASSES = {"pretrain": 1000, "finetune": 16}
STEP = 1.0
"""Seconds of a step on a CPU from which its batch is not doubled any more: time goes with the number of images then."""


def calibrate(runs: Runs, *, device: str) -> Path:
    """Time every case of the study that was not timed on this device with these versions; return the file.

    Other studies' cases of the same device and versions stay in it; those of another device or version are dropped.
    """
    place = torch.device(device)
    path = calibration_file(runs)
    fresh = Calibration(device=named(place), machine=_machine(), packages=_packages(), cases={})
    before = read_calibration(path)
    if before is not None and asdict(before) | {"cases": {}} == asdict(fresh):
        fresh.cases.update(before.cases)
    wanted = {key: case for key, case in cases(runs).items() if key not in fresh.cases}
    for number, (key, case) in enumerate(wanted.items(), start=1):
        fresh.cases[key] = measure(case, place)
        found = fresh.cases[key]
        say(
            f"{number}/{len(wanted)} {case.backbone} {case.stage} {case.channels} x {case.crop} x {case.crop}: "
            f"{1 / found.seconds_per_image:.3g} images/s in batches of {found.batch}"
        )
        fresh.write(path)
    if not wanted:
        say(f"{len(fresh.cases)} cases were timed before on this device with these versions")
    return path


def measure(case: Case, place: torch.device) -> Measured:
    """Time the training step and the prediction of one case, in the recipe's batch where the device can hold it.

    On a GPU the batch is halved until it fits. On a CPU it is doubled from 4 as long as a step is short.
    BENCH_MICRO_BATCH bounds both.
    """
    most = max(2, min(case.batch, micro_batch() or case.batch))
    if place.type != "cuda":
        batch = min(4, most)
        found = _measure(case, place, batch)
        while batch < most and found.seconds_per_image * batch < STEP / 2:
            batch = min(2 * batch, most)
            found = _measure(case, place, batch, rounds=ROUNDS if batch == most else 1)
        return found
    batch = most
    while True:
        try:
            return _measure(case, place, batch)
        except torch.OutOfMemoryError:
            if batch <= 2:
                raise
            batch //= 2
            torch.cuda.empty_cache()


def _measure(case: Case, place: torch.device, batch: int, *, rounds: int = ROUNDS) -> Measured:
    model = _network(case).to(place).to(memory_format=torch.channels_last)
    model.train()
    optimizer = adamw(
        parameter_groups(model.named_parameters(), weight_decay=0.05), betas=(0.9, 0.999), device=place
    )
    precision = autocast_type(case.amp, place)
    generator = torch.Generator().manual_seed(seed_for("calibrate", case.key))
    image = torch.randn(batch, case.channels, case.crop, case.crop, generator=generator).to(place)
    image = image.contiguous(memory_format=torch.channels_last)
    classes = CLASSES[case.stage]
    shape = (batch,) if case.stage == "pretrain" else (batch, case.crop, case.crop)
    target = torch.randint(classes, shape, generator=generator).to(place)

    def step() -> None:
        with torch.autocast(place.type, dtype=precision, enabled=precision is not None):
            found = model(image)
        outputs: tuple[Tensor, ...] = found if isinstance(found, tuple) else (found,)
        loss = sum((nn.functional.cross_entropy(one.float(), target) for one in outputs), torch.zeros(()))
        torch.as_tensor(loss).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    gc.collect()  # of the case before
    _forget_peak(place)
    trained = _seconds(step, place, rounds)
    memory = _peak(place)
    optimizer.zero_grad(set_to_none=True)
    model.eval()
    window = torch.randn(1, case.channels, case.window, case.window, generator=generator).to(place)

    def predict() -> None:
        with (
            torch.inference_mode(),
            torch.autocast(place.type, dtype=precision, enabled=precision is not None),
        ):
            model(window)

    _forget_peak(place)
    predicted = _seconds(predict, place, rounds)
    found = Measured(
        seconds_per_image=trained / batch,
        predicted_per_image=predicted,
        memory=memory,
        predicted_memory=_peak(place),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        batch=batch,
    )
    return found


def _network(case: Case) -> nn.Module:
    held: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in case.architecture.items()
    }
    architecture = Backbone(**held)
    if case.heads is None:
        return build_classifier(architecture, case.channels, CLASSES["pretrain"], 0.1, case.crop)
    head, auxiliary = case.heads
    return Segmenter(
        architecture,
        case.channels,
        CLASSES["finetune"],
        drop_path=0.1,
        head_channels=head,
        aux_channels=auxiliary,
    )


def _seconds(task: Callable[[], None], place: torch.device, rounds: int) -> float:
    """Return the median seconds of a task, after two rounds that are not counted."""
    found, began = list[float](), time.monotonic()
    for turn in range(2 + rounds):
        if turn > 1 and found and time.monotonic() - began > PATIENCE:
            break
        before = time.perf_counter()
        task()
        if place.type == "cuda":
            torch.cuda.synchronize(place)
        if turn > 1 or (turn == 1 and time.monotonic() - began > PATIENCE):
            found.append(time.perf_counter() - before)
    return statistics.median(found)


def _forget_peak(place: torch.device) -> None:
    """Begin to count the peak memory anew: the device's, or this process's where the kernel lets it (Linux)."""
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats(place)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak(place: torch.device) -> int | None:
    """Return the peak bytes since `_forget_peak`; None where nothing tells."""
    if place.type == "cuda":
        return int(torch.cuda.max_memory_allocated(place))
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        return None


def _machine() -> str:
    """Return the processor's name, which on a CPU is the device."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _packages() -> dict[str, str]:
    found = {}
    for package in PACKAGES[:3]:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
