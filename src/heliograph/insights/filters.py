"""What a scope leaves of the tables: the one place where filters are applied.

| filter | what it does |
| --- | --- |
| account, instance | nothing else exists, for any metric |
| feature | only the use of these features counts; *active* then means: used one of them |
| version, client | only what these versions of the product, or these clients, tell of counts |
| period | the days that are answered for; see `heliograph.insights.scope.Scope.since` |
| time zone | where a day begins and ends; of a session or a funnel, the day on which it begins |

Feature, version and client restrict the use and not the calendar: a day on which an instance told of anything at all
has data, also where none of it was of the feature asked for. Nor do they move the ends of a session: a pause is a pause
of the user, not of the feature, so that sessions are cut before the filters see them.
"""

from __future__ import annotations

import functools
import operator
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import ibis
import msgspec

from heliograph.insights.tables import Tables, days_of_events
from heliograph.insights.zones import WIDEST, local_time
from heliograph.lake.marts.definitions import active_days, instance_days, user_days, user_feature_days

if TYPE_CHECKING:
    from heliograph.insights.scope import Scope, Window
    from heliograph.plan.model import Plan


def scoped(tables: Tables, plan: Plan, scope: Scope) -> Tables:
    """Return what `scope` leaves of each table, of any day; with a column `everyone` where that is the unit.

    The parts and spans of sessions are those of the accounts and instances alone; `matching` is for the sessions made
    of them.
    """
    local = in_zone(tables, plan, scope)
    of_features = matching(chosen(local.user_feature_days, scope), plan, scope)
    return Tables(
        events=matching(chosen(local.events, scope), plan, scope),
        user_days=matching(chosen(local.user_days, scope), plan, scope),
        user_feature_days=of_features,
        # A row has the whole of a day: what single features, versions and clients have of it, others say.
        active_days=with_unit(active_days(of_features, plan), scope)
        if restricts_use(scope)
        else chosen(local.active_days, scope),
        session_parts=chosen(local.session_parts, scope),
        session_spans=chosen(local.session_spans, scope),
        instance_days=chosen(local.instance_days, scope),
        event_days=None if local.event_days is None else chosen(local.event_days, scope),
        kept=local.kept,
        raw_from=local.raw_from,
        pings=None if local.pings is None else chosen(local.pings, scope),
    )


def in_zone(tables: Tables, plan: Plan, scope: Scope) -> Tables:
    """Return the tables with days of the scope's time zone, made of the events anew unless that is UTC."""
    if scope.zone == "UTC":
        return tables
    local = local_time(tables.events.time, scope.zone, now=scope.now)
    days = user_days(tables.events.mutate(time=local), plan)
    of_features = user_feature_days(days, plan)
    known = days_of_events(tables.events, local)
    if tables.raw_from is not None:  # a day of which the events are gone in part is none that is known
        known = known.filter(known.day > tables.raw_from)
    return msgspec.structs.replace(
        tables,
        user_days=days,
        user_feature_days=of_features,
        active_days=active_days(of_features, plan),
        instance_days=instance_days(days, plan),
        event_days=known,
    )


def chosen(table: ibis.Table, scope: Scope) -> ibis.Table:
    """Return the rows of the accounts and instances that `scope` names."""
    if scope.accounts:
        table = table.filter(table.account.isin(scope.accounts))
    if scope.instances:
        table = table.filter(table.instance.isin(scope.instances))
    return with_unit(table, scope)


def with_unit(table: ibis.Table, scope: Scope) -> ibis.Table:
    """Return the table with a column for the scope's unit, which is that of each row unless it is everyone."""
    return table.mutate(everyone=ibis.literal("everyone")) if scope.unit == "everyone" else table


def restricts_use(scope: Scope) -> bool:
    """Tell whether `scope` names features, versions or clients."""
    return bool(scope.features or scope.versions or scope.clients)


def matching(table: ibis.Table, plan: Plan, scope: Scope) -> ibis.Table:
    """Return the rows of the features, versions and clients that `scope` names."""
    condition = matches(table, plan, scope)
    return table if condition is None else table.filter(condition)


def matches(table: ibis.Table, plan: Plan, scope: Scope) -> ibis.Value | None:
    """Return for each row whether it is of the features, versions and clients that `scope` names.

    Args:
        table: With version, source, and feature or name.
        plan: Says the feature of each name.
        scope: Names them.

    Returns:
        Never null; None where the scope names none.
    """
    conditions = []
    if scope.features and "feature" in table.columns:
        conditions.append(table.feature.isin(scope.features))
    elif scope.features:
        names = [name for name, event in plan.events.items() if event.feature in scope.features]
        conditions.append(table.name.isin(names))
    if scope.versions:
        conditions.append(table.version.isin(scope.versions))
    if scope.clients:
        conditions.append(table.source.isin(scope.clients))
    if not conditions:
        return None
    return functools.reduce(operator.and_, conditions).fill_null(False)  # noqa: FBT003 - the value it stands for


def within(table: ibis.Table, window: Window) -> ibis.Table:
    """Return the rows of the window's days, by the bare column `day`, so that an engine skips all other files."""
    return up_to(table, window.last).filter(lambda rows: rows.day >= ibis.literal(window.first))


def up_to(table: ibis.Table, last: date) -> ibis.Table:
    """Return the rows until the day `last`, included."""
    return table.filter(table.day <= ibis.literal(last))


def arrived_until(data_days: ibis.Table, last: date, scope: Scope) -> ibis.Table:
    """Return the rows of `Tables.data_days` until the day `last`, included.

    Where there is a row for each event, its bare time is compared, so that an engine skips files outside the bound and
    need not look at the times in those that lie wholly within.
    """
    if "time" not in data_days.columns:
        return up_to(data_days, last)
    if scope.zone == "UTC":
        return data_days.filter(data_days.time < midnight(last + timedelta(days=1)))
    return up_to(data_days.filter(data_days.time < midnight(last + timedelta(days=1), before=-WIDEST)), last)


def between(events: ibis.Table, first: date | None, last: date) -> ibis.Table:
    """Return the events from the UTC day `first` (None: the beginning) to `last`, both included.

    The bounds are compared with the bare column, so that an engine skips files and row groups outside them.
    """
    events = events.filter(events.time < midnight(last + timedelta(days=1)))
    return events if first is None else events.filter(events.time >= midnight(first))


def midnight(day: date, *, before: timedelta = timedelta(0)) -> ibis.Value:
    """Return the moment at which the UTC day `day` begins, or so much earlier."""
    return ibis.literal(datetime(day.year, day.month, day.day) - before, "timestamp(6)")  # noqa: DTZ001 - naive UTC, as in the lake
