"""What a lake says of its files, to be held against what another says."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq

from heliograph.lake.storage import local_path

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

_MINUS_ZERO: Final = struct.pack("<d", -0.0)


def told(tables: dict[str, Table]) -> dict[str, list[Any]]:
    """Return all that a lake says: by table and file what a snapshot tells of it, its columns, and its rows."""
    found: dict[str, list[Any]] = {}
    for name, table in tables.items():
        files = [task.file for task in table.scan().plan_files()]
        found[name] = sorted((told_of(table, file) for file in files), key=str)
    return found


def told_of(table: Table, file: DataFile) -> list[Any]:
    rows = pq.read_table(local_path(file.file_path), partitioning=None)
    numbers = {field.name: int(field.metadata[b"PARQUET:field_id"]) for field in rows.schema}
    assert numbers == {field.name: field.field_id for field in table.schema().fields}
    types = [(field.name, str(field.type).removeprefix("large_")) for field in rows.schema]
    # Parquet has the least of numbers that are zero be minus zero, and not all writers do so.
    lower = {number: bound.replace(_MINUS_ZERO, bytes(8)) for number, bound in file.lower_bounds.items()}
    kept = [lower, dict(file.upper_bounds), dict(file.value_counts), dict(file.null_value_counts)]
    return [str(file.partition), file.record_count, *kept, types, sorted(map(str, rows.to_pylist()))]
