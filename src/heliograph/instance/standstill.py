"""That delivery stands still although the gateway answers: told in the log, and kept for `heliograph agent status`."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from heliograph.event import from_microseconds, microseconds

if TYPE_CHECKING:
    from collections.abc import Callable

_SCHEMA: Final = """
create table if not exists standstill (
    one integer primary key check (one = 1), since integer not null, reason text not null
)
"""
_log: Final = structlog.get_logger("heliograph.agent")


class Standing(msgspec.Struct, frozen=True):
    """Since when, and why, delivery stands still."""

    since: datetime
    """In UTC, by the instance's clock."""
    reason: str
    """The type of the problem with which the gateway answered last: a row of the table in docs/wire.md."""


class Standstill:
    """Remembers it in the agent's database.

    Args:
        connection: The agent's database.
        now: The clock.
    """

    def __init__(self, connection: sqlite3.Connection, now: Callable[[], datetime]) -> None:
        self._connection = connection
        self._now = now
        connection.execute(_SCHEMA)
        self.standing = read_standstill(connection)
        """Since when it stands still; None when it does not."""

    def begin(self, reason: str) -> None:
        """Tell it, once for each reason."""
        if self.standing is not None and self.standing.reason == reason:
            return
        since = self._now() if self.standing is None else self.standing.since
        self.standing = Standing(since, reason)
        self._connection.execute("insert or replace into standstill values (1, ?, ?)", (microseconds(since), reason))
        _log.error("delivery stands still", reason=reason, remedy="tell the vendor; events wait in the outbox")

    def end(self) -> None:
        """Tell that it goes on, if it stood still."""
        if self.standing is not None:
            self._connection.execute("delete from standstill")
            _log.info("delivery goes on", since=self.standing.since.isoformat())
            self.standing = None


def read_standstill(connection: sqlite3.Connection) -> Standing | None:
    """Return since when delivery stands still; None when it does not."""
    try:
        rows = connection.execute("select since, reason from standstill").fetchall()
    except sqlite3.OperationalError:  # no agent of this version has run with this state yet
        return None
    for since, reason in rows:
        return Standing(from_microseconds(since), reason)
    return None
