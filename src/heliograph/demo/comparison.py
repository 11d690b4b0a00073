"""The figures of both ends beside each other, and every difference between them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from heliograph.event import UNDECLARED
from heliograph.wire import Counts, VerdictCounts, merge_counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heliograph.gateway.account import Account
    from heliograph.instance.account import InstanceAccount


class InstanceFigures(msgspec.Struct, kw_only=True):
    """One instance's figures, each counted where it stands."""

    instance: str
    source: Counts
    """Counted by what made the events: SQL on the product's table, or the product's own calls."""
    accepted: Counts
    """The gateway's account."""
    rejected: VerdictCounts
    """The gateway's account: rejected there, or told to be absent."""
    lake: Counts
    """Counted in the lake."""
    erased: Counts
    """What erasures have taken out of the lake."""
    instance_delivered: Counts
    """The instance's account, from its receipts."""
    pending: int
    differences: list[str] = []


def compare(
    instance: str,
    source: Counts,
    vendor: Account,
    own: InstanceAccount,
    lake: Mapping[str, int],
    *,
    erased: Mapping[str, int] | None = None,
) -> InstanceFigures:
    """Put one instance's figures together and name every difference.

    For each event name: what the source had is what was accepted, rejected or dropped; what was accepted is in the
    lake or erased; and both ends say the same.
    """
    rejected: VerdictCounts = {}
    merge_counts(rejected, vendor.rejected)
    merge_counts(rejected, vendor.absent)
    figures = InstanceFigures(
        instance=instance,
        source=source,
        accepted=vendor.accepted,
        rejected=rejected,
        lake=dict(lake),
        erased=dict(erased or {}),
        instance_delivered=own.delivered,
        pending=sum(own.pending.values()),
    )
    differences = figures.differences
    declared = Counter(vendor.accepted)
    declared.update({name: sum(verdicts.values()) for name, verdicts in rejected.items() if name != UNDECLARED})
    undeclared = sum(rejected.get(UNDECLARED, {}).values())
    for name in sorted({*source, *declared}):
        # What the plan does not declare is accounted for without its name.
        if name not in declared and undeclared >= source[name]:
            undeclared -= source[name]
        elif source.get(name, 0) != declared[name]:
            differences.append(f"{name}: {source.get(name, 0):,} at the source, {declared[name]:,} accounted for")
    if undeclared:
        differences.append(f"{undeclared:,} undeclared events that the source does not have")
    stored = Counter(lake) + Counter(figures.erased)
    for name in sorted({*vendor.accepted, *stored}):
        if vendor.accepted.get(name, 0) != stored[name]:
            differences.append(
                f"{name}: {vendor.accepted.get(name, 0):,} accepted, {lake.get(name, 0):,} in the lake, "
                f"{figures.erased.get(name, 0):,} erased"
            )
    if own.delivered != vendor.accepted:
        differences.append("the receipts and the gateway's account differ")
    if own.pending:
        differences.append(f"{figures.pending:,} still wait on the instance")
    if not own.closes():
        differences.append(f"the instance recorded {own.recorded:,} and accounts for {own.accounted():,}")
    return figures


def total(counts: Counts) -> int:
    """Return the sum over all names."""
    return sum(counts.values())


def rejected_by_reason(rejected: VerdictCounts) -> Counts:
    """Return the sum over all names, by verdict."""
    reasons: Counter[str] = Counter()
    for verdicts in rejected.values():
        reasons.update({str(verdict): count for verdict, count in verdicts.items()})
    return dict(reasons)
