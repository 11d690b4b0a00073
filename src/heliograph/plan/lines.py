"""A plan as JSON lines: one type for each event, compiled so that decoding is the check.

The types form a union that is told apart by ``name``; a field that the plan does not declare, a value of another
type, out of range or not of its list fails to decode.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import compress
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta, defstruct

from heliograph.event import ENVELOPE, RANDOM_ID_PATTERN, UNDECLARED, VERSION_PATTERN, Actor, Verdict
from heliograph.plan.coarsen import least, nearest_step, steps_in_one
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    DurationProperty,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
)
from heliograph.plan.sensitive.numbers import is_no_version
from heliograph.plan.sensitive.wall import SecondWall, are_hexadecimal, derived_ids
from heliograph.wire import Skeleton

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heliograph.plan.model import EventDefinition, Plan, Property

_RandomId = Annotated[str, Meta(min_length=32, max_length=32)]
_Version = Annotated[str, Meta(max_length=23)]
_ENVELOPE_FIELDS: Final = frozenset(ENVELOPE) - {"name"}
_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_user_id, _session_id, _version, _time = map(attrgetter, ("user_id", "session_id", "version", "time"))
_FIELD_AT_FAULT: Final = re.compile(r"at `\$\.([a-z0-9_]+)`$")
_UNKNOWN_FIELD: Final = re.compile(r"unknown field `([^`]*)`")


class _Nameless(msgspec.Struct, tag_field="name", tag=""):
    """No event is of this type: with a single type in place of a union, msgspec would take a line without a name."""

    nothing: Annotated[int, Meta(ge=1, le=0)]


class _Rough(msgspec.Struct):
    """What can be told of an event that does not pass."""

    name: str
    sequence: int | None = None


def _property_type(definition: Property) -> Any:
    match definition:
        case IntegerProperty() | DurationProperty():
            # Rounding happens on the instance; here a value that is no multiple is an error like any other.
            step = definition.precision if definition.precision > 1 else None
            return Annotated[int, Meta(ge=least(definition), le=definition.maximum, multiple_of=step)]
        case NumberProperty():
            return Annotated[float, Meta(ge=definition.minimum, le=definition.maximum)]
        case CountProperty():
            return Literal[definition.buckets]
        case BooleanProperty():
            return bool
        case MemberProperty():
            return Literal[definition.members]


def line_type(name: str, event: EventDefinition, sources: Sequence[str]) -> type[msgspec.Struct]:
    """Return the type of one event's line."""
    fields: list[Any] = [
        ("sequence", Annotated[int, Meta(ge=1, le=2**63 - 1)]),
        ("time", Annotated[datetime, Meta(tz=True)]),
        ("user_id", _RandomId | None, None),
        ("session_id", _RandomId | None, None),
        ("outcome", Literal[tuple(event.outcomes)] | None, None),
        ("version", _Version | None, None),
        ("source", Literal[tuple(sources)] | None, None),
        ("actor", Literal[tuple(map(str, Actor))] | None, None),
    ]
    fields += [(key, _property_type(definition) | None, None) for key, definition in event.properties.items()]
    return defstruct(
        name,
        fields,
        tag_field="name",
        tag=name,
        gc=False,
        forbid_unknown_fields=True,
        omit_defaults=True,
        kw_only=True,
    )


class LineChecker:
    """The plan, compiled to a decoder."""

    def __init__(self, plan: Plan) -> None:
        types = {name: line_type(name, event, plan.sources) for name, event in plan.events.items()}
        self._properties = {name: frozenset(event.properties) for name, event in plan.events.items()}
        self._names = {kind: name for name, kind in types.items()}
        union: Any = _Nameless
        for kind in types.values():
            union |= kind
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(union)
        self._rough = msgspec.json.Decoder(_Rough)
        self._wall = SecondWall(plan)
        self._watched = frozenset(types[name] for name in self._wall.needed)
        self._declared = frozenset(plan.property_kinds())
        # What a type cannot say exactly, as binary fractions are not decimal ones.
        self._steps = {kind: steps for name, kind in types.items() if (steps := _steps(plan.events[name]))}

    def name(self, event: msgspec.Struct) -> str:
        """Return the name of a decoded event."""
        return self._names[type(event)]

    def names(self) -> dict[type[msgspec.Struct], str]:
        """Return each type's event name."""
        return self._names

    def decode(self, line: bytes) -> msgspec.Struct:
        """Return the event of a line that has passed before."""
        return self._decoder.decode(line)  # type: ignore[no-any-return] # the union is built at run time

    def decode_all(self, lines: bytes | memoryview, *, latest: datetime) -> list[Any] | None:
        """Return the decoded events of a slice, or None when at least one of them does not pass."""
        try:
            events = self._decoder.decode_lines(lines)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        passes = self._values_pass(events, latest) and self._are_coarse(events) and self._pass_the_wall(events)
        return events if passes else None

    def _pass_the_wall(self, events: list[Any]) -> bool:
        # Ids and versions have been looked at; in most plans no event needs more.
        return not self._watched or not any(
            type(event) in self._watched and self._wall.value_fault(self.name(event), event) for event in events
        )

    def _are_coarse(self, events: list[Any]) -> bool:
        if self._steps.keys().isdisjoint(kinds := [*map(type, events)]):
            return True
        is_stepped = map(self._steps.__contains__, kinds)
        return all(self._too_fine(event) is None for event in compress(events, is_stepped))

    def _too_fine(self, event: Any) -> str | None:
        """Return the first property whose number has more digits than the plan asks for."""
        for name, steps in self._steps.get(type(event), ()):
            value = getattr(event, name)
            if value is not None and nearest_step(value, steps) != value:
                return name
        return None

    @staticmethod
    def _values_pass(events: list[Any], latest: datetime) -> bool:
        # Each distinct id and version is looked at once: most events share theirs.
        ids = {*map(_user_id, events), *map(_session_id, events)} - {None}
        versions = {*map(_version, events)} - {None}
        times = [*map(_time, events)] or [_1970]
        return (
            _are_random(ids)
            and all(map(VERSION_PATTERN.fullmatch, versions))
            and not any(map(is_no_version, versions))
            and min(times) >= _1970
            and max(times) <= latest
        )

    def decode_one(self, line: bytes, *, latest: datetime) -> msgspec.Struct | Skeleton:
        """Return one decoded event, or why it does not pass."""
        try:
            event = self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._explain(line, error)
        name = self._wall.shown(self.name(event))
        if event.time > latest:
            return Skeleton(Verdict.FUTURE_TIME, name, event.sequence, "time")
        if (field := _envelope_fault(event)) is not None:
            return Skeleton(Verdict.INVALID_ENVELOPE, name, event.sequence, field)
        if (field := self._too_fine(event)) is not None:
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


def _steps(event: EventDefinition) -> list[tuple[str, int]]:
    """Return the properties of an event that are numbers with a precision, and the steps that make one."""
    return [
        (name, steps_in_one(kind.precision))
        for name, kind in event.properties.items()
        if isinstance(kind, NumberProperty) and kind.precision is not None
    ]


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
