"""The types of a plan's events as JSON lines: compiled once, so that decoding a line is most of its check.

They form a union that is told apart by ``name``; a field that the plan does not declare, a value of another type, out
of range or not of its list fails to decode.
"""

from __future__ import annotations

from datetime import datetime
from itertools import compress
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, defstruct

from heliograph.event import VERSION_PATTERN, Actor
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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heliograph.plan.model import EventDefinition, Plan, Property
    from heliograph.plan.sensitive.wall import SecondWall

_RandomId = Annotated[str, Meta(min_length=32, max_length=32)]
_Version = Annotated[str, Meta(max_length=23)]
_version: Final = attrgetter("version")


class _Nameless(msgspec.Struct, tag_field="name", tag=""):
    """No event is of this type: with a single type in place of a union, msgspec would take a line without a name."""

    nothing: Annotated[int, Meta(ge=1, le=0)]


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


def _fields(event: EventDefinition, sources: Sequence[str]) -> list[Any]:
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
    return fields + [(key, _property_type(definition) | None, None) for key, definition in event.properties.items()]


class LineTypes:
    """The types of a plan's events, and what is to be seen of their values that a type cannot say.

    Args:
        plan: The plan.
        wall: Its second wall.
    """

    def __init__(self, plan: Plan, wall: SecondWall) -> None:
        self._wall = wall
        types = {
            name: defstruct(
                name,
                _fields(event, plan.sources),
                tag_field="name",
                tag=name,
                gc=False,
                forbid_unknown_fields=True,
                omit_defaults=True,
                kw_only=True,
            )
            for name, event in plan.events.items()
        }
        self.names: Final[dict[type[Any], str]] = {kind: name for name, kind in types.items()}
        """Each type's event name."""
        union: Any = _Nameless
        for kind in types.values():
            union |= kind
        self.decoder: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(union)
        self._watched = frozenset(types[name] for name in wall.needed)
        # What a type cannot say exactly, as binary fractions are not decimal ones.
        self._steps = {kind: steps for name, kind in types.items() if (steps := _steps(plan.events[name]))}

    def values_pass(self, events: list[Any]) -> bool:
        """Tell whether the values of decoded events pass that many have in common: all but those of their own."""
        return self._versions_pass(events) and self._are_coarse(events) and self._pass_the_wall(events)

    @staticmethod
    def _versions_pass(events: list[Any]) -> bool:
        # Each distinct one is looked at once: most events share theirs.
        versions = {*map(_version, events)} - {None}
        return all(map(VERSION_PATTERN.fullmatch, versions)) and not any(map(is_no_version, versions))

    def _are_coarse(self, events: list[Any]) -> bool:
        if self._steps.keys().isdisjoint(kinds := [*map(type, events)]):
            return True
        is_stepped = map(self._steps.__contains__, kinds)
        return all(self.too_fine(event) is None for event in compress(events, is_stepped))

    def too_fine(self, event: Any) -> str | None:
        """Return the first property whose number has more digits than the plan asks for."""
        for name, steps in self._steps.get(type(event), ()):
            value = getattr(event, name)
            if value is not None and nearest_step(value, steps) != value:
                return name
        return None

    def _pass_the_wall(self, events: list[Any]) -> bool:
        # Ids and versions are looked at elsewhere; in most plans no event needs more.
        return not self._watched or not any(
            type(event) in self._watched and self._wall.value_fault(self.names[type(event)], event) for event in events
        )


def _steps(event: EventDefinition) -> list[tuple[str, int]]:
    """Return the properties of an event that are numbers with a precision, and the steps that make one."""
    return [
        (name, steps_in_one(kind.precision))
        for name, kind in event.properties.items()
        if isinstance(kind, NumberProperty) and kind.precision is not None
    ]
