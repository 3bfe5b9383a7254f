"""Everything that is counted of one trained network, from one prediction of each scene.

Arrays by name, int64, scenes along the first axis; C classes:

    counts/<rule>            [scene, C, C]   confusion [target, prediction] of a pixel rule: a label variant (every
                                             pixel once), or `patches` (each window by itself, overlaps as often
                                             as windows cover them, as patch-wise benchmarks count)
    edges/<d>/iou            [scene, C, 3]   see `boundary`, by width d in pixels
    edges/<d>/contour        [scene, C, 4]
    edges/<d>/near           [scene, C, C]
    spectral/<disturbance>   [scene, C, C]   see `spectral`; only the scenes of `spectral_samples`
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.store import SegmentationStore
from bench.errors import BenchError
from bench.evaluate.boundary import edge_counts
from bench.evaluate.confusion import confusion_on_device
from bench.evaluate.predict import Model, Sliding, Views, id_bands
from bench.evaluate.scenes import StoredScene, stored
from bench.evaluate.shards import Arrays
from bench.evaluate.spectral import disturbances
from bench.study.recipes import Evaluation

WHOLE = "full"
"""Label variant of the rule `patches`, of the edges and of the spectral suite."""


def spectral_samples(samples: Sequence[str], settings: Evaluation) -> list[str]:
    """Return the scenes that the spectral suite reads: evenly spaced in the split, not chosen by eye."""
    if not settings.spectral:
        return []
    count = min(settings.spectral_samples or len(samples), len(samples))
    return [samples[i] for i in np.linspace(0, len(samples) - 1, count).astype(int)]


def count_scenes(
    model: Model,
    store: SegmentationStore,
    samples: Sequence[str],
    settings: Evaluation,
    how: Sliding,
    *,
    mean: Tensor,
    std: Tensor,
    seed: int,
    disturbed: Sequence[str] = (),
    told: Callable[[str, NDArray[np.uint8]], None] | None = None,
) -> Arrays:
    """Predict `samples` and count; those among them that are `disturbed` go through the spectral suite too.

    `mean` and `std`: [C] in stored units on the device. `told` is given each scene's name and class ids. Raises
    BenchError, naming the scene, for a label that is no class.
    """
    found: dict[str, list[NDArray[np.int64]]] = defaultdict(list)
    channels = [channel["name"] for channel in store.channels]
    changes = disturbances(settings.spectral, channels, mean, std, seed)
    views = Views(scales=settings.scales, flip=settings.flip)
    # Patches of scenes smaller than the patch are published filled up with 0.
    least = settings.window if "patches" in settings.pixels else 0
    for name in samples:
        with _naming(store, name):
            scene = stored(store, name, mean, std, least=least)
            labels = {
                rule: store.labels(name, rule)
                for rule in {*settings.pixels, *([WHOLE] if settings.boundary else [])} - {"patches"}
            }
            ids_HW, counts = _predicted(model, scene, store, name, settings, how, views, labels)
            for rule, counted in counts.items():
                found[f"counts/{rule}"].append(counted)
            for width in settings.boundary:
                edges = edge_counts(labels[WHOLE], ids_HW, how.classes, width)
                for part in ("iou", "contour", "near"):
                    found[f"edges/{width}/{part}"].append(getattr(edges, part))
            if told is not None:
                told(name, ids_HW)
            if name in disturbed:
                target = store.labels(name, WHOLE)
                for key, change in changes.items():
                    scene = stored(store, name, mean, std, change=change, least=least)
                    found[f"spectral/{key}"].append(_counts(model, scene, target, how, views))
    return {key: np.stack(parts) for key, parts in found.items()}


@contextmanager
def _naming(store: SegmentationStore, name: str) -> Iterator[None]:
    """Say of an error in which scene of which data it came up."""
    try:
        yield
    except BenchError as error:
        raise type(error)(f"{store.path}, scene {name}: {error}") from None


def _predicted(
    model: Model,
    scene: StoredScene,
    store: SegmentationStore,
    name: str,
    settings: Evaluation,
    how: Sliding,
    views: Views,
    labels: dict[str, NDArray[np.uint8]],
) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.int64]]]:
    """Predict one scene; return its class ids and its counts by pixel rule."""
    classes = how.classes
    patches = np.zeros((classes, classes), np.int64)

    def seen(top: int, left: int, logits: Tensor) -> None:
        height, width = logits.shape[1:]
        target = store.labels(name, WHOLE, slice(top, top + height), slice(left, left + width))
        patches[...] += confusion_on_device(target, logits.max(0).indices.to(torch.uint8), classes)

    by_patch = "patches" in settings.pixels
    counts = {rule: np.zeros_like(patches) for rule in settings.pixels if rule != "patches"}
    ids_HW = np.empty(scene.shape, np.uint8)
    for rows, columns, ids in id_bands(model, scene, how, views, seen if by_patch else None):
        for rule, sums in counts.items():
            sums += confusion_on_device(np.ascontiguousarray(labels[rule][rows, columns]), ids, classes)
        ids_HW[rows, columns] = ids.cpu().numpy()
    return ids_HW, counts | ({"patches": patches} if by_patch else {})


def _counts(
    model: Model, scene: StoredScene, target: NDArray[np.uint8], how: Sliding, views: Views
) -> NDArray[np.int64]:
    total = np.zeros((how.classes, how.classes), np.int64)
    for rows, columns, ids in id_bands(model, scene, how, views):
        total += confusion_on_device(np.ascontiguousarray(target[rows, columns]), ids, how.classes)
    return total
