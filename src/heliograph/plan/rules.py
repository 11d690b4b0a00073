"""What a plan must keep beside its shape: a table of rules, each a small function from a plan to findings."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from heliograph.event import NAME_PATTERN
from heliograph.plan.finding import Finding, pattern_remedy, too_many, unknown
from heliograph.plan.history_rules import (
    FEATURE,
    check_deprecations,
    check_earlier_names,
    check_format,
    check_retired,
)
from heliograph.plan.model import CountsFact, MemberProperty
from heliograph.plan.problem import nearest, shown
from heliograph.plan.value_rules import FACT, MEMBER, PROPERTY, check_facts, check_properties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heliograph.plan.model import Plan
    from heliograph.plan.shape import Path

__all__ = ["FACT", "FEATURE", "MEMBER", "PROPERTY", "RULES", "Finding"]

PLAN_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,47}")
SOURCE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
OUTCOME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
MAXIMUM_EVENTS: Final = 1_000
MAXIMUM_EVENT_PROPERTIES: Final = 40
MAXIMUM_PROPERTIES: Final = 400
MAXIMUM_FEATURES: Final = 200
MAXIMUM_SOURCES: Final = 40
MAXIMUM_OUTCOMES: Final = 40
MAXIMUM_MEMBERS: Final = 200
MAXIMUM_FACTS: Final = 40
MAXIMUM_VERSION: Final = 2**31 - 1
MAXIMUM_RATE: Final = 1_000_000


def check_name_and_version(plan: Plan) -> Iterator[Finding]:
    """The name and the version label stored events."""
    if not PLAN_NAME.fullmatch(plan.name):
        yield Finding(
            ("name",), f"{shown(plan.name)} is not a plan's name", pattern_remedy("code-intelligence", PLAN_NAME)
        )
    if not 1 <= plan.version <= MAXIMUM_VERSION:
        yield Finding(
            ("version",),
            f"{shown(str(plan.version))} is not from 1 to {MAXIMUM_VERSION:,}",
            "Count from 1, one up with each change of the plan.",
        )


def check_counts(plan: Plan) -> Iterator[Finding]:
    """Tables, memory and messages are planned for these sizes."""
    names = {name for event in plan.events.values() for name in event.properties}
    counts: list[tuple[Path, int, int, str]] = [
        (("features",), len(plan.features), MAXIMUM_FEATURES, "features"),
        (("sources",), len(plan.sources), MAXIMUM_SOURCES, "sources"),
        (("events",), len(plan.events), MAXIMUM_EVENTS, "events"),
    ]
    for event, definition in plan.events.items():
        path = ("events", event)
        counts.append(((*path, "outcomes"), len(definition.outcomes), MAXIMUM_OUTCOMES, "outcomes"))
        for name, kind in definition.properties.items():
            if isinstance(kind, MemberProperty):
                counts.append(((*path, "properties", name, "members"), len(kind.members), MAXIMUM_MEMBERS, "members"))
        if len(definition.properties) > MAXIMUM_EVENT_PROPERTIES:
            yield too_many((*path, "properties"), len(definition.properties), MAXIMUM_EVENT_PROPERTIES)
    counts += [
        (("facts", name, "members"), len(fact.members), MAXIMUM_MEMBERS, "members")
        for name, fact in plan.facts.items()
        if isinstance(fact, MemberProperty | CountsFact)
    ]
    if len(plan.facts) > MAXIMUM_FACTS:
        yield too_many(("facts",), len(plan.facts), MAXIMUM_FACTS, "facts")
    if len(names) > MAXIMUM_PROPERTIES:
        yield too_many(("events",), len(names), MAXIMUM_PROPERTIES, "names of properties")
    for place, count, most, what in counts:
        if not count:
            yield Finding(place, f"there are no {what}", "Declare at least one.", needs=(place,))
        elif count > most:
            yield too_many(place, count, most, what)


def check_texts(plan: Plan) -> Iterator[Finding]:
    """Whoever reviews the plan must be told what each part is for."""
    texts: list[tuple[Path, str]] = [
        (("description",), plan.description),
        *((("features", key), text) for key, text in plan.features.items()),
        *((("facts", name, "description"), fact.description) for name, fact in plan.facts.items()),
    ]
    for event, definition in plan.events.items():
        path: Path = ("events", event)
        texts += [
            ((*path, field), getattr(definition, field)) for field in ("description", "action", "question", "owner")
        ]
        texts += [((*path, "outcomes", key), text) for key, text in definition.outcomes.items()]
        texts += [
            ((*path, "properties", key, "description"), kind.description) for key, kind in definition.properties.items()
        ]
        if definition.deprecated is not None:
            texts.append(((*path, "deprecated", "reason"), definition.deprecated.reason))
    for name, retirement in plan.retired.items():
        texts += [(("retired", name, field), getattr(retirement, field)) for field in ("description", "reason")]
    texts += [
        ((*path, rule), reason) for path, suppressed in _suppressions(plan) for rule, reason in suppressed.items()
    ]
    for place, text in texts:
        if not text.strip():
            yield Finding(place, "it is blank", "Write a sentence for those who review the plan.")


def _suppressions(plan: Plan) -> Iterator[tuple[Path, dict[str, str]]]:
    yield ("suppress",), plan.suppress
    for name, fact in plan.facts.items():
        yield ("facts", name, "suppress"), fact.suppress
    for event, definition in plan.events.items():
        yield ("events", event, "suppress"), definition.suppress
        for key, kind in definition.properties.items():
            yield ("events", event, "properties", key, "suppress"), kind.suppress


def check_event_names(plan: Plan) -> Iterator[Finding]:
    """Event names are identifiers, and no two of them differ by case alone."""
    by_lower: dict[str, str] = {}
    for event in plan.events:
        path = ("events", event)
        if not NAME_PATTERN.fullmatch(event):
            yield Finding(
                path, f"{shown(event)} is not an event's name", pattern_remedy("SearchSubmitted", NAME_PATTERN)
            )
        first = by_lower.setdefault(event.lower(), event)
        if first != event:
            message = f"{shown(event)} differs from {shown(first)} by case alone"
            yield Finding(path, message, "Give one of them another name.", also=("events", first))


def check_keys(plan: Plan) -> Iterator[Finding]:
    """Features, sources and outcomes are short words that appear in every report."""
    for key in plan.features:
        if not FEATURE.fullmatch(key):
            message = f"{shown(key)} is not a feature's key"
            yield Finding(("features", key), message, pattern_remedy("code_navigation", FEATURE))
    for position, source in enumerate(plan.sources):
        path = ("sources", str(position))
        if not SOURCE.fullmatch(source):
            yield Finding(path, f"{shown(source)} is not a source", pattern_remedy("backend", SOURCE))
        elif source in plan.sources[:position]:
            yield Finding(path, f"{shown(source)} stands twice", "Keep one of the two.")
    for event, definition in plan.events.items():
        for key in definition.outcomes:
            if not OUTCOME.fullmatch(key):
                below = ("events", event, "outcomes", key)
                yield Finding(below, f"{shown(key)} is not an outcome", pattern_remedy("timed_out", OUTCOME))


def check_features(plan: Plan) -> Iterator[Finding]:
    """Every event belongs to a declared feature, and every feature has an event."""
    for event, definition in plan.events.items():
        if definition.feature not in plan.features:
            near = nearest(definition.feature, plan.features)
            yield Finding(
                ("events", event, "feature"),
                f"{shown(definition.feature)} is not one of the plan's features",
                f"Did you mean {shown(near)}?" if near else "Declare it under `features`, with a sentence.",
                needs=(("features",),),
            )
    used = {definition.feature for definition in plan.events.values()}
    readable = (("events",), *(("events", event, "feature") for event in plan.events))
    for key in plan.features:
        if key not in used:
            message = f"no event belongs to {shown(key)}"
            yield Finding(("features", key), message, "Give it an event, or leave it out.", needs=readable)


def check_owners_and_dates(plan: Plan) -> Iterator[Finding]:
    """A team answers for each event until a day that lies ahead of its beginning."""
    for event, definition in plan.events.items():
        path = ("events", event)
        if "@" in definition.owner:
            message = f"{shown(definition.owner)} is an address"
            yield Finding((*path, "owner"), message, "Name the team: people come and go.")
        if definition.expires != "never" and definition.expires <= definition.added:
            yield Finding(
                (*path, "expires"),
                f"{definition.expires} is not after the day it was added, {definition.added}",
                "Choose the day on which its owner decides again.",
                needs=((*path, "added"),),
            )


def check_estimates(plan: Plan) -> Iterator[Finding]:
    """The information budget is computed with these numbers."""
    for event, definition in plan.events.items():
        if not 1 <= definition.rate <= MAXIMUM_RATE:
            message = f"{shown(str(definition.rate))} is not from 1 to {MAXIMUM_RATE:,}"
            yield Finding(("events", event, "rate"), message, "Estimate how many of it one user makes in a busy day.")
    for field in plan.budget.__struct_fields__:
        bits: float = getattr(plan.budget, field)
        if not (math.isfinite(bits) and bits > 0):
            message = f"{shown(str(bits))} is no number of bits above zero"
            yield Finding(("budget", field), message, "Write how many bits may be told, or leave it out.")


def check_searches(plan: Plan) -> Iterator[Finding]:
    """The comparison names an event, one of its member properties, and members of that."""
    if (searches := plan.searches) is None:
        return
    path, event_path = ("searches",), ("events", searches.event)
    if (definition := plan.events.get(searches.event)) is None:
        yield unknown((*path, "event"), searches.event, plan.events, "events", needs=(("events",),))
        return
    members = {name: kind for name, kind in definition.properties.items() if isinstance(kind, MemberProperty)}
    if (chosen := members.get(searches.by)) is None:
        what = f"member properties of {shown(searches.event)}"
        yield unknown((*path, "by"), searches.by, members, what, needs=((*event_path, "properties"),))
        return
    needs = ((*event_path, "properties", searches.by, "members"),)
    for position, member in enumerate(searches.members):
        below = (*path, "members", str(position))
        if member not in chosen.members:
            yield unknown(below, member, chosen.members, f"members of {shown(searches.by)}", needs=needs)
        elif member in searches.members[:position]:
            yield Finding(below, f"{shown(member)} stands twice", "Keep one of the two.")


RULES: Final[tuple[Callable[[Plan], Iterator[Finding]], ...]] = (
    check_name_and_version,
    check_counts,
    check_texts,
    check_event_names,
    check_keys,
    check_features,
    check_owners_and_dates,
    check_properties,
    check_estimates,
    check_searches,
    check_facts,
    check_format,
    check_deprecations,
    check_earlier_names,
    check_retired,
)
