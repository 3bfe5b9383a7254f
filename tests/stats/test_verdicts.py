"""Four outcomes for each kind of claim, and the paper's own table."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bench.errors import RequestError
from bench.stats.intervals import Interval, t_interval
from bench.stats.verdicts import COLUMNS, Kind, judge, read_claims, tost

PAPER = Path(__file__).parents[2] / "paper" / "reported.csv"


def _interval(low: float, high: float) -> Interval:
    return Interval(estimate=(low + high) / 2, low=low, high=high, df=3, method="t")


@pytest.mark.parametrize("kind", ["absolute", "gain", "drop"])
@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        # The paper says 0.10 to 0.12, the margin is 0.01: the region is 0.09 to 0.13.
        (0.092, 0.128, "reproduced"),
        (0.131, 0.150, "not reproduced"),
        (0.050, 0.089, "not reproduced"),
        (0.080, 0.110, "inconclusive"),
        (0.050, 0.200, "inconclusive"),
    ],
)
def test_a_value_is_judged_by_where_its_interval_lies(
    kind: Kind, low: float, high: float, verdict: str
) -> None:
    assert judge(kind, _interval(low, high), 0.10, 0.12, 0.01)[0] == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.001, 0.2, "reproduced"),
        (-0.3, 0.005, "not reproduced"),
        (-0.01, 0.02, "inconclusive"),
    ],
)
def test_an_ordering_is_judged_by_its_sign(low: float, high: float, verdict: str) -> None:
    assert judge("ordering", _interval(low, high), None, None, 0.01)[0] == verdict


def test_without_an_interval_nothing_is_decided() -> None:
    verdict, reason = judge("absolute", _interval(np.nan, np.nan), 0.1, 0.1, 0.01)
    assert verdict == "inconclusive" and "no interval" in reason


def test_equivalence_is_wrongly_claimed_at_the_margin_in_five_per_cent_at_most() -> None:
    generator = np.random.default_rng(12)
    wrong = 0
    for _ in range(800):
        # The true value sits on the edge of the region: 0.10 + 0.01.
        values = 0.11 + 0.003 * generator.normal(size=(4, 1)) + 0.01 * generator.normal(size=(1, 30))
        values = values + 0.01 * generator.normal(size=(4, 30))
        wrong += judge("absolute", t_interval(values, 0.10), 0.10, 0.10, 0.01)[0] == "reproduced"
    # Three standard errors of 0.05 over 800 are 0.023.
    assert 0.01 <= wrong / 800 <= 0.05 + 0.023


def test_the_papers_numbers_are_read_as_fractions_without_rounding() -> None:
    claims = {claim.claim: claim for claim in read_claims(PAPER)}
    assert (claims["isaid-best"].low, claims["isaid-best"].high) == (0.674, 0.674)
    assert (claims["isaid-gain"].low, claims["isaid-gain"].high) == (0.008, 0.016)
    assert claims["pst900-gain"].low == 0.1383
    assert claims["reversed-order"].low is None
    assert {claim.kind for claim in claims.values()} == {"absolute", "gain", "drop", "ordering"}
    assert all(claim.source and claim.reading for claim in claims.values())


ROW = "a,mfnet,best,csp,,mIoU,9,56.9,56.9,per cent,absolute,somewhere,stated"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW, ROW], r"line 3: claim 'a' is given twice"),
        ([ROW.replace("absolute", "guess")], r"line 2: kind 'guess'; expected one of"),
        ([ROW.replace("per cent", "fraction")], r"unit 'fraction'; expected per cent"),
        ([ROW.replace("56.9,56.9", "57,56.9")], r"low 57 lies above high 56.9"),
        ([ROW.replace("56.9,56.9", ",")], r"needs two numbers"),
        ([ROW.replace("absolute", "gain")], r"a gain needs a baseline"),
    ],
)
def test_a_table_of_claims_that_cannot_be_read_is_refused(
    tmp_path: Path, rows: list[str], message: str
) -> None:
    path = tmp_path / "reported.csv"
    path.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    with pytest.raises(RequestError, match=message):
        read_claims(path)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "reported.csv"
    path.write_text("claim,value\n")
    with pytest.raises(RequestError, match="expected"):
        read_claims(path)


def test_the_two_one_sided_tests_are_scipys_and_agree_with_the_interval() -> None:
    values = np.array([0.101, 0.108, 0.096, 0.104])
    error = values.std(ddof=1) / 2
    sides = [
        stats.ttest_1samp(values, edge, alternative=side).pvalue
        for edge, side in ((0.09, "greater"), (0.12, "less"))
    ]
    p = tost(values.mean(), error, 3, 0.09, 0.12)
    assert p == pytest.approx(max(sides))
    for level in (0.9 * p, 1.1 * p):
        half = stats.t.ppf(1 - level, 3) * error
        inside = values.mean() - half >= 0.09 and values.mean() + half <= 0.12
        assert inside == (p <= level)


def test_where_nothing_varies_equivalence_is_certain_or_impossible() -> None:
    assert (tost(0.1, 0.0, 3, 0.09, 0.12), tost(0.2, 0.0, 3, 0.09, 0.12)) == (0, 1)
    assert np.isnan(tost(0.1, np.nan, 3, 0.09, 0.12))


def test_every_reading_says_how_sure_it_is() -> None:
    for claim in read_claims(PAPER):
        assert claim.reading.split()[0].rstrip(";") in ("stated", "inferred"), claim.claim
        assert claim.source.startswith("arXiv 2604.27704")
