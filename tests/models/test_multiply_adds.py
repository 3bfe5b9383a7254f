"""The counts by which published speeds are carried over to other sizes are those of our own networks."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.models.backbone import build_classifier
from bench.models.upernet import Segmenter
from bench.plan.published import COUNTED_AT, HEADS, NETWORKS
from bench.study.reading import load_study

ROOT = Path(__file__).parents[2]


def multiply_adds(model, side):
    """Return the multiply-adds of one image's forward pass, and the parameters; nothing is computed."""
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        model(torch.zeros(2, 3, side, side, device="meta"))
    # A multiply-add is counted as two operations; two images, since batch norm refuses one in training.
    return counted.get_total_flops() // 2 // 2, sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("known", NETWORKS, ids=lambda known: known.family)
def test_multiply_adds_and_parameters_are_counted(known, monkeypatch):
    monkeypatch.chdir(ROOT)
    study = load_study(ROOT / "config" / "paper.yaml")
    backbone = next(one for one in study.backbones.values() if one.family == known.family)
    assert (known.depths, known.widths) == (backbone.depths, backbone.widths)
    with torch.device("meta"):
        classifier = build_classifier(backbone, 3, 1000, 0.0, 224)
        segmenter = Segmenter(backbone, 3, 16, head_channels=HEADS[0], aux_channels=HEADS[1])
    assert multiply_adds(classifier, 224) == (known.multiply_adds, known.parameters)
    found = multiply_adds(segmenter.train(), COUNTED_AT)
    assert found == (known.segmenter_multiply_adds, known.segmenter_parameters)
