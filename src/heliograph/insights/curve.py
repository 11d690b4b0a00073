"""The power-user curve: how many users are active on exactly k of the days, and on k or more.

It is the histogram that is also called L28, or the smile where many users are active on nearly all days.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import ibis
import msgspec
from msgspec import Meta

from heliograph.insights.activity import MONTH, use
from heliograph.insights.filters import scoped
from heliograph.insights.known_days import first_days, told_complete
from heliograph.insights.scope import Scope, checked

if TYPE_CHECKING:
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan


class CurveRule(msgspec.Struct, frozen=True, kw_only=True):
    """How long the curve is."""

    days: Annotated[int, Meta(ge=1, le=366)] = MONTH
    """Days that count, up to the scope's last, where the scope has no first day."""


def active_days(tables: Tables, plan: Plan, scope: Scope, *, rule: CurveRule | None = None) -> ibis.Table:
    """Return for each user active in the days that count on how many of them.

    Returns:
        The unit, user_id, `active_days` (from 1).
    """
    rule = checked(rule or CurveRule())
    used = use(scoped(tables, plan, scope), scope.window(rule.days))
    return used.group_by([scope.unit, "user_id"]).agg(active_days=used.day.nunique())


def power_user_curve(tables: Tables, plan: Plan, scope: Scope, *, rule: CurveRule | None = None) -> ibis.Table:
    """Return how many users of each unit were active on exactly k of the days, for every k from 1 to all of them.

    All `users` together are the users active in the days, and all of ``active_days * users`` the sum of their daily
    active users.

    Returns:
        The unit, `active_days` (k), `users` (active on exactly k days), `reach` (on k or more), `share` (of the users
        active at all, those on exactly k days; null where there are none), and `complete`: whether all of the days
        are over, and lie after the unit's data began.
    """
    rule = checked(rule or CurveRule())
    window = scope.window(rule.days)
    known = scoped(tables, plan, scope)
    days = active_days(tables, plan, scope, rule=rule)
    counts = days.group_by([scope.unit, "active_days"]).agg(users=days.count())
    units = first_days(known, scope).select(scope.unit, active_days=ibis.range(1, window.days + 1).unnest())
    table = units.left_join(counts, [scope.unit, "active_days"]).select(
        scope.unit, "active_days", users=lambda joined: joined.users.fill_null(0)
    )
    from_most = ibis.window(group_by=scope.unit, order_by=ibis.desc("active_days"), preceding=None, following=0)
    table = table.mutate(
        reach=table.users.sum().over(from_most),
        share=table.users / table.users.sum().over(group_by=scope.unit).nullif(0),
    )
    return told_complete(table, known, scope, window).order_by([scope.unit, "active_days"])
