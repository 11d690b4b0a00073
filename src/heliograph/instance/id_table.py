"""Who stands behind each random id, and whose sessions are: a part of the agent's database on the instance.

What is new in a delivery is one row of a journal. To sort thousands of keys into four indexes, each into another page,
takes longer than all else that is written for a delivery; of many at once a key takes half as long, and there is time.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

SCHEMA: Final = """
create table if not exists pseudonym (
    kind text not null, key text not null, id text not null unique, primary key (kind, key)
) without rowid;
create table if not exists session_user (
    session text not null, user text not null, primary key (session, user)
) without rowid;
create index if not exists session_user_by_user on session_user (user);
create table if not exists id_journal (
    number integer primary key autoincrement, keys integer not null, pseudonyms blob not null, sessions blob not null
);
"""
MOST_WAITING: Final = 100_000
"""Keys that wait in the journal: they are held in memory, too."""
ENOUGH_WAITING: Final = 30_000
"""Keys that are worth being sorted in, when there is nothing else to do."""
_KEYS_AT_ONCE: Final = 500

Pseudonym: TypeAlias = tuple[str, str, str]
"""Kind, key and random id."""
SessionUser: TypeAlias = tuple[str, str]
"""A session, and whose it is."""


class IdTable:
    """The random ids of users and sessions, and the users of sessions, by the product's own keys.

    Whoever changes what is in the tables `pseudonym` and `session_user` sorts in first, in the same transaction.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._seen: tuple[int, int] | None = None
        """The first and last row of the journal that are held in memory."""
        self._ids: dict[str, dict[str, str]] = {}
        """By kind and key."""
        self._users: list[SessionUser] = []
        self._added: tuple[tuple[bytes, bytes], list[Pseudonym], list[SessionUser]] | None = None
        """What was written last, and what is in it: that need not be decoded."""

    def add(self, pseudonyms: Iterable[Pseudonym], sessions: Iterable[SessionUser]) -> None:
        """Write down what is new, within a transaction of the caller's."""
        ids, users = [*pseudonyms], [*sessions]
        if not ids and not users:
            return
        if self.waiting() >= MOST_WAITING:
            self.sort_in_within()
        written = msgspec.msgpack.encode(ids), msgspec.msgpack.encode(users)
        self._connection.execute(
            "insert into id_journal (keys, pseudonyms, sessions) values (?, ?, ?)", (len(ids) + len(users), *written)
        )
        self._added = written, ids, users

    def ids(self, kind: str, keys: Iterable[str]) -> dict[str, str]:
        """Return the random ids of those `keys` that have one."""
        self._look()
        wanted = [*keys]
        held = self._ids.get(kind, {})
        found = {key: held[key] for key in wanted if key in held}
        for part in _parts([key for key in wanted if key not in found] if found else wanted):
            marks = ",".join("?" * len(part))
            query = f"select key, id from pseudonym where kind = ? and key in ({marks})"  # noqa: S608 - question marks
            found.update(self._connection.execute(query, (kind, *part)))
        return found

    def users_of(self, sessions: Iterable[str]) -> dict[str, set[str]]:
        """Return whose `sessions` are, where that is known."""
        self._look()
        wanted = [*sessions]
        found: dict[str, set[str]] = {}
        asked = frozenset(wanted)
        for session, user in self._users:
            if session in asked:
                found.setdefault(session, set()).add(user)
        for part in _parts(wanted):
            marks = ",".join("?" * len(part))
            query = f"select session, user from session_user where session in ({marks})"  # noqa: S608 - question marks
            for session, user in self._connection.execute(query, part):
                found.setdefault(session, set()).add(user)
        return found

    def waiting(self) -> int:
        """Return how many keys wait to be sorted in."""
        [(keys,)] = self._connection.execute("select coalesce(sum(keys), 0) from id_journal")
        return int(keys)

    def sort_in(self, *, at_least: int = 1) -> None:
        """Sort in what waits, if it is `at_least` so many keys."""
        if self.waiting() < at_least:
            return
        with self._connection:
            self._connection.execute("begin immediate")
            self.sort_in_within()

    def sort_in_within(self) -> None:
        """As `sort_in`, all of it, within a transaction of the caller's."""
        ids: list[Pseudonym] = []
        users: list[SessionUser] = []
        for written in self._connection.execute("select pseudonyms, sessions from id_journal"):
            some_ids, some_users = _decode(*written)
            ids += some_ids
            users += some_users
        if not ids and not users:
            return
        self._connection.executemany(
            "insert into pseudonym (kind, key, id) values (?, ?, ?)", sorted(ids, key=itemgetter(1))
        )
        self._connection.executemany(
            "insert or ignore into session_user values (?, ?)", sorted(users, key=itemgetter(0))
        )
        self._connection.execute("delete from id_journal")
        self._forget()

    def _look(self) -> None:
        """Hold in memory what is in the journal, as other processes sort it in, too."""
        [(first, last)] = self._connection.execute("select min(number), max(number) from id_journal")
        seen = None if first is None else (first, last)
        if seen == self._seen:
            return
        if seen is None or self._seen is None or seen[0] != self._seen[0] or seen[1] < self._seen[1]:
            self._forget()
        after = 0 if self._seen is None else self._seen[1]
        query = "select pseudonyms, sessions from id_journal where number > ?"
        for written in self._connection.execute(query, (after,)):
            ids, users = self._added[1:] if self._added and self._added[0] == written else _decode(*written)
            for kind, key, each in ids:
                self._ids.setdefault(kind, {})[key] = each
            self._users += users
        self._added = None
        self._seen = seen

    def _forget(self) -> None:
        self._seen = None
        self._ids.clear()
        self._users.clear()


def _decode(pseudonyms: bytes, sessions: bytes) -> tuple[list[Pseudonym], list[SessionUser]]:
    return (
        msgspec.msgpack.decode(pseudonyms, type=list[Pseudonym]),
        msgspec.msgpack.decode(sessions, type=list[SessionUser]),
    )


def _parts(wanted: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(wanted), _KEYS_AT_ONCE):
        yield wanted[start : start + _KEYS_AT_ONCE]
