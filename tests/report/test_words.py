"""What captions and tables say follows from the study: its selection, weights, alarms, baselines and subsets."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.report import figures, grid_figures, plates
from bench.report.dataset_tables import conventions_table, dataset_table
from bench.report.effect_tables import effects_table, subsets_table
from bench.report.examples import read_examples
from bench.report.inference_tables import declared_tests_table, power_table, read_optional
from bench.report.model_tables import cost_table, top1_table
from bench.report.numbers import Numbers, read_numbers
from bench.report.overview import claim_texts
from bench.report.paper import report_content
from bench.report.tables import all_tables, comparisons_table, main_table
from bench.study.outputs import table_names
from bench.study.recipes import Published


@pytest.fixture
def numbers(demo) -> Numbers:
    return read_numbers(demo.study, demo.compare)


def chosen(numbers: Numbers, *datasets: str) -> Numbers:
    """Return the numbers of a study that chooses weights on a hold-out of some datasets."""
    study, recipes, targets = numbers.study, dict(numbers.study.finetune), dict(numbers.study.datasets)
    for name in datasets:
        recipes[name] = {
            b: replace(r, select="best-val", validate_every=50) for b, r in recipes[name].items()
        }
        targets[name] = replace(targets[name], selection="holdout")
    return replace(numbers, study=replace(study, finetune=recipes, datasets=targets))


def test_captions_say_which_weights_were_evaluated(numbers: Numbers, demo) -> None:
    assert "; last weights, nothing selected on test data" in main_table(numbers).notes[0]
    every = chosen(numbers, *numbers.study.datasets)
    words = "the weights that are best on a held-out part of the training data"
    assert f"; {words}, nothing selected on test data" in main_table(every).notes[0]
    assert "last weights" not in main_table(every).notes[0]
    assert f"; last weights, on MFNet {words}, nothing" in main_table(chosen(numbers, "mfnet")).notes[0]
    content = report_content(every, demo.compare)
    assert content["selection"] == f"T{words[1:]}; no test image selects anything."


def test_top1_points_to_the_interval_of_the_drop_only_where_there_is_one(numbers: Numbers) -> None:
    words = "no interval is given here: the claim about the drop has one among the claims."
    assert words in top1_table(numbers).notes[0]
    without = numbers.verdicts.assign(
        value=numbers.verdicts["value"].where(numbers.verdicts["kind"] != "drop")
    )
    assert "no interval is given here. Drop:" in top1_table(replace(numbers, verdicts=without)).notes[0]


def test_top1_says_whose_average_was_read(numbers: Numbers) -> None:
    assert "; last weights; validation images" in top1_table(numbers).notes[0]
    recipes = numbers.study.pretrain
    one = recipes | {"convnext_mini": replace(recipes["convnext_mini"], ema=0.9999)}
    some = replace(numbers, study=replace(numbers.study, pretrain=one))
    assert "; last weights, of convnext_mini their running average; " in top1_table(some).notes[0]
    # An average that is kept and not handed on is not what was read.
    unused = {name: replace(recipe, ema=0.9999, hand_on="last") for name, recipe in recipes.items()}
    assert (
        replace(numbers, study=replace(numbers.study, pretrain=unused)).classifier_weights == "last weights"
    )


def test_an_alarm_stands_where_it_belongs(numbers: Numbers) -> None:
    alarmed, classes = replace(numbers, identical=("mfnet",)), pd.DataFrame(columns=["dataset", "baseline"])
    assert "ALARM" in main_table(alarmed).notes[0]
    said = {name: " ".join(dataset_table(alarmed, name, classes).notes) for name in ("mfnet", "isaid")}
    assert "bit-identical counts on MFNet" in said["mfnet"] and "ALARM" not in said["isaid"]


def test_the_best_baseline_is_visible_beside_the_deciding_one(paper) -> None:
    frame = pd.read_csv(paper.compare / "comparisons.csv")
    frame["best_baseline"] = frame["baseline"] == "rgb-zero"
    frame.to_csv(paper.compare / "comparisons.csv", index=False)
    table = comparisons_table(read_numbers(paper.study, paper.compare))
    places = [table.columns.index(name) for name in ("Baseline", "decides", "best")]
    found = {tuple(row[i].text for i in places) for row in table.rows}
    assert found == {("rgb-repeat", "yes", ""), ("rgb-zero", "", "yes"), ("rgb-reinit", "", "")}


def test_every_interval_and_effect_size_stands_beside_the_gain(demo) -> None:
    frame = pd.read_csv(demo.compare / "comparisons.csv")
    more = {"bootstrap_low": 0.01, "bootstrap_high": 0.02, "bca_low": 0.011, "bca_high": 0.021}
    frame = frame.assign(
        **more, paired_d=1.5, hedges_g=np.nan, standardised=2.25, improvement=0.75, detectable=0.034
    )
    frame.to_csv(demo.compare / "comparisons.csv", index=False)
    numbers = read_numbers(demo.study, demo.compare)
    table = effects_table(numbers)
    first = frame.iloc[0]
    assert [cell.text for cell in table.rows[0]] == [
        "iSAID",
        "convnext_mini",
        "rgb-repeat",
        f"{100 * first['estimate']:+.2f}",
        f"[{100 * first['low']:.2f}, {100 * first['high']:.2f}]",
        "[1.00, 2.00]",
        "[1.10, 2.10]",
        *("1.50", "n/a", "2.25", "0.75", "3.40"),
    ]
    assert len(table.rows) == 8 and "effects" in table_names(demo.study)


def test_subsets_have_a_table_where_a_study_names_them(demo) -> None:
    study = demo.study
    assert "subsets" not in table_names(study)
    evaluate = study.evaluate | {"mfnet": replace(study.evaluate["mfnet"], subsets=("day", "night"))}
    asked = replace(read_numbers(study, demo.compare), study=replace(study, evaluate=evaluate))
    (demo.compare / "subsets.csv").write_text(
        "dataset,backbone,subset,treatment,baseline,metric,treatment_value,baseline_value,estimate,low,high,units\n"
        "mfnet,swin_mini,day,csp,rgb-repeat,mIoU,0.5,0.4,0.1,-0.05,0.25,4\n"
        "mfnet,convnext_mini,night,csp,rgb-repeat,mIoU,,,,,,3\n"
    )
    table = subsets_table(asked, read_optional(demo.compare, "subsets"))
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["MFNet", "convnext_mini", "night", "mIoU", "rgb-repeat", "n/a", "n/a", "n/a", "n/a", "3"],
        [
            "MFNet",
            "swin_mini",
            "day",
            "mIoU",
            "rgb-repeat",
            "50.00",
            "40.00",
            "+10.00",
            "[-5.00, 25.00]",
            "4",
        ],
    ]
    names = [table.name for table in all_tables(asked, demo.compare)]
    assert names == table_names(asked.study) and "subsets" in names


def test_tables_follow_the_studys_order_of_datasets(demo) -> None:
    numbers = read_numbers(demo.study, demo.compare)
    rows = [
        {
            "dataset": dataset,
            "backbone": backbone,
            "baseline": "rgb-repeat",
            "test": "crossed t",
            "question": "q",
        }
        | {"p": 0.2, "smallest_p": 0.0, "pairs": 2, "exact": False, "reachable": True, "claim": "gain over 0"}
        | dict.fromkeys(
            ("assumed", "seeds", "units", "power", "detectable", "seeds_needed", "units_needed"), 0.5
        )
        for dataset in sorted(demo.study.datasets)
        for backbone in reversed(demo.study.backbones)
    ]
    order = [name for name in ("iSAID", "MFNet", "PST900", "Potsdam") for _ in range(2)]
    for table in (
        declared_tests_table(numbers, pd.DataFrame(rows)),
        power_table(numbers, pd.DataFrame(rows)),
    ):
        assert [row[0].text for row in table.rows] == order
        assert [row[1].text for row in table.rows[:2]] == ["convnext_mini", "swin_mini"]


def test_conventions_stand_by_pixels_then_classes_then_metric(demo) -> None:
    scores = pd.read_csv(demo.compare / "scores.csv")
    potsdam = scores[(scores["dataset"] == "potsdam") & ~scores["metric"].str.contains("/")].assign(
        primary=False
    )
    rows = [
        potsdam.assign(pixels=p, classes="all", metric=m) for p in ("eroded", "full") for m in ("OA", "mF1")
    ]
    other = scores[scores["metric"].str.contains("/") | (scores["dataset"] != "potsdam") | scores["primary"]]
    pd.concat([other, *rows]).drop_duplicates(
        ["dataset", "backbone", "arm", "seed", "metric", "pixels", "classes"]
    ).to_csv(demo.compare / "scores.csv", index=False)
    table = conventions_table(read_numbers(demo.study, demo.compare))
    found = [[cell.text for cell in row[2:5]] for row in table.rows if row[0].text == "Potsdam"]
    rules = demo.study.evaluate["potsdam"].pixels
    one = [
        [rule, *rest] for rule in rules for rest in _conventions(rule, demo.study.evaluate["potsdam"].primary)
    ]
    assert found == one * 2


def _conventions(rule: str, primary: str) -> list[list[str]]:
    return [["all", "mF1"], ["all", "OA"], *([["without clutter", "mF1"]] if rule == primary else [])]


def test_the_devices_memory_has_a_column_only_where_it_is_known(numbers: Numbers) -> None:
    cost = pd.DataFrame({
        "stage": ["finetune"] * 2, "name": ["a", "b"], "wall_seconds": [1.0, 2.0], "peak_memory_bytes": [2**30] * 2,
        "peak_device_memory_bytes": [np.nan] * 2, "device": ["cuda"] * 2,
    })  # fmt: skip
    assert "Device MiB" not in cost_table(numbers, cost).columns
    cost["peak_device_memory_bytes"] = [3 * 2**30, 5 * 2**30]
    table = cost_table(numbers, cost)
    assert table.rows[0][table.columns.index("Device MiB")].text == "5120"


@pytest.mark.parametrize(
    ("kind", "metric", "words"),
    [("ordering", "top1/reversed", "lead, reversed"), ("ordering", "mF1", "lead in mF1"),
     ("drop", "top1/natural", "drop of top-1"), ("gain", "mIoU", "gain in mIoU"), ("absolute", "mF1", "mF1")],
)  # fmt: skip
def test_a_tile_says_what_is_claimed(kind: str, metric: str, words: str) -> None:
    claim = pd.Series(
        {"kind": kind, "metric": metric, "value": 0.1, "low": 0.0, "high": 0.2, "verdict": "inconclusive"}
    )
    claim["paper_low"] = claim["paper_high"] = np.nan
    assert claim_texts(claim, "Potsdam", "average")["head"] == f"Potsdam: {words}\nmean of backbones"


def test_top1_draws_each_pre_training_by_itself(numbers: Numbers) -> None:
    frame = numbers.top1.assign(
        label=[f"{s}-{n}ch" for s, n in zip(numbers.top1["strategy"], numbers.top1["channels"], strict=True)]
    )
    more = frame[frame["strategy"] == "csp"].assign(
        label=lambda f: [f"csp-batch-{n}ch" for n in f["channels"]]
    )
    figure = plates._top1(replace(numbers, top1=pd.concat([frame, more])))
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks[:3] == ["rgb, n = 3", "csp, n = 3", "csp, n = 4"] and "csp-batch, n = 5" in ticks
    assert len(ticks) == 7
    plain = plates._top1(replace(numbers, top1=frame))
    assert [label.get_text() for label in plain.axes[0].get_xticklabels()][:2] == ["rgb\nn = 3", "csp\nn = 3"]


def test_a_study_that_pre_trains_nothing_says_so_in_the_place_of_curves(numbers: Numbers, demo) -> None:
    from bench.study.runs import Runs

    study = numbers.study
    arms = {
        "rgb-repeat": study.arms["rgb-repeat"],
        "csp": replace(study.arms["rgb-repeat"], strategy="scratch"),
    }
    published = {name: Published(timm=f"{name}.in1k") for name in study.backbones}
    runs = Runs(
        replace(study, scale="full", miniature=None, arms=arms, published=published), str(demo.results.parent)
    )
    figure = plates._pretrain_curves(numbers, demo.results, runs)
    assert any("pre-trains nothing" in text.get_text() for axes in figure.axes for text in axes.texts)


def test_words_beside_a_scene_stand_apart_from_the_next_row(paper) -> None:
    from bench.report.pictures import panels

    folder = paper.results / "evaluate" / "pst900" / "convnext_tiny"
    rule = {
        "scenes": {"00131D": "largest gain", "00907N": "largest loss"},
        "gains": {"00131D": 0.2, "00907N": 0.0131},
    }
    examples = read_examples(
        folder, ("red", "green", "blue", "thermal"), list(paper.study.arms), "ConvNeXt-T", rule
    )
    # The treatment loses nowhere: its worst scene is that of the smallest gain.
    assert [example.label.split("\n")[1] for example in examples] == [
        "largest gain +20.00",
        "smallest gain +1.31",
    ]
    low = [replace(example, target_HW=example.target_HW[:30], colour_HW3=example.colour_HW3[:30],
                   planes={k: v[:30] for k, v in example.planes.items()},
                   predictions={k: v[:30] for k, v in example.predictions.items()})
           for example in examples]  # fmt: skip
    classes = [f"c{i}" for i in range(5)]
    figure = panels(low, classes, [[50 * i] * 3 for i in range(5)], title="T")
    figure.draw_without_rendering()
    columns = len(figure.axes) // 2
    boxes = [figure.axes[row * columns].yaxis.label.get_window_extent() for row in range(2)]
    assert boxes[0].y0 >= boxes[1].y1 and boxes[0].x0 >= 0


def test_pairs_of_axes_are_those_that_some_arm_changes_together() -> None:
    base = {"scope": "image", "fill": "cycle", "epochs": 1}
    factors = {
        "csp": base,
        "b": base | {"scope": "batch"},
        "f": base | {"fill": "random"},
        "e": base | {"epochs": 2},
    }
    axes = ["scope", "fill", "epochs"]
    assert grid_figures.crossed_pairs(factors, "csp", axes) == []
    both = factors | {"bf": base | {"scope": "batch", "fill": "random"}}
    assert grid_figures.crossed_pairs(both, "csp", axes) == [("scope", "fill")]


def test_nothing_is_said_in_words() -> None:
    figure = figures.nothing("Nothing here.", title="T", stamp="MINIATURE")
    assert [text.get_text() for text in figure.axes[0].texts] == ["Nothing here."]


def test_ranks_stand_in_the_order_of_numbers(paper) -> None:
    from bench.report.inference_tables import ranks_table

    ranks = pd.DataFrame(
        {"arm": ["a", "b", "c"], "average_rank": [10.0, 4.5, 1.0], "best_in": 0, "blocks": 2}
    )
    ranks = ranks.assign(p_friedman=0.2, critical_difference=3.0, statement="over x")
    pairs = pd.DataFrame(columns=["first", "second", "rank_difference", "critical_difference"])
    table = ranks_table(read_numbers(paper.study, paper.compare), ranks, pairs)
    assert [row[1].text for row in table.rows] == ["1.00", "4.50", "10.00"]


def test_other_work_stands_beside_the_target_and_not_beside_a_part_of_its_channels(demo) -> None:
    from bench.report.paper_tables import context_table

    numbers = read_numbers(demo.study, demo.compare)
    part = replace(demo.study.datasets["mfnet"], source="mfnet", channels=("red", "green", "blue"))
    # The part stands first, and last: the target itself is held against other work either way.
    for datasets in ({"mfnet-rgb": part} | demo.study.datasets, demo.study.datasets | {"mfnet-rgb": part}):
        evaluate = demo.study.evaluate | {"mfnet-rgb": demo.study.evaluate["mfnet"]}
        finetune = demo.study.finetune | {"mfnet-rgb": demo.study.finetune["mfnet"]}
        study = replace(demo.study, datasets=datasets, evaluate=evaluate, finetune=finetune)
        published = [
            dict.fromkeys("method backbone metric value classes protocol source status".split(), "x")
        ]
        table = context_table(replace(numbers, study=study), [published[0] | {"dataset": "mfnet"}])
        assert {row[0].text for row in table.rows} == {"MFNet"} and len(table.rows) == 3


def test_an_arm_of_its_own_epochs_says_so(demo) -> None:
    from bench.report.protocol import arm_words

    assert arm_words(replace(demo.study.arms["csp"], epochs=50)).endswith("; for 50 epochs")
    assert "epochs" not in arm_words(demo.study.arms["csp"])
