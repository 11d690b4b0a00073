"""From a row of `event_logs` to an event: only what the plan declares, whatever the row holds."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from heliograph.event import UNDECLARED, VERSION_PATTERN
from heliograph.instance.sign_ins import VISITOR, SignIn
from heliograph.plan.changes import present_names

if TYPE_CHECKING:
    from heliograph.plan.model import Plan

MAXIMUM_ARGUMENT_BYTES: Final = 16 << 10
"""A longer `public_argument` is not taken: a plan's numbers and words need far less."""

UNUSABLE: Final[list[Any]] = []
"""Stands for a declared property whose value no property can have, without its content: no kind allows a list."""

_SCALARS: Final = frozenset({str, float, bool})
_LARGEST: Final = (1 << 63) - 1
_OK: Final = "ok"
_TIME_LENGTH: Final = len("1970-01-01T00:00:00.000000")
_UTC: Final = "+00"


class _Declared(NamedTuple):
    outcome: str | None
    properties: frozenset[str]


class EventRows:
    """Makes events of rows, as `plan` allows.

    A row is a tuple: id, name, user_id, anonymous_user_id, source, public_argument, version, time; the argument and
    the time as PostgreSQL's text in UTC and ISO style, and the others as they are.
    """

    def __init__(self, plan: Plan) -> None:
        self._declared = {
            name: _Declared(_OK if _OK in event.outcomes else None, frozenset(event.properties))
            for name, event in plan.events.items()
        }
        self._present = present_names(plan)

    def event(self, row: tuple[Any, ...], stripped: dict[str, int]) -> dict[str, Any]:
        """Return the event of a row.

        Args:
            row: See above.
            stripped: Counts, by event name, properties left out as the plan does not declare them; an argument that
                is too long, or not a JSON object, counts as one.
        """
        _, name, user_id, anonymous_user_id, source, argument, version, time = row
        name = self._present.get(name, name)
        declared = self._declared.get(name)
        if declared is None:
            return {"name": UNDECLARED, "time": rfc3339(time)}
        event = {
            "name": name,
            "time": rfc3339(time),
            "user": _user_key(user_id) if user_id else f"{VISITOR}{anonymous_user_id}" if anonymous_user_id else None,
            "outcome": declared.outcome,
            "version": _known_version(version),
            "source": source,
        }
        if argument:
            left_out = _take_properties(event, argument, declared.properties)
            if left_out:
                stripped[name] = stripped.get(name, 0) + left_out
        return event


def row_sign_in(row: tuple[Any, ...]) -> SignIn | None:
    """Return who has signed in by a row that has both a visitor's id and a user's; None where it lacks one."""
    _, _, user_id, anonymous_user_id, *_ = row
    return SignIn(f"{VISITOR}{anonymous_user_id}", _user_key(user_id)) if user_id and anonymous_user_id else None


def _user_key(user_id: int) -> str:
    return f"u:{user_id}"


def _take_properties(event: dict[str, Any], argument: str, declared: frozenset[str]) -> int:
    """Put the declared properties of `argument` into `event`; return how many others there were."""
    try:
        properties = msgspec.json.decode(argument)
    except (ValueError, RecursionError):  # not JSON, which a text column may hold
        return 1
    if properties is None:
        return 0
    if type(properties) is not dict:
        return 1
    left_out = 0
    for key, value in properties.items():
        if key not in declared:
            left_out += 1
        elif type(value) in _SCALARS or (type(value) is int and -_LARGEST <= value <= _LARGEST):
            event[key] = value
        elif value is not None:
            event[key] = UNUSABLE
    return left_out


def rfc3339(time: str | None) -> str | None:
    """Return PostgreSQL's text of a time in UTC as `heliograph.event.format_time` would; None outside 1970 to 9999.

    PostgreSQL has years before Christ and far ahead, and two infinities; Python has none of them.
    """
    if time is None or not time.endswith(_UTC) or time[4:5] != "-" or time < "1970":
        return None
    moment = f"{time[:10]}T{time[11:-3]}"
    if len(moment) < _TIME_LENGTH:
        moment = (moment if "." in moment else f"{moment}.").ljust(_TIME_LENGTH, "0")
    return f"{moment}Z"


@lru_cache(maxsize=1024)
def _known_version(version: str | None) -> str | None:
    return version if version is not None and VERSION_PATTERN.fullmatch(version) else None
