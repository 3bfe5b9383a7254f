"""Fine-tune one UperNet: the whole story from prepared crops to weights, top to bottom.

Two arms of one repetition differ in nothing but the weights they start from and, where the channels differ, in
the stem: sample order, crops, the initial value of every other tensor and the dropout masks have seeds in which
the arm is not a word. Axes: N image, C channel, H row, W column.
"""

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.data.loaders import training_crops
from bench.data.store import SegmentationStore
from bench.data.transforms import normalise
from bench.device import named, peak_memory
from bench.errors import BenchError
from bench.lock import run_lock, say
from bench.models.initial import initialise
from bench.models.upernet import Segmenter
from bench.models.weights import load_classifier_weights_into, loading_table, save_weights
from bench.progress import CsvLog, Progress
from bench.record import Record, read_record, receipt, sha256_file
from bench.seeds import seed_for
from bench.study.jobs import FinetuneRun
from bench.train.checkpoint import Checkpoints, finished, state_key
from bench.train.guard import FiniteGuard
from bench.train.optim import (
    adamw,
    convnext_stage_factor,
    has_bfloat16,
    parameter_groups,
    poly_lr,
    set_lr,
)

IGNORE = 255
ROWS = 100
"""Rows of the loss log, spread over the iterations."""
SAVE_SECONDS = 60.0
"""Time between checkpoints."""


def finetune(run: FinetuneRun, *, device: str, workers: int) -> None:
    """Fine-tune `run` and write weights, log and record into its folder.

    Resumes from the last checkpoint of the same digest; ends bit-equal to an undisturbed run on the CPU. Raises
    BenchError if the prepared data or the pre-trained weights are not those that the run's digest names, or if
    the loss stops being a number.
    """
    folder = Path(run.folder)
    with run_lock(folder):
        if finished(folder, run.digest, Path(run.manifest)):
            say(f"{folder}: already holds this run; remove record.json to run it again")
        else:
            _finetune(run, folder, torch.device(device), workers)


def _finetune(run: FinetuneRun, folder: Path, device: torch.device, workers: int) -> None:
    began = time.monotonic()
    recipe = run.recipe
    # The arm is not among the words.
    seed = seed_for("finetune", run.root_seed, run.dataset, run.backbone, run.repetition)

    # 1. Data.
    store = SegmentationStore(Path(run.manifest), digest=run.inputs["manifest"])
    num_classes = len(store.classes)
    mean = torch.tensor(store.mean, dtype=torch.float32, device=device)
    std = torch.tensor(store.std, dtype=torch.float32, device=device)

    # 2. Model.
    model, start_sha256 = start_model(run, num_classes)
    model.to(device).to(memory_format=torch.channels_last)

    # 3. Optimizer.
    optimizer = adamw(
        parameter_groups(
            model.named_parameters(), weight_decay=recipe.weight_decay, factor=_factor_rule(run)
        ),
        betas=recipe.betas,
        device=device,
    )
    bfloat16 = recipe.amp and has_bfloat16(device)

    # 4. Resume.
    checkpoints = Checkpoints(folder, state_key(run.digest, Path(run.manifest)))
    start, state = checkpoints.load(device)
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    log = CsvLog(folder / "state" / "log.csv", ("lr", "loss", "decode", "auxiliary"), resumed=start)

    # 5. Loop.
    batches = training_crops(
        store,
        recipe,
        labels=run.labels,
        seed=seed,
        start=start,
        stop=recipe.iterations,
        workers=workers,
        device=device,
    )
    guard = FiniteGuard(device)
    every = max(1, recipe.iterations // ROWS)
    saved = time.monotonic()
    model.train()
    label = f"{run.dataset} {run.backbone} {run.arm} seed {run.repetition}"
    with Progress(label, recipe.iterations, start=start, unit="img", unit_size=recipe.batch_size) as progress:
        for step, (images, targets) in enumerate(batches, start):
            lr = poly_lr(
                step,
                steps=recipe.iterations,
                warmup_steps=recipe.warmup_iterations,
                peak=recipe.lr,
                warmup_factor=recipe.warmup_factor,
                power=recipe.power,
            )
            set_lr(optimizer, lr)
            # Dropout and drop path draw from the global generator: a function of (seed, step).
            torch.manual_seed(seed_for("dropout", seed, step))
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                logits, auxiliary = model(normalise(images, mean, std))
                decode_loss = segmentation_loss(logits, targets)
                auxiliary_loss = segmentation_loss(auxiliary, targets)
                loss = decode_loss + recipe.aux_weight * auxiliary_loss
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            guard.note(step, loss=loss)
            if recipe.clip_grad is not None:
                norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad)
                guard.note(step, gradient_norm=norm)
            optimizer.step()

            last = step + 1 == recipe.iterations
            if (step + 1) % every == 0 or last:
                guard.check(label)
                final = (float(loss.detach()), float(decode_loss.detach()), float(auxiliary_loss.detach()))
                log.write(step + 1, lr, *final)
            progress.update(**({"loss": float(loss.detach())} if progress.due() else {}))
            if time.monotonic() - saved > SAVE_SECONDS and not last:
                guard.check(label)
                checkpoints.save(step + 1, {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
                saved = time.monotonic()

    # 6. Select: the last weights. Test data never select, and this protocol has no validation part.
    # 7. Write, the record last.
    spec = {
        "kind": "segmenter",
        "architecture": run.spec["architecture"],
        "channels": run.channels,
        "num_classes": num_classes,
        "mean": store.mean,
        "std": store.std,
        "head": head_settings(run),
        "digest": run.digest,
    }
    save_weights(folder / "weights.safetensors", model, spec)
    log.publish(folder / "log.csv")
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
        metrics={"loss": final[0]},
        receipt=receipt(
            device=named(device),
            wall_seconds=time.monotonic() - began,
            device_memory=peak_memory(device),
        ),
        extra={
            "weights_sha256": sha256_file(folder / "weights.safetensors"),
            "manifest_sha256": sha256_file(Path(run.manifest)),
            "start_sha256": start_sha256,
            "scale": run.scale,
            "precision": "bfloat16" if bfloat16 else "float32",
        },
    ).write(folder / "record.json")
    checkpoints.clear()


def head_settings(run: FinetuneRun) -> dict[str, Any]:
    """Return the settings of the two heads, as the model spec keeps them."""
    recipe = run.recipe
    return {
        "head_channels": recipe.head_channels,
        "aux_channels": recipe.aux_channels,
        "pool_scales": recipe.pool_scales,
    }


def start_model(run: FinetuneRun, num_classes: int) -> tuple[Segmenter, str | None]:
    """Return the segmenter as training begins, and the sha256 of the pre-trained weights (None for scratch).

    Every tensor is drawn by its name first, then the pre-trained ones are laid over them; the log says what became of
    each.
    """
    recipe = run.recipe
    model = Segmenter(
        run.architecture,
        run.channels,
        num_classes,
        drop_path=recipe.drop_path,
        dropout=recipe.dropout,
        **head_settings(run),
    )
    role, scale = f"finetune/{run.dataset}/{run.backbone}", run.architecture.layer_scale
    initialise(model, role, run.root_seed, run.repetition, layer_scale=scale)
    return model, _load_pretrained(run, model)


def segmentation_loss(logits_NCHW: Tensor, targets_NHW: Tensor) -> Tensor:
    """Return the mean cross-entropy over the labelled pixels; 0 for a batch without any.

    `logits_NCHW` float, `targets_NHW` uint8 class ids with 255 for ignored pixels. Computed in float32.
    """
    targets = targets_NHW.long()
    total = F.cross_entropy(logits_NCHW.float(), targets, ignore_index=IGNORE, reduction="sum")
    return total / (targets != IGNORE).sum().clamp(min=1)


def _load_pretrained(run: FinetuneRun, model: Segmenter) -> str | None:
    """Carry the pre-trained weights over; print what became of each tensor; return the file's sha256."""
    if run.pretrain is None:
        say("starting from scratch: every tensor is new")
        return None
    record = read_record(Path(run.pretrain.record))
    if record.digest != run.pretrain.digest:
        raise BenchError(
            f"{run.pretrain.record}: made by another study or version (digest {record.digest[:12]}, expected "
            f"{run.pretrain.digest[:12]}); run its pre-training again: `python -m bench run` does"
        )
    if record.extra["manifest_sha256"] != sha256_file(Path(run.pretrain.manifest)):
        raise BenchError(
            f"{run.pretrain.record}: trained on other data than {run.pretrain.manifest}; run it again"
        )
    path = Path(run.pretrain.weights)
    found = sha256_file(path)
    if record.extra["weights_sha256"] != found:
        raise BenchError(
            f"{path}: these are not the weights that {run.pretrain.record} describes; run it again"
        )
    rows = load_classifier_weights_into(model, path, run.stem or "repeat")
    say(loading_table(rows))
    return found


def _factor_rule(run: FinetuneRun) -> Any:
    """Return the rule for the rate factor of a parameter name; None where the recipe has no layer decay."""
    decay = run.recipe.layer_decay
    if decay is None:
        return None
    if run.architecture.family != "convnext":
        raise BenchError(
            f"{run.backbone}: layer_decay is the stage-wise rule of the ConvNeXt recipe; leave it out for "
            f"{run.architecture.family}"
        )
    return lambda name: convnext_stage_factor(name, decay)
