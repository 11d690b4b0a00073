"""How a number of a ping and the same number of the lake's events stand to each other, and why they may."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from heliograph.ping import SMALLEST_GROUP


class Kind(enum.StrEnum):
    """How the two stand to each other."""

    SAME = "same"
    SUPPRESSED = "suppressed"
    LATE = "late"
    BEGUN = "begun"
    NARROWED = "narrowed"
    FEWER = "fewer"
    MORE = "more"


EXPLANATIONS: Final = {
    Kind.SUPPRESSED: f"as it must be: by the lake, too, it is about fewer than {SMALLEST_GROUP} users.",
    Kind.LATE: "the lake has more, by events that arrived after the ping.",
    Kind.BEGUN: "the lake has fewer: the period reaches back to before the instance's first event.",
    Kind.NARROWED: "the lake has fewer: events were not allowed when a ping of the period came.",
    Kind.FEWER: (
        "the lake has fewer, though events were allowed. An opt-out, a level narrowed for hours, and events rejected "
        "or still on their way do that; where the loss account tells of none, events are lost."
    ),
    Kind.MORE: (
        "the lake has more, and had it when the ping came. Visitors who turned out to be users already known do that, "
        "as the lake cannot tell; beyond a few users it is a real difference, and one end counts wrongly."
    ),
}
"""All but `Kind.SAME`."""


class Found(NamedTuple):
    """A number by the lake's events: all of them, and those that had arrived when the ping came."""

    value: int = 0
    users: int = 0
    """Whom it is about: the number itself, or the users of the feature."""
    value_before: int = 0
    users_before: int = 0


def kind_of(told: int | None, found: Found, *, complete: bool, permitted: bool) -> Kind:
    """Return how a ping's number and the lake's stand to each other.

    Args:
        told: The ping's; None where it is suppressed.
        found: The lake's.
        complete: Whether the instance's first event in the lake lies before the period, or on its first day.
        permitted: Whether events were allowed whenever a ping of the period came.
    """
    if told is None:
        if 0 < found.users < SMALLEST_GROUP:
            return Kind.SUPPRESSED
        has_more, had_more = found.users > 0, found.users_before >= SMALLEST_GROUP
    else:
        if told == found.value:
            return Kind.SAME
        has_more, had_more = found.value > told, found.value_before > told
    if has_more:
        return Kind.MORE if had_more else Kind.LATE
    if not complete:
        return Kind.BEGUN
    return Kind.FEWER if permitted else Kind.NARROWED
