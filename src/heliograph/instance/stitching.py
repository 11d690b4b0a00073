"""From visitor to user, on the instance alone: what the product said of sign-ins, as the agent takes it up.

What a sign-in does, in one transaction:

* **The user has no random id yet.** The visitor's becomes the user's: what was sent before the sign-in and what comes
  after it have one id, and one history.
* **The user has one.** The visitor's events go under it from now on. What has left stays under the visitor's own id,
  which is kept only so that it can be erased with the user. Nothing tells the vendor that the two ids are one person.
* **Another user has claimed the visitor before**, as in a shared browser. The visitor is nobody's from now on, and
  gets a random id of its own at the next event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from heliograph.instance.opt_outs import own_id, user_keys
from heliograph.instance.pseudonyms import USER
from heliograph.instance.sign_ins import VISITOR, Place, SignIn, SignInsFile

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from pathlib import Path

    from heliograph.instance.state import State

_MOST_CACHED: Final = 200_000
_log: Final = structlog.get_logger("heliograph.stitching")


class Stitching:
    """Takes up sign-ins, and knows who is who.

    Args:
        state: The agent's memory.
        outbox: Where the product says who has signed in.
    """

    def __init__(self, state: State, outbox: Path) -> None:
        self._state = state
        self._file = SignInsFile(outbox)
        self._cache: dict[str, str | None] = {}

    def look(self) -> None:
        """Take up what was said since the last look. It counts once, whatever crashes.

        Raises:
            OSError, sqlite3.Error: It cannot be read or written down; a later look takes it up.
        """
        found = self._file.read(_taken(self._state.connection))
        if found is None:
            return
        if found.damaged:
            _log.warning("sign-ins that cannot be read are left out", lines=found.damaged)
        self.take(found.sign_ins, begin=found.begin, end=found.end)
        self._file.remove(found.end)

    def take(self, sign_ins: Iterable[SignIn], *, begin: Place | None = None, end: Place | None = None) -> None:
        """Take up sign-ins, of a file between two places if these are given."""
        connection = self._state.connection
        with connection:
            connection.execute("begin immediate")
            taken = _taken(connection)
            if begin is not None and begin.file and taken is not None and taken > begin and taken.file == begin.file:
                return  # by another process meanwhile
            changed = sum([_stitch(self._state, sign_in) for sign_in in sign_ins])
            _note(connection, end or taken or Place("", 0), changed)
        if changed:
            self.clear()

    def users_of(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the users' keys of those `keys` that are visitors' who have signed in."""
        visitors = [key for key in keys if key is not None and key.startswith(VISITOR)]
        if not visitors:
            return {}
        if len(self._cache) > _MOST_CACHED:
            self.clear()
        unknown = [visitor for visitor in visitors if visitor not in self._cache]
        known = self._state.stitched.users_of(unknown)
        self._cache.update({visitor: known.get(visitor) for visitor in unknown})
        return {visitor: user for visitor in visitors if (user := self._cache[visitor]) is not None}

    def clear(self) -> None:
        """Remember nothing: what is on disk counts."""
        self._cache.clear()


def _taken(connection: sqlite3.Connection) -> Place | None:
    row = connection.execute("select file, place from sign_ins_taken").fetchone()
    return None if row is None else Place(*row)


def _note(connection: sqlite3.Connection, place: Place, changed: int) -> None:
    connection.execute(
        "insert into sign_ins_taken values (1, ?, ?, ?) on conflict do update "
        "set file = excluded.file, place = excluded.place, changes = changes + excluded.changes",
        (place.file, place.end, changed),
    )


def _stitch(state: State, sign_in: SignIn) -> bool:
    """Take up one sign-in, within a transaction; tell whether anything is different now."""
    connection, visitor = state.connection, sign_in.visitor
    claimed = connection.execute("select user from stitched where visitor = ?", (visitor,)).fetchone()
    if claimed is None:
        user = _user_key(state, sign_in.user)
        connection.execute("insert into stitched values (?, ?)", (visitor, user))
        _join(state, visitor, user)
        return True
    [first] = claimed
    if first is None or own_id(first) == own_id(sign_in.user):
        return False
    # What it did so far was the first one's.
    state.usage.give(visitor, first)
    connection.execute("update stitched set user = null where visitor = ?", (visitor,))
    return True


def _user_key(state: State, user: str) -> str:
    """Return the key under which a user's events come: their own id, or that of the table `event_logs`."""
    keys = user_keys(user)
    known = state.pseudonyms(USER, keys)
    return next((key for key in keys if key in known), user)


def _join(state: State, visitor: str, user: str) -> None:
    connection = state.connection
    state.ids.sort_in_within()
    known = state.pseudonyms(USER, (visitor, user))
    if visitor in known and user not in known:
        connection.execute("update pseudonym set key = ? where kind = ? and key = ?", (user, USER, visitor))
    elif visitor in known:
        connection.execute("insert into former_id values (?, ?, ?)", (known[visitor], visitor, user))
        connection.execute("delete from pseudonym where kind = ? and key = ?", (USER, visitor))
    connection.execute(
        "insert or ignore into session_user select session, ? from session_user where user = ?", (user, visitor)
    )
    connection.execute("delete from session_user where user = ?", (visitor,))
