"""What the plan says of price, memory, reasons and budgets."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from bench.cli import main
from bench.errors import BenchError
from bench.plan.calibration import Calibration, Measured, cases, read_calibration
from bench.plan.idle import idle_axes
from bench.plan.price import prices, views_of, windows_of
from bench.plan.reasons import why_stale
from bench.plan.subset import enough_seeds, propose
from bench.study.reading import load_study
from bench.study.runs import Runs

ROOT = Path(__file__).parents[1]


@pytest.fixture
def paper(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path))
    return load_study(ROOT / "config" / "paper.yaml")


@pytest.fixture
def even(paper):
    """Prices by which each image takes a second to train on and nothing to predict, for easy sums."""
    held = Measured(
        seconds_per_image=1.0,
        predicted_per_image=0.0,
        memory=2**30,
        predicted_memory=None,
        parameters=10,
        batch=2,
    )
    runs = Runs(paper)
    return Calibration(
        device="cuda:0 (a card)", machine="m", packages={}, cases=dict.fromkeys(cases(runs), held)
    )


def test_published_throughputs_price_the_paper_study_and_say_so(paper):
    runs = Runs(paper)
    found = prices(runs, None)
    # 1,281,167 images less the last incomplete batch of 4096: 312 steps; 300 epochs at 813.2 images a second.
    expected = 312 * 4096 * 300 / 813.2
    assert found.jobs[f"{runs.root}/pretrain/convnext_tiny/csp-4ch/seed0"].seconds == pytest.approx(expected)
    # UperNet on 480 pixels, by multiply-adds: ConvNeXt's README says 939 G for 2048 x 512 (without the auxiliary head,
    # with ADE20K's classes) and 4.46 G for 224 x 224.
    one = 939e9 / (2048 * 512) * 480**2 / (4.46e9 * 813.2)
    cell = next(run for run in runs.finetunings if (run.dataset, run.backbone) == ("mfnet", "convnext_tiny"))
    assert found.jobs[cell.folder].seconds == pytest.approx(80_000 * 16 * one, rel=0.002)
    assert found.device == "RTX 3090" and found.source.startswith("published") and found.lacking == []
    assert all(price.memory is None for price in found.jobs.values())


def test_nothing_is_published_of_other_heads(paper):
    narrow = {
        d: {b: replace(r, head_channels=256) for b, r in own.items()} for d, own in paper.finetune.items()
    }
    found = prices(Runs(replace(paper, finetune=narrow)), None)
    assert (
        "convnext_tiny finetune at 480 pixels: nothing is published of it; run `bench calibrate`"
        in found.lacking
    )


def test_the_prices_that_are_written_down_follow_from_the_plan(paper):
    runs = Runs(paper)
    found = prices(runs, None)
    one = {run.backbone: found.hours(run.folder) for run in runs.pretrainings}
    said = r"(\d+) h \(ConvNeXt-T\) and\s+(?:# )?(\d+) h \(Swin-T\)"
    for name in ("README.md", "config/paper.yaml"):
        (hours,) = re.findall(said, (ROOT / name).read_text())
        assert [round(one[backbone]) for backbone in paper.backbones] == list(map(int, hours)), name
    (whole,) = re.findall(r"the whole study at about ([\d,]+) h", (ROOT / "config/paper.yaml").read_text())
    total = sum(found.hours(folder) for folder in found.jobs)
    # Rounded to hundreds.
    assert int(whole.replace(",", "")) == round(total, -2)


def test_windows_are_counted_before_anything_is_prepared(paper):
    runs = Runs(paper)
    counts = {run.dataset: windows_of(runs, run) for run in runs.evaluations}
    # MFNet: 480 x 640 in windows of 480, stride 320: two a frame; 393 frames, and 50 of them under each disturbance:
    # the reversed order, and each of four channels silenced.
    assert counts["mfnet"] == 393 * 2 + (1 + 4) * 50 * 2
    # Natural and reversed order, and each channel silenced.
    assert [views_of(runs, channels) for channels in (3, 5)] == [2 + 3, 2 + 5]


def test_a_calibration_prices_every_case_and_what_it_lacks_is_named(paper, even):
    runs = Runs(paper)
    found = prices(runs, even)
    cell = runs.finetunings[0]
    assert found.jobs[cell.folder].seconds == 80_000 * 16 and found.jobs[cell.folder].memory == 2**30
    assert found.device == "cuda:0 (a card)"
    lost = next(key for key, case in cases(runs).items() if case.stage == "pretrain" and case.channels == 4)
    less = replace(even, cases={key: held for key, held in even.cases.items() if key != lost})
    assert prices(runs, less).lacking == [
        "convnext_tiny pretrain at 224 pixels: it was not calibrated; run `bench calibrate`"
    ]


def test_a_case_is_the_network_and_its_sizes_and_not_its_name_arm_or_rate(paper):
    # Two networks, each pre-trained at 3, 4, 5 channels, and fine-tuned on four targets.
    assert len(cases(Runs(paper))) == 2 * 3 + 2 * 4
    slower = {b: replace(r, lr=1e-3, min_lr=0.0, warmup_lr=0.0) for b, r in paper.pretrain.items()}
    assert cases(Runs(replace(paper, pretrain=slower))).keys() == cases(Runs(paper)).keys()


def test_a_file_that_is_no_calibration_is_refused(tmp_path):
    path = tmp_path / "calibration.json"
    assert read_calibration(path) is None
    path.write_text(json.dumps({"cases": {"x": {"speed": 3}}}))
    with pytest.raises(
        BenchError, match=r"no calibration \(.*speed.*\); remove it and run `bench calibrate` again"
    ):
        read_calibration(path)


def test_a_reason_names_the_setting_with_both_values_and_what_is_upstream():
    held = {
        "digest": "a",
        "spec": {"recipe": {"lr": 1e-4, "betas": [0.9, 0.999]}},
        "inputs": {"manifest": "m"},
    }
    same = {"recipe": {"lr": 1e-4, "betas": (0.9, 0.999)}}
    assert (
        why_stale(held, {"recipe": {"lr": 3e-4, "betas": (0.9, 0.999)}}, {}) == "recipe.lr: 0.0001 -> 0.0003"
    )
    assert why_stale(held, same, {"manifest": "n"}) == "upstream: manifest is another"
    assert why_stale(held, same, {"csp/seed1": "c"}) == "upstream: csp/seed1 is new; manifest is gone"
    many = {"a": 1, "b": 2, "c": 3, "d": 4}
    assert (
        why_stale(held | {"spec": dict.fromkeys(many, 0)}, many, {})
        == "a: 0 -> 1; b: 0 -> 2; c: 0 -> 3 and 1 more"
    )
    assert why_stale({"digest": "", "error": "x.json: no record"}, {}, {}) == "unreadable: x.json: no record"


@pytest.mark.parametrize(("level", "seeds"), [(0.05, 6), (0.1, 5), (0.5, 2), (0.01, 8)])
def test_enough_seeds_are_those_at_which_an_exact_test_can_reach_the_level(level, seeds):
    # 2 / 2^n: 6 seeds 0.031, 5 seeds 0.0625, 2 seeds 0.5, 8 seeds 0.0078.
    assert enough_seeds(level) == seeds
    assert 2 / 2**seeds <= level < 2 / 2 ** (seeds - 1)


def test_a_budget_takes_few_contrasts_with_all_their_seeds(paper, even):
    runs = Runs(replace(paper, repetitions=replace(paper.repetitions, finetune=8)))
    found = prices(runs, even)
    everything = propose(runs, found, 1e9)
    assert everything.kept == {run.folder for run in runs.finetunings} and everything.exclude == []
    nothing = propose(runs, found, 1.0)
    assert not nothing.kept and nothing.least is not None and nothing.least > 1.0
    # One more hour than the cheapest contrast: its two arms with six of the eight repetitions, and no other.
    one = propose(runs, found, nothing.least + 1.0)
    kept = [run for run in runs.finetunings if run.folder in one.kept]
    assert len({(run.dataset, run.backbone) for run in kept}) == 1
    assert {run.repetition for run in kept} == set(range(6)) and len(kept) == 2 * 6
    assert one.hours == pytest.approx(nothing.least) and one.seeds == 6
    # With three times as much it takes more contrasts, none with fewer seeds.
    more = propose(runs, found, 3 * nothing.least)
    for run in runs.finetunings:
        if run.folder in more.kept and run.repetition < 6:
            assert {k for k in range(6)} <= {
                other.repetition
                for other in runs.finetunings
                if other.folder in more.kept and (other.dataset, other.arm) == (run.dataset, run.arm)
            }


def test_the_exclude_of_a_proposal_leaves_exactly_what_it_keeps(paper, even, tmp_path):
    runs = Runs(paper)
    found = prices(runs, even)
    kept = propose(runs, found, 0.5 * sum(found.hours(folder) for folder in found.jobs))
    assert 0 < len(kept.kept) < len(runs.finetunings)
    study = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text())
    for layer in (
        study["pretrain"]["backbones"],
        study["finetune"]["backbones"],
        study["pretrain"],
        study["finetune"],
    ):
        for recipe in layer.values():
            for key, value in recipe.items():
                recipe[key] = float(value) if isinstance(value, str) and value[0].isdigit() else value
    study["grid"] = {"exclude": kept.exclude}
    path = tmp_path / "less.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    assert {run.folder for run in Runs(load_study(path)).finetunings} == kept.kept


def test_an_axis_that_changes_no_spec_is_said(paper):
    grid = yaml.safe_load("{axes: {order: [before-erasing, after-erasing]}}")
    study = yaml.safe_load((ROOT / "tests" / "study" / "grid.yaml").read_text())
    study["grid"] = grid
    for section in ("pretrain", "finetune"):
        study[section]["common"]["lr"] = 0.001
    path = Path(Runs(paper).root).parent / "idle.yaml"
    path.write_text(yaml.safe_dump(study))
    # Nothing is erased there, so where the strategy stands changes nothing.
    assert list(idle_axes(Runs(load_study(path)))) == [
        "order: no two of its levels change the spec of any run"
    ]
    assert list(idle_axes(Runs(load_study(ROOT / "tests" / "study" / "grid.yaml")))) == []


def test_the_plan_is_printed_with_price_budget_and_source(paper, capsys):
    words = ["plan", "--study", "config/paper.yaml", "--max-gpu-hours"]
    assert main([*words, "600"]) == 0
    text = capsys.readouterr().out
    assert "8 pre-trainings and 84 fine-tunings" in text and "of one RTX 3090" in text
    assert (
        "from       published" in text and "3 repetitions each (an exact test over seeds would need 6" in text
    )
    assert main([*words, "1"]) == 0
    assert (
        "1 hours hold nothing useful: the cheapest contrast of csp with rgb-repeat" in capsys.readouterr().out
    )
    assert main([*words, "0"]) == 2
    assert "--max-gpu-hours 0: expected a number of hours above 0" in capsys.readouterr().err
