"""A segmenter as its training begins, and what its training minimises."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.errors import BenchError
from bench.lock import say
from bench.models.initial import initialise
from bench.models.upernet import Segmenter
from bench.models.weights import load_classifier_weights_into, loading_table
from bench.record import read_record, sha256_file
from bench.study.jobs import FinetuneRun
from bench.train.optim import convnext_stage_factor

IGNORE = 255


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
    """Return the sum of the cross-entropy over the labelled pixels, in float32; 0 without any.

    `logits_NCHW` float, `targets_NHW` uint8 class ids with 255 for ignored pixels. What it is divided by is a matter of
    the whole batch and of the recipe's `loss_mean`.
    """
    logits, targets = logits_NCHW.float(), targets_NHW.long()
    if torch.are_deterministic_algorithms_enabled():
        # On CUDA the summing kernel adds in whatever order its threads come; a sum over a map does not.
        return F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none").sum()
    return F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum")


def labelled_pixels(targets_NHW: Tensor) -> Tensor:
    """Return the number of pixels that are not ignored: float64 scalar on their device."""
    return (targets_NHW != IGNORE).sum().double()


def factor_rule(run: FinetuneRun) -> Callable[[str], float] | None:
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


def _load_pretrained(run: FinetuneRun, model: nn.Module) -> str | None:
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
    assert isinstance(model, Segmenter)
    rows = load_classifier_weights_into(model, path, run.stem or "repeat")
    say(loading_table(rows))
    return found
