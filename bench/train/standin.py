"""Published weights in the place of a pre-training: checked, evaluated, recorded as one, and called what they are.

Nothing is trained. What follows, fine-tunings and tables, finds the files that a pre-training leaves; the record's
selection is `published` and its log of losses is empty.
"""

import time
from pathlib import Path

import torch

from bench.data.prepare.run import IMAGENET_MEAN, IMAGENET_STD
from bench.data.store import ClassificationStore
from bench.device import named, peak_memory
from bench.errors import BenchError
from bench.evaluate.top1 import Reader, hits, shares
from bench.lock import say
from bench.models.published import published_classifier
from bench.models.weights import save_weights
from bench.record import Record, receipt, sha256_file, write_text
from bench.study.jobs import PretrainRun
from bench.study.recipes import Published


def stand_in(
    run: PretrainRun, published: Published, folder: Path, device: torch.device, workers: int
) -> None:
    """Leave weights, their spec, an empty log and the record in `folder`, whose lock the caller holds.

    Raises BenchError for weights that do not fit the study (`bench.models.published`), and for data that are
    not normalised as the published weights were trained.
    """
    began, recipe = time.monotonic(), run.recipe
    label = f"pretrain {run.backbone} {run.label} seed{run.repetition}"

    # 1. Weights: a wrong file is named before anything else.
    store = ClassificationStore(Path(run.manifest), digest=run.inputs["manifest"])
    model, digest = published_classifier(published, run.architecture, store.num_classes, recipe.crop)

    # 2. Data.
    if [*map(float, store.mean), *map(float, store.std)] != [*IMAGENET_MEAN, *IMAGENET_STD]:
        raise BenchError(
            f"{run.manifest}: normalises by {list(store.mean)} and {list(store.std)}; {published.words} were trained "
            f"with {IMAGENET_MEAN} and {IMAGENET_STD}"
        )

    say(f"{label}: {published.words} (SHA-256 {digest}) stand in; nothing is trained")

    # 3. Evaluate.
    found = hits(
        [Reader(model.to(device), run.channels, run.strategy, run.normalise)],
        ("natural", "reversed", "random"),
        store,
        crop=recipe.crop,
        ratio=recipe.eval_ratio,
        seed=run.root_seed,
        device=device,
        workers=workers,
        resize=recipe.resize,
    )
    metrics = shares(found)
    say(f"{label}: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))

    # 4. Write: the record last.
    (folder / "record.json").unlink(missing_ok=True)
    weights = folder / "weights.safetensors"
    spec = {
        "kind": "classifier",
        "architecture": run.spec["architecture"],
        "channels": run.channels,
        "num_classes": store.num_classes,
        "mean": list(store.mean),
        "std": list(store.std),
        "head": {"image_size": recipe.crop},
        "digest": run.digest,
    }
    save_weights(weights, model, spec)
    write_text(folder / "log.csv", "step,epoch,lr,loss\n")
    Record(
        stage="pretrain",
        names={
            "study": run.study,
            "backbone": run.backbone,
            "label": run.label,
            "seed": run.repetition,
            "weights": "-published",  # in receipts and costs: .../rgb-3ch/seed0/weights-published
        },
        spec=run.spec,
        digest=run.digest,
        inputs=run.inputs,
        metrics=metrics,
        receipt=receipt(
            device=named(device),
            wall_seconds=time.monotonic() - began,
            device_memory=peak_memory(device),
        ),
        selection="published",
        extra={
            "published": {"source": published.words, "sha256": digest},
            "weights_sha256": sha256_file(weights),
            "manifest_sha256": sha256_file(Path(run.manifest)),
            "scale": run.scale,
            "precision": "float32",
            "steps": 0,
            "train_images": 0,
            "val_images": store.count("val"),
        },
    ).write(folder / "record.json")
