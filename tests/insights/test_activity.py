from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import ibis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asking import user_id
from heliograph.insights.activity import (
    TrailingRule,
    answer_activity,
    daily_active_users,
    monthly_active_users,
    stickiness,
    trailing_active_users,
    weekly_active_users,
)
from heliograph.insights.curve import active_days
from heliograph.insights.scope import QuestionError
from heliograph.insights.tables import defined_tables

if TYPE_CHECKING:
    from asking import AskSource, MakeScope, MakeTable, MakeTables, Row
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan

INSTANCES = ("ibis-project-ibis", "hynek-structlog", "divviup-janus")
UNTIL = "2026-08-22"


def counts(table: Any) -> dict[tuple[str, date], int]:
    names = table.columns
    return {(row[names[0]], row["day"]): row["active_users"] for row in table.to_pyarrow().to_pylist()}


def test_active_users_and_stickiness_of_the_whole_history_equal_plain_sql(
    history_tables: Tables, history_plan: Plan, make_scope: MakeScope, ask_source: AskSource
) -> None:
    scope = make_scope(UNTIL, unit="instance", instances=INSTANCES)
    expected = {
        (instance, day): figures
        for instance, day, *figures in ask_source(
            f"""
            WITH used AS (
              SELECT DISTINCT instance, user_id, time::DATE AS day FROM source WHERE instance IN {INSTANCES}
            ),
            days AS (
              SELECT instance, unnest(generate_series(min(day), DATE '{UNTIL}', INTERVAL 1 DAY))::DATE AS day
              FROM used GROUP BY instance
            )
            SELECT days.instance, days.day,
                   count(DISTINCT user_id) FILTER (used.day = days.day),
                   count(DISTINCT user_id) FILTER (used.day > days.day - 7),
                   count(DISTINCT user_id),
                   count(DISTINCT (user_id, used.day)) FILTER (user_id IS NOT NULL) / 28
                     / nullif(count(DISTINCT user_id), 0)
            FROM days LEFT JOIN used
              ON used.instance = days.instance AND used.day BETWEEN days.day - 27 AND days.day
            GROUP BY ALL
            """
        )
    }
    rows = stickiness(history_tables, history_plan, scope).to_pyarrow().to_pylist()
    found = {
        (row["instance"], row["day"]): [
            row["daily_active_users"],
            row["weekly_active_users"],
            row["monthly_active_users"],
            row["stickiness"] and pytest.approx(row["stickiness"], rel=1e-12),
        ]
        for row in rows
    }
    assert len(found) > 10_000
    assert found == expected
    for place, metric in enumerate((daily_active_users, weekly_active_users, monthly_active_users)):
        table = counts(metric(history_tables, history_plan, scope))
        assert table == {key: figures[place] for key, figures in expected.items()}


def test_a_user_counts_once_a_window_and_quiet_days_count_as_zero(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    tables = make_tables(
        [
            {"user": "ann", "at": "2026-01-01T00:00:00"},
            {"user": "ann", "at": "2026-01-01T23:59:59.999999"},
            {"user": "bob", "at": "2026-01-01T12:00"},
            {"user": "ann", "at": "2026-01-03T00:00"},
        ]
    )
    scope = make_scope("2026-01-11")
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(11)]
    daily = counts(daily_active_users(tables, plan, scope))
    weekly = counts(weekly_active_users(tables, plan, scope))
    assert [daily["acme", day] for day in days] == [2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert [weekly["acme", day] for day in days] == [2, 2, 2, 2, 2, 2, 2, 1, 1, 0, 0]


def test_stickiness_is_the_mean_of_daily_over_monthly_and_nothing_where_nobody_was_active(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    tables = make_tables(
        [{"user": "ann", "at": f"2026-01-{day:02}T09:00"} for day in range(1, 15)]
        + [{"user": "bob", "at": "2026-01-28T09:00"}]
    )
    rows = stickiness(tables, plan, make_scope("2026-02-25")).to_pyarrow().to_pylist()
    by_day = {row["day"]: row for row in rows}
    # Ann on 14 of 28 days, Bob on one: (14 + 1) / 28 users a day on average, of 2 in the month.
    assert by_day[date(2026, 1, 28)]["stickiness"] == pytest.approx(15 / 28 / 2)
    assert by_day[date(2026, 1, 29)]["stickiness"] == pytest.approx(14 / 28 / 2)
    assert by_day[date(2026, 2, 24)]["stickiness"] == pytest.approx(1 / 28)
    assert by_day[date(2026, 2, 25)]["stickiness"] is None


def test_the_first_27_days_and_the_day_in_progress_are_not_complete(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    tables = make_tables(
        [{"user": None, "at": "2026-01-01T09:00"}, {"user": "ann", "at": "2026-01-30T09:00"}],
    )
    scope = make_scope("2026-01-30", now="2026-01-30T23:59")
    month = monthly_active_users(tables, plan, scope).to_pyarrow().to_pylist()
    assert [row["day"].day for row in month if row["complete"]] == [28, 29]
    day = daily_active_users(tables, plan, scope).to_pyarrow().to_pylist()
    assert [row["day"].day for row in day if not row["complete"]] == [30]
    answer = answer_activity(tables, plan, scope, days=2)
    assert [row["complete"] for row in answer.table.to_pylist()] == [True, False]
    assert "Not complete" in answer.notes[0]


def test_events_without_a_user_outside_the_plan_or_not_active_make_nobody_active(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    tables = make_tables(
        [
            {"user": "ann", "at": "2026-01-01T09:00"},
            {"user": None, "at": "2026-01-01T09:00"},
            {"user": "bob", "at": "2026-01-01T09:00", "name": "SignedIn"},
            {"user": "cid", "at": "2026-01-01T09:00", "name": "FromAnOlderPlan"},
        ]
    )
    assert counts(daily_active_users(tables, plan, make_scope("2026-01-01"))) == {("acme", date(2026, 1, 1)): 1}


def test_a_user_of_two_instances_counts_once_in_the_account(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    tables = make_tables(
        [
            {"user": "ann", "at": "2026-01-01T09:00", "instance": "one"},
            {"user": "ann", "at": "2026-01-01T09:00", "instance": "two"},
        ]
    )
    day = date(2026, 1, 1)
    assert counts(daily_active_users(tables, plan, make_scope("2026-01-01"))) == {("acme", day): 1}
    by_instance = counts(daily_active_users(tables, plan, make_scope("2026-01-01", unit="instance")))
    assert by_instance == {("one", day): 1, ("two", day): 1}


def test_a_window_of_no_days_is_refused(plan: Plan, make_tables: MakeTables, make_scope: MakeScope) -> None:
    tables = make_tables([{"user": "ann", "at": "2026-01-01T09:00"}])
    with pytest.raises(QuestionError, match="days"):
        trailing_active_users(tables, plan, make_scope("2026-01-01"), rule=TrailingRule(days=0))
    with pytest.raises(QuestionError, match="1 day or more, not 0"):
        answer_activity(tables, plan, make_scope("2026-01-01"), days=0)


histories = st.lists(
    st.fixed_dictionaries(
        {
            "user": st.sampled_from(["ann", "bob", "cid", None]),
            "at": st.datetimes(
                min_value=datetime.fromisoformat("2026-01-01"), max_value=datetime.fromisoformat("2026-03-01")
            ).map(lambda moment: moment.isoformat()),
            "instance": st.sampled_from(["one", "two"]),
            "name": st.sampled_from(["SearchSubmitted", "goToDefinition", "SearchNotebookPageViewed", "SignedIn"]),
        }
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=25, deadline=None)
@given(rows=histories)
def test_monthly_is_at_least_weekly_at_least_daily_and_the_curve_adds_up(
    plan: Plan, make_table: MakeTable, make_scope: MakeScope, rows: list[Row]
) -> None:
    tables = defined_tables(ibis.memtable(make_table(rows)), plan)
    scope = make_scope("2026-02-14", unit="instance")
    table = stickiness(tables, plan, scope).to_pyarrow().to_pylist()
    for row in table:
        assert row["monthly_active_users"] >= row["weekly_active_users"] >= row["daily_active_users"] >= 0
        assert (row["stickiness"] is None) == (row["monthly_active_users"] == 0)
        assert row["stickiness"] is None or 1 / 28 <= row["stickiness"] <= 1
    days = active_days(tables, plan, scope).to_pyarrow().to_pylist()
    for instance in ("one", "two"):
        curve = [row["active_days"] for row in days if row["instance"] == instance]
        month = [row for row in table if row["instance"] == instance and row["day"] > date(2026, 1, 17)]
        assert len(curve) == (month[-1]["monthly_active_users"] if month else 0)
        assert sum(curve) == sum(row["daily_active_users"] for row in month)


@settings(max_examples=25, deadline=None)
@given(rows=histories, extra=histories)
def test_more_events_never_make_fewer_users_active(
    plan: Plan, make_table: MakeTable, make_scope: MakeScope, rows: list[Row], extra: list[Row]
) -> None:
    scope = make_scope("2026-02-14")
    before = counts(weekly_active_users(defined_tables(ibis.memtable(make_table(rows)), plan), plan, scope))
    after = counts(weekly_active_users(defined_tables(ibis.memtable(make_table(rows + extra)), plan), plan, scope))
    assert before.keys() <= after.keys()
    assert all(after[key] >= count for key, count in before.items())


@settings(max_examples=25, deadline=None)
@given(rows=histories, days=st.integers(1, 40))
def test_a_window_of_any_length_equals_a_count_by_hand(
    plan: Plan, make_table: MakeTable, make_scope: MakeScope, rows: list[Row], days: int
) -> None:
    tables = defined_tables(ibis.memtable(make_table(rows)), plan)
    scope = make_scope("2026-02-14")
    used = {
        (user_id(row["user"]), datetime.fromisoformat(row["at"]).date())
        for row in rows
        if row["user"] is not None and row["name"] != "SignedIn"
    }
    for (_, day), count in counts(trailing_active_users(tables, plan, scope, rule=TrailingRule(days=days))).items():
        assert count == len({user for user, then in used if timedelta(0) <= day - then < timedelta(days=days)})
