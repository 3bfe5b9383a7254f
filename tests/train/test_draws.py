"""Draws some steps ahead: the same draws in the same order, wherever the training begins, and not many of them."""

import pytest

from bench.train.draws import AHEAD, drawn_ahead


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (5, 5), (7, 7 + AHEAD), (3, 3 * AHEAD + 1)])
def test_each_step_has_its_own_draw_in_order_and_none_is_made_beyond_the_last(start, stop):
    made = []

    def draw(step: int) -> int:
        made.append(step)
        return step * step

    assert list(drawn_ahead(draw, start, stop)) == [step**2 for step in range(start, stop)]
    assert made == list(range(start, stop))


def test_no_more_than_a_few_steps_are_held():
    made = []
    steps = drawn_ahead(made.append, 10, 1000)
    assert not made
    next(steps)
    assert made == list(range(10, 10 + AHEAD))
    for _ in range(AHEAD):
        next(steps)
    assert made == list(range(10, 10 + 2 * AHEAD))
