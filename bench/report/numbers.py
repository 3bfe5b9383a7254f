"""The finished numbers of a study: compare/*.csv read strictly, and the words that tables say about them.

Nothing is computed from counts here. A file with a missing column, or a cell of the study without its score,
is an error; `partial` lets such a study through and everything made from it is stamped PARTIAL.
"""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from bench.catalog.index import CATALOG
from bench.errors import BenchError
from bench.study.runs import Runs
from bench.study.schema import Study

COLUMNS = {
    "scores": "dataset backbone arm seed metric pixels classes value primary",
    "comparisons": "dataset backbone treatment baseline metric pixels classes treatment_value baseline_value "
    "estimate low high p p_holm question decides statement same_run",
    "verdicts": "claim dataset backbone kind metric paper_low paper_high value low high verdict reason",
    "top1": "backbone strategy channels seed order value",
    "cost": "stage name wall_seconds peak_memory_bytes device",
    "receipts": "stage name commit dirty packages",
}
"""Columns that the report reads; files may hold more."""

FLAGS = ("primary", "decides", "same_run", "dirty")
TEXT = (
    *(
        "stage",
        "name",
        "claim",
        "dataset",
        "backbone",
        "kind",
        "metric",
        "pixels",
        "classes",
        "verdict",
        "reason",
    ),
    *("question", "statement", "device", "packages", "commit"),
)
MARKS = {
    "†": "Both arms are one run: there is nothing to test.",
    "‡": "With so few units the test cannot fall below the first threshold of Holm's correction.",
}
SCALE = {"full": "", "small": "SMALL SCALE", "miniature": "MINIATURE"}
MODELS = {"convnext_tiny": "ConvNeXt-T", "swin_tiny_patch4_window7_224": "Swin-T"}
"""The paper's words for timm's names; any other backbone goes by its name in the study."""


def read_table(path: Path) -> pd.DataFrame:
    """Read one file of the comparison; `path.stem` says which columns it must have.

    Raises BenchError if it is missing, cannot be parsed, or lacks a column.
    """
    try:
        frame = pd.read_csv(path, dtype=dict.fromkeys(TEXT, str), keep_default_na=True)
    except FileNotFoundError:
        raise BenchError(f"{path}: no such table; run `bench compare` first") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise BenchError(
            f"{path}: not a table of the comparison ({error}); run `bench compare` again"
        ) from None
    lacking = [name for name in COLUMNS[path.stem].split() if name not in frame.columns]
    if lacking:
        raise BenchError(f"{path}: lacks the columns {', '.join(lacking)}; run `bench compare` again")
    for name in FLAGS:
        if name in frame.columns:
            frame[name] = _flag(frame[name], path, name)
    for name in TEXT:
        if name in frame.columns:
            frame[name] = frame[name].fillna("")
    return frame


def _flag(column: pd.Series, path: Path, name: str) -> pd.Series:
    words = column.fillna("").astype(str).str.lower()
    known = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False, "": False}
    strange = sorted(set(words) - set(known))
    if strange:
        raise BenchError(
            f"{path}: column {name} is true or false, found {strange[0]!r}; run `bench compare` again"
        )
    return words.map(known).astype(bool)


@dataclass(frozen=True)
class Numbers:
    """What `bench compare` left, for one study."""

    study: Study
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    verdicts: pd.DataFrame
    top1: pd.DataFrame
    partial: bool = False
    """True where runs are missing and the caller accepted that."""
    identical: tuple[str, ...] = ()
    """Datasets on which runs of different settings gave bit-identical counts."""

    @property
    def stamp(self) -> str:
        """MINIATURE or SMALL SCALE (nothing at full scale), PARTIAL where runs are missing."""
        words = [SCALE[self.study.scale], "PARTIAL" if self.partial else ""]
        return ", ".join(word for word in words if word)

    @cached_property
    def headline(self) -> pd.DataFrame:
        """The rows of `scores` that hold the headline metric under the primary convention."""
        return self.scores[self.scores["primary"]]

    @cached_property
    def repetitions(self) -> str:
        """What was repeated, in words."""
        design = self.study.repetitions
        if design.design == "matched":
            pairs = f"{_count(design.pretrain, 'matched pair')} of pre-training and fine-tuning"
            fewer = [str(count) for count in self._pairs_at_places() if 0 < count < design.pretrain]
            return f"{pairs}, at some places {' or '.join(fewer)}" if fewer else pairs
        seeds = _count(design.finetune, "fine-tuning seed")
        on = "one pre-training" if design.pretrain == 1 else f"each of {design.pretrain} pre-trainings"
        return f"{seeds} on {on}"

    def _pairs_at_places(self) -> list[int]:
        """Return how many repetitions of the treatment the study asks for, each number once, rising."""
        study, numbers = self.study, range(self.study.repetitions.count)
        return sorted(
            {
                sum(study.asks_for(*place, study.compare.treatment, k) for k in numbers)
                for place in study.places
            }
        )

    @property
    def judged(self) -> bool:
        """Say whether the study has a value for any number of the paper, so that tiles of claims tell something."""
        return bool(self.verdicts["value"].notna().any())

    @cached_property
    def statement(self) -> str:
        """What the intervals speak about: `for one pre-training` where the comparison says so."""
        scope = "for one pre-training"
        return scope if self.comparisons["statement"].str.startswith(scope).any() else ""

    @cached_property
    def selection(self) -> str:
        """Which weights of a fine-tuning are evaluated, in words: the last, or those chosen on a held-out part."""
        recipes = self.study.finetune
        chosen = [name for name in recipes if any(r.select == "best-val" for r in recipes[name].values())]
        if not chosen:
            return "last weights"
        best = "the weights that are best on a held-out part of the training data"
        if len(chosen) == len(recipes):
            return best
        return f"last weights, on {', '.join(dataset_label(self.study, name) for name in chosen)} {best}"

    @cached_property
    def classifier_weights(self) -> str:
        """Which weights of a pre-training are evaluated and handed on, in words: the last, or their running average."""
        recipes = self.study.pretrain
        averaged = [
            name for name in recipes if recipes[name].ema is not None and recipes[name].hand_on == "average"
        ]
        if not averaged:
            return "last weights"
        if len(averaged) == len(recipes):
            return "running average of the weights"
        return f"last weights, of {', '.join(map(backbone_label, averaged))} their running average"

    @property
    def runs(self) -> str:
        """Repetitions and selection, as a sentence without its stop."""
        text = f"{self.repetitions}; {self.selection}, nothing selected on test data"
        return text[:1].upper() + text[1:]

    @property
    def setting(self) -> str:
        """The sentence under every table with intervals: repetitions, selection, level, statement, alarms."""
        return self.setting_of(*self.study.datasets)

    def setting_of(self, *datasets: str) -> str:
        """Return the same for a table or figure of some datasets alone: the alarms of others are not its matter."""
        level = f"{100 * (1 - self.study.compare.level):g} % intervals"
        text = f"{self.runs}; {level}{f' {self.statement}' if self.statement else ''}."
        alarmed = [name for name in self.identical if name in datasets]
        if not alarmed:
            return text
        where = ", ".join(dataset_label(self.study, name) for name in alarmed)
        return (
            f"{text} ALARM: runs of different settings gave bit-identical counts on {where} (compare/alarms.csv): "
            "a setting without effect, or networks that learned nothing; do not build on these gains."
        )

    @property
    def level_name(self) -> str:
        """The heading of a column of intervals: `95 % interval`."""
        return f"{100 * (1 - self.study.compare.level):g} % interval"

    def by_place(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return rows in the study's order of datasets, backbones and (their column `baseline`) arms."""
        names = [*self.study.datasets, *self.study.backbones, *self.study.arms]
        order = {name: i for i, name in enumerate(names)}
        keys = [name for name in ("dataset", "backbone", "baseline") if name in frame.columns]
        return frame.sort_values(keys, key=lambda column: column.map(order), kind="stable")

    def titled(self, text: str) -> str:
        """Return a table's title with the scale before it."""
        return f"{self.stamp}. {text}" if self.stamp else text

    def headline_name(self, dataset: str) -> str:
        """Return a dataset's headline metric, with the classes that its mean leaves out."""
        evaluation = self.study.evaluate[dataset]
        without = f" without {', '.join(evaluation.leave_out)}" if evaluation.leave_out else ""
        return f"{evaluation.metric}{without}"

    def marks_notes(self, marks: Iterable[str]) -> list[str]:
        """Return what emphasis means: bold always, and each dagger that a table shows."""
        level, shown = self.study.compare.level, set(marks)
        notes = [f"Bold (a star in plain text): the p-value after Holm's correction lies below {level:g}."]
        return notes + [f"{mark} {words}" for mark, words in MARKS.items() if mark in shown]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def read_numbers(study: Study, compare: Path, *, partial: bool = False) -> Numbers:
    """Read scores, comparisons, verdicts and top-1 of `study` from the folder `compare`.

    Raises BenchError naming the missing runs unless `partial`.
    """
    names = ("scores", "comparisons", "verdicts", "top1")
    scores, comparisons, verdicts, top1 = (read_table(compare / f"{name}.csv") for name in names)
    missing = missing_cells(study, scores)
    if missing and not partial:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        raise BenchError(
            f"{compare / 'scores.csv'}: no headline score for {shown}; run them, or ask for --partial, which "
            "stamps PARTIAL on the output"
        )
    identical = _identical(compare / "alarms.csv")
    return Numbers(study, scores, comparisons, verdicts, top1, partial=bool(missing), identical=identical)


def _identical(alarms: Path) -> tuple[str, ...]:
    """Return the datasets with an alarm for identical counts, sorted; none where there is no file of alarms."""
    if not alarms.exists():
        return ()
    with alarms.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return tuple(sorted({row["dataset"] for row in rows if row["kind"] == "identical counts"}))


def missing_cells(study: Study, scores: pd.DataFrame) -> list[str]:
    """Return the fine-tunings of the study, as dataset/backbone/arm/seed, that have no headline score."""
    rows = scores[scores["primary"] & scores["value"].notna()]
    found = set(zip(rows["dataset"], rows["backbone"], rows["arm"], rows["seed"].astype(int), strict=True))
    wanted = [
        (run.dataset, run.backbone, arm, run.repetition)
        for run in Runs(study).finetunings
        for arm in run.names
    ]
    return ["{}/{}/{}/seed{}".format(*cell) for cell in wanted if cell not in found]


def dataset_label(study: Study, name: str) -> str:
    """Return a dataset as it is written: the catalogue's spelling of the key, or the key itself."""
    source = study.datasets[name].source or name if name in study.datasets else name
    words = CATALOG[source].title.split() if source in CATALOG else []
    return next((word for word in words if re.sub(r"\W", "", word).casefold() == name.casefold()), name)


def backbone_label(name: str) -> str:
    """Return a backbone as the paper writes it, or its name in the study."""
    return MODELS.get(name, name)


def gains(numbers: Numbers, dataset: str, backbone: str) -> pd.DataFrame:
    """Return the comparisons of a cell's headline metric, a row a baseline, in the study's order of arms."""
    rows = numbers.comparisons
    treated = rows["treatment"] == numbers.study.compare.treatment
    rows = rows[(rows["dataset"] == dataset) & (rows["backbone"] == backbone) & treated]
    keys = ["metric", "pixels", "classes"]
    head = numbers.headline
    head = head[(head["dataset"] == dataset) & (head["backbone"] == backbone)][keys].drop_duplicates()
    rows = rows.merge(head, on=keys)
    order = {arm: i for i, arm in enumerate(numbers.study.arms)}
    rank = rows["baseline"].map(lambda arm: order.get(arm, len(order)))
    return rows.assign(rank=rank).sort_values(["rank", "baseline"], kind="stable").drop(columns="rank")


def class_scores(numbers: Numbers, dataset: str) -> pd.DataFrame:
    """Return the per-class scores of a dataset's headline metric, in the catalogue's order of classes."""
    evaluation = numbers.study.evaluate[dataset]
    rows = numbers.scores
    rows = rows[(rows["dataset"] == dataset) & (rows["pixels"] == evaluation.primary)]
    prefix = {"mIoU": "IoU/", "mF1": "F1/"}[evaluation.metric]
    rows = rows[rows["metric"].str.startswith(prefix)].drop_duplicates(["backbone", "arm", "seed", "metric"])
    source = numbers.study.datasets[dataset].source or dataset
    known = [item.name for item in CATALOG[source].classes] if source in CATALOG else []
    rank = {f"{prefix}{name}": i for i, name in enumerate(known)}
    return rows.assign(rank=rows["metric"].map(rank)).sort_values("rank", kind="stable").drop(columns="rank")


def paper_best(numbers: Numbers, dataset: str) -> pd.Series | None:
    """Return the claim about the best value on a dataset, None where there is none."""
    rows = numbers.verdicts
    rows = rows[(rows["kind"] == "absolute") & (rows["dataset"] == dataset) & (rows["backbone"] == "best")]
    return rows.iloc[0] if len(rows) else None


def paper_gain(numbers: Numbers, dataset: str, backbone: str) -> pd.Series | None:
    """Return the claim about this cell's gain: its own first, else the dataset's, else None."""
    rows = numbers.verdicts
    rows = rows[(rows["kind"] == "gain") & (rows["dataset"] == dataset)]
    own = rows[rows["backbone"] == backbone]
    rest = rows[~rows["backbone"].isin(list(numbers.study.backbones))]
    for found in (own, rest):
        if len(found):
            return found.iloc[0]
    return None
