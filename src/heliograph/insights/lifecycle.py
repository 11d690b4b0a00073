"""Who is new, who returns, who comes back after a pause, and who falls silent?

The states are those of *growth accounting*: whoever is active in a period is new, returning or resurrecting, and
whoever was active in the period before and is not now has fallen dormant, so that from one period to the next

    active = active before - dormant + new + resurrecting
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import ibis
import msgspec

from heliograph.insights.activity import use_up_to, user_days
from heliograph.insights.filters import scoped
from heliograph.insights.known_days import first_days
from heliograph.insights.scope import Scope, checked, day_date, number_of

if TYPE_CHECKING:
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan


class LifecycleRule(msgspec.Struct, frozen=True, kw_only=True):
    """How long a period is."""

    period_days: Literal[1, 7, 28] = 7
    """Days of a period; the last one ends with the scope's last day, so that none is cut short by it."""


def lifecycle(tables: Tables, plan: Plan, scope: Scope, *, rule: LifecycleRule | None = None) -> ibis.Table:
    """Return for each period since the data began how many users were in each state.

    Returns:
        The unit, `period` (the date on which it begins), `active` = `new` (first ever active, by the use that the
        filters leave) + `returning` (active in the period before, too) + `resurrecting` (active once, but not in the
        period before); `dormant` (active in the period before, and not in this), `inactive` (all who were active once,
        and not in this), and `complete`: whether the period is over and lies after the unit's data began. In the
        first of them everybody is new.
    """
    rule = checked(rule or LifecycleRule())
    tables = scoped(tables, plan, scope)
    days, last = user_days(use_up_to(tables, scope), scope), number_of(scope.until)
    active = days.select(scope.unit, "user_id", ago=(last - days.day) // rule.period_days).distinct()
    keys = [scope.unit, "ago"]
    table = _periods(tables, scope, rule)
    for counts in (_arrivals(active, scope), _departures(active, scope)):
        table = table.left_join(counts, keys).select(*table.columns, *(set(counts.columns) - set(keys)))
    table = table.fill_null(dict.fromkeys(("active", "new", "returning", "resurrecting", "dormant"), 0))
    to_now = ibis.window(group_by=scope.unit, order_by=ibis.desc("ago"), preceding=None, following=0)
    begins = last - (table.ago + 1) * rule.period_days + 1
    table = table.mutate(
        begins=begins,
        inactive=table.new.sum().over(to_now) - table.active,
        complete=(begins >= table.first_day) & (begins + rule.period_days - 1 < number_of(scope.today)),
    )
    if scope.since is not None:
        table = table.filter(table.begins >= number_of(scope.since))
    return (
        table.select(
            scope.unit,
            "active",
            "new",
            "returning",
            "resurrecting",
            "dormant",
            "inactive",
            "complete",
            period=day_date(table.begins),
        )
        .relocate("period", after=scope.unit)
        .order_by([scope.unit, "period"])
    )


def _periods(scoped_tables: Tables, scope: Scope, rule: LifecycleRule) -> ibis.Table:
    """Return the unit, `first_day` and `ago` of each period since the data began: 0 is the latest."""
    begun = first_days(scoped_tables, scope)
    number = (number_of(scope.until) - begun.first_day) // rule.period_days + 1
    return begun.select(scope.unit, "first_day", ago=ibis.range(ibis.literal(0, "int64"), number).unnest())


def _arrivals(active: ibis.Table, scope: Scope) -> ibis.Table:
    earlier = active.ago.lag().over(ibis.window(group_by=[scope.unit, "user_id"], order_by=ibis.desc("ago")))
    table = active.mutate(earlier=earlier)
    return table.group_by([scope.unit, "ago"]).agg(
        active=table.count(),
        new=table.count(where=table.earlier.isnull()),
        returning=table.count(where=table.earlier == table.ago + 1),
        resurrecting=table.count(where=table.earlier > table.ago + 1),
    )


def _departures(active: ibis.Table, scope: Scope) -> ibis.Table:
    # The next period is looked up as the preceding row of the descending order: quicker in both engines.
    later = active.ago.lag().over(ibis.window(group_by=[scope.unit, "user_id"], order_by="ago"))
    table = active.mutate(later=later)
    left = table.filter(table.later.isnull() | (table.later < table.ago - 1))
    left = left.select(scope.unit, ago=left.ago - 1)
    return left.group_by([scope.unit, "ago"]).agg(dormant=left.count())
