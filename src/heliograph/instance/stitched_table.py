"""Which visitors turned out to be which users: a part of the agent's database, and so of the instance alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

SCHEMA: Final = """
create table if not exists stitched (visitor text primary key, user text) without rowid;
create index if not exists stitched_by_user on stitched (user);
create table if not exists former_id (
    id text primary key, visitor text not null, user text not null
) without rowid;
create table if not exists sign_ins_taken (
    one integer primary key check (one = 1), file text not null, place integer not null, changes integer not null
);
"""
_KEYS_AT_ONCE: Final = 500


class StitchedTable:
    """Visitors' keys and the keys of the users that they turned out to be.

    A visitor whom two users have claimed stays in it, as nobody's.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def users_of(self, visitors: Iterable[str]) -> dict[str, str]:
        """Return the users that these visitors are, where they are one's alone."""
        wanted = list(visitors)
        found: dict[str, str] = {}
        for start in range(0, len(wanted), _KEYS_AT_ONCE):
            part = wanted[start : start + _KEYS_AT_ONCE]
            marks = ",".join("?" * len(part))
            query = f"select visitor, user from stitched where user is not null and visitor in ({marks})"  # noqa: S608 - question marks
            found.update(self._connection.execute(query, part))
        return found

    def all(self) -> dict[str, str]:
        """Return the users that all visitors are."""
        return dict(self._connection.execute("select visitor, user from stitched where user is not null"))

    def visitors_of(self, users: Sequence[str]) -> list[str]:
        """Return the visitors that these users were."""
        marks = ",".join("?" * len(users))
        query = f"select visitor from stitched where user in ({marks})"  # noqa: S608 - question marks
        return [visitor for (visitor,) in self._connection.execute(query, users)]

    def former_ids(self, keys: Sequence[str]) -> list[str]:
        """Return the random ids, now nobody's, that stood for these users or visitors before they signed in."""
        marks = ",".join("?" * len(keys))
        query = f"select id from former_id where user in ({marks}) or visitor in ({marks})"  # noqa: S608 - question marks
        return [random_id for (random_id,) in self._connection.execute(query, (*keys, *keys))]

    def forget(self, keys: Sequence[str]) -> None:
        """Delete what is known of these users and visitors, within a transaction of the caller's."""
        for key in keys:
            self._connection.execute("delete from stitched where user = ?1 or visitor = ?1", (key,))
            self._connection.execute("delete from former_id where user = ?1 or visitor = ?1", (key,))
