"""Both ends' accounts beside each other, by name: what the receipts here say, and what the gateway says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.table import Table

from heliograph.difference import Counts, add, subtract
from heliograph.instance.counted import by_name, receipt_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heliograph.instance.progress import Progress
    from heliograph.instance.state import State
    from heliograph.instance.transport import GatewayAccount


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One event name at both ends."""

    name: str
    accepted_here: int
    accepted_there: int
    other_here: int
    """Rejected by the gateway, or told to it as absent."""
    other_there: int
    on_its_way: int
    """Taken by the gateway, while the receipt is not here yet."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Both ends of one instance."""

    rows: list[Row]
    differences: list[str]
    undecided: int
    """Numbers of which only the gateway knows what became of them."""


def compare(state: State, theirs: GatewayAccount) -> Comparison:
    """Hold this end against what the gateway says.

    What has arrived there and has no receipt here yet is told apart, as long as it is one delivery of an epoch.
    """
    progresses = state.all_progress()
    delivered: Counts = {}
    other: Counts = {}
    undecided: Counts = {}
    for epoch, progress in progresses.items():
        counted = state.counted(epoch, progress)
        delivered = add(delivered, counted.delivered)
        other = add(other, by_name(counted.rejected), by_name(counted.absent))
        undecided = add(undecided, counted.undecided)
    on_its_way = _on_its_way(progresses, theirs)
    accepted_there = theirs.accepted
    other_there = add(by_name(theirs.rejected), by_name(theirs.absent))
    names = sorted({*delivered, *other, *undecided, *accepted_there, *other_there})
    rows = [
        Row(
            name=name,
            accepted_here=delivered.get(name, 0),
            accepted_there=accepted_there.get(name, 0),
            other_here=other.get(name, 0),
            other_there=other_there.get(name, 0),
            on_its_way=on_its_way.get(name, 0),
        )
        for name in names
    ]
    here = add(delivered, other, undecided, on_its_way)
    differences = [
        f"{name}: {here.get(name, 0):,} here, and {here.get(name, 0) - missing:,} at the gateway"
        for name, missing in sorted(subtract(here, add(accepted_there, other_there)).items())
    ]
    if not undecided and not on_its_way:
        differences += [
            f"{row.name}: accepted {row.accepted_here:,} here, and {row.accepted_there:,} at the gateway"
            for row in rows
            if row.accepted_here != row.accepted_there
        ]
    differences += _ranges(progresses, theirs)
    return Comparison(rows=rows, differences=differences, undecided=sum(undecided.values()))


def _on_its_way(progresses: Mapping[int, Progress], theirs: GatewayAccount) -> Counts:
    found: Counts = {}
    for epoch, receipt in theirs.latest.items():
        progress = progresses.get(epoch)
        if receipt.first == (1 if progress is None else progress.acknowledged + 1):
            found = add(found, receipt_names(receipt))
    return found


def _ranges(progresses: Mapping[int, Progress], theirs: GatewayAccount) -> list[str]:
    """Return which numbers of which epoch one end has, and the other has not."""
    found = []
    for epoch in sorted({*progresses, *theirs.latest}):
        progress, receipt = progresses.get(epoch), theirs.latest.get(epoch)
        here, there = (0 if progress is None else progress.acknowledged), (0 if receipt is None else receipt.last)
        if here > there:
            found.append(f"epoch {epoch}: the gateway does not know of the numbers {there + 1:,} to {here:,}")
        elif there > here and receipt is not None and receipt.first != here + 1:
            found.append(f"epoch {epoch}: no receipt is here for the numbers {here + 1:,} to {there:,}")
    return found


def comparison_table(comparison: Comparison) -> Table:
    """Return both ends as a table, a line for each name."""
    table = Table(title="Both ends, by event")
    table.add_column("event")
    for heading in ("accepted here", "at the gateway", "not accepted here", "at the gateway", "on its way"):
        table.add_column(heading, justify="right")
    for row in comparison.rows:
        numbers = (row.accepted_here, row.accepted_there, row.other_here, row.other_there, row.on_its_way)
        table.add_row(row.name, *(f"{number:,}" for number in numbers))
    return table
