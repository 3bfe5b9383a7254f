"""A small study's evaluation outputs, written as the evaluation writes them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.record import Record, digest_of
from bench.stats.classifiers import ExpectedClassifier
from bench.stats.scores import ExpectedCell
from bench.study.recipes import Evaluation
from bench.study.schema import Comparison, Repetitions

RECEIPT = {"commit": "abc", "dirty": False, "packages": {"numpy": "2"}, "wall_seconds": 1.5, "device": "cpu"}
CLASSES = ["ground", "car", "tree"]


@dataclass
class Study:
    """Two datasets' worth of knobs: what each arm's counts are, and what the study expects."""

    root: Path
    arms: dict[str, float]
    """Arm -> share of pixels that are right."""
    seeds: int = 2
    units: int = 4
    datasets: tuple[str, ...] = ("mfnet",)
    backbones: tuple[str, ...] = ("convnext", "swin")
    shared: dict[str, str] = field(default_factory=dict)
    """Arm name -> arm whose run it shares."""
    scale: str = "full"
    design: Repetitions = Repetitions(design="nested", pretrain=1, finetune=2)  # noqa: RUF009
    samples_per_unit: int = 2
    comparison: Comparison = Comparison(  # noqa: RUF009
        treatment="csp", primary="rgb", margin=0.005, resamples=500
    )
    noise: int = 0
    subsets: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, Evaluation]:
        one = Evaluation(
            pixels=("full",), primary="full", metric="mIoU", window=32, stride=16, subsets=self.subsets
        )
        return dict.fromkeys(self.datasets, one)

    def cells(self) -> list[ExpectedCell]:
        found = []
        for dataset in self.datasets:
            for backbone in self.backbones:
                for arm in self.arms:
                    names = (arm, *(name for name, of in self.shared.items() if of == arm))
                    for seed in range(self.seeds):
                        digest = digest_of({"cell": [dataset, backbone, arm, seed]}, {})
                        found.append(
                            ExpectedCell(
                                dataset=dataset,
                                backbone=backbone,
                                arm=arm,
                                names=names,
                                pretrain_seed=0,
                                seed=seed,
                                digest=digest,
                            )
                        )
        return found

    def counts(self, share: float, seed: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Counts [sample, target, prediction]: 1000 pixels a class and sample, right by `share`, plus
        noise."""
        samples = self.units * self.samples_per_unit
        wrong = np.full((samples, 3, 3), round(500 * (1 - share)), dtype=np.int64)
        wrong += generator.integers(0, self.noise + 1, wrong.shape) + seed
        right = 1000 - wrong.sum(axis=2) + np.diagonal(wrong, axis1=1, axis2=2)
        for index in range(3):
            wrong[:, index, index] = right[:, index]
        return wrong

    def write(self, change: Callable[[dict[str, Any], dict[str, Any]], None] | None = None) -> list[Path]:
        """Write every evaluation; `change` may edit (extra, arrays) of each before it is written."""
        generator = np.random.default_rng(7)
        paths = []
        for dataset in self.datasets:
            for backbone in self.backbones:
                cells = [c for c in self.cells() if (c.dataset, c.backbone) == (dataset, backbone)]
                samples = self.units * self.samples_per_unit
                extra: dict[str, Any] = {
                    "cells": [
                        {
                            "arm": c.arm,
                            "seed": c.seed,
                            "pretrain_seed": c.pretrain_seed,
                            "digest": c.digest,
                            "names": list(c.names),
                        }
                        for c in cells
                    ],
                    "samples": [f"s{i}" for i in range(samples)],
                    "units": [f"u{i // self.samples_per_unit}" for i in range(samples)],
                    "classes": CLASSES,
                    "pixels": ["full"],
                }
                arrays = {
                    "counts/full": np.stack([self.counts(self.arms[c.arm], c.seed, generator) for c in cells])
                }
                if change:
                    change(extra, arrays)
                folder = self.root / "evaluate" / dataset / backbone
                folder.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(folder / "counts.npz", **arrays)
                self.record("evaluate", {"dataset": dataset, "backbone": backbone}, extra, folder)
                paths.append(folder / "record.json")
        return paths

    def record(self, stage: str, names: dict[str, Any], extra: dict[str, Any], folder: Path) -> None:
        spec = {"stage": stage, **names}
        Record(
            stage=stage,
            names={"study": "test", **names},
            spec=spec,
            digest=digest_of(spec, {}),
            inputs={},
            metrics={},
            receipt=RECEIPT,
            extra=extra,
        ).write(folder / "record.json")

    def classifiers(self) -> list[ExpectedClassifier]:
        return [
            ExpectedClassifier(
                backbone=backbone,
                label=f"{strategy}-{channels}ch",
                strategy=strategy,
                channels=channels,
                seed=0,
                digest=digest_of({"label": [backbone, strategy, channels]}, {}),
            )
            for backbone in self.backbones
            for strategy, channels in (("rgb", 3), ("csp", 4), ("csp", 5))
        ]

    def write_top1(self, right: dict[str, dict[str, float]], images: int = 1000) -> list[Path]:
        """Write the top-1 records: strategy -> order -> share of images that are right."""
        paths = []
        for backbone in self.backbones:
            cells = [c for c in self.classifiers() if c.backbone == backbone]
            extra = {
                "cells": [
                    {k: getattr(c, k) for k in ("label", "strategy", "channels", "seed", "digest")}
                    for c in cells
                ],
                "orders": ["natural", "reversed"],
            }
            arrays = {
                f"correct/{order}": np.stack(
                    [np.arange(images) < round(images * right[c.strategy][order]) for c in cells]
                )
                for order in ("natural", "reversed")
            }
            folder = self.root / "evaluate" / "top1" / backbone
            folder.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(folder / "correct.npz", **arrays)
            self.record("top1", {"backbone": backbone}, extra, folder)
            paths.append(folder / "record.json")
        return paths
