"""What is wrong with an event as a product records it: for its tests, and for whoever tries a plan out.

The two ends have checks of their own, which are made for many events at once (`heliograph.plan.columns` and
`heliograph.plan.lines`); tests see to it that all of them agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heliograph.plan.coarsen import coarsen, is_number, is_whole, least
from heliograph.plan.in_words import values_in_words
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    DurationProperty,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
)
from heliograph.plan.problem import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from heliograph.plan.model import EventDefinition, Plan, Property


def value_passes(value: object, kind: Property) -> bool:
    """Tell whether both ends take `value` as it is: of its type, in range, and as coarse as the plan asks for."""
    return is_of_type(value, kind) and is_in_range(value, kind) and coarsen(value, kind) == value


def is_of_type(value: object, kind: Property) -> bool:
    """Tell whether `value` is of the type that a property has in JSON."""
    match kind:
        case IntegerProperty() | DurationProperty() | CountProperty():
            return is_whole(value)
        case NumberProperty():
            return is_number(value)
        case BooleanProperty():
            return isinstance(value, bool)
        case MemberProperty():
            return isinstance(value, str)


def is_in_range(value: Any, kind: Property) -> bool:
    """Tell whether a product may pass `value`, which is of the type: it is rounded later."""
    match kind:
        case IntegerProperty() | NumberProperty() | DurationProperty():
            return bool(least(kind) <= value <= kind.maximum)
        case CountProperty():
            return bool(value >= kind.buckets[0])
        case MemberProperty():
            return value in kind.members
        case BooleanProperty():
            return True


def event_problems(
    plan: Plan, name: str, properties: Mapping[str, object], *, outcome: str | None = None, source: str | None = None
) -> list[str]:
    """Return what keeps an event from leaving the instance, each with what to do; empty if nothing does.

    Args:
        plan: What may be recorded.
        name: The event's name.
        properties: By name, before they are rounded; None is the same as leaving one out.
        outcome: How it ended, if that is said.
        source: Where it came from, if that is said.

    No value is repeated: it may be a real one.
    """
    event = plan.events.get(name)
    if event is None:
        near = nearest(name, plan.events)
        return [f"it declares no event of this name: {f'did you mean {near}?' if near else 'add it, or mend the name'}"]
    problems = list(_property_problems(event, properties))
    if outcome is not None and outcome not in event.outcomes:
        problems.append(f"outcome {_no_word(outcome, event.outcomes)}, or None")
    if source is not None and source not in plan.sources:
        problems.append(f"source {_no_word(source, plan.sources)}")
    return problems


def _property_problems(event: EventDefinition, properties: Mapping[str, object]) -> Iterator[str]:
    if undeclared := sorted(properties.keys() - event.properties.keys()):
        yield f"it does not declare {', '.join(undeclared)}: add to the plan what answers a question, or leave it out"
    for key, kind in event.properties.items():
        if (value := properties.get(key)) is None:
            continue
        if not is_of_type(value, kind):
            yield f"{key} is of type {type(value).__name__}: pass {_expected(kind)}"
        elif isinstance(kind, MemberProperty) and not is_in_range(value, kind):
            yield f"{key} {_no_word(str(value), kind.members)}"
        elif not is_in_range(value, kind):
            yield f"{key} is out of range: pass {_expected(kind)}, or widen what the plan allows"


def _expected(kind: Property) -> str:
    if isinstance(kind, DurationProperty):
        return f"a datetime.timedelta or {values_in_words(kind)}"
    if isinstance(kind, CountProperty):
        return f"a whole number, {kind.buckets[0]:,} or more"
    return values_in_words(kind)


def _no_word(word: str, words: Iterable[str]) -> str:
    """Say that a word is not one of some; which one it is meant to be, in the plan's words alone."""
    known = list(words)
    near = nearest(word, known)
    return f"is not one of {', '.join(known)}{f': did you mean {near}?' if near else ': pass one of them'}"
