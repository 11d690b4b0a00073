"""The tracking plan: which events exist, what each means, what it may carry. Free text has no type."""

from __future__ import annotations

import hashlib
from datetime import date
from typing import Literal, TypeAlias

import msgspec


class Described(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every value has that a plan declares."""

    description: str
    """What it says, in a sentence."""
    suppress: dict[str, str] = {}
    """Lint rules that may be broken here, each with the reason; see `heliograph.plan.lint`."""


class IntegerProperty(Described, frozen=True, tag_field="type", tag="integer", kw_only=True):
    """A whole number between two bounds, both included."""

    minimum: int = 0
    maximum: int
    precision: int = 1
    """What leaves is a multiple of it: the instance rounds to the nearest."""


class NumberProperty(Described, frozen=True, tag_field="type", tag="number", kw_only=True):
    """A number between two bounds, both included."""

    minimum: float = 0.0
    maximum: float
    precision: float | None = None
    """What leaves is a multiple of it, a power of ten up to 1: the instance rounds to the nearest; None: all digits."""


class DurationProperty(Described, frozen=True, tag_field="type", tag="duration", kw_only=True):
    """A span of time from zero to a bound, in whole milliseconds; its name ends in ``_ms``."""

    maximum: int
    """Milliseconds."""
    precision: int = 1
    """Milliseconds: what leaves is a multiple of it."""


class CountProperty(Described, frozen=True, tag_field="type", tag="count", kw_only=True):
    """How many there were, told roughly: what leaves is the lower bound of the bucket that holds the number."""

    buckets: tuple[int, ...]
    """The lower bounds, rising, the first one zero or more; the last bucket has no upper bound."""


class BooleanProperty(Described, frozen=True, tag_field="type", tag="boolean", kw_only=True):
    """True or false."""


class MemberProperty(Described, frozen=True, tag_field="type", tag="member", kw_only=True):
    """One of a list of words that the plan spells out."""

    members: tuple[str, ...]


class VersionFact(Described, frozen=True, tag_field="type", tag="version", kw_only=True):
    """Up to four numbers with dots between, as in ``5.3.1``; see `heliograph.event.VERSION_PATTERN`."""


class CountsFact(Described, frozen=True, tag_field="type", tag="counts", kw_only=True):
    """A whole number, from 0 to a bound, for each of some words of a list that the plan spells out."""

    members: tuple[str, ...]
    maximum: int


Property: TypeAlias = (
    IntegerProperty | NumberProperty | DurationProperty | CountProperty | BooleanProperty | MemberProperty
)
Fact: TypeAlias = VersionFact | IntegerProperty | BooleanProperty | MemberProperty | CountsFact


class Deprecation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An event that is still taken, and that no new code should record."""

    since: date
    reason: str
    use: str | None = None
    """The event to record in its place."""


class Retirement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An event that is not collected any more, and what it meant: what is stored of it stays readable."""

    description: str
    feature: str
    until: date
    """The last day on which it was collected."""
    reason: str


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How much a plan lets be told, at most; see `heliograph.plan.budget`."""

    event_bits: float = 64.0
    """Bits that one event can carry beside its name, time and ids."""
    user_day_bits: float = 50_000.0
    """Bits that all of a user's events of one day can carry together."""


class EventDefinition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One event: what it means, which question it answers, and what it may carry."""

    description: str
    feature: str
    """The part of the product that it belongs to: a key of `Plan.features`."""
    action: str
    """What the user did: one word or two."""
    question: str
    """The question that this event helps to answer: collection derives from questions."""
    owner: str
    """The team to ask; never a person."""
    added: date
    expires: date | Literal["never"]
    data_class: Literal["usage"] = msgspec.field(default="usage", name="class")
    """The data classification. Nothing above *usage* can be declared."""
    core: bool = False
    """Whether it is one of the product's core actions, which power users do often."""
    active: bool = True
    """Whether it makes its user *active*: signing in or out does not."""
    outcomes: dict[str, str] = msgspec.field(default_factory=lambda: {"ok": "It worked."})
    """The outcomes that it can have, and what each means."""
    properties: dict[str, Property] = {}
    rate: int = 100
    """How many of it one user makes in one day, at most, as estimated: for the information budget."""
    deprecated: Deprecation | None = None
    renamed_from: tuple[str, ...] = ()
    """Its earlier names: their history is its own."""
    suppress: dict[str, str] = {}
    """Lint rules that may be broken in this event, each with the reason."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How `heliograph ask searches` counts a month: an event, split by one of its member properties."""

    event: str
    by: str
    members: tuple[str, ...] = ()
    """The members to show first; all others follow."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A tracking plan as loaded and checked by `heliograph.plan.load.load_plan`."""

    heliograph_plan: Literal[1, 2]
    """The version of this format: 2 came with durations, counts, precision, and what is below `facts`."""
    name: str
    version: int
    description: str
    sources: tuple[str, ...]
    """Where events can come from, such as ``web`` or ``backend``."""
    features: dict[str, str]
    """The product's features by key, each with a sentence on what it is."""
    events: dict[str, EventDefinition]
    searches: Comparison | None = None
    facts: dict[str, Fact] = {}
    """What the product may say of its instance as a whole, by name: it goes into the ping (`heliograph.ping`)."""
    retired: dict[str, Retirement] = {}
    """Events of earlier versions, by name. No event may have such a name again."""
    budget: Budget = Budget()
    suppress: dict[str, str] = {}
    """Lint rules that may be broken anywhere in the plan, each with the reason."""

    @property
    def label(self) -> str:
        """The plan's name and version: ``code-intelligence@1``."""
        return f"{self.name}@{self.version}"

    def canonical(self) -> bytes:
        """Return the plan as canonical JSON: keys sorted, defaults left out, so that equal plans have equal bytes."""
        return msgspec.json.encode(self, order="sorted")

    def digest(self) -> str:
        """Return the SHA-256 of the plan's canonical JSON, in hexadecimal: equal plans have equal digests."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def property_kinds(self) -> dict[str, type[Property]]:
        """Return each property's kind by name; the loader has made sure that it is the same in all events."""
        return {
            name: type(definition) for event in self.events.values() for name, definition in event.properties.items()
        }
