"""Two small backbones, the sizes of the demo's."""

import pytest

from bench.study.schema import Backbone

ARCHITECTURES = {
    "convnext": Backbone(family="convnext", depths=(2, 2, 2, 2), widths=(16, 32, 64, 128)),
    "swin": Backbone(
        family="swin", depths=(2, 2, 2, 2), widths=(16, 32, 64, 128), heads=(1, 2, 4, 8), window=4
    ),
}


@pytest.fixture(params=sorted(ARCHITECTURES))
def architecture(request: pytest.FixtureRequest) -> Backbone:
    return ARCHITECTURES[request.param]


@pytest.fixture
def convnext() -> Backbone:
    return ARCHITECTURES["convnext"]


@pytest.fixture
def swin() -> Backbone:
    return ARCHITECTURES["swin"]
