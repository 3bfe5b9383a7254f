"""What loading keeps to, for every dataset of the catalogue: batches depend on nothing but the seed and the step."""

from pathlib import Path

import pytest
import torch

from bench.catalog.index import CATALOG
from bench.data.acquire import acquire_archives
from bench.data.loaders import training_crops, training_images, validation_images
from bench.data.miniature.archives import write_archives
from bench.data.prepare.run import prepare_classification, prepare_target
from bench.data.store import ClassificationStore, SegmentationStore
from bench.study.datasets import Miniature, PretrainData, Target
from bench.study.recipes import FinetuneRecipe, PretrainRecipe

CPU = torch.device("cpu")
SIZES = Miniature(seed=5, train_images=3, val_images=2, scenes=3, side=16)
GEOMETRY = {"isaid": "896/512", "potsdam": "512/256"}
PRETRAIN = PretrainRecipe(
    epochs=1, batch_size=6, crop=16, lr=1e-3, weight_decay=0.05, warmup_epochs=0.0, min_lr=0.0, drop_path=0.0,
    label_smoothing=0.0,
)  # fmt: skip
FINETUNE = FinetuneRecipe(
    iterations=1, batch_size=5, crop=32, lr=1e-3, weight_decay=0.05, warmup_iterations=0, drop_path=0.0,
    photometric=True,
)  # fmt: skip


def drawn(name: str, out: Path) -> None:
    entry = CATALOG[name]
    write_archives(name, out / "archives", SIZES)
    acquire_archives(name, entry, out / "archives", out, digest="a", spec={}, drawn=True)
    settings = {"digest": "p", "spec": {"name": name}, "scale": "miniature"}
    if entry.kind == "classification":
        prepare_classification(name, PretrainData(source=name), out / "raw", out, **settings)
        return
    channels = tuple(channel.name for channel in entry.channels)
    target = Target(channels=channels, geometry=GEOMETRY.get(name, "whole"))
    prepare_target(name, target, out / "raw", out, **settings)


def batches(path: Path, kind: str, *, workers: int, start: int = 0, **parts: int) -> list:
    """Every tensor of two steps, in order."""
    settings = {"start": start, "stop": 2, "seed": 1, "workers": workers, "device": CPU, **parts}
    if kind == "classification":
        store = ClassificationStore(path)
        steps = training_images(store, PRETRAIN, **settings)
        held = validation_images(store, batch_size=4, crop=16, ratio=0.875, workers=workers, device=CPU)
    else:
        steps, held = training_crops(SegmentationStore(path), FINETUNE, labels="full", **settings), iter(())
    return [list(micro) for step in steps for micro in step] + [list(batch) for batch in held]


def same(one: list, other: list) -> bool:
    return len(one) == len(other) and all(
        torch.equal(torch.as_tensor(a), torch.as_tensor(b))
        for x, y in zip(one, other, strict=True)
        for a, b in zip(x, y, strict=True)
    )


@pytest.mark.parametrize("name", CATALOG)
def test_two_loader_processes_give_the_bytes_of_none(name, tmp_path):
    drawn(name, tmp_path)
    path, kind = tmp_path / "manifest.json", CATALOG[name].kind
    plain = batches(path, kind, workers=0)
    assert same(batches(path, kind, workers=2), plain)
    assert not same(plain[:1], plain[1:2])
    # From 1 on, in micro-batches: the second step again.
    pieces = batches(path, kind, workers=0, start=1, micro=4)
    assert torch.equal(torch.cat([pieces[0][1], pieces[1][1]]), plain[1][1])
