"""The ledger lists every choice of the paper's study, its value as it is, and where it comes from.

A row names its setting in one of three ways:

    pretrain.common.epochs      as config/paper.yaml writes it
    study.pretrain.*.betas      on the loaded study, where the file leaves a documented default; * is every name
    code.csp_after_randaugment  a behaviour that no setting governs; its value is FILE:FUNCTION

A setting of which the paper states a part has the status of its weakest part.
"""

import csv
import dataclasses
import json
import re
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from bench.study.reading import load_study, read_yaml

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "config" / "paper.yaml"

STATED = {
    # What the abstract and the summary of arXiv 2604.27704 say, and nothing that follows from it.
    "backbones.convnext_tiny.family": "convnext",
    "backbones.swin_tiny_patch4_window7_224.family": "swin",
    "datasets.isaid.channels": ["red", "green", "blue"],
    "datasets.mfnet.channels": ["red", "green", "blue", "thermal"],
    "arms.rgb-repeat.strategy": "rgb",
    "arms.rgb-zero.strategy": "rgb",
    "arms.rgb-reinit.strategy": "rgb",
    "arms.csp.strategy": "csp",
    "pretrain.data.source": "imagenet1k",
    "pretrain.common.epochs": 300,
    "evaluate.isaid.metric": "mIoU",
    "evaluate.mfnet.metric": "mIoU",
    "evaluate.pst900.metric": "mIoU",
    "evaluate.potsdam.metric": "mF1",
    "compare.treatment": "csp",
}

NO_CHOICE = (
    # Unwritten settings that say nothing about the experiment: they are off, or have no effect in this study.
    "miniature",
    "grid",
    "crossed",
    "backbones.convnext_tiny.heads",
    "backbones.convnext_tiny.window",
    "backbones.swin_tiny_patch4_window7_224.layer_scale",
    "datasets.*.source",
    "datasets.*.path",
    "datasets.*.sha256",  # source: folder
    "pretrain_data.sha256",  # source: folders
    "pretrain_data.holdout",  # the published validation part
    "compare.decisive",  # every place
    "discussion",  # words
    "pictures",  # published
    "datasets.*.description",
    "datasets.*.holdout",  # selection: official
    "arms.*.epochs",  # the recipe's
    "arms.*.min_channels",  # 3: every target
    "arms.rgb-*.fill",
    "arms.rgb-*.scope",
    "arms.rgb-*.probability",
    "arms.rgb-*.order",
    "arms.rgb-*.normalise",
    "pretrain.swin_tiny_patch4_window7_224.hand_on",  # ema: null
    "arms.csp.stem",  # the weights have the target's channels already
    "pretrain_data.path",
    "pretrain_data.size",
    "pretrain.*.validate_every",  # looks, and changes nothing
    "finetune.*.micro_batch",  # one pass a step
    "finetune.*.validate_every",  # selection: official
    "evaluate.*.subsets",  # MFNet alone has groups
)


def leaves(node, path=()):
    """Yield (names, value) for every scalar and list below mappings and dataclasses."""
    if dataclasses.is_dataclass(node):
        node = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    if not isinstance(node, dict):
        yield path, node
        return
    for name, below in node.items():
        yield from leaves(below, (*path, name))


def places_in_file(names):
    """Return where the study file may write a setting of the loaded study; the recipes have layers there."""
    match names:
        case "pretrain_data", key:
            return [f"pretrain.data.{key}"]
        case "pretrain", backbone, key:
            return [f"pretrain.common.{key}", f"pretrain.backbones.{backbone}.{key}"]
        case "finetune", dataset, backbone, key:
            layers = ("common", f"backbones.{backbone}", f"datasets.{dataset}")
            return [f"finetune.{layer}.{key}" for layer in layers]
    return [".".join(names)]


def same(left, right):
    """Say whether two settings are equal in value and type: 1, 1.0 and true are three things."""
    return json.dumps(left) == json.dumps(right)


def kind(row):
    return row["setting"].split(".")[0] if row["setting"].startswith(("study.", "code.")) else "file"


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Return the rows, each with its value also read as the study's reader would read it."""
    with (ROOT / "paper" / "ledger.csv").open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file, strict=True)
        found = list(table)
    assert table.fieldnames == ["setting", "value", "status", "source", "why"]
    text = tmp_path_factory.mktemp("ledger") / "values.yaml"
    text.write_text("".join(f"- {row['value']}\n" for row in found), encoding="utf-8")
    return [row | {"read": value} for row, value in zip(found, read_yaml(text), strict=True)]


@pytest.fixture(scope="module")
def written():
    return {".".join(names): value for names, value in leaves(read_yaml(PAPER))}


@pytest.fixture(scope="module")
def unwritten(written):
    """Return what the file leaves to the defaults of the dataclasses."""
    return {
        ".".join(names): value
        for names, value in leaves(load_study(PAPER))
        if not any(place in written for place in places_in_file(names))
    }


def test_every_row_is_whole_and_no_setting_stands_twice(rows):
    assert [row["setting"] for row in rows if not all(row[key].strip() for key in ("source", "why"))] == []
    assert [row["setting"] for row in rows if not row["why"].endswith(".")] == []
    assert [name for name, count in Counter(row["setting"] for row in rows).items() if count > 1] == []


def test_a_status_is_stated_inferred_or_default(rows):
    assert {row["status"] for row in rows} == {"stated", "inferred", "default"}


def test_every_setting_of_the_paper_study_is_listed_with_its_value(rows, written):
    listed = {row["setting"]: row["read"] for row in rows if kind(row) == "file"}
    assert sorted(listed.keys() - written.keys()) == [], "no such setting in config/paper.yaml"
    assert sorted(written.keys() - listed.keys()) == [], "not in paper/ledger.csv"
    differing = {name: (listed[name], value) for name, value in written.items()}
    assert {name: both for name, both in differing.items() if not same(*both)} == {}


def test_every_default_that_the_study_leaves_unwritten_is_listed_once_with_its_value(rows, unwritten):
    listed = {row["setting"].removeprefix("study."): row["read"] for row in rows if kind(row) == "study"}
    uncovered = dict(unwritten)
    for pattern, value in listed.items():
        named = [name for name in uncovered if fnmatchcase(name, pattern)]
        assert named, f"study.{pattern}: no such unwritten setting, or listed twice"
        assert {name: uncovered[name] for name in named if not same(value, uncovered[name])} == {}
        for name in named:
            del uncovered[name]
    left = [name for name in uncovered if not any(fnmatchcase(name, pattern) for pattern in NO_CHOICE)]
    assert left == [], "neither in paper/ledger.csv nor without effect"


def test_what_is_called_stated_is_what_the_paper_says(rows):
    stated = {row["setting"]: row for row in rows if row["status"] == "stated"}
    assert {name: row["read"] for name, row in stated.items()} == STATED
    assert all(row["source"].startswith("arXiv 2604.27704") for row in stated.values())


def test_a_behaviour_of_the_code_names_a_function_that_exists(rows):
    behaviours = [row for row in rows if kind(row) == "code"]
    assert behaviours
    for row in behaviours:
        file, _, function = row["value"].partition(":")
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {re.escape(function)}\(", text, re.MULTILINE), row["setting"]


def test_a_source_within_this_project_exists(rows):
    own = [row["source"].removeprefix("this project: ") for row in rows if "this project" in row["source"]]
    assert [path for path in own if not (ROOT / path).is_file()] == []
