"""Names in other languages: what a plan allows may be taken there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Names:
    """Gives each name once: one that is taken gets underscores behind it, so that the order of asking decides.

    Args:
        taken: Keywords of the language, and what else stands where the names will.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def give(self, wanted: str, *, endings: tuple[str, ...] = ("",)) -> str:
        """Return `wanted`, or what is nearest to it and free, with each of `endings` behind it as well."""
        name = wanted
        while any(name + ending in self._taken for ending in endings):
            name += "_"
        self._taken.update(name + ending for ending in endings)
        return name
