"""Operators and services count nowhere: whatever they do, no answer changes."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from asking import user_id
from heliograph.event import Actor
from heliograph.insights.activity import answer_activity
from heliograph.insights.questions import QUESTIONS
from heliograph.insights.resolve import resolve_scope
from heliograph.insights.tables import defined_tables
from opened import events_table

if TYPE_CHECKING:
    from asking import MakeTable
    from heliograph.insights.answer import Answer
    from heliograph.plan.model import Plan

NOW = datetime.fromisoformat("2026-10-02T00:00:00+00:00")
BEGIN = datetime.fromisoformat("2026-08-20T00:00:00")
NAMES = ["SearchSubmitted", "goToDefinition", "SearchNotebookPageViewed", "SignedIn"]


def rows_of(users: list[str | None], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    row = {
        "name": st.sampled_from(NAMES),
        "at": st.integers(0, 40 * 24 * 60).map(lambda minutes: (BEGIN + timedelta(minutes=minutes)).isoformat()),
        "user": st.sampled_from(users),
        "session_id": st.sampled_from([None, "1" * 32, "2" * 32]),
        "instance": st.sampled_from(["one", "two"]),
        **fields,
    }
    return st.lists(st.fixed_dictionaries(row), min_size=1, max_size=60)


PEOPLE = [f"p{number}" for number in range(7)]
of_people = rows_of([*PEOPLE, None])
of_actors = rows_of(
    [*PEOPLE, "operator", None],
    actor=st.sampled_from(list(Actor)),
    account=st.sampled_from(["acme", "other"]),
    at=st.integers(0, 60 * 24).map(lambda hours: (BEGIN - timedelta(days=9) + timedelta(hours=hours)).isoformat()),
)


def answers(table: pa.Table, plan: Plan) -> list[Answer]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events.parquet"
        parquet.write_table(table, file)
        events = events_table([str(file)], table.schema)
        tables = defined_tables(events, plan)
        scope = resolve_scope(tables.instance_days, now=NOW)
        details = {"searches": {"user": user_id(PEOPLE[0]), "month": "2026-09"}}
        found = [question.answer(tables, plan, scope, **details.get(question.verb, {})) for question in QUESTIONS]
        return [*found, answer_activity(tables, plan, scope)]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(people=of_people, actors=of_actors)
def test_questions_are_given_the_events_of_people_alone(
    plan: Plan, make_table: MakeTable, people: list[dict[str, Any]], actors: list[dict[str, Any]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events.parquet"
        table = make_table([*people, *actors])
        parquet.write_table(table, file)
        assert events_table([str(file)], table.schema).to_pyarrow().equals(table.slice(0, len(people)))


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(people=of_people, actors=of_actors)
def test_no_event_of_operators_or_services_changes_any_answer(
    plan: Plan, make_table: MakeTable, people: list[dict[str, Any]], actors: list[dict[str, Any]]
) -> None:
    alone, with_actors = answers(make_table(people), plan), answers(make_table([*people, *actors]), plan)
    for one, other in zip(alone, with_actors, strict=True):
        assert one == other


def test_a_lake_from_before_there_were_actors_holds_people_alone(
    plan: Plan, make_table: MakeTable, tmp_path: Path
) -> None:
    table = make_table([{"at": "2026-09-01T10:00:00", "user": "p1"}])
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    parquet.write_table(table.drop_columns(["actor"]), old)
    parquet.write_table(make_table([{"at": "2026-09-02T10:00:00", "user": "p2", "actor": "operator"}]), new)
    for files in ([old], [old, new]):
        read = events_table([*map(str, files)], table.schema).to_pyarrow()
        assert read.column("user_id").to_pylist() == [user_id("p1")]
        assert read.column("actor").to_pylist() == [None]
