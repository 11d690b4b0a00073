from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.insights.change import SHORTEST, Change, Series, find_changes

LEVELS = st.lists(st.floats(0, 50), min_size=4, max_size=16)
COUNTS = st.lists(st.integers(0, 4).map(lambda count: 2 * (count + 3 / 8) ** 0.5), min_size=4, max_size=16)
"""As levels of counts are: so few different ones that places are often as good as each other."""


def find_change(values: list[float], levelled: list[float]) -> Change:
    [change] = find_changes([Series(values, levelled)])
    return change


@given(st.lists(LEVELS | COUNTS, max_size=6))
def test_of_many_together_each_changes_as_it_does_alone(many: list[list[float]]) -> None:
    found = find_changes([Series(levels, levels) for levels in many])
    assert found == [find_change(levels, levels) for levels in many]


@given(LEVELS)
def test_the_place_is_the_one_that_leaves_least_unexplained(levels: list[float]) -> None:
    values = np.array(levels)
    change = find_change(levels, levels)

    def left_over(at: int) -> float:
        return float(values[:at].var() * at + values[at:].var() * (len(values) - at))

    places = range(SHORTEST, len(values) - SHORTEST + 1)
    assert left_over(change.at) == pytest.approx(min(map(left_over, places)), abs=1e-6)
    assert (change.before, change.after) == pytest.approx((values[: change.at].mean(), values[change.at :].mean()))


@given(LEVELS, st.floats(-20, 20))
def test_another_zero_does_not_change_the_score(levels: list[float], offset: float) -> None:
    one, other = find_change(levels, levels), find_change(levels, [level + offset for level in levels])
    # Two places can be equally good; they have one score, up to its sign.
    assert abs(other.score) == pytest.approx(abs(one.score), abs=1e-6)


def test_a_fall_is_positive_a_rise_negative_and_one_window_none() -> None:
    fall = [9.0] * 6 + [3.0] * 4
    change = find_change(fall, fall)
    assert change[:3] == (6, 9.0, 3.0)
    assert change.score == pytest.approx(6 * (6 * 4 / 10) ** 0.5)
    rise = find_change(fall[::-1], fall[::-1])
    assert rise.score == pytest.approx(-change.score)
    with pytest.raises(ValueError, match="at least 4 windows"):
        find_change(fall[:3], fall[:3])
    level = find_change([4.0] * 8, [4.0] * 8)
    assert level.score == 0
