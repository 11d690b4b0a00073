"""The instance's half of the loss account: where every recorded event is, by name.

`recorded = delivered + pending + dropped[reason] (+ undecided)`, where *recorded* is counted apart from the rest: by
the sequence numbers that the outbox and the receipts have reached, and the drops before any number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from heliograph.event import UNDECLARED
from heliograph.instance.exporter import event_name
from heliograph.instance.outbox import START, read_epochs
from heliograph.instance.present_names import PresentNames
from heliograph.wire import Counts, VerdictCounts, merge_counts, total_counts

if TYPE_CHECKING:
    from pathlib import Path

    from heliograph.instance.state import State
    from heliograph.plan.model import Plan

_READ_EVENTS = 50_000


class InstanceAccount(msgspec.Struct, kw_only=True):
    """What became of an instance's events so far."""

    recorded: int = 0
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
    held: Counts = {}
    """Of those pending: set aside as no plan has declared them yet, by the name under which they were recorded."""
    left_out: Counts = {}
    """Properties (not events) left out as the plan does not declare them, by event."""

    def accounted(self) -> int:
        """Return the sum of all parts."""
        parts = sum(self.delivered.values()) + sum(self.pending.values()) + self.undecided
        return parts + total_counts(self.rejected) + total_counts(self.dropped)

    def closes(self) -> bool:
        """Tell whether nothing has vanished and nothing was counted twice."""
        return self.recorded == self.accounted()


def read_account(state: State, outbox: Path, plan: Plan) -> InstanceAccount:
    """Add up the account from the agent's state and the outbox; best while neither changes."""
    account = InstanceAccount()
    last: dict[int, int] = {}
    for receipt in state.receipts():
        last[receipt.epoch] = max(last.get(receipt.epoch, 0), receipt.last)
        for name, count in receipt.accepted.items():
            account.delivered[name] = account.delivered.get(name, 0) + count
        merge_counts(account.rejected, receipt.rejected)
        merge_counts(account.dropped, receipt.absent)
    present = PresentNames(plan)
    merge_left_out(account.left_out, state.plans.left_out())
    progresses = state.all_progress()
    for epoch, progress in progresses.items():
        last[epoch] = max(last.get(epoch, 0), progress.position.sequence)
        account.undecided += progress.undecided
        account.recorded += total_counts(progress.dropped)
        merge_counts(account.dropped, progress.dropped)
        merge_left_out(account.left_out, progress.left_out)
        for owed in progress.owed:
            merge_counts(account.dropped, owed.counts)
    for reader in read_epochs(outbox):
        known = progresses.get(reader.epoch)
        position = START if known is None else known.position
        while True:
            chunk = reader.read(position, _READ_EVENTS)
            if chunk.end == position:
                break
            for line in chunk.lines:
                name = present.name(event_name(line))
                name = name if name in plan.events else UNDECLARED
                account.pending[name] = account.pending.get(name, 0) + 1
            if (held := reader.held_name) is not None and present.name(held) not in plan.events:
                account.held[held] = account.held.get(held, 0) + chunk.events
            position = chunk.end
        last[reader.epoch] = max(last.get(reader.epoch, 0), position.sequence)
    account.recorded += sum(last.values())
    return account


def merge_left_out(total: Counts, more: Counts) -> None:
    """Add `more` to `total`."""
    for name, count in more.items():
        total[name] = total.get(name, 0) + count
