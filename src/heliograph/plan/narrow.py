"""Two plans at once: what both of them declare, and no more of it than the narrower of the two lets pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from heliograph.plan.coarsen import steps_in_one
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    CountsFact,
    DurationProperty,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
    VersionFact,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from heliograph.plan.model import EventDefinition, Fact, Plan, Property

_Word = TypeVar("_Word")


def narrowed(plan: Plan, limit: Plan) -> Plan:
    """Return `plan` with what `limit` declares too: whatever the result accepts, both accept.

    An event that `limit` knows by an earlier name of it is the same event. Name, version and meanings are the plan's.
    """
    sources = _both(plan.sources, limit.sources)
    events = {
        name: _event(event, other) for name, event in plan.events.items() if (other := _known(name, event, limit))
    }
    kept = {name: event for name, event in events.items() if event.outcomes} if sources else {}
    used = {event.feature for event in kept.values()} & limit.features.keys()
    facts = {name: _fact(fact, limit.facts.get(name)) for name, fact in plan.facts.items()}
    return replace(
        plan,
        sources=sources,
        features={key: text for key, text in plan.features.items() if key in used},
        events=kept,
        searches=None,
        facts={name: fact for name, fact in facts.items() if fact is not None},
    )


def _known(name: str, event: EventDefinition, limit: Plan) -> EventDefinition | None:
    names = (name, *event.renamed_from)
    return next((limit.events[each] for each in names if each in limit.events), None)


def _event(event: EventDefinition, limit: EventDefinition) -> EventDefinition:
    properties = {name: _property(kind, limit.properties.get(name)) for name, kind in event.properties.items()}
    return replace(
        event,
        outcomes={name: text for name, text in event.outcomes.items() if name in limit.outcomes},
        properties={name: kind for name, kind in properties.items() if kind is not None},
    )


def _property(kind: Property, limit: Property | None) -> Property | None:  # noqa: PLR0911 - one for each type
    """Return what both let pass; None if that is nothing."""
    match kind, limit:
        case IntegerProperty(), IntegerProperty():
            precision = math.lcm(kind.precision, limit.precision)
            low = -(-max(kind.minimum, limit.minimum) // precision) * precision
            high = min(kind.maximum, limit.maximum) // precision * precision
            return replace(kind, minimum=low, maximum=high, precision=precision) if low <= high else None
        case NumberProperty(), NumberProperty():
            least, most = max(kind.minimum, limit.minimum), min(kind.maximum, limit.maximum)
            # Powers of ten: of any two, the larger is a multiple of the smaller.
            digits = max((each for each in (kind.precision, limit.precision) if each is not None), default=None)
            if digits is not None:
                least, most = _steps_within(least, most, steps_in_one(digits))
            return replace(kind, minimum=least, maximum=most, precision=digits) if least <= most else None
        case DurationProperty(), DurationProperty():
            precision = math.lcm(kind.precision, limit.precision)
            return replace(kind, maximum=min(kind.maximum, limit.maximum) // precision * precision, precision=precision)
        case CountProperty(), CountProperty():
            buckets = _both(kind.buckets, limit.buckets)
            return replace(kind, buckets=buckets) if buckets else None
        case BooleanProperty(), BooleanProperty():
            return kind
        case MemberProperty(), MemberProperty():
            members = _both(kind.members, limit.members)
            return replace(kind, members=members) if members else None
    return None


def _steps_within(least: float, most: float, steps: int) -> tuple[float, float]:
    """Return the lowest and the highest multiple of 1/`steps` between two bounds: no value is rounded out of them."""
    low, high = math.floor(least * steps), math.ceil(most * steps)
    while low / steps < least:
        low += 1
    while high / steps > most:
        high -= 1
    return low / steps, high / steps


def _fact(fact: Fact, limit: Fact | None) -> Fact | None:
    match fact, limit:
        case VersionFact(), VersionFact():
            return fact
        case CountsFact(), CountsFact():
            members = _both(fact.members, limit.members)
            return replace(fact, members=members, maximum=min(fact.maximum, limit.maximum)) if members else None
    if isinstance(fact, VersionFact | CountsFact) or isinstance(limit, VersionFact | CountsFact):
        return None
    kind = _property(fact, limit)
    return kind if isinstance(kind, IntegerProperty | BooleanProperty | MemberProperty) else None


def _both(words: Collection[_Word], others: Collection[_Word]) -> tuple[_Word, ...]:
    return tuple(word for word in words if word in others)
