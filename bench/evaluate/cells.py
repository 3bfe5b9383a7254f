"""Counts of every cell of a dataset and backbone: one int64 confusion matrix a sample and pixel rule.

One job serves all cells, for importing torch costs more than predicting a small one. Each finished cell is kept
beside the outputs by its digest, so that a killed job goes on and an added arm predicts only itself.
"""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.adopted import REPORTED, counted_as, is_adopted, read_adopted
from bench.data.store import SegmentationStore
from bench.device import named, peak_memory
from bench.errors import BenchError
from bench.evaluate.chosen import candidates, chosen, shown_part
from bench.evaluate.counting import count_scenes, spectral_samples
from bench.evaluate.predict import Sliding
from bench.evaluate.shards import SINGLE, Arrays, agreed, gathered, shard
from bench.lock import run_lock, say
from bench.machine import evaluation_memory, windows_at_once
from bench.metrics import scores
from bench.models.weights import load_model
from bench.progress import Progress
from bench.record import Record, atomic, digest_of, read_record, receipt, sha256_file
from bench.study.jobs import EvaluateRun, FinetuneRun
from bench.study.recipes import Evaluation
from bench.study.runs import VERSIONS


def evaluate_target(
    run: EvaluateRun,
    settings: Evaluation,
    *,
    device: str,
    rank: int = 0,
    world: int = 1,
    contrast: tuple[str, str] | None = None,
) -> None:
    """Predict the evaluation split with every cell of `run`; write counts, examples and the record, it last.

    counts.npz holds what `counting` describes, with the cells as a first axis before the samples. Of `world`
    processes each predicts its share of the samples, and the first writes what all have counted. `contrast`: the arms
    (treatment, baseline) by whose difference the examples are chosen (`bench.evaluate.chosen`).
    Raises BenchError, naming the record or the weights, if a cell belongs to another study, version or data, or
    has other classes or channels than the data.
    """
    with run_lock(Path(run.folder)) if rank == 0 else nullcontext():
        _evaluate(run, settings, device, rank, world, contrast)


def _evaluate(
    run: EvaluateRun,
    settings: Evaluation,
    device: str,
    rank: int,
    world: int,
    contrast: tuple[str, str] | None,
) -> None:
    began = time.monotonic()
    folder, place = Path(run.folder), torch.device(device)
    store = SegmentationStore(Path(run.manifest), digest=run.inputs["manifest"])
    samples = store.split(store.evaluation_split)
    kept = candidates(samples)
    classes = [item["name"] for item in store.classes]
    held: dict[str, list[NDArray[np.int64]]] = {}
    shown: dict[str, NDArray[Any]] = {}
    cells, metrics = [], {}
    manifest = sha256_file(Path(run.manifest))
    progress = Progress(f"evaluate {run.dataset} {run.backbone}", len(run.finetunings), unit="cells")
    for index, cell in enumerate(run.finetunings):
        record = _checked(cell)
        made_from = {"weights": record.extra["weights_sha256"], "manifest": manifest}
        if record.extra["manifest_sha256"] != manifest:
            raise BenchError(f"{cell.record}: trained on other data than {run.manifest}; run it again")
        # The first repetition is shown.
        pictured = kept if cell.repetition == 0 else []
        if is_adopted(cell.folder):
            # Its predictions stayed where it was trained: it is counted, and not pictured.
            counted = read_adopted(
                cell.folder, asked=counted_as(run.spec), digest=cell.digest, samples=samples
            )
            pictured = []
        else:
            counted = _cell(folder, cell, store, samples, pictured, settings, made_from, place, rank, world)
        if rank:
            continue
        progress.update()
        for name, array in counted.items():
            if not name.startswith(SINGLE):
                held.setdefault(name, []).append(array)
        shown |= {f"prediction/{cell.arm}/{name}": counted[f"prediction/{name}"] for name in pictured}
        leave_out = [classes.index(name) for name in settings.leave_out]
        metrics[str(index)] = {
            rule: scores(counted[f"counts/{rule}"].sum(axis=0), classes, leave_out)
            for rule in settings.pixels
        }
        cells.append(
            {
                "arm": cell.arm,
                "names": list(cell.names),
                "seed": cell.repetition,
                "pretrain_seed": cell.pretrain.repetition if cell.pretrain else None,
                "digest": cell.digest,
                **{key: record.receipt[key] for key in ("commit", "dirty", "device", "packages")},
            }
        )
        print(f"{cell.folder}: {_headline(metrics[str(index)], settings)}", flush=True)
    if rank:
        return
    of_rule = {
        name: counts
        for cell, counts in zip(run.finetunings, held[f"counts/{settings.primary}"], strict=True)
        if cell.repetition == 0
        for name in cell.names
    }
    examples, rule = chosen(samples, kept, of_rule, contrast, classes, settings)
    shown = {key: array for key, array in shown.items() if key.split("/", 2)[2] in examples}
    for name in examples:
        here = shown_part(store.shape(name))
        shown[f"image/{name}"] = store.pixels(name, *here)
        shown[f"target/{name}"] = store.labels(name, settings.primary, *here)
    _save(folder / "counts.npz", {name: np.stack(parts) for name, parts in held.items()})
    _save(folder / "examples.npz", shown)
    Record(
        stage="evaluate",
        names={"study": run.study, "dataset": run.dataset, "backbone": run.backbone},
        spec=run.spec,
        digest=run.digest,
        inputs=run.inputs,
        metrics=metrics,
        receipt=receipt(
            device=named(place), wall_seconds=time.monotonic() - began, device_memory=peak_memory(place)
        ),
        extra={
            "cells": cells,
            "samples": samples,
            "units": [store.unit(name) for name in samples],
            "groups": [store.group(name) for name in samples],
            "classes": classes,
            "colours": [item["colour"] for item in store.classes],
            "channels": [channel["name"] for channel in store.channels],
            "pixels": list(settings.pixels),
            "boundary": list(settings.boundary),
            "spectral_samples": spectral_samples(samples, settings),
            "examples": examples,
            "examples_rule": rule,
            "counts_sha256": sha256_file(folder / "counts.npz"),
            "processes": world,
        },
    ).write(folder / "record.json")


def _checked(cell: FinetuneRun) -> Record:
    """Return the cell's record, refused by name unless it is the one that the study asks for."""
    record = read_record(Path(cell.record))
    if record.digest != cell.digest:
        raise BenchError(
            f"{cell.record}: made by another study or version (digest {record.digest[:12]}, expected "
            f"{cell.digest[:12]}); run the fine-tuning again: `python -m bench run` does"
        )
    if not is_adopted(cell.folder) and record.extra["weights_sha256"] != sha256_file(Path(cell.weights)):
        raise BenchError(
            f"{cell.weights}: these are not the weights that {cell.record} describes; run it again"
        )
    return record


def _cell(
    folder: Path,
    cell: FinetuneRun,
    store: SegmentationStore,
    samples: Sequence[str],
    examples: Sequence[str],
    settings: Evaluation,
    made_from: dict[str, str],
    device: torch.device,
    rank: int,
    world: int,
) -> Arrays:
    """Return what is counted of one cell, and its predictions of the examples, from the cache if they are there.

    Only the first process has it.
    """
    # What a prediction depends on: how it is made, the weights' bytes and the data's.
    key = digest_of(
        {**prediction_spec(settings), "version": VERSIONS["evaluate"], "examples": list(examples)}, made_from
    )
    cache = folder / "state" / f"{key[:32]}.npz"
    if agreed(cache.exists(), world):
        if rank:
            return {}
        with np.load(cache, allow_pickle=False) as arrays:
            return dict(arrays)
    own = shard(samples, rank, world)
    share = f", in {world} processes" if world > 1 else ""
    if rank == 0:
        say(f"predicting {len(samples)} samples with {cell.weights}{share}")
    model, spec = load_model(Path(cell.weights))
    if spec["digest"] != cell.digest:
        raise BenchError(
            f"{cell.weights}: the weights are of digest {spec['digest'][:12]}, expected {cell.digest[:12]}"
        )
    channels, classes = len(store.channels), len(store.classes)
    if (spec["channels"], spec["num_classes"]) != (channels, classes):
        raise BenchError(
            f"{cell.weights}: a network for {spec['channels']} channels and {spec['num_classes']} classes; "
            f"{store.path} has {channels} channels and {classes} classes: fine-tune it on these data"
        )
    model.to(device).to(memory_format=torch.channels_last)
    kept: Arrays = {}

    def told(name: str, ids_HW: NDArray[np.uint8]) -> None:
        if name in examples:
            kept[f"{SINGLE}{name}"] = ids_HW[shown_part(ids_HW.shape)]

    found = count_scenes(
        model,
        store,
        own,
        settings,
        Sliding(
            window=settings.window,
            stride=settings.stride,
            classes=classes,
            batch=windows_at_once(),
            memory=evaluation_memory(),
        ),
        mean=torch.tensor(spec["mean"], device=device),
        std=torch.tensor(spec["std"], device=device),
        seed=cell.root_seed,
        disturbed=spectral_samples(samples, settings),
        told=told,
    )
    whole = gathered(own, found | kept, samples, spectral_samples(samples, settings), rank, world)
    if rank == 0:
        _save(cache, whole)
    return whole


def prediction_spec(settings: Evaluation) -> dict[str, Any]:
    """Return the settings that decide about what is counted; the others only say how it is reported."""
    reported = (*REPORTED, "subsets")
    return {key: value for key, value in asdict(settings).items() if key not in reported}


def _headline(found: dict[str, Any], settings: Evaluation) -> str:
    value = found[settings.primary][settings.metric]
    return f"{settings.metric} " + ("undefined" if value is None else f"{value:.4f}")


def _save(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write a compressed .npz, whole or not at all."""
    with atomic(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
