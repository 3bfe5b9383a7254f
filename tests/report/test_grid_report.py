"""A grid's tables and figures say what each level is worth, from scores that can be summed by head."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.report import grid_figures
from bench.report.grid_tables import grid_scores, grid_table
from bench.report.numbers import Numbers
from bench.study.outputs import compare_tables, figure_names, table_names
from bench.study.reading import load_study

ROOT = Path(__file__).parents[2]
WORTH = {
    "scope": {"image": 0.0, "batch": 0.02},
    "probability": {1.0: 0.0, 0.5: -0.05},
    "fill": {"cycle": 0, "random": 0},
}


@pytest.fixture(scope="module")
def numbers():
    """The small grid with a score of 60 %, 2 points for batches, -5 for half the draws, and 1 more for both."""
    study = load_study(ROOT / "tests" / "study" / "grid.yaml")
    rows = []
    for arm in study.arms:
        levels = study.factors.get(arm, {})
        value = 0.6 + sum(WORTH[axis][level] for axis, level in levels.items())
        value += 0.01 if levels.get("scope") == "batch" and levels.get("probability") == 0.5 else 0.0
        for seed, noise in enumerate((-0.01, 0.01)):
            rows.append(("mfnet", "convnext_mini", arm, seed, "mIoU", "full", "all", value + noise, True))
    columns = "dataset backbone arm seed metric pixels classes value primary".split()
    empty = pd.DataFrame({"statement": pd.Series(dtype=str), "method": pd.Series(dtype=str)})
    return Numbers(study, pd.DataFrame(rows, columns=columns), empty, empty, empty)


def test_only_arms_of_the_grid_are_in_it_each_with_its_levels(numbers):
    found = grid_scores(numbers)
    assert len(found) == 8 and "rgb" not in set(found["arm"])
    row = found[found["arm"] == "csp-batch-p50"].iloc[0]
    assert (row["scope"], row["probability"], row["fill"]) == ("batch", "0.5", "cycle")
    assert row["value"] == pytest.approx(0.6 + 0.02 - 0.05 + 0.01)


def test_the_table_gives_one_factor_at_a_time_and_the_mean_at_a_level(numbers):
    cells = {(row[2].text, row[3].text): [cell.text for cell in row[4:]] for row in grid_table(numbers).rows}
    # batch alone: 62; over the four arms with it: 62, 62, 58, 58.
    assert cells["scope", "batch"] == ["62.00", "+2.00", "60.00", "4"]
    assert cells["probability", "0.5"] == ["55.00", "-5.00", "56.50", "4"]
    assert cells["fill", "random"] == ["60.00", "+0.00", cells["fill", "cycle"][2], "4"]


def test_a_heat_map_holds_the_mean_over_all_other_axes(numbers):
    found = grid_scores(numbers)
    values = grid_figures.cell_means(
        found, "scope", "probability", ["image", "batch", "epoch"], ["1.0", "0.5"]
    )
    assert values[:2] == pytest.approx(np.array([[0.60, 0.55], [0.62, 0.58]]))
    assert np.isnan(values[2]).all()
    figure = grid_figures.heat_maps(numbers)
    # Three pairs of axes, one dataset and backbone.
    assert len(figure.axes) == 3
    written = {text.get_text() for panel in figure.axes for text in panel.texts}
    assert {"60.0", "55.0", "62.0", "58.0"} <= written


def test_the_effects_have_a_panel_an_axis_and_mark_the_base_changed_in_one_level(numbers):
    figure = grid_figures.effects(numbers)
    by_axis = {panel.get_title(): panel for panel in figure.axes}
    assert list(by_axis) == ["fill", "scope", "probability"]
    _, alone = by_axis["probability"].get_lines()
    assert alone.get_ydata() == pytest.approx([60.0, 55.0])
    assert "MINIATURE" in {text.get_text() for text in figure.texts}


def test_a_study_without_a_grid_has_none_of_it(numbers):
    plain = replace(numbers.study, grid=None)
    assert "grid" in table_names(numbers.study) and "grid" not in table_names(plain)
    assert "grid_interactions" in figure_names(numbers.study) and "grid_interactions" not in figure_names(
        plain
    )
    assert "factors" in compare_tables(numbers.study) and "factors" not in compare_tables(plain)
