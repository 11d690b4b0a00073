"""What the dictionary says, whichever way it is laid out: events by feature, and what is never collected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from heliograph.plan.generate.words import one_line
from heliograph.plan.in_words import values_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from heliograph.plan.model import EventDefinition, Fact, Plan, Property

COLLECTED: Final = (
    "An event says that somebody, at a time, did something, with an outcome. Numbers are within bounds, words are of "
    "the lists below, and nothing else leaves an instance."
)
NEVER: Final = (
    "Free text: no code, no queries, no paths, no messages. The plan's format has no type for it.",
    "Names and addresses of people, hosts, repositories or organisations.",
    "Passwords, tokens and licence keys.",
    "The product's own ids of users and sessions. For users random ids stand in; only the instance knows for whom.",
    "Whatever is not in this dictionary: it is dropped on the instance, and rejected at the vendor's.",
    "Anything at all while the level is off.",
)
ENVELOPE: Final = (
    ("name", "Which of the events below it is."),
    ("sequence", "Its number in the series of the process that recorded it."),
    ("time", "When it happened."),
    ("user_id", "A random id of the user."),
    (
        "session_id",
        "A random id of the session, where a client other than the agent sends one. The vendor does not keep it.",
    ),
    ("outcome", "How it ended, as each event lists it."),
    ("version", "The product's version."),
    ("source", "Where it came from: {sources}."),
    ("actor", "Who acted, where it was none of the customer's own people; such events are never counted."),
)
FACTS: Final = "What the product says of its instance as a whole. It leaves in the daily ping, not in an event."
RETIRED: Final = "Collected by earlier versions of the plan, and not any more."


def envelope(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield each field that every event has beside its properties, with its meaning."""
    for name, meaning in ENVELOPE:
        yield name, meaning.format(sources=", ".join(plan.sources))


def events_of(plan: Plan, feature: str) -> dict[str, EventDefinition]:
    """Return the events of a feature, in the order of the plan."""
    return {name: event for name, event in plan.events.items() if event.feature == feature}


def about(event: EventDefinition) -> Iterator[tuple[str, str]]:
    """Yield what there is to say of an event beside its description, each with a label."""
    yield "Question", one_line(event.question)
    yield "Action", one_line(event.action)
    yield "Owner", one_line(event.owner)
    yield "Class", event.data_class
    yield "Added", str(event.added)
    yield "Expires", str(event.expires)
    if event.renamed_from:
        yield "Earlier names", ", ".join(event.renamed_from)


def badges(event: EventDefinition) -> Iterator[str]:
    """Yield what sets an event apart from most others, in a word or two."""
    if event.core:
        yield "core action"
    if not event.active:
        yield "does not make its user active"
    if event.deprecated:
        yield "deprecated"


def value_rows(definitions: Mapping[str, Property] | Mapping[str, Fact]) -> Iterator[tuple[str, str, str]]:
    """Yield name, possible values and meaning of each property or fact."""
    for name, definition in definitions.items():
        yield name, values_in_words(definition), one_line(definition.description)


def counts(plan: Plan) -> str:
    """Return how much there is of what."""
    parts = [(len(plan.events), "event"), (len(plan.features), "feature"), (len(plan.property_kinds()), "property")]
    return ", ".join(f"{count:,} {_plural(word) if count != 1 else word}" for count, word in parts)


def _plural(word: str) -> str:
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
