"""What an update of the plan changes, by name: for logs, and for the admin's history of what was declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection

    from heliograph.plan.model import Plan


class PlanChanges(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one plan declares, and another did not, or the other way round."""

    declared: tuple[str, ...] = ()
    """Events that may be collected now."""
    withdrawn: tuple[str, ...] = ()
    """Events that may be collected no more."""
    renamed: dict[str, str] = {}
    """Present names by earlier ones."""
    properties: dict[str, tuple[str, ...]] = {}
    """Properties that may be collected now, by event."""
    withdrawn_properties: dict[str, tuple[str, ...]] = {}
    """Properties that may be collected no more, by event."""
    redefined: tuple[str, ...] = ()
    """Events whose properties or outcomes may have other values than before."""
    facts: tuple[str, ...] = ()
    """Facts that may be told now."""
    withdrawn_facts: tuple[str, ...] = ()
    """Facts that may be told no more."""

    def told(self) -> dict[str, object]:
        """Return those parts that say something, by name."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name))}


def present_names(plan: Plan) -> dict[str, str]:
    """Return the present name of each event by its earlier ones."""
    return {
        earlier: name
        for name, event in plan.events.items()
        for earlier in event.renamed_from
        if earlier not in plan.events
    }


def plan_changes(before: Plan | None, after: Plan) -> PlanChanges:
    """Return what `after` changes; None before it: nothing was declared."""
    present = present_names(after)
    events = {} if before is None else {present.get(name, name): event for name, event in before.events.items()}
    known = set() if before is None else {*before.events}
    kept = [name for name in after.events if name in events]
    added = {name: _beyond(after.events[name].properties, events[name].properties) for name in kept}
    removed = {name: _beyond(events[name].properties, after.events[name].properties) for name in kept}
    facts = {} if before is None else before.facts
    return PlanChanges(
        declared=tuple(name for name in after.events if name not in events),
        withdrawn=tuple(name for name in events if name not in after.events),
        renamed={old: new for old, new in present.items() if old in known},
        properties={name: names for name, names in added.items() if names},
        withdrawn_properties={name: names for name, names in removed.items() if names},
        redefined=tuple(
            name
            for name in kept
            if (after.events[name].outcomes.keys() != events[name].outcomes.keys())
            or any(
                kind != events[name].properties.get(key, kind) for key, kind in after.events[name].properties.items()
            )
        ),
        facts=_beyond(after.facts, facts),
        withdrawn_facts=_beyond(facts, after.facts),
    )


def _beyond(names: Collection[str], others: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in others)
