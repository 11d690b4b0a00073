"""Random ids that the vendor is asked to erase: kept until there is an answer, then only the order and its time.

The vendor is asked at the agent's next contact, and again until it answers; asking twice for one id is one order.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from heliograph.instance.transport import TransportError, erasure_body
from heliograph.ledger.entries import ErasureSettled

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from heliograph.instance.state import State
    from heliograph.instance.transport import GatewayClient

_PAUSE: Final = timedelta(minutes=1)
_SCHEMA: Final = """
create table if not exists erasure (
    number integer primary key, user_id text unique, asked integer not null, erasure text, ordered integer,
    scrubbed integer not null default 0
)
"""
_log: Final = structlog.get_logger("heliograph.erasures")


class Erasure(NamedTuple):
    """One user whom the vendor is asked to erase. Times are in microseconds since 1970 in UTC."""

    user_id: str | None
    """The random id; None once the vendor has answered."""
    asked: int
    """When the user was forgotten here."""
    erasure: str | None
    """The vendor's id of the order; None before it has answered."""
    ordered: int | None
    """When it was ordered, by the vendor's clock."""


def order_erasure(connection: sqlite3.Connection, ids: Iterable[str], *, asked: int) -> None:
    """Write down that the vendor is to erase these random ids."""
    connection.execute(_SCHEMA)
    connection.executemany(
        "insert or ignore into erasure (user_id, asked) values (?, ?)", [(random_id, asked) for random_id in ids]
    )


def read_erasures(connection: sqlite3.Connection) -> list[Erasure]:
    """Return all that were ever asked for, the first one first."""
    connection.execute(_SCHEMA)
    rows = connection.execute("select user_id, asked, erasure, ordered from erasure order by number")
    return [Erasure(*row) for row in rows]


class Erasures:
    """Asks the vendor.

    Args:
        state: The agent's memory.
        client: The way to the gateway.
        scrub: Overwrites what was deleted; tells whether it could.
    """

    def __init__(self, state: State, client: GatewayClient, *, scrub: Callable[[sqlite3.Connection], bool]) -> None:
        self._state = state
        self._connection = state.connection
        self._client = client
        self._scrub = scrub
        self._looked = self._ask_again = datetime.min.replace(tzinfo=UTC)
        self._connection.execute(_SCHEMA)

    def send(self, now: datetime, *, may_send: Callable[[], bool] = lambda: True) -> None:
        """Ask for what was not answered yet. Where that does not succeed, nothing else is kept from being sent.

        Args:
            now: The clock.
            may_send: Whether the vendor may be spoken with this very moment.
        """
        if self._looked <= now < self._ask_again:  # unless the clock was set back
            return
        # Not in the order in which they were forgotten: a list of users is often sorted by what they are called.
        waiting = self._connection.execute(
            "select number, user_id from erasure where erasure is null order by user_id"
        ).fetchall()
        try:
            for number, user_id in waiting:
                if not may_send():
                    return
                # Forgetting has deleted these bytes already, unless it was interrupted.
                self._state.kept.forget([user_id])
                digest = hashlib.sha256(erasure_body(user_id)).hexdigest()
                self._state.ledger.append_erasure(digest)
                answer = self._client.request_erasure(user_id)
                with self._connection:
                    self._connection.execute("begin immediate")
                    self._connection.execute(
                        "update erasure set user_id = null, erasure = ?, ordered = ? where number = ?",
                        (answer.erasure, answer.ordered, number),
                    )
                    self._state.ledger.append(
                        ErasureSettled(
                            time=self._state.moment(), digest=digest, erasure=answer.erasure, ordered=answer.ordered
                        )
                    )
                _log.info("erasure ordered", erasure=answer.erasure)
        except TransportError as error:
            self._looked, self._ask_again = now, now + _PAUSE
            _log.warning("erasure not ordered yet", why=str(error), seconds=_PAUSE.total_seconds())
        self._scrub_answered()

    def _scrub_answered(self) -> None:
        query = "select max(number) from erasure where erasure is not null and not scrubbed"
        [(last,)] = self._connection.execute(query)
        if last is not None and self._scrub(self._connection):
            self._connection.execute(
                "update erasure set scrubbed = 1 where number <= ? and erasure is not null", (last,)
            )
