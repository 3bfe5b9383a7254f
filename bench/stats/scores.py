"""Evaluation outputs read strictly into counts per unit, held to the cells that the study expects.

A cell is one trained model on one dataset. Cells whose effective spec coincides are one run shown under all
its names. Samples are summed to units before anything else: a unit is what the statistics resample.
"""

import lzma
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from bench import metrics
from bench.errors import BenchError
from bench.record import Record, read_record, sha256_file
from bench.study.recipes import Evaluation

TOP1 = "top1"
WHOLE = "full"
"""Pixel rule of edges and disturbed spectra."""
UNDISTURBED = "spectral/undisturbed"
"""The counts of the spectral suite's scenes as they are."""


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
    further: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """What else was counted, by its name in counts.npz, [cell, unit, ...]: edges, disturbed spectra."""
    groups: dict[str, "Evaluated"] = field(default_factory=dict)
    """The same cells on each group of samples (day, night) that the dataset has."""

    def totals(self, rule: str) -> NDArray[np.int64]:
        """Return class totals int64 [cell, unit, 3, class] under a pixel rule."""
        return metrics.class_totals(self.counts[rule])

    def of_arm(self, name: str) -> list[int]:
        """Return the indices of the cells shown under an arm name, by seed."""
        found = [index for index, cell in enumerate(self.cells) if name in cell.names]
        return sorted(found, key=lambda index: self.cells[index].seed)

    def shown_as(self, names: Collection[str]) -> "Evaluated":
        """Return the cells that are shown under one of these arm names, under those names alone."""
        kept = [i for i, cell in enumerate(self.cells) if any(name in names for name in cell.names)]
        if len(kept) == len(self.cells) and set(self.arms) <= set(names):
            return self
        return replace(
            self,
            cells=tuple(
                replace(self.cells[i], names=tuple(name for name in self.cells[i].names if name in names))
                for i in kept
            ),
            counts={rule: counts[kept] for rule, counts in self.counts.items()},
            further={name: counted[kept] for name, counted in self.further.items()},
            groups={group: part.shown_as(names) for group, part in self.groups.items()},
        )

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
    shape = (len(cells), len(samples), len(classes), len(classes))
    arrays = _arrays(path.parent / "counts.npz", extra["pixels"], shape)
    if "counts_sha256" in extra and sha256_file(path.parent / "counts.npz") != extra["counts_sha256"]:
        raise BenchError(
            f"{path.parent / 'counts.npz'}: not the counts that {path.name} speaks of; run it again"
        )
    of_unit = np.array([str(unit) for unit in of_sample])
    units, counts = _to_units(arrays, of_unit)
    disturbed = [samples.index(name) for name in extra.get("spectral_samples") or []]
    further: dict[str, NDArray[np.int64]] = {}
    for name, array in _further(path.parent / "counts.npz", len(cells)).items():
        chosen = of_unit[disturbed] if name.startswith("spectral/") else of_unit
        if array.shape[1] != len(chosen):
            number = array.shape[1]
            raise BenchError(
                f"{path.parent / 'counts.npz'}: {name} has {number} samples, its record {len(chosen)}; run it again"
            )
        further |= _to_units({name: array}, chosen)[1]
    if disturbed and WHOLE in arrays:
        undisturbed = {UNDISTURBED: arrays[WHOLE][:, disturbed]}
        further |= _to_units(undisturbed, of_unit[disturbed])[1]
    whole = Evaluated(
        dataset=dataset,
        backbone=backbone,
        classes=classes,
        units=units,
        cells=tuple(cells),
        counts=counts,
        record=record,
        further=further,
    )
    of_group = extra.get("groups") or []
    if of_group and len(of_group) != len(samples):
        raise BenchError(f"{path}: {len(samples)} samples with {len(of_group)} groups; run it again")
    for group in sorted({str(name) for name in of_group if name is not None}):
        chosen = np.array([name == group for name in of_group])
        units, counts = _to_units({rule: array[:, chosen] for rule, array in arrays.items()}, of_unit[chosen])
        whole.groups[group] = replace(whole, units=units, counts=counts, further={}, groups={})
    return whole


def _to_units(
    arrays: Mapping[str, NDArray[np.int64]], of_sample: NDArray[np.str_]
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Return the units and the counts [cell, unit, target, prediction] by pixel rule, summed over a unit's samples."""
    units = tuple(sorted(set(of_sample.tolist())))
    members = [np.flatnonzero(of_sample == unit) for unit in units]
    counts = {rule: np.stack([a[:, m].sum(axis=1) for m in members], axis=1) for rule, a in arrays.items()}
    return units, counts


FURTHER = ("edges/", "spectral/")
"""What counts.npz may hold besides `counts/<pixel rule>`."""


def _further(path: Path, cells: int) -> dict[str, NDArray[np.int64]]:
    """Return the further counts [cell, sample, ...] of a file that `_arrays` could read."""
    found = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            if not name.startswith(FURTHER):
                continue
            found[name] = arrays[name]
            if found[name].dtype != np.int64 or found[name].ndim < 4 or len(found[name]) != cells:
                raise BenchError(
                    f"{path}: {name} is {found[name].dtype} {found[name].shape}; expected int64 ({cells}, samples, ...)"
                )
    return found


def _arrays(path: Path, rules: Sequence[str], shape: tuple[int, ...]) -> dict[str, NDArray[np.int64]]:
    """Return the counts of every pixel rule, or say what is wrong with the file."""
    found = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for rule in rules:
                array = arrays.get(f"counts/{rule}")
                if array is None or array.dtype != np.int64 or array.shape != shape:
                    raised = "is missing" if array is None else f"is {array.dtype} {array.shape}"
                    raise BenchError(f"{path}: counts/{rule} {raised}; expected int64 {shape}")
                found[rule] = array
    except FileNotFoundError:
        raise BenchError(f"{path}: missing beside its record; run the evaluation again") from None
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise BenchError(f"{path}: cannot be read ({error}); run the evaluation again") from None
    return found


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
