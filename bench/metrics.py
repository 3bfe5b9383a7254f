"""From confusion counts to scores, and from scores to what each unit of the test set contributes to them.

Axes: `counts[..., target, prediction]` int64, ignored pixels left out; `totals[..., 3, class]` holds for each
class its true positives, target pixels and predicted pixels, in this order, and is all that the scores need.
Scores are float64 fractions in [0, 1]; counts are summed as integers and divided once.

The absent class: a class with no target and no predicted pixel scores NaN and is left out of the mean. A
class that occurs on one side only scores 0, also where its own denominator is empty (the precision of a class
that was never predicted).
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

ClassScore = Literal["IoU", "F1", "precision", "recall"]
CLASS_SCORES: tuple[ClassScore, ...] = get_args(ClassScore)
MEANS: dict[str, ClassScore] = {"mIoU": "IoU", "mF1": "F1"}
"""Means over classes and the per-class score behind each; `OA` stands beside them."""

Floats = NDArray[np.float64]
Totals = NDArray[np.int64] | NDArray[np.float64]


def class_totals(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return true positives, target pixels and predicted pixels of each class.

    `counts`: int64 (..., C, C), [target, prediction]. Returns int64 (..., 3, C). Raises TypeError for counts
    that are no integers (a float32 cell swallows single counts from 2**24 on) and ValueError for another
    shape or negative counts.
    """
    if not np.issubdtype(counts.dtype, np.integer):
        raise TypeError(f"counts are {counts.dtype}; expected integers: float cells lose counts")
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise ValueError(
            f"counts have shape {counts.shape}; expected (..., classes, classes), [target, prediction]"
        )
    if counts.size and counts.min() < 0:
        raise ValueError(f"counts hold {counts.min()}; expected pixel counts of at least 0")
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    return np.stack([hits, counts.sum(axis=-1), counts.sum(axis=-2)], axis=-2).astype(np.int64)


def _terms(totals: Totals, score: ClassScore) -> tuple[Totals, Totals]:
    """Return numerator and denominator (..., C) of a per-class score."""
    hits, target, predicted = totals[..., 0, :], totals[..., 1, :], totals[..., 2, :]
    match score:
        case "IoU":
            return hits, target + predicted - hits
        case "F1":
            return 2 * hits, target + predicted
        case "precision":
            return hits, predicted
        case "recall":
            return hits, target
    raise ValueError(f"no per-class score {score!r}; there are {list(CLASS_SCORES)}")


def _ratio(numerator: Any, denominator: Any, *, empty: float) -> Floats:
    """Return numerator / denominator in float64, `empty` where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    out: Floats = np.full(numerator.shape, empty)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return out


def absent(totals: Totals) -> NDArray[np.bool_]:
    """Return (..., C) whether a class has neither a target nor a predicted pixel."""
    found: NDArray[np.bool_] = (totals[..., 1, :] == 0) & (totals[..., 2, :] == 0)
    return found


def class_score(totals: Totals, score: ClassScore) -> Floats:
    """Return a per-class score (..., C), NaN where the class is absent."""
    numerator, denominator = _terms(totals, score)
    return np.where(absent(totals), np.nan, _ratio(numerator, denominator, empty=0.0))


def _kept(totals: Totals, leave_out: Sequence[int]) -> NDArray[np.bool_]:
    """Return (..., C) which classes enter the mean: not absent, not left out by the protocol."""
    kept = ~absent(totals)
    kept[..., list(leave_out)] = False
    return kept


def mean_over_classes(per_class: Floats, leave_out: Sequence[int] = ()) -> Floats:
    """Return the mean over the last axis without NaN classes and those in `leave_out`; NaN if none is
    left.
    """
    kept = ~np.isnan(per_class)
    kept[..., list(leave_out)] = False
    return _ratio(np.where(kept, per_class, 0.0).sum(axis=-1), kept.sum(axis=-1), empty=np.nan)


def overall_accuracy(totals: Totals) -> Floats:
    """Return the share of pixels that are right (...); NaN where every pixel is ignored."""
    hits, pixels = totals[..., 0, :].sum(axis=-1), totals[..., 1, :].sum(axis=-1)
    return _ratio(hits, pixels, empty=np.nan)


def value_of(totals: Totals, metric: str, classes: Sequence[str], leave_out: Sequence[int] = ()) -> Floats:
    """Return one metric by name from class totals (..., 3, C).

    `metric` is `mIoU`, `mF1`, `OA` or `<score>/<class name>` with a score of `CLASS_SCORES`. `leave_out` are
    class indices outside the mean; their pixels still count as errors of the others. OA and per-class scores
    ignore it. Raises ValueError for another name.
    """
    if metric == "OA":
        return overall_accuracy(totals)
    if metric in MEANS:
        return mean_over_classes(class_score(totals, MEANS[metric]), leave_out)
    score, index = _class_metric(metric, classes)
    value: Floats = class_score(totals, score)[..., index]
    return value


def influence_of(
    totals: Totals,
    metric: str,
    classes: Sequence[str],
    leave_out: Sequence[int] = (),
    *,
    leave_one_out: bool = False,
) -> Floats:
    """Return what each unit adds to a metric around its value: influence values (..., unit).

    `totals`: (..., unit, 3, C). With unit weights w (all 1) the metric is a smooth function of the
    weighted totals; unit i gets n times its derivative along w_i. For a mean of ratios N_c / D_c this is n *
    mean_c (n_ci - N_c / D_c * d_ci) / D_c; classes outside the mean add nothing (the delta method; F. R.
    Hampel, The influence curve and its role in robust estimation, JASA 1974). Their mean over units is 0.

    `leave_one_out`: instead what the metric loses without unit i, ratio by ratio (n_ci - N_c / D_c * d_ci) /
    (D_c - d_ci), times sqrt(n (n - 1)), centred: their variance over n is the jackknife's (B. Efron and C.
    Stein, The jackknife estimate of variance, Ann. Statist. 1981) without its factor (n - 1) / n, for a fixed
    set of classes. With few units of unequal size the derivative understates the spread by a third. A class
    that only unit i holds says nothing of its spread and adds 0. NaN where the metric is NaN.
    """
    units = totals.shape[-3]
    whole = totals.sum(axis=-3)
    if metric == "OA":
        pixels = totals[..., 1, :].sum(axis=-1)
        all_pixels = pixels.sum(axis=-1, keepdims=True)
        error = totals[..., 0, :].sum(axis=-1) - overall_accuracy(whole)[..., None] * pixels
        if not leave_one_out:
            of_all: Floats = units * _ratio(error, all_pixels, empty=np.nan)
            return of_all
        undefined = np.where(all_pixels == 0, np.nan, 0.0)
        return _centred(jackknife_scale(units) * _ratio(error, all_pixels - pixels, empty=0.0) + undefined)
    score = MEANS[metric] if metric in MEANS else _class_metric(metric, classes)[0]
    numerator, denominator = _terms(totals, score)
    ratio = class_score(whole, score)[..., None, :]
    scale = _terms(whole, score)[1][..., None, :]
    moved = numerator - np.nan_to_num(ratio) * denominator
    if leave_one_out:
        per_class = jackknife_scale(units) * _ratio(moved, scale - denominator, empty=0.0)
        per_class -= per_class.mean(axis=-2, keepdims=True)
    else:
        per_class = units * _ratio(moved, scale, empty=0.0)
    if metric not in MEANS:
        index = _class_metric(metric, classes)[1]
        return np.where(np.isnan(ratio[..., index]), np.nan, per_class[..., index])
    kept = _kept(whole, leave_out)[..., None, :]
    return _ratio(np.where(kept, per_class, 0.0).sum(axis=-1), kept.sum(axis=-1), empty=np.nan)


def jackknife_scale(units: int) -> float:
    """Return sqrt(n (n - 1)): from what a score loses without one of n units to influence values."""
    return float(np.sqrt(units * (units - 1)))


def _centred(values: Floats) -> Floats:
    centred: Floats = values - values.mean(axis=-1, keepdims=True)
    return centred


def _class_metric(metric: str, classes: Sequence[str]) -> tuple[ClassScore, int]:
    score, _, name = metric.partition("/")
    for known in CLASS_SCORES:
        if score == known and name in classes:
            return known, list(classes).index(name)
    raise ValueError(
        f"no metric {metric!r}; there are {[*MEANS, 'OA']} and {list(CLASS_SCORES)} followed by / and one of "
        f"{list(classes)}"
    )


def scores(
    counts: NDArray[np.int64], classes: Sequence[str], leave_out: Sequence[int] = ()
) -> dict[str, Any]:
    """Return every score of one confusion matrix by name: means, OA, and each class's IoU, F1, precision,
    recall.

    `counts`: int64 (C, C), [target, prediction], summed over the split. Values are floats, None where the
    absent rule leaves a score undefined (a record holds no NaN). Raises ValueError if names and matrix
    disagree.
    """
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(
            f"counts have shape {counts.shape}; {len(classes)} classes need a square of that side"
        )
    totals = class_totals(counts)
    names = [*MEANS, "OA", *(f"{score}/{name}" for score in CLASS_SCORES for name in classes)]
    values = {name: float(value_of(totals, name, classes, leave_out)) for name in names}
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def _of_counts(counts: NDArray[np.int64], score: ClassScore) -> Floats:
    return class_score(class_totals(counts), score)


def iou(counts: NDArray[np.int64]) -> Floats:
    """Return intersection over union per class (..., C) from counts (..., C, C); NaN where absent."""
    return _of_counts(counts, "IoU")


def f1(counts: NDArray[np.int64]) -> Floats:
    """Return the F1 score (Dice coefficient) per class (..., C) from counts (..., C, C); NaN where absent."""
    return _of_counts(counts, "F1")


def precision(counts: NDArray[np.int64]) -> Floats:
    """Return precision per class (..., C) from counts (..., C, C): right among predicted; NaN where
    absent.
    """
    return _of_counts(counts, "precision")


def recall(counts: NDArray[np.int64]) -> Floats:
    """Return recall per class (..., C) from counts (..., C, C): right among target pixels; NaN where
    absent.
    """
    return _of_counts(counts, "recall")
