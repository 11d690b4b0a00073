"""The information budget of a plan: how many bits one event, and one user's day, can carry at most.

Whoever can send one of *n* distinguishable messages can tell at most log2 *n* bits with it, however the messages are
chosen and whatever was agreed before: the counting bound of C. E. Shannon, *A Mathematical Theory of Communication*
(1948), section 1, and the capacity that quantitative information flow gives to a channel without noise, min-entropy
leakage (G. Smith, *On the Foundations of Quantitative Information Flow*, 2009). It bounds what honest values tell and
what a faulty or malicious product could hide in them alike: a plan over which few bits pass cannot carry source code.

What is bounded: an event's outcome, source, actor and properties, each of which may be absent; and for a user's day the
events in their order, by name. What is not: the times, which have microseconds; the random ids, which the instance
chooses; the product's version, the same for all events of a day; which of the days have events, and the pings. And
`EventDefinition.rate` is an estimate that nobody enforces. A budget that is kept is therefore no proof that a plan is
harmless (some 33 bits name any one of all people), but one that is broken shows where a plan tells more than it must.
"""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple, assert_never

from heliograph.event import Actor
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    DurationProperty,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
)

if TYPE_CHECKING:
    from heliograph.plan.model import EventDefinition, Plan, Property


class EventBits(NamedTuple):
    """What one event can carry, in bits."""

    total: float
    envelope: float
    """Of it, its outcome, source and actor."""
    properties: dict[str, float]
    """Of it, each property."""


class PlanBits(NamedTuple):
    """What a plan lets be told at most, in bits."""

    events: dict[str, EventBits]
    """By one event of each name."""
    user_days: dict[str, float]
    """By all events of a name in one user's day, in their order."""
    interleaving: float
    """By how the events of different names follow each other in a day."""

    @property
    def user_day(self) -> float:
        """All that a user's day can carry."""
        return math.fsum(self.user_days.values()) + self.interleaving


def plan_bits(plan: Plan) -> PlanBits:
    """Return what a plan lets be told at most."""
    events = {name: event_bits(plan, event) for name, event in plan.events.items()}
    days = {name: sequence_bits(events[name].total, event.rate) for name, event in plan.events.items()}
    return PlanBits(events, days, interleaving_bits([event.rate for event in plan.events.values()]))


def event_bits(plan: Plan, event: EventDefinition) -> EventBits:
    """Return what one event can carry: the sum over its parts, since each is chosen by itself."""
    envelope = _bits(len(event.outcomes) + 1) + _bits(len(plan.sources) + 1) + _bits(len(Actor) + 1)
    properties = {name: _bits(value_count(kind) + 1) for name, kind in event.properties.items()}
    return EventBits(envelope + math.fsum(properties.values()), envelope, properties)


def value_count(kind: Property) -> int:
    """Return how many values of a property can leave an instance, after it has rounded; being absent is not one."""
    match kind:
        case IntegerProperty():
            return _steps(Fraction(kind.minimum), Fraction(kind.maximum), Fraction(max(1, kind.precision)))
        case DurationProperty():
            return _steps(Fraction(0), Fraction(kind.maximum), Fraction(max(1, kind.precision)))
        case NumberProperty():
            return _number_count(kind)
        case CountProperty():
            return len(kind.buckets)
        case BooleanProperty():
            return 2
        case MemberProperty():
            return len(kind.members)
        case _:
            assert_never(kind)


def sequence_bits(bits: float, rate: int) -> float:
    """Return the bits of a sequence of up to `rate` events that can carry `bits` each.

    There are 1 + m + m² + … + m^rate such sequences of m messages, which is less than m^rate · m / (m - 1).
    """
    if rate <= 0:
        return 0.0
    if bits <= 0.0:
        return math.log2(rate + 1)
    return rate * bits - math.log2(-math.expm1(-bits * math.log(2)))


def interleaving_bits(rates: list[int]) -> float:
    """Return the bits of the order between sequences of events of different names, as long as `rates` allow.

    They can be merged in (Σ rates)! / Π (rate!) ways; shorter sequences in fewer.
    """
    lengths = [max(0, rate) for rate in rates]
    return max(
        0.0, (math.lgamma(sum(lengths) + 1) - math.fsum(math.lgamma(each + 1) for each in lengths)) / math.log(2)
    )


def _bits(messages: int) -> float:
    return math.log2(max(1, messages))


def _steps(minimum: Fraction, maximum: Fraction, step: Fraction) -> int:
    """Return how many multiples of `step` are the nearest one of a number between two bounds."""
    half = Fraction(1, 2) if step != 1 else 0  # whole numbers are not rounded
    return max(0, math.floor(maximum / step + half) - math.ceil(minimum / step - half) + 1)


def _number_count(kind: NumberProperty) -> int:
    """Return how many floating-point numbers can leave: 0 counts twice, since it has a sign there."""
    if not (math.isfinite(kind.minimum) and math.isfinite(kind.maximum) and kind.minimum <= kind.maximum):
        return 0
    if kind.precision is None:
        lowest = -0.0 if kind.minimum == 0.0 else kind.minimum
        return _ordinal(kind.maximum + 0.0) - _ordinal(lowest) + 1
    signs = kind.minimum <= 0.0 <= kind.maximum
    per_one = round(1 / kind.precision) if kind.precision > 0 else 1
    return _steps(Fraction(kind.minimum), Fraction(kind.maximum), Fraction(1, max(1, per_one))) + signs


def _ordinal(number: float) -> int:
    """Return the rank of a number among those of 64 bits, which IEEE 754 sorts as sign and magnitude."""
    [bits] = struct.unpack("<q", struct.pack("<d", number))
    return int(bits) if bits >= 0 else -(bits & 0x7FFF_FFFF_FFFF_FFFF) - 1
