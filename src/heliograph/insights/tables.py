"""What metrics read: the events, and the marts made of them. A metric is a function of these, a plan and a scope."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
import msgspec

from heliograph.lake.marts.definitions import (
    counted_events,
    instance_days,
    session_parts,
    user_days,
    user_feature_days,
)

if TYPE_CHECKING:
    from heliograph.plan.model import Plan


class Tables(msgspec.Struct, frozen=True, kw_only=True):
    """The tables of one lake as of one moment, in one engine; `heliograph.lake.marts.definitions` says what each is."""

    events: ibis.Table
    """Those that questions count, under their present names."""
    user_days: ibis.Table
    user_feature_days: ibis.Table
    session_parts: ibis.Table
    instance_days: ibis.Table
    pings: ibis.Table | None = None
    """The pings beside them, which alone tell how many people have access; None: not at hand."""


def defined_tables(events: ibis.Table, plan: Plan) -> Tables:
    """Return the marts as they are defined, made from all events whenever they are read.

    It is what kept marts have to be equal to, and what stands in where there are none.
    """
    counted = counted_events(events, plan)
    days = user_days(counted, plan)
    return Tables(
        events=counted,
        user_days=days,
        user_feature_days=user_feature_days(days, plan),
        session_parts=session_parts(counted, plan),
        instance_days=instance_days(days, plan),
    )
