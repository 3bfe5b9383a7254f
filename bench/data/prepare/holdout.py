"""A validation part set aside from the training units, for studies that choose weights or budgets by it."""

from dataclasses import replace
from pathlib import Path

from bench.data.prepare.collection import Collection, Handled
from bench.data.prepare.imagenet import Photographs, Photos
from bench.errors import BenchError
from bench.seeds import seed_for

PUBLISHED_VAL = "published_val"
"""Name of a published validation list beside the part set aside, which is `val`."""


def hold_out(collection: Collection, share: float, dataset: str) -> Collection:
    """Return the collection with `share` of its training units as `val`, at least one unit and never all.

    Units are drawn by the hash of their names, so that neither their order nor one unit more moves the others far:
    the same units come in every study. A published `val` is kept under the name `published_val`, and scored
    there where it is what papers score; a mirrored frame of a unit set aside is left out of both. A unit of which
    the evaluation split has samples too is never chosen: what selects must not resemble what is scored. `dataset`
    names the data, not the study's key of them. Raises BenchError for fewer than two units, or none to choose.
    """
    training = collection.splits["train"]
    scored = {collection.unit_of(sample) for sample in collection.splits[collection.evaluation_split]}
    units = sorted(
        {collection.unit_of(sample) for sample in training},
        key=lambda unit: (seed_for("holdout", dataset, unit), unit),
    )
    if len(units) < 2:
        raise BenchError(
            f"the training split has {len(units)} {collection.unit} ({', '.join(units)}); a part to validate on is "
            "drawn by whole ones and needs at least 2: use selection: official"
        )
    free = [unit for unit in units if unit not in scored]
    if not free:
        raise BenchError(
            f"each {collection.unit} of the training split has samples in {collection.evaluation_split} too; none is "
            "left to validate on: use selection: official"
        )
    aside = set(free[: _size(share, len(units))])
    chosen = [sample for sample in training if collection.unit_of(sample) in aside]
    mirrored = [sample for sample in chosen if sample in collection.flips]
    splits = {name: ids for name, ids in collection.splits.items() if name != "val"}
    splits["train"] = tuple(sample for sample in training if collection.unit_of(sample) not in aside)
    splits["val"] = tuple(sample for sample in chosen if sample not in collection.flips)
    evaluated = collection.evaluation_split
    if collection.splits.get("val"):
        splits[PUBLISHED_VAL] = collection.splits["val"]
        evaluated = PUBLISHED_VAL if evaluated == "val" else evaluated
    return replace(
        collection,
        splits=splits,
        evaluation_split=evaluated,
        flips={name: source for name, source in collection.flips.items() if name not in mirrored},
        handled=(*collection.handled, *(Handled("holdout-mirrored-left-out", name, 1) for name in mirrored)),
    )


def hold_out_photographs(photos: Photos, share: float) -> Photos:
    """Return the photographs with `share` of each class's training ones as `val`, in the place of the published ones.

    Drawn by the hash of class and file name: at least one of each class, never all. The published validation
    photographs are left out altogether, so that nothing is chosen on what is reported. Raises BenchError for a class
    of one training photograph.
    """
    of_class: dict[int, list[str]] = {}
    for path, label in photos.splits["train"]:
        of_class.setdefault(label, []).append(path)
    aside: set[str] = set()
    for label, paths in of_class.items():
        wnid = photos.classes[label][0]
        if len(paths) < 2:
            raise BenchError(
                f"{wnid}: one training photograph ({paths[0]}); a part to validate on is drawn of each class and needs "
                "at least 2: leave pretrain.data.holdout unset"
            )
        drawn = sorted(paths, key=lambda path: (seed_for("holdout", wnid, Path(path).name), path))
        aside.update(drawn[: _size(share, len(paths))])

    def part(held: bool) -> Photographs:
        return tuple((path, label) for path, label in photos.splits["train"] if (path in aside) == held)

    return replace(photos, splits={"train": part(held=False), "val": part(held=True)})


def _size(share: float, count: int) -> int:
    """Return how many of `count` are set aside: at least one, never all."""
    return min(max(round(share * count), 1), count - 1)
