"""How an exporter accounts for what it passes, by the names that the plan in force has for it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from msgspec.structs import replace

from heliograph.difference import Differing, add, in_words
from heliograph.event import UNDECLARED, Verdict
from heliograph.instance.counted import (
    by_names,
    find_in_lines,
    find_in_rows,
    receipt_names,
    remember,
    rename,
    settle,
    take_chunk,
    told,
)
from heliograph.instance.present_names import PresentNames
from heliograph.wire import VerdictCounts, merge_counts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heliograph.instance.batch import Recorded
    from heliograph.instance.counted import Counted
    from heliograph.instance.outbox_reading import Chunk
    from heliograph.instance.progress import Owed, Progress
    from heliograph.plan.model import Plan
    from heliograph.wire import Counts, Receipt

_log: Final = structlog.get_logger("heliograph.exporter")


class _Named(msgspec.Struct):
    name: str = UNDECLARED


class Accounting:
    """Accounts by the names of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._names = frozenset(plan.events)
        self._present = PresentNames(plan)
        self._said: dict[int, int] = {}

    def present(self, recorded: str) -> str:
        """Return an event's present name, whether the plan declares it or not."""
        return self._present.name(recorded)

    def told_as(self, recorded: str) -> str:
        """Return under which name an event is told to the gateway."""
        name = self._present.name(recorded)
        return name if name in self._names else UNDECLARED

    def as_declared(self, counts: VerdictCounts) -> VerdictCounts:
        """Return counts under the names of the plan in force: they may be older than it."""
        found: VerdictCounts = {}
        for recorded, verdicts in counts.items():
            merge_counts(found, {self.told_as(recorded): verdicts})
        return found

    def verdicts_on(self, chunk: Chunk, verdict: Verdict) -> VerdictCounts:
        """Count a chunk's events under one verdict, by name; those that are lost are lost."""
        counts: VerdictCounts = {}
        for name, count in told(Counter(map(event_name, chunk.lines)), self.told_as).items():
            merge_counts(counts, {name: {verdict: count}})
        missing = chunk.numbers - chunk.events
        if missing:
            merge_counts(counts, {UNDECLARED: {Verdict.LOST: missing}})
        return counts

    def count(self, progress: Progress, chunk: Chunk, recorded: Recorded | None = None) -> Counted:
        """Return an epoch's account once a chunk is passed.

        Args:
            progress: How far it has come before.
            chunk: What is passed.
            recorded: The same as a builder has read it, if it has.
        """
        if recorded is None:
            found = find_in_lines(chunk, self._name_of)
        else:
            found = find_in_rows(chunk, recorded, self._name_of)
        return take_chunk(progress.account, chunk, found, self)

    def _name_of(self, line: bytes) -> str:
        return self._present.name(event_name(line))

    def retold(self, counted: Counted, owed: Iterable[Owed]) -> Counted:
        """Account for what was owed by the names under which the gateway was told of it."""
        before = [each.counts for each in owed]
        return rename(counted, by_names(before), by_names(map(self.as_declared, before)))

    def by_names_of(self, receipt: Receipt, progress: Progress, chunk: Chunk, counted: Counted) -> Counted:
        """Account for a delivery by the names of its receipt: it may have been built by an earlier plan."""
        ours = add(by_names(owed.counts for owed in progress.owed), self._told(chunk))
        return rename(counted, ours, receipt_names(receipt))

    def caught_up(self, progress: Progress, chunk: Chunk, expected: int) -> Counted:
        """Return the account once it goes on from the number that the gateway expects, past `chunk`."""
        counted = self.count(progress, chunk)
        if skipped := max(expected - 1 - progress.acknowledged, 0):
            known = add(by_names(owed.counts for owed in progress.owed if owed.last < expected), self._told(chunk))
            rest = skipped - sum(known.values())
            beyond = {UNDECLARED: rest} if rest else {}  # numbers that the outbox does not hold any more
            counted = replace(
                counted, passed=add(counted.passed, beyond), undecided=add(counted.undecided, known, beyond)
            )
        if progress.acknowledged >= expected:
            counted = remember(counted, Differing.FORGOTTEN, expected, progress.acknowledged, {})
        return counted

    def settled(self, progress: Progress, *, first: int) -> Progress:
        """Return the progress with its account looked at, and say what is new that does not add up.

        What does not add up, and was in order before, is in the numbers from `first` on.
        """
        counted = settle(progress.account, [owed.counts for owed in progress.owed], first)
        said = self._said.get(counted.epoch, 0)
        if counted.difference_count > said:
            for each in counted.differences[-(counted.difference_count - said) :]:
                _log.error("the account differs", where=in_words(each))
            self._said[counted.epoch] = counted.difference_count
        return replace(progress, counted=counted)

    def _told(self, chunk: Chunk) -> Counts:
        return by_names([self.verdicts_on(chunk, Verdict.LOST)])


def event_name(line: bytes) -> str:
    """Return the name of an event as recorded; `UNDECLARED` when it cannot be read."""
    try:
        return msgspec.json.decode(line, type=_Named).name
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UNDECLARED
