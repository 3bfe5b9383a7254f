"""Every job of a study is enumerated once, and a digest covers all that a job depends on and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.study.files import fingerprint
from bench.study.jobs import effective, label_of
from bench.study.reading import load_study
from bench.study.recipes import Published
from bench.study.runs import Runs
from bench.study.schema import Arm
from bench.workflow import job_counts

ROOT = Path(__file__).parents[2]


@pytest.fixture
def study(monkeypatch):
    monkeypatch.chdir(ROOT)
    return lambda name: load_study(ROOT / "config" / f"{name}.yaml")


def digests(study):
    runs = Runs(study)
    jobs = (*runs.pretrainings, *runs.finetunings, *runs.evaluations, *runs.classifiers)
    return {job.folder: job.digest for job in jobs} | {
        f"data/{run.name}": run.digest for run in (*runs.target_data.values(), runs.pretrain_data)
    }


def moved(before, after):
    assert before.keys() == after.keys()
    return {folder for folder in before if before[folder] != after[folder]}


def test_the_paper_study_has_8_pretrainings_and_84_finetunings(study):
    # Backbones 2 x (rgb, csp at 3, 4, 5 channels) x 1; 2 x 3 seeds x (iSAID: rgb and csp; each other: 3 stems and csp).
    assert job_counts(Runs(study("paper"))) == {
        "acquire": 5, "prepare": 5, "pretrain": 2 * 4, "finetune": 2 * 3 * (2 + 4 + 4 + 4),
        "evaluate": 4 * 2, "top1": 2, "look": 1, "compare": 1, "tables": 1, "figures": 1, "report": 1,
    }  # fmt: skip


def test_mfnet_and_pst900_share_one_pretraining(study):
    runs = Runs(study("paper"))
    starts = {
        (run.dataset, run.pretrain.folder)
        for run in runs.finetunings
        if run.arm == "csp" and run.backbone == "convnext_tiny"
    }
    assert {folder for dataset, folder in starts if dataset in ("mfnet", "pst900")} == {
        "results/paper/pretrain/convnext_tiny/csp-4ch/seed0"
    }


def test_stems_that_coincide_at_three_channels_are_one_run_under_all_names(study):
    names = {(run.dataset, run.arm): run.names for run in Runs(study("paper")).finetunings}
    assert names["isaid", "rgb-repeat"] == ("rgb-repeat", "rgb-zero")
    assert ("isaid", "rgb-reinit") not in names
    assert names["mfnet", "rgb-zero"] == ("rgb-zero",)


@pytest.mark.parametrize(
    ("arm", "n", "label"),
    [
        (Arm(strategy="rgb"), 5, "rgb-3ch"),
        (Arm(strategy="duplicate"), 3, "rgb-3ch"),
        (Arm(strategy="duplicate"), 4, "duplicate-4ch"),
        (Arm(strategy="csp"), 4, "csp-4ch"),
        (Arm(strategy="csp", fill="random"), 3, "csp-3ch"),
        (Arm(strategy="csp", fill="random"), 6, "csp-6ch"),
        (Arm(strategy="csp", fill="random", probability=0.0), 4, "csp-random-p0-4ch"),
        (
            Arm(strategy="csp", order="after-erasing", normalise="position"),
            4,
            "csp-after-erasing-position-4ch",
        ),
        (Arm(strategy="csp", probability=0.0, normalise="position"), 4, "duplicate-4ch"),
        (Arm(strategy="duplicate", order="after-erasing"), 4, "duplicate-after-erasing-4ch"),
        (Arm(strategy="duplicate", order="after-erasing"), 3, "rgb-3ch"),
        (Arm(strategy="sample"), 3, "sample-3ch"),
        (Arm(strategy="weights", probability=0.0), 5, "duplicate-5ch"),
        (Arm(strategy="weights", scope="epoch"), 5, "weights-epoch-5ch"),
        (Arm(strategy="grey"), 3, "grey-3ch"),
        (Arm(strategy="csp", fill="random", scope="batch", probability=0.5), 4, "csp-random-batch-p0.5-4ch"),
        (Arm(strategy="csp", probability=0.0), 4, "duplicate-4ch"),
        (Arm(strategy="csp", probability=0.0), 3, "rgb-3ch"),
    ],
)
def test_an_arm_asks_for_the_pretraining_that_it_effectively_is(arm, n, label):
    assert label_of(*effective(arm, n)) == label


def test_without_erasing_its_order_has_no_effect():
    arm = Arm(strategy="csp", order="after-erasing")
    assert label_of(*effective(arm, 4, erasing=False)) == "csp-4ch"


def test_every_setting_of_a_pretraining_moves_its_digest_and_label(study):
    demo = study("demo")
    recipes = {name: replace(recipe, erasing=0.25) for name, recipe in demo.pretrain.items()}
    changes = (
        {}, {"fill": "random"}, {"scope": "epoch"}, {"probability": 0.5}, {"order": "after-erasing"},
        {"normalise": "position"}, {"strategy": "sample"}, {"strategy": "weights"}, {"strategy": "grey"},
    )  # fmt: skip
    found = set()
    for change in changes:
        arms = demo.arms | {"csp": replace(demo.arms["csp"], **change)}
        runs = Runs(replace(demo, arms=arms, pretrain=recipes)).pretrainings
        found.add(next((run.digest, run.label) for run in runs if run.channels == 4))
    assert len({digest for digest, _ in found}) == len({label for _, label in found}) == len(changes)


def test_settings_that_train_the_same_weights_have_one_digest(study):
    demo = study("demo")

    def runs(**settings):
        recipes = {name: replace(recipe, **settings) for name, recipe in demo.pretrain.items()}
        return [run.digest for run in Runs(replace(demo, pretrain=recipes)).pretrainings]

    recipe = next(iter(demo.pretrain.values()))
    plain = runs()
    assert plain == runs(validate_every=1) == runs(published_epochs=recipe.epochs)
    assert plain == runs(mix_block=recipe.batch_size)
    # Twice the epochs of the recipe and twice its warm-up are the same warm-up.
    scaled = {"published_epochs": 2 * recipe.epochs, "warmup_epochs": 2 * recipe.warmup_epochs}
    assert plain == runs(**scaled)
    block = recipe.batch_size // 2
    for change in ({"mix_block": block}, {"warmup_epochs": recipe.warmup_epochs + 1}):
        assert not set(plain) & set(runs(**change)), change


def test_looks_at_validation_scenes_move_a_digest_only_where_they_select(study):
    demo = study("demo")
    recipe = demo.finetune["isaid"]["convnext_mini"]
    assert recipe.spec == replace(recipe, validate_every=2).spec
    looking = [replace(recipe, select="best-val", validate_every=every) for every in (2, 3)]
    assert looking[0].spec != looking[1].spec and looking[0].spec["validate_every"] == 2


def test_published_weights_need_the_data_that_they_are_evaluated_on(study):
    demo = study("demo")
    weights = {"convnext_mini": Published(timm="convnext_tiny.fb_in1k")}
    with pytest.raises(ValueError, match=r"pretrain\.published needs scale: full, .* scale: miniature"):
        replace(demo, published=weights, repetitions=replace(demo.repetitions, pretrain=1))


def test_published_weights_stand_in_for_rgb_alone_and_are_their_digest_wherever_the_file_lies(study):
    paper = study("paper")
    one, other = (Published(path=path, sha256="a" * 64) for path in ("a.pth", "b/c.pth"))
    plain, held, moved_file = (
        Runs(replace(paper, published=published)).pretrainings
        for published in ({}, {"convnext_tiny": one}, {"convnext_tiny": other})
    )
    changed = {a.folder for a, b in zip(plain, held, strict=True) if a.digest != b.digest}
    assert changed == {"results/paper/pretrain/convnext_tiny/rgb-3ch/seed0"}
    assert [run.digest for run in held] == [run.digest for run in moved_file]
    # The recipe of a training that does not happen has no part in it.
    recipe = {name: replace(recipe, lr=5e-4, min_lr=0.0) for name, recipe in paper.pretrain.items()}
    again = Runs(replace(paper, published={"convnext_tiny": one}, pretrain=recipe)).pretrainings
    same = {a.folder for a, b in zip(held, again, strict=True) if a.digest == b.digest}
    assert same == changed


def test_published_weights_and_several_pretrainings_are_refused(study):
    paper = study("paper")
    with pytest.raises(
        ValueError, match=r"repetitions\.pretrain is 1 where pretrain\.published gives rgb one set"
    ):
        replace(
            paper,
            published={"convnext_tiny": Published(timm="convnext_tiny.fb_in1k")},
            repetitions=replace(paper.repetitions, pretrain=2),
        )


def test_a_changed_learning_rate_moves_that_dataset_and_what_follows(study):
    demo = study("demo")
    recipe = {b: replace(r, lr=9e-4) for b, r in demo.finetune["mfnet"].items()}
    changed = replace(demo, finetune=demo.finetune | {"mfnet": recipe})
    places = moved(digests(demo), digests(changed))
    assert places and all("/mfnet/" in place for place in places)
    assert {place.split("/")[2] for place in places} == {"finetune", "evaluate"}


def test_a_changed_pretraining_moves_everything_but_the_data(study):
    demo = study("demo")
    changed = replace(demo, pretrain={b: replace(r, epochs=r.epochs + 1) for b, r in demo.pretrain.items()})
    before = digests(demo)
    assert moved(before, digests(changed)) == {folder for folder in before if not folder.startswith("data/")}


def test_a_changed_miniature_moves_everything(study):
    demo = study("demo")
    changed = replace(demo, miniature=replace(demo.miniature, seed=1))
    assert moved(digests(demo), digests(changed)) == set(digests(demo))


def test_an_added_arm_or_dataset_moves_no_training(study):
    demo = study("demo")
    before = digests(replace(demo, arms={k: v for k, v in demo.arms.items()}))
    after = digests(replace(demo, arms=demo.arms | {"scratch": Arm(strategy="scratch")}))
    trained = {f for f in before if "/evaluate/" not in f}
    assert all(before[f] == after[f] for f in trained)
    assert any("/scratch/" in f for f in after)


def test_the_study_name_enters_no_digest(study):
    demo = study("demo")
    other = digests(replace(demo, study="copy"))
    assert sorted(digests(demo).values()) == sorted(other.values())


def test_matched_repetitions_pair_each_pretraining_with_one_finetuning(study):
    runs = Runs(study("mini"))
    pairs = {(run.pretrain.repetition, run.repetition) for run in runs.finetunings if run.pretrain}
    assert pairs == {(k, k) for k in range(8)}


def test_nested_repetitions_put_several_finetunings_on_each_pretraining(study):
    demo = study("demo")
    runs = Runs(replace(demo, repetitions=replace(demo.repetitions, pretrain=2, finetune=3)))
    pairs = {(run.pretrain.repetition, run.repetition) for run in runs.finetunings}
    assert pairs == {(0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (1, 5)}


def test_the_workflow_notices_other_files_and_no_digest_does(study, monkeypatch, tmp_path):
    mini = study("mini")
    runs = Runs(mini)
    run = runs.target_data["crack"]
    monkeypatch.delenv("BENCH_DATA", raising=False)
    assert fingerprint(mini, run) == "nowhere"
    (tmp_path / "crack" / "rgb").mkdir(parents=True)
    picture = tmp_path / "crack" / "rgb" / "0001.jpg"
    picture.write_bytes(b"one")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    before = fingerprint(mini, run)
    assert before == fingerprint(mini, run)
    picture.write_bytes(b"other")
    assert fingerprint(mini, run) != before
    assert Runs(mini).target_data["crack"].digest == run.digest
    assert fingerprint(study("demo"), Runs(study("demo")).target_data["mfnet"]) == "drawn"
