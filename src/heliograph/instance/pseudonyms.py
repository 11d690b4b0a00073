"""Random ids in place of the product's own: 128 bits from the system's generator, derived from nothing.

One that looks derived is drawn again, as the scan at either end refuses such a one. The mapping is on the instance only
(`heliograph.instance.state`). A new id is on disk before it is first sent.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from heliograph.plan.sensitive.random_ids import looks_derived

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from heliograph.instance.state import State

USER: Final = "user"
SESSION: Final = "session"
_MOST_CACHED: Final = 200_000
_MOST_DRAWS: Final = 8
"""One id of 1.8 million looks derived, so that as many in a row are no accident."""


class Pseudonyms:
    """Gives users and sessions their random ids.

    Args:
        state: Where they are kept.
        random_id: Makes a new one: 32 hexadecimal digits.
    """

    def __init__(self, state: State, *, random_id: Callable[[], str] = lambda: secrets.token_hex(16)) -> None:
        self._state = state
        self._random_id = random_id
        self._cache: dict[tuple[str, str], str] = {}
        self._fresh: dict[tuple[str, str], str] = {}

    def ids(self, kind: str, keys: Iterable[str]) -> list[str]:
        """Return the random id of each key, a new one where there is none yet."""
        keys = list(keys)
        if len(self._cache) > _MOST_CACHED:
            self._cache = dict(self._fresh)
        unknown = [key for key in keys if (kind, key) not in self._cache]
        known = self._state.pseudonyms(kind, unknown)
        for key in unknown:
            random_id = known.get(key)
            if random_id is None:
                random_id = self._fresh[kind, key] = self._draw()
            self._cache[kind, key] = random_id
        return [self._cache[kind, key] for key in keys]

    def _draw(self) -> str:
        for _ in range(_MOST_DRAWS):
            if not looks_derived(random_id := self._random_id()):
                return random_id
        raise RuntimeError("the system's generator gives no random ids")

    def fresh(self) -> list[tuple[str, str, str]]:
        """Return the kind, key and id of those that are not on disk yet."""
        return [(kind, key, random_id) for (kind, key), random_id in self._fresh.items()]

    def forget_fresh(self) -> None:
        """Take note that they are on disk now."""
        self._fresh.clear()

    def clear(self) -> None:
        """Remember nothing, as somebody was forgotten: what is on disk counts."""
        self._cache.clear()
        self._fresh.clear()
