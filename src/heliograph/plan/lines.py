"""A plan as JSON lines: the check of lines in whatever form, many at once and each by itself.

Decoding into the types of `line_types` is most of it; what a type cannot say is looked at behind that.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from heliograph.event import ENVELOPE, RANDOM_ID_PATTERN, UNDECLARED, VERSION_PATTERN, Verdict
from heliograph.plan.line_types import LineTypes
from heliograph.plan.sensitive.wall import SecondWall, are_hexadecimal, derived_ids
from heliograph.wire import Skeleton

if TYPE_CHECKING:
    from heliograph.plan.model import Plan

_ENVELOPE_FIELDS: Final = frozenset(ENVELOPE) - {"name"}
_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_user_id, _session_id, _time = map(attrgetter, ("user_id", "session_id", "time"))
_FIELD_AT_FAULT: Final = re.compile(r"at `\$\.([a-z0-9_]+)`$")
_UNKNOWN_FIELD: Final = re.compile(r"unknown field `([^`]*)`")


class _Rough(msgspec.Struct):
    """What can be told of an event that does not pass."""

    name: str
    sequence: int | None = None


class LineChecker:
    """The plan, compiled to a decoder."""

    def __init__(self, plan: Plan) -> None:
        self._wall = SecondWall(plan)
        self._types = LineTypes(plan, self._wall)
        self._properties = {name: frozenset(event.properties) for name, event in plan.events.items()}
        self._rough = msgspec.json.Decoder(_Rough)
        self._declared = frozenset(plan.property_kinds())

    def name(self, event: msgspec.Struct) -> str:
        """Return the name of a decoded event."""
        return self._types.names[type(event)]

    def names(self) -> dict[type[msgspec.Struct], str]:
        """Return each type's event name."""
        return self._types.names

    def decode(self, line: bytes) -> msgspec.Struct:
        """Return the event of a line that has passed before."""
        return self._types.decoder.decode(line)  # type: ignore[no-any-return] # the union is built at run time

    def decode_all(self, lines: bytes | memoryview, *, latest: datetime) -> list[Any] | None:
        """Return the decoded events of a slice, or None when at least one of them does not pass."""
        try:
            events = self._types.decoder.decode_lines(lines)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return events if _own_values_pass(events, latest) and self._types.values_pass(events) else None

    def decode_one(self, line: bytes, *, latest: datetime) -> msgspec.Struct | Skeleton:
        """Return one decoded event, or why it does not pass."""
        try:
            event = self._types.decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._explain(line, error)
        name = self._wall.shown(self.name(event))
        if event.time > latest:
            return Skeleton(Verdict.FUTURE_TIME, name, event.sequence, "time")
        if (field := _envelope_fault(event)) is not None:
            return Skeleton(Verdict.INVALID_ENVELOPE, name, event.sequence, field)
        if (field := self._types.too_fine(event)) is not None:
            return Skeleton(Verdict.INVALID_PROPERTY, name, event.sequence, field)
        if (fault := self._wall.fault(self.name(event), event)) is not None:
            return Skeleton(Verdict.SENSITIVE_VALUE, name, event.sequence, fault.field)
        return event  # type: ignore[no-any-return] # the union is built at run time

    def _explain(self, line: bytes, error: Exception) -> Skeleton:
        try:
            rough = self._rough.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Skeleton(Verdict.MALFORMED, UNDECLARED)
        properties = self._properties.get(rough.name)
        if properties is None:
            return Skeleton(Verdict.UNDECLARED_EVENT, UNDECLARED, rough.sequence)
        shown = self._wall.shown(rough.name)
        found = _FIELD_AT_FAULT.search(str(error))
        field = found.group(1) if found else None
        if field in properties:
            return Skeleton(Verdict.INVALID_PROPERTY, shown, rough.sequence, field)
        if field in _ENVELOPE_FIELDS:
            return Skeleton(Verdict.INVALID_ENVELOPE, shown, rough.sequence, field)
        if (unknown := _UNKNOWN_FIELD.search(str(error))) is not None:
            # A name that no event of the plan has may be private.
            known = unknown.group(1) if unknown.group(1) in self._declared else None
            return Skeleton(Verdict.UNDECLARED_PROPERTY, shown, rough.sequence, known)
        return Skeleton(Verdict.INVALID_ENVELOPE, shown, rough.sequence)


def _own_values_pass(events: list[Any], latest: datetime) -> bool:
    """Tell whether ids and times pass, which are each event's own."""
    # Each distinct id is looked at once: most events share theirs.
    ids = {*map(_user_id, events), *map(_session_id, events)} - {None}
    times = [*map(_time, events)] or [_1970]
    return _are_random(ids) and min(times) >= _1970 and max(times) <= latest


def _are_random(ids: set[str]) -> bool:
    """Tell whether ids match `RANDOM_ID_PATTERN`, and do not look derived. Their length is part of their type."""
    joined = "".join(ids)
    if not joined.isascii():
        return False
    letters = np.frombuffer(joined.encode(), np.uint8)
    return are_hexadecimal(letters) and len(derived_ids(letters)) == 0


def _envelope_fault(event: Any) -> str | None:
    """Return the first field of a decoded event's envelope whose content its type does not tell."""
    if event.time < _1970:
        return "time"
    for field in ("user_id", "session_id"):
        if (word := getattr(event, field)) is not None and not RANDOM_ID_PATTERN.fullmatch(word):
            return field
    if event.version is not None and not VERSION_PATTERN.fullmatch(event.version):
        return "version"
    return None
