"""Learning rates against values worked out by hand and against timm; parameter groups against timm's."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.data import create_transform
from timm.data.auto_augment import RandAugment
from timm.optim import param_groups_weight_decay
from timm.scheduler.cosine_lr import CosineLRScheduler

from bench.data.transforms_classification import TrainTransform
from bench.models.backbone import build_classifier
from bench.models.upernet import Segmenter
from bench.study.reading import load_study
from bench.study.schema import Backbone
from bench.train.optim import (
    POSITION_TABLES,
    adamw,
    convnext_stage_factor,
    cosine_lr,
    parameter_groups,
    poly_lr,
    set_lr,
)

CONVNEXT = Backbone(family="convnext", depths=(1, 1, 2, 1), widths=(4, 8, 12, 16))
SWIN = Backbone(family="swin", depths=(1, 1, 1, 1), widths=(4, 8, 16, 32), heads=(1, 1, 2, 2), window=4)


def test_cosine_rates_are_those_worked_out_by_hand():
    # T = 8 steps, W = 2: warm-up 0.1 -> 1.0 as 0.1, 0.55; then min + (1 - min) (1 + cos(pi k / 6)) / 2 with
    # min = 0.2: k = 0 1.0; k = 2 cos 60 = 1/2 -> 0.2 + 0.8 * 3/4 = 0.8; k = 3 cos 90 = 0 -> 0.6; k = 4 cos
    # 120 = -1/2 -> 0.4.
    at = [
        cosine_lr(step, steps=8, warmup_steps=2, peak=1.0, warmup_lr=0.1, min_lr=0.2)
        for step in (0, 1, 2, 4, 5, 6)
    ]
    assert at == pytest.approx([0.1, 0.55, 1.0, 0.8, 0.6, 0.4])


@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_cosine_rates_equal_timms(warmup):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=4e-3)
    oracle = CosineLRScheduler(
        optimizer, t_initial=50 - warmup, lr_min=1e-6, warmup_t=warmup, warmup_lr_init=1e-5,
        warmup_prefix=True, t_in_epochs=False,
    )  # fmt: skip
    for step in range(50):
        oracle.step_update(step)
        ours = cosine_lr(step, steps=50, warmup_steps=warmup, peak=4e-3, warmup_lr=1e-5, min_lr=1e-6)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)


PAPER = load_study(Path(__file__).parents[2] / "config" / "paper.yaml").pretrain
IMAGES = 1_281_167
# What the two repositories do, by their own words: peak, first and last rate, and when the decay starts.
PUBLISHED = {
    "convnext_tiny": (4e-3, 0.0, 1e-6, IMAGES // 4096),
    "swin_tiny_patch4_window7_224": (5e-4 * 1024 / 512, 5e-7 * 1024 / 512, 5e-6 * 1024 / 512, IMAGES // 1024),
}


def paper_rate(recipe, step: int, per_epoch: int) -> float:
    return cosine_lr(
        step,
        steps=recipe.epochs * per_epoch,
        warmup_steps=round(recipe.warmup * per_epoch),
        peak=recipe.lr,
        warmup_lr=recipe.warmup_lr,
        min_lr=recipe.min_lr,
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_papers_rates_are_the_official_ones_but_for_one_step_of_warmup(name):
    peak, first, last, per_epoch = PUBLISHED[name]
    steps, warmup = 300 * per_epoch, 20 * per_epoch
    assert IMAGES // PAPER[name].batch_size == per_epoch  # 312 and 1251 steps an epoch
    after = np.arange(steps - warmup) / (steps - warmup)
    cosine = last + 0.5 * (peak - last) * (1 + np.cos(np.pi * after))
    if name.startswith("convnext"):
        # ConvNeXt utils.py, cosine_scheduler: a linspace that has both ends.
        official = np.concatenate([np.linspace(first, peak, warmup), cosine])
    else:
        # timm's scheduler as Swin's main.py asks it: after the optimizer's step, so that the next step has the rate.
        rates = np.concatenate([first + (peak - first) * np.arange(warmup) / warmup, cosine])
        official = np.concatenate([[first], rates[:-1]])
    ours = np.array([paper_rate(PAPER[name], step, per_epoch) for step in range(steps)])
    # ConvNeXt: t/(W - 1) - t/W is largest at t = W - 1, 1/W. Swin: one step of the warm-up, steeper than the cosine
    # (1/W = 1/25,020 against pi/2 (T - W)).
    apart, bound = np.abs(ours - official), (peak - first) / warmup
    assert apart.max() == pytest.approx(bound, rel=1e-6)
    if name.startswith("convnext"):
        assert apart.argmax() == warmup - 1 and ours[0] == official[0]
        np.testing.assert_allclose(ours[warmup:], official[warmup:], rtol=1e-12)
    else:
        np.testing.assert_allclose(ours[:-1], official[1:], rtol=1e-12)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("epochs", [300, 100, 30])
def test_the_papers_rates_are_timms_and_a_shorter_budget_scales_them(name, epochs):
    recipe, per_epoch = replace(PAPER[name], epochs=epochs), 15
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    # The warm-up is 20 of 300 epochs whatever the budget; timm counts the cosine from its end.
    warmup = epochs * per_epoch // 15
    oracle = CosineLRScheduler(
        optimizer, t_initial=epochs * per_epoch - warmup, lr_min=recipe.min_lr, warmup_t=warmup,
        warmup_lr_init=recipe.warmup_lr, warmup_prefix=True, t_in_epochs=False,
    )  # fmt: skip
    rates = []
    for step in range(epochs * per_epoch):
        oracle.step_update(step)
        rates.append(paper_rate(recipe, step, per_epoch))
        assert rates[-1] == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
    assert rates.index(max(rates)) == warmup and rates[-1] < recipe.min_lr + 1e-3 * recipe.lr


@pytest.mark.parametrize(
    ("name", "family"), [("convnext_tiny", "convnext"), ("swin_tiny_patch4_window7_224", "swin")]
)
def test_the_papers_optimizer_is_the_published_one(name, family):
    # ConvNeXt optim_factory.py spares every 1-D tensor and bias; Swin optimizer.py these and, by keyword, its
    # position tables. AdamW as both have it.
    recipe, architecture = PAPER[name], {"convnext": CONVNEXT, "swin": SWIN}[family]
    model = build_classifier(architecture, 3, 3, 0.0, 32)
    groups = parameter_groups(model.named_parameters(), weight_decay=recipe.weight_decay)
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    tables = ("absolute_pos_embed", "relative_position_bias_table")
    for label, parameter in model.named_parameters():
        spared = parameter.ndim == 1 or label.endswith(".bias") or any(word in label for word in tables)
        assert (id(parameter) in decayed) != spared, label
    optimizer = adamw(groups, betas=recipe.betas, eps=recipe.eps, device=torch.device("cpu"))
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.05}
    assert all((g["betas"], g["eps"]) == ((0.9, 0.999), 1e-8) for g in optimizer.param_groups)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_papers_randaugment_is_that_of_timms_factory(name):
    recipe, mean = PAPER[name], (123.675, 116.28, 103.53)
    factory = create_transform(
        recipe.crop, is_training=True, auto_augment=recipe.randaugment, color_jitter=0.4, interpolation="bicubic",
        re_prob=recipe.erasing, re_mode="pixel", re_count=1, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
    )  # fmt: skip
    # The factory: crop, flip, RandAugment (and so no colour jitter), to tensor, normalise, erase.
    names = [type(part).__name__ for part in factory.transforms]
    assert "ColorJitter" not in names
    theirs = next(part for part in factory.transforms if isinstance(part, RandAugment))
    ours = TrainTransform(recipe.crop, recipe.scale_min, recipe.randaugment, mean).augment
    assert isinstance(ours, RandAugment) and ours.num_layers == theirs.num_layers == 2
    for mine, timms in zip(ours.ops, theirs.ops, strict=True):
        assert (mine.name, mine.prob, mine.magnitude, mine.magnitude_std, mine.magnitude_max) == (
            timms.name, timms.prob, timms.magnitude, timms.magnitude_std, timms.magnitude_max
        )  # fmt: skip
        assert mine.aug_fn is timms.aug_fn and mine.level_fn is timms.level_fn
        assert mine.hparams["translate_const"] == timms.hparams["translate_const"]
        assert mine.hparams["img_mean"] == timms.hparams["img_mean"]
        assert int(mine.kwargs["resample"]) == int(timms.kwargs["resample"])
    crop = factory.transforms[0]
    assert tuple(crop.scale) == (recipe.scale_min, 1.0) and crop.ratio == (3 / 4, 4 / 3)
    eraser = factory.transforms[-1]
    assert (eraser.probability, eraser.min_area, eraser.max_area) == (recipe.erasing, 0.02, 1 / 3)
    assert eraser.per_pixel and (eraser.min_count, eraser.max_count) == (1, 1)


def test_poly_rates_are_those_worked_out_by_hand():
    # W = 4 of T = 12, factor 0.2: 0.2, 0.4, 0.6, 0.8 of the peak; then 1 - k / 8, k = 0..7.
    expected = [0.2, 0.4, 0.6, 0.8, *(1 - k / 8 for k in range(8))]
    at = [poly_lr(t, steps=12, warmup_steps=4, peak=6e-5, warmup_factor=0.2, power=1.0) for t in range(12)]
    assert at == pytest.approx([6e-5 * share for share in expected])
    # Power 0.9 half-way through the decay: 0.5 ** 0.9.
    assert poly_lr(8, steps=12, warmup_steps=4, peak=1.0, warmup_factor=0.2, power=0.9) == pytest.approx(
        0.5**0.9
    )


@pytest.mark.parametrize("architecture", [CONVNEXT, SWIN], ids=["convnext", "swin"])
def test_weight_decay_spares_the_tensors_that_timm_spares(architecture):
    model = build_classifier(architecture, 4, 3, 0.0, 32)
    oracle = param_groups_weight_decay(
        model, 0.05, no_weight_decay_list=[f"*{name}" for name in POSITION_TABLES]
    )
    spared, decayed = ({id(p) for p in group["params"]} for group in oracle)
    ours = parameter_groups(model.named_parameters(), weight_decay=0.05)
    assert {group["weight_decay"]: {id(p) for p in group["params"]} for group in ours} == {
        0.0: spared,
        0.05: decayed,
    }
    assert all(group["factor"] == 1.0 for group in ours)


def test_every_trainable_parameter_is_in_exactly_one_group_and_a_frozen_one_in_none():
    model = build_classifier(CONVNEXT, 3, 3, 0.0, 32)
    model.get_parameter("stem.0.weight").requires_grad_(False)
    groups = parameter_groups(
        model.named_parameters(), weight_decay=0.05, factor=lambda name: 0.5 ** len(name)
    )
    placed = [id(p) for group in groups for p in group["params"]]
    assert sorted(placed) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_stage_wise_factors_are_those_of_the_official_convnext_recipe():
    # 8 levels: stem and all downsampling layers 0, stages 1 to 4, the rest 7; factor 0.9 ** (7 - level).
    expected = {
        "backbone.stem.0.weight": 7,
        "backbone.stages.1.downsample.1.weight": 7,
        "backbone.stages_3.downsample.0.bias": 7,
        "backbone.stages.0.blocks.0.gamma": 6,
        "backbone.stages.1.blocks.2.conv_dw.weight": 5,
        "backbone.stages.2.blocks.8.mlp.fc1.bias": 4,
        "backbone.stages.3.blocks.0.norm.weight": 3,
        "norms.0.weight": 0,
        "decode_head.laterals.0.conv.weight": 0,
        "auxiliary_head.classifier.bias": 0,
    }
    assert {name: convnext_stage_factor(name, 0.9) for name in expected} == {
        name: pytest.approx(0.9**power) for name, power in expected.items()
    }


def test_stage_wise_decay_reaches_every_level_of_a_real_segmenter():
    model = Segmenter(CONVNEXT, 4, 3, head_channels=8, aux_channels=8)
    levels = {}
    for name, _ in model.named_parameters():
        level = round(7 - math.log(convnext_stage_factor(name, 0.9), 0.9))
        levels.setdefault(level, set()).add(".".join(name.split(".")[:3]))
    assert sorted(levels) == [0, 1, 2, 3, 4, 7]
    assert levels[0] == {"backbone.stem.0", "backbone.stem.1", *(f"backbone.stages.{i}" for i in (1, 2, 3))}
    assert levels[3] == {"backbone.stages.2"}
    assert not any(name.startswith("backbone.") for name in levels[7])


def test_set_lr_scales_each_group_by_its_factor():
    named = [
        ("a.weight", torch.nn.Parameter(torch.zeros(2, 2))),
        ("b.weight", torch.nn.Parameter(torch.zeros(2, 2))),
    ]
    groups = parameter_groups(named, weight_decay=0.1, factor=lambda name: 1.0 if name[0] == "a" else 0.25)
    optimizer = adamw(groups, betas=(0.9, 0.999), device=torch.device("cpu"))
    set_lr(optimizer, 0.4)
    assert [group["lr"] for group in optimizer.param_groups] == [0.4, 0.1]
