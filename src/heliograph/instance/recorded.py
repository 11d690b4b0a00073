"""An event as the outbox holds it: what the product said, with its own ids, in the form of a line."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final

from heliograph.event import NAME_PATTERN, RESERVED, Actor, whole_milliseconds
from heliograph.instance.opt_outs import LONGEST_KEY

if TYPE_CHECKING:
    from datetime import datetime

LONGEST_WORD: Final = LONGEST_KEY
"""Characters of a text that can be recorded: no plan's word is as long, and a few huge ones would fill the outbox."""
_NUMBERS: Final = (int, float, bool)
_MOST_NAMES: Final = 10_000
_good_names: Final[set[str]] = set()
"""Names of events that were found good in this process."""


def recorded_event(  # noqa: C901, PLR0917 - called for every event: keywords and further calls cost
    name: str,
    moment: datetime,
    user: str | int | None,
    session: str | int | None,
    outcome: str | None,
    version: str | None,
    source: str | None,
    actor: str | None,
    properties: dict[str, Any],
) -> dict[str, Any]:
    """Return an event of what `heliograph.instance.recorder.Recorder.record` was given, with a place for its number.

    Raises:
        ValueError, TypeError: No event has such a name, property, value or actor.
    """
    if (name not in _good_names and not _is_good(name)) or not RESERVED.isdisjoint(properties):
        raise ValueError
    event: dict[str, Any] = {
        "name": name,
        "sequence": 0,
        "time": moment if moment.tzinfo else moment.replace(tzinfo=UTC),
    }
    if user is not None:
        event["user"] = _key(user)
    if session is not None:
        event["session"] = _key(session)
    if outcome is not None:
        event["outcome"] = outcome
    if version is not None:
        event["version"] = version
    if source:
        event["source"] = source
    if actor is not None:
        event["actor"] = Actor(actor).value
    for key, value in properties.items():
        if value is None:
            continue
        if isinstance(value, str):
            event[key] = _short(value)
        else:
            event[key] = value if isinstance(value, _NUMBERS) else _milliseconds(value)
    return event


def _is_good(name: str) -> bool:
    """Tell whether an event may have this name, and keep in mind that it may: a pattern is slow to look at again."""
    good = NAME_PATTERN.fullmatch(name) is not None
    if good and len(_good_names) < _MOST_NAMES:
        _good_names.add(name)
    return good


def _key(key: str | int) -> str:
    return _short(key) if isinstance(key, str) else str(key)


def _short(word: str) -> str:
    if len(word) > LONGEST_WORD:
        raise ValueError
    return word


def _milliseconds(value: object) -> int:
    if not isinstance(value, timedelta):
        raise TypeError
    return whole_milliseconds(value)
