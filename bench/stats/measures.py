"""What else the evaluations counted, as scores and contrasts: the quality of edges, and disturbed spectra.

Edges, by width d in pixels (`bench.evaluate.boundary` defines the counts): Boundary IoU and boundary F1 as means over
classes, and the headline metric near edges and inside. Spectra: the headline metric on the scenes of the suite, as they
are and under each disturbance. A class without a pixel on either side is left out, as everywhere.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import metrics
from bench.stats import tests
from bench.stats.contrasts import question, scope
from bench.stats.intervals import Floats
from bench.stats.panels import Panel, Sums, interval_of, paired, repetitions_of
from bench.stats.scores import WHOLE, Evaluated, class_sets
from bench.study.recipes import Evaluation
from bench.study.schema import Comparison, Repetitions

PLAIN = "undisturbed"
"""Probe of the suite's scenes as they are."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One further score of every cell."""

    name: str
    """As contrasts name it: `boundary mF1, 3 px`, `mIoU, mean/thermal`."""
    keys: dict[str, str]
    """The columns that name it in boundary.csv or spectral.csv."""
    totals: NDArray[np.int64]
    """[cell, unit, ...]"""
    metric: str | None
    """A metric of class totals [cell, unit, 3, class]; None: boundary F1 of contour counts."""
    leave_out: tuple[int, ...]

    def of(self, cells: list[int], groups: tuple[int, ...], classes: tuple[str, ...]) -> Panel | Sums:
        """Return the measure of some cells."""
        totals = self.totals[cells]
        if self.metric is None:
            return Sums(totals=totals, groups=groups, parts=lambda sums: contour_f1(sums, self.leave_out))
        return Panel(
            totals=totals, groups=groups, metric=self.metric, classes=classes, leave_out=self.leave_out
        )


def contour_f1(sums: Any, leave_out: tuple[int, ...] = ()) -> Floats:
    """Return boundary F1 by class (..., C) from contour counts (..., C, 4); NaN where a class has no contour at all.

    The counts are the prediction's contour pixels that are matched and all of them, then the target's. Precision and
    recall are the two shares, F1 their harmonic mean, 0 where either side is empty (G. Csurka et al., BMVC 2013).
    """
    matched_p, all_p, matched_t, all_t = (sums[..., k] for k in range(4))
    precision, recall = (
        np.divide(m, n, out=np.zeros(np.shape(m)), where=n > 0)
        for m, n in ((matched_p, all_p), (matched_t, all_t))
    )
    both = precision + recall
    found: Floats = np.divide(2 * precision * recall, both, out=np.zeros(np.shape(both)), where=both > 0)
    found = np.where((all_p == 0) & (all_t == 0), np.nan, found)
    found[..., list(leave_out)] = np.nan
    return found


def boundary_measures(evaluated: Evaluated, evaluation: Evaluation) -> list[Measure]:
    """Return the measures of edges, by width."""
    left_out, metric = list(class_sets(evaluated, evaluation).values())[-1], evaluation.metric
    widths = sorted({int(name.split("/")[1]) for name in evaluated.further if name.startswith("edges/")})
    found = []
    for width in widths:
        iou, contour, near = (
            evaluated.further[f"edges/{width}/{part}"] for part in ("iou", "contour", "near")
        )
        parts: list[tuple[str, str, str | None, NDArray[np.int64]]] = [
            ("boundary mIoU", "boundary", "mIoU", np.swapaxes(iou, -1, -2)),
            ("boundary mF1", "boundary", None, contour),
            (metric, "near", metric, metrics.class_totals(near)),
        ]
        if WHOLE in evaluated.counts:
            inside = metrics.class_totals(evaluated.counts[WHOLE] - near)
            parts.append((metric, "inside", metric, inside))
        for name, region, of, totals in parts:
            found.append(
                Measure(
                    name=edge_name(name, region, width),
                    keys={"metric": name, "width": str(width), "region": region},
                    totals=totals,
                    metric=of,
                    leave_out=left_out,
                )
            )
    return found


def spectral_measures(evaluated: Evaluated, evaluation: Evaluation) -> list[Measure]:
    """Return the headline metric under each disturbance, and without one on the same scenes."""
    left_out, metric = list(class_sets(evaluated, evaluation).values())[-1], evaluation.metric
    found = []
    for name in [key for key in evaluated.further if key.startswith("spectral/")]:
        disturbance = name.removeprefix("spectral/")
        probe, strength = parts_of(disturbance)
        found.append(
            Measure(
                name=disturbed_name(metric, probe, strength),
                keys={"probe": probe, "strength": strength, "metric": metric},
                totals=metrics.class_totals(evaluated.further[name]),
                metric=metric,
                leave_out=left_out,
            )
        )
    return found


def edge_name(metric: str, region: str, width: int | str) -> str:
    """Return how further.csv names a row of boundary.csv: `boundary mF1, 3 px`, `mIoU near edges, 3 px`."""
    where = {"boundary": "", "near": " near edges", "inside": " inside"}[region]
    return f"{metric}{where}, {width} px"


def disturbed_name(metric: str, probe: str, strength: str, *, drop: bool = False) -> str:
    """Return how further.csv names a row of spectral.csv: `mIoU, gain0.5/red`; its drop: `drop of mIoU, ...`."""
    kind, _, channel = probe.partition("/")
    return f"{'drop of ' if drop else ''}{metric}, {kind}{strength}{f'/{channel}' if channel else ''}"


def parts_of(disturbance: str) -> tuple[str, str]:
    """Return probe and strength: `gain0.5/red` is gain/red at 0.5, `order2` is order at 2."""
    kind, _, channel = disturbance.partition("/")
    match = re.fullmatch(r"([a-z]+)(-?[0-9.eE+-]*)", kind)
    word, amount = (match[1], match[2]) if match else (kind, "")
    return (f"{word}/{channel}" if channel else word), amount


def boundary_rows(evaluated: Evaluated, evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """Yield the rows of boundary.csv: each measure of edges for every name of a run."""
    return _rows(evaluated, boundary_measures(evaluated, evaluation))


def spectral_rows(evaluated: Evaluated, evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """Yield the rows of spectral.csv: each disturbance for every name of a run."""
    return _rows(evaluated, spectral_measures(evaluated, evaluation))


def _rows(evaluated: Evaluated, measures: list[Measure]) -> Iterator[dict[str, Any]]:
    for measure in measures:
        for index, cell in enumerate(evaluated.cells):
            one = measure.of([index], (0,), evaluated.classes)
            value = float(one.score(measure.totals[index].sum(axis=0)))
            for name in cell.names:
                yield measure.keys | {
                    "dataset": evaluated.dataset,
                    "backbone": evaluated.backbone,
                    "arm": name,
                    "pretrain_seed": cell.pretrain_seed,
                    "seed": cell.seed,
                    "value": value,
                    "units": measure.totals.shape[1],
                }


def contrasted(evaluated: Evaluated, evaluation: Evaluation) -> list[tuple[str, list[tuple[float, Measure]]]]:
    """Return what further.csv compares, by name: weighted sums of measures, one measure or a drop between two."""
    edges, spectra = boundary_measures(evaluated, evaluation), spectral_measures(evaluated, evaluation)
    found = [(measure.name, [(1.0, measure)]) for measure in (*edges, *spectra)]
    whole = [measure for measure in spectra if measure.keys["probe"] == PLAIN]
    for measure in spectra if whole else []:
        if measure is not whole[0]:
            found.append((f"drop of {measure.name}", [(1.0, whole[0]), (-1.0, measure)]))
    return found


def further_contrasts(
    evaluated: Evaluated, evaluation: Evaluation, comparison: Comparison, design: Repetitions
) -> Iterator[dict[str, Any]]:
    """Yield the rows of further.csv: treatment minus each other arm in each measure, by the default interval alone.

    Of each disturbance also the difference of the two drops from the undisturbed score, on the same scenes.
    """
    if comparison.treatment not in evaluated.arms:
        return
    measures = contrasted(evaluated, evaluation)
    for baseline in [arm for arm in evaluated.arms if arm != comparison.treatment]:
        both = paired(evaluated, comparison.treatment, baseline)
        if not both[0] or both[0] == both[1]:
            continue
        groups = repetitions_of(evaluated, both[0], design)
        for name, parts in measures:
            arms = [
                [(weight, measure.of(cells, groups, evaluated.classes)) for weight, measure in parts]
                for cells in both
            ]
            values = [float(sum(weight * of.values().mean() for weight, of in arm)) for arm in arms]
            row = {
                "dataset": evaluated.dataset,
                "backbone": evaluated.backbone,
                "measure": name,
                "treatment": comparison.treatment,
                "baseline": baseline,
                "treatment_value": values[0],
                "baseline_value": values[1],
                "level": comparison.level,
                "seeds": max(groups) + 1,
                "units": parts[0][1].totals.shape[1],
            }
            if np.isnan(values).any():
                yield row | {
                    "method": "undefined",
                    "statement": "the score is undefined: no class of the mean occurs",
                }
                continue
            terms = [*arms[0], *((-weight, of) for weight, of in arms[1])]
            found = interval_of(terms, comparison.level, 0, np.random.default_rng(0))
            row |= {
                name: getattr(found.default, name) for name in ("estimate", "low", "high", "df", "method")
            }
            words = f"{question(design, row['seeds'])}; {scope(design, row['seeds'], row['units'])}"
            yield row | {"p": tests.t_test(found.values), "statement": words}
