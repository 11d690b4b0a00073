"""The vendor's half of the ledger: a row for each delivery, in a table that is kept for ever.

It is filled in the same pass over the log as the events, and committed before them, as `heliograph.lake.pings` explains
for pings. The rows hold counts, digests and receipts, and no id of a user.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa

from heliograph.gateway.log_entries import Entry
from heliograph.gateway.log_reading import Place, read_segment, segments
from heliograph.lake.commits import commit
from heliograph.lake.places import place_property, read_place, standing_at
from heliograph.lake.storage import connect
from heliograph.lake.tables import DELIVERY_SCHEMA, delivery_files, find_deliveries, open_deliveries
from heliograph.ledger.export import Delivered
from heliograph.wire import Receipt, total_counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiceberg.table import Table, Transaction

    from heliograph.settings import LakeSettings, Settings

_TRIES: Final = 5


class DeliveryTable:
    """The table of deliveries, as the loader fills it."""

    def __init__(self, settings: LakeSettings) -> None:
        self._settings = settings
        self.table: Table = open_deliveries(settings)
        self.recall()

    def recall(self) -> None:
        """Read from the lake how far the table has come, and forget what was not committed."""
        self.table.refresh()
        self._place = read_place(self.table)
        self._last = self._read_last()
        self._waiting: list[dict[str, Any]] = []

    def _read_last(self) -> dict[tuple[str, int], int]:
        files = delivery_files(self._settings)
        if not files:
            return {}
        with connect(self._settings) as connection:
            query = "select instance, epoch, max(last) from read_parquet($files) group by all"
            rows = connection.execute(query, {"files": files}).fetchall()
        return {(instance, epoch): last for instance, epoch, last in rows}

    def take(self, place: Place, entry: Entry) -> None:
        """Take the delivery before `place`, unless the table has it: the numbers of an epoch only rise in one log."""
        receipt = entry.receipt
        key = (receipt.instance, receipt.epoch)
        if place <= self._place or (not self._settings.log and receipt.last <= self._last.get(key, 0)):
            return
        self._last[key] = receipt.last
        self._waiting.append(delivery_row(entry, self._settings.log, place))

    def commit(self, place: Place) -> int:
        """Commit what waits, and that the log was read up to `place`; return how many rows that was."""
        rows, self._waiting = self._waiting, []
        if rows:
            told = pa.Table.from_pylist(rows, DELIVERY_SCHEMA)

            def change(transaction: Transaction) -> None:
                transaction.append(told)
                transaction.set_properties(place_property(place, self.table))

            commit(self.table, change, relying_on=standing_at(self._place, self.table))
            self._place = place
        return len(rows)


def delivery_row(entry: Entry, log: str, place: Place) -> dict[str, Any]:
    """Return the row of a delivery, which stands before a place of a log."""
    receipt = entry.receipt
    return {
        "instance": receipt.instance,
        "account": entry.account,
        "epoch": receipt.epoch,
        "first": receipt.first,
        "last": receipt.last,
        "digest": receipt.digest,
        "accepted": sum(receipt.accepted.values()),
        "rejected": total_counts(receipt.rejected),
        "absent": total_counts(receipt.absent),
        "agreement": receipt.agreement,
        "plan": entry.plan,
        "received": datetime.fromtimestamp(receipt.received / 1_000_000, UTC).replace(tzinfo=None),
        "ledger": receipt.ledger,
        "receipt": msgspec.json.encode(receipt).decode(),
        "log": log,
        "generation": place.generation,
        "offset": place.offset,
    }


def read_delivered(settings: Settings, instance: str) -> list[Delivered]:
    """Return all deliveries of an instance that the vendor holds: in the lake, and in the log behind it.

    A gateway and a loader may be at work meanwhile.
    """
    for tries_left in reversed(range(_TRIES)):
        try:
            return _read_delivered(settings, instance)
        except FileNotFoundError:  # the loader has taken a segment, and the gateway uses it again
            if not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


def _read_delivered(settings: Settings, instance: str) -> list[Delivered]:
    table = find_deliveries(settings.lake)
    place = Place(0, 0) if table is None else read_place(table)
    found = {_range(each): each for each in _in_lake(settings.lake, instance)}
    for entry in _in_log(Path(settings.gateway.log), place):
        if entry.receipt.instance == instance:
            each = Delivered(receipt=entry.receipt, account=entry.account, plan=entry.plan)
            found.setdefault(_range(each), each)
    return [found[key] for key in sorted(found)]


def _in_lake(settings: LakeSettings, instance: str) -> list[Delivered]:
    files = delivery_files(settings)
    if not files:
        return []
    with connect(settings) as connection:
        query = "select receipt, account, plan from read_parquet($files) where instance = $instance"
        rows = connection.execute(query, {"files": files, "instance": instance}).fetchall()
    return [
        Delivered(receipt=msgspec.json.decode(receipt, type=Receipt), account=account, plan=plan)
        for receipt, account, plan in rows
    ]


def _in_log(folder: Path, place: Place) -> Iterator[Entry]:
    for generation in segments(folder) if folder.is_dir() else []:
        if generation >= place.generation:
            offset = place.offset if generation == place.generation else 0
            for _, header, _ in read_segment(folder, generation, offset):
                if isinstance(header, Entry):
                    yield header


def _range(each: Delivered) -> tuple[int, int, int]:
    return each.receipt.epoch, each.receipt.first, each.receipt.last
