"""A study's own words: read as paragraphs, headings and items, printed by the report and the published page."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from bench.errors import BenchError
from bench.report import paper as report
from bench.report.discussion import Block, path_of, read_discussion
from bench.study.outputs import figure_names

TEXT = """## What the numbers allow

The gain is +0.6 points,
with an interval that holds zero.

- one item
  on two lines
- another
After it, still the item.

Last words.
"""


def test_a_discussion_is_headings_paragraphs_and_items(tmp_path: Path) -> None:
    (tmp_path / "words.md").write_text(TEXT)
    assert read_discussion(tmp_path / "words.md") == [
        Block("heading", "What the numbers allow"),
        Block("paragraph", "The gain is +0.6 points, with an interval that holds zero."),
        Block("item", "one item on two lines"),
        Block("item", "another After it, still the item."),
        Block("paragraph", "Last words."),
    ]
    assert read_discussion(None) == []


def test_the_report_prints_it_as_it_stands(demo, tmp_path: Path) -> None:
    pixel = io.BytesIO()
    Image.new("L", (1, 1)).save(pixel, format="png")
    (demo.results / "figures").mkdir()
    for name in figure_names(demo.study):
        (demo.results / "figures" / f"{name}.png").write_bytes(pixel.getvalue())
    words = tmp_path / "words.md"
    words.write_text(TEXT)
    study = replace(demo.study, discussion=str(words))
    out = tmp_path / "report" / "report.pdf"
    report.write_report(study, demo.results, out)
    printed = json.loads(out.with_name("report.json").read_text())["discussion"]
    assert [part["kind"] for part in printed] == ["heading", "paragraph", "item", "item", "paragraph"]
    plain = tmp_path / "plain" / "report.pdf"
    report.write_report(demo.study, demo.results, plain)
    assert len(out.read_bytes()) > len(plain.read_bytes())


def test_a_discussion_that_is_named_and_missing_is_asked_for(demo) -> None:
    study = replace(demo.study, discussion="paper/nowhere.md")
    with pytest.raises(BenchError, match=r"nowhere\.md: no such file; the study names it as its discussion"):
        path_of(study)
