"""Which days there is data of, and whether a window of days lies wholly within them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis

from heliograph.insights.filters import arrived_until
from heliograph.insights.scope import Scope, Window, number_of

if TYPE_CHECKING:
    from datetime import date

    from heliograph.insights.tables import Tables


def first_days(scoped_tables: Tables, scope: Scope) -> ibis.Table:
    """Return the unit and `first_day` (a number): the day of its first event of any kind, until the scope's last."""
    days = arrived_until(scoped_tables.data_days, scope.until, scope)
    return days.group_by(scope.unit).agg(first_day=days.day.min().epoch_days().cast("int64"))


def calendar(scoped_tables: Tables, scope: Scope) -> ibis.Table:
    """Return each unit's days from its first event of any kind to the scope's last: unit, `day`, `first_day`."""
    begun = first_days(scoped_tables, scope)
    return begun.select(scope.unit, "first_day", day=ibis.range(begun.first_day, number_of(scope.until) + 1).unnest())


def shown(table: ibis.Table, scope: Scope) -> ibis.Table:
    """Return the rows whose `day` (a number) is one that is answered for."""
    return table if scope.since is None else table.filter(table.day >= number_of(scope.since))


def told_complete(table: ibis.Table, scoped_tables: Tables, scope: Scope, window: Window) -> ibis.Table:
    """Return `table` with `complete`: whether all days of the window are over, and lie after the unit's data began.

    Args:
        table: With the unit's column; several rows of a unit get the same.
        scoped_tables: As `heliograph.insights.filters.scoped` returns them.
        scope: Says the unit, and the day in progress.
        window: The days that the table is about.
    """
    known = told_known(table, scoped_tables, scope, window)
    return known.select(*table.columns, complete=known.known & ibis.literal(window.last < scope.today))


def told_known(table: ibis.Table, scoped_tables: Tables, scope: Scope, window: Window) -> ibis.Table:
    """Return `table` with `known`: whether the unit's data began no later than on the window's first day.

    Only what arrived until then is looked at, which is often little: not since when there is data.

    Args:
        table: With the unit's column; several rows of a unit get the same.
        scoped_tables: As `heliograph.insights.filters.scoped` returns them.
        scope: Says the unit.
        window: The days that the table is about.
    """
    early = units(scoped_tables, scope, window.first).mutate(known=ibis.literal(True))  # noqa: FBT003 - the value
    joined = table.left_join(early, scope.unit)
    return joined.select(*table.columns, known=joined.known.fill_null(False))  # noqa: FBT003 - the value it stands for


def units(scoped_tables: Tables, scope: Scope, last: date) -> ibis.Table:
    """Return each unit of which anything arrived until the day `last`, included."""
    rows = arrived_until(scoped_tables.data_days, last, scope).select(scope.unit)
    return rows.limit(1) if scope.unit == "everyone" else rows.distinct()
