"""The ping: what leaves at level `critical`, and what both ends hold it to.

A ping tells about one UTC day of one instance, in numbers that were added up and anonymised there. Whatever counts
fewer than `SMALLEST_GROUP` users is left out: null stands in its place. docs/ping.md is made from the definitions here.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALLEST_GROUP: Final = 5
"""Users; whatever counts fewer is suppressed, so that no number is about a few people."""
LARGEST_COUNT: Final = 2**53 - 1
"""The largest whole number that every JSON reader takes as it is."""

Users: TypeAlias = Annotated[int, Meta(ge=0, le=LARGEST_COUNT)] | None
"""Distinct users; null where there are some, and fewer than `SMALLEST_GROUP`."""
FactValue: TypeAlias = bool | int | str | dict[str, int]
"""What the product says of itself: of the type that the plan declares for this fact."""


class ActiveUsers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Users with at least one event that the plan counts as active; vendor operators never count."""

    day: Annotated[Users, Meta(description="On the day itself.")]
    week: Annotated[Users, Meta(description="In the 7 days that end with it.")]
    month: Annotated[Users, Meta(description="In the 28 days that end with it.")]


class FeatureUse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The use of one feature on the day."""

    users: Annotated[Users, Meta(description="Distinct users of the feature.")]
    events: Annotated[
        Annotated[int, Meta(ge=0, le=LARGEST_COUNT)] | None,
        Meta(description="Events of the feature; null where its users are."),
    ]


class Ping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One day of one instance; who sends it is known by the access token alone."""

    format: Annotated[Literal[1], Meta(description="The version of this form.")] = 1
    day: Annotated[date, Meta(description="The UTC day that it tells about; it is over when the ping is made.")]
    plan: Annotated[
        str, Meta(max_length=200, description="The tracking plan by which it was counted: name and version.")
    ]
    agent: Annotated[str, Meta(max_length=40, description="The version of Heliograph that made it.")]
    facts: Annotated[
        dict[str, FactValue],
        Meta(
            description="What the product says of itself, as far as the plan declares it; a fact not known is left out."
        ),
    ]
    active_users: Annotated[ActiveUsers, Meta(description="How many people use the product at all.")]
    features: Annotated[
        dict[str, FeatureUse],
        Meta(description="The features of the plan that were used on the day; one that nobody used is left out."),
    ]


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
