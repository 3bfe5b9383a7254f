"""A setting that changes no bit is said by name: run by run, and axis by axis."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench.stats.identical import axes_without_effect, identical_counts
from bench.stats.scores import ExpectedCell

FACTORS = {
    "csp": {"scope": "image", "fill": "cycle"},
    "csp-batch": {"scope": "batch", "fill": "cycle"},
    "csp-fill-random": {"scope": "image", "fill": "random"},
    "csp-fill-random-batch": {"scope": "batch", "fill": "random"},
}


def evaluated(counts, shared=()):
    """Cells of one dataset and backbone, one an arm, with a count each; `shared` arms are one run with `csp`."""
    cells = tuple(
        ExpectedCell(
            dataset="mfnet", backbone="swin", arm=arm, names=(arm, *shared) if arm == "csp" else (arm,),
            pretrain_seed=0, seed=0, digest=arm,
        )
        for arm in counts
    )  # fmt: skip
    arrays = np.array(list(counts.values()), dtype=np.int64).reshape(-1, 1, 1, 1)
    return SimpleNamespace(dataset="mfnet", backbone="swin", cells=cells, counts={"full": arrays})


def test_an_axis_whose_levels_change_no_bit_is_named_and_one_that_does_is_not():
    found = axes_without_effect(evaluated(dict(zip(FACTORS, (7, 7, 8, 8), strict=True))), FACTORS)
    assert [(row["kind"], row["first"]) for row in found] == [("axis without effect", "scope")]
    assert found[0]["reason"] == (
        "the axis scope changes the spec of 2 pairs of runs on mfnet/swin, and no bit of their counts"
    )


def test_one_pair_that_differs_acquits_an_axis():
    assert axes_without_effect(evaluated(dict(zip(FACTORS, (7, 7, 8, 9), strict=True))), FACTORS) == []


def test_an_axis_whose_arms_are_one_run_changes_no_spec_and_is_no_alarm_here():
    counts = {"csp": 7, "csp-batch": 8}
    found = axes_without_effect(evaluated(counts, shared=("csp-fill-random",)), FACTORS)
    assert found == []


@pytest.mark.parametrize("count", [2, 50])
def test_runs_that_learned_nothing_give_one_alarm_each_and_not_one_a_pair(count):
    alarms = identical_counts(evaluated({f"arm{i}": 7 for i in range(count)}))
    assert len(alarms) == count - 1
    assert {alarm["first"] for alarm in alarms} == {"mfnet/swin/arm0/seed0"}
