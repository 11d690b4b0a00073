"""An event as the outbox holds it: what the product said, with its own ids, in the form of a line."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final

from heliograph.event import NAME_PATTERN, RESERVED, Actor, whole_milliseconds
from heliograph.instance.opt_outs import LONGEST_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

LONGEST_WORD: Final = LONGEST_KEY
"""Characters of a text that can be recorded: no plan's word is as long, and a few huge ones would fill the outbox."""
_SCALARS: Final = (str, int, float, bool)


def recorded_event(  # noqa: PLR0917 - called for every event: keywords cost
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
    """Return an event of what `heliograph.instance.recorder.Recorder.record` was given.

    Raises:
        ValueError, TypeError: No event has such a name, property, value or actor.
    """
    if not NAME_PATTERN.fullmatch(name) or not RESERVED.isdisjoint(properties):
        raise ValueError
    _refuse_long_words((user, session, *properties.values()))
    event: dict[str, Any] = {
        "name": name,
        "time": moment if moment.tzinfo else moment.replace(tzinfo=UTC),
    }
    if user is not None:
        event["user"] = str(user)
    if session is not None:
        event["session"] = str(session)
    if outcome is not None:
        event["outcome"] = outcome
    if version is not None:
        event["version"] = version
    if source:
        event["source"] = source
    if actor is not None:
        event["actor"] = Actor(actor).value
    for key, value in properties.items():
        if value is not None:
            event[key] = value if isinstance(value, _SCALARS) else _milliseconds(value)
    return event


def _milliseconds(value: object) -> int:
    if not isinstance(value, timedelta):
        raise TypeError
    return whole_milliseconds(value)


def _refuse_long_words(values: Iterable[object]) -> None:
    if any(isinstance(value, str) and len(value) > LONGEST_WORD for value in values):
        raise ValueError
