"""Pre-train one classifier: the whole story, top to bottom.

The state of the training is weights, optimizer, average and step; everything random is a function of (seed,
step) or (seed, epoch, index). So a run that is killed and resumed ends with the bits of one that was not,
with any number of loader processes. The arm is in no seed: two strategies see the same images in the same
order.
"""

import time
from pathlib import Path

import torch
from torch.nn import functional as F

from bench.data.loaders import steps_per_epoch, training_images
from bench.data.store import ClassificationStore
from bench.data.transforms import normalise
from bench.device import named, peak_memory
from bench.evaluate.top1 import correct_by_order
from bench.lock import run_lock, say
from bench.models.backbone import build_classifier
from bench.models.initial import initialise
from bench.models.weights import save_weights
from bench.progress import CsvLog, Progress
from bench.record import Record, receipt, sha256_file
from bench.seeds import seed_for
from bench.strategies import apply_plan, channel_plan, natural_order, plan_generator
from bench.study.jobs import PretrainRun
from bench.train.checkpoint import Checkpoints, finished, state_key
from bench.train.guard import FiniteGuard
from bench.train.mixing import draw_mix, erase, mix_images, soft_targets
from bench.train.optim import adamw, cosine_lr, has_bfloat16, parameter_groups, set_lr

CHECKPOINT_SECONDS = 60.0
"""Time between checkpoints; it has no part in the result."""

ROWS_PER_EPOCH = 10
"""Rows of log.csv an epoch, each the mean loss since the row before."""


def pretrain(run: PretrainRun, *, device: str, workers: int) -> None:
    """Pre-train the classifier of `run` and leave weights, their spec, log and record in its folder.

    `device` is a torch device, `workers` the number of loader processes; neither enters the digest. The
    record is written last. Raises BenchError for data of another digest than the run's, a batch larger than
    the training split, and a loss or gradient norm that is not finite.
    """
    folder = Path(run.folder)
    with run_lock(folder):
        if finished(folder, run.digest, Path(run.manifest)):
            say(f"{folder}: already holds this run; remove record.json to run it again")
        else:
            _pretrain(run, folder, torch.device(device), workers)


def _pretrain(run: PretrainRun, folder: Path, device: torch.device, workers: int) -> None:
    began, recipe, n = time.monotonic(), run.recipe, run.channels
    label = f"pretrain {run.backbone} {run.label} seed{run.repetition}"

    # 1. Data.
    store = ClassificationStore(Path(run.manifest), digest=run.inputs["manifest"])
    mean, std = torch.tensor(store.mean), torch.tensor(store.std)
    per_epoch = steps_per_epoch(store.count("train"), recipe.batch_size)
    steps, warmup_steps = recipe.epochs * per_epoch, round(recipe.warmup_epochs * per_epoch)
    seed = seed_for("pretrain", run.root_seed, run.data, run.backbone, run.repetition)

    # 2. Model.
    # Convolutions run faster with channels innermost; Swin permutes for itself.
    layout = torch.channels_last if run.architecture.family == "convnext" else torch.contiguous_format
    model = build_classifier(run.architecture, n, store.num_classes, recipe.drop_path, recipe.crop)
    scale = run.architecture.layer_scale
    initialise(model, "pretrain", run.root_seed, run.repetition, layer_scale=scale)
    model.to(device).to(memory_format=layout)
    average = None
    if recipe.ema is not None:
        from timm.utils.model_ema import ModelEmaV3

        average = ModelEmaV3(model, decay=recipe.ema)

    # 3. Optimizer.
    groups = parameter_groups(model.named_parameters(), weight_decay=recipe.weight_decay)
    optimizer = adamw(groups, betas=recipe.betas, device=device)
    bfloat16 = recipe.amp and has_bfloat16(device)

    # 4. Resume.
    checkpoints = Checkpoints(folder, state_key(run.digest, Path(run.manifest)))
    start, state = checkpoints.load(device)
    loss_sum, loss_count, seconds_before = torch.zeros((), dtype=torch.float64, device=device), 0, 0.0
    if start:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        if average is not None:
            average.module.load_state_dict(state["average"])
        loss_sum, loss_count, seconds_before = state["loss_sum"], state["loss_count"], state["seconds"]
    log = CsvLog(folder / "state" / "log.csv", ("epoch", "lr", "loss"), resumed=start)

    # 5. Loop.
    model.train()
    guard, saved = FiniteGuard(device), time.monotonic()
    rows_at = {round(per_epoch * (row + 1) / ROWS_PER_EPOCH) for row in range(ROWS_PER_EPOCH)}
    batches = training_images(
        store, recipe, seed=seed, start=start, stop=steps, workers=workers, device=device
    )
    with Progress(label, steps, start=start, unit="img", unit_size=recipe.batch_size) as progress:
        for step, (images, labels) in enumerate(batches, start=start):
            epoch = step // per_epoch
            # Drop path and dropout draw from the global generator: a function of (seed, step) from here on.
            torch.manual_seed(seed_for("noise", seed, step))

            # The strategy, on uint8; mean and std follow the plan.
            plan = channel_plan(
                run.strategy,
                n,
                len(images),
                plan_generator(seed, scope=run.scope, epoch=epoch, step=step),
                fill=run.fill,
                scope=run.scope,
                probability=run.probability,
            )
            inputs = normalise(apply_plan(images, plan), mean[plan], std[plan])
            if recipe.erasing:
                erase(inputs, recipe.erasing, seed=seed, step=step)
            mix = draw_mix(
                len(images), recipe.crop, mixup=recipe.mixup, cutmix=recipe.cutmix, seed=seed, step=step
            )
            if mix is not None:
                inputs = mix_images(inputs, mix)
            targets = soft_targets(labels, store.num_classes, recipe.label_smoothing, mix)

            lr = cosine_lr(
                step,
                steps=steps,
                warmup_steps=warmup_steps,
                peak=recipe.lr,
                warmup_lr=recipe.warmup_lr,
                min_lr=recipe.min_lr,
            )
            set_lr(optimizer, lr)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
                logits = model(inputs.contiguous(memory_format=layout))
            loss = F.cross_entropy(logits.float(), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            guard.note(step, loss=loss)
            if recipe.clip_grad is not None:
                guard.note(
                    step, gradient_norm=torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad)
                )
            optimizer.step()
            if average is not None:
                average.update(model)

            loss_sum, loss_count, done = loss_sum + loss.detach(), loss_count + 1, step + 1
            if (step % per_epoch) + 1 in rows_at:
                guard.check(label)
                log.write(done, epoch, lr, float(loss_sum) / loss_count)
                loss_sum, loss_count = torch.zeros_like(loss_sum), 0
            if done < steps and time.monotonic() - saved >= CHECKPOINT_SECONDS:
                guard.check(label)
                state = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "loss_sum": loss_sum,
                    "loss_count": loss_count,
                    "seconds": seconds_before + time.monotonic() - began,
                }
                checkpoints.save(done, state | ({"average": average.module.state_dict()} if average else {}))
                saved = time.monotonic()
            progress.update(**({"loss": loss.item(), "lr": lr} if progress.due() else {}))

    # 6. Select: the last weights, averaged where the recipe averages; validation images choose nothing.
    selected = (average.module if average is not None else model).eval()
    correct = correct_by_order(
        [(selected, n)],
        ("natural", "reversed"),
        store,
        crop=recipe.crop,
        ratio=recipe.eval_ratio,
        seed=run.root_seed,
        device=device,
        workers=workers,
    )
    top1 = {f"top1/{order}": float(flags.mean()) for order, flags in correct.items()}
    say(f"{label}: " + ", ".join(f"{name} {value:.4f}" for name, value in top1.items()))

    # 7. Write: weights and their spec, log, and last the record, which says that all of it is there.
    (folder / "record.json").unlink(missing_ok=True)
    weights, natural = folder / "weights.safetensors", natural_order(n).tolist()
    spec = {
        "kind": "classifier",
        "architecture": run.spec["architecture"],
        "channels": n,
        "num_classes": store.num_classes,
        "mean": [store.mean[source] for source in natural],
        "std": [store.std[source] for source in natural],
        "head": {"image_size": recipe.crop},
        "digest": run.digest,
    }
    save_weights(weights, selected, spec)
    log.publish(folder / "log.csv")
    Record(
        stage="pretrain",
        names={"study": run.study, "backbone": run.backbone, "label": run.label, "seed": run.repetition},
        spec=run.spec,
        digest=run.digest,
        inputs=run.inputs,
        metrics=top1,
        receipt=receipt(
            device=named(device),
            wall_seconds=seconds_before + time.monotonic() - began,
            device_memory=peak_memory(device),
        ),
        selection="last" if average is None else "last-average",
        extra={
            "weights_sha256": sha256_file(weights),
            "manifest_sha256": sha256_file(Path(run.manifest)),
            "scale": run.scale,
            "precision": "bfloat16" if bfloat16 else "float32",
            "steps": steps,
            "train_images": store.count("train"),
            "val_images": store.count("val"),
        },
    ).write(folder / "record.json")
    checkpoints.clear()
