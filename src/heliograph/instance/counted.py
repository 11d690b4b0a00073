"""The account of one epoch by event name, added up as an exporter passes its numbers.

Three words on the same events, each had from elsewhere, are held against each other:

* what the writer says that it recorded (`heliograph.instance.outbox.Note.recorded`), from one of its notes to the next;
* what was found in the outbox between them, and that no number was skipped or read twice;
* what became of it: receipts, what is dropped and owed to the gateway, and what the gateway holds without a receipt.

What differs is remembered as a `Difference`, which names the range, and keeps the account from closing for ever.
All of it is a part of the epoch's `Progress`, and so of the transaction that moves it on.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
import numpy as np
import pyarrow.compute as pc
from msgspec.structs import replace

from heliograph.difference import MOST_KEPT, Counts, Difference, Differing, add, subtract
from heliograph.event import UNDECLARED
from heliograph.wire import VerdictCounts, merge_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pyarrow as pa

    from heliograph.instance.batch import Recorded
    from heliograph.instance.outbox_reading import Chunk, Said
    from heliograph.wire import Receipt


class Counted(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of an epoch's events up to where it was passed."""

    epoch: int = 0
    numbers: int = 0
    """The last number that was passed."""
    passed: Counts = {}
    """What was found, under the names that it was accounted for by; numbers whose event is lost are undeclared."""
    missed: Counts = {}
    """What the writer recorded beside what was found: negative where more was found."""
    delivered: Counts = {}
    rejected: VerdictCounts = {}
    absent: VerdictCounts = {}
    """All three by the receipts."""
    received: int = 0
    """When the latest of them was on the gateway's disk: microseconds since 1970."""
    undecided: Counts = {}
    """Held by the gateway without a receipt here."""
    said: Counts | None = {}
    """The writer's latest word, by the names under which it recorded; None where an earlier release passed it by."""
    said_at: int = 0
    """The last number before that word."""
    since: Counts = {}
    """What was found since, by present names."""
    lost: int = 0
    """Numbers since then whose events are lost."""
    unbalanced: Counts = {}
    """What is different for reasons already among the differences."""
    differences: list[Difference] = []
    """The first of them."""
    difference_count: int = 0

    def recorded(self) -> Counts:
        """Return what was recorded up to here, by name."""
        return add(self.passed, self.missed)

    def accounted(self, owed: Iterable[VerdictCounts]) -> Counts:
        """Return what became of it, by name; `owed` is dropped, and the gateway does not know of it yet."""
        verdicts = [by_name(counts) for counts in (self.rejected, self.absent, *owed)]
        return add(self.delivered, self.undecided, *verdicts)


class Found(NamedTuple):
    """What a chunk holds, by present names."""

    before: Counts
    """Up to the writer's latest word in it."""
    after: Counts


def find_in_lines(chunk: Chunk, name_of: Callable[[bytes], str]) -> Found:
    """Count a chunk's lines one by one."""
    lines = chunk.lines
    place = 0 if chunk.said is None else chunk.said.lines
    return Found(dict(Counter(map(name_of, lines[:place]))), dict(Counter(map(name_of, lines[place:]))))


def find_in_rows(chunk: Chunk, recorded: Recorded, name_of: Callable[[bytes], str]) -> Found:
    """Count a chunk as it was read: nearly all of it in columns, and one by one what the plan does not allow."""
    names, unread = recorded.table.column("name"), recorded.unread
    if chunk.said is None:
        return Found({}, add(_count_column(names), Counter(map(name_of, unread))))
    rows = int(np.searchsorted(recorded.table.column("sequence").to_numpy(), chunk.said.at, side="right"))
    early = [line for line in unread if _sequence_of(line) <= chunk.said.at]
    late = [line for line in unread if _sequence_of(line) > chunk.said.at]
    return Found(
        add(_count_column(names.slice(0, rows)), Counter(map(name_of, early))),
        add(_count_column(names.slice(rows)), Counter(map(name_of, late))),
    )


class _Numbered(msgspec.Struct):
    sequence: int = 0


def _sequence_of(line: bytes) -> int:
    try:
        return msgspec.json.decode(line, type=_Numbered).sequence
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0


def _count_column(names: pa.ChunkedArray) -> Counts:
    counts = pc.value_counts(names)
    return dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True))


class Naming(Protocol):
    """What an event is called by the plan in force."""

    def present(self, recorded: str, /) -> str:
        """Return its present name, whether the plan declares it or not."""

    def told_as(self, recorded: str, /) -> str:
        """Return under which name it is told to the gateway."""


def take_chunk(counted: Counted, chunk: Chunk, found: Found, naming: Naming) -> Counted:
    """Pass a chunk.

    Args:
        counted: The account before it.
        chunk: What was read.
        found: What is in it.
        naming: Under which name an event is accounted for now.
    """
    counted = _follow_on(counted, chunk)
    missing = chunk.numbers - chunk.events
    passed = told(add(found.before, found.after), naming.told_as)
    counted = replace(
        counted,
        numbers=max(counted.numbers, chunk.last),
        passed=add(counted.passed, passed, _some(UNDECLARED, missing)),
    )
    if chunk.said is None:
        return replace(counted, since=add(counted.since, found.after), lost=counted.lost + missing)
    missing_before = chunk.said.at - chunk.first + 1 - chunk.said.lines
    counted = replace(counted, since=add(counted.since, found.before), lost=counted.lost + missing_before)
    counted = _compare(counted, chunk.said, naming)
    return replace(counted, said_at=chunk.said.at, since=found.after, lost=missing - missing_before)


def _follow_on(counted: Counted, chunk: Chunk) -> Counted:
    """See that no number was skipped, and none read twice."""
    expected = counted.numbers + 1
    if not chunk.numbers or chunk.first == expected:
        return counted
    if chunk.first > expected:
        return remember(counted, Differing.SKIPPED, expected, chunk.first - 1, {})
    return remember(counted, Differing.REPEATED, chunk.first, min(chunk.last, counted.numbers), {})


def _compare(counted: Counted, said: Said, naming: Naming) -> Counted:
    """Hold the writer's word against what was found since the one before."""
    if counted.said is None:  # it was not heard from the beginning: what it says is where to begin
        return replace(counted, said=said.counts if said.whole else None)
    word = said.counts if said.whole else counted.said | said.counts
    claimed = told(subtract(word, counted.said), naming.present)  # it may have been recorded under an earlier name
    since = told(counted.since, naming.present)
    names = {naming.present(name) for name in word}
    others = sum(count for name, count in since.items() if name not in names)
    known = {name: count for name, count in since.items() if name in names}
    if others:  # names past those that a writer tells apart
        known[UNDECLARED] = known.get(UNDECLARED, 0) + others
    differing = subtract(claimed, known)
    counted = replace(counted, said=word)
    if not differing or (min(differing.values()) > 0 and sum(differing.values()) == counted.lost):
        return counted  # those that are lost have their names from the writer alone
    missed = told(differing, naming.told_as)
    counted = remember(counted, Differing.RECORDED, counted.said_at + 1, said.at, missed)
    return replace(counted, missed=add(counted.missed, missed), unbalanced=add(counted.unbalanced, missed))


def take_receipt(counted: Counted, receipt: Receipt) -> Counted:
    """Take what a receipt says."""
    rejected, absent = _copy(counted.rejected), _copy(counted.absent)
    merge_counts(rejected, receipt.rejected)
    merge_counts(absent, receipt.absent)
    return replace(
        counted,
        delivered=add(counted.delivered, receipt.accepted),
        rejected=rejected,
        absent=absent,
        received=max(counted.received, receipt.received),
    )


def settle_undecided(counted: Counted, receipt: Receipt) -> Counted:
    """Take a receipt for numbers that were passed without one."""
    return replace(take_receipt(counted, receipt), undecided=subtract(counted.undecided, receipt_names(receipt)))


def rename(counted: Counted, before: Counts, after: Counts) -> Counted:
    """Account for events under the names `after`: another plan is in force since they were counted as `before`."""
    if before == after or sum(before.values()) != sum(after.values()):
        return counted
    return replace(counted, passed=subtract(add(counted.passed, after), before))


def settle(counted: Counted, owed: Iterable[VerdictCounts], first: int) -> Counted:
    """See that all that was passed is accounted for; what is not lies between `first` and where it stands."""
    balance = subtract(counted.recorded(), counted.accounted(owed))
    names = subtract(balance, counted.unbalanced)
    if not names:
        return counted
    return replace(remember(counted, Differing.UNBALANCED, first, counted.numbers, names), unbalanced=balance)


def remember(counted: Counted, kind: Differing, first: int, last: int, names: Counts) -> Counted:
    """Keep a difference in mind."""
    kept = counted.differences[: MOST_KEPT - 1]
    return replace(
        counted,
        differences=[*kept, Difference(kind=kind, epoch=counted.epoch, first=first, last=last, names=names)],
        difference_count=counted.difference_count + 1,
    )


def opening(
    epoch: int, receipts: Iterable[Receipt], owed: Iterable[VerdictCounts], *, numbers: int, undecided: int
) -> Counted:
    """Return the account of an epoch that an earlier release had begun: what it says there is taken as it is."""
    counted = Counted(epoch=epoch, numbers=numbers, said=None, said_at=numbers, undecided=_some(UNDECLARED, undecided))
    for receipt in receipts:
        counted = take_receipt(counted, receipt)
    passed = counted.accounted(owed)
    rest = numbers - sum(passed.values())
    return replace(counted, passed=add(passed, {UNDECLARED: rest}) if rest else passed)


def by_name(counts: VerdictCounts) -> Counts:
    """Return events by name alone."""
    return {name: sum(verdicts.values()) for name, verdicts in counts.items()}


def by_names(counts: Iterable[VerdictCounts]) -> Counts:
    """Return the sum of several, by name alone."""
    return add({}, *map(by_name, counts))


def receipt_names(receipt: Receipt) -> Counts:
    """Return the numbers that a receipt accounts for, by name."""
    return add(receipt.accepted, by_name(receipt.rejected), by_name(receipt.absent))


def told(counts: Counts, told_as: Callable[[str], str]) -> Counts:
    """Return counts under the names by which they are accounted for."""
    found: Counts = {}
    for name, count in counts.items():
        as_told = told_as(name)
        found[as_told] = found.get(as_told, 0) + count
    return {name: count for name, count in found.items() if count}


def _some(name: str, count: int) -> Counts:
    return {name: count} if count else {}


def _copy(counts: VerdictCounts) -> VerdictCounts:
    return {name: dict(verdicts) for name, verdicts in counts.items()}
