"""The gateway's check of one line, written down as JSON Schema: for clients in other languages.

JSON Schema draft 2020-12. `LineChecker` and this schema accept the same lines, but for what `UNSAID` lists.
"""

from __future__ import annotations

from typing import Any, Final

from heliograph.event import RANDOM_ID_PATTERN, VERSION_PATTERN, Actor
from heliograph.plan.coarsen import least
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    DurationProperty,
    EventDefinition,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
    Plan,
    Property,
)

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
UNSAID: Final = (
    "A time is not after now, by the gateway's clock.",
    "A time is a day of the calendar, and not before 1970 in UTC: the schema looks at the digits alone.",
    "A whole number is written without a fraction and without an exponent: 41, not 41.0.",
    "A number is the double that is nearest to it: what differs by less is one value to the gateway.",
    "A key that stands twice must hold allowed values both times.",
    "No value looks like personal or secret data: no id is derived, no version an address, no amount of ten digits.",
    "The sequence numbers of a delivery rise, and are those that its header claims.",
)
"""What the gateway looks at as well, and the schema cannot say."""

_TIME: Final = (
    r"(19[7-9][0-9]|[2-9][0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"[Tt ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])"
)
"""RFC 3339 as the gateway reads it, from 1970 on."""
_LARGEST_SEQUENCE: Final = 2**63 - 1


def line_schema(plan: Plan) -> dict[str, Any]:
    """Return the JSON Schema of one line of newline-delimited JSON under `plan`, as JSON's own types."""
    return {
        "$schema": DIALECT,
        "title": f"An event of {plan.label}",
        "description": f"{plan.description} One line of a delivery; docs/wire.md. Not said here: {' '.join(UNSAID)}",
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": list(plan.events)}},
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in plan.events],
        "$defs": {name: _event(name, event, plan) for name, event in plan.events.items()},
    }


def _event(name: str, event: EventDefinition, plan: Plan) -> dict[str, Any]:
    return {
        "title": name,
        "description": event.description,
        **({"deprecated": True} if event.deprecated is not None else {}),
        "type": "object",
        "required": ["name", "sequence", "time"],
        "properties": {
            "name": {"const": name},
            **_envelope(event, plan),
            **{
                key: {"description": definition.description, **_values(definition)}
                for key, definition in event.properties.items()
            },
        },
        "additionalProperties": False,
    }


def _envelope(event: EventDefinition, plan: Plan) -> dict[str, Any]:
    random_id = {
        "type": ["string", "null"],
        "pattern": f"^{RANDOM_ID_PATTERN.pattern}$",
        "minLength": 32,
        "maxLength": 32,
    }
    outcomes = " ".join(f"{outcome}: {meaning}" for outcome, meaning in event.outcomes.items())
    return {
        "sequence": {
            "description": "The event's number in its epoch.",
            "type": "integer",
            "minimum": 1,
            "maximum": _LARGEST_SEQUENCE,
        },
        "time": {"description": "When it happened.", "type": "string", "format": "date-time", "pattern": f"^{_TIME}$"},
        "user_id": {"description": "A random id, whose mapping stays on the instance.", **random_id},
        "session_id": {"description": "A random id; leave it out, as nobody asks for it.", **random_id},
        "outcome": {"description": f"How it ended. {outcomes}", **_words(event.outcomes)},
        "version": {
            "description": "The product's version.",
            "type": ["string", "null"],
            "pattern": f"^{VERSION_PATTERN.pattern}$",
            "maxLength": 23,
        },
        "source": {"description": "Where it came from.", **_words(plan.sources)},
        "actor": {"description": "Who acted, where it was not one of the customer's own people.", **_words(Actor)},
    }


def _values(definition: Property) -> dict[str, Any]:
    """Return the values that a property can have; null stands for none."""
    match definition:
        case IntegerProperty() | DurationProperty():
            return _numbers("integer", definition, definition.precision if definition.precision > 1 else None)
        case NumberProperty():
            return _numbers("number", definition, definition.precision)
        case CountProperty():
            return {"enum": [*definition.buckets, None]}
        case BooleanProperty():
            return {"type": ["boolean", "null"]}
        case MemberProperty():
            return _words(definition.members)


def _numbers(
    kind: str, definition: IntegerProperty | NumberProperty | DurationProperty, step: float | None
) -> dict[str, Any]:
    bounds = {"type": [kind, "null"], "minimum": least(definition), "maximum": definition.maximum}
    return bounds if step is None else {**bounds, "multipleOf": step}


def _words(words: Any) -> dict[str, Any]:
    return {"enum": [*map(str, words), None]}
