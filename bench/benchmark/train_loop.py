"""The pre-training loop against its parts: the bare step, the loader alone; and what it is worth to keep freed memory.

The loop is the real one, with everything it does beside the step; only its progress bar is replaced, by one that keeps
the time. Pictures and weights are drawn here, under a seed.
"""

import contextlib
import io
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from bench.benchmark.measure import Row
from bench.data.loaders import training_images
from bench.data.manifest import ClassificationManifest
from bench.data.store import ClassificationStore
from bench.heap import keep_memory
from bench.models.backbone import build_classifier
from bench.progress import Progress
from bench.study.jobs import PretrainRun
from bench.study.recipes import PretrainRecipe
from bench.study.schema import Backbone
from bench.train import pretrain as story
from bench.train.state import training_state

CPU = torch.device("cpu")
IMAGES, SIDE, CLASSES, CHANNELS = 4096, 72, 10, 4
SMALL = {
    "small ConvNeXt": Backbone(
        family="convnext", depths=(2, 2, 2, 2), widths=(16, 32, 64, 128), layer_scale=0.1
    ),
    "small Swin": Backbone(
        family="swin", depths=(2, 2, 2, 2), widths=(16, 32, 64, 128), heads=(1, 2, 4, 8), window=4
    ),
}
RECIPE = PretrainRecipe(
    epochs=2, batch_size=64, crop=64, lr=2e-3, weight_decay=0.05, warmup_epochs=0, min_lr=1e-5, drop_path=0.0,
    label_smoothing=0.1, mixup=0.2, scale_min=0.25,
)  # fmt: skip
"""config/mini.yaml's but for epochs and warm-up: what such small networks on so few pixels are trained with."""
FULL = replace(RECIPE, mixup=0.8, cutmix=1.0, erasing=0.25, drop_path=0.1)
"""Mixing, erasing and drop path as published: made for a step that costs a hundred times as much a pixel."""
WARM, TURNS = 16, 16
"""Steps left out at the beginning; steps of a turn, for which a loader process makes one chunk."""
PROCESSES = 5


def loop_rows() -> list[Row]:
    """Return the worth of kept memory, and the ratio of each small network's loop under both recipes."""
    recipes = (("small recipe", RECIPE, "at least 0.95"), ("published recipe", FULL, ""))
    return [_kept(), *(_loop(name, *words) for name in SMALL for words in recipes)]


class Clock(Progress):
    """Times every step of the loop instead of showing it, and takes a bare step between two of them.

    So the two take turns as closely as they can, and a busy machine slows both.
    """

    bare: Callable[[], object]
    found: list[NDArray[np.float64]]
    """Of each step what `_now` counts: a row for the loop, a row for the bare step."""

    def __init__(self, *words: Any, **settings: Any) -> None:
        super().__init__(*words, **{**settings, "stream": io.StringIO()})
        Clock.found, self.resumed = [], _now()

    def update(self, **values: float) -> None:
        """End a step of the loop, take a bare one, and begin the next of the loop."""
        super().update(**values)
        ended = _now()
        Clock.bare()
        resumed = _now()
        Clock.found.append(np.stack([ended - self.resumed, resumed - ended]))
        self.resumed = _now()


def _now() -> NDArray[np.float64]:
    """Return the time on the wall, that for which this process has computed, and the pages that it was given."""
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    return np.array([time.perf_counter(), time.process_time(), pages])


@dataclass(frozen=True)
class Timed:
    """Medians over one process: ratios on the wall and in computing time; seconds a step; pages a step of the loop."""

    ratio: float
    computing: float
    loop: float
    bare: float
    loader: float
    pages: float


def _loop(name: str, what: str, recipe: PretrainRecipe, limit: str) -> Row:
    """Return the median over several processes: where one's memory happens to lie moves its ratio by 1 to 2 %."""
    runs = _in_processes(*[(name, recipe)] * PROCESSES)
    ratios, size = [run.ratio for run in runs], recipe.batch_size
    rates = ", ".join(
        f"{part} {size / statistics.median(getattr(run, part) for run in runs):.0f}"
        for part in ("loop", "bare", "loader")
    )
    return Row(
        what=f"pre-training loop, {name}, {what}: to the smaller of bare step and loader",
        value=statistics.median(ratios),
        unit="x",
        limit=limit,
        note=f"64 px, batch {size}, 1 loader process: {rates} images a second; computing time of step to loop "
        f"{statistics.median(run.computing for run in runs):.3f}; {PROCESSES} processes, {min(ratios):.3f} to "
        f"{max(ratios):.3f}",
    )


def _kept() -> Row:
    """Return what it is worth that freed memory stays with the process; processes with and without take turns."""
    name = "small ConvNeXt"
    runs = _in_processes(*[(name, RECIPE, True), (name, RECIPE, False)] * PROCESSES)
    kept, given = runs[::2], runs[1::2]
    pages = [statistics.median(run.pages for run in each) for each in (kept, given)]
    return Row(
        what=f"pre-training loop, {name}: freed memory given back to the system against kept",
        value=statistics.median(other.loop / run.loop for run, other in zip(kept, given, strict=True)),
        unit="x",
        note=f"seconds a step, {PROCESSES} pairs of processes; {pages[0]:.0f} pages a step from the system where it is "
        f"kept, {pages[1]:.0f} where not; to the smaller of bare step and loader "
        f"{statistics.median(run.ratio for run in kept):.3f} and {statistics.median(run.ratio for run in given):.3f}",
    )


def _in_processes(*words: tuple[Any, ...]) -> list[Timed]:
    """Return `_timed` of each of `words`, one after the other, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        return [pool.submit(_timed, *each).result() for each in words]


def _timed(name: str, recipe: PretrainRecipe, keep: bool = True) -> Timed:
    """Run the loop and bare steps in turns, then the loader; all of it in this process."""
    torch.set_num_threads(1)
    if keep:
        keep_memory()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
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
    turns = np.array(Clock.found[WARM:]).reshape(-1, TURNS, 2, 3).mean(axis=1)
    (loop, loop_cpu, pages), (bare, bare_cpu, _) = np.moveaxis(turns, 0, -1)
    found = np.maximum(bare, loader) / loop, bare_cpu / loop_cpu, loop, bare, np.array(loader), pages
    return Timed(*(float(np.median(each)) for each in found))


def _of_loader(store: ClassificationStore, recipe: PretrainRecipe) -> float:
    """Return the seconds a batch of the loader alone."""
    ends = []
    for passes in training_images(
        store, recipe, seed=0, start=0, stop=IMAGES // recipe.batch_size, workers=1, device=CPU
    ):
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
