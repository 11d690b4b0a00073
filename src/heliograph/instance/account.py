"""The instance's half of the loss account: where every recorded event is, by name.

`recorded = delivered + pending + rejected[reason] + dropped[reason] (+ undecided)`, in total and for each name. What
was recorded is counted apart from the rest: by the sequence numbers that the outbox and the receipts have reached, and
by name by the outbox's writers, against whose word `heliograph.instance.counted` holds what is found there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from heliograph.difference import Difference, add, subtract
from heliograph.instance.accounting import Accounting
from heliograph.instance.counted import Counted, by_name, settle
from heliograph.instance.outbox_reading import START, read_epochs
from heliograph.instance.present_names import PresentNames
from heliograph.instance.progress import Progress
from heliograph.ledger.entries import Explained
from heliograph.wire import Counts, VerdictCounts, merge_counts, total_counts

if TYPE_CHECKING:
    from pathlib import Path

    from heliograph.instance.outbox_reading import EpochReader
    from heliograph.instance.state import State
    from heliograph.plan.model import Plan

_READ_EVENTS = 50_000


class InstanceAccount(msgspec.Struct, kw_only=True):
    """What became of an instance's events so far."""

    recorded: int = 0
    recorded_names: Counts = {}
    """The same by name, as the plan declares them now or did when they were delivered."""
    delivered: Counts = {}
    """Accepted by the gateway, by its receipts."""
    rejected: VerdictCounts = {}
    """Rejected by the gateway, by its receipts."""
    dropped: VerdictCounts = {}
    """Given up on the instance."""
    pending: Counts = {}
    """In the outbox."""
    undecided: int = 0
    """Held by the gateway without a receipt here."""
    undecided_names: Counts = {}
    """The same by name, as far as the outbox still held them."""
    held: Counts = {}
    """Of those pending: set aside as no plan has declared them yet, by the name under which they were recorded."""
    left_out: Counts = {}
    """Properties (not events) left out as the plan does not declare them, by event."""
    differences: list[Difference] = []
    """Ranges that do not add up: those noticed so far."""
    difference_count: int = 0
    explained: list[Explained] = []
    """What the admin has said of differences, the earliest first."""
    received: int = 0
    """When the latest delivery with a receipt was on the gateway's disk: microseconds since 1970; 0 if none was."""

    def accounted(self) -> int:
        """Return the sum of all parts."""
        parts = sum(self.delivered.values()) + sum(self.pending.values()) + self.undecided
        return parts + total_counts(self.rejected) + total_counts(self.dropped)

    def accounted_names(self) -> Counts:
        """Return the sum of all parts, by name."""
        parts = (self.delivered, self.pending, self.undecided_names, by_name(self.rejected), by_name(self.dropped))
        return add({}, *parts)

    def unexplained(self) -> Counts:
        """Return by how many events each name differs: above zero have vanished, below zero are too many."""
        return subtract(self.recorded_names, self.accounted_names())

    def closes(self) -> bool:
        """Tell whether nothing has vanished and nothing was counted twice, of any name, but for what is explained."""
        known = self.explained[-1] if self.explained else None
        events, names, differences = (known.events, known.names, known.differences) if known else (0, {}, 0)
        return (
            self.recorded - self.accounted() == events
            and self.unexplained() == names
            and self.difference_count == differences
        )

    def open_differences(self) -> int:
        """Return how many ranges differ that nobody has explained; at least 1 if the account does not close."""
        if self.closes():
            return 0
        known = self.explained[-1].differences if self.explained else 0
        return max(self.difference_count - known, 1)

    def open_ranges(self) -> list[Difference]:
        """Return those ranges, as far as they are known one by one."""
        known = [each for entry in self.explained for each in entry.ranges]
        return [each for each in self.differences if each not in known]

    def names(self) -> list[str]:
        """Return the names of all events, in order."""
        return sorted({*self.recorded_names, *self.accounted_names()})

    def add_passed(self, progress: Progress, counted: Counted) -> None:
        """Take an epoch into the account, as far as it was passed."""
        self.recorded += max(progress.position.sequence, progress.acknowledged) + total_counts(progress.dropped)
        self.recorded_names = add(self.recorded_names, counted.recorded(), by_name(progress.dropped))
        self.delivered = add(self.delivered, counted.delivered)
        merge_counts(self.rejected, counted.rejected)
        for counts in (counted.absent, progress.dropped, *(owed.counts for owed in progress.owed)):
            merge_counts(self.dropped, counts)
        merge_left_out(self.left_out, progress.left_out)
        self.received = max(self.received, counted.received)
        self.undecided += progress.undecided
        self.undecided_names = add(self.undecided_names, counted.undecided)
        self.add_differences(counted)

    def add_differences(self, counted: Counted) -> None:
        """Take an epoch's differences into the account."""
        self.differences += counted.differences
        self.difference_count += counted.difference_count


def read_passed(state: State) -> InstanceAccount:
    """Add up the account of what was passed, from the agent's state alone: it costs little, and reads no outbox."""
    account = InstanceAccount(explained=state.ledger.explained())
    merge_left_out(account.left_out, state.plans.left_out())
    for epoch, progress in state.all_progress().items():
        counted = state.counted(epoch, progress)
        account.add_passed(progress, settle(counted, [owed.counts for owed in progress.owed], counted.numbers))
    return account


def read_account(state: State, outbox: Path, plan: Plan) -> InstanceAccount:
    """Add up the account from the agent's state and the outbox; best while neither changes."""
    progresses = state.all_progress()
    account = read_passed(state)
    present = PresentNames(plan)
    accounting = Accounting(plan)
    for reader in read_epochs(outbox):
        known = progresses.get(reader.epoch)
        counted = state.counted(reader.epoch, known)
        progress = replace(known or Progress(reader.series, START), counted=counted)
        pending = _read_pending(reader, progress, accounting, account)
        account.pending = add(account.pending, pending)
        if pending and (held := reader.held_name) is not None and present.name(held) not in plan.events:
            account.held[held] = account.held.get(held, 0) + sum(pending.values())
    return account


def _read_pending(reader: EpochReader, progress: Progress, accounting: Accounting, account: InstanceAccount) -> Counts:
    """Read on to the end of an epoch, and return what is pending in it."""
    start = progress.account
    counted, position = replace(start, differences=[], difference_count=0), progress.position
    while True:
        chunk = reader.read(position, _READ_EVENTS)
        if chunk.end == position:
            break
        counted = accounting.count(replace(progress, counted=counted), chunk)
        position = chunk.end
    account.recorded += position.sequence - progress.position.sequence
    account.recorded_names = add(account.recorded_names, subtract(counted.recorded(), start.recorded()))
    account.add_differences(counted)
    return subtract(counted.passed, start.passed)


def merge_left_out(total: Counts, more: Counts) -> None:
    """Add `more` to `total`."""
    for name, count in more.items():
        total[name] = total.get(name, 0) + count
