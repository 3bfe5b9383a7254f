"""Batches on a GPU: the bytes of those on the CPU, whatever the processes and the cut."""

import pytest
import torch
from prepared import pretraining, write_classes

from bench.data.loaders import training_images
from bench.data.store import ClassificationStore


@pytest.mark.parametrize(("batch_size", "micro"), [(7, None), (7, 3), (40, None)])
def test_batches_from_pinned_chunks_are_those_of_the_cpu(tmp_path, monkeypatch, batch_size, micro):
    run = pretraining(tmp_path, manifest := write_classes(tmp_path / "data"), batch_size=batch_size)
    # Chunks that no batch is a multiple of.
    monkeypatch.setattr("bench.data.assembly.CHUNK_SAMPLES", 5)
    store = ClassificationStore(manifest)

    def batches(device, workers):
        steps = training_images(
            store,
            run.recipe,
            seed=1,
            start=0,
            stop=6,
            workers=workers,
            device=torch.device(device),
            micro=micro,
        )
        return [(images.cpu(), labels.cpu()) for step in steps for _, images, labels in step]

    for (ours, own), (theirs, their) in zip(batches("cuda", 2), batches("cpu", 0), strict=True):
        assert torch.equal(ours, theirs) and torch.equal(own, their)
