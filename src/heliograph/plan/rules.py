"""What a plan must keep beside its shape: a table of rules, each a small function from a plan to findings."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from heliograph.event import NAME_PATTERN, RESERVED
from heliograph.plan.model import CountsFact, IntegerProperty, MemberProperty, NumberProperty
from heliograph.plan.problem import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from heliograph.plan.model import Plan, Property
    from heliograph.plan.shape import Path

PLAN_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,47}")
FEATURE: Final = re.compile(r"[a-z][a-z0-9_]{0,47}")
SOURCE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
OUTCOME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
PROPERTY: Final = re.compile(r"[a-z][a-z0-9_]{0,47}")
FACT: Final = PROPERTY
MEMBER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,47}")

MAXIMUM_EVENTS: Final = 1_000
MAXIMUM_EVENT_PROPERTIES: Final = 40
MAXIMUM_PROPERTIES: Final = 400
MAXIMUM_FEATURES: Final = 200
MAXIMUM_SOURCES: Final = 40
MAXIMUM_OUTCOMES: Final = 40
MAXIMUM_MEMBERS: Final = 200
MAXIMUM_FACTS: Final = 40
MAXIMUM_VERSION: Final = 2**31 - 1
MAXIMUM_INTEGER: Final = 2**53
"""Every whole number up to it is exact in JSON readers that know floating-point numbers only."""


class Finding(NamedTuple):
    """A rule that is broken."""

    path: Path
    message: str
    remedy: str
    needs: tuple[Path, ...] = ()
    """The other parts that it rests on; while one of them could not be read, it is not reported."""
    also: Path | None = None
    """The other place, where two places contradict each other."""


def check_name_and_version(plan: Plan) -> Iterator[Finding]:
    """The name and the version label stored events."""
    if not PLAN_NAME.fullmatch(plan.name):
        yield Finding(("name",), f"{shown(plan.name)} is not a plan's name", _remedy("code-intelligence", PLAN_NAME))
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
            yield _too_many((*path, "properties"), len(definition.properties), MAXIMUM_EVENT_PROPERTIES)
    counts += [
        (("facts", name, "members"), len(fact.members), MAXIMUM_MEMBERS, "members")
        for name, fact in plan.facts.items()
        if isinstance(fact, MemberProperty | CountsFact)
    ]
    if len(plan.facts) > MAXIMUM_FACTS:
        yield _too_many(("facts",), len(plan.facts), MAXIMUM_FACTS, "facts")
    if len(names) > MAXIMUM_PROPERTIES:
        yield _too_many(("events",), len(names), MAXIMUM_PROPERTIES, "names of properties")
    for place, count, most, what in counts:
        if not count:
            yield Finding(place, f"there are no {what}", "Declare at least one.", needs=(place,))
        elif count > most:
            yield _too_many(place, count, most, what)


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
    for place, text in texts:
        if not text.strip():
            yield Finding(place, "it is blank", "Write a sentence for those who review the plan.")


def check_event_names(plan: Plan) -> Iterator[Finding]:
    """Event names are identifiers, and no two of them differ by case alone."""
    by_lower: dict[str, str] = {}
    for event in plan.events:
        path = ("events", event)
        if not NAME_PATTERN.fullmatch(event):
            yield Finding(path, f"{shown(event)} is not an event's name", _remedy("SearchSubmitted", NAME_PATTERN))
        first = by_lower.setdefault(event.lower(), event)
        if first != event:
            message = f"{shown(event)} differs from {shown(first)} by case alone"
            yield Finding(path, message, "Give one of them another name.", also=("events", first))


def check_keys(plan: Plan) -> Iterator[Finding]:
    """Features, sources and outcomes are short words that appear in every report."""
    for key in plan.features:
        if not FEATURE.fullmatch(key):
            message = f"{shown(key)} is not a feature's key"
            yield Finding(("features", key), message, _remedy("code_navigation", FEATURE))
    for position, source in enumerate(plan.sources):
        path = ("sources", str(position))
        if not SOURCE.fullmatch(source):
            yield Finding(path, f"{shown(source)} is not a source", _remedy("backend", SOURCE))
        elif source in plan.sources[:position]:
            yield Finding(path, f"{shown(source)} stands twice", "Keep one of the two.")
    for event, definition in plan.events.items():
        for key in definition.outcomes:
            if not OUTCOME.fullmatch(key):
                below = ("events", event, "outcomes", key)
                yield Finding(below, f"{shown(key)} is not an outcome", _remedy("timed_out", OUTCOME))


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


def check_properties(plan: Plan) -> Iterator[Finding]:
    """A property has a usable name, one kind in all events, and bounds or members that some value meets."""
    first_places: dict[str, tuple[Path, Property]] = {}
    for event, definition in plan.events.items():
        for name, kind in definition.properties.items():
            path = ("events", event, "properties", name)
            yield from _check_property_name(path, name)
            first_path, first_kind = first_places.setdefault(name, (path, kind))
            if type(first_kind) is not type(kind):
                yield Finding(
                    path,
                    f"{shown(name)} is {_kind(kind)} here and {_kind(first_kind)} elsewhere",
                    "Give it one type in all events, or two names.",
                    also=first_path,
                )
            if isinstance(kind, MemberProperty):
                yield from _check_members((*path, "members"), kind.members)
            elif isinstance(kind, IntegerProperty | NumberProperty):
                yield from _check_bounds(path, kind)


def check_searches(plan: Plan) -> Iterator[Finding]:
    """The comparison names an event, one of its member properties, and members of that."""
    if (searches := plan.searches) is None:
        return
    path, event_path = ("searches",), ("events", searches.event)
    if (definition := plan.events.get(searches.event)) is None:
        yield _unknown((*path, "event"), searches.event, plan.events, "events", needs=(("events",),))
        return
    members = {name: kind for name, kind in definition.properties.items() if isinstance(kind, MemberProperty)}
    if (chosen := members.get(searches.by)) is None:
        what = f"member properties of {shown(searches.event)}"
        yield _unknown((*path, "by"), searches.by, members, what, needs=((*event_path, "properties"),))
        return
    needs = ((*event_path, "properties", searches.by, "members"),)
    for position, member in enumerate(searches.members):
        below = (*path, "members", str(position))
        if member not in chosen.members:
            yield _unknown(below, member, chosen.members, f"members of {shown(searches.by)}", needs=needs)
        elif member in searches.members[:position]:
            yield Finding(below, f"{shown(member)} stands twice", "Keep one of the two.")


def check_facts(plan: Plan) -> Iterator[Finding]:
    """A fact has a usable name, and bounds or members that some value meets."""
    for name, fact in plan.facts.items():
        path = ("facts", name)
        if not FACT.fullmatch(name):
            yield Finding(path, f"{shown(name)} is not a fact's name", _remedy("licence_tier", FACT))
        if isinstance(fact, MemberProperty | CountsFact):
            yield from _check_members((*path, "members"), fact.members)
        if isinstance(fact, IntegerProperty | CountsFact):
            yield from _check_bounds(path, fact)


RULES: Final[tuple[Callable[[Plan], Iterator[Finding]], ...]] = (
    check_name_and_version,
    check_counts,
    check_texts,
    check_event_names,
    check_keys,
    check_features,
    check_owners_and_dates,
    check_properties,
    check_searches,
    check_facts,
)


def _check_property_name(path: Path, name: str) -> Iterator[Finding]:
    if name in RESERVED:
        message = f"{shown(name)} is a name that every event or every stored row has already"
        yield Finding(path, message, "Choose another name, one that says what is counted.")
    elif not PROPERTY.fullmatch(name):
        yield Finding(path, f"{shown(name)} is not a property's name", _remedy("result_count", PROPERTY))


def _check_members(path: Path, members: tuple[str, ...]) -> Iterator[Finding]:
    seen: set[str] = set()
    for position, member in enumerate(members):
        below = (*path, str(position))
        if not MEMBER.fullmatch(member):
            yield Finding(below, f"{shown(member)} is not a member", _remedy("c++", MEMBER))
        elif member in seen:
            yield Finding(below, f"{shown(member)} stands twice", "Keep one of the two.")
        seen.add(member)


def _check_bounds(path: Path, kind: IntegerProperty | NumberProperty | CountsFact) -> Iterator[Finding]:
    minimum = 0 if isinstance(kind, CountsFact) else kind.minimum
    for field, bound in (("minimum", minimum), ("maximum", kind.maximum)):
        if not isinstance(kind, NumberProperty) and abs(bound) > MAXIMUM_INTEGER:
            message = f"{shown(str(bound))} is beyond ±2^53"
            yield Finding((*path, field), message, f"Stay within ±{MAXIMUM_INTEGER}.")
        elif not math.isfinite(bound):
            yield Finding((*path, field), f"{shown(str(bound))} is no bound", "Write a finite number.")
    if minimum > kind.maximum:
        message = f"the minimum, {shown(str(minimum))}, is above the maximum, {shown(str(kind.maximum))}"
        yield Finding((*path, "maximum"), message, "Exchange them, or mend one.", needs=((*path, "minimum"),))


def _too_many(path: Path, count: int, most: int, what: str = "properties") -> Finding:
    return Finding(path, f"there are {count:,} {what}, and {most:,} is the most", "Leave some out.")


def _unknown(path: Path, text: str, candidates: Iterable[str], what: str, *, needs: tuple[Path, ...]) -> Finding:
    known = list(candidates)
    near = nearest(text, known)
    listing = f"They are {', '.join(map(shown, known[:12]))}{', …' if len(known) > 12 else ''}."  # noqa: PLR2004 - one line
    return Finding(
        path,
        f"{shown(text)} is not one of the {what}",
        f"Did you mean {shown(near)}?" if near else listing if known else "There are none: declare it first.",
        needs=needs,
    )


def _remedy(example: str, pattern: re.Pattern[str]) -> str:
    return f"Write it as in `{example}`, to the pattern `{pattern.pattern}`."


def _kind(definition: Property) -> str:
    return f"`{definition.__struct_config__.tag}`"
