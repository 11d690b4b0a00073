"""Opens the lake's tables for the embedded engine: DuckDB, in process, over the Parquet files that Iceberg plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa


def events_table(files: Sequence[str], schema: pa.Schema) -> ibis.Table:
    """Return the events of the customers' own people as a table of a new DuckDB connection.

    This is the one place where questions read events, and where those with an ``actor``, of the vendor's operators and
    of services, are left out: no question counts them. An empty lake gives an empty table.

    Args:
        files: The Parquet files of the table's current snapshot; files from before a property was declared lack it.
        schema: The lake's columns, as `heliograph.lake.tables.event_schema` gives them.

    Returns:
        All columns of `schema`, in its order and types; null where a file lacks one.
    """
    connection = ibis.duckdb.connect()
    # Times in the lake are naive UTC; this keeps any conversion by the engine from using the machine's zone.
    connection.raw_sql("SET TimeZone = 'UTC'")
    events = _open(connection, "events", files, schema)
    return events.filter(events.actor.isnull())


def pings_table(files: Sequence[str], schema: pa.Schema, *, beside: ibis.Table) -> ibis.Table:
    """Return the pings of `files` in the connection of `beside`, so that the two can be joined.

    Args:
        files: The Parquet files of the table's current snapshot.
        schema: The lake's columns, which are `heliograph.lake.tables.PING_SCHEMA`.
        beside: The lake's events, as `events_table` gives them.
    """
    return _open(beside.get_backend(), "pings", files, schema)


def _open(connection: Any, name: str, files: Sequence[str], schema: pa.Schema) -> ibis.Table:
    if not files:
        return connection.create_table(name, schema=ibis.Schema.from_pyarrow(schema))
    # The folders are Iceberg's partitions, whose names DuckDB would add as columns.
    stored = connection.read_parquet(
        list(files), table_name=f"{name}_files", union_by_name=True, hive_partitioning=False
    )
    return stored.select(
        *(
            (stored[column] if column in stored.columns else ibis.null()).cast(type_).name(column)
            for column, type_ in ibis.Schema.from_pyarrow(schema).items()
        )
    )
