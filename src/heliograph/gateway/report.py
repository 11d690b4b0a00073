"""The vendor's half of the loss account, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from heliograph.difference import in_words
from heliograph.wire import total_counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from heliograph.gateway.account import Account


def account_table(accounts: Mapping[str, Account]) -> Table:
    """Return a table with a line for each instance and event name."""
    table = Table(title="What the gateway holds")
    table.add_column("instance")
    table.add_column("event")
    for heading in ("accepted", "rejected", "absent"):
        table.add_column(heading, justify="right")
    for instance, account in sorted(accounts.items()):
        for name in sorted({*account.accepted, *account.rejected, *account.absent}):
            table.add_row(
                instance,
                name,
                f"{account.accepted.get(name, 0):,}",
                f"{sum(account.rejected.get(name, {}).values()):,}",
                f"{sum(account.absent.get(name, {}).values()):,}",
            )
        if account.ping is not None:
            table.add_row(instance, f"[dim]the latest ping is of {account.ping.day}[/dim]")
        table.add_row(
            instance,
            "[bold]all[/bold]",
            f"[bold]{sum(account.accepted.values()):,}[/bold]",
            f"[bold]{total_counts(account.rejected):,}[/bold]",
            f"[bold]{total_counts(account.absent):,}[/bold]",
            end_section=True,
        )
    return table


def account_problems(accounts: Mapping[str, Account]) -> Iterator[str]:
    """Yield what does not add up, a line each."""
    for instance, account in sorted(accounts.items()):
        for each in account.differences:
            yield f"{instance}: the account differs: {in_words(each)}"
        if account.counted() != account.numbers():
            yield (
                f"{instance}: the account does not close: {account.numbers():,} numbers were delivered, "
                f"{account.counted():,} have an outcome"
            )
