"""The vendor's half of the loss account: what became of every sequence number that an instance delivered."""

from __future__ import annotations

import msgspec

from heliograph.difference import MOST_KEPT, Difference, Differing, add
from heliograph.wire import Counts, PingReceipt, Receipt, VerdictCounts, merge_counts, total_counts


class Account(msgspec.Struct):
    """One instance's deliveries so far.

    For each epoch, ``accepted + rejected + absent`` over all names is the last sequence number delivered: nothing
    vanishes between the two ends.
    """

    accepted: Counts = {}
    rejected: VerdictCounts = {}
    absent: VerdictCounts = {}
    """Numbers whose events stayed on the instance, with the instance's word on why."""
    latest: dict[int, Receipt] = {}
    """The latest receipt of each epoch."""
    ping: PingReceipt | None = None
    """The receipt of the latest ping: days only rise."""
    differences: list[Difference] = []
    """Ranges that do not add up: the first of them, and the last."""
    difference_count: int = 0

    def expected(self, epoch: int) -> int:
        """Return the first sequence number of an epoch that was not delivered."""
        receipt = self.latest.get(epoch)
        return 1 if receipt is None else receipt.last + 1

    def add(self, receipt: Receipt) -> list[Difference]:
        """Take a delivery into the account, and return what does not add up of it."""
        found = list(_look(receipt, self.expected(receipt.epoch)))
        for name, count in receipt.accepted.items():
            self.accepted[name] = self.accepted.get(name, 0) + count
        merge_counts(self.rejected, receipt.rejected)
        merge_counts(self.absent, receipt.absent)
        self.latest[receipt.epoch] = receipt
        if found:
            self.differences = [*self.differences[: MOST_KEPT - 1], *found][:MOST_KEPT]
            self.difference_count += len(found)
        return found

    def numbers(self) -> int:
        """Return how many numbers were delivered, by how far each epoch has come."""
        return sum(receipt.last for receipt in self.latest.values())

    def counted(self) -> int:
        """Return how many numbers have an outcome."""
        return sum(self.accepted.values()) + total_counts(self.rejected) + total_counts(self.absent)

    def closes(self) -> bool:
        """Tell whether each number that was delivered has just one outcome."""
        return self.counted() == self.numbers() and not self.difference_count

    def names(self) -> Counts:
        """Return the numbers that have an outcome, by name."""
        return receipt_names(self.accepted, self.rejected, self.absent)


def receipt_names(accepted: Counts, rejected: VerdictCounts, absent: VerdictCounts) -> Counts:
    """Return numbers by name, whatever became of them."""
    verdicts = [{name: sum(each.values()) for name, each in counts.items()} for counts in (rejected, absent)]
    return add(accepted, *verdicts)


def _look(receipt: Receipt, expected: int) -> list[Difference]:
    """Return what is wrong with a delivery that comes after those before the number `expected`."""
    found = []
    if receipt.first > expected:
        found.append(_difference(receipt, Differing.SKIPPED, expected, receipt.first - 1))
    elif receipt.first < expected:
        found.append(_difference(receipt, Differing.REPEATED, receipt.first, min(receipt.last, expected - 1)))
    numbers = receipt.last - receipt.first + 1
    counted = sum(receipt.accepted.values()) + total_counts(receipt.rejected) + total_counts(receipt.absent)
    if counted != numbers:
        names = receipt_names(receipt.accepted, receipt.rejected, receipt.absent)
        found.append(_difference(receipt, Differing.UNBALANCED, receipt.first, receipt.last, names))
    return found


def _difference(receipt: Receipt, kind: Differing, first: int, last: int, names: Counts | None = None) -> Difference:
    return Difference(kind=kind, epoch=receipt.epoch, first=first, last=last, names=names or {})
