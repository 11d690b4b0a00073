"""Opens the lake's events for the embedded engine: DuckDB, in process, over the Parquet files that Iceberg plans."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa


def events_table(files: Sequence[str], schema: pa.Schema) -> ibis.Table:
    """Return the events of `files` as a table of a new DuckDB connection; an empty lake gives an empty table.

    Args:
        files: The Parquet files of the table's current snapshot; files from before a property was declared lack it.
        schema: The lake's columns, as `heliograph.lake.tables.event_schema` gives them.

    Returns:
        All columns of `schema`, in its order and types; null where a file lacks one.
    """
    connection = ibis.duckdb.connect()
    # Times in the lake are naive UTC; this keeps any conversion by the engine from using the machine's zone.
    connection.raw_sql("SET TimeZone = 'UTC'")
    if not files:
        return connection.create_table("events", schema=ibis.Schema.from_pyarrow(schema))
    # The folders are Iceberg's partitions, whose names DuckDB would add as columns.
    stored = connection.read_parquet(list(files), table_name="files", union_by_name=True, hive_partitioning=False)
    return stored.select(
        *(
            (stored[name] if name in stored.columns else ibis.null()).cast(type_).name(name)
            for name, type_ in ibis.Schema.from_pyarrow(schema).items()
        )
    )
