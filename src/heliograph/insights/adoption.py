"""How broadly, how often and how deeply is the product used, and each of its features?

*Breadth*, *frequency* and *depth* are the dimensions of adoption in product analytics; *saturation* is the share of
those with access who use it. How many have access is what the pings say of seats; where none says so, it is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import ibis
import msgspec
import pyarrow as pa
from msgspec import Meta

from heliograph.insights.activity import MONTH, use
from heliograph.insights.filters import scoped, up_to
from heliograph.insights.known_days import first_days, told_complete
from heliograph.insights.scope import Scope, checked
from heliograph.lake.tables import FACT

if TYPE_CHECKING:
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan


class AdoptionRule(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked at."""

    days: Annotated[int, Meta(ge=1)] = MONTH
    """Days that count, up to the scope's last, where the scope has no first day."""
    seats: Annotated[str, Meta(min_length=1)] = "seats"
    """The fact of the pings that says how many people have access to an instance."""


def adoption(tables: Tables, plan: Plan, scope: Scope, *, rule: AdoptionRule | None = None) -> ibis.Table:
    """Return how the users of each unit use the product as a whole.

    Returns:
        The unit, `users` (active at all), `breadth` (features for each of them, on average), `frequency` (active days
        of each, on average), `depth` (core actions of a user on an active day, on average), `access` (people with
        access, by the latest ping of each instance until the scope's last day; null unless every instance says so),
        `saturation` (`users` ÷ `access`; null where that is not known, or zero), and `complete`: whether all of the
        days are over, and lie after the unit's data began. The averages are null where nobody was active.
    """
    rule = checked(rule or AdoptionRule())
    known, window = scoped(tables, plan, scope), scope.window(rule.days)
    used = use(known, window)
    users = used.group_by([scope.unit, "user_id"]).agg(
        features=used.feature.nunique(), days=used.day.nunique(), core=used.core_actions.sum()
    )
    counts = users.group_by(scope.unit).agg(
        users=users.count(), features=users.features.sum(), days=users.days.sum(), core=users.core.sum()
    )
    units = first_days(known, scope).select(scope.unit)
    table = units.left_join(counts, scope.unit).select(
        scope.unit, "features", "days", "core", users=lambda joined: joined.users.fill_null(0)
    )
    table = table.select(
        scope.unit,
        "users",
        breadth=table.features / table.users.nullif(0),
        frequency=table.days / table.users.nullif(0),
        depth=table.core / table.days.nullif(0),
    )
    return told_complete(_saturated(table, known, scope, rule), known, scope, window).order_by(scope.unit)


def feature_adoption(tables: Tables, plan: Plan, scope: Scope, *, rule: AdoptionRule | None = None) -> ibis.Table:
    """Return how the users of each unit use each feature of the plan, those that nobody uses included.

    Returns:
        The unit, `feature`, `users` (of the feature), `breadth` (their share of the users active at all, of whatever
        feature; null where there are none), `frequency` (days on which each used it, on average), `depth` (events of
        a user on such a day, on average), `access`, `saturation` and `complete` as `adoption` has them.
    """
    rule = checked(rule or AdoptionRule())
    known, window = scoped(tables, plan, scope), scope.window(rule.days)
    used = use(known, window)
    days = used.group_by([scope.unit, "feature", "user_id", "day"]).agg(events=used.events.sum())
    counts = days.group_by([scope.unit, "feature"]).agg(
        users=days.user_id.nunique(), days=days.count(), events=days.events.sum()
    )
    everybody = use(scoped(tables, plan, msgspec.structs.replace(scope, features=())), window)
    active = everybody.group_by(scope.unit).agg(active=everybody.user_id.nunique())
    keys = [scope.unit, "feature"]
    rows = first_days(known, scope).select(scope.unit).cross_join(_features(plan, scope))
    table = rows.left_join(counts, keys).select(*keys, "users", "days", "events")
    table = table.left_join(active, scope.unit).select(*table.columns, "active")
    table = table.mutate(users=table.users.fill_null(0))
    table = table.select(
        *keys,
        "users",
        breadth=table.users / table.active.nullif(0),
        frequency=table.days / table.users.nullif(0),
        depth=table.events / table.days.nullif(0),
    )
    return told_complete(_saturated(table, known, scope, rule), known, scope, window).order_by(keys)


def _features(plan: Plan, scope: Scope) -> ibis.Table:
    """Return the features that are asked about and have an event that makes its user active."""
    names = sorted({event.feature for event in plan.events.values() if event.active})
    asked = [name for name in names if not scope.features or name in scope.features]
    return ibis.memtable(pa.table({"feature": pa.array(asked, pa.string())}))


def _saturated(table: ibis.Table, scoped_tables: Tables, scope: Scope, rule: AdoptionRule) -> ibis.Table:
    access = _access(scoped_tables, scope, rule)
    if access is None:
        table = table.mutate(access=ibis.null("int64"))
    else:
        table = table.left_join(access, scope.unit).select(*table.columns, "access")
    return table.mutate(saturation=table.users / table.access.nullif(0))


def _access(scoped_tables: Tables, scope: Scope, rule: AdoptionRule) -> ibis.Table | None:
    """Return the unit and `access`, null unless the latest ping of every instance says how many seats it has."""
    if scoped_tables.pings is None:
        return None
    pings = up_to(scoped_tables.pings, scope.until)
    pings = pings.filter(pings.measure == FACT, pings.key == rule.seats, pings.value.notnull())
    latest = pings.group_by("instance").agg(seats=pings.value.argmax(pings.day))
    days = up_to(scoped_tables.data_days, scope.until)
    instances = days.select(*dict.fromkeys([scope.unit, "instance"])).distinct()
    joined = instances.left_join(latest, "instance").select(*instances.columns, "seats")
    every = joined.group_by(scope.unit).agg(
        seats=joined.seats.sum(), known=joined.seats.count(), instances=joined.count()
    )
    return every.select(scope.unit, access=ibis.ifelse(every.known == every.instances, every.seats, None))
