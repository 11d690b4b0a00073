"""Forgetting a user: the mapping goes, what was recorded so far stays here, and the vendor is asked to erase.

What must still be known of a forgotten user, so that no older event of theirs is sent, is a keyed digest of their key
and the moment up to which they are forgotten. Their random ids are kept until the vendor has answered
(`heliograph.instance.erasures`), and no longer.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from heliograph.event import microseconds
from heliograph.instance.erasures import order_erasure
from heliograph.instance.opt_outs import checked_user, user_keys
from heliograph.instance.outbox_reading import START, read_epochs
from heliograph.instance.pseudonyms import SESSION, USER
from heliograph.instance.state import read_generation
from heliograph.instance.stitching import Stitching

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from heliograph.instance.state import State

_READ_EVENTS: Final = 50_000
_TRIES: Final = 5
_DIGEST_BYTES: Final = 16
_SCHEMA: Final = "create table if not exists digest_key (only integer primary key check (only = 1), key blob not null)"


class Forgotten:
    """Who was forgotten, and until when; as of one generation."""

    def __init__(self, key: bytes, until: dict[bytes, int], generation: int) -> None:
        self._key = key
        self._until = until
        self.generation: Final = generation

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> Forgotten:
        """Read it from the agent's database."""
        generation = read_generation(connection)  # before what it stands for: that may only be newer
        rows = connection.execute("select digest, until from forgotten").fetchall()
        until = {bytes(digest): moment for digest, moment in rows}
        return cls(_digest_key(connection), until, generation)

    def __bool__(self) -> bool:
        return bool(self._until)

    def until(self, kind: str, key: str) -> int:
        """Return the moment before which this user's or session's events stay, in microseconds since 1970; -1: none."""
        return self._until.get(_digest(self._key, kind, key), -1) if self._until else -1


class Outcome(NamedTuple):
    """What forgetting a user has come to."""

    random_ids: list[str]
    """Under which the vendor knows the user; its erasure is ordered."""
    sessions: int
    """How many sessions were forgotten with the user."""


class _Whose(msgspec.Struct):
    user: str | None = None
    session: str | None = None
    time: datetime | None = None


class _Queued(NamedTuple):
    sessions: set[str]
    latest: int


def forget(state: State, user: str, *, outbox: Path, now: datetime) -> Outcome:
    """Forget a user, and the visitors that the user was before signing in. Once all are forgotten, `scrub`.

    It is as of now; an agent may be running beside.

    Args:
        state: The agent's memory.
        user: The product's own id of the user.
        outbox: Where events of theirs may be waiting.
        now: The clock.

    Raises:
        ValueError: This is no user's id.
        OSError, sqlite3.Error: The outbox or the state cannot be read or written: say it again.
    """
    named = user_keys(checked_user(user))
    Stitching(state, outbox).look()  # what the product has said of the user's sign-ins goes, too
    connection = state.connection
    keys = (*named, *state.stitched.visitors_of(named))
    marks = ",".join("?" * len(keys))
    state.ids.sort_in()
    query = f"select session from session_user where user in ({marks})"  # noqa: S608 - question marks
    queued = _read_queued(state, outbox, keys, {session for (session,) in connection.execute(query, keys)})
    # A clock that was set back must not let those pass that were recorded before this.
    until = max(microseconds(now), queued.latest + 1)
    with connection:
        connection.execute("begin immediate")
        state.ids.sort_in_within()
        keys = (*named, *state.stitched.visitors_of(named))
        ids = [*state.pseudonyms(USER, keys).values(), *state.stitched.former_ids(keys)]
        # Sessions had random ids in earlier versions.
        sent = {*ids, *state.pseudonyms(SESSION, queued.sessions).values()}
        whats = [(USER, key) for key in keys] + [(SESSION, session) for session in sorted(queued.sessions)]
        connection.executemany("delete from pseudonym where kind = ? and key = ?", whats)
        connection.executemany("delete from session_user where user = ?", [(key,) for key in keys])
        state.stitched.forget(keys)
        _write_forgotten(connection, whats, until)
        state.usage.forget_users(keys)
        # Sorted, as the order of the users' own ids is nobody's business.
        order_erasure(connection, sorted(ids), asked=microseconds(now))
    with connection:
        connection.execute("begin immediate")  # no agent is between keeping what is to leave and saying so
        state.kept.forget(sent, told=state.ledger.sent_digests())
    return Outcome(sorted(ids), len(queued.sessions))


def scrub(connection: sqlite3.Connection) -> bool:
    """Let no freed part of the database's files hold what was deleted; tell whether that could be done."""
    try:
        connection.execute("vacuum")
        [(busy, *_)] = connection.execute("pragma wal_checkpoint(truncate)")
    except sqlite3.OperationalError:  # busy, or no room for a copy
        return False
    return not busy


def _write_forgotten(connection: sqlite3.Connection, whats: Sequence[tuple[str, str]], until: int) -> None:
    key = _digest_key(connection)
    [(generation,)] = connection.execute("select coalesce(max(generation), 0) + 1 from forgotten")
    connection.executemany(
        "insert into forgotten values (?, ?, ?) on conflict (digest) do update "
        "set until = max(until, excluded.until), generation = excluded.generation",
        [(_digest(key, kind, what), until, generation) for kind, what in whats],
    )


def _digest_key(connection: sqlite3.Connection) -> bytes:
    connection.execute(_SCHEMA)
    found = connection.execute("select key from digest_key").fetchone()
    if found is None:  # another process may be making one, too: the first one stays
        connection.execute("insert or ignore into digest_key values (1, ?)", (secrets.token_bytes(32),))
        found = connection.execute("select key from digest_key").fetchone()
    return bytes(found[0])


def _digest(key: bytes, kind: str, what: str) -> bytes:
    return hashlib.blake2b(f"{kind} {what}".encode(errors="replace"), key=key, digest_size=_DIGEST_BYTES).digest()


def _read_queued(state: State, outbox: Path, keys: Sequence[str], sessions: set[str]) -> _Queued:
    """Return these sessions and those of the users in the outbox, and the latest time of an event of theirs there."""
    for tries_left in reversed(range(_TRIES)):
        try:
            found = sessions | {each.session for each in _waiting(state, outbox) if each.user in keys and each.session}
            times = [
                microseconds(each.time)
                for each in _waiting(state, outbox)
                if each.time is not None and (each.user in keys or (each.user is None and each.session in found))
            ]
        except FileNotFoundError:  # delivered and deleted meanwhile
            if not tries_left:
                raise
        else:
            return _Queued(found, max(times, default=-1))
    raise AssertionError("the last try returns or raises")


def _waiting(state: State, outbox: Path) -> Iterator[_Whose]:
    """Yield whose the events are that were not delivered yet."""
    progresses = state.all_progress()
    for reader in read_epochs(outbox):
        progress = progresses.get(reader.epoch)
        position = START if progress is None else progress.position
        while (chunk := reader.read(position, _READ_EVENTS)).end != position:
            position = chunk.end
            for line in chunk.lines:
                try:
                    yield msgspec.json.decode(line, type=_Whose)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
