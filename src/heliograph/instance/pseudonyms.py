"""Random ids in place of the product's own: 128 bits from the system's generator, derived from nothing.

One that looks derived is drawn again, as the scan at either end refuses such a one. The mapping is on the instance only
(`heliograph.instance.state`). A new id is on disk before it is first sent.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import numpy as np

from heliograph.plan.sensitive.wall import derived_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from heliograph.instance.state import State

USER: Final = "user"
SESSION: Final = "session"
"""Had ids, too, in earlier versions; none are drawn any more."""
_MOST_CACHED: Final = 200_000
_ID_BYTES: Final = 16
_ID_DIGITS: Final = 2 * _ID_BYTES
_MOST_DRAWS: Final = 8
"""One id of 1.8 million looks derived, so that as many in a row are no accident."""


class Pseudonyms:
    """Gives users their random ids.

    Args:
        state: Where they are kept.
        random_bytes: The generator: gives so many bytes.
    """

    def __init__(
        self,
        state: State,
        *,
        random_bytes: Callable[[int], bytes] = lambda size: secrets.token_bytes(size),  # noqa: PLW0108 - the present one
    ) -> None:
        self._state = state
        self._random_bytes = random_bytes
        self._cache: dict[tuple[str, str], str] = {}
        self._fresh: dict[tuple[str, str], str] = {}

    def ids(self, kind: str, keys: Iterable[str]) -> list[str]:
        """Return the random id of each key, a new one where there is none yet."""
        keys = list(keys)
        if len(self._cache) > _MOST_CACHED:
            self._cache = dict(self._fresh)
        unknown = [key for key in dict.fromkeys(keys) if (kind, key) not in self._cache]
        known = self._state.pseudonyms(kind, unknown)
        new = [(kind, key) for key in unknown if key not in known]
        self._fresh.update(drawn := dict(zip(new, self._draw(len(new)), strict=True)))
        self._cache.update(drawn)
        self._cache.update({(kind, key): random_id for key, random_id in known.items()})
        return [self._cache[kind, key] for key in keys]

    def _draw(self, count: int) -> list[str]:
        """Return new ids, drawn and looked at all at once: one by one, the look takes longer than all else."""
        found: list[str] = []
        for _ in range(_MOST_DRAWS):
            digits = self._random_bytes((count - len(found)) * _ID_BYTES).hex()
            ids = [digits[start : start + _ID_DIGITS] for start in range(0, len(digits), _ID_DIGITS)]
            derived = {*derived_ids(np.frombuffer(digits.encode(), np.uint8)).tolist()}
            found += [each for place, each in enumerate(ids) if place not in derived] if derived else ids
            if len(found) == count:
                return found
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
