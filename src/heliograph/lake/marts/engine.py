"""The marts' definitions, compiled once for DuckDB: over an Arrow batch, or over the files of a table."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import ibis
import ibis.expr.operations as ops
import pyarrow as pa
import pyarrow.compute as pc

from heliograph.lake.marts import definitions
from heliograph.lake.marts.batches import Batch
from heliograph.lake.marts.tables import (
    INSTANCE_DAYS,
    MADE_OF,
    MARTS,
    SESSION_PARTS,
    USER_DAYS,
)
from heliograph.lake.tables import TIME
from heliograph.plan.changes import present_names

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import duckdb

    from heliograph.lake.marts.tables import Mart
    from heliograph.plan.model import Plan

_READ: Final = {
    "account": pa.string(),
    "instance": pa.string(),
    "name": pa.string(),
    "time": TIME,
    "user_id": pa.string(),
    "outcome": pa.string(),
    "version": pa.string(),
    "source": pa.string(),
    "actor": pa.string(),
}
"""The columns of events that marts are made of, beside the kind of a search."""


class _Compiled(NamedTuple):
    """The definitions under one plan as SQL."""

    columns: pa.Schema
    """Of the table `events`."""
    sql: dict[str, str]
    """By the mart's name: over `events`, or over the mart that it is made of."""
    meanings: dict[str, pa.Table]
    """Tables that the SQL names, with what the plan says of each event."""


_known: Final[dict[str, _Compiled]] = {}
"""By digest: to compile takes a fifth of a second."""


def _compile(plan: Plan, digest: str) -> _Compiled:
    if digest not in _known:
        columns = dict(_READ)
        if plan.searches is not None:
            columns.setdefault(plan.searches.by, pa.string())
        schema = pa.schema(list(columns.items()))
        events = ibis.table(ibis.Schema.from_pyarrow(schema), name="events")
        days, parts = (
            ibis.table(ibis.Schema.from_pyarrow(mart.schema), name=mart.name) for mart in (USER_DAYS, SESSION_PARTS)
        )
        counted = definitions.counted_events(events, plan)
        expressions = definitions.all_marts(counted, plan, days=days, parts=parts)
        found = [table for expression in expressions.values() for table in expression.op().find(ops.InMemoryTable)]
        _known[digest] = _Compiled(
            schema,
            {name: ibis.to_sql(expression, dialect="duckdb") for name, expression in expressions.items()},
            {table.name: table.data.to_pyarrow(table.schema) for table in found},
        )
    return _known[digest]


class Definitions:
    """The definitions under one plan, in one thread.

    Args:
        plan: What they depend on.
        connection: A DuckDB of their own, which can read the lake's files.
    """

    def __init__(self, plan: Plan, connection: duckdb.DuckDBPyConnection) -> None:
        self.digest: Final = definitions.definition_digest(plan)
        self._plan = plan
        self._renamed = present_names(plan)
        self._compiled = _compile(plan, self.digest)
        self._columns = self._compiled.columns
        self.connection = connection
        for name, meanings in self._compiled.meanings.items():
            self.connection.register(name, meanings)

    def from_batch(self, events: pa.Table, until: date | None = None) -> dict[Mart, pa.Table]:
        """Return what some events, those before `until`, add to the marts; `instance_days` is not added to."""
        if until is not None:
            events = events.filter(pc.field("time") < pa.scalar(until, pa.date32()).cast(TIME))
        return Batch(events, self._plan).marts()

    def made_of_files(
        self,
        files: Sequence[str],
        *,
        first: date,
        until: date | None,
        condition: tuple[str, dict[str, Any]] = ("true", {}),
    ) -> dict[Mart, pa.Table]:
        """Return all marts of the events in files; as `from_files`, and several times quicker."""
        if not files:
            return {mart: mart.schema.empty_table() for mart in MARTS}
        query, parameters = self._reading(files, first, until, condition)
        batch = Batch(self.connection.sql(query, params=parameters).to_arrow_table(), self._plan)
        return {**batch.marts(), INSTANCE_DAYS: batch.instance_days()}

    def from_files(
        self,
        wanted: Collection[Mart],
        files: Sequence[str],
        *,
        first: date,
        until: date | None,
        condition: tuple[str, dict[str, Any]] = ("true", {}),
    ) -> dict[Mart, pa.Table]:
        """Return what the definitions say of the events in files.

        Args:
            wanted: Which marts.
            files: Parquet files of the table of events.
            first: The first day.
            until: The day after the last one; None: there is no last one.
            condition: SQL that the events must fulfil besides, and its parameters.
        """
        if not files:
            return {mart: mart.schema.empty_table() for mart in wanted}
        query, parameters = self._reading(files, first, until, condition)
        self.connection.execute(f"create temp table events as {query}", parameters)
        try:
            return self._derive(wanted)
        finally:
            self.connection.execute("drop table events")

    def _reading(
        self, files: Sequence[str], first: date, until: date | None, condition: tuple[str, dict[str, Any]]
    ) -> tuple[str, dict[str, Any]]:
        """Return the query for the events in files, and its parameters."""
        known = self.connection.read_parquet(list(files), union_by_name=True, hive_partitioning=False).columns
        columns = ", ".join(
            f'"{field.name}"' if field.name in known else f'null::varchar as "{field.name}"' for field in self._columns
        )
        sql, parameters = condition
        query = f"""
            select {columns} from read_parquet($files, union_by_name = true, hive_partitioning = false)
            where time >= $first and time < $until and ({sql})
        """  # noqa: S608 - made from names of columns, with all values as parameters
        return query, {**parameters, "files": files, "first": first, "until": date.max if until is None else until}

    def from_days(
        self, wanted: Collection[Mart], files: Sequence[str], touched: pa.Table | None = None
    ) -> dict[Mart, pa.Table]:
        """Return marts that are made of `user_days`, from the files of that table.

        Args:
            wanted: Which of them.
            files: Its Parquet files.
            touched: The keys (account, instance, day) that are wanted; None: all.
        """
        if not files:
            return {mart: mart.schema.empty_table() for mart in wanted}
        query = "create temp table user_days as from read_parquet($files, hive_partitioning = false)"
        if touched is not None:
            self.connection.register("touched", touched)
            query += """
                semi join touched using (account, instance, day)
                where day between (select min(day) from touched) and (select max(day) from touched)
            """
        self.connection.execute(query, {"files": files})
        try:
            return {mart: self._run(mart) for mart in wanted}
        finally:
            self.connection.execute("drop table user_days")

    def of_mart(self, wanted: Collection[Mart], source: Mart, rows: pa.Table) -> dict[Mart, pa.Table]:
        """Return the marts that are made of another, from its rows."""
        self.connection.register(source.name, rows)
        try:
            return {mart: self._run(mart) for mart in wanted}
        finally:
            self.connection.unregister(source.name)

    def count_days(self, files: Sequence[str], first: date) -> list[tuple[date, int]]:
        """Return how many events there are in files of each day from the first on, in order."""
        if not files:
            return []
        query = """
            select time::date as day, count(*)
            from read_parquet($files, union_by_name = true, hive_partitioning = false)
            where time >= $first group by all order by all
        """
        return self.connection.execute(query, {"files": files, "first": first}).fetchall()

    def stored_where(self, mart: Mart, files: Sequence[str], condition: str, parameters: dict[str, Any]) -> pa.Table:
        """Return those rows of a mart's files that fulfil a condition in SQL; no others are held in memory."""
        if not files:
            return mart.schema.empty_table()
        query = f"from read_parquet($files, hive_partitioning = false) where {condition}"
        found: pa.Table = self.connection.sql(query, params={**parameters, "files": list(files)}).to_arrow_table()
        return found.select(mart.schema.names).cast(mart.schema)

    def present(self, rows: pa.Table) -> pa.Table:
        """Return rows that were made under an earlier plan with the names that their events have now."""
        if not self._renamed or "name" not in rows.schema.names:
            return rows
        names = [self._renamed.get(name, name) for name in rows.column("name").to_pylist()]
        return rows.set_column(rows.schema.get_field_index("name"), "name", pa.array(names, pa.string()))

    def _derive(self, wanted: Collection[Mart]) -> dict[Mart, pa.Table]:
        """Make marts of the table `events`, those that are made of another by way of it."""
        found: dict[Mart, pa.Table] = {}
        for source in (USER_DAYS, SESSION_PARTS):
            following = [mart for mart in wanted if MADE_OF.get(mart) is source]
            if following or source in wanted:
                rows = self._run(source)
                found |= {source: rows, **self.of_mart(following, source, rows)}
        return {mart: found[mart] for mart in wanted}

    def _run(self, mart: Mart) -> pa.Table:
        return self.connection.sql(self._compiled.sql[mart.name]).to_arrow_table().cast(mart.schema)
