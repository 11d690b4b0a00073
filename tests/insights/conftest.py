"""Plans and events for the questions: a small product, generated use, and the real history in the lake's shape."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from asking import user_id, write_history
from heliograph.insights.scope import Scope
from heliograph.insights.tables import Tables, defined_tables
from heliograph.lake.tables import event_schema
from heliograph.plan.load import load_plan
from heliograph.plan.model import Comparison, EventDefinition, IntegerProperty, MemberProperty, Plan
from opened import events_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import ibis

    from asking import AskSource, MakeEvents, MakeScope, MakeTable, MakeTables

REPOSITORY = Path(__file__).resolve().parents[2]


def _event(feature: str, **about: Any) -> EventDefinition:
    fixed: dict[str, Any] = {"description": "It happened.", "action": "use", "question": "Who?", "owner": "a team"}
    return EventDefinition(feature=feature, added=date(2026, 1, 1), expires="never", **fixed, **about)


@pytest.fixture(scope="session")
def plan() -> Plan:
    """A product with three features, one core action, and signing in, which makes nobody active."""
    kinds = MemberProperty(description="The kind.", members=("literal", "regexp", "structural"))
    duration = IntegerProperty(description="Its time.", maximum=10**6)
    return Plan(
        heliograph_plan=1,
        name="product",
        version=1,
        description="A product.",
        sources=("web",),
        features=dict.fromkeys(("search", "navigation", "notebooks", "accounts"), "A part of it."),
        events={
            "SearchSubmitted": _event(
                "search",
                core=True,
                outcomes={"ok": "It worked.", "error": "It did not."},
                properties={"pattern_type": kinds, "duration_ms": duration},
            ),
            "goToDefinition": _event("navigation"),
            "SearchNotebookPageViewed": _event("notebooks"),
            "SignedIn": _event("accounts", active=False),
        },
        searches=Comparison(event="SearchSubmitted", by="pattern_type", members=("regexp", "literal")),
    )


@pytest.fixture(scope="session")
def make_table(plan: Plan) -> MakeTable:
    """Fill rows in to the lake's columns: `at` is the time in ISO form, `user` a word that becomes a random id."""
    schema = event_schema(plan)

    def make(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
        filled = []
        for sequence, row in enumerate(rows, 1):
            known = dict(row)
            user = known.pop("user", None)
            known["time"] = datetime.fromisoformat(known.pop("at"))
            known["user_id"] = None if user is None else user_id(user)
            defaults = {"instance": "one", "account": "acme", "epoch": 1, "sequence": sequence, "outcome": "ok"}
            filled.append({**defaults, "name": "SearchSubmitted", **known})
        return pa.Table.from_pylist(filled, schema)

    return make


@pytest.fixture
def make_events(make_table: MakeTable, tmp_path: Path) -> MakeEvents:
    """Write events to Parquet and open them as the lake's."""
    numbers = itertools.count()

    def make(rows: Iterable[Mapping[str, Any]]) -> ibis.Table:
        table, file = make_table(rows), tmp_path / f"{next(numbers)}.parquet"
        parquet.write_table(table, file)
        return events_table([str(file)], table.schema)

    return make


@pytest.fixture
def make_tables(make_events: MakeEvents, plan: Plan) -> MakeTables:
    """Write events to Parquet and open them as the lake's tables, with the marts as they are defined."""
    return lambda rows: defined_tables(make_events(rows), plan)


@pytest.fixture(scope="session")
def make_scope() -> MakeScope:
    """Make a scope from the last day in ISO form; asked long after unless `now` is given."""

    def make(until: str, *, now: str = "2030-01-01T12:00", **choices: Any) -> Scope:
        moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
        return Scope(until=date.fromisoformat(until), now=moment, **choices)

    return make


@pytest.fixture(scope="session")
def history_plan() -> Plan:
    """The plan of the history: six events, each of a feature of its own."""
    return load_plan(REPOSITORY / "examples" / "commit-history.yaml")


@pytest.fixture(scope="session")
def history_events(history: Path, history_plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> ibis.Table:
    """The history as the lake would hold it, with a random-looking id for each user of each instance."""
    file = tmp_path_factory.mktemp("lake") / "events.parquet"
    write_history(history, file)
    return events_table([str(file)], event_schema(history_plan))


@pytest.fixture(scope="session")
def history_tables(history_events: ibis.Table, history_plan: Plan) -> Tables:
    """The history's tables, with the marts as they are defined."""
    return defined_tables(history_events, history_plan)


@pytest.fixture(scope="session")
def ask_source(history: Path) -> AskSource:
    """Run plain SQL on the history itself, as the view `source`: one row an event, `time` in naive UTC."""
    connection = duckdb.connect()
    connection.sql("SET TimeZone = 'UTC'")
    connection.sql(
        f"CREATE VIEW source AS SELECT instance, name, user_id, timestamp::TIMESTAMP AS time FROM '{history}'"
    )
    return lambda query: connection.sql(query).fetchall()
