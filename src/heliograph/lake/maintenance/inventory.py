"""How a lake stands: files, bytes and snapshots of each table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.table import Table as Printed

from heliograph.lake.maintenance.compaction import find_pieces
from heliograph.lake.maintenance.expiry import outdated_snapshots
from heliograph.lake.rewriting import table_name
from heliograph.lake.storage import storage_of
from heliograph.lake.tables import find_tables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pyiceberg.table import Table

    from heliograph.settings import LakeSettings


class Inventory(msgspec.Struct, kw_only=True):
    """How one table stands."""

    table: str
    rows: int
    files: int
    """Data files of the newest snapshot."""
    bytes: int
    """Of these files."""
    bytes_per_row: float
    snapshots: int
    outdated: int
    """Snapshots that `heliograph lake expire` would remove."""
    to_compact: int
    """Files that `heliograph lake compact` would rewrite."""
    stored_files: int
    """All files in the table's folder: those of older snapshots, metadata, and orphans, too."""
    stored_bytes: int


def take_inventory(settings: LakeSettings, now: datetime) -> list[Inventory]:
    """Return how each table stands."""
    return [_of(table, settings, now) for table in find_tables(settings)]


def _of(table: Table, settings: LakeSettings, now: datetime) -> Inventory:
    files = [task.file for task in table.scan().plan_files()]
    stored = storage_of(table).files(table.location())
    rows, size = sum(file.record_count for file in files), sum(file.file_size_in_bytes for file in files)
    return Inventory(
        table=table_name(table),
        rows=rows,
        files=len(files),
        bytes=size,
        bytes_per_row=round(size / rows, 2) if rows else 0.0,
        snapshots=len(table.metadata.snapshots),
        outdated=len(outdated_snapshots(table, settings, now)),
        to_compact=sum(len(piece.files) for piece in find_pieces(table, settings)),
        stored_files=len(stored),
        stored_bytes=sum(file.size for file in stored),
    )


def inventory_table(inventory: Sequence[Inventory]) -> Printed:
    """Return a table with a line for each table of the lake."""
    printed = Printed(title="The lake's files")
    printed.add_column("table")
    headings = ("rows", "files", "bytes", "a row", "to compact", "snapshots", "outdated", "all files", "all bytes")
    for heading in headings:
        printed.add_column(heading, justify="right")
    for each in inventory:
        numbers = (each.to_compact, each.snapshots, each.outdated, each.stored_files, each.stored_bytes)
        printed.add_row(
            each.table,
            f"{each.rows:,}",
            f"{each.files:,}",
            f"{each.bytes:,}",
            f"{each.bytes_per_row:.1f}",
            *(f"{number:,}" for number in numbers),
        )
    return printed
