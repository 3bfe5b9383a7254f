"""Studies of two sizes with made-up comparison files, drawn from a seed, as `compare` writes them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.catalog.index import CATALOG
from bench.record import Record, digest_of
from bench.study.datasets import Miniature, PretrainData, Target
from bench.study.disturbances import channel_names, disturbance_names
from bench.study.outputs import measured
from bench.study.recipes import Evaluation, FinetuneRecipe, PretrainRecipe
from bench.study.runs import Runs
from bench.study.schema import Arm, Backbone, Comparison, Repetitions, Study

SWIN = Backbone(
    family="swin", depths=(2, 2, 6, 2), widths=(96, 192, 384, 768), heads=(3, 6, 12, 24), window=7
)
CONVNEXT = Backbone(family="convnext", depths=(3, 3, 9, 3), widths=(96, 192, 384, 768))
PRETRAIN = PretrainRecipe(
    epochs=30, batch_size=64, crop=32, lr=1e-3, weight_decay=0.05, warmup_epochs=2, min_lr=0.0, drop_path=0.1,
    label_smoothing=0.1,
)  # fmt: skip
FINETUNE = FinetuneRecipe(
    iterations=300, batch_size=8, crop=64, lr=1e-4, weight_decay=0.05, warmup_iterations=20, drop_path=0.1
)
CELLS = {"isaid": (0.66, 0.012), "mfnet": (0.50, 0.066), "pst900": (0.70, 0.138), "potsdam": (0.90, 0.011)}
"""Baseline score and gain of the made-up numbers."""


def make_study(
    arms: dict[str, Arm],
    backbones: dict[str, Backbone],
    *,
    seeds: int,
    scale: str,
    name: str,
    measures: bool = False,
) -> Study:
    """Return a study over the four targets of the catalogue."""
    targets = {key: Target(channels=CATALOG[key].default_channels) for key in CELLS}
    evaluate = {
        key: Evaluation(
            pixels=CATALOG[key].label_variants,
            primary=CATALOG[key].label_variants[-1],
            metric="mF1" if key == "potsdam" else "mIoU",
            leave_out=("clutter",) if key == "potsdam" else (),
            window=64,
            stride=32,
            boundary=(3, 9) if measures else (),
            spectral=("reversed", "orders:2", "mean", "gain:0.5") if measures else (),
        )
        for key in targets
    }
    mini = (
        Miniature(seed=0, train_images=8, val_images=4, scenes=12, side=40) if scale == "miniature" else None
    )
    return Study(
        study=name,
        title=f"The {name} study",
        scale=scale,
        seed=0,
        miniature=mini,
        backbones=backbones,
        datasets=targets,
        arms=arms,
        repetitions=Repetitions(design="nested", pretrain=1, finetune=seeds),
        pretrain_data=PretrainData(source="imagenet1k"),
        pretrain=dict.fromkeys(backbones, PRETRAIN),
        finetune={key: dict.fromkeys(backbones, FINETUNE) for key in targets},
        evaluate=evaluate,
        spectral=("mean", "gain:0.5") if measures else (),
        compare=Comparison(treatment="csp", primary="rgb-repeat", margin=0.005),
    )


def scores_of(study: Study, rng: np.random.Generator) -> pd.DataFrame:
    """Return made-up scores for every cell of the study."""
    rows = []
    for dataset, (base, gain) in CELLS.items():
        evaluation = study.evaluate[dataset]
        for backbone in study.backbones:
            for arm in study.arms:
                for seed in range(study.repetitions.finetune):
                    value = base + (gain if arm == "csp" else 0) + rng.normal(0, 0.006)
                    prefix = "IoU" if evaluation.metric == "mIoU" else "F1"
                    classes = "without clutter" if evaluation.leave_out else "all"
                    head = (dataset, backbone, arm, 0, seed)
                    tail = (evaluation.primary, classes)
                    rows.append((*head, evaluation.metric, *tail, value, 40, "", True))
                    rows.append((*head, "OA", evaluation.primary, "all", value + 0.05, 40, "", False))
                    for item in CATALOG[dataset].classes:
                        drawn = float(np.clip(value + rng.normal(0, 0.15), 0, 1))
                        rows.append(
                            (*head, f"{prefix}/{item.name}", evaluation.primary, "all", drawn, 40, "", False)
                        )
    names = "dataset backbone arm pretrain_seed seed metric pixels classes value units absent primary"
    return pd.DataFrame(rows, columns=names.split())


def comparisons_of(study: Study, scores: pd.DataFrame) -> pd.DataFrame:
    """Return the treatment against each baseline, with made-up intervals around the true difference."""
    rows, seeds = [], study.repetitions.finetune
    means = scores[scores["primary"]].groupby(["dataset", "backbone", "arm"])["value"].mean()
    for dataset in study.datasets:
        evaluation = study.evaluate[dataset]
        for backbone in study.backbones:
            for baseline in study.arms:
                if baseline == "csp":
                    continue
                a, b = means[dataset, backbone, "csp"], means[dataset, backbone, baseline]
                p = 0.004 if a - b > 0.03 else 0.31
                rows.append({
                    "dataset": dataset, "backbone": backbone, "treatment": "csp", "baseline": baseline,
                    "metric": evaluation.metric, "pixels": evaluation.primary,
                    "classes": "without clutter" if evaluation.leave_out else "all",
                    "treatment_value": a, "baseline_value": b, "estimate": a - b, "low": a - b - 0.02,
                    "high": a - b + 0.02, "level": 0.05, "df": 3.2, "method": "crossed",
                    "question": "these pre-trained weights differ", "seeds": seeds, "units": 40,
                    "p": p, "p_holm": min(1.0, 3 * p), "p_models": p / 2, "smallest_p": 0.0,
                    "family": "primary" if baseline == "rgb-repeat" else "secondary",
                    "decides": baseline == "rgb-repeat",
                    "statement": f"for one pre-training: {seeds} fine-tunings and 40 test units",
                    "same_run": False,
                })  # fmt: skip
    return pd.DataFrame(rows)


def verdicts_of(study: Study) -> pd.DataFrame:
    """Return claims like the paper's, one of each verdict."""
    nan = float("nan")
    reason = "the study draws its own scenes; the paper's data were not used"
    rows = [
        ("isaid-gain", "isaid", "average", "gain", "mIoU", 0.008, 0.016, 0.012, -0.008, 0.032, 0.005,
         "inconclusive",
         "interval -0.80 to 3.20 crosses an edge of 0.30 to 2.10 (the paper's value and the margin); "
         "80 % of the spread is between fine-tunings: more fine-tunings"),
        ("mfnet-gain", "mfnet", "average", "gain", "mIoU", 0.066, 0.066, 0.066, 0.063, 0.069, 0.005,
         "reproduced",
         "interval 6.30 to 6.90 lies inside 6.10 to 7.10 (the paper's value and the margin)"),
        ("potsdam-best", "potsdam", "best", "absolute", "mF1", 0.9188, 0.9188, 0.911, nan, nan, 0.005,
         "not comparable", reason),
        ("pst900-gain", "pst900", "average", "gain", "mIoU", 0.1383, 0.1383, 0.02, 0.01, 0.03, 0.005,
         "not reproduced",
         "interval 1.00 to 3.00 lies outside 13.33 to 14.33 (the paper's value and the margin)"),
        ("reversed-order", "imagenet1k", "average", "ordering", "top1/reversed", nan, nan, 0.22, 0.2, 0.24,
         0.005, "reproduced", "interval 20.00 to 24.00 lies above 0"),
        ("top1-drop", "imagenet1k", "average", "drop", "top1/natural", 0.014, 0.038, 0.02, nan, nan, 0.005,
         "not comparable", reason),
    ]  # fmt: skip
    names = "claim dataset backbone kind metric paper_low paper_high value low high margin verdict reason"
    return pd.DataFrame(rows, columns=names.split())


def top1_of(study: Study, rng: np.random.Generator) -> pd.DataFrame:
    """Return top-1 in which rgb loses under reversed channels and csp does not."""
    rows = []
    for run in Runs(study).pretrainings:
        disturbed = disturbance_names(study.spectral, channel_names(run.channels))
        for order in (*study.orders, *disturbed):
            value = 0.80 if run.strategy == "rgb" else 0.78
            value -= 0.25 if run.strategy == "rgb" and order == "reversed" else 0
            rows.append(
                (
                    run.backbone,
                    run.strategy,
                    run.channels,
                    run.repetition,
                    order,
                    value + rng.normal(0, 0.004),
                    480,
                )
            )
    return pd.DataFrame(
        rows, columns=["backbone", "strategy", "channels", "seed", "order", "value", "images"]
    )


@dataclass(frozen=True)
class Case:
    """A study and its results folder."""

    study: Study
    results: Path

    @property
    def compare(self) -> Path:
        return self.results / "compare"


def write_case(study: Study, results: Path) -> Case:
    """Write the comparison files, learning curves and example predictions of a made-up study."""
    rng = np.random.default_rng(7)
    compare = results / "compare"
    compare.mkdir(parents=True)
    scores = scores_of(study, rng)
    runs = Runs(study, str(results.parent))
    frames = {"scores": scores, "comparisons": comparisons_of(study, scores), "verdicts": verdicts_of(study)}
    frames["top1"] = top1_of(study, rng)
    jobs = [*runs.pretrainings, *runs.finetunings]
    names = [run.folder.split(f"{run.stage}/")[1] for run in jobs]
    stages = [run.stage for run in jobs]
    frames["cost"] = pd.DataFrame({
        "stage": stages, "name": names, "wall_seconds": rng.uniform(3, 9, len(jobs)),
        "peak_memory_bytes": 900 * 2**20, "device": "cpu",
    })  # fmt: skip
    frames["receipts"] = pd.DataFrame({
        "stage": stages, "name": names, "commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False,
        "packages": "numpy 2.4.6;timm 1.0.31;torch 2.14.1",
    })  # fmt: skip
    frames |= measured_of(study, scores, rng)
    for name, frame in frames.items():
        frame.to_csv(compare / f"{name}.csv", index=False)
    for run in jobs:
        write_log(Path(run.folder), rng)
    for evaluation in runs.evaluations:
        write_examples(study, evaluation.dataset, Path(evaluation.folder), rng)
    return Case(study, results)


def measured_of(study: Study, scores: pd.DataFrame, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Return made-up boundary.csv, spectral.csv and further.csv of a study that measures both, in any order of rows."""
    if not measured(study):
        return {}
    edges, spectra, further = [], [], []
    for _, row in scores[scores["primary"]].iterrows():
        at = {key: row[key] for key in ("dataset", "backbone", "arm", "pretrain_seed", "seed", "metric")}
        for width in study.evaluate[row["dataset"]].boundary:
            for region, share in (("near", 0.6), ("inside", 1.05)):
                value = min(1.0, share * row["value"] + width / 100)
                edges.append({**at, "width": width, "region": region, "value": value, "units": 40})
        probes = [("undisturbed", ""), ("reversed", ""), ("order", "1"), ("order", "2")]
        for channel in study.datasets[row["dataset"]].channels:
            probes += [(f"mean/{channel}", ""), (f"gain/{channel}", "0.5")]
        for probe, strength in reversed(probes):
            value = row["value"] * (1 if probe == "undisturbed" else rng.uniform(0.5, 1))
            spectra.append({**at, "probe": probe, "strength": strength, "value": value, "units": 40})
    for dataset, evaluation in study.evaluate.items():
        for backbone in study.backbones:
            further.append({
                "dataset": dataset, "backbone": backbone, "measure": f"drop of {evaluation.metric}, reversed",
                "treatment": "csp", "baseline": "rgb-repeat", "estimate": -0.05, "low": -0.1, "high": 0.02,
            })  # fmt: skip
    names = ("boundary", "spectral", "further")
    return {name: pd.DataFrame(rows) for name, rows in zip(names, (edges, spectra, further), strict=True)}


def write_log(folder: Path, rng: np.random.Generator) -> None:
    """Write a falling loss as a run logs it."""
    folder.mkdir(parents=True)
    step = np.arange(1, 31)
    loss = 0.4 + 2.0 * np.exp(-step / 9) + rng.normal(0, 0.04, step.size)
    pd.DataFrame({"step": step * 10, "loss": loss, "lr": 1e-3}).to_csv(folder / "log.csv", index=False)


def write_examples(study: Study, dataset: str, folder: Path, rng: np.random.Generator) -> None:
    """Write two drawn scenes of rectangles with a prediction an arm, and the record that names them."""
    entry, channels = CATALOG[dataset], study.datasets[dataset].channels
    arrays: dict[str, np.ndarray] = {}
    for sample in ("00131D", "00907N"):
        target = np.zeros((60, 80), dtype=np.uint8)
        for _ in range(9):
            y, x = int(rng.integers(0, 50)), int(rng.integers(0, 66))
            target[y : y + 16, x : x + 20] = rng.integers(0, len(entry.classes))
        target[:3] = 255
        scale = np.array([255, 255, 255, 200, 40][: len(channels)])
        image = (target[..., None] % 7 / 7 + rng.uniform(0, 0.3, (60, 80, len(channels)))) / 1.3 * scale
        arrays[f"image/{sample}"], arrays[f"target/{sample}"] = image.astype(np.float32), target
        for arm in study.arms:
            wrong = rng.uniform(size=target.shape) < (0.03 if arm == "csp" else 0.12)
            guess = np.where(target == 255, 0, target)
            arrays[f"prediction/{arm}/{sample}"] = np.where(wrong, 1, guess).astype(np.uint8)
    folder.mkdir(parents=True)
    np.savez_compressed(folder / "examples.npz", **arrays)
    extra = {
        "channels": list(channels),
        "classes": [item.name for item in entry.classes],
        "colours": [list(item.colour) for item in entry.classes],
        "cells": [
            {"names": [arm], "seed": seed} for arm in study.arms for seed in range(study.repetitions.finetune)
        ],
    }
    counts = rng.integers(0, 900, (len(extra["cells"]), 2, *[len(entry.classes)] * 2))
    np.savez(folder / "counts.npz", **{f"counts/{study.evaluate[dataset].primary}": counts})
    spec = {"stage": "evaluate", "dataset": dataset}
    parts = {"names": {}, "inputs": {}, "metrics": {}, "receipt": {}}
    record = Record(stage="evaluate", spec=spec, digest=digest_of(spec, {}), extra=extra, **parts)
    record.write(folder / "record.json")


def demo_study() -> Study:
    """Return a study like the demo: two arms, small backbones, two seeds."""
    arms = {"rgb-repeat": Arm(strategy="rgb"), "csp": Arm(strategy="csp")}
    return make_study(
        arms, {"convnext_mini": CONVNEXT, "swin_mini": SWIN}, seeds=2, scale="miniature", name="demo"
    )


def paper_study() -> Study:
    """Return a study like the paper's: four arms, ConvNeXt-T and Swin-T, three seeds."""
    arms = {
        "rgb-repeat": Arm(strategy="rgb"),
        "rgb-zero": Arm(strategy="rgb", stem="zero"),
        "rgb-reinit": Arm(strategy="rgb", stem="reinit"),
        "csp": Arm(strategy="csp"),
    }
    backbones = {"convnext_tiny": CONVNEXT, "swin_tiny_patch4_window7_224": SWIN}
    return make_study(arms, backbones, seeds=3, scale="full", name="paper", measures=True)


@pytest.fixture
def demo(tmp_path: Path) -> Case:
    """A miniature study with all its files."""
    return write_case(demo_study(), tmp_path / "results" / "demo")


@pytest.fixture
def paper(tmp_path: Path) -> Case:
    """A full-size study with all its files."""
    return write_case(paper_study(), tmp_path / "results" / "paper")
