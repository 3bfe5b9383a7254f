"""A tiny prepared classification set and a pre-training on it, for the tests of this room."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from bench.data.manifest import ClassificationManifest
from bench.study.jobs import PretrainRun
from bench.study.recipes import PretrainRecipe
from bench.study.schema import Backbone

CONVNEXT = Backbone(family="convnext", depths=(1, 1, 1, 1), widths=(8, 8, 16, 16))
SWIN = Backbone(family="swin", depths=(1, 1, 2, 1), widths=(8, 16, 32, 64), heads=(1, 1, 2, 2), window=4)
DATA_DIGEST = "d" * 64

RECIPE = {
    "epochs": 2, "batch_size": 8, "crop": 32, "lr": 2e-3, "weight_decay": 0.05, "warmup_epochs": 0.5,
    "min_lr": 1e-5, "drop_path": 0.3, "label_smoothing": 0.1, "mixup": 0.8, "cutmix": 1.0, "erasing": 0.25,
}  # fmt: skip


def write_classes(folder: Path, train: int = 44, val: int = 20, side: int = 40, classes: int = 3) -> Path:
    """Write photographs of `classes` classes that differ in their stripes, and return the manifest's path."""
    (folder / "prepared").mkdir(parents=True)
    draw = np.random.default_rng(0)
    splits = {}
    for split, count in (("train", train), ("val", val)):
        labels = np.arange(count, dtype=np.int64) % classes
        images = draw.integers(0, 80, (count, side, side, 3), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:: 2 + 3 * int(label)] += 150
        np.save(folder / "prepared" / f"{split}.npy", images)
        np.save(folder / "prepared" / f"{split}.labels.npy", labels)
        splits[split] = {
            "count": count,
            "images": f"prepared/{split}.npy",
            "labels": f"prepared/{split}.labels.npy",
        }
    path = folder / "manifest.json"
    ClassificationManifest(
        dataset="stripes", scale="miniature", digest=DATA_DIGEST, spec={}, splits=splits, sources=[],
        classes=[{"index": i, "wnid": f"n{i}", "name": f"stripes {i}"} for i in range(classes)],
        mean=[90.0, 100.0, 110.0], std=[60.0, 50.0, 40.0], form="decoded", size=side,
    ).write(path)  # fmt: skip
    return path


def pretraining(
    root: Path,
    manifest: Path,
    *,
    strategy: str = "csp",
    n: int = 4,
    architecture: Backbone = CONVNEXT,
    **recipe: object,
) -> PretrainRun:
    """Return a run whose folder is below `root`."""
    settings = PretrainRecipe(**{**RECIPE, **recipe})
    return PretrainRun(
        study="tiny", scale="miniature", folder=str(root / "run"), backbone="tiny", architecture=architecture,
        label=f"{strategy}-{n}ch", strategy=strategy, fill="cycle", scope="image", probability=1.0,
        channels=n, repetition=0, root_seed=5, recipe=settings, data="stripes", manifest=str(manifest),
        spec={
            "stage": "pretrain", "architecture": asdict(architecture), "strategy": strategy, "channels": n,
            "recipe": asdict(settings),
        },
        inputs={"manifest": DATA_DIGEST},
    )  # fmt: skip
