"""Lint rules on names: two that are one by mistake, and one that says that something private is in it."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from typing import TYPE_CHECKING, Final, TypeAlias

from heliograph.plan.finding import Finding
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    CountsFact,
    DurationProperty,
    MemberProperty,
    VersionFact,
)
from heliograph.plan.name_words import one_slip, stem, stems, words
from heliograph.plan.problem import shown
from heliograph.plan.word_lists import PRIVATE_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    from heliograph.plan.model import Fact, Plan, Property
    from heliograph.plan.shape import Path

_Parts: TypeAlias = tuple[str, ...]

_FILLERS: Final = frozenset({"event", "user", "the", "a", "an", "of", "is", "was", "has"})
"""Words that tell nothing where everything is an event of a user."""

_SLIP_LETTERS: Final = 5
"""From how many letters on one wrong letter is more likely a slip than another word: `file` and `tile` are two."""

_MEASURES: Final = (BooleanProperty, CountProperty, CountsFact, DurationProperty, VersionFact)
"""Types whose values tell how many, how long or whether, whatever they are called."""

_PRIVATE: Final = {stem(word): what for what, each in PRIVATE_WORDS.items() for word in each}


def similar_events(plan: Plan, _today: date) -> Iterator[Finding]:
    """Compare the events' names with each other and with those of retired events."""
    places: dict[str, Path] = {name: ("retired", name) for name in plan.retired}
    places |= {name: ("events", name) for name in plan.events}
    for one, other, why in _similar(places):
        if other in plan.events:
            yield Finding(
                ("events", other),
                f"{shown(other)} and {shown(one)} {why}",
                "Use one event for both, or give one a name that says what is different.",
                also=places[one],
            )


def similar_properties(plan: Plan, _today: date) -> Iterator[Finding]:
    """Compare the properties' names of all events with each other."""
    places: dict[str, Path] = {}
    for event, definition in plan.events.items():
        for name in definition.properties:
            places.setdefault(name, ("events", event, "properties", name))
    for one, other, why in _similar(places):
        yield Finding(
            places[other],
            f"{shown(other)} and {shown(one)} {why}",
            "Use one name for both, so that they are one column, or say what is different.",
            also=places[one],
        )


def similar_members(plan: Plan, _today: date) -> Iterator[Finding]:
    """Compare the members of each list with each other."""
    for path, kind in declared(plan):
        if isinstance(kind, MemberProperty | CountsFact):
            positions = {member: position for position, member in enumerate(kind.members)}
            for one, other, why in _similar(positions):
                below = (*path, "members", str(positions[other]))
                message = f"{shown(other)} and {shown(one)} {why}"
                yield Finding(below, message, "Keep one of the two, or say in both what is different.")


def identity_name(plan: Plan, _today: date) -> Iterator[Finding]:
    """Look at the word that a name ends in: it says what the values are."""
    for path, kind in declared(plan):
        parts = words(path[-1])
        if isinstance(kind, _MEASURES) or not parts:
            continue
        if (what := _PRIVATE.get(stem(parts[-1]))) is not None:
            yield Finding(
                path,
                f"{shown(path[-1])} sounds as if it held {what}",
                "Measure it in place of telling it (a count, a length, a kind), and name it for that.",
            )


def declared(plan: Plan) -> Iterator[tuple[Path, Property | Fact]]:
    """Yield every property and every fact with its path."""
    for event, definition in plan.events.items():
        for name, kind in definition.properties.items():
            yield ("events", event, "properties", name), kind
    for name, fact in plan.facts.items():
        yield ("facts", name), fact


def _similar(names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield pairs of names, the earlier one first, that are one by mistake, and why."""
    seen: dict[_Parts, str] = {}
    by_key: dict[tuple[_Parts, _Parts], list[tuple[str, _Parts]]] = defaultdict(list)
    for name in names:
        parts = tuple(part for part in stems(name) if part not in _FILLERS) or stems(name)
        if (first := seen.setdefault(tuple(sorted(parts)), name)) != name:
            yield first, name, "are the same words"
            continue
        for position in range(len(parts)):  # names that share all words but one meet under the others
            by_key[parts[:position], parts[position + 1 :]].append((name, parts))
    for (before, _), group in by_key.items():
        for (one, these), (other, those) in combinations(group, 2):
            a, b = these[len(before)], those[len(before)]
            if min(len(a), len(b)) >= _SLIP_LETTERS and not a.isdigit() and one_slip(a, b):
                yield one, other, "differ by one letter"
