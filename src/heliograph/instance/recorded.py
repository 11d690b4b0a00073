"""What a product may say of an event: checks and forms, of which `heliograph.instance.recorder` makes a line."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn

from heliograph.event import NAME_PATTERN, whole_milliseconds
from heliograph.instance.opt_outs import LONGEST_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LONGEST_WORD: Final = LONGEST_KEY
"""Characters of a text that can be recorded: no plan's word is as long, and a few huge ones would fill the outbox."""
_PLAIN: Final = (str, int, float, bool)
are_plain: Final = frozenset(_PLAIN).issuperset
"""Tells of types of values whether `plain_values` has nothing to do."""


def check_name(name: str) -> None:
    """See that an event may have this name.

    Raises:
        ValueError, TypeError: None may.
    """
    if NAME_PATTERN.fullmatch(name) is None:
        raise ValueError


def refuse_reserved() -> NoReturn:
    """Refuse an event of whose properties one has a name that none may have.

    Raises:
        ValueError: Always.
    """
    raise ValueError


def plain_values(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return properties as they are written: without those that are None, and spans of time in milliseconds.

    Raises:
        TypeError: One is nothing that can be written.
    """
    return {key: _plain(value) for key, value in properties.items() if value is not None}


def check_words(event: Sequence[Any]) -> None:
    """See that no text of an event, in the places of a compact line, is longer than can be recorded.

    Raises:
        ValueError: One is.
    """
    _, _, _, user, session, *_, properties = event
    for word in (user, session, *properties.values()):
        if isinstance(word, str) and len(word) > LONGEST_WORD:
            raise ValueError


def _plain(value: object) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if not isinstance(value, timedelta):
        raise TypeError
    return whole_milliseconds(value)
