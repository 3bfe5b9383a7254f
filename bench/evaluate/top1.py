"""Top-1 of the pre-trained classifiers, with their input channels in several orders.

A network pre-trained on R G B learns what red looks like; one pre-trained under shuffling cannot. Reading the
same validation images in the natural and in the reversed order tells them apart.

    natural    R G B R G ...              the unshuffled arrangement of n channels
    reversed   the natural one backwards  n = 3: B G R; n = 4: R B G R; n = 5: G R B G R
    random     the natural one shuffled by image
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.data.loaders import validation_images
from bench.data.store import ClassificationStore
from bench.data.transforms import normalise
from bench.device import named, peak_memory
from bench.errors import BenchError, RequestError
from bench.lock import run_lock, say
from bench.models.weights import load_model
from bench.record import Record, atomic, read_record, receipt, sha256_file
from bench.seeds import seed_for
from bench.strategies import apply_plan, channel_plan, natural_order
from bench.study.jobs import PretrainRun

BATCH = 128
"""Images a forward pass; it has no part in the result."""


def order_plan(order: str, n: int, images: int, seed: int) -> Tensor:
    """Return the channel plan of an evaluation order: int64 [images, n].

    `seed` serves `random` alone: one draw an image, by its place in the split. Raises RequestError for
    another order.
    """
    if order == "natural":
        return natural_order(n).expand(images, n)
    if order == "reversed":
        return natural_order(n).flip(0).expand(images, n)
    if order == "random":
        return channel_plan("csp", n, images, torch.Generator().manual_seed(seed_for("order", seed)))
    raise RequestError(f"channel order {order!r} is not known; there are natural, reversed, random")


@torch.inference_mode()
def correct_by_order(
    models: Sequence[tuple[nn.Module, int]],
    orders: Sequence[str],
    store: ClassificationStore,
    *,
    crop: int,
    ratio: float,
    seed: int,
    device: torch.device,
    workers: int,
) -> dict[str, NDArray[np.bool_]]:
    """Say of each validation image whether each classifier names its class: by order, bool [model, image].

    `models` are pairs (classifier, number of its input channels), on `device` and in evaluation mode. Images
    are decoded once for all of them; short side to crop / ratio, central crop; float32 arithmetic.
    """
    count = store.count("val")
    mean, std = torch.tensor(store.mean), torch.tensor(store.std)
    plans = {(order, n): order_plan(order, n, count, seed) for order in orders for _, n in models}
    correct = {order: np.zeros((len(models), count), dtype=np.bool_) for order in orders}
    first = 0
    for images, labels in validation_images(
        store, batch_size=BATCH, crop=crop, ratio=ratio, workers=workers, device=device
    ):
        here = slice(first, first + len(images))
        for (order, n), whole in plans.items():
            plan = whole[here]
            inputs = normalise(apply_plan(images, plan), mean[plan], std[plan])
            for row, (model, channels) in enumerate(models):
                if channels == n:
                    correct[order][row, here] = (model(inputs).max(1).indices == labels).cpu().numpy()
        first = here.stop
    return correct


def evaluate_top1(
    runs: Sequence[PretrainRun],
    orders: Sequence[str],
    out: Path,
    *,
    device: str,
    workers: int,
    digest: str,
    spec: Mapping[str, Any],
    inputs: Mapping[str, str],
    names: Mapping[str, Any],
) -> None:
    """Read all classifiers of one backbone in every order; write `correct.npz`, then `record.json`, to `out`.

    `correct/<order>` is bool [cell, image], images in the order of the validation split. Raises BenchError,
    by name, for a pre-training whose record is missing or belongs to another recipe than the study's.
    """
    with run_lock(out):
        _evaluate(runs, orders, out, device, workers, digest, spec, inputs, names)


def _evaluate(
    runs: Sequence[PretrainRun],
    orders: Sequence[str],
    out: Path,
    device: str,
    workers: int,
    digest: str,
    spec: Mapping[str, Any],
    inputs: Mapping[str, str],
    names: Mapping[str, Any],
) -> None:
    began = time.monotonic()
    place = torch.device(device)
    manifest = sha256_file(Path(runs[0].manifest))
    cells, models = [], []
    for run in runs:
        record = read_record(Path(run.record))
        found = record.digest
        if found != run.digest:
            raise BenchError(
                f"{run.record}: written for digest {found[:12]}, the study asks for {run.digest[:12]}; "
                f"run the pre-training {run.backbone} {run.label} seed {run.repetition} again"
            )
        if record.extra["manifest_sha256"] != manifest:
            raise BenchError(f"{run.record}: trained on other data than {run.manifest}; run it again")
        model, held = load_model(Path(run.weights))
        if held["digest"] != run.digest:
            raise BenchError(
                f"{run.weights}: weights and record are of two runs; run this pre-training again"
            )
        models.append((model.to(place), run.channels))
        cells.append(
            {
                "label": run.label,
                "strategy": run.strategy,
                "channels": run.channels,
                "seed": run.repetition,
                "digest": run.digest,
            }
        )
    # One backbone has one recipe and one classification data set, so all cells see the same pixels.
    recipe = runs[0].recipe
    correct = correct_by_order(
        models,
        orders,
        ClassificationStore(Path(runs[0].manifest), digest=inputs["manifest"]),
        crop=recipe.crop,
        ratio=recipe.eval_ratio,
        seed=runs[0].root_seed,
        device=place,
        workers=workers,
    )
    for row, cell in enumerate(cells):
        shares = ", ".join(f"{order} {flags[row].mean():.4f}" for order, flags in correct.items())
        say(f"{cell['label']} seed {cell['seed']}: top-1 {shares}")
    (out / "record.json").unlink(missing_ok=True)
    arrays: dict[str, Any] = {f"correct/{order}": flags for order, flags in correct.items()}
    with atomic(out / "correct.npz") as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    Record(
        stage="top1",
        names=dict(names),
        spec=dict(spec),
        digest=digest,
        inputs=dict(inputs),
        metrics={
            str(row): {f"top1/{order}": float(flags[row].mean()) for order, flags in correct.items()}
            for row in range(len(cells))
        },
        receipt=receipt(
            device=named(place), wall_seconds=time.monotonic() - began, device_memory=peak_memory(place)
        ),
        extra={"cells": cells, "orders": list(orders)},
    ).write(out / "record.json")
