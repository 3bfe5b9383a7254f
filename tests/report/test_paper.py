"""The report as PDF, set by typst."""

import dataclasses
import io
import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from bench.errors import BenchError
from bench.report import paper as report
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
