"""Metrics built once for each lake that is open: to build an expression takes longer than to run most questions."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import ibis

    from heliograph.insights.scope import Scope
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan

_MOST: Final = 64
_QUARTER: Final = 15


def built_once(metric: Callable[..., ibis.Table]) -> Callable[..., ibis.Table]:
    """Return the metric, which gives the expression again that it has built of the same tables, plan, scope and rule.

    What is remembered is the question and not its answer. The moment of asking is told to the metric by the quarter of
    an hour, within which no time zone begins a day, so that it is the same question for a while.
    """

    @functools.wraps(metric)
    def build(tables: Tables, plan: Plan, scope: Scope, *, rule: msgspec.Struct | None = None) -> ibis.Table:
        asked = msgspec.structs.replace(scope, now=_quarter(scope.now))
        key = (metric, id(tables), id(plan), asked, rule)
        if key not in tables.built:
            if len(tables.built) >= _MOST:
                tables.built.clear()
            # With what is known by its address, which is nobody else's as long as it is kept.
            tables.built[key] = (metric(tables, plan, asked, rule=rule), tables, plan)
        expression: ibis.Table = tables.built[key][0]
        return expression

    return build


def _quarter(moment: datetime) -> datetime:
    return moment.replace(minute=moment.minute // _QUARTER * _QUARTER, second=0, microsecond=0)
