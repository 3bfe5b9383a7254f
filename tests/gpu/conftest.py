"""Every test of this room is marked `gpu` and skipped, aloud, where there is no CUDA device."""

import sys
from pathlib import Path

import pytest
import torch

# The drawn scenes and runs of the training tests serve here too.
sys.path.append(str(Path(__file__).parents[1] / "train"))


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and there is none"))
