"""The identities that follow from the definitions, on generated histories and on every engine."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from conformance.histories import NOW, USERS, Event, History, histories
from heliograph.insights.catalog import METRICS, metric_named
from heliograph.insights.funnel import FunnelRule
from heliograph.insights.lifecycle import LifecycleRule
from heliograph.insights.retention import RetentionRule
from heliograph.insights.scope import Scope
from heliograph.insights.sessions import SessionRule
from heliograph.insights.stickiest import StickinessRule

if TYPE_CHECKING:
    import msgspec

    from asking import Row
    from conformance.engines import Engine

SCOPE = Scope(until=date(2026, 2, 9), now=NOW)
NARROWED = Scope(until=date(2026, 2, 9), now=NOW, features=("search", "reading"), versions=("5.3.1",), clients=("web",))
PERIODS = {1: LifecycleRule(period_days=1), 7: LifecycleRule(), 28: LifecycleRule(period_days=28)}
MONTH = timedelta(days=28)
STEPS = ("Searched", "Jumped", "Read")
some = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def fill(engine: Engine, history: History) -> None:
    engine.fill(history.table, history.portions, history.pings)


def ask(engine: Engine, name: str, rule: msgspec.Struct | None = None, scope: Scope = SCOPE) -> list[Row]:
    return engine.ask(metric_named(name), scope, rule)


def by(rows: list[Row], *keys: str) -> dict[Any, Row]:
    return {tuple(row[key] for key in keys): row for row in rows}


@some
@given(history=histories())
def test_the_curve_adds_up_to_the_month_and_its_reach_never_rises(engine: Engine, history: History) -> None:
    fill(engine, history)
    days = ask(engine, "stickiness")
    curves: dict[str, list[Row]] = defaultdict(list)
    for row in ask(engine, "power-user-curve"):
        curves[row["account"]].append(row)
    for account, curve in curves.items():
        own = [row for row in days if row["account"] == account and row["day"] > SCOPE.until - MONTH]
        assert [row["active_days"] for row in curve] == list(range(1, 29))
        assert sum(row["users"] for row in curve) == own[-1]["monthly_active_users"] == curve[0]["reach"]
        assert sum(row["users"] * row["active_days"] for row in curve) == sum(row["daily_active_users"] for row in own)
        assert all(one["reach"] >= more["reach"] for one, more in itertools.pairwise(curve))


@some
@given(history=histories())
def test_daily_are_at_most_weekly_at_most_monthly_and_stickiness_is_a_share_of_the_month(
    engine: Engine, history: History
) -> None:
    fill(engine, history)
    for row in ask(engine, "stickiness"):
        assert row["daily_active_users"] <= row["weekly_active_users"] <= row["monthly_active_users"]
        assert (row["stickiness"] is None) == (row["monthly_active_users"] == 0)
        assert row["stickiness"] is None or 1 / 28 - 1e-12 <= row["stickiness"] <= 1 + 1e-12
    for row in ask(engine, "feature-stickiness", StickinessRule(minimum_users=2)):
        assert 1 / 28 - 1e-12 <= row["stickiness"] <= 1 + 1e-12
        assert row["lower"] is None or 0 <= row["lower"] <= row["stickiness"] <= row["upper"] <= 1 + 1e-9


@some
@given(history=histories())
def test_uniques_of_all_together_are_at_most_the_sum_and_at_least_the_largest(engine: Engine, history: History) -> None:
    fill(engine, history)
    together = by(ask(engine, "daily-active-users", scope=replace(SCOPE, unit="everyone")), "day")
    apart: dict[Any, list[int]] = defaultdict(list)
    for row in ask(engine, "daily-active-users", scope=replace(SCOPE, unit="instance")):
        apart[row["day"],].append(row["active_users"])
    assert together.keys() == apart.keys()
    for day, row in together.items():
        assert max(apart[day]) <= row["active_users"] <= sum(apart[day])


@some
@given(history=histories())
@pytest.mark.parametrize("days", [1, 7, 28])
def test_active_are_new_returning_and_resurrecting_and_nobody_is_lost_between_periods(
    engine: Engine, history: History, days: int
) -> None:
    fill(engine, history)
    periods: dict[str, list[Row]] = defaultdict(list)
    for row in ask(engine, "lifecycle", PERIODS[days]):
        assert row["active"] == row["new"] + row["returning"] + row["resurrecting"]
        periods[row["account"]].append(row)
    for rows in periods.values():
        assert rows[0]["active"] == rows[0]["new"]
        for before, now in itertools.pairwise(rows):
            assert before["active"] == now["returning"] + now["dormant"]
            assert now["inactive"] == before["inactive"] + now["dormant"] - now["resurrecting"]


@some
@given(history=histories())
def test_unbounded_retention_is_at_least_that_of_the_day_and_a_bracket_lies_between(
    engine: Engine, history: History
) -> None:
    fill(engine, history)
    days = (0, 1, 5, 20)
    on_day = by(ask(engine, "retention", RetentionRule(days=days)), "account", "cohort", "from_day")
    ever = by(ask(engine, "retention", RetentionRule(days=days, kind="unbounded")), "account", "cohort", "from_day")
    inside = by(ask(engine, "retention", RetentionRule(days=days, kind="bracket")), "account", "cohort", "from_day")
    assert on_day.keys() == ever.keys() >= inside.keys()
    for key, row in on_day.items():
        assert row["retained"] <= ever[key]["retained"] <= ever[key]["eligible"] == row["eligible"] <= row["users"]
        assert row["complete"] == (row["eligible"] == row["users"])
        if key[2] == 0:
            assert row["retained"] == row["eligible"]
        if key in inside:
            assert inside[key]["eligible"] <= row["eligible"]
            assert inside[key]["retained"] <= ever[key]["retained"]
            if inside[key]["complete"]:
                assert inside[key]["retained"] >= row["retained"]


@some
@given(history=histories())
def test_steps_never_gain_users_and_the_looser_order_never_has_fewer(engine: Engine, history: History) -> None:
    fill(engine, history)
    orders: tuple[Literal["exact", "ordered", "any"], ...] = ("exact", "ordered", "any")
    found = {
        order: by(ask(engine, "funnel", FunnelRule(steps=STEPS, order=order, window_hours=24)), "account", "step")
        for order in orders
    }
    for (account, step), row in found["ordered"].items():
        exact, anyhow = found["exact"][account, step], found["any"][account, step]
        assert exact["users"] <= row["users"] <= anyhow["users"]
        for order in orders:
            before = found[order].get((account, step - 1))
            assert before is None or before["users"] >= found[order][account, step]["users"]
    longer = by(ask(engine, "funnel", FunnelRule(steps=STEPS, window_hours=240)), "account", "step")
    assert all(longer[key]["users"] >= row["users"] for key, row in found["ordered"].items())


@some
@given(history=histories())
def test_a_wider_gap_never_makes_more_sessions_and_several_features_never_more_than_all(
    engine: Engine, history: History
) -> None:
    fill(engine, history)
    narrow, usual, wide = (
        by(ask(engine, "multi-feature-sessions", SessionRule(gap_minutes=gap, days=100)), "account")
        for gap in (15, 30, 60)
    )
    assert narrow.keys() == usual.keys() == wide.keys()
    for key, row in usual.items():
        assert narrow[key]["sessions"] >= row["sessions"] >= wide[key]["sessions"]
        assert row["multi_feature_sessions"] <= row["sessions"]
        assert row["multi_feature_users"] <= row["users"] <= row["sessions"]
        assert narrow[key]["multi_feature_users"] <= row["multi_feature_users"] <= wide[key]["multi_feature_users"]


COUNTED = {
    "stickiness": ("day", ("daily_active_users", "weekly_active_users", "monthly_active_users")),
    "power-user-curve": ("active_days", ("reach",)),
    "multi-feature-sessions": ("account", ("users", "multi_feature_users", "sessions", "multi_feature_sessions")),
    "funnel": ("step", ("users",)),
    "feature-adoption": ("feature", ("users",)),
}
"""Numbers that can only fall when a filter leaves out events, by the key of their rows beside the account."""


def assert_at_most(less: list[Row], more: list[Row], name: str) -> None:
    key, columns = COUNTED[name]
    others = by(more, "account", key)
    for row in less:
        assert all(row[column] <= others[row["account"], row[key]][column] for column in columns), (name, row)


@some
@given(history=histories())
def test_no_filter_ever_raises_a_number(engine: Engine, history: History) -> None:
    fill(engine, history)
    for name in COUNTED:
        assert_at_most(ask(engine, name, scope=NARROWED), ask(engine, name), name)
    exact = FunnelRule(steps=STEPS, order="exact")
    assert_at_most(ask(engine, "funnel", exact, NARROWED), ask(engine, "funnel", exact), "funnel")


@some
@given(history=histories(), extra=histories())
def test_more_events_never_lower_a_number_of_users(engine: Engine, history: History, extra: History) -> None:
    names = [name for name in COUNTED if name != "multi-feature-sessions"]
    fill(engine, history)
    before = {name: ask(engine, name) for name in names}
    later = [replace(event, sequence=event.sequence + 1000) for event in extra.events]
    events = (*history.events, *later)
    fill(engine, History(events=events, portions=(tuple(range(len(events))),)))
    for name in names:
        assert_at_most(before[name], ask(engine, name), name)


def comparable(rows: list[Row]) -> list[str]:
    return sorted(
        str({key: round(value, 9) if isinstance(value, float) else value for key, value in row.items()}) for row in rows
    )


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories(portions=1), number=st.integers(0, 10**6))
def test_neither_order_nor_portions_nor_names_of_users_change_an_answer(
    engine: Engine, history: History, number: int
) -> None:
    chance = random.Random(number)
    fill(engine, history)
    expected = {metric.name: comparable(ask(engine, metric.name)) for metric in METRICS}
    places = list(range(len(history.events)))
    chance.shuffle(places)
    split: list[list[int]] = [[] for _ in range(engine.portions + 1)]
    for place in places:
        chance.choice(split).append(place)
    portions = tuple(tuple(part) for part in split if part)
    names = dict(zip(USERS, chance.sample([f"n{n}" for n in range(50)], len(USERS)), strict=True))

    def renamed(event: Event) -> Event:
        return event if event.user is None else replace(event, user=names[event.user])

    for events, without in ((history.events, ()), (tuple(map(renamed, history.events)), ("searches",))):
        fill(engine, replace(history, events=events, portions=portions))
        found = {name: comparable(ask(engine, name)) for name in expected if name not in without}
        assert found == {name: rows for name, rows in expected.items() if name not in without}
