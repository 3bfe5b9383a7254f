"""A study's records and counts as its runs would leave them, drawn from a seed: input of benchmarks and tests.

Nothing is trained. Digests, names, folders and shapes are those of the real study; scores are made up: seeds and
units have effects of their own, and the treatment is a little better.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.catalog.index import CATALOG
from bench.metrics import scores
from bench.record import Record, sha256_file, write_json, write_text
from bench.seeds import seed_for
from bench.study.disturbances import channel_names, disturbance_names
from bench.study.jobs import EvaluateRun, FinetuneRun, PretrainRun
from bench.study.runs import Runs

FULL_SIZE = {"isaid": 458, "mfnet": 393, "pst900": 288, "potsdam": 14}
"""Evaluated samples of the published splits."""
FULL_SIDE = {"isaid": 900, "mfnet": 560, "pst900": 960, "potsdam": 6000}
"""Square root of a sample's pixels."""
IMAGES = 50_000
"""Validation images of ImageNet-1K."""
SHOWN = 2
"""Example pictures an evaluation."""
PRESENT = 0.35
"""Share of the classes that a scene holds on average, one of them at least."""

RECEIPT: dict[str, Any] = {
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "dirty": False,
    "packages": {"csp-bench": "0.1.0", "numpy": "2.4.6", "torch": "2.14.1"},
    "python": "3.11.7",
    "machine": "x86_64",
    "device": "cpu",
    "host_cores": 2,
    "wall_seconds": 7.5,
    "peak_memory_bytes": 900 * 2**20,
    "peak_device_memory_bytes": None,
}


def write_records(
    runs: Runs,
    *,
    samples: Mapping[str, int],
    side: Mapping[str, int],
    images: int,
    steps: int = 200,
    picture: int = 96,
) -> None:
    """Write manifests, training records and logs, evaluations with counts and examples, and top-1 of a study.

    `samples` and `side`: evaluated samples of each dataset and the root of their pixels; `images`: classified
    images; `steps`: logged losses a run; `picture`: side of the example pictures in pixels. Below `runs.root`.
    """
    generator = np.random.default_rng(seed_for("made-up records", runs.study.study))
    for name, data in runs.target_data.items():
        write_json(Path(data.manifest), _manifest(runs, name, samples[name], data.digest))
    data = runs.pretrain_data
    classes = [{"index": i, "wnid": f"n{i:08d}", "name": f"class {i}"} for i in range(10)]
    splits = {split: {"count": images} for split in ("train", "val")}
    common = _common(data.name, runs.study.scale, data.digest, data.spec)
    write_json(
        Path(data.manifest), {**common, "kind": "classification", "classes": classes, "splits": splits}
    )
    trained: list[PretrainRun | FinetuneRun] = [*runs.pretrainings, *runs.finetunings]
    for run in trained:
        _write_training(run, steps, generator)
    for evaluation in runs.evaluations:
        _write_evaluation(
            runs, evaluation, samples[evaluation.dataset], side[evaluation.dataset], picture, generator
        )
    for classifier in runs.classifiers:
        _write_top1(runs, classifier, images, generator)


def _common(dataset: str, scale: str, digest: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    sources = [{"path": f"{dataset}.zip", "bytes": 1, "sha256": "0" * 64}]
    common = {"schema": 1, "dataset": dataset, "scale": scale, "digest": digest, "spec": dict(spec)}
    return {**common, "sources": sources, "mean": [0.0], "std": [1.0], "code_version": "0.1.0"}


def _ids(dataset: str, count: int) -> list[str]:
    return [f"{dataset[:2]}{number:05d}" for number in range(count)]


def _manifest(runs: Runs, name: str, count: int, digest: str) -> dict[str, Any]:
    entry, target = CATALOG[runs.study.datasets[name].source or name], runs.study.datasets[name]
    classes = [{"index": i, "name": c.name, "colour": list(c.colour)} for i, c in enumerate(entry.classes)]
    return {
        **_common(name, runs.study.scale, digest, runs.target_data[name].spec),
        "kind": "segmentation",
        "classes": classes,
        "channels": [{"name": channel, "unit": "", "dtype": "uint8"} for channel in target.channels],
        "splits": {"train": [f"train{i}" for i in range(5)], "val": [], "test": _ids(name, count)},
        "evaluation_split": "test",
        "samples": {},
    }


def _record(run: Any, names: dict[str, Any], metrics: dict[str, Any], extra: dict[str, Any]) -> None:
    stage = "top1" if run.stage == "evaluate" and run.pretrainings else run.stage
    record = Record(
        stage=stage, names={"study": run.study, **names}, spec=run.spec, digest=run.digest, inputs=run.inputs,
        metrics=metrics, receipt=RECEIPT, extra=extra,
    )  # fmt: skip
    record.write(Path(run.record))


def _write_training(run: PretrainRun | FinetuneRun, steps: int, generator: np.random.Generator) -> None:
    step = np.arange(1, steps + 1)
    loss = 0.5 + 2 * np.exp(-step / (steps / 5)) + generator.normal(0, 0.05, steps)
    rows = "\n".join(f"{s},{value:.6f}" for s, value in zip(step, loss, strict=True))
    write_text(Path(run.folder, "log.csv"), f"step,loss\n{rows}\n")
    names: dict[str, Any] = {"backbone": run.backbone, "seed": run.repetition}
    names |= (
        {"dataset": run.dataset, "arm": run.arm} if isinstance(run, FinetuneRun) else {"label": run.label}
    )
    _record(run, names, {"loss": float(loss[-1])}, {"weights_sha256": run.digest})


def _write_evaluation(
    runs: Runs, run: EvaluateRun, count: int, side: int, picture: int, generator: np.random.Generator
) -> None:
    settings, manifest = runs.study.evaluate[run.dataset], _manifest(runs, run.dataset, count, "")
    classes, ids = [item["name"] for item in manifest["classes"]], manifest["splits"]["test"]
    hardness = generator.normal(0, 0.5, (1, count, 1))
    shares = _shares(count, len(classes), generator) * side**2 * generator.uniform(0.5, 1.5, (count, 1))
    arrays: dict[str, NDArray[np.int64]] = {}
    for rule in settings.pixels:
        found = []
        for cell in run.finetunings:
            skill = 1.4 + 0.3 * (runs.study.compare.treatment in cell.names) + generator.normal(0, 0.05)
            right = 1 / (1 + np.exp(-(skill + hardness[0] + generator.normal(0, 0.3, (count, len(classes))))))
            found.append(_confusion(shares.astype(np.int64), right, generator))
        arrays[f"counts/{rule}"] = np.stack(found)
    disturbed = _add_further(arrays, runs, run, count, generator)
    folder = Path(run.folder)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "counts.npz", **arrays)  # type: ignore[arg-type]
    channels = list(runs.study.datasets[run.dataset].channels)
    _write_examples(folder, run, ids[:SHOWN], len(classes), len(channels), picture, generator)
    leave_out = [classes.index(name) for name in settings.leave_out]
    metrics = {
        str(i): {r: scores(arrays[f"counts/{r}"][i].sum(axis=0), classes, leave_out) for r in settings.pixels}
        for i in range(len(run.finetunings))
    }
    cells = [
        {
            "arm": cell.arm, "names": list(cell.names), "seed": cell.repetition, "digest": cell.digest,
            "pretrain_seed": cell.pretrain.repetition if cell.pretrain else None,
        }
        for cell in run.finetunings
    ]  # fmt: skip
    groups = [settings.subsets[i % len(settings.subsets)] if settings.subsets else None for i in range(count)]
    extra = {
        "cells": cells, "samples": ids, "units": ids, "classes": classes, "pixels": list(settings.pixels),
        "channels": channels, "colours": [item["colour"] for item in manifest["classes"]], "groups": groups,
        "boundary": list(settings.boundary), "spectral_samples": [ids[i] for i in disturbed],
        "examples": ids[:SHOWN], "counts_sha256": sha256_file(folder / "counts.npz"),
    }  # fmt: skip
    _record(run, {"dataset": run.dataset, "backbone": run.backbone}, metrics, extra)


def _shares(count: int, classes: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return each scene's shares of pixels by class [sample, class]: most classes are in few scenes."""
    there = generator.uniform(size=(count, classes)) < PRESENT
    there[np.arange(count), generator.integers(0, classes, count)] = True
    drawn = generator.gamma(0.6, size=(count, classes)) * there
    found: NDArray[np.float64] = drawn / drawn.sum(axis=1, keepdims=True)
    return found


def _add_further(
    arrays: dict[str, NDArray[np.int64]],
    runs: Runs,
    run: EvaluateRun,
    count: int,
    generator: np.random.Generator,
) -> list[int]:
    """Add the counts of edges and of disturbed spectra that the study asks for; return the suite's samples.

    A twentieth of the pixels for each pixel of a band's width is near edges, half of the rest of a class's band is
    shared; a disturbance moves a part of what was right to the next class.
    """
    settings = runs.study.evaluate[run.dataset]
    whole = arrays.get("counts/full", next(iter(arrays.values())))
    right, target, predicted = (
        np.diagonal(whole, axis1=2, axis2=3), whole.sum(axis=3), whole.sum(axis=2),
    )  # fmt: skip
    for width in settings.boundary:
        share = min(0.8, width / 20)
        near = (whole * share).astype(np.int64)
        parts = [(each * share).astype(np.int64) for each in (0.8 * right, target, predicted)]
        arrays[f"edges/{width}/near"] = near
        arrays[f"edges/{width}/iou"] = np.stack(parts, axis=3)
        contour = [parts[0] // width, parts[2] // width, parts[0] // width, parts[1] // width]
        arrays[f"edges/{width}/contour"] = np.stack(contour, axis=3)
    chosen = np.linspace(0, count - 1, min(settings.spectral_samples or count, count)).astype(int).tolist()
    channels = runs.study.datasets[run.dataset].channels
    for word in settings.spectral:
        kind, _, amount = word.partition(":")
        if kind == "orders":
            names = [f"order{number}" for number in range(1, int(amount) + 1)]
        else:
            names = [kind] if kind == "reversed" else [f"{kind}{amount}/{channel}" for channel in channels]
        for name in names:
            lost = generator.uniform(0.02, 0.4, (len(whole), 1, 1))
            moved = (right[:, chosen] * lost).astype(np.int64)
            changed, classes = whole[:, chosen].copy(), np.arange(whole.shape[2])
            changed[..., classes, classes] -= moved
            changed[..., classes, (classes + 1) % len(classes)] += moved
            arrays[f"spectral/{name}"] = changed
    return chosen if settings.spectral else []


def _confusion(
    pixels: NDArray[np.int64], right: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return counts [sample, target, prediction]: of each class's pixels the share `right` is right."""
    count, classes = pixels.shape
    # Most of what is wrong goes to one or two classes.
    spread = generator.dirichlet(np.full(classes, 0.05), (count, classes))
    counts = ((1 - right) * pixels)[..., None] * spread
    whole = counts.astype(np.int64)
    diagonal = np.arange(classes)
    whole[:, diagonal, diagonal] += pixels - whole.sum(axis=2)
    return whole


def _write_examples(
    folder: Path,
    run: EvaluateRun,
    ids: list[str],
    classes: int,
    channels: int,
    side: int,
    generator: np.random.Generator,
) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    for sample in ids:
        scene = np.random.default_rng(seed_for("made-up scene", run.dataset, sample))
        blocks = scene.integers(0, classes, (-(-side // 12), -(-side // 12))).astype(np.uint8)
        target = np.kron(blocks, np.ones((12, 12), np.uint8))[:side, :side]
        texture = scene.uniform(0, 60, (side, side, channels))
        arrays[f"image/{sample}"] = (target[..., None] * (180 // classes) + texture).astype(np.float32)
        arrays[f"target/{sample}"] = target
        for arm in dict.fromkeys(cell.arm for cell in run.finetunings):
            wrong = np.kron(generator.uniform(size=blocks.shape) < 0.2, np.ones((12, 12), bool))[:side, :side]
            arrays[f"prediction/{arm}/{sample}"] = np.where(wrong, 0, target).astype(np.uint8)
    np.savez_compressed(folder / "examples.npz", **arrays)  # type: ignore[arg-type]


def _write_top1(runs: Runs, run: EvaluateRun, images: int, generator: np.random.Generator) -> None:
    difficulty = generator.uniform(size=images)
    arrays = {}
    for order in runs.study.orders:
        found = []
        for cell in run.pretrainings:
            share = 0.80 if cell.strategy == "rgb" else 0.78
            share -= 0.25 if cell.strategy == "rgb" and order != "natural" else 0.0
            found.append(difficulty + generator.normal(0, 0.05, images) < share)
        arrays[f"correct/{order}"] = np.stack(found)
    disturbances: dict[str, list[int]] = {}
    for n in sorted({cell.channels for cell in run.pretrainings}):
        for name in disturbance_names(runs.study.spectral, channel_names(n)):
            disturbances.setdefault(name, []).append(n)
            arrays[f"correct/{name}"] = arrays["correct/natural"] & (generator.uniform(size=images) < 0.9)
    folder = Path(run.folder)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "correct.npz", **arrays)  # type: ignore[arg-type]
    cells = [
        {
            "label": c.label, "strategy": c.strategy, "channels": c.channels, "seed": c.repetition, "digest": c.digest,
        }
        for c in run.pretrainings
    ]  # fmt: skip
    _record(
        run,
        {"backbone": run.backbone},
        {},
        {"cells": cells, "orders": list(runs.study.orders), "disturbances": disturbances},
    )
