"""Which ranges were written into bundles: whatever way they go, they go with the same boundaries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

SCHEMA: Final = """
create table if not exists bundled (
    epoch integer not null, first integer not null, last integer not null, primary key (epoch, first)
) without rowid;
"""


class BundledTable:
    """The ranges in the agent's database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, epoch: int, first: int, last: int) -> None:
        """Remember a range that is about to be handed over."""
        self._connection.execute("insert or replace into bundled values (?, ?, ?)", (epoch, first, last))

    def end_of(self, epoch: int, first: int, *, after: int) -> int | None:
        """Return the last number of the range that begins at `first`; None where none does, or it ends before."""
        query = "select last from bundled where epoch = ? and first = ? and last > ?"
        for (last,) in self._connection.execute(query, (epoch, first, after)):
            return int(last)
        return None

    def drop(self, epoch: int, first: int) -> None:
        """Forget the ranges from `first` on: the gateway does not take them as they are."""
        self._connection.execute("delete from bundled where epoch = ? and first >= ?", (epoch, first))

    def forget(self, epoch: int, last: int) -> None:
        """Forget what is settled."""
        self._connection.execute("delete from bundled where epoch = ? and last <= ?", (epoch, last))
