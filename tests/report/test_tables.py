"""The tables of a study: numbers, labels, refusals."""

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.errors import BenchError
from bench.report.extra_tables import disturbance_words
from bench.report.formats import dagger, interval, p_value, percent
from bench.report.numbers import COLUMNS, dataset_label, missing_cells, read_numbers
from bench.report.tables import main_table, main_table_text, write_tables
from bench.stats.compare import TABLES as WRITTEN
from bench.study.outputs import table_names


def rewrite(path: Path, **columns: object) -> None:
    """Write a CSV anew with some columns replaced."""
    pd.read_csv(path).assign(**columns).to_csv(path, index=False)


def rows_of(path: Path) -> list[dict[str, str]]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# ")]
    return list(csv.DictReader(lines))


def test_fractions_become_per_cent_once() -> None:
    assert percent(0.65864) == "65.86"
    assert percent(0.0131, signed=True) == "+1.31"
    # -0.00001 is -0.001 per cent, which rounds to zero: no minus is left.
    assert percent(-0.00001) == "0.00" and percent(-0.00001, signed=True) == "+0.00"
    assert percent(float("nan")) == "n/a"
    assert interval(-0.007, 0.033) == "[-0.70, 3.30]" and interval(float("nan"), 0.1) == "n/a"
    assert p_value(0.0004) == "<0.001" and p_value(0.3104) == "0.310"


def test_every_table_is_written_in_three_forms_and_carries_the_label(demo) -> None:
    out = demo.results / "tables"
    write_tables(demo.study, demo.compare, out)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [
            *(f"{name}.{kind}" for name in table_names(demo.study) for kind in ("csv", "html", "md", "tex")),
            "main.txt",
        ]
    )
    for name in table_names(demo.study):
        assert (out / f"{name}.csv").read_text().startswith("# MINIATURE. ")
        assert (out / f"{name}.md").read_text().startswith("**MINIATURE. ")
        assert r"\caption{MINIATURE. " in (out / f"{name}.tex").read_text()
    note = (out / "main.csv").read_text()
    assert "2 fine-tuning seeds on one pre-training; last weights" in note
    assert "95 % intervals for one pre-training" in note


def test_a_full_size_study_carries_no_label(paper) -> None:
    write_tables(paper.study, paper.compare, paper.results / "tables")
    for path in (paper.results / "tables").iterdir():
        assert not re.search("MINIATURE|SMALL SCALE|PARTIAL", path.read_text())


def test_latex_tables_are_balanced_and_have_equal_rows(paper) -> None:
    write_tables(paper.study, paper.compare, paper.results / "tables")
    for path in (paper.results / "tables").glob("*.tex"):
        text = path.read_text()
        assert text.count("{") == text.count("}"), path.name
        rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1, path.name
        columns = re.search(r"\\begin\{tabular\}\{((?:[lr]|p\{[\d.]+em\})+)\}", text)
        assert (
            columns and len(re.sub(r"\{.*?\}", "", columns[1])) == len(re.findall(r"(?<!\\)&", rows[0])) + 1
        )
        plain = text.replace(r"\\", "").replace("$-$", "").replace("$<$", "").replace("{!}{%", "")
        plain = re.sub(r"\$\^\\d?dagger\$", "", plain)
        assert not re.search(r"(?<!\\)[_%#$]", plain), path.name


def test_main_table_holds_the_means_and_the_gain(demo) -> None:
    write_tables(demo.study, demo.compare, demo.results / "tables")
    row = rows_of(demo.results / "tables" / "main.csv")[2]
    scores = pd.read_csv(demo.compare / "scores.csv")
    own = scores.query("primary and dataset == 'mfnet' and backbone == 'convnext_mini'")
    by_hand = {arm: np.mean(group["value"]) for arm, group in own.groupby("arm")}
    assert row["Dataset"] == "MFNet" and row["Backbone"] == "convnext_mini" and row["Metric"] == "mIoU"
    assert float(row["csp"]) == pytest.approx(100 * by_hand["csp"], abs=0.005)
    assert float(row["rgb-repeat"]) == pytest.approx(100 * by_hand["rgb-repeat"], abs=0.005)
    gain = 100 * (by_hand["csp"] - by_hand["rgb-repeat"])
    assert float(row["csp - rgb-repeat"]) == pytest.approx(gain, abs=0.005)
    assert row["Verdict"] == "reproduced"


def test_comparisons_hold_the_treatment_against_each_baseline(paper) -> None:
    write_tables(paper.study, paper.compare, paper.results / "tables")
    rows = rows_of(paper.results / "tables" / "comparisons.csv")
    # 4 datasets x 2 backbones x 3 baselines
    assert len(rows) == 24
    assert {row["Baseline"] for row in rows} == {"rgb-repeat", "rgb-zero", "rgb-reinit"}
    assert {row["Baseline"] for row in rows if row["decides"] == "yes"} == {"rgb-repeat"}


@pytest.mark.parametrize(("p", "bold"), [(0.049, True), (0.05, False), (float("nan"), False)])
def test_bold_stands_only_below_the_level(demo, p: float, bold: bool) -> None:
    rewrite(demo.compare / "comparisons.csv", p_holm=p)
    table = main_table(read_numbers(demo.study, demo.compare))
    assert {cell.bold for row in table.rows for cell in row} == ({True, False} if bold else {False})
    assert any("Holm" in note and "0.05" in note for note in table.notes)


def test_arms_that_are_one_run_are_never_bold(demo) -> None:
    rewrite(demo.compare / "comparisons.csv", p_holm=0.001, same_run="true")
    table = main_table(read_numbers(demo.study, demo.compare))
    assert not any(cell.bold for row in table.rows for cell in row)


def test_a_missing_run_stops_the_tables_by_name_and_leaves_nothing(demo) -> None:
    path = demo.compare / "scores.csv"
    scores = pd.read_csv(path)
    lost = (scores["dataset"] == "pst900") & (scores["arm"] == "csp") & (scores["seed"] == 1)
    scores[~(lost & (scores["backbone"] == "swin_mini"))].to_csv(path, index=False)
    with pytest.raises(BenchError, match="no headline score for pst900/swin_mini/csp/seed1; run them"):
        write_tables(demo.study, demo.compare, demo.results / "tables")
    assert not (demo.results / "tables").exists()
    write_tables(demo.study, demo.compare, demo.results / "tables", partial=True)
    for file in (demo.results / "tables").iterdir():
        assert "MINIATURE, PARTIAL. " in file.read_text()


def test_partial_stamps_nothing_where_nothing_is_missing(demo) -> None:
    assert read_numbers(demo.study, demo.compare, partial=True).stamp == "MINIATURE"


def test_an_undefined_score_counts_as_missing(demo) -> None:
    scores = read_numbers(demo.study, demo.compare).scores
    scores.loc[scores["primary"].idxmax(), "value"] = float("nan")
    assert missing_cells(demo.study, scores) == ["isaid/convnext_mini/rgb-repeat/seed0"]


def test_same_input_gives_the_same_bytes(demo) -> None:
    first, second = (demo.results / name for name in ("one", "two"))
    for out in (first, second):
        write_tables(demo.study, demo.compare, out)
    assert all(path.read_bytes() == (second / path.name).read_bytes() for path in first.iterdir())


@pytest.mark.parametrize("case", ["demo", "paper"])
def test_main_text_fits_a_terminal(case: str, request: pytest.FixtureRequest) -> None:
    found = request.getfixturevalue(case)
    text = main_table_text(found.study, found.compare)
    assert max(map(len, text.splitlines())) <= 100
    # One block: the rule under the header appears once, so all columns stand side by side.
    assert sum(set(line) == {"-"} for line in text.splitlines()) == 3


def test_a_lacking_column_or_file_is_named(demo) -> None:
    path = demo.compare / "verdicts.csv"
    pd.read_csv(path).drop(columns="verdict").to_csv(path, index=False)
    with pytest.raises(BenchError, match=r"verdicts\.csv: lacks the columns verdict; run `bench compare`"):
        read_numbers(demo.study, demo.compare)
    path.unlink()
    with pytest.raises(BenchError, match=r"verdicts\.csv: no such table; run `bench compare` first"):
        read_numbers(demo.study, demo.compare)


def test_the_comparison_writes_every_column_that_the_report_reads() -> None:
    for name, columns in COLUMNS.items():
        assert set(columns.split()) <= set(WRITTEN[name].split()), name


def test_names_are_written_as_the_catalogue_spells_them(demo) -> None:
    assert [dataset_label(demo.study, name) for name in ("isaid", "potsdam", "imagenet1k", "own")] == [
        "iSAID",
        "Potsdam",
        "ImageNet-1K",
        "own",
    ]


def test_claims_say_the_papers_range_and_the_verdict(demo) -> None:
    write_tables(demo.study, demo.compare, demo.results / "tables")
    rows = {row["Claim"]: row for row in rows_of(demo.results / "tables" / "claims.csv")}
    assert rows["isaid-gain"]["Paper"] == "+0.80 to +1.60"
    assert rows["mfnet-gain"]["Paper"] == "+6.60" and rows["mfnet-gain"]["Verdict"] == "reproduced"
    assert rows["reversed-order"]["Paper"] == "in words"
    assert rows["top1-drop"]["Paper"] == "1.40 to 3.80"


def test_top1_says_what_reversing_costs(demo) -> None:
    write_tables(demo.study, demo.compare, demo.results / "tables")
    rows = rows_of(demo.results / "tables" / "top1.csv")
    assert rows[0]["Pre-training"] == "rgb" and rows[0]["drop from rgb"] == ""
    for row in rows:
        fall = float(row["reversed"]) - float(row["natural"])
        assert float(row["reversed - natural"]) == pytest.approx(fall, abs=0.011)


def test_an_alarm_for_identical_counts_stands_under_the_main_table(demo) -> None:
    assert "ALARM" not in main_table_text(demo.study, demo.compare)
    (demo.compare / "alarms.csv").write_text(
        "kind,dataset,backbone,first,second,reason\nidentical counts,mfnet,convnext_mini,a,b,why\n"
    )
    text = " ".join(main_table_text(demo.study, demo.compare).split())
    assert "ALARM: runs of different settings gave bit-identical counts on MFNet" in text


def test_a_dataset_stands_in_the_papers_layout_with_the_distance_to_its_best(demo) -> None:
    write_tables(demo.study, demo.compare, demo.results / "tables")
    rows = {row["Class"]: row for row in rows_of(demo.results / "tables" / "dataset_potsdam.csv")}
    scores = pd.read_csv(demo.compare / "scores.csv").query("dataset == 'potsdam' and arm == 'csp'")
    own = scores[(scores["backbone"] == "swin_mini") & scores["primary"]]["value"]
    column = "swin_mini csp"
    assert float(rows["mF1 without clutter"][column]) == pytest.approx(100 * own.mean(), abs=0.005)
    # The standard deviation of n values has n - 1 below the sum of squares.
    spread = np.sqrt(((own - own.mean()) ** 2).sum() / (len(own) - 1))
    assert float(rows["SD over seeds"][column]) == pytest.approx(100 * spread, abs=0.005)
    assert float(rows["minus the paper's best"][column]) == pytest.approx(
        100 * (own.mean() - 0.9188), abs=0.005
    )
    car = scores[(scores["backbone"] == "swin_mini") & (scores["metric"] == "F1/car")]["value"]
    assert float(rows["car"][column]) == pytest.approx(100 * car.mean(), abs=0.005)
    gain = float(rows["csp - arm"]["swin_mini rgb-repeat"])
    assert float(rows["95 % interval, from"]["swin_mini rgb-repeat"]) == pytest.approx(gain - 2, abs=0.011)
    assert float(rows["to"]["swin_mini rgb-repeat"]) == pytest.approx(gain + 2, abs=0.011)


def test_an_arm_that_does_not_run_on_a_dataset_has_no_column_there(paper) -> None:
    path = paper.compare / "scores.csv"
    scores = pd.read_csv(path)
    scores[(scores["dataset"] != "isaid") | (scores["arm"] != "rgb-reinit")].to_csv(path, index=False)
    write_tables(paper.study, paper.compare, paper.results / "tables", partial=True)
    assert "rgb-reinit" not in rows_of(paper.results / "tables" / "dataset_isaid.csv")[0]
    assert "Swin-T rgb-reinit" in rows_of(paper.results / "tables" / "dataset_mfnet.csv")[0]


def test_a_class_gain_is_bold_only_below_the_level(demo) -> None:
    rows = []
    for name, p in (("F1/car", 0.01), ("F1/tree", 0.2)):
        rows.append(
            f"potsdam,swin_mini,csp,rgb-repeat,{name},eroded,0.5,0.4,0.1,0.05,0.15,0.05,3,0.01,{p},2,40,c,s"
        )
    (demo.compare / "classes.csv").write_text(
        WRITTEN["classes"].replace(" ", ",") + "\n" + "\n".join(rows) + "\n"
    )
    write_tables(demo.study, demo.compare, demo.results / "tables")
    lines = (demo.results / "tables" / "dataset_potsdam.md").read_text().splitlines()
    assert "**+10.00**" in next(line for line in lines if line.startswith("| car "))
    assert "| +10.00 |" in next(line for line in lines if line.startswith("| tree "))


def test_every_convention_stands_beside_the_headline(demo) -> None:
    write_tables(demo.study, demo.compare, demo.results / "tables")
    rows = rows_of(demo.results / "tables" / "conventions.csv")
    # Four datasets, two backbones, the headline metric and OA each.
    assert len(rows) == 16
    headline = [row for row in rows if row[""] == "headline"]
    assert {(row["Dataset"], row["Metric"]) for row in headline} == {
        ("iSAID", "mIoU"), ("MFNet", "mIoU"), ("PST900", "mIoU"), ("Potsdam", "mF1"),
    }  # fmt: skip


def test_ranks_are_means_over_datasets_and_backbones(paper) -> None:
    write_tables(paper.study, paper.compare, paper.results / "tables")
    rows = {row["Arm"]: row for row in rows_of(paper.results / "tables" / "ranks.csv")}
    wide = (
        pd.read_csv(paper.compare / "scores.csv")
        .query("primary")
        .pivot_table(index=["dataset", "backbone"], columns="arm", values="value")
    )
    # By hand: one more than the number of arms that are better.
    place = np.mean([1 + sum(other > row["csp"] for other in row) for _, row in wide.iterrows()])
    assert float(rows["csp"]["Mean rank"]) == pytest.approx(place, abs=0.005)
    assert {row["Cells"] for row in rows.values()} == {"8"}


def test_other_work_stands_beside_this_study_and_is_not_ranked(demo) -> None:
    header = "dataset,method,backbone,metric,value,classes,protocol,source,status"
    (demo.compare / "context.csv").write_text(
        f"{header}\nisaid,PFNet,R50,mIoU,66.9,16,val,a README,confirmed\n"
    )
    write_tables(demo.study, demo.compare, demo.results / "tables")
    rows = rows_of(demo.results / "tables" / "context.csv")
    assert [row["Method"] for row in rows] == ["this study, csp"] * 2 + ["PFNet"]
    assert rows[0]["Status"] == "MINIATURE" and rows[2]["Value"] == "66.9"
    (demo.compare / "context.csv").write_text("dataset,value\nisaid,66.9\n")
    with pytest.raises(BenchError, match=r"context\.csv: lacks the columns method, backbone, metric"):
        write_tables(demo.study, demo.compare, demo.results / "tables")


def test_a_dagger_says_why_there_is_no_test() -> None:
    row = pd.Series({"same_run": True, "statement": "both arms are one run: no test"})
    assert dagger(row) == "†"
    guard = "the sign-flip test over units cannot fall below p = 0.5, the first threshold is 0.025"
    assert dagger(pd.Series({"same_run": False, "statement": guard})) == "‡"
    assert dagger(pd.Series({"same_run": False, "statement": "3 pre-trainings and 40 test units"})) == ""


def test_tables_of_spectra_and_boundaries_appear_with_their_rows(demo) -> None:
    out = demo.results / "tables"
    write_tables(demo.study, demo.compare, out)
    assert not (out / "spectral.csv").exists() and not (out / "boundary.csv").exists()
    (demo.compare / "boundary.csv").write_text(
        "dataset,backbone,arm,seed,metric,width,region,value\n"
        "potsdam,swin_mini,csp,0,boundary mF1,2,boundary,0.5\npotsdam,swin_mini,csp,1,boundary mF1,2,boundary,0.7\n"
        "potsdam,swin_mini,rgb-repeat,0,boundary mF1,2,boundary,0.4\npotsdam,swin_mini,csp,0,mF1,2,near,0.25\n"
    )
    (demo.compare / "spectral.csv").write_text(
        "dataset,backbone,arm,seed,probe,strength,metric,value\n"
        "mfnet,swin_mini,csp,0,gain/red,0.5,mIoU,0.5\nmfnet,swin_mini,csp,1,gain/red,0.5,mIoU,0.3\n"
        "mfnet,swin_mini,csp,0,undisturbed,,mIoU,0.6\nmfnet,swin_mini,csp,1,undisturbed,,mIoU,0.6\n"
    )
    (demo.compare / "further.csv").write_text(
        "dataset,backbone,measure,treatment,baseline,estimate,low,high\n"
        'potsdam,swin_mini,"boundary mF1, 2 px",csp,rgb-repeat,0.2,0.1,0.3\n'
        'potsdam,swin_mini,"boundary mF1, 2 px",csp,other,0.9,0.1,0.3\n'
        'mfnet,swin_mini,"mIoU, gain0.5/red",csp,rgb-repeat,0.9,0.1,0.3\n'
        'mfnet,swin_mini,"drop of mIoU, gain0.5/red",csp,rgb-repeat,-0.05,-0.1,0.02\n'
    )
    write_tables(demo.study, demo.compare, out)
    edge, near = rows_of(out / "boundary.csv")
    # The mean of 0.5 and 0.7; the gain and interval of the row against the deciding baseline.
    assert (edge["csp"], edge["rgb-repeat"], edge["Measure"], edge["Width"]) == (
        "60.00",
        "40.00",
        "boundary mF1",
        "2",
    )
    assert (edge["csp - rgb-repeat"], edge["95 % interval"]) == ("+20.00", "[10.00, 30.00]")
    assert near["Measure"] == "mF1 near edges" and near["csp - rgb-repeat"] == "n/a"
    plain, gain = rows_of(out / "spectral.csv")
    # The scenes as they are come first: 60, and nothing is lost; halving red leaves the mean of 50 and 30.
    assert (plain["Disturbance"], plain["csp score"], plain["csp drop"]) == ("as it is", "60.00", "")
    assert (gain["Disturbance"], gain["csp score"], gain["csp drop"]) == ("red x 0.5", "40.00", "20.00")
    drops = "drop of csp - drop of rgb-repeat"
    assert (gain[f"{drops} difference"], gain[f"{drops} 95 % interval"]) == ("-5.00", "[-10.00, 2.00]")


def test_a_disturbance_is_named_in_words() -> None:
    found = [
        disturbance_words(*pair)
        for pair in (
            ("mean/near_infrared", ""),
            ("offset/red", "1"),
            ("offset/red", "-1"),
            ("order", "2"),
            ("reversed", ""),
        )
    ]
    assert found == ["near infrared silenced", "red +1 SD", "red -1 SD", "random order 2", "reversed"]


def test_energy_has_a_column_only_where_it_was_measured(demo) -> None:
    write_tables(demo.study, demo.compare, demo.results / "tables")
    assert "kWh" not in rows_of(demo.results / "tables" / "cost.csv")[0]
    rewrite(demo.compare / "cost.csv", energy_joules=3.6e6)
    write_tables(demo.study, demo.compare, demo.results / "tables")
    row = rows_of(demo.results / "tables" / "cost.csv")[0]
    assert float(row["kWh"]) == float(row["Jobs"])
