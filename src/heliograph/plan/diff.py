"""What a change of the plan does: what it newly collects, what it stops, and what of the past it would break.

The promise, which `tests/plan/test_diff.py` holds: whatever passes under the new plan and did not under the old,
under the same name or an earlier one, makes the diff tell of something newly collected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.plan.diff_kinds import Change, Effect, Kind, PlanDiff
from heliograph.plan.diff_values import COLUMNS, value_changes
from heliograph.plan.in_words import event_in_words, on_one_line, property_in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from heliograph.plan.model import Deprecation, EventDefinition, Fact, Plan, Property, Retirement
    from heliograph.plan.shape import Path

__all__ = ["Change", "Effect", "Kind", "PlanDiff", "plan_diff"]


def plan_diff(old: Plan, new: Plan) -> PlanDiff:
    """Return what changes from `old` to `new`: nothing for equal plans; the order of lists does not count."""
    changes = [change for step in STEPS for change in step(old, new)]
    changes += _version_changes(old, new, changes)
    return PlanDiff(old=old.label, new=new.label, changes=tuple(dict.fromkeys(changes)))


def predecessors(name: str, old: Plan, new: Plan) -> list[str]:
    """Return the events of the old plan that live on as `name` in the new one: itself, and those renamed to it."""
    former = [each for each in new.events[name].renamed_from if each in old.events and each not in new.events]
    return [each for each in (name, *former) if each in old.events]


def _plan_changes(old: Plan, new: Plan) -> Iterator[Change]:
    texts = {
        "heliograph_plan": Kind.FORMAT_CHANGED,
        "name": Kind.NAME_CHANGED,
        "description": Kind.DESCRIPTION_CHANGED,
    }
    for field, kind in texts.items():
        yield from _text_change(kind, (field,), _as_text(getattr(old, field)), _as_text(getattr(new, field)))
    yield from _text_change(Kind.SEARCHES_CHANGED, ("searches",), _as_text(old.searches), _as_text(new.searches))
    yield from _text_change(Kind.BUDGET_CHANGED, ("budget",), _as_text(old.budget), _as_text(new.budget))
    yield from _suppression_change((), old.suppress, new.suppress)


def _source_changes(old: Plan, new: Plan) -> Iterator[Change]:
    for source in new.sources:
        if source not in old.sources:
            yield Change(kind=Kind.SOURCE_ADDED, path=("sources",), new=source)
    for source in old.sources:
        if source not in new.sources:
            yield Change(kind=Kind.SOURCE_WITHDRAWN, path=("sources",), old=source)


def _feature_changes(old: Plan, new: Plan) -> Iterator[Change]:
    yield from _entry_changes(
        ("features",), old.features, new.features, added=Kind.FEATURE_ADDED, withdrawn=Kind.FEATURE_WITHDRAWN
    )


def _fact_changes(old: Plan, new: Plan) -> Iterator[Change]:
    yield from _value_mapping_changes(
        ("facts",), old.facts, new.facts, added=Kind.FACT_ADDED, withdrawn=Kind.FACT_WITHDRAWN
    )


def _event_changes(old: Plan, new: Plan) -> Iterator[Change]:
    continued = set()
    for name, event in new.events.items():
        path, former = ("events", name), predecessors(name, old, new)
        continued.update(former)
        if not former:
            yield from _added_event(path, event)
        for each in former:
            if each != name:
                yield Change(kind=Kind.EVENT_RENAMED, path=path, old=each, new=name)
            yield from _changed_event(path, old.events[each], event)
        yield from _former_name_changes(path, event, former, old)
    for name, event in old.events.items():
        if name not in continued:
            yield Change(kind=Kind.EVENT_WITHDRAWN, path=("events", name), old=_meaning(event))


def _added_event(path: Path, event: EventDefinition) -> Iterator[Change]:
    yield Change(kind=Kind.EVENT_ADDED, path=path, new=event_in_words(event))
    yield from _entry_changes((*path, "outcomes"), {}, event.outcomes, added=Kind.OUTCOME_ADDED)
    yield from _value_mapping_changes((*path, "properties"), {}, event.properties, added=Kind.PROPERTY_ADDED)


_EVENT_FIELDS: Final = {
    "description": Kind.DESCRIPTION_CHANGED,
    "question": Kind.QUESTION_CHANGED,
    "feature": Kind.FEATURE_CHANGED,
    "action": Kind.ACTION_CHANGED,
    "owner": Kind.OWNER_CHANGED,
    "added": Kind.ADDED_CHANGED,
    "expires": Kind.EXPIRY_CHANGED,
    "core": Kind.CORE_CHANGED,
    "active": Kind.ACTIVE_CHANGED,
    "rate": Kind.RATE_CHANGED,
}


def _changed_event(path: Path, old: EventDefinition, new: EventDefinition) -> Iterator[Change]:
    for field, kind in _EVENT_FIELDS.items():
        yield from _text_change(kind, path, _as_text(getattr(old, field)), _as_text(getattr(new, field)))
    yield from _suppression_change(path, old.suppress, new.suppress)
    yield from _text_change(Kind.DEPRECATION_CHANGED, path, _deprecation(old.deprecated), _deprecation(new.deprecated))
    yield from _entry_changes((*path, "outcomes"), old.outcomes, new.outcomes, added=Kind.OUTCOME_ADDED)
    yield from _value_mapping_changes((*path, "properties"), old.properties, new.properties)


def _former_name_changes(path: Path, event: EventDefinition, former: list[str], old: Plan) -> Iterator[Change]:
    """Yield the names that the event newly goes by, of which the old plan knew nothing, or something else."""
    known = {alias for each in former for alias in (each, *old.events[each].renamed_from)}
    for alias in event.renamed_from:
        if alias not in known:
            yield Change(kind=Kind.FORMER_NAME_ADDED, path=path, new=alias)


def _retirement_changes(old: Plan, new: Plan) -> Iterator[Change]:
    for name, retirement in new.retired.items():
        path, before = ("retired", name), old.retired.get(name)
        if before is None:
            yield Change(kind=Kind.EVENT_RETIRED, path=path, new=_retirement(retirement))
        else:
            yield from _text_change(Kind.RETIREMENT_CHANGED, path, _retirement(before), _retirement(retirement))


def _name_changes(old: Plan, new: Plan) -> Iterator[Change]:
    """Yield the names of earlier events that nobody could read any more, or would read as something else."""
    aliases_before = {alias for event in old.events.values() for alias in event.renamed_from}
    aliases = {alias for event in new.events.values() for alias in event.renamed_from}
    for name in dict.fromkeys((*old.events, *old.retired, *sorted(aliases_before))):
        if name not in new.events and name not in new.retired and name not in aliases:
            yield Change(kind=Kind.NAME_VANISHED, path=("events", name), old=name)
    for name in old.retired:
        if name in new.events or name in aliases:
            yield Change(kind=Kind.NAME_REUSED, path=("events", name), old="retired", new="an event")
    for name in sorted(aliases_before - old.events.keys()):
        if name in new.events:
            yield Change(kind=Kind.NAME_REUSED, path=("events", name), old="an earlier name", new="an event")


def _column_changes(old: Plan, new: Plan) -> Iterator[Change]:
    before = old.property_kinds()
    for name, kind in new.property_kinds().items():
        if name in before and COLUMNS[before[name]] != COLUMNS[kind]:
            path = ("properties", name)
            yield Change(kind=Kind.COLUMN_CHANGED, path=path, old=COLUMNS[before[name]], new=COLUMNS[kind])


def _version_changes(old: Plan, new: Plan, changes: list[Change]) -> Iterator[Change]:
    if new.name == old.name and (new.version < old.version or (changes and new.version == old.version)):
        kind = Kind.VERSION_NOT_RAISED
        yield Change(kind=kind, path=("version",), old=str(old.version), new=str(new.version))


STEPS: Final[tuple[Callable[[Plan, Plan], Iterator[Change]], ...]] = (
    _plan_changes,
    _source_changes,
    _feature_changes,
    _fact_changes,
    _event_changes,
    _retirement_changes,
    _name_changes,
    _column_changes,
)


def _entry_changes(
    path: Path, old: Mapping[str, str], new: Mapping[str, str], *, added: Kind, withdrawn: Kind = Kind.OUTCOME_WITHDRAWN
) -> Iterator[Change]:
    """Yield what differs between keys with a sentence each."""
    for key, text in new.items():
        if key not in old:
            yield Change(kind=added, path=(*path, key), new=on_one_line(text))
        else:
            yield from _text_change(Kind.DESCRIPTION_CHANGED, (*path, key), on_one_line(old[key]), on_one_line(text))
    for key, text in old.items():
        if key not in new:
            yield Change(kind=withdrawn, path=(*path, key), old=on_one_line(text))


def _value_mapping_changes(
    path: Path,
    old: Mapping[str, Property] | Mapping[str, Fact],
    new: Mapping[str, Property] | Mapping[str, Fact],
    *,
    added: Kind = Kind.PROPERTY_ADDED,
    withdrawn: Kind = Kind.PROPERTY_WITHDRAWN,
) -> Iterator[Change]:
    """Yield what differs between declared values."""
    for name, kind in new.items():
        below = (*path, name)
        if name not in old:
            yield Change(kind=added, path=below, new=property_in_words(kind))
            continue
        before = old[name]
        yield from value_changes(below, before, kind)
        yield from _text_change(
            Kind.DESCRIPTION_CHANGED, below, on_one_line(before.description), on_one_line(kind.description)
        )
        yield from _suppression_change(below, before.suppress, kind.suppress)
    for name, kind in old.items():
        if name not in new:
            yield Change(kind=withdrawn, path=(*path, name), old=property_in_words(kind))


def _text_change(kind: Kind, path: Path, old: str | None, new: str | None) -> Iterator[Change]:
    if old != new:
        yield Change(kind=kind, path=path, old=old, new=new)


def _suppression_change(path: Path, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    yield from _text_change(Kind.SUPPRESSION_CHANGED, (*path, "suppress"), _suppressions(old), _suppressions(new))


def _suppressions(reasons: Mapping[str, str]) -> str | None:
    return "; ".join(f"{rule}: {on_one_line(reason)}" for rule, reason in sorted(reasons.items())) or None


def _deprecation(deprecated: Deprecation | None) -> str | None:
    if deprecated is None:
        return None
    use = f" Record {deprecated.use} in its place." if deprecated.use else ""
    return f"since {deprecated.since}: {on_one_line(deprecated.reason)}{use}"


def _retirement(retired: Retirement) -> str:
    return f"until {retired.until}: {on_one_line(retired.reason)} It meant: {_meaning(retired)}"


def _meaning(event: EventDefinition | Retirement) -> str:
    return f"{on_one_line(event.description)} Feature: {event.feature}."


def _as_text(value: object) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case msgspec.Struct():
            parts = msgspec.structs.asdict(value).items()
            return ", ".join(f"{name}: {' '.join(each) if isinstance(each, tuple) else each}" for name, each in parts)
        case _:
            return on_one_line(str(value))
