"""DuckDB, in process: the engine of one machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import ibis

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heliograph.engines.engine import Stored


class EmbeddedEngine:
    """A DuckDB in memory, which reads the files where they are; one of its own if none is given."""

    def __init__(self, connection: Any = None) -> None:
        self._connection = ibis.duckdb.connect() if connection is None else connection
        # Times are naive UTC; this keeps any conversion by the engine from using the machine's zone.
        self._connection.raw_sql("SET TimeZone = 'UTC'")

    def open(self, stored: Mapping[str, Stored]) -> dict[str, ibis.Table]:
        """Return tables by name; see `heliograph.engines.engine.Engine`."""
        return {name: self._open(name, each) for name, each in stored.items()}

    def _open(self, name: str, stored: Stored) -> ibis.Table:
        schema = ibis.Schema.from_pyarrow(stored.columns)
        if not stored.files:
            return self._connection.create_table(ibis.util.gen_name(name), schema=schema, temp=True)
        # The folders are Iceberg's partitions, whose names DuckDB would add as columns.
        found = self._connection.read_parquet(
            list(stored.files), table_name=ibis.util.gen_name(name), union_by_name=True, hive_partitioning=False
        )
        return found.select(
            *(
                (found[column] if column in found.columns else ibis.null()).cast(type_).name(column)
                for column, type_ in schema.items()
            )
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()
