"""The small study that every test of the statistics starts from."""

from pathlib import Path

import pytest
from small_study import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Arms csp and rgb, two backbones, two fine-tunings of one pre-training, four units of two samples."""
    return Study(root=tmp_path, arms={"csp": 0.8, "rgb": 0.7}, noise=30)
