"""Both ends' accounts beside each other, by name: what the receipts here say, and what the gateway says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.markup import escape
from rich.table import Table

from heliograph.difference import Apart, Counts, EndsDifference, add, subtract
from heliograph.instance.counted import by_name, receipt_names
from heliograph.ledger.report import SAID, said

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heliograph.instance.progress import Progress
    from heliograph.instance.state import State
    from heliograph.instance.transport import GatewayAccount
    from heliograph.ledger.entries import EndsExplained


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


class ExplainedDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A difference of which the admin has said how it came to be."""

    difference: EndsDifference
    time: int
    """When that was said: microseconds since 1970."""
    by: str
    reason: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Both ends of one instance."""

    rows: list[Row]
    differences: list[EndsDifference]
    """Those that nobody has explained."""
    explained: list[ExplainedDifference]
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
    here, there = add(delivered, other, undecided, on_its_way), add(accepted_there, other_there)
    found = [
        EndsDifference(kind=Apart.OUTCOMES, name=name, here=here.get(name, 0), there=there.get(name, 0))
        for name in sorted(subtract(here, there))
    ]
    if not undecided and not on_its_way:
        found += [
            EndsDifference(kind=Apart.ACCEPTED, name=row.name, here=row.accepted_here, there=row.accepted_there)
            for row in rows
            if row.accepted_here != row.accepted_there
        ]
    found += _ranges(progresses, theirs)
    explained = _explained(found, state.ledger.ends_explained())
    known = [each.difference for each in explained]
    return Comparison(
        rows=rows,
        differences=[each for each in found if each not in known],
        explained=explained,
        undecided=sum(undecided.values()),
    )


def _explained(found: list[EndsDifference], entries: list[EndsExplained]) -> list[ExplainedDifference]:
    """Return those of which the admin's latest word says that they are known, exactly as far apart as they are."""
    words = {each.about: (each, entry) for entry in entries for each in entry.differences}
    explained = []
    for difference in found:
        said = words.get(difference.about)
        if said is not None and said[0].extent == difference.extent:
            explained.append(_explained_in(said[1], difference))
    return explained


def explained_by(entry: EndsExplained) -> list[ExplainedDifference]:
    """Return what an entry explains."""
    return [_explained_in(entry, difference) for difference in entry.differences]


def _explained_in(entry: EndsExplained, difference: EndsDifference) -> ExplainedDifference:
    return ExplainedDifference(difference=difference, time=entry.time, by=entry.by, reason=entry.reason)


def _on_its_way(progresses: Mapping[int, Progress], theirs: GatewayAccount) -> Counts:
    found: Counts = {}
    for epoch, receipt in theirs.latest.items():
        progress = progresses.get(epoch)
        if receipt.first == (1 if progress is None else progress.acknowledged + 1):
            found = add(found, receipt_names(receipt))
    return found


def _ranges(progresses: Mapping[int, Progress], theirs: GatewayAccount) -> list[EndsDifference]:
    """Return which numbers of which epoch one end has, and the other has not."""
    found = []
    for epoch in sorted({*progresses, *theirs.latest}):
        progress, receipt = progresses.get(epoch), theirs.latest.get(epoch)
        here, there = (0 if progress is None else progress.acknowledged), (0 if receipt is None else receipt.last)
        if here > there:
            found.append(EndsDifference(kind=Apart.UNKNOWN_THERE, epoch=epoch, first=there + 1, last=here))
        elif there > here and receipt is not None and receipt.first != here + 1:
            found.append(EndsDifference(kind=Apart.NO_RECEIPT, epoch=epoch, first=here + 1, last=there))
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


def explained_ends_table(explained: list[ExplainedDifference]) -> Table:
    """Return a table of what the two ends differ in and the admin has explained."""
    table = Table(title="Both ends differ, and it is explained")
    for heading in ("what", *SAID):
        table.add_column(heading)
    for each in explained:
        table.add_row(escape(str(each.difference)), *said(each))
    return table
