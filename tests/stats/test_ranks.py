"""Ranks, Friedman and Nemenyi against the tables of Demsar (JMLR 2006) and scipy."""

import numpy as np
import pytest
from scipy import stats

from bench.stats.ranks import block_ranks, critical_difference, friedman, nemenyi_p, rank_rows

Q05 = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 10: 3.164}
"""Demsar's Table 5a: critical values of Nemenyi's test at 0.05."""


@pytest.mark.parametrize("arms", Q05)
def test_critical_differences_are_those_of_the_published_table(arms: int) -> None:
    expected = Q05[arms] * np.sqrt(arms * (arms + 1) / (6 * 14))
    assert critical_difference(14, arms, 0.05) == pytest.approx(expected, rel=1e-3)
    assert nemenyi_p(critical_difference(14, arms, 0.05), 14, arms) == pytest.approx(0.05, abs=1e-6)


def test_friedman_and_its_f_follow_from_the_average_ranks() -> None:
    scores = np.random.default_rng(3).normal(size=(9, 4)) + np.array([0, 0.2, 0.9, 0.1])
    mean = block_ranks(scores).mean(axis=0)
    # Without ties: 12 n / (k (k + 1)) (sum R^2 - k (k + 1)^2 / 4); F of Iman and Davenport from it.
    statistic = 12 * 9 / 20 * ((mean**2).sum() - 25)
    found = friedman(scores)
    assert found.statistic == pytest.approx(statistic)
    assert found.p == pytest.approx(stats.chi2.sf(statistic, 3))
    ratio = 8 * statistic / (27 - statistic)
    assert found.p_iman_davenport == pytest.approx(stats.f.sf(ratio, 3, 24))


def test_ties_share_a_rank_and_total_ties_tell_nothing() -> None:
    assert block_ranks(np.array([[0.5, 0.7, 0.5]])).tolist() == [[2.5, 1, 2.5]]
    assert friedman(np.ones((4, 3))).p == 1
    # Every block in the same order: the F has no finite value and p is 0.
    assert friedman(np.tile([1.0, 2.0, 3.0], (4, 1))).p_iman_davenport == 0


def test_rows_rank_the_arms_where_all_of_them_ran_and_say_where() -> None:
    blocks = {f"d{i}/b": {"csp": 0.9 + i / 100, "rgb": 0.5, "zero": 0.4, "reinit": 0.3} for i in range(4)}
    del blocks["d3/b"]["reinit"]
    rows, pairs = rank_rows(blocks, 0.05)
    # Four arms on three blocks and three arms on four keep 12 scores each; more arms come first.
    assert [(row["arm"], row["average_rank"]) for row in rows] == [
        ("csp", 1),
        ("reinit", 4),
        ("rgb", 2),
        ("zero", 3),
    ]
    assert rows[0]["best_in"] == 3 and rows[0]["statement"] == "over d0/b, d1/b, d2/b; without d3/b"
    (extreme,) = [row for row in pairs if (row["first"], row["second"]) == ("csp", "reinit")]
    assert extreme["rank_difference"] == -3
    assert (extreme["p_nemenyi"] < 0.05) == (extreme["critical_difference"] < 3)
    blocks["d2/b"].pop("reinit")
    rows, _ = rank_rows(blocks, 0.05)
    assert rows[0]["blocks"] == 4 and rows[0]["statement"].endswith("without reinit")


def test_two_arms_or_one_block_are_not_ranked() -> None:
    assert rank_rows({"a": {"x": 1.0, "y": 2.0}, "b": {"x": 1.0, "y": 2.0}}, 0.05) == ([], [])
    assert rank_rows({"a": {"x": 1.0, "y": 2.0, "z": 3.0}}, 0.05) == ([], [])
    assert rank_rows({}, 0.05) == ([], [])


def test_false_alarms_of_iman_and_davenport_are_near_the_level() -> None:
    generator = np.random.default_rng(0)
    p = [friedman(generator.normal(size=(8, 4))).p_iman_davenport for _ in range(300)]
    # Standard error over 300: 0.0126; the F is an approximation within 0.01 at eight blocks.
    assert abs(np.mean(np.array(p) <= 0.05) - 0.05) < 0.01 + 2 * 0.0126
