from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.demo.known_incidents import simulated_back_test
from heliograph.insights.backtest import (
    AFTER,
    HISTORY,
    HISTORY_NAIVE,
    SIMULATED,
    SIMULATED_NAIVE,
    Figures,
    Moment,
    advises,
    answer_own_back_test,
    back_test,
    figures,
    history_of,
    moments,
    what_followed,
)
from heliograph.insights.intervene import InterventionRule, Measures
from heliograph.plan.load import load_plan

if TYPE_CHECKING:
    from asking import MakeScope
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan

PLAN = Path(__file__).resolve().parents[2] / "plans" / "code-intelligence.yaml"
RULE = InterventionRule()


def near(figures: Figures) -> tuple[object, object]:
    """A few hundredths to either side: other versions of numpy may draw other numbers."""
    return pytest.approx(figures.precision, abs=0.05), pytest.approx(figures.recall, abs=0.05)


def test_the_recorded_figures_are_those_of_the_simulated_accounts_and_beat_a_naive_rule() -> None:
    found = simulated_back_test(load_plan(PLAN), RULE)
    assert (found.defaults.precision, found.defaults.recall) == near(SIMULATED)
    assert (found.naive.precision, found.naive.recall) == near(SIMULATED_NAIVE)
    assert found.defaults.balance > found.naive.balance + 0.2
    assert found.held_out.balance > found.naive.balance + 0.2


def test_the_recorded_figures_are_those_of_the_real_history(
    history_tables: Tables, history_plan: Plan, make_scope: MakeScope
) -> None:
    scope = make_scope("2026-08-22", unit="instance")
    history = history_of(history_tables, history_plan, scope, RULE)
    assert len(history) == 25
    found = back_test(moments(history, RULE, last=scope.until, label=what_followed), RULE, by="time")
    assert found.defaults == HISTORY
    assert found.naive == HISTORY_NAIVE
    # The future of a project is hardly to be known from its past: neither rule is good, and ours is the more careful.
    assert (found.defaults.precision or 0) > (found.naive.precision or 0) > 0.2


def windows(*users: int) -> Measures:
    """Return windows with so many active users each, the latest last."""
    return {
        len(users) - 1 - place: {"users": each, "outcomes": 0, "active_users": each, "core_actions": each, "breadth": 1}
        | {"failures": None}
        for place, each in enumerate(users)
    }


def test_only_what_was_known_at_a_moment_is_looked_at() -> None:
    before, after = (10,) * 10, (2,) * AFTER
    fell, stayed = windows(*before, *after), windows(*before, *(10,) * AFTER)
    ends = date(2026, 3, 31)

    def until_the_fall(history: Measures) -> dict[date, tuple[tuple[str, float, float], ...]]:
        seen = moments({"acme": history}, RULE, last=ends, label=lambda *_: True)
        return {each.ends: each.scores for each in seen if each.ends <= ends - timedelta(weeks=AFTER)}

    assert until_the_fall(fell) == until_the_fall(stayed) != {}
    assert what_followed("acme", fell, AFTER, ends) is True
    assert what_followed("acme", stayed, AFTER, ends) is False
    assert what_followed("acme", fell, AFTER - 1, ends) is None, "too little of what followed is known"


def test_windows_in_which_nothing_arrived_count_as_no_use_in_the_label_alone() -> None:
    silent = {window: each for window, each in windows(*(10,) * 18).items() if window >= AFTER}
    assert what_followed("acme", silent, AFTER, date(2026, 3, 31)) is True
    seen = moments({"acme": silent}, RULE, last=date(2026, 3, 31), label=what_followed)
    assert min(each.ends for each in seen) == date(2026, 3, 31) - timedelta(weeks=AFTER + 2)
    assert max(each.ends for each in seen) == date(2026, 3, 31) - timedelta(weeks=AFTER), "none in the silence"


MOMENTS = st.lists(
    st.builds(
        Moment,
        unit=st.sampled_from("abcd"),
        ends=st.dates(date(2026, 1, 1), date(2026, 6, 1)),
        label=st.booleans(),
        naive=st.booleans(),
        scores=st.tuples(st.tuples(st.just("breadth"), st.floats(-1, 9), st.floats(-1, 1))),
    ),
    max_size=60,
)


@given(MOMENTS, st.sampled_from(["time", "unit"]))
def test_each_moment_is_on_one_side_and_the_figures_add_up(seen: list[Moment], by: Literal["time", "unit"]) -> None:
    found = back_test(seen, RULE, by=by)
    assert found.chosen_on.moments + found.held_out.moments == len(seen)
    assert found.held_out.moments == found.naive.moments == found.defaults.moments
    for each in (found.chosen_on, found.held_out, found.naive, found.defaults):
        assert each.hits <= min(each.right, each.advised)
    everything = figures(seen, lambda _: True)
    assert everything.hits == everything.right == sum(moment.label for moment in seen)


@given(MOMENTS)
def test_a_higher_threshold_never_advises_more(seen: list[Moment]) -> None:
    counts = [figures(seen, advises(threshold, 0.2)).advised for threshold in (1, 3, 5, 8)]
    assert counts == sorted(counts, reverse=True)


def test_a_lake_that_is_too_young_says_so(history_tables: Tables, history_plan: Plan, make_scope: MakeScope) -> None:
    answer = answer_own_back_test(history_tables, history_plan, make_scope("2012-06-01", unit="instance"))
    assert answer.table.num_rows == 0
    assert answer.notes == ("No instance has so many until 2012-06-01, with enough users.",)
