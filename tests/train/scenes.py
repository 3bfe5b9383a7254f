"""A tiny prepared segmentation set and a fine-tuning on it, for the tests of this room and of evaluation."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
from prepared import CONVNEXT

from bench.data.manifest import SegmentationManifest
from bench.study.jobs import FinetuneRun, PretrainRun
from bench.study.recipes import FinetuneRecipe
from bench.study.schema import Backbone

SCENES_DIGEST = "5" * 64
CHANNELS = ("red", "green", "blue", "thermal")
CLASSES = ("ground", "square", "disc")

RECIPE = {
    "iterations": 6, "batch_size": 2, "crop": 48, "lr": 1e-3, "weight_decay": 0.05, "warmup_iterations": 2,
    "drop_path": 0.2, "dropout": 0.1, "head_channels": 8, "aux_channels": 8, "scale_range": (0.75, 1.5),
}  # fmt: skip


def write_scenes(folder: Path, sides: tuple[tuple[int, int], ...] = ((64, 50), (40, 70), (30, 30))) -> Path:
    """Write three scenes a split, four channels, labels with an ignored border; return the manifest's path."""
    prepared = folder / "prepared"
    prepared.mkdir(parents=True)
    draw = np.random.default_rng(1)
    samples, splits = {}, {"train": [], "val": [], "test": []}
    for split in ("train", "test"):
        for place, (height, width) in enumerate(sides):
            name = f"{split}{place}"
            labels = np.zeros((height, width), dtype=np.uint8)
            labels[5:20, 5:20] = 1
            rows, columns = np.ogrid[:height, :width]
            labels[(rows - 22) ** 2 + (columns - 22) ** 2 < 36] = 2
            image = draw.integers(0, 100, (height, width, 4), dtype=np.uint8) + 40 * labels[..., None]
            labels[:2] = 255
            np.save(prepared / f"{name}.npy", image)
            np.save(prepared / f"{name}.full.npy", labels)
            samples[name] = {
                "unit": f"bag{place // 2}", "shape": [height, width], "flip": False,
                "arrays": [{"file": f"prepared/{name}.npy", "channels": [0, 1, 2, 3]}],
                "labels": {"full": f"prepared/{name}.full.npy"},
            }  # fmt: skip
            splits[split].append(name)
    path = folder / "manifest.json"
    SegmentationManifest(
        dataset="shapes", scale="miniature", digest=SCENES_DIGEST, spec={}, samples=samples, splits=splits,
        channels=[{"name": name, "unit": "8-bit digital number", "dtype": "uint8"} for name in CHANNELS],
        classes=[{"index": i, "name": n, "colour": [90 * i, 0, 0]} for i, n in enumerate(CLASSES)],
        mean=[70.0, 70.0, 70.0, 70.0], std=[40.0, 40.0, 40.0, 40.0], ignore_index=255, unit="bag",
        label_variants=["full"], evaluation_split="test", class_pixels={"train": [1, 1, 1]}, sources=[], handled=[],
    ).write(path)  # fmt: skip
    return path


def finetuning(
    root: Path,
    manifest: Path,
    pretrain: PretrainRun | None,
    *,
    arm: str = "csp",
    stem: str | None = None,
    architecture: Backbone = CONVNEXT,
    repetition: int = 0,
    **recipe: object,
) -> FinetuneRun:
    """Return a run whose folder is below `root`."""
    settings = FinetuneRecipe(**{**RECIPE, **recipe})
    return FinetuneRun(
        study="tiny", scale="miniature", folder=str(root / arm / f"seed{repetition}"), dataset="shapes",
        backbone="tiny", architecture=architecture, arm=arm, names=(arm,), strategy="csp", stem=stem, channels=4,
        repetition=repetition, pretrain=pretrain, root_seed=5, recipe=settings, labels="full",
        manifest=str(manifest),
        spec={
            "stage": "finetune", "architecture": asdict(architecture), "stem": stem, "channels": 4,
            "recipe": asdict(settings), "repetition": repetition,
        },
        inputs={"manifest": SCENES_DIGEST} | ({"weights": pretrain.digest} if pretrain else {}),
    )  # fmt: skip
