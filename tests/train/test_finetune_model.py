"""The full models of the paper: how many parameters they have, and at what rate each of them learns."""

import re
from collections import Counter

import pytest
import torch

from bench.models.upernet import Segmenter
from bench.study.schema import Backbone
from bench.train.optim import convnext_stage_factor, decays, parameter_groups

CONVNEXT_T = Backbone(family="convnext", depths=(3, 3, 9, 3), widths=(96, 192, 384, 768))
SWIN_T = Backbone(
    family="swin", depths=(2, 2, 6, 2), widths=(96, 192, 384, 768), heads=(3, 6, 12, 24), window=7
)


def assembled(architecture, channels=3, num_classes=150):
    """The full model without its values."""
    with torch.device("meta"):
        return Segmenter(architecture, channels, num_classes)


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def convnext():
    return assembled(CONVNEXT_T)


# -- parameters ------------------------------------------------------------------------------------------------


def test_heads_have_the_parameters_of_their_layers(convnext):
    def conv(inputs, outputs, kernel):
        return inputs * outputs * kernel**2 + 2 * outputs  # no bias; scale and shift of the batch norm

    pooling = 4 * conv(768, 512, 1) + conv(768 + 4 * 512, 512, 3)
    pyramid = conv(96, 512, 1) + conv(192, 512, 1) + conv(384, 512, 1) + 3 * conv(512, 512, 3)
    fusion = conv(4 * 512, 512, 3) + 512 * 150 + 150
    assert count(convnext.decode_head) == pooling + pyramid + fusion == 31_497_366
    assert count(convnext.auxiliary_head) == conv(384, 256, 3) + 256 * 150 + 150 == 923_798
    assert count(convnext.norms) == 2 * (96 + 192 + 384 + 768) == 2_880


@pytest.mark.parametrize(
    ("architecture", "backbone", "whole"),
    [(CONVNEXT_T, 27_818_592, 60_242_636), (SWIN_T, 27_517_818, 59_941_862)],
    ids=["ConvNeXt-T", "Swin-T"],
)
def test_full_models_have_the_stated_parameters(architecture, backbone, whole):
    model = assembled(architecture)
    assert (count(model.backbone), count(model)) == (backbone, whole)
    # Each class more: 512 + 1 in the decode head, 256 + 1 in the auxiliary; each channel more: 4 x 4 x 96.
    assert count(assembled(architecture, 5, 6)) == whole - 144 * 770 + 2 * 1_536


@pytest.mark.parametrize("family", ["convnext", "swin"])
def test_full_models_have_the_parameters_of_transformers(family):
    from transformers import ConvNextConfig, SwinConfig, UperNetConfig, UperNetForSemanticSegmentation

    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = (
        ConvNextConfig(depths=[3, 3, 9, 3], hidden_sizes=[96, 192, 384, 768], out_features=stages)
        if family == "convnext"
        else SwinConfig(
            embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7, out_features=stages
        )
    )
    with torch.device("meta"):
        theirs = UperNetForSemanticSegmentation(
            UperNetConfig(backbone_config=backbone, num_labels=150, auxiliary_in_channels=384)
        )
    # Their Swin keeps the norm behind the last stage, scale and shift of 768 channels, which nothing reads.
    unread = 2 * 768 if family == "swin" else 0
    assert count(assembled(CONVNEXT_T if family == "convnext" else SWIN_T)) == count(theirs) - unread


# -- rates -----------------------------------------------------------------------------------------------------


def official_level(name):
    """The level of a parameter as the official recipe finds it from the official names (its `stage_wise` branch).

    There the stem is downsample_layers.0, the layer before stage i is downsample_layers.i, and stages hold blocks.
    """
    name = re.sub(r"^backbone\.stem\.", "backbone.downsample_layers.0.", name)
    name = re.sub(r"^backbone\.stages\.(\d)\.downsample\.", r"backbone.downsample_layers.\1.", name)
    if name.startswith("backbone.downsample_layers"):
        return 0
    if name.startswith("backbone.stages"):
        return int(name.split(".")[2]) + 1
    return 8 - 1


def test_every_parameter_of_the_assembled_model_has_its_official_factor(convnext):
    factors = {name: convnext_stage_factor(name, 0.9) for name, _ in convnext.named_parameters()}
    assert factors == {name: pytest.approx(0.9 ** (7 - official_level(name))) for name in factors}
    levels = {name: official_level(name) for name in factors}
    # Stem: convolution and norm, weight and bias each; three downsampling layers alike. A block has 9 tensors: two
    # for the depthwise convolution, the norm and either linear layer, and the layer scale.
    assert Counter(levels.values()) == {
        0: 4 + 3 * 4, 1: 3 * 9, 2: 3 * 9, 3: 9 * 9, 4: 3 * 9,
        # Norms 4 x 2; decode head: 4 + 1 + 3 + 3 + 1 convolutions of 3 tensors and a classifier of 2; auxiliary 3 + 2.
        7: 8 + 12 * 3 + 2 + 3 + 2,
    }  # fmt: skip
    assert {round(0.9 ** (7 - level), 6) for level in set(levels.values())} == {
        0.478297, 0.531441, 0.59049, 0.6561, 0.729, 1.0,
    }  # fmt: skip


@pytest.mark.parametrize("architecture", [CONVNEXT_T, SWIN_T], ids=["ConvNeXt-T", "Swin-T"])
def test_weight_decay_spares_norms_biases_and_position_tables_of_the_assembled_model(architecture):
    model = assembled(architecture)
    names = {id(p): name for name, p in model.named_parameters()}
    rule = (lambda name: convnext_stage_factor(name, 0.9)) if architecture is CONVNEXT_T else None
    groups = parameter_groups(model.named_parameters(), weight_decay=0.05, factor=rule)
    spared = {names[id(p)] for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    decayed = set(names.values()) - spared
    modules = dict(model.named_modules())
    for name in decayed:
        path, _, leaf = name.rpartition(".")
        assert leaf == "weight" and isinstance(modules[path], torch.nn.Conv2d | torch.nn.Linear), name
    tables = {name for name in spared if name.endswith("relative_position_bias_table")}
    assert len(tables) == (12 if architecture is SWIN_T else 0)  # one a block: 2 + 2 + 6 + 2
    assert all(decays(name, p) is (name in decayed) for name, p in model.named_parameters())
