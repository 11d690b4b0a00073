"""DuckDB, in process: the engine of one machine."""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

import ibis
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from heliograph.engines.engine import Files, Stored


_MOST_COMPILED: Final = 256


class EmbeddedEngine:
    """A DuckDB in memory, which reads the files where they are.

    Args:
        files: How it comes to those that are elsewhere.
        connection: Ibis's connection to it; None: it has one of its own.
    """

    def __init__(self, files: Files | None = None, *, connection: Any = None) -> None:
        self._connection = ibis.duckdb.connect() if connection is None else connection
        if files is not None:
            files.attach(self._connection.con)
        _compile_once(self._connection)
        # DuckDB complains on the way out of a process of what was not closed, once it knows functions in Python.
        weakref.finalize(self._connection, self._connection.con.close)
        # Times are naive UTC; this keeps any conversion by the engine from using the machine's zone.
        self._connection.raw_sql("SET TimeZone = 'UTC'")
        # What the files say of themselves is read for each question otherwise; they are never written twice.
        self._connection.raw_sql("SET parquet_metadata_cache = true")
        # What is handed over row by row comes from all cores at once, which have to wait where there is little room.
        self._connection.raw_sql("SET streaming_buffer_size = '16MiB'")

    def open(self, stored: Mapping[str, Stored]) -> dict[str, ibis.Table]:
        """Return tables by name; see `heliograph.engines.engine.Engine`."""
        return {name: self._open(name, each) for name, each in stored.items()}

    def _open(self, name: str, stored: Stored) -> ibis.Table:
        columns = stored.columns
        if stored.file_column:
            columns = columns.append(pa.field(stored.file_column, pa.int64()))
        schema = ibis.Schema.from_pyarrow(columns)
        if not stored.files:
            return self._connection.create_table(ibis.util.gen_name(name), schema=schema, temp=True)
        # By DuckDB's own word: Ibis's wants an extension for files that are elsewhere. The folders are Iceberg's
        # partitions, whose names would be added as columns.
        view = ibis.util.gen_name(name)
        reading = self._connection.con.read_parquet(list(stored.files), union_by_name=True, hive_partitioning=False)
        if stored.file_column:
            reading = reading.project(f'*, file_index::bigint as "{stored.file_column}"')
        reading.create_view(view)
        found = self._connection.table(view)
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


def read_batches(table: ibis.Table, *, rows: int) -> pa.RecordBatchReader:
    """Return what a table of DuckDB has, as it is read, so many rows at a time.

    Ibis's own `to_pyarrow_batches` asks for it by a name that DuckDB has no more.
    """
    relation = table.get_backend()._to_duckdb_relation(table)  # noqa: SLF001 - all that Ibis does before it asks
    return relation.to_arrow_reader(rows)


@contextmanager
def beside(table: ibis.Table, rows: pa.Table) -> Iterator[ibis.Table]:
    """Give a table of DuckDB some rows in memory as another one, for the length of the block.

    Ibis's own `memtable` stays in DuckDB for as long as the connection is open.
    """
    connection, name = table.get_backend(), ibis.util.gen_name("rows")
    connection.con.register(name, rows)
    try:
        yield connection.table(name)
    finally:
        connection.con.unregister(name)


def _compile_once(connection: Any) -> None:
    """Let a connection remember the SQL of what it has compiled: that takes longer than to run most questions.

    An expression is known by its structure, which Ibis hashes as it builds it.
    """
    compile_anew = connection.compile
    known: dict[Any, str] = {}

    def compile_expression(expression: ibis.Expr, /, **options: Any) -> str:
        key = (expression.op(), *sorted(options.items())) if all(map(_is_plain, options.values())) else None
        sql = known.get(key)
        if sql is None:
            sql = compile_anew(expression, **options)
            if key is not None:
                if len(known) >= _MOST_COMPILED:
                    known.clear()
                known[key] = sql
        return sql

    connection.compile = compile_expression


def _is_plain(option: object) -> bool:
    return option is None or isinstance(option, int | str)
