"""A small target with every kind of sample, and photographs of three classes, as prepare leaves them."""

import numpy as np
import pytest
from toy_target import write_target

from bench.data.manifest import ClassificationManifest
from bench.data.store import ClassificationStore


@pytest.fixture(scope="session")
def target(tmp_path_factory):
    """Four scenes of 12 x 16 with some ignored pixels; `b2` is a mirrored `b1`."""
    rng = np.random.default_rng(0)
    names = ("a1", "a2", "b1", "c1")
    images = {name: rng.integers(0, 256, (12, 16, 4)) for name in names}
    labels = {name: rng.choice([0, 1, 2, 255], (12, 16), p=[0.6, 0.2, 0.1, 0.1]) for name in names}
    splits = {"test": ["c1"], "train": ["a1", "a2", "b1", "b2"], "val": []}
    return write_target(tmp_path_factory.mktemp("target"), images, labels, flips={"b2": "b1"}, splits=splits)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """Ten training and four validation photographs of 8 x 8; photograph k of class k mod 3 is grey of 20 k."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "prepared").mkdir()
    splits = {}
    for split, count in (("train", 10), ("val", 4)):
        grey = 20 * np.arange(count, dtype=np.uint8)
        np.save(
            folder / "prepared" / f"{split}.npy",
            np.broadcast_to(grey[:, None, None, None], (count, 8, 8, 3)).copy(),
        )
        np.save(folder / "prepared" / f"{split}.labels.npy", np.arange(count, dtype=np.int64) % 3)
        splits[split] = {
            "count": count, "images": f"prepared/{split}.npy", "labels": f"prepared/{split}.labels.npy",
        }  # fmt: skip
    ClassificationManifest(
        dataset="greys", scale="miniature", digest="d" * 64, spec={}, splits=splits, sources=[],
        classes=[{"index": i, "wnid": f"n{i}", "name": f"grey_{i}"} for i in range(3)],
        mean=[90.0] * 3, std=[50.0] * 3, form="decoded", size=8,
    ).write(folder / "manifest.json")  # fmt: skip
    return ClassificationStore(folder / "manifest.json")
