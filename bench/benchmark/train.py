"""Pre-training measured against its parts: the bare step, the loader alone; then strategies, checkpoints, a projection.

All pictures and weights are drawn here, under a seed. The loop is the real one, with everything it does beside the
step; only its progress bar is replaced, by one that keeps the time.
"""

import contextlib
import io
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from bench.benchmark.measure import Row, interleaved
from bench.data.loaders import training_images
from bench.data.manifest import ClassificationManifest
from bench.data.store import ClassificationStore
from bench.heap import keep_memory
from bench.models.backbone import build_classifier
from bench.progress import Progress
from bench.strategies import STRATEGIES, apply_plan, channel_plan
from bench.study.jobs import PretrainRun
from bench.study.recipes import PretrainRecipe
from bench.study.schema import Backbone
from bench.train import pretrain as story
from bench.train.checkpoint import Checkpoints
from bench.train.state import training_state

CPU = torch.device("cpu")
IMAGES, SIDE, CLASSES = 4096, 72, 10
CHANNELS = 4
SMALL = {
    "small ConvNeXt": Backbone(
        family="convnext", depths=(2, 2, 2, 2), widths=(16, 32, 64, 128), layer_scale=0.1
    ),
    "small Swin": Backbone(
        family="swin", depths=(2, 2, 2, 2), widths=(16, 32, 64, 128), heads=(1, 2, 4, 8), window=4
    ),
}
TINY = Backbone(family="convnext", depths=(3, 3, 9, 3), widths=(96, 192, 384, 768))
RECIPE = PretrainRecipe(
    epochs=2, batch_size=64, crop=64, lr=2e-3, weight_decay=0.05, warmup_epochs=0, min_lr=1e-5, drop_path=0.1,
    label_smoothing=0.1, mixup=0.2, scale_min=0.25,
)  # fmt: skip
"""As config/mini.yaml has it: what such small networks on so few pixels are trained with."""
FULL = replace(RECIPE, mixup=0.8, cutmix=1.0, erasing=0.25)
"""Mixing and erasing as in the published recipes: made for a step that costs a hundred times as much a pixel."""
STEPS, WARM, TURNS = 64, 16, 16
"""Steps of an epoch; those left out at the beginning; steps of a turn, for which a loader process makes one chunk."""
PROCESSES = 5
STRATEGY_BATCH = 32
DEMAND = 3000
"""Images a second that one fast GPU takes of ConvNeXt-T: the figure to be fed."""


def measure() -> list[Row]:
    """Return the ratios of the loop, the cost of the strategies, of a checkpoint, and the projection."""
    torch.set_num_threads(1)
    keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for name in SMALL:
            for what, recipe, limit in (
                ("small recipe", RECIPE, "at least 0.95"),
                ("published recipe", FULL, ""),
            ):
                rows.append(_loop(name, recipe, Path(folder) / name / what, limit, what))
        return rows + _strategies() + _checkpoint(Path(folder)) + _projection(Path(folder) / "photographs")


# -- the loop against its parts ------------------------------------------------------------------------------


class Clock(Progress):
    """Times every step of the loop instead of showing it, and takes a bare step between two of them.

    So the two take turns as closely as they can, and a busy machine slows both.
    """

    bare: Callable[[], object]
    found: list[tuple[float, float, float, float]]
    """Of each turn: seconds of the loop and of the bare step on the wall; computing time of both."""

    def __init__(self, *words: Any, **settings: Any) -> None:
        super().__init__(*words, **{**settings, "stream": io.StringIO()})
        Clock.found, self.resumed = [], _now()

    def update(self, **values: float) -> None:
        """End a step of the loop, take a bare one, and begin the next of the loop."""
        super().update(**values)
        ended = _now()
        Clock.bare()
        resumed = _now()
        (loop, loop_cpu), (bare, bare_cpu) = ended - self.resumed, resumed - ended
        Clock.found.append((loop, bare, loop_cpu, bare_cpu))
        self.resumed = _now()


def _now() -> NDArray[np.float64]:
    """Return the time on the wall, and that for which this process has computed."""
    return np.array([time.perf_counter(), time.process_time()])


def _loop(name: str, recipe: PretrainRecipe, folder: Path, limit: str, what: str) -> Row:
    """Return the median over several processes: where one's memory happens to lie moves its ratio by 1 to 2 %."""
    context, size = multiprocessing.get_context("spawn"), recipe.batch_size
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        runs = [(name, recipe, folder / str(number)) for number in range(PROCESSES)]
        found = np.array([pool.submit(_timed, *run).result() for run in runs])
    ratios, computing, *seconds = found.T
    parts = zip(("loop", "step", "loader"), size / np.median(seconds, axis=1), strict=True)
    rates = (f"{part} {rate:.0f}" for part, rate in parts)
    return Row(
        what=f"pre-training loop, {name}, {what}: to the smaller of bare step and loader",
        value=float(np.median(ratios)),
        unit="x",
        limit=limit,
        note=f"64 px, batch {size}, 1 loader process: {', '.join(rates)} images a second; computing time of step to "
        f"loop {np.median(computing):.3f}; {PROCESSES} processes, {ratios.min():.3f} to {ratios.max():.3f}",
    )


def _timed(name: str, recipe: PretrainRecipe, folder: Path) -> tuple[float, ...]:
    """Return the ratio on the wall and in computing time; the seconds of a step: in the loop, bare, of the loader."""
    torch.set_num_threads(1)
    keep_memory()
    store = _pictures(folder)
    run = _run(name, recipe, folder / "run", store)
    with (
        patch.object(story, "Progress", Clock),
        patch.object(Clock, "bare", staticmethod(_bare_step(SMALL[name], recipe)), create=True),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        story.pretrain(run, device="cpu", workers=1)
    loader = _of_loader(store, recipe)
    # The mean over the steps of a chunk, since one of them waits for it; then the median of ratios side by side.
    turns = np.array(Clock.found[WARM:]).reshape(-1, TURNS, 4).mean(axis=1)
    loop, bare, loop_cpu, bare_cpu = turns.T
    ratios = np.maximum(bare, loader) / loop, bare_cpu / loop_cpu
    return tuple(float(np.median(each)) for each in (*ratios, loop, bare, loader))


def _of_loader(store: ClassificationStore, recipe: PretrainRecipe) -> float:
    """Return the seconds a batch of the loader alone."""
    ends = []
    for passes in training_images(store, recipe, seed=0, start=0, stop=STEPS, workers=1, device=CPU):
        for _ in passes:
            ends.append(time.perf_counter())
    # From the last batch of one chunk to the last of another.
    return (ends[-1] - ends[WARM - 1]) / (len(ends) - WARM)


def _bare_step(architecture: Backbone, recipe: PretrainRecipe) -> Callable[[], object]:
    """Return a step on one batch that is on the device already: forward, loss, backward, AdamW."""
    model = build_classifier(architecture, CHANNELS, CLASSES, recipe.drop_path, recipe.crop)
    training, _ = training_state(model.to(memory_format=torch.channels_last).train(), recipe, CPU)
    images = torch.randn(recipe.batch_size, CHANNELS, recipe.crop, recipe.crop).contiguous(
        memory_format=torch.channels_last
    )
    targets = torch.full((recipe.batch_size, CLASSES), 1 / CLASSES)

    def step() -> None:
        training.optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), targets).backward()
        training.update(None)

    return step


def _pictures(folder: Path) -> ClassificationStore:
    """Write pictures of noise, uint8 [N, side, side, 3]: what they show costs nothing or the same."""
    draw = np.random.default_rng(0)
    (folder / "prepared").mkdir(parents=True)
    splits = {}
    for split, count in (("train", IMAGES), ("val", 64)):
        np.save(
            folder / "prepared" / f"{split}.npy",
            draw.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8),
        )
        np.save(folder / "prepared" / f"{split}.labels.npy", np.arange(count, dtype=np.int64) % CLASSES)
        files = {"images": f"prepared/{split}.npy", "labels": f"prepared/{split}.labels.npy"}
        splits[split] = {"count": count, **files}
    ClassificationManifest(
        dataset="drawn", scale="miniature", digest="drawn", spec={}, splits=splits, sources=[], form="decoded",
        size=SIDE, classes=[{"index": i, "wnid": f"n{i}", "name": str(i)} for i in range(CLASSES)],
        mean=[127.5] * 3, std=[73.9] * 3,
    ).write(folder / "manifest.json")  # fmt: skip
    return ClassificationStore(folder / "manifest.json")


def _run(name: str, recipe: PretrainRecipe, folder: Path, store: ClassificationStore) -> PretrainRun:
    return PretrainRun(
        study="drawn", scale="miniature", folder=str(folder), backbone="small", architecture=SMALL[name],
        label="csp-4ch", strategy="csp", fill="cycle", scope="image", probability=1.0, channels=CHANNELS,
        repetition=0, root_seed=0, recipe=recipe, data="drawn", manifest=str(store.path),
        spec={"architecture": asdict(SMALL[name])}, inputs={"manifest": "drawn"},
    )  # fmt: skip


# -- strategies against a step of ConvNeXt-T -----------------------------------------------------------------


def _strategies() -> list[Row]:
    """Return the cost of every strategy on uint8 images of 224 pixels, as a share of a step of ConvNeXt-T."""
    recipe = replace(RECIPE, batch_size=4, crop=224)
    model = build_classifier(TINY, CHANNELS, 1000, 0.1, 224).to(memory_format=torch.channels_last).train()
    training, precision = training_state(model, replace(recipe, amp="bf16"), CPU)
    inputs = torch.randn(4, CHANNELS, 224, 224).contiguous(memory_format=torch.channels_last)
    targets = torch.full((4, 1000), 1e-3)

    def step() -> None:
        training.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=precision, enabled=precision is not None):
            logits = model(inputs)
        F.cross_entropy(logits.float(), targets).backward()
        training.update(None)

    a_step = interleaved({"step": step}, rounds=3)["step"] / 4
    images = torch.randint(0, 256, (STRATEGY_BATCH, 3, 224, 224), dtype=torch.uint8)
    output = torch.empty(STRATEGY_BATCH, CHANNELS, 224, 224, dtype=torch.uint8)
    source = output.clone()

    def arranged(name: str) -> Callable[[], object]:
        n = 3 if name == "rgb" else CHANNELS
        generator = torch.Generator().manual_seed(0)
        return lambda: apply_plan(images, channel_plan(name, n, STRATEGY_BATCH, generator))

    tasks: dict[str, Callable[[], object]] = {name: arranged(name) for name in STRATEGIES}
    seconds = interleaved({**tasks, "copy": lambda: output.copy_(source)}, rounds=9)
    kind = str(precision or torch.float32).removeprefix("torch.")
    rows = [
        Row(
            what=f"strategy {name}: share of a ConvNeXt-T step at 224",
            value=100 * seconds[name] / STRATEGY_BATCH / a_step,
            unit="%",
            limit="at most 0.2" if name not in ("grey", "weights") else "",
            note=f"plan and channels, {CHANNELS} of them, {1e6 * seconds[name] / STRATEGY_BATCH:.0f} us an image; step "
            f"{1e3 * a_step:.0f} ms an image in {kind}",
        )
        for name in STRATEGIES
    ]
    note = "into memory that is there already; the strategy's output is new memory"
    return [
        *rows,
        Row(
            what="strategy csp to a copy of its output",
            value=seconds["csp"] / seconds["copy"],
            unit="x",
            note=note,
        ),
    ]


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
            note=f"{written / 1e6:.0f} MB in {statistics.median(seconds):.2f} s, flushed to disk, every {every:.0f} s",
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
            note=f"14 processes x 0.65 (shared memory bandwidth, boost clocks) x {rate:.0f} a second and core, with "
            f"{data.POLICY}; a GPU that takes {DEMAND} needs {DEMAND / (14 * 0.65):.0f} of each",
        )
        for decoder, rate in rates.items()
    ]
