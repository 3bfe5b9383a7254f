"""A toy target of four channels and three classes, as prepare leaves it."""

import numpy as np

from bench.data.manifest import SegmentationManifest
from bench.data.store import SegmentationStore

COLOURS = [[10, 20, 30], [200, 0, 0], [0, 200, 0]]


def write_target(folder, images, labels, *, flips=None, splits=None):
    """Write `images[sample]` (HWC: red, green, blue uint8, height float32) and `labels[sample]`; open the store."""
    (folder / "prepared").mkdir(parents=True)
    samples = {}
    for name, image_HWC in images.items():
        np.save(folder / "prepared" / f"{name}.uint8.npy", image_HWC[..., :3].astype(np.uint8))
        np.save(folder / "prepared" / f"{name}.float32.npy", image_HWC[..., 3:].astype(np.float32))
        np.save(folder / "prepared" / f"{name}.full.npy", labels[name].astype(np.uint8))
        samples[name] = {
            "unit": name[0],
            "shape": list(labels[name].shape),
            "arrays": [
                {"file": f"prepared/{name}.uint8.npy", "channels": [0, 1, 2]},
                {"file": f"prepared/{name}.float32.npy", "channels": [3]},
            ],
            "labels": {"full": f"prepared/{name}.full.npy"},
            "flip": False,
        }
    for name, source in (flips or {}).items():
        samples[name] = samples[source] | {"flip": True}
    units = {"red": "digital number", "green": "digital number", "blue": "digital number", "height": "metres"}
    SegmentationManifest(
        dataset="toy",
        scale="miniature",
        digest="d" * 64,
        spec={},
        classes=[
            {"index": i, "name": name, "colour": COLOURS[i]}
            for i, name in enumerate(("ground", "low_roof", "car"))
        ],
        mean=[1.0, 2.0, 3.0, 4.0],
        std=[1.0, 1.0, 1.0, 1.0],
        splits=splits or {"test": [], "train": list(samples)},
        sources=[],
        channels=[
            {"name": name, "unit": unit, "dtype": "float32" if name == "height" else "uint8"}
            for name, unit in units.items()
        ],
        ignore_index=255,
        unit="block",
        label_variants=["full"],
        samples=samples,
        evaluation_split="test",
        class_pixels={},
        handled=[],
    ).write(folder / "manifest.json")
    return SegmentationStore(folder / "manifest.json")
