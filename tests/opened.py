"""Tables of the lake for the tests of questions, from files at hand, in the embedded engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heliograph.engines import EmbeddedEngine, Stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis
    import pyarrow as pa


def events_table(files: Sequence[str], schema: pa.Schema) -> ibis.Table:
    """Return the events of the customers' own people, without those that have an ``actor``.

    Args:
        files: The Parquet files of the table's current snapshot; files from before a property was declared lack it.
        schema: The lake's columns, as `heliograph.lake.tables.event_schema` gives them.

    Returns:
        All columns of `schema`, in its order and types; null where a file lacks one.
    """
    events = EmbeddedEngine().open({"events": Stored(tuple(files), schema)})["events"]
    return events.filter(events.actor.isnull())


def pings_table(files: Sequence[str], schema: pa.Schema, *, beside: ibis.Table) -> ibis.Table:
    """Return the pings of `files` in the connection of `beside`, so that the two can be joined.

    Args:
        files: The Parquet files of the table's current snapshot.
        schema: The lake's columns, which are `heliograph.lake.tables.PING_SCHEMA`.
        beside: The lake's events, as `events_table` gives them.
    """
    return EmbeddedEngine(connection=beside.get_backend()).open({"pings": Stored(tuple(files), schema)})["pings"]
