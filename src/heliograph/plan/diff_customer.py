"""A difference between two plans for the customer's admin: plain sentences in Markdown on what leaves the instance.

Owners, questions and the like are the vendor's own affairs, and are left out: they change nothing that leaves.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from heliograph.plan.diff_kinds import Effect, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.plan.diff_kinds import Change, PlanDiff

SENTENCES: Final = {
    Kind.EVENT_ADDED: "A new event, **{name}**: {new}",
    Kind.PROPERTY_ADDED: "**{name}** tells `{part}` as well: {new}",
    Kind.OUTCOME_ADDED: "**{name}** can end with `{part}` as well: {new}",
    Kind.MEMBER_ADDED: "`{part}` of **{name}** can say `{new}` as well.",
    Kind.RANGE_WIDENED: "`{part}` of **{name}** can take values that it could not take. Before: {old}. Now: {new}.",
    Kind.PRECISION_FINER: "`{part}` of **{name}** is told more precisely, or otherwise. Before: {old}. Now: {new}.",
    Kind.BUCKETS_FINER: "`{part}` of **{name}** is told in other buckets. Before: {old}. Now: {new}.",
    Kind.VALUES_OTHER: "`{part}` of **{name}** has values of another type. Before: {old}. Now: {new}.",
    Kind.SOURCE_ADDED: "Events can come from another part of the product, and say so: `{new}`.",
    Kind.FEATURE_ADDED: "The ping counts the users and events of another feature, `{name}`: {new}",
    Kind.FACT_ADDED: "The ping tells `{name}` as well: {new}",
    Kind.FORMER_NAME_ADDED: "What the product records as `{new}` leaves as **{name}**.",
    Kind.EVENT_WITHDRAWN: "**{name}** does not leave any more.",
    Kind.PROPERTY_WITHDRAWN: "**{name}** does not tell `{part}` any more.",
    Kind.OUTCOME_WITHDRAWN: "**{name}** does not leave with the outcome `{part}` any more.",
    Kind.MEMBER_WITHDRAWN: "`{part}` of **{name}** does not say `{old}` any more.",
    Kind.RANGE_NARROWED: "`{part}` of **{name}** takes fewer values. Before: {old}. Now: {new}.",
    Kind.PRECISION_COARSER: "`{part}` of **{name}** is told less precisely. Before: {old}. Now: {new}.",
    Kind.BUCKETS_COARSER: "`{part}` of **{name}** is told in fewer buckets. Before: {old}. Now: {new}.",
    Kind.SOURCE_WITHDRAWN: "Events from the part of the product called `{old}` do not leave any more.",
    Kind.FEATURE_WITHDRAWN: "The ping does not count the feature `{name}` any more.",
    Kind.FACT_WITHDRAWN: "The ping does not tell `{name}` any more.",
    Kind.EVENT_RENAMED: "What was called **{old}** is called **{new}**, earlier events included.",
    Kind.FEATURE_CHANGED: "The ping counts **{name}** with the feature `{new}`, no longer with `{old}`.",
    Kind.ACTIVE_CHANGED: "Whether **{name}** makes its user active, as the ping counts it. Before: {old}. Now: {new}.",
}
"""What an admin is told of each kind; of others nothing, as they change nothing that leaves."""

OTHERWISE: Final = (Kind.EVENT_RENAMED, Kind.FEATURE_CHANGED, Kind.ACTIVE_CHANGED)

LEVELS: Final = (
    "Events leave your instance only while its level is `events`; the ping also at `critical`; at `off`, nothing. "
    "`heliograph agent level` shows your level, and lowers it at any time."
)
NOTHING_ELSE: Final = "Nothing else that leaves your instance changes."

_SPECIAL: Final = re.compile(r"([\\*_\[\]<>#|])")


def as_markdown(diff: PlanDiff) -> str:
    """Return the difference as an admin reads it, in Markdown."""
    sections = {
        "What will newly leave your instance": diff.with_effect(Effect.COLLECTED),
        "What stops": diff.with_effect(Effect.STOPPED),
        "What is called or counted otherwise": [change for change in diff.changes if change.kind in OTHERWISE],
    }
    parts = [f"# What changes from {diff.old} to {diff.new}"]
    for title, changes in sections.items():
        if changes:
            parts += [f"## {title}", "\n".join(_items(changes))]
    told = len(parts) > 1
    parts += [NOTHING_ELSE if told else "Nothing that leaves your instance changes.", LEVELS]
    return "\n\n".join(parts) + "\n"


def _items(changes: list[Change]) -> Iterator[str]:
    added = {change.path[1] for change in changes if change.kind is Kind.EVENT_ADDED}
    for change in changes:
        # What a new event can say belongs to it, and stands below it.
        is_part = change.kind is not Kind.EVENT_ADDED and change.path[0] == "events" and change.path[1] in added
        yield f"{'  ' if is_part else ''}* {_sentence(change)}"


def _sentence(change: Change) -> str:
    kind, path = change.kind, change.path
    template = SENTENCES[kind]
    if path[0] == "facts":
        template = template.replace("**{name}**", "the ping")
    name, part = path[1] if len(path) > 1 else "", path[-1]
    old, new = (_plain(text or "") for text in (change.old, change.new))
    return template.format(name=name, part=part, old=old, new=new)


def _plain(text: str) -> str:
    """Return a text of the plan so that Markdown shows it as it is."""
    return _SPECIAL.sub(r"\\\1", text.replace("`", "'"))
