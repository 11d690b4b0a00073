"""The plans in the agent's database: each that was in force here, since when, and what it changed.

A plan's own bytes are kept, so that the admin can see at any time what could leave at any time.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.event import from_microseconds, microseconds
from heliograph.plan.canonical import CanonicalPlanError, decode_canonical
from heliograph.plan.changes import PlanChanges

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from heliograph.plan.model import Plan
    from heliograph.wire import Counts

SCHEMA: Final = """
create table if not exists plan_update (
    number integer primary key, digest text not null, label text not null, since integer not null,
    content blob not null, changes blob not null
);
create table if not exists declared_event (name text primary key) without rowid;
create table if not exists left_out (event text primary key, properties integer not null) without rowid;
"""


class PlanUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A plan of the vendor's, as it came into force here."""

    digest: str
    """SHA-256 of its canonical form, as the vendor has signed it."""
    label: str
    since: datetime
    changes: PlanChanges
    """What may leave by it and could not before, and the other way round: with a limit of the admin's, less."""


class PlanTable:
    """The plans in the agent's database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def put(self, plan: Plan, changes: PlanChanges, names: Iterable[str], *, now: datetime) -> None:
        """Keep a plan of the vendor's that comes into force, by which events of these `names` may leave."""
        with self._connection:
            self._connection.execute("begin immediate")
            self._connection.execute(
                "insert into plan_update (digest, label, since, content, changes) values (?, ?, ?, ?, ?)",
                (
                    plan.digest(),
                    plan.label,
                    microseconds(now),
                    plan.canonical(),
                    msgspec.json.encode(changes),
                ),
            )
            self._declare(names)

    def declare(self, names: Iterable[str]) -> None:
        """Keep that events of these names may leave."""
        with self._connection:
            self._connection.execute("begin immediate")
            self._declare(names)

    def _declare(self, names: Iterable[str]) -> None:
        rows = [(name,) for name in names]
        self._connection.executemany("insert or ignore into declared_event (name) values (?)", rows)

    def latest(self, *, before: int = 0) -> Plan | None:
        """Return the vendor's plan that came last, or that many before it; None if there is none that can be read."""
        content = self.content(before=before)
        try:
            return None if content is None else decode_canonical(content)
        except CanonicalPlanError:  # written by a later release
            return None

    def content(self, *, before: int = 0) -> bytes | None:
        """Return the canonical form of the vendor's plan that came last, or that many before it."""
        query = "select content from plan_update order by number desc limit 1 offset ?"
        row = self._connection.execute(query, (before,)).fetchone()
        return None if row is None else bytes(row[0])

    def history(self) -> list[PlanUpdate]:
        """Return what came into force here, from the oldest on."""
        rows = self._connection.execute("select digest, label, since, changes from plan_update order by number")
        return [
            PlanUpdate(
                digest=digest,
                label=label,
                since=from_microseconds(since),
                changes=msgspec.json.decode(changes, type=PlanChanges),
            )
            for digest, label, since, changes in rows
        ]

    def ever_declared(self) -> frozenset[str]:
        """Return the names of all events that could leave at some time."""
        return frozenset(name for (name,) in self._connection.execute("select name from declared_event"))

    def add_left_out(self, properties: Mapping[str, int]) -> None:
        """Count properties left out by the exporter, by event, within a transaction of the caller's."""
        self._connection.executemany(
            "insert into left_out (event, properties) values (?, ?) "
            "on conflict do update set properties = properties + excluded.properties",
            list(properties.items()),
        )

    def left_out(self) -> Counts:
        """Return how many properties the exporter has left out so far, by event."""
        return dict(self._connection.execute("select event, properties from left_out order by event").fetchall())
