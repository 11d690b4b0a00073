"""Rules of what a plan says of its own history: its format, and events that are deprecated, renamed or retired."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from heliograph.event import NAME_PATTERN
from heliograph.plan.finding import Finding, pattern_remedy, too_many, unknown
from heliograph.plan.problem import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.plan.model import Plan
    from heliograph.plan.shape import Path

FEATURE: Final = re.compile(r"[a-z][a-z0-9_]{0,47}")
MAXIMUM_RETIRED: Final = 1_000
MAXIMUM_EARLIER_NAMES: Final = 20
_PLAN_FIELDS: Final = ("retired", "budget", "suppress")
_EVENT_FIELDS: Final = ("rate", "deprecated", "renamed_from", "suppress")
_VALUE_FIELDS: Final = ("precision", "suppress")
_TYPES: Final = ("duration", "count")


def check_format(plan: Plan) -> Iterator[Finding]:
    """What says that it is of format 1 can be read by whoever reads format 1 only."""
    if plan.heliograph_plan == 1 and (first := next(_what_came_with_2(plan), None)) is not None:
        message = f"`1` stands here, and {shown(first[-1])}, which came with format 2, is used"
        yield Finding(("heliograph_plan",), message, "Write `heliograph_plan: 2`.", also=first)


def _what_came_with_2(plan: Plan) -> Iterator[Path]:
    given = msgspec.to_builtins(plan)  # which leaves out what is as it is without being said
    for event, fields in given["events"].items():
        yield from (("events", event, field) for field in _EVENT_FIELDS if field in fields)
        for name, kind in fields.get("properties", {}).items():
            yield from _new_in(("events", event, "properties", name), kind)
    for name, fact in given.get("facts", {}).items():
        yield from _new_in(("facts", name), fact)
    yield from ((field,) for field in _PLAN_FIELDS if field in given)


def _new_in(path: Path, kind: dict[str, Any]) -> Iterator[Path]:
    if kind["type"] in _TYPES:
        yield (*path, kind["type"])
    yield from ((*path, field) for field in _VALUE_FIELDS if field in kind)


def check_deprecations(plan: Plan) -> Iterator[Finding]:
    """Whoever must not record an event any more is told which one to record, if any."""
    for event, definition in plan.events.items():
        if (deprecated := definition.deprecated) is None:
            continue
        path: Path = ("events", event, "deprecated")
        if deprecated.since < definition.added:
            yield Finding(
                (*path, "since"),
                f"{deprecated.since} is before the day it was added, {definition.added}",
                "Write the day from which no new code should record it.",
                needs=(("events", event, "added"),),
            )
        if deprecated.use is None:
            continue
        if deprecated.use not in plan.events:
            yield unknown((*path, "use"), deprecated.use, plan.events, "events", needs=(("events",),))
        elif plan.events[deprecated.use].deprecated is not None:
            message = f"{shown(deprecated.use)} is deprecated itself"
            yield Finding((*path, "use"), message, "Name an event that stays, or leave `use` out.")


def check_earlier_names(plan: Plan) -> Iterator[Finding]:
    """An earlier name belongs to one event alone, so that its history does too."""
    taken: dict[str, Path] = {event.lower(): ("events", event) for event in plan.events}
    for event, definition in plan.events.items():
        below: Path = ("events", event, "renamed_from")
        if len(definition.renamed_from) > MAXIMUM_EARLIER_NAMES:
            yield too_many(below, len(definition.renamed_from), MAXIMUM_EARLIER_NAMES, "earlier names")
        for position, name in enumerate(definition.renamed_from):
            yield from _check_name((*below, str(position)), name, taken, "Leave it out: one event has a name.")


def check_retired(plan: Plan) -> Iterator[Finding]:
    """What is stored of a retired event is never taken for something else."""
    taken: dict[str, Path] = {event.lower(): ("events", event) for event in plan.events}
    for event, definition in plan.events.items():
        for position, name in enumerate(definition.renamed_from):
            taken.setdefault(name.lower(), ("events", event, "renamed_from", str(position)))
    if len(plan.retired) > MAXIMUM_RETIRED:
        yield too_many(("retired",), len(plan.retired), MAXIMUM_RETIRED, "retired events")
    for name, retirement in plan.retired.items():
        remedy = "Give the event of today another name, or take this one out if it was never collected."
        yield from _check_name(("retired", name), name, taken, remedy)
        # The feature may have gone with its last event, so that it need not be one of today's.
        if not FEATURE.fullmatch(retirement.feature):
            message = f"{shown(retirement.feature)} is not a feature's key"
            yield Finding(("retired", name, "feature"), message, pattern_remedy("code_navigation", FEATURE))


def _check_name(path: Path, name: str, taken: dict[str, Path], remedy: str) -> Iterator[Finding]:
    """Check a name that was an event's, and take it."""
    if not NAME_PATTERN.fullmatch(name):
        yield Finding(path, f"{shown(name)} is not an event's name", pattern_remedy("SearchSubmitted", NAME_PATTERN))
    elif (first := taken.setdefault(name.lower(), path)) != path:
        yield Finding(path, f"{shown(name)} is taken already", remedy, also=first)
