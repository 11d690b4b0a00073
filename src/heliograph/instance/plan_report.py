"""By which plan an instance sends, since when, and what each update changed: for the admin, without asking anybody."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec
from rich.table import Table

from heliograph.plan.changes import PlanChanges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heliograph.instance.plan_table import PlanUpdate
    from heliograph.plan.model import Plan


class PlanReport(msgspec.Struct, frozen=True, kw_only=True):
    """The plan in force."""

    plan: str
    """Its name and version."""
    digest: str | None
    """SHA-256 of the vendor's plan in canonical form, as its policy names it; None before it was heard."""
    follows: Literal["vendor", "pinned"]
    """`agent.plan_updates`."""
    since: datetime | None
    """Since when it is in force; None before the vendor's was heard."""
    events: list[str]
    """What may leave."""
    changes: PlanChanges | None
    """What the last update changed."""


def read_report(plan: Plan, history: Sequence[PlanUpdate], follows: Literal["vendor", "pinned"]) -> PlanReport:
    """Return the report on the plan in force."""
    latest = history[-1] if history else None
    return PlanReport(
        plan=plan.label,
        digest=None if latest is None else latest.digest,
        follows=follows,
        since=None if latest is None else latest.since,
        events=list(plan.events),
        changes=None if latest is None else latest.changes,
    )


def plan_lines(report: PlanReport) -> list[str]:
    """Return the report for people, a line each."""
    if report.since is None:
        return [
            f"{report.plan}, this instance's own file, until the vendor's plan is heard; nothing leaves before that.",
        ]
    limit = ", as far as this instance's own plan.file declares the same" if report.follows == "pinned" else ""
    return [
        f"{report.plan}, the vendor's plan{limit}, since {report.since:%Y-%m-%d %H:%M:%S} UTC",
        f"digest {report.digest}",
        f"events that may leave: {', '.join(report.events) or 'none'}",
        *(f"the last update: {line}" for line in change_lines(report.changes or PlanChanges())),
        "what each plan says: --write FILE, with --before 1 for the one before; `heliograph plan diff` compares two",
    ]


def change_lines(changes: PlanChanges) -> list[str]:
    """Return what an update changed, a line for each kind of change."""
    lines = [
        ("may leave now", ", ".join(changes.declared)),
        ("may leave no more", ", ".join(changes.withdrawn)),
        ("renamed", ", ".join(f"{old} to {new}" for old, new in changes.renamed.items())),
        ("properties that may leave now", _by_event(changes.properties)),
        ("properties that may leave no more", _by_event(changes.withdrawn_properties)),
        ("other values than before", ", ".join(changes.redefined)),
        ("facts that may be told now", ", ".join(changes.facts)),
        ("facts that may be told no more", ", ".join(changes.withdrawn_facts)),
    ]
    return [f"{what}: {names}" for what, names in lines if names] or ["nothing by name"]


def history_table(history: Sequence[PlanUpdate]) -> Table:
    """Return every plan of the vendor's that was in force here."""
    table = Table(title="The plans by which this instance has sent")
    for heading in ("since (UTC)", "plan", "digest", "what it changed"):
        table.add_column(heading)
    for update in history:
        changes = "\n".join(change_lines(update.changes))
        table.add_row(f"{update.since:%Y-%m-%d %H:%M:%S}", update.label, update.digest[:12], changes)
    return table


def _by_event(properties: dict[str, tuple[str, ...]]) -> str:
    return "; ".join(f"{event}: {', '.join(names)}" for event, names in properties.items())
