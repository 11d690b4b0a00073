"""Generated histories: some people's use of a small product, with all that must not count among it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
from hypothesis import strategies as st

from asking import user_id
from heliograph.lake.tables import FACT, PING_SCHEMA, event_schema
from heliograph.plan.model import Comparison, EventDefinition, MemberProperty, Plan

BEGIN = datetime.fromisoformat("2026-01-01")
DAYS = 45
INSTANCES = {"one": "acme", "two": "acme", "three": "zeta"}
USERS = ["ann", "bob", "cid", "dan", "eve", "fay"]
NAMES = ["Searched", "OldSearch", "Jumped", "Read", "SignedIn", "Unknown"]
"""Of three features; one under an earlier name, one that makes nobody active, and one of no plan."""


def _event(feature: str, **about: Any) -> EventDefinition:
    fixed: dict[str, Any] = {"description": "It happened.", "action": "use", "question": "Who?", "owner": "a team"}
    return EventDefinition(feature=feature, added=date(2026, 1, 1), expires="never", **fixed, **about)


PLAN = Plan(
    heliograph_plan=1,
    name="product",
    version=1,
    description="A product.",
    sources=("web", "editor"),
    features=dict.fromkeys(("search", "navigation", "reading", "accounts"), "A part of it."),
    events={
        "Searched": _event(
            "search",
            core=True,
            outcomes={"ok": "It worked.", "error": "It did not."},
            properties={"kind_of_search": MemberProperty(description="The kind.", members=("literal", "regexp"))},
            renamed_from=("OldSearch",),
        ),
        "Jumped": _event("navigation"),
        "Read": _event("reading"),
        "SignedIn": _event("accounts", active=False),
    },
    searches=Comparison(event="Searched", by="kind_of_search"),
)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event, with all that any metric looks at."""

    sequence: int
    time: datetime
    """Naive UTC."""
    name: str
    user: str | None
    instance: str
    version: str | None = None
    source: str | None = None
    outcome: str | None = "ok"
    kind: str | None = None
    actor: str | None = None

    @property
    def account(self) -> str:
        """The account of its instance."""
        return INSTANCES[self.instance]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Events, how they were split when they arrived, and what pings say of seats."""

    events: tuple[Event, ...]
    portions: tuple[tuple[int, ...], ...]
    seats: dict[str, int] = {}
    """Of instances that tell them, from the first day on."""

    @property
    def table(self) -> pa.Table:
        """The events in the lake's columns."""
        return table_of(self.events)

    @property
    def pings(self) -> pa.Table:
        """The pings in the lake's columns."""
        rows = [
            {"instance": instance, "account": INSTANCES[instance], "day": BEGIN.date() + timedelta(days=day)}
            | {"measure": FACT, "key": "seats", "value": seats + day}
            for instance, seats in self.seats.items()
            for day in (-1, 0)
        ]
        return pa.Table.from_pylist(rows, PING_SCHEMA)


def table_of(events: tuple[Event, ...]) -> pa.Table:
    """Return events in the lake's columns."""
    rows = [
        {
            "instance": event.instance,
            "account": event.account,
            "epoch": 1,
            "sequence": event.sequence,
            "name": event.name,
            "time": event.time,
            "user_id": None if event.user is None else user_id(event.user),
            "outcome": event.outcome,
            "version": event.version,
            "source": event.source,
            "actor": event.actor,
            "kind_of_search": event.kind,
        }
        for event in events
    ]
    return pa.Table.from_pylist(rows, event_schema(PLAN))


MOMENTS = st.builds(
    lambda day, quarter, minutes: BEGIN + timedelta(days=day, minutes=quarter * 15 + minutes),
    st.integers(0, DAYS - 1),
    # A few hours around midnight and noon, so that people meet, pauses are short, and days are crossed.
    st.sampled_from([0, 1, 2, 4, 17, 18, 48, 49, 50, 52, 54, 93, 94, 95]),
    st.sampled_from([0, 0, 0, 7]),
)
"""Whole quarters of an hour, so that events meet at the same moment and at the very bounds of pauses and windows."""


def _events(users: list[str | None]) -> st.SearchStrategy[tuple[Event, ...]]:
    event: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {
            "time": MOMENTS,
            "name": st.sampled_from([*NAMES, "Searched", "Jumped"]),
            "user": st.sampled_from(users),
            "instance": st.sampled_from(sorted(INSTANCES)),
            "version": st.sampled_from(["5.2", "5.3.1", "5.3.1", None]),
            "source": st.sampled_from(["web", "web", "editor", None]),
            "outcome": st.sampled_from(["ok", "ok", "error", None]),
            "kind": st.sampled_from(["literal", "regexp", None]),
            "actor": st.sampled_from([None] * 9 + ["operator"]),
        }
    )
    return (
        st.integers(0, 5)
        .flatmap(
            # Most of them long: by itself Hypothesis draws few short lists, in which hardly anybody comes back.
            lambda choice: st.lists(event, min_size=40 if choice else 0, max_size=80)
        )
        .map(lambda rows: tuple(Event(sequence=number, **row) for number, row in enumerate(rows, 1)))
    )


def histories(portions: int = 3, users: list[str] | None = None) -> st.SearchStrategy[History]:
    """Return histories whose events arrived in up to so many portions."""

    @st.composite
    def build(draw: st.DrawFn) -> History:
        events = draw(_events([*(users or USERS), None]))
        places = draw(
            st.lists(st.integers(0, portions - 1), min_size=len(events), max_size=len(events))
            if portions > 1
            else st.just([0] * len(events))
        )
        split = tuple(tuple(n for n, place in enumerate(places) if place == number) for number in range(portions))
        seats = draw(st.dictionaries(st.sampled_from(sorted(INSTANCES)), st.integers(1, 20)))
        return History(events=events, portions=tuple(part for part in split if part), seats=seats)

    return build()


NOW = datetime(2026, 2, 10, 13, tzinfo=UTC)
