"""The vendor's half of the loss account, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from heliograph.difference import in_words
from heliograph.ledger.report import SAID, said
from heliograph.wire import total_counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from heliograph.gateway.account import Account
    from heliograph.gateway.explaining import Explanation, Explanations


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


def account_problems(accounts: Mapping[str, Account], explanations: Explanations) -> Iterator[str]:
    """Yield what does not add up and nobody has explained, a line each."""
    yield from explanations.problems
    for instance, account in sorted(accounts.items()):
        if not explanations.open_differences(instance, account):
            continue
        for each in explanations.open_ranges(instance, account):
            yield f"{instance}: the account differs: {in_words(each)}"
        yield (
            f"{instance}: the account does not close: {account.numbers():,} numbers were delivered, "
            f"{account.counted():,} have an outcome, and {account.difference_count:,} ranges were found to differ"
        )


def explained_table(words: Sequence[Explanation]) -> Table:
    """Return a table of what was said of differences."""
    table = Table(title="Differences that are explained")
    for heading in ("instance", *SAID, "ranges"):
        table.add_column(heading)
    for word in words:
        table.add_row(word.instance, *said(word), "\n".join(map(in_words, word.ranges)))
    return table
