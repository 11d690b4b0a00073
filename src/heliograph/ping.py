"""The ping: what leaves at level `critical`, and what both ends hold it to.

A ping tells about one UTC day of one instance, in numbers that were added up and anonymised there. Whatever counts
fewer than `SMALLEST_GROUP` users is left out: null stands in its place. docs/ping.md is made from the definitions here.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALLEST_GROUP: Final = 5
"""Users; whatever counts fewer is suppressed, so that no number is about a few people."""
LARGEST_COUNT: Final = 2**53 - 1
"""The largest whole number that every JSON reader takes as it is."""
WEEK_DAYS: Final = 7
MONTH_DAYS: Final = 28
MOST_FACTS: Final = 40
MOST_FEATURES: Final = 200

Users: TypeAlias = Annotated[int, Meta(ge=0, le=LARGEST_COUNT)] | None
"""Distinct users; null where there are some, and fewer than `SMALLEST_GROUP`."""
FactValue: TypeAlias = bool | int | str | dict[str, int]
"""What the product says of itself: of the type that the plan declares for this fact."""

_SMALL: Final = f"null where there are some, and fewer than {SMALLEST_GROUP}"


_IN_WORDS: Final[dict[type, str]] = {
    msgspec.inspect.DateType: "date as in 2026-10-31",
    msgspec.inspect.IntType: "whole number",
    msgspec.inspect.NoneType: "null",
}


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a field means, beside its type."""

    path: str
    """Where it stands in the ping: ``active_users.day``; a word in capitals stands for each of many keys."""
    type: str
    """In words."""
    description: str
    unit: str
    source: str
    suppression: str
    """When null stands in its place, or nothing; empty for never."""


def _about(description: str, *, unit: str, source: str, suppression: str = "") -> Meta:
    return Meta(description=description, extra={"unit": unit, "source": source, "suppression": suppression})


class ActiveUsers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Distinct users with at least one event that the plan counts as active."""

    day: Annotated[
        Users,
        _about("Active users of the day itself.", unit="users", source="recorded events", suppression=_SMALL),
    ]
    week: Annotated[
        Users,
        _about(
            f"Active users of the {WEEK_DAYS} days that end with it.",
            unit="users",
            source="recorded events",
            suppression=_SMALL,
        ),
    ]
    month: Annotated[
        Users,
        _about(
            f"Active users of the {MONTH_DAYS} days that end with it.",
            unit="users",
            source="recorded events",
            suppression=_SMALL,
        ),
    ]


class FeatureUse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The use of one feature on the day, by users that the product named; an event without a user is nobody's."""

    users: Annotated[
        Users,
        _about("Distinct users of the feature.", unit="users", source="recorded events", suppression=_SMALL),
    ]
    events: Annotated[
        Annotated[int, Meta(ge=0, le=LARGEST_COUNT)] | None,
        _about(
            "What these users did with the feature.",
            unit="events",
            source="recorded events",
            suppression="null where its users are",
        ),
    ]


class Ping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One day of one instance; who sends it is known by the access token alone."""

    format: Annotated[
        Literal[1], _about("The version of this form.", unit="number", source="the agent's own release")
    ] = 1
    day: Annotated[
        date,
        _about(
            "The day that it tells about, which is over when the ping is made.", unit="UTC day", source="the calendar"
        ),
    ]
    plan: Annotated[
        str,
        Meta(max_length=200),
        _about("The tracking plan by which it was counted: name and version.", unit="text", source="the tracking plan"),
    ]
    agent: Annotated[
        str,
        Meta(max_length=40),
        _about("The version of Heliograph that made it.", unit="text", source="the agent's own release"),
    ]
    facts: Annotated[
        dict[str, FactValue],
        Meta(max_length=MOST_FACTS),
        _about(
            "What the product says of itself, as far as the plan declares it.",
            unit="as the plan declares it",
            source="the product",
            suppression="left out while the product has not said it",
        ),
    ]
    active_users: Annotated[
        ActiveUsers,
        _about("How many people use the product at all.", unit="users", source="recorded events", suppression=_SMALL),
    ]
    features: Annotated[
        dict[str, FeatureUse],
        Meta(max_length=MOST_FEATURES),
        _about(
            "The features of the plan that were used on the day.",
            unit="users and events",
            source="recorded events",
            suppression="left out where nobody used it",
        ),
    ]


def encode_ping(ping: Ping) -> bytes:
    """Return the bytes of a ping: the same for equal pings, whatever order their parts were found in."""
    return msgspec.json.encode(ping, order="deterministic")


def fields() -> Iterator[About]:
    """Yield what each field of a ping means, in order, the facts and features of a plan as ``NAME`` and ``FEATURE``."""
    for field, meta in _fields_of(Ping):
        if field == "facts":
            yield _as_about("facts.NAME", meta)
        elif field == "features":
            yield from (_as_about(f"features.FEATURE.{name}", below) for name, below in _fields_of(FeatureUse))
        elif field == "active_users":
            yield from (_as_about(f"active_users.{name}", below) for name, below in _fields_of(ActiveUsers))
        else:
            yield _as_about(field, meta)


def _fields_of(kind: type[msgspec.Struct]) -> Iterator[tuple[str, dict[str, Any]]]:
    for field in msgspec.inspect.multi_type_info([kind])[0].fields:  # type: ignore[attr-defined] # a struct has them
        yield field.encode_name, _described(field.type)


def _described(kind: Any) -> dict[str, Any]:
    about = {"type": _in_words(kind.type), **(kind.extra or {})}
    return {"description": (kind.extra_json_schema or {}).get("description", ""), **about}


def _in_words(kind: Any) -> str:
    match kind:
        case msgspec.inspect.LiteralType():
            return " or ".join(str(value) for value in kind.values)
        case msgspec.inspect.UnionType():
            return " or ".join(_in_words(part) for part in kind.types)
        case msgspec.inspect.StrType():
            return f"text of at most {kind.max_length} characters"
        case _:
            return _IN_WORDS.get(type(kind), "as the plan declares it")


def _as_about(path: str, meta: dict[str, Any]) -> About:
    return About(path=path, **meta)


def suppressed(users: int) -> int | None:
    """Return a number of users as it may leave: null for a small group, which nobody is not."""
    return None if 0 < users < SMALLEST_GROUP else users


def small_groups(ping: Ping) -> Iterator[str]:
    """Yield the path of each number in `ping` that is about too few people, which no ping of ours has."""
    numbers = {f"active_users.{name}": getattr(ping.active_users, name) for name in ActiveUsers.__struct_fields__}
    for feature, use in ping.features.items():
        numbers[f"features.{feature}.users"] = use.users
        if use.events is not None and use.users is None:
            yield f"features.{feature}.events"
    for path, users in numbers.items():
        if users is not None and users != suppressed(users):
            yield path
