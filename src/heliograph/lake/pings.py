"""Loads pings from the gateway's log into a table of their own, each number of each ping once.

Both tables are filled in one pass over the log, the pings first. So the pings stand where the events stand, or further
on, when a loader was killed between the two commits: what lies behind the events' place and before the pings' own is
left out here. A segment that the events have passed is one that the pings have passed, and no commit is needed for a
log without pings.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa

from heliograph.lake.commits import commit
from heliograph.lake.places import place_property, read_place, standing_at
from heliograph.lake.storage import connect
from heliograph.lake.tables import (
    ACTIVE_USERS,
    FACT,
    FEATURE_EVENTS,
    FEATURE_USERS,
    PING_SCHEMA,
    open_pings,
    ping_files,
)
from heliograph.ping import ActiveUsers, Ping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiceberg.table import Table, Transaction

    from heliograph.gateway.log_entries import PingEntry
    from heliograph.gateway.log_reading import Place
    from heliograph.ping import FactValue
    from heliograph.settings import LakeSettings

_decode: Final = msgspec.json.Decoder(Ping).decode


class PingTable:
    """The table of pings, as the loader fills it."""

    def __init__(self, settings: LakeSettings) -> None:
        self._settings = settings
        self.table: Table = open_pings(settings)
        self.recall()

    def recall(self) -> None:
        """Read from the lake how far the table has come, and forget what was not committed."""
        self.table.refresh()
        self._place = read_place(self.table)
        self._latest = self._read_latest()
        self._waiting: list[dict[str, Any]] = []

    def _read_latest(self) -> dict[str, date]:
        files = ping_files(self._settings)
        if not files:
            return {}
        with connect(self._settings) as connection:
            query = "select instance, max(day) from read_parquet($files) group by all"
            return dict(connection.execute(query, {"files": files}).fetchall())

    @property
    def waiting(self) -> int:
        """How many rows wait for a commit."""
        return len(self._waiting)

    def take(self, place: Place, entry: PingEntry, body: bytes) -> None:
        """Take the ping before `place`, unless the table has it: days only rise, so that a repeated one is known."""
        receipt = entry.receipt
        if place <= self._place or receipt.day <= self._latest.get(receipt.instance, date.min):
            return
        self._latest[receipt.instance] = receipt.day
        self._waiting += ping_rows(entry, _decode(body))

    def commit(self, place: Place) -> int:
        """Commit what waits, and that the log was read up to `place`; return how many rows that was."""
        rows, self._waiting = self._waiting, []
        if rows:
            told = pa.Table.from_pylist(rows, PING_SCHEMA)

            def change(transaction: Transaction) -> None:
                transaction.append(told)
                transaction.set_properties(place_property(place, self.table))

            commit(self.table, change, relying_on=standing_at(self._place, self.table))
            self._place = place
        return len(rows)


def ping_rows(entry: PingEntry, ping: Ping) -> list[dict[str, Any]]:
    """Return a ping in long form: a row for each number, fact, and number of a fact."""
    receipt = entry.receipt
    constants = {
        "instance": receipt.instance,
        "account": entry.account,
        "day": ping.day,
        "plan": ping.plan,
        "agent": ping.agent,
        "agreement": receipt.agreement,
        "received": datetime.fromtimestamp(receipt.received / 1_000_000, UTC).replace(tzinfo=None),
    }
    return [constants | row for row in (*_numbers(ping), *_facts(ping))]


def _numbers(ping: Ping) -> Iterator[dict[str, Any]]:
    for period in ActiveUsers.__struct_fields__:
        yield _number(ACTIVE_USERS, period, getattr(ping.active_users, period))
    for feature, use in ping.features.items():
        yield _number(FEATURE_USERS, feature, use.users)
        yield _number(FEATURE_EVENTS, feature, use.events)


def _number(measure: str, key: str, value: int | None) -> dict[str, Any]:
    return {"measure": measure, "key": key, "value": value, "suppressed": value is None}


def _facts(ping: Ping) -> Iterator[dict[str, Any]]:
    for name, fact in ping.facts.items():
        values: dict[str, FactValue] = (
            {f"{name}.{member}": count for member, count in fact.items()} if isinstance(fact, dict) else {name: fact}
        )
        for key, value in values.items():
            column = "value" if isinstance(value, int) and not isinstance(value, bool) else "word"
            told = str(value).lower() if isinstance(value, bool) else value
            yield {"measure": FACT, "key": key, column: told, "suppressed": False}
