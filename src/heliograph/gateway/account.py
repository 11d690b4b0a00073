"""The vendor's half of the loss account: what became of every sequence number that an instance delivered."""

from __future__ import annotations

import msgspec

from heliograph.wire import Counts, PingReceipt, Receipt, VerdictCounts, merge_counts


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

    def expected(self, epoch: int) -> int:
        """Return the first sequence number of an epoch that was not delivered."""
        receipt = self.latest.get(epoch)
        return 1 if receipt is None else receipt.last + 1

    def add(self, receipt: Receipt) -> None:
        """Take a delivery into the account."""
        for name, count in receipt.accepted.items():
            self.accepted[name] = self.accepted.get(name, 0) + count
        merge_counts(self.rejected, receipt.rejected)
        merge_counts(self.absent, receipt.absent)
        self.latest[receipt.epoch] = receipt
