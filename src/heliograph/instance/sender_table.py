"""Which agent processes have sent with this state, each by the random id that it has drawn for the gateway.

A process names those before it until something of its own was stored. So the gateway knows that whatever comes late of
them, sent before they died, is older.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

SCHEMA: Final = """
create table if not exists sender (number integer primary key, id text not null unique);
"""
MOST: Final = 8
"""Of those that are remembered: so many would have to die, each before its first delivery is answered, for one to be
forgotten whose delivery may still be on its way."""


class SenderTable:
    """The ids, in the agent's database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._sends = ""

    def begin(self, exporter: str) -> list[str]:
        """Let `exporter` be the one that sends from now on, and return those before it, the latest last."""
        self._sends = exporter
        rows = self._connection.execute("select id from sender where id <> ? order by number", (exporter,))
        return [each for (each,) in rows]

    def write(self) -> None:
        """Write down who sends, within the transaction that precedes what it sends first; then it stands there."""
        if self._sends and self._insert():
            self._connection.execute("delete from sender where number <= (select max(number) from sender) - ?", (MOST,))

    def _insert(self) -> bool:
        return self._connection.execute("insert or ignore into sender (id) values (?)", (self._sends,)).rowcount > 0
