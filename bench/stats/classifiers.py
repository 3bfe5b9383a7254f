"""Top-1 of the pre-trained classifiers: per image and channel order, read strictly."""

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.record import read_record
from bench.stats.intervals import Floats
from bench.stats.scores import TOP1, check_digest, record_of


@dataclass(frozen=True, kw_only=True)
class ExpectedClassifier:
    """One pre-training that the study asks for, with the digest its effective spec has today."""

    backbone: str
    label: str
    """Folder name of the pre-training: csp-4ch."""
    strategy: str
    channels: int
    seed: int
    digest: str

    @property
    def title(self) -> str:
        """The classifier in words."""
        return f"{TOP1}/{self.backbone}/{self.label}/seed{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Classified:
    """All classifiers of one backbone. `correct[order or disturbance]`: bool [cell, image]."""

    backbone: str
    cells: tuple[ExpectedClassifier, ...]
    correct: dict[str, NDArray[np.bool_]]
    disturbances: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """By disturbance, the numbers of channels that a classifier can have to be read so."""

    def drawn(self, order: str) -> list[str]:
        """Return the orders that one of the study stands for: itself, or the arrangements drawn for `random`."""
        return [name for name in self.correct if re.fullmatch(rf"{order}\d*", name)]

    def values(self, strategy: str, order: str) -> dict[int, Floats]:
        """Return for each seed the share of channel counts at which an image is right: seed -> (image,).

        The strategy in its plain form only (csp-4ch, not csp-batch-4ch), averaged over its channel counts.
        """
        if not (names := self.drawn(order)):
            return {}
        found: dict[int, list[NDArray[np.bool_]]] = {}
        for index, cell in enumerate(self.cells):
            if cell.label == f"{strategy}-{cell.channels}ch":
                found.setdefault(cell.seed, []).extend(self.correct[name][index] for name in names)
        return {seed: np.mean(rows, axis=0, dtype=np.float64) for seed, rows in sorted(found.items())}


def read_classifiers(
    paths: Sequence[Path],
    expected: Sequence[ExpectedClassifier],
    digests: Mapping[str, str] | None = None,
    *,
    partial: bool = False,
) -> tuple[list[Classified], list[ExpectedClassifier]]:
    """Read top-1 records (or their folders) and hold them to the study; returns them and the missing ones.

    `digests` gives the study's digest of "top1/backbone". Raises BenchError as `read_evaluations` does.
    """
    wanted = {(c.backbone, c.label, c.seed): c for c in expected}
    found, seen = [], set[str]()
    for path in sorted(record_of(Path(given)) for given in paths):
        record = read_record(path)
        backbone = str(record.names.get("backbone"))
        if record.stage != TOP1:
            raise BenchError(f"{path}: a record of stage {record.stage!r}; expected {TOP1}")
        check_digest(path, record, f"{TOP1}/{backbone}", digests)
        cells = []
        for cell in record.extra["cells"]:
            match = wanted.get((backbone, cell["label"], cell["seed"]))
            title = f"{TOP1}/{backbone}/{cell['label']}/seed{cell['seed']}"
            if match is None:
                raise BenchError(
                    f"{path}: holds {title}, which this study does not ask for; run the evaluation again"
                )
            if match.digest != cell["digest"]:
                raise BenchError(
                    f"{path}: stale result of {title}: its digest is {cell['digest'][:12]}, the study's is "
                    f"{match.digest[:12]}; run the pre-training and its evaluation again"
                )
            if title in seen:
                raise BenchError(f"{path}: {title} was evaluated twice; remove one of the two")
            seen.add(title)
            cells.append(match)
        # Records of earlier versions have none.
        disturbances = record.extra.get("disturbances", {})
        views = [*record.extra["orders"], *disturbances]
        correct = _correct(path.parent / "correct.npz", views, len(cells))
        found.append(
            Classified(backbone=backbone, cells=tuple(cells), correct=correct, disturbances=disturbances)
        )
    missing = [cell for cell in expected if cell.title not in seen]
    if missing and not partial:
        names = ", ".join(cell.title for cell in missing)
        raise BenchError(
            f"{len(missing)} of {len(expected)} classifiers are missing: {names}; run `make` again"
        )
    return sorted(found, key=lambda c: c.backbone), missing


def _correct(path: Path, orders: Sequence[str], cells: int) -> dict[str, NDArray[np.bool_]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {order: arrays[f"correct/{order}"] for order in orders}
    except (OSError, ValueError, EOFError, KeyError, BadZipFile, zlib.error) as error:
        raise BenchError(
            f"{path}: missing, damaged or without an order ({error}); run the evaluation again"
        ) from None
    for order, array in found.items():
        if array.dtype != np.bool_ or array.ndim != 2 or len(array) != cells or array.shape[1] == 0:
            raise BenchError(
                f"{path}: correct/{order} is {array.dtype} {array.shape}; expected bool ({cells}, images)"
            )
    return found


def top1_rows(classified: Classified) -> Iterator[dict[str, Any]]:
    """Yield one row for every classifier and channel order, as in top1.csv; `random` is the mean over those drawn.

    A disturbance such as `mean/channel_2` stands in the place of an order; who lacks that channel has no row.
    """
    orders = {order: [order] for order in classified.correct}
    if drawn := classified.drawn("random"):
        orders["random"] = drawn
    for order, names in orders.items():
        for index, cell in enumerate(classified.cells):
            if cell.channels not in classified.disturbances.get(order, (cell.channels,)):
                continue
            rows = np.array([classified.correct[name][index] for name in names])
            yield {
                "backbone": classified.backbone,
                "label": cell.label,
                "strategy": cell.strategy,
                "channels": cell.channels,
                "seed": cell.seed,
                "order": order,
                "value": float(rows.mean(dtype=np.float64)),
                "images": rows.shape[1],
            }
