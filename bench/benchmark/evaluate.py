"""Evaluation and fine-tuning measured against their parts: counting, argmax, sliding window, memory, the bare step.

All scenes, labels and weights are drawn here, under a seed. The network of the sliding window is a small one, beside
which the machinery shows most; memory is that of ConvNeXt-T.
"""

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from bench.benchmark.measure import Row
from bench.data.manifest import SegmentationManifest
from bench.evaluate.boundary import edge_counts
from bench.evaluate.confusion import confusion
from bench.evaluate.predict import Sliding, id_bands, logit_bands, window_starts
from bench.evaluate.scenes import TensorScene
from bench.heap import keep_memory
from bench.models.initial import initialise
from bench.models.upernet import Segmenter
from bench.progress import Progress
from bench.study.jobs import FinetuneRun
from bench.study.recipes import FinetuneRecipe
from bench.study.schema import Backbone
from bench.train import finetune as story
from bench.train.optim import adamw, parameter_groups, set_lr
from bench.train.segmenter import segmentation_loss

CLASSES, SIDE = 16, 1024
ATTO = Backbone(family="convnext", depths=(2, 2, 6, 2), widths=(40, 80, 160, 320))
TINY = Backbone(family="convnext", depths=(3, 3, 9, 3), widths=(96, 192, 384, 768))
SMALL = Backbone(family="convnext", depths=(2, 2, 2, 2), widths=(16, 32, 64, 128), layer_scale=0.1)
WINDOW, STRIDE = 256, 171
WIDTHS = (1, 3, 5)
RECIPE = FinetuneRecipe(
    iterations=24, batch_size=8, crop=96, lr=1e-3, weight_decay=0.05, warmup_iterations=3, drop_path=0.1,
    head_channels=64, aux_channels=32,
)  # fmt: skip
CHANNELS, TARGETS = 4, 6
ROUNDS, WARM = 9, 6
MIB = 1 << 20


def measure() -> list[Row]:
    """Return what counting, prediction, memory, the boundary measures and the loop cost, beside what they serve."""
    torch.set_num_threads(1)
    keep_memory()
    target, prediction = _labels(SIDE, 0), _labels(SIDE, 1)
    target[:40] = 255
    part = slice(0, 598)  # 3 x 3 windows
    window = _window(*(np.ascontiguousarray(ids[part, part]) for ids in (target, prediction)))
    rows = [*_counting(target, prediction), *window, _memory()]
    with tempfile.TemporaryDirectory() as folder:
        return [*rows, _loop(Path(folder))]


def _labels(side: int, seed: int) -> NDArray[np.uint8]:
    """Return patches of class ids, 16 pixels a side, with single pixels of other classes among them."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, CLASSES, (side // 16, side // 16), dtype=np.uint8)
    ids = coarse.repeat(16, 0).repeat(16, 1)
    noise = draw.random(ids.shape) < 0.02
    ids[noise] = draw.integers(0, CLASSES, int(noise.sum()), dtype=np.uint8)
    return np.ascontiguousarray(ids)


def _computed(tasks: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Return the median seconds that each task computes, over `rounds` in which the tasks take turns, after one more.

    Not those on the wall: everything here is one thread, and what the machine does for others does not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(1 + rounds):
        for name, task in tasks.items():
            began = time.process_time()
            task()
            seconds[name].append(time.process_time() - began)
    return {name: statistics.median(found[1:]) for name, found in seconds.items()}


# -- counting and argmax -------------------------------------------------------------------------------------


def _counting(target: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> list[Row]:
    logits = torch.randn(CLASSES, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    tasks: dict[str, Callable[[], object]] = {
        "ours": lambda: confusion(target, prediction, CLASSES),
        "max": lambda: logits.max(0).indices.to(torch.uint8),
        "argmax": lambda: logits.argmax(0),
    }
    try:
        from torchmetrics.functional.classification import multiclass_confusion_matrix as matrix

        preds, wanted = (torch.from_numpy(ids.astype(np.int64)) for ids in (prediction, target))
        tasks["torchmetrics"] = lambda: matrix(
            preds, wanted, num_classes=CLASSES, ignore_index=255, validate_args=False
        )
    except ImportError:
        pass
    seconds = _computed(tasks, rounds=9)
    ours = seconds["ours"]
    rows = [
        Row(
            what="argmax of the logits to the confusion counts",
            value=seconds["max"] / ours,
            unit="x",
            limit="at most 40",
            note=f"{1e3 * seconds['max']:.1f} and {1e3 * ours:.2f} ms for {SIDE} x {SIDE} pixels, {CLASSES} classes; "
            f"torch.argmax takes {seconds['argmax'] / seconds['max']:.1f} times as long as max with indices",
        )
    ]
    if "torchmetrics" in seconds:
        row = Row(
            what="torchmetrics to our confusion counts",
            value=seconds["torchmetrics"] / ours,
            unit="x",
            limit="at least 6",
            note=f"{SIDE} x {SIDE}, {CLASSES} classes, validate_args=False: {1e3 * seconds['torchmetrics']:.1f} ms",
        )
        rows.insert(0, row)
    return rows


# -- sliding window and boundary -----------------------------------------------------------------------------


def _segmenter(architecture: Backbone, channels: int, classes: int, head: int = 128) -> Segmenter:
    model = Segmenter(architecture, channels, classes, head_channels=head, aux_channels=32)
    initialise(model, "benchmark", 0, 0)
    return model.to(memory_format=torch.channels_last)


def _window(target: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> list[Row]:
    model = _segmenter(ATTO, 3, CLASSES).eval()
    side = len(target)
    image = torch.randn(3, side, side, generator=torch.Generator().manual_seed(0))
    starts = window_starts(side, WINDOW, STRIDE)
    windows = [image[None, :, t : t + WINDOW, s : s + WINDOW].clone() for t in starts for s in starts]
    how, scene = Sliding(window=WINDOW, stride=STRIDE, classes=CLASSES, memory=64 * MIB), TensorScene(image)

    @torch.inference_mode()
    def forwards() -> None:
        for window in windows:
            model(window)

    seconds = _computed(
        {
            "forwards": forwards,
            "logits": lambda: [None for _ in logit_bands(model, scene, how)],
            "ids": lambda: [None for _ in id_bands(model, scene, how)],
            "boundary": lambda: [edge_counts(target, prediction, CLASSES, width) for width in WIDTHS],
        },
        rounds=ROUNDS,
    )
    plain = seconds["forwards"]
    return [
        _beside(_segmenter(TINY, 3, CLASSES, head=512).eval(), "ConvNeXt-T", scene, how, 2, "at most 3"),
        _beside(model, "ConvNeXt-atto", scene, how, ROUNDS, ""),
        Row(
            what="sliding window over the plain forwards of all windows",
            value=100 * (seconds["logits"] / plain - 1),
            unit="%",
            note="two passes, whose forwards differ by some per cent from one to the next by themselves",
        ),
        Row(
            what="sliding window with argmax over the same",
            value=100 * (seconds["ids"] / plain - 1),
            unit="%",
            note=f"{CLASSES} classes",
        ),
        Row(
            what="boundary measures to the forward pass",
            value=seconds["boundary"] / plain,
            unit="x",
            limit="at most 1",
            note=f"widths {', '.join(map(str, WIDTHS))} together, on one CPU core as the forward pass: "
            f"{seconds['boundary']:.2f} s",
        ),
    ]


def _beside(model: Segmenter, name: str, scene: TensorScene, how: Sliding, rounds: int, limit: str) -> Row:
    """Return what a prediction computes outside of its network, as a share of what it computes inside.

    Both come from one pass: two passes differ by some per cent in the forwards alone.
    """
    inside: list[float] = []

    def timed(window: torch.Tensor) -> Any:
        began = time.process_time()
        logits = model(window)
        inside.append(time.process_time() - began)
        return logits

    shares = []
    for _ in range(1 + rounds):
        inside.clear()
        began = time.process_time()
        for _ in logit_bands(timed, scene, how):
            pass
        shares.append((time.process_time() - began) / sum(inside) - 1)
    return Row(
        what=f"sliding window beside its own forwards, UperNet on {name}",
        value=100 * statistics.median(shares[1:]),
        unit="%",
        limit=limit,
        note=f"what is computed outside the network, in the same pass: {len(inside)} windows of {WINDOW} over "
        f"{' x '.join(map(str, scene.shape))}, {CLASSES} classes, {sum(inside):.2f} s inside",
    )


# -- memory --------------------------------------------------------------------------------------------------

SCENE = """
import json, sys, numpy as np, torch
from bench.evaluate.predict import Sliding, predict
from bench.evaluate.scenes import StoredScene
from bench.heap import keep_memory
from bench.machine import evaluation_memory
from bench.models.upernet import Segmenter
from bench.study.schema import Backbone

def kib(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

torch.set_num_threads(1)
keep_memory()
side, window, stride, classes, real = json.loads(sys.argv[1])
model = Segmenter(Backbone(family="convnext", depths=(3, 3, 9, 3), widths=(96, 192, 384, 768)), 3, classes).eval()
model.to(memory_format=torch.channels_last)
seen = []

def network(windows):
    # The same memory every time: the first windows show what the network takes, the others only what is kept.
    seen.append(0)
    return model(windows) if len(seen) <= real else torch.zeros(len(windows), classes, *windows.shape[2:])

pixels = np.zeros((side, side, 3), np.uint8)
scene = StoredScene(
    shape=(side, side), mean=torch.zeros(3), std=torch.ones(3), device=torch.device("cpu"),
    read=lambda rows, columns: np.ascontiguousarray(pixels[rows, columns].transpose(2, 0, 1), np.float32),
)
before = kib("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
predict(network, scene, Sliding(window=window, stride=stride, classes=classes, memory=evaluation_memory()))
print(json.dumps([kib("VmHWM") - before, len(seen)]))
"""


def _memory() -> Row:
    """Return the most memory beyond the model that the prediction of a large scene takes, in a process of its own."""
    side, window, stride, real = 4000, 512, 341, 3
    asked = json.dumps([side, window, stride, CLASSES, real])
    done = subprocess.run([sys.executable, "-c", SCENE, asked], capture_output=True, text=True, check=True)
    kib, windows = json.loads(done.stdout)
    return Row(
        what=f"memory of a {side} x {side} scene in {CLASSES} classes, beyond the model",
        value=kib / 1024**2,
        unit="GiB",
        limit="at most 2",
        note=f"UperNet on ConvNeXt-T, {windows} windows of {window}, the network run on {real} of them",
    )


# -- the loop ------------------------------------------------------------------------------------------------


class Clock(Progress):
    """Keeps the time of every step instead of showing it."""

    ends: list[tuple[float, float]]

    def __init__(self, *words: Any, **settings: Any) -> None:
        super().__init__(*words, **{**settings, "stream": io.StringIO()})
        Clock.ends = []

    def update(self, **values: float) -> None:
        """Note the end of a step."""
        super().update(**values)
        Clock.ends.append(_now())


def _loop(folder: Path) -> Row:
    workers = 1 if (os.cpu_count() or 1) > 1 else 0
    manifest, step = _scenes(folder), _bare_step()
    found: dict[str, list[tuple[float, float]]] = {"loop": [], "step": []}
    for turn in range(ROUNDS):
        run = _run(folder / f"run{turn}", manifest)
        with patch.object(story, "Progress", Clock), contextlib.redirect_stderr(io.StringIO()):
            story.finetune(run, device="cpu", workers=workers)
        found["loop"].append(_between(Clock.ends))
        ends = [_now() for _ in range(RECIPE.iterations) if step() is None]
        found["step"].append(_between(ends))
    (loop, computed), (bare, bare_computed) = (np.median(found[name], axis=0) for name in ("loop", "step"))
    return Row(
        what="fine-tuning loop, small ConvNeXt, to the bare step",
        value=bare_computed / computed,
        unit="x",
        limit="at least 0.95",
        note=f"crops of {RECIPE.crop}, batch {RECIPE.batch_size}, {CHANNELS} channels, {workers} loader process: "
        f"a step computes {1e3 * computed:.0f} ms, bare {1e3 * bare_computed:.0f} ms; on the wall {1e3 * loop:.0f} and "
        f"{1e3 * bare:.0f} ms",
    )


def _now() -> tuple[float, float]:
    """Return the time on the wall, and that for which this process has computed."""
    return time.perf_counter(), time.process_time()


def _between(ends: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the median seconds from one end to the next, on the wall and computed, the first steps left out."""
    wall, computed = np.median(np.diff(np.array(ends[WARM:]), axis=0), axis=0)
    return float(wall), float(computed)


def _bare_step() -> Callable[[], None]:
    """Return a step on one normalised batch that is on the device already: forward, losses, backward, AdamW."""
    model = Segmenter(
        SMALL, CHANNELS, TARGETS, drop_path=RECIPE.drop_path, head_channels=RECIPE.head_channels,
        aux_channels=RECIPE.aux_channels,
    )  # fmt: skip
    initialise(model, "benchmark", 0, 0, layer_scale=SMALL.layer_scale)
    model.to(memory_format=torch.channels_last).train()
    groups = parameter_groups(model.named_parameters(), weight_decay=RECIPE.weight_decay)
    optimizer = adamw(groups, betas=RECIPE.betas, device=torch.device("cpu"))
    set_lr(optimizer, 1e-4)
    size, side = RECIPE.batch_size, RECIPE.crop
    images = torch.randn(size, CHANNELS, side, side)
    targets = torch.randint(0, TARGETS, (size, side, side), dtype=torch.uint8)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        logits, auxiliary = model(images)
        loss = segmentation_loss(logits, targets) + 0.4 * segmentation_loss(auxiliary, targets)
        (loss / targets.numel()).backward()
        optimizer.step()

    return step


def _scenes(folder: Path) -> Path:
    """Write four scenes of 512 x 512 pixels, four channels in 8 bits, and return the manifest's path."""
    (folder / "prepared").mkdir(parents=True)
    draw = np.random.default_rng(0)
    samples = {}
    for name in ("a", "b", "c", "d"):
        np.save(
            folder / "prepared" / f"{name}.npy", draw.integers(0, 256, (512, 512, CHANNELS), dtype=np.uint8)
        )
        np.save(folder / "prepared" / f"{name}.full.npy", _labels(512, ord(name)) % TARGETS)
        samples[name] = {
            "unit": name, "shape": [512, 512], "flip": False,
            "arrays": [{"file": f"prepared/{name}.npy", "channels": list(range(CHANNELS))}],
            "labels": {"full": f"prepared/{name}.full.npy"},
        }  # fmt: skip
    path = folder / "manifest.json"
    SegmentationManifest(
        dataset="drawn", scale="miniature", digest="drawn", spec={}, samples=samples, handled=[], sources=[],
        splits={"train": list(samples), "val": [], "test": []}, evaluation_split="test", unit="scene",
        channels=[{"name": f"band {i}", "unit": "8-bit", "dtype": "uint8"} for i in range(CHANNELS)],
        classes=[{"index": i, "name": str(i), "colour": [i, i, i]} for i in range(TARGETS)],
        mean=[127.5] * CHANNELS, std=[73.9] * CHANNELS, ignore_index=255, label_variants=["full"],
        class_pixels={"train": [1] * TARGETS},
    ).write(path)  # fmt: skip
    return path


def _run(folder: Path, manifest: Path) -> FinetuneRun:
    return FinetuneRun(
        study="drawn", scale="miniature", folder=str(folder), dataset="drawn", backbone="small",
        architecture=SMALL, arm="scratch", names=("scratch",), strategy="scratch", stem=None, channels=CHANNELS,
        repetition=0, pretrain=None, root_seed=0, recipe=RECIPE, labels="full", manifest=str(manifest),
        spec={"architecture": asdict(SMALL)}, inputs={"manifest": "drawn"},
    )  # fmt: skip
