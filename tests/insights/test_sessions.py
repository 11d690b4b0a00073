from __future__ import annotations

import itertools
from datetime import date, datetime
from typing import TYPE_CHECKING

import ibis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asking import rows_of
from heliograph.insights.scope import QuestionError
from heliograph.insights.sessions import (
    SessionRule,
    answer_multi_feature_sessions,
    multi_feature_sessions,
    sessions,
)
from heliograph.insights.tables import defined_tables

if TYPE_CHECKING:
    from asking import AskSource, MakeScope, MakeTable, MakeTables, Row
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan


def test_multi_feature_sessions_of_the_history_equal_plain_sql(
    history_tables: Tables, history_plan: Plan, make_scope: MakeScope, ask_source: AskSource
) -> None:
    until, instances = "2026-03-31", ("ibis-project-ibis", "apache-iceberg-python", "divviup-janus")
    expected = {
        instance: tuple(figures)
        for instance, *figures in ask_source(
            f"""
            WITH used AS (
              SELECT * FROM source
              WHERE instance IN {instances} AND time >= DATE '{until}' - 40 AND time < DATE '{until}' + 10
            ),
            starts AS (
              SELECT DISTINCT instance, user_id, time FROM used AS this
              WHERE NOT EXISTS (
                FROM used AS other WHERE other.instance = this.instance AND other.user_id = this.user_id
                AND other.time < this.time AND other.time >= this.time - INTERVAL 30 MINUTE
              )
            ),
            visits AS (
              SELECT used.instance, used.user_id, starts.time, count(DISTINCT used.name) AS features
              FROM used ASOF JOIN starts
                ON used.instance = starts.instance AND used.user_id = starts.user_id AND used.time >= starts.time
              GROUP BY ALL
            )
            SELECT instance, count(DISTINCT user_id), count(DISTINCT user_id) FILTER (features >= 2),
                   count(*), count(*) FILTER (features >= 2)
            FROM visits WHERE time >= DATE '{until}' - 27 AND time < DATE '{until}' + 1 GROUP BY ALL
            """
        )
    }
    scope = make_scope(until, unit="instance", instances=instances)
    found = {
        row["instance"]: (
            row["users"],
            row["multi_feature_users"],
            row["sessions"],
            row["multi_feature_sessions"],
        )
        for row in rows_of(multi_feature_sessions(history_tables, history_plan, scope))
    }
    assert found == expected
    assert all(several < every for _, _, every, several in expected.values())


def test_a_session_goes_on_for_pauses_of_thirty_minutes_and_no_longer(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    tables = make_tables(
        [
            {"user": "ann", "at": "2026-01-01T10:00:00"},
            {"user": "ann", "at": "2026-01-01T10:30:00", "name": "goToDefinition"},
            {"user": "ann", "at": "2026-01-01T11:00:00.000001"},
            {"user": "ann", "at": "2026-01-01T10:10:00", "instance": "two"},
            {"user": "bob", "at": "2026-01-01T10:15:00"},
        ]
    )
    scope = make_scope("2026-01-01")
    table = sessions(tables, plan, scope).order_by("instance", "user_id", "session")
    found = [
        (row["instance"], bytes.fromhex(row["user_id"]).strip(b"\0"), row["session"], row["events"], row["features"])
        for row in rows_of(table)
    ]
    assert found == [
        ("one", b"ann", 1, 2, 2),
        ("one", b"ann", 2, 1, 1),
        ("one", b"bob", 1, 1, 1),
        ("two", b"ann", 1, 1, 1),
    ]
    assert rows_of(multi_feature_sessions(tables, plan, scope)) == [
        {
            "account": "acme",
            "users": 2,
            "multi_feature_users": 1,
            "share_of_users": 0.5,
            "sessions": 4,
            "multi_feature_sessions": 1,
            "share_of_sessions": 0.25,
            "complete": False,
        }
    ]


def test_a_session_counts_whole_in_the_days_in_which_it_began(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    tables = make_tables(
        [
            {"user": "ann", "at": "2026-01-03T23:59"},
            {"user": "ann", "at": "2026-01-04T00:00", "name": "goToDefinition"},
            {"user": "ann", "at": "2026-01-31T23:59"},
            {"user": "ann", "at": "2026-02-01T00:09", "name": "goToDefinition"},
        ]
    )
    for since, until, found in (
        ("2026-01-03", "2026-01-03", [1]),
        ("2026-01-04", "2026-01-30", []),
        ("2026-01-31", "2026-01-31", [1]),
        ("2026-02-01", "2026-02-28", []),
    ):
        rows = rows_of(multi_feature_sessions(tables, plan, make_scope(until, since=date.fromisoformat(since))))
        assert [row["multi_feature_sessions"] for row in rows] == found, (since, until)
    answer = answer_multi_feature_sessions(tables, plan, make_scope("2026-01-31"))
    assert "2026-01-04 to 2026-01-31" in answer.definition
    nobody = answer_multi_feature_sessions(tables, plan, make_scope("2026-03-31"))
    assert nobody.notes == ("Nobody was active from 2026-03-04 to 2026-03-31.",)


def test_rules_out_of_bounds_are_refused(plan: Plan, make_tables: MakeTables, make_scope: MakeScope) -> None:
    tables = make_tables([{"user": "ann", "at": "2026-01-03T23:59"}])
    with pytest.raises(QuestionError, match=r"gap_minutes"):
        answer_multi_feature_sessions(tables, plan, make_scope("2026-01-31"), rule=SessionRule(gap_minutes=0))


moments = st.datetimes(
    min_value=datetime.fromisoformat("2026-01-01"), max_value=datetime.fromisoformat("2026-01-01T12:00")
)
used = st.lists(
    st.fixed_dictionaries(
        {
            "user": st.sampled_from(["ann", "bob"]),
            # Whole quarters of an hour too, so that events meet at the same moment and at the very bound.
            "at": st.one_of(
                moments, moments.map(lambda at: at.replace(minute=at.minute // 15 * 15, second=0, microsecond=0))
            ).map(datetime.isoformat),
            "name": st.sampled_from(["SearchSubmitted", "goToDefinition", "SearchNotebookPageViewed"]),
        }
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=25, deadline=None)
@given(rows=used, gap=st.sampled_from([1, 15, 30, 60]))
def test_sessions_partition_the_events_at_every_longer_pause(
    plan: Plan, make_table: MakeTable, make_scope: MakeScope, rows: list[Row], gap: int
) -> None:
    scope = make_scope("2026-01-01")
    tables = defined_tables(ibis.memtable(make_table(rows)), plan)
    table = rows_of(sessions(tables, plan, scope, rule=SessionRule(gap_minutes=gap)).order_by("user_id", "session"))
    assert sum(row["events"] for row in table) == len(rows)
    for user in {row["user_id"] for row in table}:
        own = [row for row in table if row["user_id"] == user]
        assert [row["session"] for row in own] == list(range(1, len(own) + 1))
        for earlier, later in itertools.pairwise(own):
            assert (later["begun"] - earlier["ended"]).total_seconds() > gap * 60
    assert all(1 <= row["features"] <= row["events"] for row in table)
    assert len(rows_of(sessions(tables, plan, scope, rule=SessionRule(gap_minutes=gap + 1)))) <= len(table)
