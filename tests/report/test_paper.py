"""The report as PDF, set by typst."""

import csv
import dataclasses
import io
import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from bench.errors import BenchError
from bench.report import paper as report
from bench.report import protocol
from bench.report.numbers import read_numbers
from bench.study.outputs import figure_names


@pytest.fixture
def drawn(demo):
    """The miniature study with a one-pixel picture in the place of each figure."""
    pixel = io.BytesIO()
    Image.new("L", (1, 1)).save(pixel, format="png")
    (demo.results / "figures").mkdir()
    for name in figure_names(demo.study):
        (demo.results / "figures" / f"{name}.png").write_bytes(pixel.getvalue())
    return demo


def test_the_report_is_a_pdf_and_leaves_nothing_else_but_its_data(drawn) -> None:
    out = drawn.results / "report" / "report.pdf"
    report.write_report(drawn.study, drawn.results, out)
    assert out.read_bytes().startswith(b"%PDF-")
    assert sorted(path.name for path in out.parent.iterdir()) == ["report.json", "report.pdf"]
    content = json.loads((out.parent / "report.json").read_text())
    assert content["stamp"] == "MINIATURE"
    assert "for one pre-training" in content["repetitions"]


def test_the_same_files_give_the_same_pdf(drawn) -> None:
    outs = [drawn.results / name / "report.pdf" for name in ("one", "two")]
    for out in outs:
        report.write_report(drawn.study, drawn.results, out)
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_the_reports_numbers_are_those_of_the_tables(drawn) -> None:
    content = report.report_content(read_numbers(drawn.study, drawn.compare), drawn.compare)
    main = content["tables"]["main"]
    column = main["columns"].index("csp")
    scores = pd.read_csv(drawn.compare / "scores.csv").query(
        "primary and arm == 'csp' and dataset == 'isaid'"
    )
    expected = scores[scores["backbone"] == "convnext_mini"]["value"].mean()
    assert float(main["rows"][0][column]["text"]) == pytest.approx(100 * expected, abs=0.005)


def test_what_was_not_run_is_said(drawn) -> None:
    said = " ".join(report.not_run(read_numbers(drawn.study, drawn.compare)))
    assert "No published dataset was read" in said
    assert "ConvNeXt-T, Swin-T were not trained" in said
    assert "potsdam-best, top1-drop" in said


def test_a_study_without_a_dataset_of_the_paper_says_so(drawn) -> None:
    numbers = read_numbers(drawn.study, drawn.compare)
    datasets = {name: target for name, target in drawn.study.datasets.items() if name != "potsdam"}
    smaller = dataclasses.replace(numbers, study=dataclasses.replace(drawn.study, datasets=datasets))
    assert "Of the paper's datasets this study leaves out ISPRS Potsdam." in report.not_run(smaller)


def test_mixed_commits_stand_apart_in_the_receipts(drawn) -> None:
    path = drawn.compare / "receipts.csv"
    receipts = pd.read_csv(path)
    receipts.loc[0, "commit"] = "f" * 40
    receipts.loc[0, "dirty"] = True
    receipts.to_csv(path, index=False)
    rows = report.report_content(read_numbers(drawn.study, drawn.compare), drawn.compare)["receipts"]
    assert [row["commit"] for row in rows] == ["f" * 12 + " with uncommitted changes", "0123456789ab"]
    assert rows[0]["runs"] == "1 pretrain"


def test_typsts_complaint_is_passed_on_and_no_pdf_is_left(drawn, tmp_path: Path) -> None:
    broken = tmp_path / "broken.typ"
    broken.write_text("#unknown-function()\n")
    out = drawn.results / "report" / "report.pdf"
    with pytest.raises(BenchError, match=r"broken\.typ: typst cannot set the report: unknown variable"):
        report.write_report(drawn.study, drawn.results, out, template=broken)
    assert not out.exists()


def test_a_missing_figure_is_named(drawn) -> None:
    (drawn.results / "figures" / "forest.png").unlink()
    with pytest.raises(BenchError, match=r"forest\.png: no such file; the report needs it"):
        report.write_report(drawn.study, drawn.results, drawn.results / "report" / "report.pdf")


def test_the_template_fetches_no_package() -> None:
    assert "@preview" not in report.TEMPLATE.read_text()


def test_the_title_says_re_only_where_every_gain_is_decided_at_full_scale(paper) -> None:
    numbers = read_numbers(paper.study, paper.compare)

    def titled(*gains: str, **changes: object) -> str:
        verdicts = numbers.verdicts.copy()
        verdicts.loc[verdicts["kind"] == "gain", "verdict"] = gains
        return report.outcome(dataclasses.replace(numbers, verdicts=verdicts, **changes))

    assert titled("reproduced", "reproduced", "reproduced") == "[Re]"
    assert titled("reproduced", "not reproduced", "reproduced") == "[not Re]"
    for undecided in ("inconclusive", "not comparable"):
        assert titled("reproduced", undecided, "not reproduced") == ""
    assert titled("reproduced", "reproduced", "reproduced", partial=True) == ""
    assert titled("reproduced", "reproduced", "reproduced", identical=("mfnet",)) == ""
    small = dataclasses.replace(paper.study, scale="small")
    assert titled("reproduced", "reproduced", "reproduced", study=small) == ""


def test_alarms_and_mixed_circumstances_stand_in_the_report(drawn) -> None:
    (drawn.compare / "alarms.csv").write_text(
        "kind,dataset,backbone,first,second,reason\nidentical counts,mfnet,convnext_mini,a,b,bit-identical to b\n"
    )
    (drawn.compare / "notes.csv").write_text(
        "kind,value,runs,reason\ncommit,aaaa,x;y,runs of one study differ in commit\ncommit,bbbb,z,runs differ\n"
        "uncommitted changes,yes,x;y;z,the commit does not say what ran\n"
    )
    content = report.report_content(read_numbers(drawn.study, drawn.compare), drawn.compare)
    assert content["alarms"] == [{"kind": "identical counts", "first": "a", "reason": "bit-identical to b"}]
    assert content["notes"] == [
        "The runs differ in commit: aaaa (2 runs), bbbb (1 run). Runs of one study differ in commit.",
        "Uncommitted changes: yes (3 runs). The commit does not say what ran.",
    ]


def test_the_ledger_says_where_a_study_differs(tmp_path: Path) -> None:
    path, study = tmp_path / "ledger.csv", tmp_path / "study.yaml"
    path.write_text(
        "setting,value,status,source,why\npretrain.common.lr,1e-3,default,s,w\nscale,full,stated,s,w\n"
        "seed,0,default,s,w\ncode.x,f,default,s,w\n"
    )
    study.write_text("scale: miniature\npretrain: {common: {lr: 0.001}}\n")
    found = {row["setting"]: row["here"] for row in protocol.ledger(study, path)}
    # 1e-3 and 0.001 are one number; the seed is not written; the behaviour of code is every study's.
    assert found == {"pretrain.common.lr": "", "scale": "miniature", "seed": "unset", "code.x": ""}
    assert {row["here"] for row in protocol.ledger(None, path)} == {""}
    path.write_text("setting,value\nseed,0\n")
    with pytest.raises(
        BenchError, match=r"ledger\.csv: expected the columns setting, value, status, source, why"
    ):
        protocol.ledger(study, path)


def test_the_whole_ledger_of_the_paper_is_in_the_report(drawn) -> None:
    rows = list(csv.DictReader(protocol.LEDGER.read_text().splitlines()))
    content = report.report_content(read_numbers(drawn.study, drawn.compare), drawn.compare)
    assert [row["setting"] for row in content["ledger"]] == [row["setting"] for row in rows]
