"""The instance's half of the loss account, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.markup import escape
from rich.table import Table

from heliograph.difference import in_words
from heliograph.ledger.report import SAID, said
from heliograph.wire import total_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heliograph.event import Verdict
    from heliograph.instance.account import InstanceAccount
    from heliograph.ledger.entries import Acknowledged, Explained
    from heliograph.wire import VerdictCounts

_MOST_FAULTS: Final = 10
"""Faults of a word that are shown one by one."""


def account_table(account: InstanceAccount) -> Table:
    """Return a table with a line for each event name."""
    table = Table(
        title="Where every recorded event is",
        caption=f"{account.recorded:,} recorded, {account.accounted():,} accounted for"
        + (f", of which {account.undecided:,} without a receipt" if account.undecided else ""),
    )
    table.add_column("event")
    for heading in ("recorded", "delivered", "pending", "rejected", "dropped"):
        table.add_column(heading, justify="right")
    table.add_column("reasons")
    for name in account.names():
        table.add_row(
            name,
            f"{account.recorded_names.get(name, 0):,}",
            f"{account.delivered.get(name, 0):,}",
            f"{account.pending.get(name, 0):,}",
            f"{sum(account.rejected.get(name, {}).values()):,}",
            f"{sum(account.dropped.get(name, {}).values()):,}",
            _reasons(name, account.rejected, account.dropped),
        )
    table.add_section()
    table.add_row(
        "[bold]all[/bold]",
        f"[bold]{account.recorded:,}[/bold]",
        f"[bold]{sum(account.delivered.values()):,}[/bold]",
        f"[bold]{sum(account.pending.values()):,}[/bold]",
        f"[bold]{total_counts(account.rejected):,}[/bold]",
        f"[bold]{total_counts(account.dropped):,}[/bold]",
        "",
    )
    return table


def held_table(account: InstanceAccount) -> Table:
    """Return a table of the events that are set aside."""
    table = Table(
        title="Set aside: no plan has declared them yet",
        caption="Pending in the account above. They are sent if the vendor's plan declares them in time.",
    )
    table.add_column("event")
    table.add_column("events", justify="right")
    for name, count in sorted(account.held.items()):
        table.add_row(name, f"{count:,}")
    return table


def left_out_table(account: InstanceAccount) -> Table:
    """Return a table of the properties that were left out."""
    table = Table(title="Properties left out: the plan does not declare them")
    table.add_column("event")
    table.add_column("properties", justify="right")
    for name, count in sorted(account.left_out.items()):
        table.add_row(name, f"{count:,}")
    return table


def explained_table(entries: Sequence[Explained]) -> Table:
    """Return a table of what the admin has said of differences."""
    table = Table(title="Differences that are explained")
    for heading in (*SAID, "ranges"):
        table.add_column(heading)
    for entry in entries:
        table.add_row(*said(entry), "\n".join(map(in_words, entry.ranges)))
    return table


def acknowledged_table(words: Sequence[Acknowledged]) -> Table:
    """Return a table of what the admin has said of faults of the ledger."""
    table = Table(title="Faults of the ledger that are acknowledged")
    for heading in (*SAID, "faults"):
        table.add_column(heading)
    for word in words:
        shown = [*map(str, word.faults[:_MOST_FAULTS]), *["…"][: len(word.faults) - _MOST_FAULTS]]
        table.add_row(*said(word), escape("\n".join(shown)))
    return table


def _reasons(name: str, *counts: VerdictCounts) -> str:
    totals: dict[Verdict, int] = {}
    for part in counts:
        for verdict, count in part.get(name, {}).items():
            totals[verdict] = totals.get(verdict, 0) + count
    return ", ".join(f"{verdict} {count:,}" for verdict, count in totals.items())
