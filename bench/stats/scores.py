"""Evaluation outputs read strictly into counts per unit, held to the cells that the study expects.

A cell is one trained model on one dataset. Cells whose effective spec coincides are one run shown under all
its names. Samples are summed to units before anything else: a unit is what the statistics resample.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import metrics
from bench.errors import BenchError
from bench.record import Record, read_record
from bench.study.recipes import Evaluation

TOP1 = "top1"


@dataclass(frozen=True, kw_only=True)
class ExpectedCell:
    """One fine-tuning that the study asks for, with the digest its effective spec has today."""

    dataset: str
    backbone: str
    arm: str
    names: tuple[str, ...]
    """Every arm name that shares this run; `arm` is among them."""
    pretrain_seed: int | None
    """None where nothing is pre-trained."""
    seed: int
    digest: str

    @property
    def title(self) -> str:
        """The cell in words."""
        return f"{self.dataset}/{self.backbone}/{self.arm}/seed{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """All evaluated cells of one dataset and backbone. `counts[rule]`: int64 [cell, unit, target,
    prediction].
    """

    dataset: str
    backbone: str
    classes: tuple[str, ...]
    units: tuple[str, ...]
    cells: tuple[ExpectedCell, ...]
    counts: dict[str, NDArray[np.int64]]
    record: Record

    def totals(self, rule: str) -> NDArray[np.int64]:
        """Return class totals int64 [cell, unit, 3, class] under a pixel rule."""
        return metrics.class_totals(self.counts[rule])

    def of_arm(self, name: str) -> list[int]:
        """Return the indices of the cells shown under an arm name, by seed."""
        found = [index for index, cell in enumerate(self.cells) if name in cell.names]
        return sorted(found, key=lambda index: self.cells[index].seed)

    @property
    def arms(self) -> list[str]:
        """Every arm name, sorted."""
        return sorted({name for cell in self.cells for name in cell.names})


def record_of(path: Path) -> Path:
    """Return the record's path, given the record or its folder."""
    return path / "record.json" if path.is_dir() else path


def read_evaluations(
    paths: Sequence[Path],
    expected: Sequence[ExpectedCell],
    digests: Mapping[str, str] | None = None,
    *,
    partial: bool = False,
) -> tuple[list[Evaluated], list[ExpectedCell]]:
    """Read evaluation records (or their folders) and hold them to the study.

    `digests` gives the digest that the evaluation of "dataset/backbone" has in the study today; unset, only
    the cells' digests are compared. Returns the evaluations by dataset and backbone and, with `partial`, the
    cells that are missing; without it a missing cell is an error.

    Raises BenchError, naming each record or cell: a digest that differs from the study's, a cell the study
    does not ask for, a cell given twice, counts that do not fit their record, a missing cell.
    """
    wanted = {(c.dataset, c.backbone, c.seed, name): c for c in expected for name in c.names}
    if len(wanted) != sum(len(c.names) for c in expected):
        raise BenchError("the study lists a cell twice: dataset, backbone, arm and seed must name one run")
    found = []
    seen: set[str] = set()
    for path in sorted(record_of(Path(given)) for given in paths):
        record = read_record(path)
        where = f"{record.names.get('dataset')}/{record.names.get('backbone')}"
        if record.stage != "evaluate":
            raise BenchError(f"{path}: a record of stage {record.stage!r}; expected an evaluation")
        check_digest(path, record, where, digests)
        evaluated = _read(path, record, wanted)
        for cell in evaluated.cells:
            if cell.title in seen:
                raise BenchError(
                    f"{path}: {cell.title} was evaluated twice; remove one of the two evaluations"
                )
            seen.add(cell.title)
        found.append(evaluated)
    missing = [cell for cell in expected if cell.title not in seen]
    if missing and not partial:
        names = ", ".join(cell.title for cell in missing)
        raise BenchError(
            f"{len(missing)} of {len(expected)} cells are missing: {names}; run `make` for this study "
            "again, or ask for a partial comparison"
        )
    return sorted(found, key=lambda e: (e.dataset, e.backbone)), missing


def check_digest(path: Path, record: Record, where: str, digests: Mapping[str, str] | None) -> None:
    """Refuse a record whose digest is not the one that the study gives today."""
    if digests is None:
        return
    if where not in digests:
        raise BenchError(
            f"{path}: evaluates {where}, which this study does not hold; remove it or name its study"
        )
    if record.digest != digests[where]:
        raise BenchError(
            f"{path}: stale evaluation of {where}: its digest is {record.digest[:12]}, the study's is "
            f"{digests[where][:12]}; the study or its data changed since: run the evaluation again"
        )


def _read(path: Path, record: Record, wanted: Mapping[tuple[str, str, int, str], ExpectedCell]) -> Evaluated:
    dataset, backbone = str(record.names["dataset"]), str(record.names["backbone"])
    extra = record.extra
    cells = []
    for cell in extra["cells"]:
        title = f"{dataset}/{backbone}/{cell['arm']}/seed{cell['seed']}"
        match = wanted.get((dataset, backbone, cell["seed"], cell["arm"]))
        if match is None or match.pretrain_seed != cell["pretrain_seed"]:
            raise BenchError(
                f"{path}: holds {title} on pre-training {cell['pretrain_seed']}, which this study does not "
                "ask for; run the evaluation again"
            )
        if match.digest != cell["digest"]:
            raise BenchError(
                f"{path}: stale result of {title}: its digest is {cell['digest'][:12]}, the study's is "
                f"{match.digest[:12]}; a setting upstream changed since: run the fine-tuning and the "
                "evaluation again"
            )
        cells.append(match)
    samples, of_sample, classes = extra["samples"], extra["units"], tuple(extra["classes"])
    if len(of_sample) != len(samples) or len(set(samples)) != len(samples):
        raise BenchError(
            f"{path}: {len(samples)} samples with {len(of_sample)} units, or a sample twice; run it again"
        )
    units = tuple(sorted({str(unit) for unit in of_sample}))
    index = np.array([units.index(str(unit)) for unit in of_sample])
    shape = (len(cells), len(samples), len(classes), len(classes))
    counts = {}
    with _arrays(path.parent / "counts.npz") as arrays:
        for rule in extra["pixels"]:
            array = arrays.get(f"counts/{rule}")
            if array is None or array.dtype != np.int64 or array.shape != shape:
                raised = "is missing" if array is None else f"is {array.dtype} {array.shape}"
                raise BenchError(
                    f"{path.parent / 'counts.npz'}: counts/{rule} {raised}; expected int64 {shape}"
                )
            counts[rule] = np.stack(
                [array[:, index == unit].sum(axis=1) for unit in range(len(units))], axis=1
            )
    return Evaluated(
        dataset=dataset,
        backbone=backbone,
        classes=classes,
        units=units,
        cells=tuple(cells),
        counts=counts,
        record=record,
    )


def _arrays(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise BenchError(f"{path}: missing beside its record; run the evaluation again") from None
    except (OSError, ValueError) as error:
        raise BenchError(f"{path}: cannot be read ({error}); run the evaluation again") from None


def class_sets(evaluated: Evaluated, evaluation: Evaluation) -> dict[str, tuple[int, ...]]:
    """Return the sets of classes a mean is taken over: name in the tables -> indices left out.

    Raises BenchError if the study leaves out a class that the dataset lacks.
    """
    sets: dict[str, tuple[int, ...]] = {"all": ()}
    for name in evaluation.leave_out:
        if name not in evaluated.classes:
            raise BenchError(
                f"evaluate.{evaluated.dataset}.leave_out: no class {name!r}; expected some of "
                f"{list(evaluated.classes)}"
            )
    if evaluation.leave_out:
        left_out = tuple(evaluated.classes.index(name) for name in evaluation.leave_out)
        sets["without " + ", ".join(evaluation.leave_out)] = left_out
    return sets


def score_rows(evaluated: Evaluated, evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """Yield one row for every name of a run, pixel rule, class set and metric, as in scores.csv."""
    sets = class_sets(evaluated, evaluation)
    headline = list(sets)[-1]
    for rule in sorted(evaluated.counts):
        whole = evaluated.totals(rule).sum(axis=1)
        missing = metrics.absent(whole)
        for index, cell in enumerate(evaluated.cells):
            absent = ";".join(c for c, gone in zip(evaluated.classes, missing[index], strict=True) if gone)
            values = [
                (metric, title, metrics.value_of(whole[index], metric, evaluated.classes, left_out))
                for title, left_out in sets.items()
                for metric in metrics.MEANS
            ]
            rest = ["OA", *(f"{score}/{name}" for score in ("IoU", "F1") for name in evaluated.classes)]
            values += [
                (metric, "all", metrics.value_of(whole[index], metric, evaluated.classes)) for metric in rest
            ]
            for name in cell.names:
                for metric, title, value in values:
                    yield {
                        "dataset": evaluated.dataset,
                        "backbone": evaluated.backbone,
                        "arm": name,
                        "pretrain_seed": cell.pretrain_seed,
                        "seed": cell.seed,
                        "metric": metric,
                        "pixels": rule,
                        "classes": title,
                        "value": float(value),
                        "units": len(evaluated.units),
                        "absent": absent,
                        "primary": (metric, rule, title) == (evaluation.metric, evaluation.primary, headline),
                    }
