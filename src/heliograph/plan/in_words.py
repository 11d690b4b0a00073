"""What a property, a fact or an event may say, in words: for reviewers, admins and terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from heliograph.plan.model import EventDefinition, Fact, Property


def values_in_words(kind: Property | Fact) -> str:
    """Return the values that a property or a fact can have: ``whole number, 0 to 600,000, to the nearest 10``."""
    match kind:
        case IntegerProperty() | NumberProperty() | DurationProperty():
            return _bounds_in_words(kind)
        case CountProperty():
            return f"count, in buckets from {', '.join(f'{bound:,}' for bound in kind.buckets)}"
        case BooleanProperty():
            return "true or false"
        case MemberProperty():
            return f"one of {', '.join(kind.members)}"
        case VersionFact():
            return "version, up to four numbers"
        case CountsFact():
            return f"whole number, 0 to {kind.maximum:,}, for each of {', '.join(kind.members)}"


def _bounds_in_words(kind: IntegerProperty | NumberProperty | DurationProperty) -> str:
    noun = {IntegerProperty: "whole number", NumberProperty: "number", DurationProperty: "milliseconds"}[type(kind)]
    minimum = 0 if isinstance(kind, DurationProperty) else kind.minimum
    is_full = kind.precision is None if isinstance(kind, NumberProperty) else kind.precision == 1
    step = "" if is_full else f", to the nearest {decimal_text(kind.precision or 0)}"
    return f"{noun}, {minimum:,} to {kind.maximum:,}{step}"


def decimal_text(number: float) -> str:
    """Return a precision as people write it: ``0.000001``, and not ``1e-06``."""
    return f"{number:,}" if isinstance(number, int) else f"{number:f}".rstrip("0").rstrip(".")


def on_one_line(text: str) -> str:
    """Return a text of the plan without its line breaks."""
    return " ".join(text.split())


def property_in_words(kind: Property | Fact) -> str:
    """Return values and meaning: ``true or false: Whether there were more results.``."""
    return f"{values_in_words(kind)}: {on_one_line(kind.description)}"


def event_in_words(event: EventDefinition) -> str:
    """Return what an event means, why it is collected, and until when: what there is to review."""
    question, owner = on_one_line(event.question), on_one_line(event.owner)
    until = "for good" if event.expires == "never" else f"until {event.expires}"
    return f"{on_one_line(event.description)} Feature: {event.feature}. Question: {question} Owner: {owner}, {until}."
