"""Every test of this room is marked `gpu` and skipped, aloud, where there is no CUDA device."""

import sys
from pathlib import Path

import pytest
import torch

from bench.device import exact_float32

# The drawn scenes and runs of the training tests serve here too.
sys.path.append(str(Path(__file__).parents[1] / "train"))


@pytest.fixture(autouse=True)
def float32():
    """What every command begins with."""
    exact_float32()


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and there is none"))
