"""A lake in memory: what the loader asks of PyIceberg's tables, and no more, at a thousandth of the time.

A commit is whole or not there, as the catalog is a database, and its files are on disk before
(`heliograph.lake.durability.DurableFileIO`).
"""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from heliograph.lake.tables import DELIVERY_SCHEMA, EVENTS, PING_SCHEMA, PINGS, event_files, event_schema
from heliograph.ledger.export import Delivered
from heliograph.wire import Receipt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.plan.model import Plan
    from heliograph.settings import LakeSettings
    from simulation.processes import Stage

_read_receipt: Final = msgspec.json.Decoder(Receipt).decode


class StoredTable:
    """One table as the catalog has it."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.properties: dict[str, str] = {}
        self.rows: list[dict[str, Any]] = []


class MemoryLake:
    """All tables, which outlive the loader."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.events: StoredTable | None = None
        self.pings: StoredTable | None = None
        self.deliveries: StoredTable | None = None

    def open_events(self, _: object, plan: Plan) -> MemoryTable:
        if self.events is None:
            self.events = StoredTable(event_schema(plan))
        table = MemoryTable(self, self.events, EVENTS)
        widen(table, event_schema(plan))
        return table

    def open_pings(self, _: object) -> MemoryTable:
        if self.pings is None:
            self.pings = StoredTable(PING_SCHEMA)
        return MemoryTable(self, self.pings)

    def open_deliveries(self, _: object) -> MemoryTable:
        if self.deliveries is None:
            self.deliveries = StoredTable(DELIVERY_SCHEMA)
        return MemoryTable(self, self.deliveries)

    def concerned(self) -> list[MemoryTable]:
        """Return the tables that an erasure looks at, the events first."""
        stored = {EVENTS: self.events, PINGS: self.pings}
        return [MemoryTable(self, each, name) for name, each in stored.items() if each is not None]

    def find_deliveries(self, _: object) -> MemoryTable | None:
        return None if self.deliveries is None else MemoryTable(self, self.deliveries)

    def delivered(self, _: object, instance: str) -> list[Delivered]:
        rows = [] if self.deliveries is None else self.deliveries.rows
        return [
            Delivered(receipt=_read_receipt(row["receipt"]), account=row["account"], plan=row["plan"])
            for row in rows
            if row["instance"] == instance
        ]

    def has_changed(self) -> None:
        """Rows are at hand at any time."""

    def rows(self) -> list[dict[str, Any]]:
        return [] if self.events is None else self.events.rows


class MemoryTable:
    """One table as one loader has it at hand."""

    catalog = SimpleNamespace(properties={})  # which names no log: there is one gateway

    def __init__(self, lake: MemoryLake, stored: StoredTable, name: str = "") -> None:
        self.lake = lake
        self._name = name
        self.stored = stored
        self.properties: dict[str, str] = {}
        self.refresh()

    def name(self) -> list[str]:
        return self._name.split(".")

    def replace(self, rows: list[dict[str, Any]], properties: dict[str, str]) -> None:
        """Put rows in the place of all that there are, in one commit with what the table says of itself."""
        gone = len(self.stored.rows) - len(rows)
        with self._commit(f"commit without {gone} rows and {sorted(properties)}"):
            self.stored.rows = rows
            self.stored.properties |= properties
        self.refresh()

    def refresh(self) -> MemoryTable:
        self.properties = dict(self.stored.properties)
        return self

    def transaction(self) -> Transaction:
        return Transaction(self)

    def _commit(self, what: str) -> contextlib.AbstractContextManager[None]:
        process = self.lake.stage.acting
        return contextlib.nullcontext() if process is None else process.commit(what)


class Transaction:
    """Rows and properties that are committed together."""

    def __init__(self, table: MemoryTable) -> None:
        self._table = table
        self._rows: list[dict[str, Any]] = []
        self._properties: dict[str, str] = {}
        self._removed: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.commit_transaction()

    def _stage(self, updates: object, requirements: object) -> None:
        """What it relies on holds: nobody else commits."""

    def append(self, rows: pa.Table) -> None:
        self._rows += rows.to_pylist()

    def set_properties(self, properties: dict[str, str]) -> Self:
        self._properties |= properties
        return self

    def remove_properties(self, *names: str) -> Self:
        self._removed |= {*names}
        return self

    def commit_transaction(self) -> MemoryTable:
        stored = self._table.stored
        with self._table._commit(f"commit {len(self._rows)} rows and {self._properties}"):
            stored.properties |= self._properties
            for name in self._removed:
                stored.properties.pop(name, None)
            stored.rows += self._rows
        return self._table.refresh()


def lake_columns(table: MemoryTable) -> pa.Schema:
    return table.stored.schema


def widen(table: MemoryTable, schema: pa.Schema) -> None:
    known = set(table.stored.schema.names)
    table.stored.schema = pa.schema([*table.stored.schema, *(field for field in schema if field.name not in known)])


def sync_snapshot(_: MemoryTable) -> None:
    """Nothing is left to be forced to disk."""


def begin(table: MemoryTable) -> Transaction:
    return table.transaction()


class NoMarts:
    """Stands for the marts: of what is made from events the simulation knows nothing."""

    tables: Final[dict[str, Any]] = {}
    writer: Final = SimpleNamespace(rest=lambda: None)

    def __init__(self, *_: object) -> None: ...

    def use(self, *_: object) -> None: ...

    def recall(self, *_: object) -> None: ...

    def commit(self, *_: object) -> None: ...


class NoTending:
    """Stands for what is done for them."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def round(self, *_: object) -> None: ...


def highest(rows: Iterator[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return the highest value of each key."""
    found: dict[Any, Any] = {}
    for key, value in rows:
        found[key] = max(value, found.get(key, value))
    return found


class RealLake:
    """PyIceberg's own tables, which a loader fills as it does in production."""

    def __init__(self, settings: LakeSettings) -> None:
        self._settings = settings
        self._rows: list[dict[str, Any]] | None = None

    def has_changed(self) -> None:
        """Look again when the rows are asked for the next time."""
        self._rows = None

    def rows(self) -> list[dict[str, Any]]:
        if self._rows is None:
            files = event_files(self._settings)
            self._rows = [row for file in files for row in pq.read_table(file, partitioning=None).to_pylist()]
        return self._rows
