"""The pings in the agent's database: the exact bytes of each before it is sent, and the answer to it."""

from __future__ import annotations

import hashlib
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.instance.usage import as_date, day_number
from heliograph.ledger.entries import PingSent, PingSettled
from heliograph.wire import PingReceipt

if TYPE_CHECKING:
    import sqlite3

    from heliograph.instance.ledger import Ledger

SCHEMA: Final = """
create table if not exists ping (
    day integer primary key, body blob not null, made text not null, settled integer not null default 0,
    receipt blob, signature text, refused text
);
create table if not exists ping_since (id integer primary key check (id = 1), day integer not null);
"""


class KeptPing(msgspec.Struct, frozen=True, kw_only=True):
    """A ping as the agent's database has it."""

    day: date
    body: bytes
    """The exact bytes that were sent, or will be."""
    made: datetime
    settled: bool
    """Whether it was answered for good, and is not sent again."""
    receipt: PingReceipt | None
    """What the gateway stored; None while it has not answered, refused, or held a later day already."""
    signature: str | None
    """The receipt as a compact JWS."""
    refused: str | None
    """Why the gateway does not take it."""


class PingTable:
    """The pings in the agent's database."""

    def __init__(self, connection: sqlite3.Connection, ledger: Ledger) -> None:
        self._connection = connection
        self._ledger = ledger

    def begin(self, day: date) -> None:
        """Let `day` be the first to be told, unless there is an earlier one already."""
        since = self.since()
        if since is None or since > day:  # the clock was wrong
            with self._connection:
                self._connection.execute(
                    "insert or replace into ping_since (id, day) values (1, ?)", (day_number(day),)
                )

    def withdraw(self) -> None:
        """Drop what was not told yet, and tell no day before the next `begin`: somebody has said no."""
        if self.since() is not None:
            with self._connection:
                self._connection.execute("begin immediate")
                self._connection.execute("delete from ping where settled = 0")
                self._connection.execute("delete from ping_since")

    def since(self) -> date | None:
        """Return the first day from which the level allowed to tell."""
        row = self._connection.execute("select day from ping_since").fetchone()
        return None if row is None else as_date(row[0])

    def next_day(self, last: date) -> date | None:
        """Return the day after the last one up to `last` that has a ping; None while no day may be told."""
        since = self.since()
        row = self._connection.execute("select max(day) from ping where day <= ?", (day_number(last),)).fetchone()
        return since if since is None or row[0] is None else max(since, as_date(row[0] + 1))

    def put(self, day: date, body: bytes, made: datetime) -> None:
        """Keep a ping before it is sent, and tell the ledger of it."""
        digest = hashlib.sha256(body).hexdigest()
        with self._connection:
            self._connection.execute("begin immediate")
            self._connection.execute(
                "insert or replace into ping (day, body, made) values (?, ?, ?)",
                (day_number(day), body, made.isoformat()),
            )
            self._ledger.append(PingSent(time=self._ledger.now(), day=day, digest=digest, size=len(body)))

    def settle(
        self, day: date, *, receipt: PingReceipt | None = None, signature: str | None = None, refused: str | None = None
    ) -> None:
        """Write down the answer for good."""
        encoded = None if receipt is None else msgspec.json.encode(receipt)
        with self._connection:
            self._connection.execute("begin immediate")
            self._ledger.append(PingSettled(time=self._ledger.now(), day=day, signature=signature, refused=refused))
            self._connection.execute(
                "update ping set settled = 1, receipt = ?, signature = ?, refused = ? where day = ?",
                (encoded, signature, refused, day_number(day)),
            )

    def kept(self) -> list[KeptPing]:
        """Return all pings, the oldest first."""
        columns = "day, body, made, settled, receipt, signature, refused"
        rows = self._connection.execute(f"select {columns} from ping order by day")  # noqa: S608 - a constant
        return [
            KeptPing(
                day=as_date(day),
                body=body,
                made=datetime.fromisoformat(made),
                settled=bool(settled),
                receipt=None if receipt is None else msgspec.json.decode(receipt, type=PingReceipt),
                signature=signature,
                refused=refused,
            )
            for day, body, made, settled, receipt, signature, refused in rows
        ]

    def unsettled(self) -> tuple[date, bytes] | None:
        """Return day and bytes of the oldest ping without an answer."""
        row = self._connection.execute("select day, body from ping where settled = 0 order by day limit 1").fetchone()
        return None if row is None else (as_date(row[0]), row[1])
