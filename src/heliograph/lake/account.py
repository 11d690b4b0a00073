"""The loader's part of the loss account: each number is passed once, and each accepted event is a row.

It is looked at for each delivery and each commit, on what is at hand there: the lake itself is not read for it.
`heliograph.lake.report` counts the lake as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow.compute as pc
import structlog

from heliograph.difference import MOST_KEPT, Difference, Differing, add, in_words, subtract
from heliograph.gateway.account import Account

if TYPE_CHECKING:
    import pyarrow as pa

    from heliograph.wire import Counts, Receipt

_log: Final = structlog.get_logger("heliograph.loader")


class LoadAccount:
    """The account of one loader.

    Args:
        accounts: The gateway's, where the loader stands in the log; None where the log cannot tell yet.
    """

    def __init__(self, accounts: dict[str, Account] | None) -> None:
        self._accounts = accounts
        self._expected: dict[str, Counts] = {}
        self._ranges: dict[tuple[str, int], tuple[int, int]] = {}
        self.differences: list[tuple[str, Difference]] = []
        """The first of them, by instance."""
        self.difference_count = 0
        self.fresh: list[tuple[str, Difference]] = []
        """What was found since the commit before, by instance."""
        self.left_out: dict[str, Counts] = {}
        """What was accepted and is not among the rows, as the lake had it already: since the commit before."""

    def stand_at(self, accounts: dict[str, Account] | None) -> None:
        """Go on from another place of the log: what was not committed is read again."""
        self._accounts = accounts
        self._expected, self._ranges = {}, {}
        self.committed()

    def committed(self) -> None:
        """Note that what was left out, and what was found, is in the lake."""
        self.fresh.clear()
        self.left_out.clear()

    def begin_segment(self, accounts: dict[str, Account]) -> None:
        """Hold what was passed against the gateway's own account, which stands at the head of each segment."""
        passed, self._accounts = self._accounts, accounts
        if passed is None:
            return
        for instance in {*accounts, *passed}:
            theirs, ours = accounts.get(instance) or Account(), passed.get(instance) or Account()
            for epoch, receipt in theirs.latest.items():
                if receipt.last >= (expected := ours.expected(epoch)):
                    self._remember(instance, Differing.SKIPPED, epoch, (expected, receipt.last))
            for epoch, receipt in ours.latest.items():
                if receipt.last >= (expected := theirs.expected(epoch)):
                    self._remember(instance, Differing.FORGOTTEN, epoch, (expected, receipt.last))

    def take(self, receipt: Receipt, rows: pa.Table, *, before: int) -> None:
        """Take a delivery.

        Args:
            receipt: What the gateway says of it.
            rows: Its rows, as they will be committed.
            before: The last number of its epoch that is in the lake already: from there on these are the rows.
        """
        if self._accounts is not None:
            for each in self._accounts.setdefault(receipt.instance, Account()).add(receipt):
                self._say(receipt.instance, each)
        found = _by_name(rows)
        expected = receipt.accepted if receipt.first > before else found
        if names := subtract(expected, found):
            self._remember(receipt.instance, Differing.STORED, receipt.epoch, (receipt.first, receipt.last), names)
        elif known := subtract(receipt.accepted, found):
            self.left_out[receipt.instance] = add(self.left_out.get(receipt.instance, {}), known)
        # The rows as they are, so that one mistake is told once.
        self._expected[receipt.instance] = add(self._expected.get(receipt.instance, {}), found)
        first, last = self._ranges.get((receipt.instance, receipt.epoch), (receipt.first, receipt.last))
        self._ranges[receipt.instance, receipt.epoch] = min(first, receipt.first), max(last, receipt.last)

    def commit(self, rows: pa.Table) -> Counts:
        """See that what is committed holds all rows that were taken since the commit before; count them by name."""
        found: dict[str, Counts] = {}
        groups = rows.select(["instance", "name"]).group_by(["instance", "name"]).aggregate([([], "count_all")])
        for instance, name, count in zip(*(column.to_pylist() for column in groups.columns), strict=True):
            found.setdefault(instance, {})[name] = count
        for instance in {*found, *self._expected}:
            names = subtract(self._expected.get(instance, {}), found.get(instance, {}))
            for (other, epoch), numbers in self._ranges.items() if names else ():
                if other == instance:
                    self._remember(instance, Differing.STORED, epoch, numbers, names)
        self._expected, self._ranges = {}, {}
        return add({}, *found.values())

    def _remember(
        self, instance: str, kind: Differing, epoch: int, numbers: tuple[int, int], names: Counts | None = None
    ) -> None:
        first, last = numbers
        self._say(instance, Difference(kind=kind, epoch=epoch, first=first, last=last, names=names or {}))

    def _say(self, instance: str, difference: Difference) -> None:
        _log.error("the account differs", instance=instance, where=in_words(difference))
        self.difference_count += 1
        self.fresh.append((instance, difference))
        if len(self.differences) < MOST_KEPT:
            self.differences.append((instance, difference))


def _by_name(rows: pa.Table) -> Counts:
    if not rows.num_rows:
        return {}
    counts = pc.value_counts(rows.column("name"))
    return dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True))
