"""An event as a recorder writes it: what the product said, with its own ids, in the places of a compact line."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final

from heliograph.event import NAME_PATTERN, RESERVED, Actor, whole_milliseconds
from heliograph.instance.opt_outs import LONGEST_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

LONGEST_WORD: Final = LONGEST_KEY
"""Characters of a text that can be recorded: no plan's word is as long, and a few huge ones would fill the outbox."""
_PLAIN: Final = (str, int, float, bool)
_are_plain: Final = frozenset(_PLAIN).issuperset
_MOST_NAMES: Final = 10_000
_good_names: Final[set[str]] = set()
"""Names of events that were found good in this process."""


def recorded_event(  # noqa: PLR0917 - called for every event: keywords and further calls cost
    name: str,
    moment: datetime,
    user: str | int | None,
    session: str | int | None,
    outcome: str | None,
    version: str | None,
    source: str | None,
    actor: str | None,
    properties: dict[str, Any],
) -> list[Any]:
    """Return an event of what `heliograph.instance.recorder.Recorder.record` was given, with a place for its number.

    Its texts are still to be looked at (`check_words`) where the line that is made of it is longer than the longest.

    Raises:
        ValueError, TypeError: No event has such a name, property, value or actor.
    """
    if (name not in _good_names and not _is_good(name)) or not RESERVED.isdisjoint(properties):
        raise ValueError
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if user is not None and type(user) is not str:
        user = str(user)
    if session is not None and type(session) is not str:
        session = str(session)
    if actor is not None:
        actor = Actor(actor).value
    if not _are_plain(map(type, properties.values())):
        properties = {key: _plain(value) for key, value in properties.items() if value is not None}
    return [name, 0, moment, user, session, outcome, version, source or None, actor, properties]


def check_words(event: Sequence[Any]) -> None:
    """See that no text of an event is longer than can be recorded; those of a whole product are not looked at.

    Raises:
        ValueError: One is.
    """
    _, _, _, user, session, *_, properties = event
    for word in (user, session, *properties.values()):
        if isinstance(word, str) and len(word) > LONGEST_WORD:
            raise ValueError


def _is_good(name: str) -> bool:
    """Tell whether an event may have this name, and keep in mind that it may: a pattern is slow to look at again."""
    good = NAME_PATTERN.fullmatch(name) is not None
    if good and len(_good_names) < _MOST_NAMES:
        _good_names.add(name)
    return good


def _plain(value: object) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if not isinstance(value, timedelta):
        raise TypeError
    return whole_milliseconds(value)
