"""Whose sessions are, as the events tell: so that an event without a user is known to be of somebody who said no."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from heliograph.plan.buffers import column_values, valid_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt
    import pyarrow as pa

    from heliograph.instance.state import State

    Integers: TypeAlias = npt.NDArray[np.integer[Any]]

_MOST_CACHED: Final = 200_000


class SessionUsers:
    """Learns from batches; what is new is written down with the batch (`State.begin`).

    Args:
        state: Where it is kept.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._seen: set[tuple[str, str]] = set()
        self._fresh: dict[tuple[str, str], None] = {}
        """In the order in which they came."""

    def learn(self, sessions: pa.DictionaryArray, users: pa.DictionaryArray) -> None:
        """Take note of the pairs in the rows that have both."""
        both = np.flatnonzero(valid_rows(sessions) & valid_rows(users))
        if not len(both):
            return
        if len(self._seen) > _MOST_CACHED:
            self._seen = set(self._fresh)
        session_keys, user_keys = sessions.dictionary.to_pylist(), users.dictionary.to_pylist()
        pairs = _pairs(column_values(sessions.indices)[both], column_values(users.indices)[both])
        for session, user in pairs:
            pair = session_keys[session], user_keys[user]
            if pair not in self._seen:
                self._seen.add(pair)
                self._fresh[pair] = None

    def users_of(self, sessions: Iterable[str]) -> dict[str, set[str]]:
        """Return whose `sessions` are, where that is known."""
        wanted = set(sessions)
        found = self._state.users_of(wanted)
        for session, user in self._fresh:
            if session in wanted:
                found.setdefault(session, set()).add(user)
        return found

    def fresh(self) -> list[tuple[str, str]]:
        """Return the pairs that are not on disk yet."""
        return [*self._fresh]

    def forget_fresh(self) -> None:
        """Take note that they are on disk now."""
        self._fresh.clear()

    def clear(self) -> None:
        """Remember nothing, as somebody was forgotten: what is on disk counts."""
        self._seen.clear()
        self._fresh.clear()


def _pairs(sessions: Integers, users: Integers) -> list[tuple[int, int]]:
    """Return the different pairs, each once."""
    owner = np.full(int(sessions.max()) + 1, -1, np.int64)
    owner[sessions] = users
    if (owner[sessions] == users).all():  # as nearly always: to sort all rows takes ten times as long
        found = np.flatnonzero(owner >= 0)
        return [*zip(found.tolist(), owner[found].tolist(), strict=True)]
    width = int(users.max()) + 1
    places = np.unique(sessions.astype(np.int64) * width + users)
    return [*zip((places // width).tolist(), (places % width).tolist(), strict=True)]
