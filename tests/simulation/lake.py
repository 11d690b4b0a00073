"""A lake in memory: what the loader asks of PyIceberg's tables, and no more, at a thousandth of the time.

A commit is whole or not there, as the catalog is a database. The files of a commit are on disk once they were forced
there: until then a power cut may take them away, though the catalog names them.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from heliograph.lake.tables import PING_SCHEMA, event_schema

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from heliograph.plan.model import Plan
    from simulation.processes import Stage


class Commit:
    """The rows of one commit, and whether their files are on disk."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.is_synced = False


class StoredTable:
    """One table as the catalog has it."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.properties: dict[str, str] = {}
        self.commits: list[Commit] = []

    def rows(self) -> list[dict[str, Any]]:
        return [row for commit in self.commits for row in commit.rows]


class MemoryLake:
    """Both tables, which outlive the loader."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.events: StoredTable | None = None
        self.pings: StoredTable | None = None

    def open_events(self, _: object, plan: Plan) -> MemoryTable:
        if self.events is None:
            self.events = StoredTable(event_schema(plan))
        table = MemoryTable(self, self.events)
        widen(table, event_schema(plan))
        return table

    def open_pings(self, _: object) -> MemoryTable:
        if self.pings is None:
            self.pings = StoredTable(PING_SCHEMA)
        return MemoryTable(self, self.pings)

    def rows(self) -> list[dict[str, Any]]:
        return [] if self.events is None else self.events.rows()

    def cut_power(self, chance: random.Random) -> None:
        """Lose files that nobody has forced to disk."""
        for table in (self.events, self.pings):
            if table is not None:
                table.commits = [each for each in table.commits if each.is_synced or chance.random() < 0.5]


class MemoryTable:
    """One table as one loader has it at hand."""

    def __init__(self, lake: MemoryLake, stored: StoredTable) -> None:
        self.lake = lake
        self.stored = stored
        self.properties: dict[str, str] = {}
        self.refresh()

    def refresh(self) -> MemoryTable:
        self.properties = dict(self.stored.properties)
        return self

    def transaction(self) -> Transaction:
        return Transaction(self)

    def sync(self) -> None:
        with self._commit("force the table's files to disk"):
            for commit in self.stored.commits:
                commit.is_synced = True

    def _commit(self, what: str) -> contextlib.AbstractContextManager[None]:
        process = self.lake.stage.acting
        return contextlib.nullcontext() if process is None else process.commit(what)


class Transaction:
    """Rows and properties that are committed together."""

    def __init__(self, table: MemoryTable) -> None:
        self._table = table
        self._rows: list[dict[str, Any]] = []
        self._properties: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.commit_transaction()

    def append(self, rows: pa.Table) -> None:
        self._rows += rows.to_pylist()

    def set_properties(self, properties: dict[str, str]) -> Self:
        self._properties |= properties
        return self

    def commit_transaction(self) -> MemoryTable:
        stored = self._table.stored
        with self._table._commit(f"commit {len(self._rows)} rows and {self._properties}"):
            stored.properties |= self._properties
            if self._rows:
                stored.commits.append(Commit(self._rows))
        return self._table.refresh()


def lake_columns(table: MemoryTable) -> pa.Schema:
    return table.stored.schema


def widen(table: MemoryTable, schema: pa.Schema) -> None:
    known = set(table.stored.schema.names)
    table.stored.schema = pa.schema([*table.stored.schema, *(field for field in schema if field.name not in known)])


def sync_snapshot(table: MemoryTable) -> None:
    table.sync()


def highest(rows: Iterator[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return the highest value of each key."""
    found: dict[Any, Any] = {}
    for key, value in rows:
        found[key] = max(value, found.get(key, value))
    return found
