"""What metrics read: the events, and the marts made of them. A metric is a function of these, a plan and a scope."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import ibis
import msgspec

from heliograph.lake.marts.definitions import all_marts, counted_events
from heliograph.lake.marts.tables import MARTS, SESSION_SPANS, SPAN_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heliograph.plan.model import Plan


class Tables(msgspec.Struct, frozen=True, kw_only=True):
    """The tables of one lake as of one moment, in one engine; `heliograph.lake.marts.definitions` says what each is."""

    events: ibis.Table
    """Those that questions count, under their present names."""
    user_days: ibis.Table
    user_feature_days: ibis.Table
    active_days: ibis.Table
    session_parts: ibis.Table
    session_spans: ibis.Table
    instance_days: ibis.Table
    filed_spans: ibis.Table | None = None
    """`session_spans` with `heliograph.lake.marts.tables.SPAN_FILE`; None: the engine does not tell."""
    kept: bool = False
    """Whether the marts are tables of their own; else each is made of all events whenever it is read."""
    event_days: ibis.Table | None = None
    """account, instance, `day` and `time` (UTC) of each event, where the marts are not kept: to make `instance_days`
    takes longer."""
    raw_from: date | None = None
    """The first UTC day of which all events are still there; None: none has run out. Marts may tell of earlier ones."""
    stored_events: int | None = None
    """How many events are stored, those that questions leave aside included; None: nobody has counted them."""
    pings: ibis.Table | None = None
    """The pings beside them, which alone tell how many people have access; None: not at hand."""
    built: dict[Any, tuple[ibis.Table, Any, Any]] = msgspec.field(default_factory=dict)
    """The metrics that were asked of them; see `heliograph.insights.building`."""

    def has_events_from(self, day: date, zone: str) -> bool:
        """Tell whether all events from a day of a time zone on are still there."""
        # A day of another zone than UTC may begin before the UTC day of the same date, or hold the end of one before.
        return self.raw_from is None or (day >= self.raw_from if zone == "UTC" else day > self.raw_from)

    @property
    def data_days(self) -> ibis.Table:
        """The account, instance and `day` (date) of all days on which anything arrived: a row or several for each."""
        return self.instance_days if self.event_days is None else self.event_days


def days_of_events(events: ibis.Table, local: ibis.Value | None = None) -> ibis.Table:
    """Return the account, instance, `day` (date) and `time` (UTC) of each event.

    Args:
        events: With times in UTC.
        local: The times by which they have their days; None: the same.
    """
    return events.select("account", "instance", "time", day=(events.time if local is None else local).cast("date"))


def defined_tables(events: ibis.Table, plan: Plan) -> Tables:
    """Return the marts as they are defined, made from all events whenever they are read.

    It is what kept marts have to be equal to, and what stands in where there are none.
    """
    counted = counted_events(events, plan)
    return Tables(events=counted, event_days=days_of_events(counted), **all_marts(counted, plan))


def kept_tables(opened: Mapping[str, ibis.Table], plan: Plan) -> Tables:
    """Return the marts that the loader keeps; where they cannot be had, as they are defined.

    Args:
        opened: What `heliograph.lake.marts.reading.read_lake` has found under the same plan, opened in some engine.
        plan: What the questions are asked with.
    """
    events = opened["events"]
    if any(mart.name not in opened for mart in MARTS):
        return defined_tables(events, plan)
    marts = {mart.name: opened[mart.name] for mart in MARTS}
    spans = marts[SESSION_SPANS.name]
    marts[SESSION_SPANS.name] = spans.select(*SESSION_SPANS.schema.names)
    filed = spans if SPAN_FILE in spans.columns else None
    return Tables(events=counted_events(events, plan), kept=True, filed_spans=filed, **marts)
