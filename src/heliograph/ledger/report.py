"""The ledger, and what comparing it has come to, as tables for people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from rich.markup import escape
from rich.table import Table

from heliograph.ledger.entries import (
    Acknowledged,
    Begun,
    CarriedOver,
    EndsExplained,
    ErasureSent,
    ErasureSettled,
    Explained,
    Moved,
    PingSent,
    PingSettled,
    Refused,
    Sent,
    Settled,
)
from heliograph.ledger.receipts import ReceiptError, read_receipt
from heliograph.wire import total_counts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heliograph.ledger.entries import Entry
    from heliograph.ledger.reconcile import Delivery, Reconciled, Totals
    from heliograph.ledger.verify import Verified

_MOST_SHOWN: Final = 50
"""Deliveries of which a table tells one by one."""
SAID: Final = ("since", "by", "why")
"""The headings of what `said` returns."""


class Word(Protocol):
    """What a person has said of something that differs, or is at fault."""

    @property
    def time(self) -> int:
        """Microseconds since 1970."""

    @property
    def by(self) -> str:
        """Who says so."""

    @property
    def reason(self) -> str:
        """How it came to be."""


def said(word: Word) -> tuple[str, str, str]:
    """Return when a word was said, by whom, and why, as cells of a table."""
    return _moment(word.time), escape(word.by), escape(word.reason)


def entries_table(entries: Iterable[tuple[int, Entry]]) -> Table:
    """Return a table of entries."""
    table = Table(title="What left this instance", title_justify="left")
    table.add_column("entry", justify="right")
    for heading in ("time", "kind", "epoch"):
        table.add_column(heading)
    table.add_column("numbers", justify="right")
    table.add_column("what")
    for number, entry in entries:
        epoch = getattr(entry, "epoch", None)
        kind = str(entry.__struct_config__.tag).replace("_", " ")
        table.add_row(
            str(number), _moment(entry.time), kind, "" if epoch is None else str(epoch), _numbers(entry), _what(entry)
        )
    return table


def _moment(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _numbers(entry: Entry) -> str:
    match entry:
        case Sent() | Settled() | CarriedOver() | Refused():
            return f"{entry.first:,}-{entry.last:,}"
        case Moved():
            return f"{entry.expected:,}"
        case PingSent() | PingSettled():
            return entry.day.isoformat()
        case _:
            return ""


def _what(entry: Entry) -> str:  # noqa: C901, PLR0911 - a table of kinds
    match entry:
        case Sent():
            events = sum(entry.events.values())
            stayed = total_counts(entry.absent)
            return f"{events:,} events, {stayed:,} stayed; {entry.size:,} bytes, SHA-256 {entry.digest[:16]}…"
        case Settled() | CarriedOver():
            return _receipt(entry)
        case Refused():
            return f"{entry.reason}: {entry.outcome.replace('_', ' ')}"
        case Moved():
            return f"the gateway expected {entry.expected:,}, and {entry.acknowledged + 1:,} would have come next"
        case PingSent():
            return f"{entry.size:,} bytes, SHA-256 {entry.digest[:16]}…"
        case PingSettled():
            return "signed receipt" if entry.signature else entry.refused or "held already"
        case ErasureSent():
            return f"SHA-256 {entry.digest[:16]}…"
        case ErasureSettled():
            return entry.erasure
        case Explained() | EndsExplained() | Acknowledged():
            return escape(f"{entry.by}: {entry.reason}")
        case Begun():
            return f"ledger {entry.ledger}"


def _receipt(entry: Settled | CarriedOver) -> str:
    try:
        receipt = read_receipt(entry)
    except ReceiptError as error:
        return f"its receipt {error}"
    accepted, rejected = sum(receipt.accepted.values()), total_counts(receipt.rejected)
    signed = "signed" if entry.signature else "not signed"
    return f"{accepted:,} accepted, {rejected:,} rejected; {signed}"


def verified_table(verified: Verified) -> Table:
    """Return a table of what was verified."""
    table = Table(title="Verified", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    for name, count in (
        ("entries in the chain", verified.entries),
        ("deliveries with a receipt", verified.deliveries),
        ("signatures of the vendor's", verified.signatures),
        ("kept bytes with the digest that was sent", verified.bodies),
        ("problems", len(verified.problems)),
    ):
        table.add_row(name, f"{count:,}")
    return table


def kinds_table(result: Reconciled) -> Table:
    """Return a table of how many deliveries there are of each kind."""
    table = Table(title="Deliveries", title_justify="left")
    table.add_column("kind")
    table.add_column("deliveries", justify="right")
    table.add_column("")
    for kind, count in result.count().items():
        needs = "needs a person" if count and kind.needs_a_person else ""
        table.add_row(kind.value.replace("_", " "), f"{count:,}", needs)
    return table


def deliveries_table(deliveries: Iterable[Delivery]) -> Table:
    """Return a table of single deliveries, the first of them."""
    table = Table(title="Which", title_justify="left")
    for heading in ("kind", "epoch", "numbers", "entry", "why"):
        table.add_column(heading)
    for each in list(deliveries)[:_MOST_SHOWN]:
        entry = "" if each.entry is None else str(each.entry)
        kind = each.kind.value.replace("_", " ")
        table.add_row(kind, str(each.epoch), f"{each.first:,}-{each.last:,}", entry, each.why)
    return table


def totals_table(result: Reconciled) -> Table:
    """Return a table of both ends' totals, by event."""
    table = Table(title="Events, by receipts here and by what the vendor holds", title_justify="left")
    table.add_column("event")
    for heading in ("accepted here", "there", "rejected here", "there"):
        table.add_column(heading, justify="right")
    table.add_column("stayed here, by reason")
    for name in sorted(result.ours.keys() | result.theirs.keys()):
        here, there = result.ours.get(name), result.theirs.get(name)
        table.add_row(
            name,
            *(f"{each.accepted if each else 0:,}" for each in (here, there)),
            *(f"{each.rejected if each else 0:,}" for each in (here, there)),
            _excluded(here or there),
        )
    return table


def _excluded(totals: Totals | None) -> str:
    return "" if totals is None else ", ".join(f"{verdict} {count:,}" for verdict, count in totals.excluded.items())
