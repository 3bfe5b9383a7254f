"""Pre-train one classifier: the whole story, top to bottom.

The state of the training is weights, optimizer, average and step; everything random is a function of (seed,
step), of (seed, epoch, index) or of a position in the global batch. So a run that is killed and resumed ends
with the bits of one that was not, with any number of loader processes; and several processes, or several
forward passes a step, see the same samples, channel plans, erased boxes and mixing partners as one. The arm is in
no seed: two strategies see the same images in the same order.
"""

import os
import time
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.data.loaders import steps_per_epoch, training_images
from bench.data.store import ClassificationStore
from bench.device import determinism, named, peak_memory, reseed
from bench.evaluate.top1 import shares
from bench.lock import run_lock, say
from bench.models.backbone import build_classifier
from bench.models.initial import initialise
from bench.models.weights import save_weights
from bench.progress import CsvLog, Progress
from bench.record import Record, receipt, sha256_file
from bench.seeds import seed_for
from bench.strategies import channel_plan, plan_generator
from bench.study.jobs import PretrainRun
from bench.train.checkpoint import Checkpoints, finished, state_key
from bench.train.distributed import Ranks, Share, averaging, process_group
from bench.train.draws import drawn_ahead
from bench.train.guard import FiniteGuard
from bench.train.mixing import Mix, draw_mixes, mix_blocks, network_inputs
from bench.train.optim import cosine_lr, set_lr
from bench.train.preempt import Preemption
from bench.train.standin import stand_in
from bench.train.state import name_of, say_precision, training_state
from bench.train.validation import natural_statistics, validate

CHECKPOINT_SECONDS, PAUSE = 60.0, 100.0
"""Least time between checkpoints, in seconds and in times that writing one takes; no part in the result."""

ROWS_PER_EPOCH = 10
"""Rows of log.csv an epoch, each the mean loss since the row before."""

ORDERS = ("natural", "reversed", "random")
"""Channel orders in which every pre-trained model is validated."""


def pretrain(run: PretrainRun, *, device: str, workers: int, micro: int | None = None) -> None:
    """Pre-train the classifier of `run` and leave weights, their spec, log and record in its folder.

    `device` is a torch device, `workers` the number of loader processes, `micro` the images of one forward pass
    (unset: all that this process holds of the global batch); none of them enters the digest. Started as one
    of several processes (see `bench.train.distributed`) it trains together with the others.

    The record is written last. Raises BenchError for data of another digest than the run's, a batch larger
    than the training split, a loss, gradient norm or weight that is not finite, and a state in another precision;
    RequestError for a global batch that cannot be divided as asked; Preempted, with the state on disk, after SIGTERM.
    """
    folder, place = Path(run.folder), torch.device(device)
    with process_group(place) as ranks, ExitStack() as held:
        if ranks.first:
            held.enter_context(run_lock(folder))
        if ranks.told(ranks.first and finished(folder, run.digest, Path(run.manifest))):
            if ranks.first:
                say(f"{folder}: already holds this run; remove record.json to run it again")
            return
        if run.published is not None:
            if ranks.first:
                stand_in(run, run.published, folder, place, workers)
            return
        label = f"pretrain {run.backbone} {run.label} seed{run.repetition}"
        preemption = held.enter_context(Preemption(folder, label))
        undetermined = held.enter_context(determinism())
        _pretrain(run, folder, place, workers, micro, ranks, preemption, undetermined)


def _pretrain(
    run: PretrainRun,
    folder: Path,
    device: torch.device,
    workers: int,
    micro: int | None,
    ranks: Ranks,
    preemption: Preemption,
    undetermined: set[str] | None,
) -> None:
    began, recipe, n, label = time.monotonic(), run.recipe, run.channels, preemption.label

    # 1. Data.
    store = ClassificationStore(Path(run.manifest), digest=run.inputs["manifest"])
    mean, std = torch.tensor(store.mean), torch.tensor(store.std)
    per_epoch = steps_per_epoch(store.count("train"), recipe.batch_size)
    steps, warmup_steps = recipe.epochs * per_epoch, round(recipe.warmup * per_epoch)
    seed = seed_for("pretrain", run.root_seed, run.data, run.backbone, run.repetition)
    mixing = bool(recipe.mixup or recipe.cutmix)
    share = Share(recipe.batch_size, ranks, micro, recipe.mixed_together if mixing else None)

    # 2. Model.
    model = build_classifier(run.architecture, n, store.num_classes, recipe.drop_path, recipe.crop)
    scale = run.architecture.layer_scale
    initialise(model, "pretrain", run.root_seed, run.repetition, layer_scale=scale)
    # Convolutions run faster with channels innermost, Swin's single one too.
    model.to(device).to(memory_format=torch.channels_last)

    # 3. Optimizer, and with it the average of the weights and the scale of float16 gradients.
    training, precision = training_state(model, recipe, device)
    if ranks.first:
        say_precision(label, recipe.amp, precision, device)
    handed_on, other = training.averaged, model
    if recipe.hand_on == "last":
        handed_on, other = other, handed_on

    # 4. Resume.
    checkpoints = Checkpoints(folder, state_key(run.digest, Path(run.manifest)))
    start, state = checkpoints.load(device) if ranks.first else (0, {})
    start = ranks.told(start)
    loss_sum, loss_count, seconds_before = torch.zeros((), dtype=torch.float64, device=device), 0, 0.0
    if start:
        state = state or checkpoints.read(start, device)
        training.restore(state["training"], checkpoints.path(start))
        loss_sum, loss_count = ranks.own(state["loss_sums"]), state["loss_count"]
        seconds_before = state["seconds"]
    preemption.begin()
    if ranks.first:
        log = CsvLog(folder / "state" / "log.csv", ("epoch", "lr", "loss"), resumed=start)
    if ranks.first and recipe.validate_every:
        scores = CsvLog(folder / "state" / "validation.csv", ("epoch", "top1"), resumed=start)

    # 5. Loop.
    network: Any = torch.compile(model) if recipe.compile else model
    if ranks.world > 1:
        network = averaging(network)
    model.train()
    guard, saved, save_seconds = FiniteGuard(ranks, checkpoints), time.monotonic(), 0.0
    rows_at = {round(per_epoch * (row + 1) / ROWS_PER_EPOCH) for row in range(ROWS_PER_EPOCH)}
    batches = training_images(
        store, recipe, seed=seed, start=start, stop=steps, workers=workers, device=device,
        rank=ranks.rank, world=ranks.world, micro=micro,
    )  # fmt: skip

    def draws(step: int) -> tuple[Tensor, list[Mix | None]]:
        """Return what `step` draws for its global batch: the channel plan, and a mix for each of its blocks."""
        generator = plan_generator(seed, scope=run.scope, epoch=step // per_epoch, step=step)
        plan = channel_plan(
            run.strategy,
            n,
            recipe.batch_size,
            generator,
            fill=run.fill,
            scope=run.scope,
            probability=run.probability,
        )
        return plan, draw_mixes(recipe, seed=seed, step=step)

    with (
        closing(batches),
        Path(os.devnull).open("w") as nowhere,
        Progress(
            label, steps, start=start, unit_size=recipe.batch_size, stream=None if ranks.first else nowhere
        ) as progress,
    ):
        drawn = drawn_ahead(draws, start, steps)
        for step, (passes, (plan, mixes)) in enumerate(zip(batches, drawn, strict=True), start=start):
            epoch, done = step // per_epoch, step + 1
            lr = cosine_lr(
                step,
                steps=steps,
                warmup_steps=warmup_steps,
                peak=recipe.lr,
                warmup_lr=recipe.warmup_lr,
                min_lr=recipe.min_lr,
            )
            set_lr(training.optimizer, lr)
            training.optimizer.zero_grad(set_to_none=True)
            loss = torch.zeros((), device=device)
            for number, (first, images, labels) in enumerate(passes, start=1):
                # Drop path and dropout draw from the device's own generator.
                reseed(device, seed_for("noise", seed, step, number, ranks.rank))
                # The strategy, on uint8, then normalisation and erasing; then neighbours are mixed.
                inputs = network_inputs(
                    images,
                    plan[first : first + len(images)],
                    mean,
                    std,
                    normalise_by=run.normalise,
                    order=run.order,
                    erasing=recipe.erasing,
                    seed=seed,
                    step=step,
                    first=first,
                )
                inputs, targets = mix_blocks(
                    inputs, labels, store.num_classes, recipe.label_smoothing, mixes, share.blocks(first)
                )
                # Passes are summed and processes averaged, to the mean over the global batch; gradients are
                # exchanged in the last pass alone.
                apart = ranks.world > 1 and number < share.passes
                with network.no_sync() if apart else nullcontext():
                    with torch.autocast(device.type, dtype=precision, enabled=precision is not None):
                        logits = network(inputs.contiguous(memory_format=torch.channels_last))
                    total = F.cross_entropy(logits.float(), targets, reduction="sum")
                    part = total * (ranks.world / recipe.batch_size)
                    training.scaler.scale(part).backward()
                loss += part.detach()
            guard.note(step, loss=loss)
            norm = training.update(recipe.clip_grad)
            if norm is not None:
                guard.note(step, gradient_norm=norm)

            loss_sum, loss_count = loss_sum + loss, loss_count + 1
            if (step % per_epoch) + 1 in rows_at:
                guard.check(label)
                mean_loss = float(ranks.sum(loss_sum)) / (ranks.world * loss_count)
                if ranks.first:
                    log.write(done, epoch, lr, mean_loss)
                loss_sum, loss_count = torch.zeros_like(loss_sum), 0
            # Before the state is saved, which says that all up to here is done.
            if recipe.validate_every and done % (recipe.validate_every * per_epoch) == 0 and done < steps:
                guard.check_state(step, training, label)
                found = validate([handed_on.eval()], ("natural",), store, run, ranks, device, workers)
                if ranks.first:
                    scores.write(done, epoch + 1, float(found["top1/natural"].mean()))
                model.train()
            due = ranks.first and time.monotonic() - saved >= max(CHECKPOINT_SECONDS, save_seconds * PAUSE)
            stop, due = ranks.any(preemption.requested, due)
            if stop or due or done == steps:
                guard.check_state(step, training, label)
                seconds = seconds_before + time.monotonic() - began
                state = {"loss_sums": ranks.each(loss_sum), "loss_count": loss_count, "seconds": seconds}
                if ranks.first:
                    writing = time.monotonic()
                    checkpoints.save(done, state | {"training": training.kept()})
                    saved, save_seconds = time.monotonic(), time.monotonic() - writing
                if stop and done < steps:
                    raise preemption.stopped(done, checkpoints.path(done))
            progress.update(**({"loss": loss.item(), "lr": lr} if progress.due() else {}))
    preemption.all_saved(steps, checkpoints.path(steps))
    guard.check_state(steps - 1, training, label)
    training.check_scale(label, steps)

    # 6. Select: the last weights, averaged where the recipe says so; validation images choose nothing.
    models = [handed_on] if other is handed_on else [handed_on, other]
    found = validate([model.eval() for model in models], ORDERS, store, run, ranks, device, workers)
    if not ranks.first:
        return
    metrics = shares(found, 0)
    say(f"{label}: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    averaged = handed_on is not model
    if len(models) > 1:
        metrics |= {
            f"{'last' if averaged else 'average'}/{name}": value for name, value in shares(found, 1).items()
        }

    # 7. Write: weights and their spec, log, and last the record, which says that all of it is there.
    (folder / "record.json").unlink(missing_ok=True)
    weights = folder / "weights.safetensors"
    spec = {
        "kind": "classifier",
        "architecture": run.spec["architecture"],
        "channels": n,
        "num_classes": store.num_classes,
        **natural_statistics(run, store),
        "head": {"image_size": recipe.crop},
        "digest": run.digest,
    }
    save_weights(weights, handed_on, spec)
    log.publish(folder / "log.csv")
    if recipe.validate_every:
        scores.publish(folder / "validation.csv")
    Record(
        stage="pretrain",
        names={"study": run.study, "backbone": run.backbone, "label": run.label, "seed": run.repetition},
        spec=run.spec,
        digest=run.digest,
        inputs=run.inputs,
        metrics=metrics,
        receipt=receipt(
            device=named(device),
            wall_seconds=seconds_before + time.monotonic() - began,
            device_memory=peak_memory(device),
        ),
        selection="last-average" if averaged else "last",
        extra={
            "weights_sha256": sha256_file(weights),
            "manifest_sha256": sha256_file(Path(run.manifest)),
            "scale": run.scale,
            "precision": name_of(precision),
            "processes": ranks.world,
            "micro_batch": share.images,
            # Operations that had no deterministic algorithm although one was asked for; None: not asked.
            "nondeterministic": None if undetermined is None else sorted(undetermined),
            "steps": steps,
            "train_images": store.count("train"),
            "val_images": store.count("val"),
        },
    ).write(folder / "record.json")
    checkpoints.clear()
