"""What a study runs nowhere is no part of it; what it runs somewhere is, with its names."""

import re
from pathlib import Path

import pytest
import yaml

from bench.errors import RequestError
from bench.study.reading import load_study
from bench.study.runs import Runs

ROOT = Path(__file__).parents[2]
SMALL = Path(__file__).with_name("grid.yaml")


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Return a function that loads a study of two targets and two backbones with a grid of these keys."""
    monkeypatch.chdir(ROOT)

    def load(edit=lambda study: None, **grid):
        study = yaml.safe_load(SMALL.read_text())
        for section in ("pretrain", "finetune"):
            study[section]["common"]["lr"] = 0.001
        for section in ("datasets", "evaluate"):
            study[section]["pst900"] = dict(study[section]["mfnet"])
        study["backbones"]["other"] = dict(study["backbones"]["convnext_mini"], depths=[1, 1, 2, 1])
        study["grid"] = grid
        edit(study)
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(study))
        return load_study(path)

    return load


def test_an_excluded_dataset_is_neither_acquired_nor_prepared_nor_in_any_table(written):
    study = written(
        exclude=[{"dataset": "pst900"}, {"dataset": ["mfnet", "pst900"], "arm": "rgb", "repetition": 1}]
    )
    assert list(study.datasets) == list(study.evaluate) == list(study.finetune) == ["mfnet"]
    assert [run.name for run in Runs(study).target_data.values()] == ["mfnet"]
    # What is excluded of both datasets is excluded of the one that is left.
    assert [(run.arm, run.repetition) for run in Runs(study).places["mfnet", "other"]] == [
        ("csp", 0), ("csp", 1), ("rgb", 0),
    ]  # fmt: skip


def test_an_excluded_backbone_is_not_pre_trained_and_names_no_recipe(written):
    study = written(exclude=[{"backbone": "other"}])
    assert list(study.backbones) == list(study.pretrain) == ["convnext_mini"]
    assert {run.backbone for run in Runs(study).pretrainings} == {"convnext_mini"}


def test_one_place_less_leaves_both_names(written):
    study = written(exclude=[{"dataset": "pst900", "backbone": "other"}])
    assert list(study.datasets) == ["mfnet", "pst900"] and list(study.backbones) == ["convnext_mini", "other"]
    assert study.places == {("mfnet", "convnext_mini"), ("mfnet", "other"), ("pst900", "convnext_mini")}


def test_a_narrowed_study_has_the_digests_of_the_whole(written):
    whole = {run.folder: run.digest for run in Runs(written()).finetunings}
    less = {run.folder: run.digest for run in Runs(written(exclude=[{"dataset": "pst900"}])).finetunings}
    assert less == {folder: digest for folder, digest in whole.items() if "/mfnet/" in folder}


def decisive(*places):
    return lambda study: study["compare"].update(decisive=list(places))


@pytest.mark.parametrize(
    ("edit", "keys", "sentence"),
    [
        (
            lambda study: None,
            {"exclude": [{"dataset": ["mfnet", "pst900"]}]},
            "grid.exclude leaves no run; leave out less",
        ),
        (
            lambda study: None,
            {
                "axes": {"scope": ["image", "batch"], "dataset": ["pst900"]},
                "exclude": [{"dataset": "pst900"}],
            },
            "grid.axes.dataset: exclude leaves out all of ['pst900']",
        ),
        (
            decisive("pst900/other"),
            {"exclude": [{"dataset": "pst900"}]},
            "compare.decisive: grid.exclude leaves out every place that it names",
        ),
    ],
)
def test_a_study_that_names_only_what_it_leaves_out_is_refused(written, edit, keys, sentence):
    with pytest.raises(RequestError, match=re.escape(sentence)):
        written(edit, **keys)


def test_decisive_places_that_are_left_are_kept(written):
    study = written(decisive("pst900/other", "mfnet/other"), exclude=[{"dataset": "pst900"}])
    assert study.compare.decisive == ("mfnet/other",)
