"""Earlier names of events: what was stored under one is read under the present name, and nothing is rewritten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heliograph.plan.changes import present_names

if TYPE_CHECKING:
    import ibis

    from heliograph.plan.model import Plan


def under_present_names(events: ibis.Table, plan: Plan) -> ibis.Table:
    """Return the events as if they had always been called what `plan` calls them; `events` itself without renames."""
    names = present_names(plan)
    return events.mutate(name=events.name.substitute(names)) if names else events
