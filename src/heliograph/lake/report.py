"""What the lake holds, counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
from rich.table import Table

from heliograph.lake.tables import event_files, ping_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heliograph.settings import LakeSettings
    from heliograph.wire import Counts


def count_events(settings: LakeSettings) -> dict[str, Counts]:
    """Return the rows in the lake by instance and event name."""
    counts: dict[str, Counts] = {}
    query = "select instance, name, count(*) from {} group by all order by all"
    for instance, name, count in _query(event_files(settings), query):
        counts.setdefault(instance, {})[name] = count
    return counts


def count_repeated(settings: LakeSettings) -> int:
    """Return how many rows stand in the lake a second time: zero, or a promise is broken."""
    rows = _query(event_files(settings), "select count(*) - count(distinct (instance, epoch, sequence)) from {}")
    return int(rows[0][0]) if rows else 0


def count_pings(settings: LakeSettings) -> Counts:
    """Return how many pings of each instance the lake holds."""
    query = "select instance, count(distinct day) from {} group by all order by all"
    return dict(_query(ping_files(settings), query))


def _query(files: list[str], query: str) -> list[Any]:
    if not files:
        return []
    with duckdb.connect() as connection:
        return connection.execute(query.format("read_parquet($files)"), {"files": files}).fetchall()


def count_table(counts: Mapping[str, Counts], pings: Counts) -> Table:
    """Return a table with a line for each instance."""
    table = Table(title="What the lake holds")
    table.add_column("instance")
    for heading in ("events", "names", "pings"):
        table.add_column(heading, justify="right")
    for instance in sorted({*counts, *pings}):
        names = counts.get(instance, {})
        table.add_row(instance, f"{sum(names.values()):,}", str(len(names)), f"{pings.get(instance, 0):,}")
    return table
