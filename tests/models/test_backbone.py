"""The backbones are timm's, tensor for tensor; a classifier and a feature extractor share their names."""

import pytest
import timm
import torch

from bench.errors import BenchError
from bench.models.backbone import (
    HEAD_PREFIXES,
    STEM_WEIGHT,
    build_classifier,
    build_features,
    pad_to_multiple,
)
from bench.study.schema import Backbone

TINY = {
    "convnext_tiny": Backbone(family="convnext", depths=(3, 3, 9, 3), widths=(96, 192, 384, 768)),
    "swin_tiny_patch4_window7_224": Backbone(
        family="swin", depths=(2, 2, 6, 2), widths=(96, 192, 384, 768), heads=(3, 6, 12, 24), window=7
    ),
}


def shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", sorted(TINY))
def test_tiny_architectures_are_timms_tensor_for_tensor_and_logit_for_logit(name):
    theirs = timm.create_model(name, drop_path_rate=0.0).eval()
    ours = build_classifier(TINY[name], 3, 1000, 0.0, 224).eval()
    assert shapes(ours) == shapes(theirs)
    ours.load_state_dict(theirs.state_dict())
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", range(3, 9))
def test_features_have_the_classifiers_tensors_without_the_head(architecture, channels):
    classifier = shapes(build_classifier(architecture, channels, 10, 0.1, 32))
    features = shapes(build_features(architecture, channels, 0.1))
    head = {name for name in classifier if name.startswith(HEAD_PREFIXES[architecture.family])}
    assert head and features == {name: shape for name, shape in classifier.items() if name not in head}
    assert features[STEM_WEIGHT[architecture.family]] == (16, channels, 4, 4)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (224, 160)])
def test_feature_maps_have_strides_4_8_16_32(architecture, size):
    maps = build_features(architecture, 3, 0.0).eval()(torch.zeros(2, 3, *size))
    expected = [
        (2, w, size[0] // s, size[1] // s) for w, s in zip((16, 32, 64, 128), (4, 8, 16, 32), strict=True)
    ]
    assert [tuple(x.shape) for x in maps] == expected


def test_feature_maps_are_the_stages_outputs_of_the_classifier(architecture):
    # 256 pixels: Swin's last map has 8x8 tokens, more than one window of 4, so both shift in every stage.
    classifier = build_classifier(architecture, 4, 10, 0.0, 256).eval()
    features = build_features(architecture, 4, 0.0).eval()
    features.load_state_dict({k: v for k, v in classifier.state_dict().items() if k in features.state_dict()})
    image = torch.randn(1, 4, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = classifier.forward_intermediates(image, intermediates_only=True)
        for ours, theirs in zip(features(image), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_no_tensor_of_swin_depends_on_the_image_size(swin):
    at_32 = build_classifier(swin, 3, 10, 0.0, 32)
    at_224 = build_classifier(swin, 3, 10, 0.0, 224)
    assert shapes(at_32) == shapes(at_224)
    # Left to itself timm would cut the position table to a map of one token.
    assert at_32.layers[3].blocks[1].attn.relative_position_bias_table.shape == (7 * 7, 8)


def test_swin_shifts_its_windows_as_published(swin):
    # 64 pixels: maps of 16, 8, 4 and 2 tokens under windows of 4.
    classifier = build_classifier(swin, 3, 10, 0.0, 64)
    assert [stage.blocks[1].shift_size for stage in classifier.layers] == [(2, 2), (2, 2), (0, 0), (0, 0)]
    assert {stage.blocks[0].shift_size for stage in classifier.layers} == {(0, 0)}
    segmentation = build_features(swin, 3, 0.0)
    assert [stage.blocks[1].shift_size for stage in segmentation.layers] == [(2, 2)] * 4


def test_drop_path_rises_to_the_rate_of_the_recipe(architecture):
    rates = [m.drop_prob for m in build_features(architecture, 3, 0.3).modules() if hasattr(m, "drop_prob")]
    # Eight blocks: 0, 1/7, ..., 7/7 of the rate; timm puts an identity where it is 0.
    expected = [0.3 * i / 7 for i in range(1, 8)]
    assert sorted(set(rates)) == pytest.approx(expected)


def test_building_draws_nothing_from_the_global_generator(architecture):
    before = torch.random.get_rng_state()
    build_classifier(architecture, 3, 10, 0.1, 64)
    build_features(architecture, 3, 0.1)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("size", [20, 50])
def test_a_classifier_of_impossible_size_is_refused(architecture, size):
    with pytest.raises(BenchError, match=rf"image size {size}: .*at least 32 pixels, in multiples of 4"):
        build_classifier(architecture, 3, 10, 0.0, size)


def test_padding_adds_zeros_below_and_to_the_right():
    padded = pad_to_multiple(torch.ones(1, 1, 225, 333))
    assert padded.shape == (1, 1, 256, 352)
    assert padded.sum() == 225 * 333 == padded[..., :225, :333].sum()
