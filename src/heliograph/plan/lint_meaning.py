"""Lint rules on what a reviewer must be told: why an event is collected, who answers for it, and until when."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from heliograph.plan.finding import Finding
from heliograph.plan.name_words import stems, words
from heliograph.plan.problem import shown
from heliograph.plan.word_lists import FIRST_NAMES, TEAM_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.plan.model import Plan

SOON: Final = timedelta(days=30)
"""How long before an event expires its owner is reminded."""
DEPRECATED: Final = timedelta(days=180)
"""How long an event may be deprecated before somebody asks when it goes."""

_QUESTION_WORDS: Final = 3
_MEANING_WORDS: Final = 2
_PLACEHOLDERS: Final = frozenset(
    {"todo", "tbd", "tba", "fixme", "xxx", "wip", "none", "unknown", "later", "placeholder"}
)
_NOBODY: Final = frozenset(
    {
        *_PLACEHOLDERS, "me", "us", "myself", "i", "we", "na", "nobody", "somebody", "someone", "anybody", "anyone",
        "everybody", "everyone", "team", "owner", "the team", "my team", "our team", "a team", "n a", "test", "foo",
    }
)  # fmt: skip
_PERSON: Final = re.compile(
    r"[A-Z][a-z]+(?:\s+[A-Z]\.)?(?:\s+(?:van|von|de|der|di|la|al))*\s+[A-Z][a-z]+(?:[- ][A-Z][a-z]+)?"
)


def no_question(plan: Plan, _today: date) -> Iterator[Finding]:
    """Find questions that ask nothing: the purpose of collecting must be told."""
    for event, definition in plan.events.items():
        question = definition.question.strip()
        said = words(question)
        if not question:
            continue  # the loader reports it
        if not question.endswith("?"):
            message = "is no question"
        elif set(said) & _PLACEHOLDERS or len(said) < _QUESTION_WORDS:
            message = "asks nothing"
        elif stems(question) in {stems(definition.description), stems(definition.action), stems(event)}:
            message = "says again what happens, and asks nothing"
        else:
            continue
        yield Finding(
            ("events", event, "question"),
            f"{shown(question)} {message}",
            "Write what somebody wants to know and cannot without this event; if nobody does, leave the event out.",
        )


def placeholder_owner(plan: Plan, _today: date) -> Iterator[Finding]:
    """Find owners that are nobody in particular."""
    for event, definition in plan.events.items():
        if " ".join(words(definition.owner.lower())) in {*_NOBODY, ""} and definition.owner.strip():
            message = f"{shown(definition.owner)} is nobody who could be asked"
            yield Finding(("events", event, "owner"), message, "Name the team that decides about the event.")


def person_owner(plan: Plan, _today: date) -> Iterator[Finding]:
    """Find owners that are people: they leave, and a plan is no place for their names."""
    for event, definition in plan.events.items():
        owner = definition.owner.strip()
        parts = words(owner)
        if not TEAM_WORDS.isdisjoint(parts):
            continue
        if _PERSON.fullmatch(owner) or not FIRST_NAMES.isdisjoint(parts):
            message = f"{shown(owner)} looks like a person"
            yield Finding(("events", event, "owner"), message, "Name the team: people come and go.")


def expired(plan: Plan, today: date) -> Iterator[Finding]:
    """Find events whose day has passed."""
    for event, definition in plan.events.items():
        if isinstance(definition.expires, date) and definition.expires < today:
            yield Finding(
                ("events", event, "expires"),
                f"{shown(event)} expired on {definition.expires}",
                f"Ask {shown(definition.owner)} whether it is still needed: set a new day, or retire it.",
            )


def expires_soon(plan: Plan, today: date) -> Iterator[Finding]:
    """Find events whose day is near."""
    for event, definition in plan.events.items():
        if isinstance(definition.expires, date) and today <= definition.expires <= today + SOON:
            left = (definition.expires - today).days
            yield Finding(
                ("events", event, "expires"),
                f"{shown(event)} expires on {definition.expires}, {left} days from now",
                f"Let {shown(definition.owner)} decide: set a new day, or retire it.",
            )


def long_deprecated(plan: Plan, today: date) -> Iterator[Finding]:
    """Find deprecated events that are collected still."""
    for event, definition in plan.events.items():
        if definition.deprecated is not None and definition.deprecated.since + DEPRECATED < today:
            yield Finding(
                ("events", event, "deprecated"),
                f"{shown(event)} is deprecated since {definition.deprecated.since}, and collected still",
                "Move it to `retired`, where what is stored of it stays readable.",
            )


def unexplained_outcome(plan: Plan, _today: date) -> Iterator[Finding]:
    """Find outcomes whose meaning is their own name, or that of another outcome."""
    for event, definition in plan.events.items():
        first: dict[tuple[str, ...], str] = {}
        for outcome, meaning in definition.outcomes.items():
            said = stems(meaning)
            other = first.setdefault(said, outcome)
            if said == stems(outcome) or len(said) < _MEANING_WORDS:
                message = f"{shown(meaning)} does not explain {shown(outcome)}"
            elif other != outcome:
                message = f"{shown(outcome)} means the same as {shown(other)}"
            else:
                continue
            if meaning.strip():  # the loader reports what is blank
                below = ("events", event, "outcomes", outcome)
                yield Finding(below, message, "Write in a sentence what happened when an event has it.")
