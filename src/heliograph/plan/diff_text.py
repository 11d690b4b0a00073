"""A difference between two plans for a reviewer: text by effect, what is newly collected first; and JSON."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from heliograph.plan.diff_kinds import Effect, Kind
from heliograph.plan.problem import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from heliograph.plan.diff_kinds import Change, PlanDiff

MARKS: Final = {
    Effect.COLLECTED: "+",
    Effect.STOPPED: "-",
    Effect.HISTORY: ">",
    Effect.MEANING: "~",
    Effect.BREAKING: "!",
}
REMEDIES: Final = {
    Kind.NAME_VANISHED: "Keep it under `retired`, or under `renamed_from` of the event that goes on with its history.",
    Kind.NAME_REUSED: "Give the event another name.",
    Kind.COLUMN_CHANGED: "Give the property another name: the column of the old one stays as it is.",
    Kind.VERSION_NOT_RAISED: "Raise `version`: it labels what is stored, and instances take a plan by it.",
}
"""What to do about each kind that breaks something."""
_SUBJECT: Final = 2
"""The parts of a path that name an event, a fact or a feature."""


def as_text(diff: PlanDiff, *, bits: Mapping[str, str] | None = None) -> str:
    """Return the difference as a reviewer reads it.

    Args:
        diff: The difference.
        bits: For an event by name, what it can tell, in words; see `heliograph.plan.budget`.
    """
    return "\n".join(_lines(diff, bits or {})) + "\n"


def _lines(diff: PlanDiff, bits: Mapping[str, str]) -> Iterator[str]:
    counts = [f"{len(found)} {effect}" for effect in Effect if (found := diff.with_effect(effect))]
    yield f"{diff.old} → {diff.new}: {', '.join(counts) or 'no difference'}"
    for effect in Effect:
        found = diff.with_effect(effect)
        if found:
            yield ""
            yield effect.capitalize()
        for subject, changes in groupby(found, key=_subject):
            known = bits.get(subject[1]) if effect is Effect.COLLECTED and subject[:1] == ("events",) else None
            yield f"  {printable('.'.join(subject))}{f' ({known})' if known else ''}"
            yield from (f"    {MARKS[effect]} {printable(_said(change))}" for change in changes)


def _subject(change: Change) -> tuple[str, ...]:
    return change.path[:_SUBJECT]


def _said(change: Change) -> str:
    """Say what changed: the rest of its path, its kind, and what was said before and after."""
    rest = ".".join(change.path[_SUBJECT:])
    values = " → ".join(value for value in (change.old, change.new) if value is not None)
    if change.kind.effect is Effect.MEANING and None in (change.old, change.new):
        values = f"{change.old or 'none'} → {change.new or 'none'}"
    remedy = f". {REMEDIES[change.kind]}" if change.kind in REMEDIES else ""
    return f"{rest and f'{rest}: '}{change.kind.words}: {values}{remedy}"


def as_json(diff: PlanDiff) -> dict[str, Any]:
    """Return the difference as values that JSON can hold."""
    return {
        "old": diff.old,
        "new": diff.new,
        "collects_more": diff.collects_more,
        "breaks": diff.breaks,
        "changes": [
            {
                "kind": change.kind.code,
                "effect": change.kind.effect.name.lower(),
                "path": change.where,
                "old": change.old,
                "new": change.new,
            }
            for change in diff.changes
        ],
    }
