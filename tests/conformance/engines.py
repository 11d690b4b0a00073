"""Engines that the conformance suite runs on: each holds the tables of one history at a time, and is asked metrics."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import ibis
import pyarrow as pa
from ibis.expr.operations import DatabaseTable

from heliograph.insights.tables import Tables, defined_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    import msgspec

    from asking import Row
    from heliograph.insights.catalog import Metric
    from heliograph.insights.scope import Scope
    from heliograph.plan.model import Plan

ADDED = ("user_days", "user_feature_days", "active_days", "session_parts", "session_spans")
"""The marts to which the rows of each portion of events are added."""


class Engine(Protocol):
    """One engine."""

    name: str
    portions: int
    """Portions into which it is worth to split a history: what each costs differs."""

    def fill(self, events: pa.Table, portions: Sequence[Sequence[int]], pings: pa.Table) -> None:
        """Hold this history and no other.

        Args:
            events: In the lake's columns.
            portions: Numbers of rows, each once: the marts hold the sum of what they are of each portion, as they do
                when a loader commits one portion after the other.
            pings: In the lake's columns.
        """

    def ask(self, metric: Metric, scope: Scope, rule: msgspec.Struct | None = None) -> list[Row]:
        """Return the rows of a metric; without a rule, by its example."""

    def close(self) -> None:
        """Let go of it."""


class DuckDBEngine:
    """DuckDB in memory. What it was asked once it does not compile again: the tables keep their names."""

    name = "duckdb"
    portions = 3

    def __init__(self, plan: Plan, events: pa.Schema, pings: pa.Schema) -> None:
        self.plan = plan
        self.connection: Any = ibis.duckdb.connect()
        self.connection.raw_sql("SET TimeZone = 'UTC'")
        self.connection.raw_sql("SET threads = 1")
        for name, schema in (("events", events), ("portion", events), ("pings", pings)):
            self.connection.create_table(name, schema=ibis.Schema.from_pyarrow(schema))
        self._compiled: dict[Any, tuple[str, ibis.Table]] = {}
        portion = defined_tables(self.connection.table("portion"), plan)
        whole = defined_tables(self.connection.table("events"), plan)
        for mart in ADDED:
            self.connection.create_table(mart, schema=getattr(portion, mart).schema())
        self.connection.create_table("instance_days", schema=whole.instance_days.schema())
        self._added = {mart: getattr(portion, mart) for mart in ADDED}
        self._whole = whole.instance_days
        named = {mart: self.connection.table(mart) for mart in (*ADDED, "instance_days", "pings")}
        self.tables = Tables(events=whole.events, kept=True, **named)

    def fill(self, events: pa.Table, portions: Sequence[Sequence[int]], pings: pa.Table) -> None:
        """Hold this history and no other."""
        self._set("events", events)
        self._set("pings", pings)
        for mart in (*ADDED, "instance_days"):
            self.connection.raw_sql(f"DELETE FROM {mart}")
        for rows in portions:
            self._set("portion", events.take(pa.array(rows, pa.int64())))
            for mart, definition in self._added.items():
                self.connection.raw_sql(f"INSERT INTO {mart} BY NAME {self._sql(mart, definition)}")
        sql = self._sql("instance_days", self._whole)
        self.connection.raw_sql(f"INSERT INTO instance_days BY NAME {sql}")

    def ask(self, metric: Metric, scope: Scope, rule: msgspec.Struct | None = None) -> list[Row]:
        """Return the rows of a metric; without a rule, by its example."""
        rule = rule or metric.example(self.plan)
        key = (metric.name, scope, rule)
        known = self._compiled.get(key)
        expression = known[1] if known else metric.function(self.tables, self.plan, scope, rule=rule)
        is_done = not expression.op().find(DatabaseTable)  # a funnel is: what it read may be other events next time
        found = self.connection.raw_sql(self._sql(key, expression))
        if is_done:
            del self._compiled[key]
        # DuckDB adds days to a date and gets a timestamp; Ibis makes it a date again when it hands over a result.
        dates = [type_.is_date() for type_ in expression.schema().types]
        return [
            {
                name: value.date() if is_date and isinstance(value, datetime) else value
                for name, value, is_date in zip(expression.columns, row, dates, strict=True)
            }
            for row in found.fetchall()
        ]

    def close(self) -> None:
        """Let go of it."""
        self.connection.disconnect()

    def _set(self, name: str, rows: pa.Table) -> None:
        self.connection.raw_sql(f"DELETE FROM {name}")
        if rows.num_rows:
            self.connection.con.register("arriving", rows)
            self.connection.raw_sql(f"INSERT INTO {name} BY NAME SELECT * FROM arriving")
            self.connection.con.unregister("arriving")

    def _sql(self, key: Any, expression: ibis.Table) -> str:
        if key not in self._compiled:
            # Registers the tables in memory that it reads, as running it by Ibis would; they live as long as it does.
            self.connection._run_pre_execute_hooks(expression)
            self._compiled[key] = (self.connection.compile(expression), expression)
        return self._compiled[key][0]
