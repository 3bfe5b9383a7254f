"""Each tensor's initial value depends on its name and repetition, and on nothing else."""

import math

import pytest
import torch
from torch import nn

from bench.errors import BenchError
from bench.models.backbone import STEM_WEIGHT, build_classifier
from bench.models.initial import initialise
from bench.models.upernet import Segmenter


def segmenter(architecture, channels=4, num_classes=5, repetition=0, role="finetune"):
    model = Segmenter(architecture, channels, num_classes, head_channels=32, aux_channels=16)
    initialise(model, role, 11, repetition)
    return model.state_dict()


def different(one, other):
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize("channels", [3, 5, 8])
def test_models_that_differ_in_n_share_every_tensor_but_the_stem(architecture, channels):
    stem = f"backbone.{STEM_WEIGHT[architecture.family]}"
    # Swin's patch convolution draws its bias within 1 / sqrt(inputs), so that n moves the bias too.
    moved = {stem} if architecture.family == "convnext" else {stem, "backbone.patch_embed.proj.bias"}
    assert different(segmenter(architecture, 4), segmenter(architecture, channels)) == moved


def test_models_that_differ_in_classes_share_every_tensor_but_the_classifiers(architecture):
    assert different(segmenter(architecture, num_classes=5), segmenter(architecture, num_classes=6)) == {
        "decode_head.classifier.weight",
        "auxiliary_head.classifier.weight",
        "decode_head.classifier.bias",
        "auxiliary_head.classifier.bias",
    }


def test_initialising_neither_reads_nor_moves_the_global_generator(architecture):
    torch.manual_seed(1)
    one = segmenter(architecture)
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    other = segmenter(architecture)
    assert not different(one, other)
    model = Segmenter(architecture, 3, 5, head_channels=32, aux_channels=16)
    before = torch.random.get_rng_state()
    initialise(model, "finetune", 0, 0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_training_left_behind_is_overwritten(architecture):
    model = Segmenter(architecture, 4, 5, head_channels=32, aux_channels=16)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(3)
    initialise(model, "finetune", 11, 0)
    assert not different(model.state_dict(), segmenter(architecture))


def test_every_drawn_tensor_moves_with_the_repetition_and_the_role(architecture):
    first = segmenter(architecture)
    drawn = {name for name, tensor in first.items() if tensor.numel() > 1 and tensor.float().std() > 0}
    assert len(drawn) > 40
    assert different(first, segmenter(architecture, repetition=1)) == drawn
    assert different(first, segmenter(architecture, role="pretrain")) == drawn


def test_no_two_tensors_share_their_values(architecture):
    tensors = [
        t.flatten()[:8].tolist() for t in segmenter(architecture).values() if t.numel() > 8 and t.std() > 0
    ]
    assert len({tuple(values) for values in tensors}) == len(tensors)


def test_backbone_and_classifier_are_distributed_as_timm_builds_them(architecture):
    from timm.models.convnext import ConvNeXt
    from timm.models.swin_transformer import SwinTransformer

    torch.manual_seed(0)
    if architecture.family == "convnext":
        theirs = ConvNeXt(num_classes=50, depths=architecture.depths, dims=architecture.widths)
    else:
        theirs = SwinTransformer(
            num_classes=50,
            embed_dim=16,
            depths=architecture.depths,
            num_heads=architecture.heads,
            window_size=4,
        )
    ours = build_classifier(architecture, 3, 50, 0.0, 224)
    initialise(ours, "pretrain", 0, 0)
    expected = theirs.state_dict()
    for name, tensor in ours.state_dict().items():
        n, deviation = tensor.numel(), expected[name].std(correction=0).item()
        if deviation == 0:
            assert torch.equal(tensor, expected[name]), name
        else:
            # The deviation of n draws is known to 1/sqrt(2n) of itself: five times that, for two samples.
            tolerance = 5 * math.sqrt(2) / math.sqrt(2 * n)
            assert tensor.std(correction=0).item() == pytest.approx(deviation, rel=tolerance), name
            assert abs(tensor.mean().item()) < 5 * deviation / math.sqrt(n), name


def test_heads_are_distributed_as_in_mmsegmentation(convnext):
    state = segmenter(convnext, num_classes=60)
    # Kaiming normal, fan out: variance 2 / (outputs * kernel area); 32 outputs, 3x3.
    fuse = state["decode_head.fuse.conv.weight"]
    assert fuse.std().item() == pytest.approx(math.sqrt(2 / (32 * 9)), rel=0.05)
    lateral = state["decode_head.laterals.2.conv.weight"]
    assert lateral.std().item() == pytest.approx(math.sqrt(2 / 32), rel=0.1)
    assert state["decode_head.classifier.weight"].std().item() == pytest.approx(0.01, rel=0.1)
    for name, tensor in state.items():
        if name.startswith(("norms.", "decode_head.fuse.norm.")):
            constant = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1, "num_batches_tracked": 0}
            assert (tensor == constant[name.rpartition(".")[2]]).all(), name


def test_a_layer_without_a_rule_is_refused_by_name():
    model = nn.Sequential(nn.Linear(2, 2), nn.PReLU())
    with pytest.raises(BenchError, match=r"1\.weight: no rule for the initial value of weight in PReLU"):
        initialise(model, "finetune", 0, 0)
