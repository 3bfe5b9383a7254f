"""A study's protocol in words: data, recipes, arms, repetitions, and the ledger of choices with what differs here."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from bench.catalog.index import CATALOG
from bench.errors import BenchError
from bench.report.numbers import Numbers, backbone_label, dataset_label
from bench.study.arms import DRAWN, Arm
from bench.study.schema import Backbone, Study

LEDGER = Path(__file__).resolve().parents[2] / "paper" / "ledger.csv"
STARTS = {
    "rgb": "pre-trained on RGB",
    "duplicate": "pre-trained on RGB repeated to n channels, in fixed order",
    "csp": "pre-trained on RGB repeated to n channels, shuffled",
    "sample": "pre-trained on n channels drawn from RGB with replacement",
    "grey": "pre-trained on the mean of RGB, repeated to n channels",
    "weights": "pre-trained on n random mixtures of RGB",
    "scratch": "not pre-trained",
}
STEMS = {
    "repeat": "stem: RGB weights repeated over n channels, times 3/n",
    "repeat-normalised": "stem: RGB weights repeated, each divided by its number of copies",
    "mean": "stem: the mean of the RGB weights in the extra channels",
    "copy-red": "stem: the red weights in the extra channels",
    "zero": "stem: zero weights in the extra channels",
    "random": "stem: drawn weights in the extra channels",
    "reinit": "stem: drawn anew",
}


def repetitions(numbers: Numbers) -> str:
    """Return what was repeated, and what the statistics therefore speak about."""
    design = numbers.study.repetitions
    if design.design == "matched":
        return f"{numbers.repetitions}: the pairs are the repetitions; the statistics speak about the method."
    if design.pretrain == 1:
        return (
            f"{numbers.repetitions}: the statistics speak about these pre-trained weights, not the method. "
            "Every verdict holds for one pre-training; more pre-trainings would decide about the method."
        )
    return f"{numbers.repetitions}: the pre-trainings are the repetitions that decide about the method."


def dataset_words(study: Study, name: str) -> dict[str, Any]:
    """Return a target's row in the table of the protocol."""
    target, evaluation = study.datasets[name], study.evaluate[name]
    source = target.source or name
    classes = str(CATALOG[source].num_classes) if source in CATALOG else "own"
    without = f" without {', '.join(evaluation.leave_out)}" if evaluation.leave_out else ""
    return {
        "key": name,
        "name": dataset_label(study, name),
        "channels": ", ".join(channel.replace("_", " ") for channel in target.channels),
        "n": len(target.channels),
        "classes": classes,
        "metric": f"{evaluation.metric}{without}",
        "pixels": f"{evaluation.primary} labels",
        "split": target.split,
        "unit": CATALOG[source].unit if source in CATALOG else "image",
    }


def backbone_words(name: str, backbone: Backbone) -> dict[str, str]:
    """Return a backbone's name and its own numbers."""
    depths, widths = ("-".join(map(str, numbers)) for numbers in (backbone.depths, backbone.widths))
    tail = f", window {backbone.window}" if backbone.window else ""
    family = {"convnext": "ConvNeXt", "swin": "Swin"}[backbone.family]
    return {"name": backbone_label(name), "words": f"{family}, depths {depths}, widths {widths}{tail}"}


def arm_words(arm: Arm) -> str:
    """Return what an arm is pre-trained on and how its weights meet the target's channels."""
    words = [STARTS[arm.strategy]]
    if arm.strategy in DRAWN:
        fill = f"{arm.fill} fill, " if arm.strategy == "csp" else ""
        share = "" if arm.probability == 1 else f", in a share of {arm.probability:g}"
        words[0] += f" ({fill}one draw per {arm.scope}{share})"
    if arm.order == "after-erasing":
        words.append("after random erasing")
    if arm.normalise == "position":
        words.append("normalised by position")
    if arm.epochs is not None:
        words.append(f"for {arm.epochs} epochs")
    if arm.strategy == "rgb" or arm.stem == "reinit":
        words.append(STEMS[arm.stem])
    return "; ".join(words)


def pretraining(study: Study) -> str:
    """Return data, length and size of the pre-trainings."""
    recipes = list(study.pretrain.values())
    epochs = sorted({recipe.epochs for recipe in recipes})
    crops = sorted({recipe.crop for recipe in recipes})
    data = (
        CATALOG[study.pretrain_data.source].title
        if study.pretrain_data.source in CATALOG
        else study.pretrain_data.name
    )
    drawn = f", drawn at {study.miniature.side} pixels a side" if study.miniature else ""
    return f"{data}{drawn}; {_span(epochs)} epochs at {_span(crops)} pixels"


def _span(values: list[int]) -> str:
    return f"{values[0]}" if values[0] == values[-1] else f"{values[0]} to {values[-1]}"


def ledger(study_file: Path | None, path: Path = LEDGER) -> list[dict[str, str]]:
    """Return the ledger: a row a setting of the paper's study, with `here`, this study's value where it differs.

    `study_file` is this study's own file; unset, nothing is compared. A setting that it does not write is `unset`
    there; the settings of code and of unwritten defaults hold for every study. Raises BenchError if the
    ledger is missing or lacks a column.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except FileNotFoundError:
        raise BenchError(f"{path}: no such file; the report prints the ledger of choices") from None
    names = ("setting", "value", "status", "source", "why")
    if not rows or any(name not in rows[0] for name in names):
        raise BenchError(f"{path}: expected the columns {', '.join(names)}")
    here = dict(_leaves(yaml.safe_load(study_file.read_text(encoding="utf-8")))) if study_file else {}
    return [{**{name: row[name] for name in names}, "here": _here(row, here)} for row in rows]


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, value) for every scalar and list of a study file."""
    if not isinstance(node, dict):
        yield path, node
        return
    for name, below in node.items():
        yield from _leaves(below, f"{path}.{name}" if path else str(name))


def _here(row: dict[str, str], here: dict[str, Any]) -> str:
    setting = row["setting"]
    if not here or setting.startswith(("code.", "study.")):
        return ""
    if setting not in here:
        return "unset"
    same = _plain(here[setting]) == _plain(yaml.safe_load(row["value"]))
    return "" if same else _shown(here[setting])


def _plain(value: Any) -> Any:
    """Return a value with numbers as floats: YAML reads 1e-3 as a text and 0.001 as a number."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def _shown(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()
