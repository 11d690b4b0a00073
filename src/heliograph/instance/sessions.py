"""Whose sessions are, as the events tell: so that an event without a user is known to be of somebody who said no."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from heliograph.plan.buffers import column_values, valid_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from heliograph.instance.state import State

_MOST_CACHED: Final = 200_000


class SessionUsers:
    """Learns from batches; what is new is written down with the batch (`State.begin`).

    Args:
        state: Where it is kept.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._seen: set[tuple[str, str]] = set()
        self._fresh: set[tuple[str, str]] = set()

    def learn(self, sessions: pa.DictionaryArray, users: pa.DictionaryArray) -> None:
        """Take note of the pairs in the rows that have both."""
        both = np.flatnonzero(valid_rows(sessions) & valid_rows(users))
        if not len(both):
            return
        if len(self._seen) > _MOST_CACHED:
            self._seen = set(self._fresh)
        width = len(users.dictionary)
        pairs = np.unique(
            column_values(sessions.indices)[both].astype(np.int64) * width + column_values(users.indices)[both]
        )
        session_keys, user_keys = sessions.dictionary.to_pylist(), users.dictionary.to_pylist()
        found = {(session_keys[pair // width], user_keys[pair % width]) for pair in pairs.tolist()}
        self._fresh |= found - self._seen
        self._seen |= found

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
        return sorted(self._fresh)

    def forget_fresh(self) -> None:
        """Take note that they are on disk now."""
        self._fresh.clear()

    def clear(self) -> None:
        """Remember nothing, as somebody was forgotten: what is on disk counts."""
        self._seen.clear()
        self._fresh.clear()
