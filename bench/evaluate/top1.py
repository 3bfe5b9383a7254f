"""Top-1 and top-5 of the pre-trained classifiers, with their input channels in several orders, and disturbed.

A network pre-trained on R G B learns what red looks like; one pre-trained under shuffling cannot. Reading the
same validation images in the natural and in other orders tells them apart. One order serves all images.

    natural            the unshuffled arrangement of n channels, R G B R G ...
    reversed           the natural one backwards  n = 3: B G R; n = 4: R B G R; n = 5: G R B G R
    random1, random2.. arrangements drawn from the seed, without replacement, among all others; with three channels
                       the four drawn are all there are. `random` is the mean over them.

Beside the orders stand disturbances of one channel at a time (`bench.evaluate.spectral`): `mean/channel_2` silences
the second channel of the natural arrangement, `gain0.5/channel_2` halves it. They are measured by top-1 alone.

Each classifier reads as its arm was trained: normalised by what a channel shows or by its position, and `grey` sees
the mean of red, green and blue in every channel, whatever the order.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.adopted import counted_as, is_adopted, read_adopted
from bench.data.decoding import Resize
from bench.data.loaders import validation_images
from bench.data.store import ClassificationStore
from bench.data.transforms import normalise
from bench.device import named, peak_memory
from bench.errors import BenchError, RequestError
from bench.evaluate.spectral import Change, disturbances
from bench.lock import run_lock, say
from bench.models.weights import load_model
from bench.record import Record, atomic, read_record, receipt, sha256_file
from bench.seeds import seed_for
from bench.strategies import apply_plan, natural_order, statistics, strategy_order
from bench.study.disturbances import RANDOM_ORDERS, channel_names, disturbance_names
from bench.study.jobs import PretrainRun

BATCH = 128
"""Images a forward pass; it has no part in the result."""

TOP = 5
"""The longer list of guesses; with so few classes that it holds them all there is only top-1."""


class Reader(NamedTuple):
    """A classifier, on its device and in evaluation mode, and how its arm reads an image."""

    model: nn.Module
    channels: int
    strategy: str
    normalise: str = "follow"


class Sight(NamedTuple):
    """What readers that see the same pixels have in common, and the names and forms in which they see them."""

    channels: int
    strategy: str
    normalise: str
    orders: dict[str, Tensor]
    """Arrangements by name: int64 [channels]."""
    changes: dict[str, Change]
    """Disturbances of the natural arrangement, in stored units."""


def arrangements(order: str, n: int, seed: int) -> dict[str, Tensor]:
    """Return the arrangements of n channels that an order of the study stands for: name -> int64 [n].

    `natural` and `reversed` are one each, `random` is RANDOM_ORDERS drawn from `seed`, which differ from
    each other and from those two. Raises RequestError for another order.
    """
    natural = natural_order(n)
    fixed = {"natural": natural, "reversed": natural.flip(0)}
    if order in fixed:
        return {order: fixed[order]}
    if order != "random":
        raise RequestError(f"channel order {order!r} is not known; there are natural, reversed, random")
    generator = torch.Generator().manual_seed(seed_for("orders", seed, n))
    seen, drawn = {tuple(plan.tolist()) for plan in fixed.values()}, list[Tensor]()
    # Three channels have six arrangements, and more channels more, so there are four besides the two.
    while len(drawn) < RANDOM_ORDERS:
        plan = natural[torch.randperm(n, generator=generator)]
        if tuple(plan.tolist()) not in seen:
            seen.add(tuple(plan.tolist()))
            drawn.append(plan)
    return {f"random{number}": plan for number, plan in enumerate(drawn, start=1)}


def shard(count: int, rank: int, world: int) -> tuple[int, int]:
    """Return the images first .. stop - 1 of a split that one of `world` processes reads.

    Whole batches, so that every image meets the same neighbours whatever the number of processes.
    """
    batches = -(-count // BATCH)
    first, stop = (min(count, BATCH * (batches * part // world)) for part in (rank, rank + 1))
    return first, stop


@torch.inference_mode()
def hits(
    readers: Sequence[Reader],
    orders: Sequence[str],
    store: ClassificationStore,
    *,
    crop: int,
    ratio: float,
    seed: int,
    device: torch.device,
    workers: int,
    resize: Resize = "pillow",
    spectral: Sequence[str] = (),
    rank: int = 0,
    world: int = 1,
) -> dict[str, NDArray[np.bool_]]:
    """Say of each validation image whether each classifier names its class, first or among its five guesses.

    Returns bool [reader, image] by name: `top1/natural`, `top5/random2` (the latter with more than five classes),
    `top1/mean/channel_4` (of the disturbances that the words of `spectral` stand for; False for a classifier that
    has no such channel). Images are decoded once for all of them; short side to crop / ratio, central crop; float32
    arithmetic. Of several processes each reads its shard and leaves the rest False.
    """
    count = store.count("val")
    mean, std = torch.tensor(store.mean), torch.tensor(store.std)
    # Readers that see the same pixels share them.
    alike = dict[tuple[int, str, str], list[int]]()
    for row, reader in enumerate(readers):
        alike.setdefault((reader.channels, reader.strategy, reader.normalise), []).append(row)
    sights = [
        (_sight(*kind, orders, spectral, mean, std, seed, device), rows) for kind, rows in alike.items()
    ]
    tops = ("top1", "top5") if store.num_classes > TOP else ("top1",)
    names = [f"{top}/{name}" for top in tops for sight, _ in sights for name in sight.orders]
    names += [f"top1/{name}" for sight, _ in sights for name in sight.changes]
    found = {name: np.zeros((len(readers), count), dtype=np.bool_) for name in names}
    first, stop = shard(count, rank, world)
    batches = validation_images(
        store,
        batch_size=BATCH,
        crop=crop,
        ratio=ratio,
        workers=workers,
        device=device,
        resize=resize,
        first=first,
        stop=stop,
    )
    with closing(batches):
        for images, labels in batches:
            here = slice(first, first + len(images))
            for sight, rows in sights:
                for name, inputs in _seen(images, sight, mean, std):
                    for row in rows:
                        logits = readers[row].model(inputs)
                        found[f"top1/{name}"][row, here] = (logits.max(1).indices == labels).cpu().numpy()
                        if f"top5/{name}" in found:
                            among = logits.topk(TOP, dim=1).indices == labels[:, None]
                            found[f"top5/{name}"][row, here] = among.any(1).cpu().numpy()
            first = here.stop
    return found


def _sight(
    channels: int,
    strategy: str,
    normalise_by: str,
    orders: Sequence[str],
    spectral: Sequence[str],
    mean: Tensor,
    std: Tensor,
    seed: int,
    device: torch.device,
) -> Sight:
    """Return the arrangements and disturbances of one kind of reader; `mean` and `std` are of red, green, blue."""
    plans = {name: plan for order in orders for name, plan in arrangements(order, channels, seed).items()}
    plan = strategy_order(strategy, natural_order(channels))[None]
    own_mean, own_std = (value[0].to(device) for value in statistics(plan, mean, std, normalise_by))
    changes = disturbances(spectral, channel_names(channels), own_mean, own_std, seed)
    return Sight(channels, strategy, normalise_by, plans, changes)


def _seen(images: Tensor, sight: Sight, mean: Tensor, std: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield name and normalised pixels [B, n, H, W] of each order, then of each disturbance of the natural one."""

    def arranged(order: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        own = strategy_order(sight.strategy, order)
        plan = own.expand(len(images), *own.shape)
        return apply_plan(images, plan), statistics(plan, mean, std, sight.normalise)

    for name, order in sight.orders.items():
        stored, own = arranged(order)
        yield name, normalise(stored, *own)
    if sight.changes:
        stored, own = arranged(natural_order(sight.channels))
        for name, change in sight.changes.items():
            yield name, normalise(change(stored.float()), *own)


def shares(found: Mapping[str, NDArray[np.bool_]], row: int = 0) -> dict[str, float]:
    """Return the share of right images of one classifier by name, and `top1/random` as the mean over the drawn."""
    values = {name: float(flags[row].mean()) for name, flags in found.items()}
    for top in ("top1", "top5"):
        drawn = [value for name, value in values.items() if name.startswith(f"{top}/random")]
        if drawn:
            values[f"{top}/random"] = float(np.mean(drawn))
    return values


def _merged(
    own: Mapping[str, NDArray[np.bool_]],
    rows: Sequence[int],
    adopted: Mapping[int, Mapping[str, NDArray[np.bool_]]],
) -> dict[str, NDArray[np.bool_]]:
    """Return the flags [cell, image] of all cells: `own` of the cells in `rows`, and those that were read elsewhere.

    Adopted ones have the names of `correct.npz`. What a cell was not read under is False.
    """
    if not adopted:
        return dict(own)
    parts = {row: {name: flags[i] for name, flags in own.items()} for i, row in enumerate(rows)}
    for row, held in adopted.items():
        parts[row] = {name.replace("correct/", "top1/"): flags for name, flags in held.items()}
    names = dict.fromkeys(name for part in parts.values() for name in part)
    nothing = np.zeros(len(next(iter(parts[0].values()))), dtype=np.bool_)
    return {name: np.stack([parts[row].get(name, nothing) for row in range(len(parts))]) for name in names}


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
    spectral: Sequence[str] = (),
) -> None:
    """Read all classifiers of one backbone in every order; write `correct.npz`, then `record.json`, to `out`.

    `correct/<order>` and `top5/<order>` are bool [cell, image], images in the order of the validation split, and so
    is `correct/<disturbance>` for those that the words of `spectral` stand for; the record says which numbers of
    channels have it. Raises BenchError, by name, for a pre-training whose record is missing or belongs to another
    recipe than the study's, and for weights that are not those of the record.
    """
    with run_lock(out):
        _evaluate(runs, orders, spectral, out, device, workers, digest, spec, inputs, names)


def _evaluate(
    runs: Sequence[PretrainRun],
    orders: Sequence[str],
    spectral: Sequence[str],
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
    cells, readers, read, adopted = (
        list[dict[str, Any]](),
        list[Reader](),
        list[int](),
        dict[int, Mapping[str, NDArray[np.bool_]]](),
    )
    for run in runs:
        record = read_record(Path(run.record))
        written = record.digest
        if written != run.digest:
            raise BenchError(
                f"{run.record}: written for digest {written[:12]}, the study asks for {run.digest[:12]}; "
                f"run the pre-training {run.backbone} {run.label} seed {run.repetition} again"
            )
        if record.extra["manifest_sha256"] != manifest:
            raise BenchError(f"{run.record}: trained on other data than {run.manifest}; run it again")
        if is_adopted(run.folder):
            adopted[len(cells)] = read_adopted(
                run.folder, asked=counted_as(spec), digest=run.digest, samples=()
            )
        else:
            model, held = load_model(Path(run.weights))
            if held["digest"] != run.digest or record.extra["weights_sha256"] != sha256_file(
                Path(run.weights)
            ):
                raise BenchError(
                    f"{run.weights}: weights and record are of two runs; run this pre-training again"
                )
            read.append(len(cells))
            readers.append(Reader(model.to(place), run.channels, run.strategy, run.normalise))
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
    found = hits(
        readers,
        orders,
        ClassificationStore(Path(runs[0].manifest), digest=inputs["manifest"]),
        crop=recipe.crop,
        ratio=recipe.eval_ratio,
        seed=runs[0].root_seed,
        device=place,
        workers=workers,
        resize=recipe.resize,
        spectral=spectral,
    )
    found = _merged(found, read, adopted)
    counts = sorted({run.channels for run in runs})
    # Which numbers of channels have each disturbance: only these classifiers were read so.
    disturbed: dict[str, list[int]] = {}
    for n in counts:
        for name in disturbance_names(spectral, channel_names(n)):
            disturbed.setdefault(name, []).append(n)
    metrics = {}
    for row, (run, cell) in enumerate(zip(runs, cells, strict=True)):
        own = {
            name: flags
            for name, flags in found.items()
            if run.channels in disturbed.get(name.removeprefix("top1/"), counts)
        }
        metrics[str(row)] = values = shares(own, row)
        words = ", ".join(
            f"{name} {value:.4f}"
            for name, value in values.items()
            if name.removeprefix("top1/") not in disturbed
        )
        say(f"{cell['label']} seed {cell['seed']}: {words}")
    (out / "record.json").unlink(missing_ok=True)
    arrays: dict[str, Any] = {name.replace("top1/", "correct/"): flags for name, flags in found.items()}
    with atomic(out / "correct.npz") as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    Record(
        stage="top1",
        names=dict(names),
        spec=dict(spec),
        digest=digest,
        inputs=dict(inputs),
        metrics=metrics,
        receipt=receipt(
            device=named(place), wall_seconds=time.monotonic() - began, device_memory=peak_memory(place)
        ),
        extra={
            "cells": cells,
            "orders": [
                name
                for name in (key.removeprefix("top1/") for key in found if key.startswith("top1/"))
                if name not in disturbed
            ],
            "disturbances": disturbed,
            "arrangements": {
                str(n): {
                    name: plan.tolist()
                    for order in orders
                    for name, plan in arrangements(order, n, runs[0].root_seed).items()
                }
                for n in counts
            },
        },
    ).write(out / "record.json")
