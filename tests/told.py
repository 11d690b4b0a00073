"""Pings for the tests of the questions, in the lake's shape."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
from pyarrow import parquet

from heliograph.gateway.log_entries import PingEntry
from heliograph.lake.pings import ping_rows
from heliograph.lake.tables import PING_SCHEMA
from heliograph.ping import Ping
from heliograph.wire import PingReceipt
from opened import pings_table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import ibis

TOLD = datetime.fromisoformat("2026-06-01T00:00:00Z")
"""When a ping came, if nothing else is said."""


def told(
    day: str,
    users: tuple[int | None, int | None, int | None],
    features: dict[str, tuple[int | None, int | None]] | None = None,
    *,
    instance: str = "one",
    account: str = "acme",
    agreement: str | None = "agreement-1",
    at: datetime = TOLD,
    **fields: Any,
) -> list[dict[str, Any]]:
    """One ping as rows of the lake: the users of day, week and month, and users and events by feature."""
    form = {
        "day": day,
        "plan": "product@1",
        "agent": "0.1.0",
        "facts": {},
        "active_users": dict(zip(("day", "week", "month"), users, strict=True)),
        "features": {key: {"users": few, "events": many} for key, (few, many) in (features or {}).items()},
    }
    receipt = PingReceipt(
        instance=instance,
        day=date.fromisoformat(day),
        digest="",
        agreement=agreement,
        received=int(at.timestamp() * 1_000_000),
    )
    return ping_rows(PingEntry(receipt=receipt, account=account), msgspec.convert(form | fields, Ping))


def open_as_pings(pings: Iterable[list[dict[str, Any]]], events: ibis.Table, file: Path) -> ibis.Table:
    """Open such pings as the lake's, in the connection of `events`."""
    parquet.write_table(pa.Table.from_pylist([row for ping in pings for row in ping], PING_SCHEMA), file)
    return pings_table([str(file)], PING_SCHEMA, beside=events)
