"""Pre-training measured: the loop against its parts (`train_loop`); what strategies and checkpoints cost; a projection.

All pictures and weights are drawn here, under a seed.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.benchmark.measure import Row, interleaved
from bench.benchmark.train_loop import loop_rows
from bench.heap import keep_memory
from bench.models.backbone import build_classifier
from bench.strategies import STRATEGIES, apply_plan, channel_plan
from bench.study.recipes import PretrainRecipe
from bench.study.schema import Backbone
from bench.train import pretrain as story
from bench.train.checkpoint import Checkpoints
from bench.train.state import training_state

CPU = torch.device("cpu")
CHANNELS = 4
TINY = Backbone(family="convnext", depths=(3, 3, 9, 3), widths=(96, 192, 384, 768))
RECIPE = PretrainRecipe(
    epochs=1, batch_size=4, crop=224, lr=1e-3, weight_decay=0.05, warmup_epochs=0, min_lr=0.0, drop_path=0.1,
    label_smoothing=0.1,
)  # fmt: skip
DEMAND = 3000
"""Images a second that one fast GPU takes of ConvNeXt-T: the figure to be fed."""


def measure() -> list[Row]:
    """Return the ratios of the loop, the cost of the strategies, of a checkpoint, and the projection."""
    torch.set_num_threads(1)
    keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        return loop_rows() + _strategies() + _checkpoint(place) + _projection(place / "photographs")


# -- strategies against a step of ConvNeXt-T -----------------------------------------------------------------


def _strategies() -> list[Row]:
    """Return the cost of every strategy on uint8 images of 224 pixels, as a share of a step of ConvNeXt-T."""
    model = build_classifier(TINY, CHANNELS, 1000, 0.1, 224).to(memory_format=torch.channels_last).train()
    training, precision = training_state(model, replace(RECIPE, amp="bf16"), CPU)
    inputs = torch.randn(4, CHANNELS, 224, 224).contiguous(memory_format=torch.channels_last)
    targets = torch.full((4, 1000), 1e-3)

    def step() -> None:
        training.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=precision, enabled=precision is not None):
            logits = model(inputs)
        F.cross_entropy(logits.float(), targets).backward()
        training.update(None)

    a_step = interleaved({"step": step}, rounds=3)["step"] / 4
    kind = str(precision or torch.float32).removeprefix("torch.")
    rows = []
    # The larger batch is more than the heap keeps, so that each of its tensors is memory fresh from the system.
    for count, names, limit in ((32, tuple(STRATEGIES), "at most 0.2"), (128, ("csp", "weights"), "")):
        images = torch.randint(0, 256, (count, 3, 224, 224), dtype=torch.uint8)
        seconds = interleaved({name: _arranged(name, images) for name in names}, rounds=9)
        rows += [
            Row(
                what=f"strategy {name}, {count} images: share of a ConvNeXt-T step at 224",
                value=100 * seconds[name] / count / a_step,
                unit="%",
                limit=limit,
                note=f"plan and channels, {CHANNELS} of them, {1e6 * seconds[name] / count:.0f} us an image; step "
                f"{1e3 * a_step:.0f} ms an image in {kind}",
            )
            for name in names
        ]
    return [*rows, _to_a_copy()]


def _arranged(name: str, images: Tensor) -> Callable[[], object]:
    n = 3 if name == "rgb" else CHANNELS
    generator = torch.Generator().manual_seed(0)
    return lambda: apply_plan(images, channel_plan(name, n, len(images), generator))


def _to_a_copy() -> Row:
    """Return what the channels of a plan cost beside a copy of as many planes into memory that is there."""
    images = torch.randint(0, 256, (128, 3, 224, 224), dtype=torch.uint8)
    plan = channel_plan("csp", CHANNELS, len(images), torch.Generator().manual_seed(0))
    source = apply_plan(images, plan)
    output = torch.empty_like(source)
    seconds = interleaved(
        {
            "channels": lambda: apply_plan(images, plan),
            "with the plan": _arranged("csp", images),
            "copy": lambda: output.copy_(source),
        },
        rounds=15,
    )
    return Row(
        what="channels of a csp plan to a copy of as many planes",
        value=seconds["channels"] / seconds["copy"],
        unit="x",
        note=f"{len(images)} images of 224 px; with the plan drawn {seconds['with the plan'] / seconds['copy']:.2f}",
    )


# -- checkpoints and the projection --------------------------------------------------------------------------


def _checkpoint(folder: Path) -> list[Row]:
    """Return what a checkpoint of ConvNeXt-T costs: weights, average and both moments."""
    model = build_classifier(TINY, CHANNELS, 1000, 0.1, 224)
    training, _ = training_state(model, replace(RECIPE, ema=0.9999), CPU)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    training.update(None)
    kept, checkpoints = training.kept(), Checkpoints(folder / "checkpoint", "f" * 64)
    seconds = []
    for step in range(3):
        began = time.perf_counter()
        checkpoints.save(step, {"training": kept})
        seconds.append(time.perf_counter() - began)
    written = sum(path.stat().st_size for path in checkpoints.folder.glob("*-000000002.*"))
    every = max(story.CHECKPOINT_SECONDS, story.PAUSE * statistics.median(seconds))
    return [
        Row(
            what="checkpoints of ConvNeXt-T with AdamW and average: share of the time",
            value=100 * statistics.median(seconds) / every,
            unit="%",
            limit="at most 1",
            note=f"so chosen, by when it is written: {written / 1e6:.0f} MB in {statistics.median(seconds):.2f} s, "
            f"flushed to disk, every {every:.0f} s",
        )
    ]


def _projection(folder: Path) -> list[Row]:
    """Return the images a second that 16 cores would load, from the rate of one; not measured there."""
    from bench.benchmark import data

    store = data._packed(folder)

    def loading(decoder: str) -> Callable[[], object]:
        return lambda: data._exhaust(data._ours(store, data._with(decoder), 2, workers=0))

    seconds = interleaved({decoder: loading(decoder) for decoder in ("pillow", "torchvision")}, rounds=3)
    rates = {decoder: data.PHOTOGRAPHS / spent for decoder, spent in seconds.items()}
    return [
        Row(
            what=f"projected: images a second from 14 loader processes of 16 cores, {decoder}",
            value=14 * 0.65 * rate,
            unit="images/s",
            limit=f"at least {DEMAND}",
            note=f"14 processes x 0.65 (shared memory bandwidth, boost clocks) x {rate:.0f} a second and core, with "
            f"{data.POLICY}; a GPU that takes {DEMAND} needs {DEMAND / (14 * 0.65):.0f} of each",
        )
        for decoder, rate in rates.items()
    ]
