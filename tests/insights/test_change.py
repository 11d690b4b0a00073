from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.insights.change import SHORTEST, find_change

LEVELS = st.lists(st.floats(0, 50), min_size=4, max_size=16)


@given(LEVELS)
def test_the_place_is_the_one_that_leaves_least_unexplained(levels: list[float]) -> None:
    values = np.array(levels)
    change = find_change(levels, levels)
    assert change is not None

    def left_over(at: int) -> float:
        return float(values[:at].var() * at + values[at:].var() * (len(values) - at))

    places = range(SHORTEST, len(values) - SHORTEST + 1)
    assert left_over(change.at) == pytest.approx(min(map(left_over, places)), abs=1e-6)
    assert (change.before, change.after) == pytest.approx((values[: change.at].mean(), values[change.at :].mean()))


@given(LEVELS, st.floats(-20, 20))
def test_another_zero_does_not_change_the_score(levels: list[float], offset: float) -> None:
    one, other = find_change(levels, levels), find_change(levels, [level + offset for level in levels])
    assert one is not None
    assert other is not None
    # Two places can be equally good; they have one score, up to its sign.
    assert abs(other.score) == pytest.approx(abs(one.score), abs=1e-6)


def test_a_fall_is_positive_a_rise_negative_and_one_window_none() -> None:
    fall = [9.0] * 6 + [3.0] * 4
    change = find_change(fall, fall)
    assert change is not None
    assert change[:3] == (6, 9.0, 3.0)
    assert change.score == pytest.approx(6 * (6 * 4 / 10) ** 0.5)
    rise = find_change(fall[::-1], fall[::-1])
    assert rise is not None
    assert rise.score == pytest.approx(-change.score)
    assert find_change(fall[:3], fall[:3]) is None
    level = find_change([4.0] * 8, [4.0] * 8)
    assert level is not None
    assert level.score == 0
