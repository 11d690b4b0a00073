"""A ping against the plan: what both ends hold it to, beyond its form."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from heliograph.ping import LARGEST_COUNT, SMALLEST_GROUP, small_groups

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from heliograph.ping import Ping
    from heliograph.plan.model import Plan

_AGENT: Final = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){0,3}((a|b|rc)[0-9]{1,5})?((\.post|\.dev)[0-9]{1,5})?")
"""A version of Heliograph: numbers alone, and whether it comes before or after a release."""
_PERIODS: Final = (("day", "week"), ("day", "month"), ("week", "month"))
"""The first of each pair lies within the second."""


def ping_problems(ping: Ping, plan: Plan) -> list[str]:
    """Return all that keeps `ping` from being one under `plan`; empty when nothing does.

    A problem names fields, and features and facts that the plan declares; never anything else of the ping.
    """
    return [
        *_labels(ping, plan),
        *_facts(ping, plan),
        *_features(ping, plan),
        *(f"{path}: fewer than {SMALLEST_GROUP} users, which no ping tells" for path in _known(ping, plan)),
        *_active_users(ping),
    ]


def _labels(ping: Ping, plan: Plan) -> Iterator[str]:
    name, _, version = ping.plan.rpartition("@")
    if name != plan.name or re.fullmatch("[0-9]{1,9}", version) is None:
        yield f"plan: {plan.name} and a version is expected, such as {plan.label}"
    if _AGENT.fullmatch(ping.agent) is None:
        yield "agent: a version of numbers is expected, such as 1.2.0"


def _facts(ping: Ping, plan: Plan) -> Iterator[str]:
    declared: Mapping[str, Any] = getattr(plan, "facts", {})
    if undeclared := len(ping.facts.keys() - declared.keys()):
        yield f"facts: {undeclared} that the plan {plan.label} does not declare"
    for name in declared:
        value = ping.facts.get(name)
        numbers = value.values() if isinstance(value, dict) else [value] if isinstance(value, int) else []
        if any(abs(number) > LARGEST_COUNT for number in numbers):
            yield f"facts.{name}: a number that not every reader takes"


def _features(ping: Ping, plan: Plan) -> Iterator[str]:
    if undeclared := len(ping.features.keys() - plan.features.keys()):
        yield f"features: {undeclared} that the plan {plan.label} does not declare"
    for feature in plan.features:
        use = ping.features.get(feature)
        if use is not None and use.events is None and use.users is not None:
            yield f"features.{feature}.events: null, though its users are not"


def _known(ping: Ping, plan: Plan) -> Iterator[str]:
    """Yield the paths of small groups, but for features whose names nobody has declared."""
    declared = {feature: use for feature, use in ping.features.items() if feature in plan.features}
    yield from small_groups(msgspec.structs.replace(ping, features=declared))


def _active_users(ping: Ping) -> Iterator[str]:
    for shorter, longer in _PERIODS:
        if _fewest(getattr(ping.active_users, shorter)) > _most(getattr(ping.active_users, longer)):
            yield f"active_users.{longer}: fewer than active_users.{shorter}, which it holds"


def _fewest(users: int | None) -> int:
    return 1 if users is None else users


def _most(users: int | None) -> int:
    return SMALLEST_GROUP - 1 if users is None else users
