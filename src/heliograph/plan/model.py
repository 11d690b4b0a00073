"""The tracking plan: which events exist, what each means, what it may carry. Free text has no type."""

from __future__ import annotations

import hashlib
from datetime import date
from typing import Literal, TypeAlias

import msgspec


class IntegerProperty(msgspec.Struct, frozen=True, tag_field="type", tag="integer", kw_only=True):
    """A whole number between two bounds, both included; a duration is one, in milliseconds."""

    description: str
    minimum: int = 0
    maximum: int


class NumberProperty(msgspec.Struct, frozen=True, tag_field="type", tag="number", kw_only=True):
    """A number between two bounds, both included."""

    description: str
    minimum: float = 0.0
    maximum: float


class BooleanProperty(msgspec.Struct, frozen=True, tag_field="type", tag="boolean", kw_only=True):
    """True or false."""

    description: str


class MemberProperty(msgspec.Struct, frozen=True, tag_field="type", tag="member", kw_only=True):
    """One of a list of words that the plan spells out."""

    description: str
    members: tuple[str, ...]


class VersionFact(msgspec.Struct, frozen=True, tag_field="type", tag="version", kw_only=True):
    """Up to four numbers with dots between, as in ``5.3.1``; see `heliograph.event.VERSION_PATTERN`."""

    description: str


class CountsFact(msgspec.Struct, frozen=True, tag_field="type", tag="counts", kw_only=True):
    """A whole number, from 0 to a bound, for each of some words of a list that the plan spells out."""

    description: str
    members: tuple[str, ...]
    maximum: int


Property: TypeAlias = IntegerProperty | NumberProperty | BooleanProperty | MemberProperty
Fact: TypeAlias = VersionFact | IntegerProperty | BooleanProperty | MemberProperty | CountsFact


class EventDefinition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


class Comparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How `heliograph ask searches` counts a month: an event, split by one of its member properties."""

    event: str
    by: str
    members: tuple[str, ...] = ()
    """The members to show first; all others follow."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tracking plan as loaded and checked by `heliograph.plan.load.load_plan`."""

    heliograph_plan: Literal[1]
    """The version of this format."""
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

    @property
    def label(self) -> str:
        """The plan's name and version: ``code-intelligence@1``."""
        return f"{self.name}@{self.version}"

    def digest(self) -> str:
        """Return the SHA-256 of the plan's canonical JSON, in hexadecimal: equal plans have equal digests."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    def property_kinds(self) -> dict[str, type[Property]]:
        """Return each property's kind by name; the loader has made sure that it is the same in all events."""
        return {
            name: type(definition) for event in self.events.values() for name, definition in event.properties.items()
        }
