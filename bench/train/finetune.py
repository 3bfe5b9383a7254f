"""Fine-tune one UperNet: the whole story from prepared crops to weights, top to bottom.

Everything random is a function of the run's seed and of (step), (step, rank) or (epoch, index), and the learning
rate is computed from the step. So a run that is killed and resumed ends with the bits of one that was not; and the
arm is in no seed: two arms of one repetition see the same crops in the same order.
"""

import os
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import torch

from bench.data.loaders import training_crops
from bench.data.store import SegmentationStore
from bench.data.transforms import normalise
from bench.device import determinism, named, peak_memory, reseed
from bench.errors import RequestError
from bench.lock import run_lock, say
from bench.models.weights import load_strictly, read_tensors, save_weights
from bench.progress import CsvLog, Progress
from bench.record import Record, receipt, sha256_file
from bench.seeds import seed_for
from bench.study.jobs import FinetuneRun
from bench.train.batch_norm import synced
from bench.train.checkpoint import Checkpoints, finished, state_key
from bench.train.distributed import Ranks, Share, averaging, process_group
from bench.train.guard import FiniteGuard
from bench.train.optim import adamw, parameter_groups, poly_lr, set_lr
from bench.train.preempt import Preemption
from bench.train.segmenter import (
    factor_rule,
    head_settings,
    labelled_pixels,
    segmentation_loss,
    start_model,
)
from bench.train.selection import Best, data_warnings, loss_warnings, validation_miou
from bench.train.state import TrainingState, autocast_type, gradient_scaler, name_of, say_precision

ROWS = 100
"""Rows of the loss log, spread over the iterations."""
CHECKPOINT_SECONDS, PAUSE = 60.0, 100.0
"""Least time between checkpoints, in seconds and in times that writing one takes; no part in the result."""


def finetune(run: FinetuneRun, *, device: str, workers: int) -> None:
    """Fine-tune `run` and write weights, log and record into its folder.

    Resumes from the last checkpoint of the same digest; ends bit-equal to an undisturbed run on the CPU. Started as
    one of several processes (see `bench.train.distributed`) it trains together with the others. Raises
    BenchError if the prepared data or the pre-trained weights are not those that the run's digest names, if a loss,
    gradient norm or weight is not finite, or for a state in another precision; RequestError for a batch that
    cannot be divided as asked; Preempted, with the state on disk, after SIGTERM.
    """
    folder, place = Path(run.folder), torch.device(device)
    with process_group(place) as ranks, ExitStack() as held:
        if ranks.first:
            held.enter_context(run_lock(folder))
        if ranks.told(ranks.first and finished(folder, run.digest, Path(run.manifest))):
            if ranks.first:
                say(f"{folder}: already holds this run; remove record.json to run it again")
            return
        label = f"{run.dataset} {run.backbone} {run.arm} seed {run.repetition}"
        preemption = held.enter_context(Preemption(folder, label))
        undetermined = held.enter_context(determinism())
        _finetune(run, folder, place, workers, ranks, preemption, undetermined)


def _finetune(
    run: FinetuneRun,
    folder: Path,
    device: torch.device,
    workers: int,
    ranks: Ranks,
    preemption: Preemption,
    undetermined: set[str] | None,
) -> None:
    began, recipe, label = time.monotonic(), run.recipe, preemption.label
    # The arm is not among the words.
    seed = seed_for("finetune", run.root_seed, run.dataset, run.backbone, run.repetition)

    # 1. Data.
    store = SegmentationStore(Path(run.manifest), digest=run.inputs["manifest"])
    num_classes, steps = len(store.classes), recipe.iterations
    mean = torch.tensor(store.mean, dtype=torch.float32, device=device)
    # A constant channel is only shifted: it has no deviation to divide by.
    deviations = [value or 1.0 for value in store.std]
    std = torch.tensor(deviations, dtype=torch.float32, device=device)
    warned = data_warnings(store)
    for sentence in warned if ranks.first else ():
        say(f"{label}: WARNING {sentence}")
    if ranks.world > 1 and recipe.micro_batch is not None:
        raise RequestError(
            f"{label}: micro_batch {recipe.micro_batch} and {ranks.world} processes: batch norm would see other images "
            "than in one process; leave one of them out"
        )
    share = Share(recipe.batch_size, ranks, recipe.micro_batch)

    # 2. Model.
    model, start_sha256 = start_model(run, num_classes)
    model.to(device).to(memory_format=torch.channels_last)
    if recipe.sync_bn:
        synced(model)

    # 3. Optimizer.
    precision = autocast_type(recipe.amp, device)
    optimizer = adamw(
        parameter_groups(model.named_parameters(), weight_decay=recipe.weight_decay, factor=factor_rule(run)),
        betas=recipe.betas,
        device=device,
    )
    scaler = gradient_scaler(precision, device)
    training = TrainingState(model, optimizer, scaler, precision=precision)
    if ranks.first:
        say_precision(label, recipe.amp, precision, device)

    # 4. Resume.
    key = state_key(run.digest, Path(run.manifest))
    checkpoints, best = Checkpoints(folder, key), Best(folder, key)
    start, state = checkpoints.load(device) if ranks.first else (0, {})
    start = ranks.told(start)
    seconds_before = 0.0
    if start:
        state = state or checkpoints.read(start, device)
        training.restore(state["training"], checkpoints.path(start))
        best.restore(state["best"])
        seconds_before = state["seconds"]
    preemption.begin()
    if ranks.first:
        log = CsvLog(folder / "state" / "log.csv", ("lr", "loss", "decode", "auxiliary"), resumed=start)
    if ranks.first and recipe.validate_every:
        validation = CsvLog(folder / "state" / "validation.csv", ("mIoU",), resumed=start)

    # 5. Loop.
    network: Any = averaging(model) if ranks.world > 1 else model
    model.train()
    guard, saved, save_seconds = FiniteGuard(ranks, checkpoints), time.monotonic(), 0.0
    every = max(1, steps // ROWS)
    batches = training_crops(
        store, recipe, labels=run.labels, seed=seed, start=start, stop=steps, workers=workers, device=device,
        rank=ranks.rank, world=ranks.world, micro=recipe.micro_batch,
    )  # fmt: skip
    with (
        closing(batches),
        Path(os.devnull).open("w") as nowhere,
        Progress(
            label, steps, start=start, unit_size=recipe.batch_size, stream=None if ranks.first else nowhere
        ) as progress,
    ):
        for step, micros in enumerate(batches, start):
            lr = poly_lr(
                step,
                steps=steps,
                warmup_steps=recipe.warmup_iterations,
                peak=recipe.lr,
                warmup_factor=recipe.warmup_factor,
                power=recipe.power,
            )
            set_lr(optimizer, lr)
            optimizer.zero_grad(set_to_none=True)
            losses = torch.zeros(2, device=device)
            # The mean is over the whole batch, so its pixels are counted before the first pass.
            passes = list(micros) if recipe.loss_mean == "labelled" else micros
            pixels = _pixels(passes, recipe.loss_mean, recipe.batch_size * recipe.crop**2, ranks, device)
            for number, (_, images, targets) in enumerate(passes, start=1):
                # Dropout and drop path draw from the device's generator: a function of (seed, step, pass, rank).
                reseed(device, seed_for("dropout", seed, step, number, ranks.rank))
                with torch.autocast(device.type, dtype=precision, enabled=precision is not None):
                    logits, auxiliary = network(normalise(images, mean, std))
                parts = (
                    torch.stack([segmentation_loss(logits, targets), segmentation_loss(auxiliary, targets)])
                    * (ranks.world / pixels).float()
                )
                scaler.scale(parts[0] + recipe.aux_weight * parts[1]).backward()
                losses += parts.detach()
            guard.note(step, loss=losses.sum())
            norm = training.update(recipe.clip_grad)
            if norm is not None:
                guard.note(step, gradient_norm=norm)

            done = step + 1
            if done % every == 0 or done == steps:
                guard.check(label)
                decode, side = (ranks.sum(losses) / ranks.world).tolist()
                final = decode + recipe.aux_weight * side
                if ranks.first:
                    log.write(done, lr, final, decode, side)
            if recipe.validate_every and (done % recipe.validate_every == 0 or done == steps):
                guard.check_state(step, training, label)
                score = validation_miou(model, store, recipe, run.labels, mean=mean, std=std, ranks=ranks)
                if ranks.first:
                    validation.write(done, score)
                    if recipe.select == "best-val":
                        best.offer(done, score, model)
            due = ranks.first and time.monotonic() - saved >= max(CHECKPOINT_SECONDS, save_seconds * PAUSE)
            stop, due = ranks.any(preemption.requested, due)
            if stop or due or done == steps:
                guard.check_state(step, training, label)
                if ranks.first:
                    writing = time.monotonic()
                    checkpoints.save(
                        done,
                        {
                            "training": training.kept(),
                            "best": best.kept(),
                            "seconds": seconds_before + time.monotonic() - began,
                        },
                    )
                    best.forget_others()
                    saved, save_seconds = time.monotonic(), time.monotonic() - writing
                if stop and done < steps:
                    raise preemption.stopped(done, checkpoints.path(done))
            progress.update(**({"loss": float(losses[0])} if progress.due() else {}))
    preemption.all_saved(steps, checkpoints.path(steps))
    guard.check_state(steps - 1, training, label)
    training.check_scale(label, steps)
    if not ranks.first:
        return

    # 6. Select: the last weights, or the best on the validation part. Test data never select.
    metrics: dict[str, Any] = {"loss": _last_loss(folder / "state" / "log.csv")}
    if recipe.select == "best-val":
        say(f"{label}: best-val chose step {best.step} of {steps}, validation mIoU {best.score:.4f}")
        load_strictly(model, read_tensors(best.path), best.path)
        metrics |= {"val_mIoU": best.score, "selected_step": best.step}

    # 7. Write, the record last.
    (folder / "record.json").unlink(missing_ok=True)
    spec = {
        "kind": "segmenter",
        "architecture": run.spec["architecture"],
        "channels": run.channels,
        "num_classes": num_classes,
        "mean": store.mean,
        "std": deviations,
        "head": head_settings(run),
        "digest": run.digest,
        "scene": {
            "channels": [{key: channel[key] for key in ("name", "dtype")} for channel in store.channels],
            "per_tile": store.per_tile_channels,
            "classes": [{key: item[key] for key in ("name", "colour")} for item in store.classes],
            "window": recipe.crop,
            # Two thirds of the window, the stride of the official single-scale evaluations.
            "stride": max(1, 2 * recipe.crop // 3),
        },
    }
    save_weights(folder / "weights.safetensors", model, spec)
    log.publish(folder / "log.csv")
    if recipe.validate_every:
        validation.publish(folder / "validation.csv")
    for sentence in loss_warnings(folder / "log.csv"):
        say(f"{label}: WARNING {sentence}")
        warned.append(sentence)
    Record(
        stage="finetune",
        names={
            "study": run.study,
            "dataset": run.dataset,
            "backbone": run.backbone,
            "arm": run.arm,
            "seed": run.repetition,
        },
        spec=run.spec,
        digest=run.digest,
        inputs=run.inputs,
        metrics=metrics,
        receipt=receipt(
            device=named(device),
            wall_seconds=seconds_before + time.monotonic() - began,
            device_memory=peak_memory(device),
        ),
        selection=recipe.select,
        extra={
            "weights_sha256": sha256_file(folder / "weights.safetensors"),
            "manifest_sha256": sha256_file(Path(run.manifest)),
            "start_sha256": start_sha256,
            "scale": run.scale,
            "precision": name_of(precision),
            "processes": ranks.world,
            "micro_batch": share.images,
            # Operations that had no deterministic algorithm although one was asked for; None: not asked.
            "nondeterministic": None if undetermined is None else sorted(undetermined),
            "warnings": warned,
        },
    ).write(folder / "record.json")
    checkpoints.clear()
    best.clear()


def _pixels(passes: Any, loss_mean: str, size: int, ranks: Ranks, device: torch.device) -> torch.Tensor:
    """Return the pixels of the global batch that the loss is a mean over: float64 scalar, at least 1.

    `all`: its whole `size`, ignored pixels too, as in mmsegmentation's CrossEntropyLoss (`avg_non_ignore` is off by
    default); `labelled`: those of its `passes`, in all processes, that are not ignored.
    """
    if loss_mean == "all":
        return torch.tensor(float(size), dtype=torch.float64, device=device)
    labelled = torch.stack([labelled_pixels(targets) for _, _, targets in passes]).sum()
    return ranks.sum(labelled).clamp(min=1)


def _last_loss(log: Path) -> float:
    """Return the loss in the last row of the log."""
    header, *rows = (line.split(",") for line in log.read_text(encoding="utf-8").splitlines())
    return float(rows[-1][header.index("loss")])
