"""What the lake holds, counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
from rich.table import Table

from heliograph.lake.tables import event_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heliograph.settings import LakeSettings
    from heliograph.wire import Counts


def count_events(settings: LakeSettings) -> dict[str, Counts]:
    """Return the rows in the lake by instance and event name."""
    counts: dict[str, Counts] = {}
    for instance, name, count in _query(settings, "select instance, name, count(*) from {} group by all order by all"):
        counts.setdefault(instance, {})[name] = count
    return counts


def count_repeated(settings: LakeSettings) -> int:
    """Return how many rows stand in the lake a second time: zero, or a promise is broken."""
    rows = _query(settings, "select count(*) - count(distinct (instance, epoch, sequence)) from {}")
    return int(rows[0][0]) if rows else 0


def _query(settings: LakeSettings, query: str) -> list[Any]:
    files = event_files(settings)
    if not files:
        return []
    with duckdb.connect() as connection:
        return connection.execute(query.format("read_parquet($files)"), {"files": files}).fetchall()


def count_table(counts: Mapping[str, Counts]) -> Table:
    """Return a table with a line for each instance."""
    table = Table(title="What the lake holds")
    table.add_column("instance")
    table.add_column("events", justify="right")
    table.add_column("names", justify="right")
    for instance, names in sorted(counts.items()):
        table.add_row(instance, f"{sum(names.values()):,}", str(len(names)))
    return table
