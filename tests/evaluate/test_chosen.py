"""Which scenes are shown: by the gain on each, among candidates that nobody picked."""

import numpy as np

from bench.evaluate.chosen import ALL, CANDIDATES, ROLES, candidates, chosen
from bench.study.recipes import Evaluation

SETTINGS = Evaluation(pixels=("full",), primary="full", metric="mIoU", window=32, stride=32)
CLASSES = ["x", "y"]
SCENES = ["a", "b", "c", "d", "e"]


def scene(right: int) -> np.ndarray:
    """Return counts of 20 pixels, half of each class, of which so many are right in each."""
    return np.array([[right, 10 - right], [10 - right, right]])


def arms(*rights: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return the counts of treatment and baseline on scenes with so many right pixels a class."""
    return {arm: np.stack([scene(pair[i]) for pair in rights]) for i, arm in enumerate(("csp", "rgb"))}


def test_small_splits_are_kept_whole_and_large_ones_evenly_spaced() -> None:
    names = [f"s{i}" for i in range(ALL + 1)]
    assert candidates(names[:ALL]) == names[:ALL]
    kept = candidates(names)
    assert len(kept) == CANDIDATES and kept[0] == names[0] and kept[-1] == names[-1]


def test_largest_gain_median_and_largest_loss_are_shown_and_said() -> None:
    # IoU of a class with k of 10 right on both sides is k / (20 - k); gains fall as d, b, c, e, a.
    counts = arms((2, 6), (7, 5), (5, 5), (9, 3), (4, 5))
    names, rule = chosen(SCENES, SCENES, counts, ("csp", "rgb"), CLASSES, SETTINGS)
    assert names == ["d", "c", "a"]
    assert rule["scenes"] == dict(zip(names, ROLES, strict=True))
    assert rule["gains"]["c"] == 0 and rule["candidates"] == "all scenes of the split"
    assert np.isclose(rule["gains"]["d"], 9 / 11 - 3 / 17)


def test_only_candidates_are_chosen() -> None:
    counts = arms((2, 6), (7, 5), (5, 5), (9, 3), (4, 5))
    names, rule = chosen(SCENES, ["b", "e"], counts, ("csp", "rgb"), CLASSES, SETTINGS)
    assert names == ["b", "e"] and rule["scenes"] == {"b": "largest gain", "e": "median"}
    assert rule["candidates"] == "2 of 5 scenes, evenly spaced in the split"


def test_without_both_arms_or_a_score_scenes_are_evenly_spaced() -> None:
    counts = arms(*[(5, 5)] * 5)
    for held, contrast in ((counts, None), ({"csp": counts["csp"]}, ("csp", "rgb"))):
        names, rule = chosen(SCENES, SCENES, held, contrast, CLASSES, SETTINGS)
        assert names == ["a", "c", "e"] and rule["rule"] == "evenly spaced in the split"
    nothing = {arm: np.zeros((5, 2, 2), np.int64) for arm in ("csp", "rgb")}
    assert chosen(SCENES, SCENES, nothing, ("csp", "rgb"), CLASSES, SETTINGS)[0] == ["a", "c", "e"]
