"""Making a ping: one pure function from the instance's own use, its facts and the plan to what may leave of them."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.ping import MONTH_DAYS, WEEK_DAYS, ActiveUsers, FactValue, FeatureUse, Ping, suppressed
from heliograph.plan.changes import present_names
from heliograph.plan.facts import passing_facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date

    from heliograph.instance.usage import Usage
    from heliograph.plan.model import Plan

AGENT: Final = version("heliograph")
"""The version of Heliograph that makes the pings."""


class FeatureCount(msgspec.Struct, frozen=True):
    """The use of one feature on a day, in full: it stays on the instance."""

    users: int
    events: int


class UseCount(msgspec.Struct, frozen=True, kw_only=True):
    """What a ping is made from, before small groups are suppressed: it stays on the instance."""

    day: int
    """Active users of the day."""
    week: int
    """Active users of the 7 days that end with it."""
    month: int
    """Active users of the 28 days that end with it."""
    features: dict[str, FeatureCount]
    """Those that were used on the day, in the plan's order."""


def count_use(usage: Iterable[Usage], plan: Plan, day: date) -> UseCount:
    """Count users and events by the plan; what it does not declare, or what lies outside the month, does not count."""
    day_users: set[str] = set()
    week_users: set[str] = set()
    month_users: set[str] = set()
    feature_users: dict[str, set[str]] = {}
    feature_events: dict[str, int] = {}
    present = present_names(plan)
    for used, event, user, events in usage:
        definition, age = plan.events.get(present.get(event, event)), (day - used).days
        if definition is None or not 0 <= age < MONTH_DAYS:
            continue
        if definition.active:
            month_users.add(user)
            if age < WEEK_DAYS:
                week_users.add(user)
            if age == 0:
                day_users.add(user)
        if age == 0:
            feature_users.setdefault(definition.feature, set()).add(user)
            feature_events[definition.feature] = feature_events.get(definition.feature, 0) + events
    return UseCount(
        day=len(day_users),
        week=len(week_users),
        month=len(month_users),
        features={
            feature: FeatureCount(len(feature_users[feature]), feature_events[feature])
            for feature in plan.features
            if feature in feature_users
        },
    )


def make_ping(use: UseCount, facts: Mapping[str, FactValue], plan: Plan, day: date, *, agent: str = AGENT) -> Ping:
    """Return the ping of a day: small groups suppressed, and of the facts those that the plan takes."""
    return Ping(
        day=day,
        plan=plan.label,
        agent=agent,
        facts=passing_facts(facts, plan),
        active_users=ActiveUsers(day=suppressed(use.day), week=suppressed(use.week), month=suppressed(use.month)),
        features={feature: _feature_use(count) for feature, count in use.features.items()},
    )


def _feature_use(count: FeatureCount) -> FeatureUse:
    users = suppressed(count.users)
    return FeatureUse(users=users, events=None if users is None else count.events)
