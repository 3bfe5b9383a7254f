"""A study that does not run everything everywhere: tables and figures show what it runs, and nothing else.

The committed small study is one: two backbones, three targets, six arms, of which some places have two and three pairs.
"""

from pathlib import Path

import pandas as pd
import pytest

from bench.report.dataset_tables import dataset_table
from bench.report.numbers import Numbers, read_numbers
from bench.report.plates import draw
from bench.report.tables import main_table
from bench.study.reading import load_study

MINI = Path(__file__).parents[2] / "results" / "published" / "mini"
PARTLY_EMPTY = (
    "curves_finetune",
    "boundary",
    "spectral",
    "top1_spectral",
    "per_class_crack",
    "top1",
    "forest",
)


@pytest.fixture(scope="module")
def mini() -> Numbers:
    return read_numbers(load_study(MINI / "study.yaml"), MINI / "compare")


def test_the_main_table_has_a_row_for_each_place_that_runs(mini):
    places = {(row[0].text, row[1].text) for row in main_table(mini).rows}
    scored = mini.scores[["dataset", "backbone"]].drop_duplicates()
    assert places == set(scored.itertuples(index=False, name=None)) and len(places) == 4


def test_a_table_of_a_dataset_has_the_arms_that_run_on_each_backbone(mini):
    classes = pd.read_csv(MINI / "compare" / "classes.csv")
    table = dataset_table(mini, "crack", classes)
    groups = list(zip(table.groups, table.columns, strict=True))
    assert [arm for backbone, arm in groups if backbone == "swin_mini"] == ["rgb-repeat", "csp", "gain"]
    assert len([arm for backbone, arm in groups if backbone == "convnext_mini"]) == 7
    assert "swin_mini" not in dataset_table(mini, "crack-rgb", classes).groups


def test_words_say_that_some_places_have_fewer_pairs(mini):
    assert mini.repetitions == "8 matched pairs of pre-training and fine-tuning, at some places 3"


def test_no_figure_has_an_empty_panel(mini):
    drawn = {name: figure for name, figure in draw(mini, MINI, pictures=False) if name in PARTLY_EMPTY}
    assert sorted(drawn) == sorted(PARTLY_EMPTY)
    for name, figure in drawn.items():
        # A warning of a layout that collapsed is an error here.
        figure.get_layout_engine().execute(figure)
        shown = [axes for axes in figure.axes if axes.get_visible()]
        assert shown and all(axes.has_data() for axes in shown), name


def test_a_page_without_any_number_of_the_paper_begins_with_the_classifiers(mini):
    assert not mini.judged
    assert "![Top-1](figures/top1.png)" in (MINI / "README.md").read_text()
