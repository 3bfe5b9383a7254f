"""UPerNet against an independent implementation, and the segmenter at awkward sizes."""

import pytest
import torch

from bench.errors import BenchError
from bench.models.initial import initialise
from bench.models.upernet import ChannelNorm, FCNHead, Segmenter, UPerHead

WIDTHS = (16, 32, 64, 128)
THEIR_NAMES = [
    ("pyramid_pooling.levels.0.", "psp_modules.0.1."),
    ("pyramid_pooling.levels.1.", "psp_modules.1.1."),
    ("pyramid_pooling.levels.2.", "psp_modules.2.1."),
    ("pyramid_pooling.levels.3.", "psp_modules.3.1."),
    ("pyramid_pooling.fuse.", "bottleneck."),
    ("laterals.", "lateral_convs."),
    ("smooth.", "fpn_convs."),
    ("fuse.", "fpn_bottleneck."),
]


def small(architecture, channels=3, num_classes=5):
    model = Segmenter(architecture, channels, num_classes, dropout=0.0, head_channels=32, aux_channels=16)
    initialise(model, "finetune", 0, 0)
    return model


def random_image(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scramble(module):
    """Give every tensor, batch statistics included, a value that matters."""
    generator = torch.Generator().manual_seed(5)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(std=0.3, generator=generator)


def feature_maps(height=64, width=96):
    return [
        random_image(2, w, height // s, width // s, seed=s)
        for w, s in zip(WIDTHS, (4, 8, 16, 32), strict=True)
    ]


def transformers_config():
    from transformers import UperNetConfig

    return UperNetConfig(
        hidden_size=32,
        pool_scales=[1, 2, 3, 6],
        num_labels=7,
        auxiliary_channels=16,
        auxiliary_in_channels=WIDTHS[2],
        auxiliary_num_convs=1,
        auxiliary_concat_input=False,
    )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [(64, 96), (256, 352)])
def test_decode_head_agrees_with_transformers(training, size):
    from transformers.models.upernet.modeling_upernet import UperNetHead

    ours = UPerHead(WIDTHS, 32, 7, (1, 2, 3, 6), dropout=0.0).train(training)
    theirs = UperNetHead(transformers_config(), list(WIDTHS)).train(training)
    scramble(ours)
    renamed = {}
    for name, tensor in ours.state_dict().items():
        for old, new in THEIR_NAMES:
            if name.startswith(old):
                name = new + name.removeprefix(old)
                break
        renamed[name.replace(".norm.", ".batch_norm.")] = tensor
    theirs.load_state_dict(renamed)
    maps = feature_maps(*size)
    expected = theirs(maps)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours(maps), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_auxiliary_head_agrees_with_transformers(training):
    from transformers.models.upernet.modeling_upernet import UperNetFCNHead

    ours = FCNHead(WIDTHS[2], 16, 7, dropout=0.0).train(training)
    theirs = UperNetFCNHead(transformers_config(), list(WIDTHS)).train(training)
    scramble(ours)
    names = {name: name.replace("conv.", "convs.0.", 1) for name in ours.state_dict()}
    theirs.load_state_dict(
        {names[n].replace(".norm.", ".batch_norm."): t for n, t in ours.state_dict().items()}
    )
    maps = feature_maps()
    torch.testing.assert_close(ours(maps[2]), theirs(maps), rtol=1e-5, atol=1e-5)


def test_channel_norm_norms_each_pixel_by_itself():
    x = random_image(2, 16, 3, 5) * 4 + 1
    pixel = x[1, :, 2, 3]
    expected = (pixel - pixel.mean()) / (pixel.var(correction=0) + 1e-6).sqrt()
    torch.testing.assert_close(ChannelNorm(16, eps=1e-6)(x)[1, :, 2, 3], expected)


@pytest.mark.parametrize("size", [(225, 333), (20, 20), (32, 64)])
@pytest.mark.parametrize("channels", range(3, 9))
def test_logits_have_the_images_own_size(architecture, channels, size):
    model = small(architecture, channels).eval()
    with torch.inference_mode():
        logits = model(random_image(1, channels, *size))
    assert logits.shape == (1, 5, *size) and logits.isfinite().all()


@pytest.mark.parametrize("size", [(225, 333), (20, 20)])
def test_in_training_both_logits_have_the_images_own_size(architecture, size):
    logits, auxiliary = small(architecture).train()(random_image(2, 3, *size))
    assert logits.shape == auxiliary.shape == (2, 5, *size)


def test_an_odd_size_is_padded_with_zeros_and_cropped_back(architecture):
    model = small(architecture).eval()
    scramble(model.decode_head)
    image = random_image(1, 3, 20, 45)
    padded = torch.zeros(1, 3, 32, 64)
    padded[..., :20, :45] = image
    with torch.inference_mode():
        assert torch.equal(model(image), model(padded)[..., :20, :45])


def test_logits_are_those_of_the_parts_put_together(architecture):
    model = small(architecture).eval()
    scramble(model.norms)
    scramble(model.decode_head)
    image = random_image(2, 3, 64, 96)
    with torch.inference_mode():
        maps = [norm(x) for norm, x in zip(model.norms, model.backbone(image), strict=True)]
        coarse = model.decode_head(maps)
        expected = torch.nn.functional.interpolate(
            coarse, scale_factor=4, mode="bilinear", align_corners=False
        )
        torch.testing.assert_close(model(image), expected, rtol=0, atol=1e-5)


def test_every_parameter_takes_part_in_the_loss(architecture):
    model = small(architecture).train()
    logits, auxiliary = model(random_image(2, 3, 64, 64))
    (logits.square().sum() + auxiliary.square().sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_one_image_is_no_training_batch(architecture):
    with pytest.raises(BenchError, match=r"a training batch of 1 image: .*needs at least 2"):
        small(architecture).train()(random_image(1, 3, 64, 64))


def test_a_wrong_number_of_channels_is_refused(architecture):
    with pytest.raises(BenchError, match="the image has 3 channels; this segmenter was built for 5"):
        small(architecture, channels=5)(random_image(2, 3, 64, 64))
