"""A grid's arms are enumerated in one place, named by what differs, and only what differs is run."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from bench.errors import RequestError
from bench.study.arms import Arm
from bench.study.grid import combination_name, neighbours
from bench.study.reading import load_study
from bench.study.runs import Runs

ROOT = Path(__file__).parents[2]
SMALL = Path(__file__).with_name("grid.yaml")


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Return a function that loads the small grid after an edit of its mapping."""
    monkeypatch.chdir(ROOT)

    def load(edit=lambda study: None):
        study = yaml.safe_load(SMALL.read_text())
        study["pretrain"]["common"] |= {"lr": 0.001}
        study["finetune"]["common"] |= {"lr": 0.001}
        edit(study)
        path = tmp_path / "grid.yaml"
        path.write_text(yaml.safe_dump(study))
        return load_study(path)

    return load


def grid(**keys):
    """Return an edit that lays keys over the grid."""
    return lambda study: study["grid"].update(keys)


def arms_that_ran(study):
    return {(run.dataset, name, run.repetition) for run in Runs(study).finetunings for name in run.names}


def test_three_axes_of_two_levels_are_eight_arms_each_named_by_what_differs_from_the_base(written):
    study = written()
    assert list(study.factors) == [
        "csp", "csp-p50", "csp-batch", "csp-batch-p50",
        "csp-fill-random", "csp-fill-random-p50", "csp-fill-random-batch", "csp-fill-random-batch-p50",
    ]  # fmt: skip
    assert study.arms["csp-batch-p50"] == Arm(strategy="csp", scope="batch", probability=0.5)
    assert study.factors["csp"] == {"fill": "cycle", "scope": "image", "probability": 1.0}
    assert study.named == ("csp", "rgb")
    runs = Runs(study)
    # Four channels: each arm of the grid has a pre-training of its own, and rgb one more; two seeds each.
    assert (len(runs.pretrainings), len(runs.finetunings)) == (9, 18)


def test_an_added_axis_or_level_leaves_every_folder_and_digest_of_the_others(written):
    before = {run.folder: run.digest for run in Runs(written()).finetunings}

    def wider(study):
        study["grid"]["axes"] |= {"scope": ["image", "batch", "epoch"], "normalise": ["follow", "position"]}

    after = {run.folder: run.digest for run in Runs(written(wider)).finetunings}
    assert before.items() <= after.items()
    assert len(after) == 2 * (3 * 2 * 2 * 2 + 1)


def test_where_nothing_is_left_to_fill_the_axis_runs_nothing_more(written):
    def on_rgb(study):
        study["grid"]["axes"] = {
            "fill": ["cycle", "random"],
            "channels": {"mfnet": {"rgb": ["red", "green", "blue"]}},
        }

    runs = Runs(written(on_rgb))
    names = {(run.dataset, run.arm): run.names for run in runs.finetunings}
    assert names["mfnet-rgb", "csp"] == ("csp", "csp-fill-random")
    assert names["mfnet", "csp"] == ("csp",)
    # The part inherits the protocol of the whole.
    assert runs.study.evaluate["mfnet-rgb"] == runs.study.evaluate["mfnet"]
    assert runs.target_data["mfnet-rgb"].source == "mfnet"


def test_an_excluded_cell_is_not_run_and_an_included_one_is(written):
    study = written(
        grid(
            include=[{"order": "after-erasing"}],
            exclude=[{"scope": "batch", "probability": 0.5}, {"arm": "csp-p50", "repetition": 1}],
        )
    )
    assert "csp-batch-p50" not in study.arms and "csp-fill-random-batch-p50" not in study.arms
    ran = arms_that_ran(study)
    assert {k for _, name, k in ran if name == "csp-p50"} == {0}
    # Nothing is erased in this study, so the order has no effect: the same run under another name.
    assert ("mfnet", "csp-after-erasing", 1) in ran
    assert Counter(run.arm for run in Runs(study).finetunings)["csp-after-erasing"] == 0


def test_the_grids_own_arms_run_where_its_axes_say_and_named_arms_everywhere(written):
    def here(study):
        study["datasets"]["pst900"] = dict(study["datasets"]["mfnet"])
        study["evaluate"]["pst900"] = dict(study["evaluate"]["mfnet"])
        study["grid"]["axes"] |= {"dataset": ["mfnet"], "seeds": 1}

    ran = arms_that_ran(written(here))
    assert {name for dataset, name, _ in ran if dataset == "pst900"} == {"csp", "rgb"}
    assert {k for _, name, k in ran if name == "csp-batch"} == {0}
    assert {k for _, name, k in ran if name == "csp"} == {0, 1}


def test_the_base_is_on_the_grid_though_no_axis_names_its_levels(written):
    study = written(grid(axes={"probability": [0.5, 0.25], "epochs": [3]}))
    assert study.factors["csp"] == {"probability": 1.0, "epochs": "recipe"}
    assert list(study.factors) == ["csp", "csp-p50-e3", "csp-p25-e3"]
    # A grid that only leaves out has no axis, and so nothing on it.
    assert written(lambda s: s.update(grid={"exclude": [{"arm": "rgb", "repetition": 1}]})).factors == {}


def test_an_arm_that_the_file_names_runs_everywhere_though_the_grid_has_it_too(written):
    def named(study):
        study["arms"]["csp-batch"] = {"strategy": "csp", "scope": "batch"}
        study["grid"]["axes"]["seeds"] = 1

    study = written(named)
    assert set(study.named) == {"csp", "rgb", "csp-batch"} and "csp-batch" in study.factors
    ran = arms_that_ran(study)
    assert {k for _, name, k in ran if name == "csp-batch"} == {0, 1}
    assert {k for _, name, k in ran if name == "csp-p50"} == {0}


def test_probabilities_that_differ_late_are_two_pre_trainings(written):
    runs = Runs(written(grid(axes={"probability": [0.1234567, 0.1234568]})))
    labels = {run.label: run.probability for run in runs.pretrainings}
    assert labels == {
        "csp-4ch": 1.0, "rgb-3ch": 1.0, "csp-p0.1234567-4ch": 0.1234567, "csp-p0.1234568-4ch": 0.1234568,
    }  # fmt: skip
    assert len({run.digest for run in runs.pretrainings}) == 4


def test_epochs_are_an_axis_and_those_of_the_recipe_are_no_other_run(written):
    study = written(grid(axes={"epochs": [1, 3]}))
    runs = Runs(study)
    assert {run.names for run in runs.finetunings} == {("csp", "csp-e1"), ("rgb",), ("csp-e3",)}
    assert {run.label: run.recipe.epochs for run in runs.pretrainings} == {
        "csp-4ch": 1, "rgb-3ch": 1, "csp-e3-4ch": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (grid(base="cps"), "grid.base: 'cps' is none of the arms named in the file: ['csp', 'rgb']"),
        (grid(axes={"scoop": ["image"]}), "grid.axes: unknown key 'scoop'; did you mean 'scope'?"),
        (grid(axes={"scope": ["image", "image"]}), "grid.axes.scope names one twice"),
        (
            grid(axes={"strategy": ["csp", "rgb"], "scope": ["image", "batch"]}),
            "grid: strategy rgb, scope batch: scope, probability and normalise belong to csp, sample, weights, not to "
            "rgb; leave it out with exclude",
        ),
        (
            grid(exclude=[{"scope": "epoch"}]),
            "grid: exclude {'scope': ['epoch']} agrees with no arm; correct or remove it",
        ),
        (grid(exclude=[{}]), "exclude: an empty pattern would leave everything out; name a key"),
        (
            grid(exclude=[{"dataset": "isaid", "scope": "batch"}]),
            "grid.exclude.dataset: no ['isaid'] in the study",
        ),
        (
            grid(exclude=[{"scope": "batch", "repetition": 2}]),
            "grid.exclude.repetition: [2]; repetitions are 0 to 1",
        ),
        (grid(exclude=[{"arm": "csp"}]), "compare.treatment 'csp' is no arm"),
        (grid(include=[{"scope": "batch"}]), "grid: the combination csp-batch stands there twice; keep one"),
        (
            grid(axes={"channels": {"isaid": {"rgb": ["red"]}}}),
            "grid.axes.channels: no target 'isaid'; there are ['mfnet']",
        ),
        (grid(axes={"seeds": 3}), "grid.axes.seeds: 3; the study has 2 repetitions"),
        (
            lambda study: study["arms"].update({"csp-batch": {"strategy": "grey"}}),
            "grid: csp-batch stands among arms too, as another; rename it there, or drop the level here",
        ),
        (
            lambda study: (
                study["pretrain"]["common"].update(warmup_epochs=2, epochs=3),
                grid(axes={"epochs": [2]})(study),
            ),
            "arms.csp-e2.epochs: 2 with convnext_mini: warmup_epochs lies in [0, 2), found 2.0; give published_epochs",
        ),
    ],
)
def test_a_grid_that_cannot_be_is_refused_in_one_sentence(written, edit, sentence):
    with pytest.raises(RequestError, match=re.escape(sentence)):
        written(edit)


def test_what_no_arm_can_have_may_be_excluded(written):
    study = written(
        grid(
            axes={"strategy": ["csp", "grey"], "scope": ["image", "batch"]},
            exclude=[{"strategy": "grey", "scope": "batch"}],
        )
    )
    assert list(study.arms) == ["csp", "rgb", "csp-batch", "grey"]


def test_a_name_has_a_word_for_each_level_that_differs():
    base = Arm(strategy="csp")
    levels = {"strategy": "rgb", "stem": "zero", "probability": 0.125, "epochs": 30, "fill": "cycle"}
    assert combination_name("csp", base, levels) == "rgb-zero-p12_5-e30"
    assert combination_name("ours", base, {"scope": "image", "fill": "random"}) == "ours-fill-random"


def test_neighbours_differ_in_one_axis():
    found = list(neighbours({f"{a}{b}": {"a": a, "b": b} for a in (1, 2) for b in (1, 2, 3)}))
    # a: three pairs (one for each b); b: three pairs of levels for each a.
    assert Counter(axis for axis, _, _ in found) == {"a": 3, "b": 6}
    assert ("a", "11", "21") in found and ("b", "21", "23") in found


def test_the_ablation_reads_as_its_comments_say(monkeypatch):
    monkeypatch.chdir(ROOT)
    study = load_study(ROOT / "config" / "ablation.yaml")
    # 3 scopes x 2 probabilities x 2 fills, less 2 excluded, with 3 settings and 4 stems included besides.
    assert len(study.factors) == 3 * 2 * 2 - 2 + 3 + 4
    # The stems need no pre-training of their own, and rgb is the baseline under another name.
    runs = Runs(study)
    starts = {run.arm: run.pretrain.label for run in runs.finetunings if run.dataset == "potsdam"}
    assert starts["csp-reinit"] == starts["csp"] == "csp-5ch"
    assert starts["rgb-zero"] == starts["rgb-reinit"] == starts["rgb-repeat"] == "rgb-3ch"
    assert {run.names for run in runs.finetunings if run.arm == "rgb-repeat"} == {
        ("rgb-repeat", "rgb"),  # on mfnet and potsdam
        ("rgb-repeat", "duplicate"),  # on the three channels of mfnet-rgb
    }
    assert {name for dataset, name, _ in arms_that_ran(study) if dataset == "mfnet-rgb"} == set(study.named)
