"""Comparing the two halves: what left by the instance's ledger, and what the vendor holds."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.ledger.entries import CarriedOver, Refused, Sent, Settled
from heliograph.ledger.receipts import ReceiptError, read_receipt
from heliograph.wire import Counts, Receipt, VerdictCounts, merge_counts, total_counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from heliograph.ledger.entries import Entry

_Range = tuple[int, int, int]


class Kind(enum.Enum):
    """What becomes of a delivery when both halves are compared: each is of exactly one kind."""

    MATCHED = "matched"
    """Both ends hold it, with the same digest and the same counts."""
    EXCLUDED = "excluded"
    """Likewise, and it has no event: all its numbers stayed on the instance, for the reasons told."""
    UNDECIDED = "undecided"
    """It was sent, and neither end knows an answer: it is on its way, or is sent again."""
    NOT_TAKEN = "not_taken"
    """It was sent, and the vendor does not hold it: it was refused, or its numbers went in other deliveries."""
    NO_RECEIPT = "no_receipt"
    """The vendor holds it, and the instance has no receipt."""
    RECEIPT_WITHOUT_RECORD = "receipt_without_record"
    """The instance has the vendor's receipt, and the vendor holds nothing."""
    DIFFERING = "differing"
    """Both ends hold it, and the digest or the counts differ."""

    @property
    def needs_a_person(self) -> bool:
        """Whether something went wrong that does not mend itself."""
        return self in _NEED_A_PERSON


_NEED_A_PERSON: Final = frozenset({Kind.NO_RECEIPT, Kind.RECEIPT_WITHOUT_RECORD, Kind.DIFFERING})


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery, and of which kind it is."""

    epoch: int
    first: int
    last: int
    kind: Kind
    entry: int | None
    """The entry of the ledger that tells of it last; None where none does."""
    why: str = ""


class Totals(msgspec.Struct, kw_only=True):
    """What became of the events of one name, by receipts."""

    accepted: int = 0
    rejected: int = 0
    excluded: dict[str, int] = {}
    """Stayed on the instance, by verdict."""


class Reconciled(msgspec.Struct, kw_only=True):
    """What comparing has come to."""

    deliveries: list[Delivery]
    ours: dict[str, Totals]
    """By the instance's receipts."""
    theirs: dict[str, Totals]
    """By what the vendor holds."""
    anchors: int
    """Deliveries whose receipt names an entry of this ledger."""
    problems: list[str]
    """What needs a person, beside the kinds that do."""

    @property
    def is_well(self) -> bool:
        """Whether nothing needs a person."""
        return not self.problems and not any(each.kind.needs_a_person for each in self.deliveries)

    def count(self) -> dict[Kind, int]:
        """Return how many deliveries there are of each kind."""
        counts = dict.fromkeys(Kind, 0)
        for each in self.deliveries:
            counts[each.kind] += 1
        return counts


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The vendor's half as its gateway tells it: totals, and the latest receipt of each epoch."""

    accepted: Counts
    rejected: VerdictCounts
    absent: VerdictCounts
    latest: dict[int, Receipt]


def reconcile(entries: Sequence[tuple[int, Entry]], theirs: Sequence[Receipt], heads: Mapping[str, int]) -> Reconciled:
    """Compare a ledger with all deliveries that the vendor holds of its instance.

    Args:
        entries: The ledger's entries with their numbers.
        theirs: The receipts of the deliveries that the vendor holds.
        heads: The number of each entry by its digest.
    """
    ours = _Ours(entries)
    held = {(each.epoch, each.first, each.last): each for each in theirs}
    covered = _Covered([*held, *ours.settled])
    ranges = sorted({*held, *ours.settled, *ours.sent})
    deliveries = [_classify(key, ours, held.get(key), covered) for key in ranges]
    anchors, problems = _check_anchors(theirs, heads)
    problems += _check_repeated(theirs)
    return Reconciled(
        deliveries=deliveries,
        ours=total(receipt for _, receipt in ours.settled.values()),
        theirs=total(theirs),
        anchors=anchors,
        problems=problems + ours.problems,
    )


def reconcile_with_account(
    entries: Sequence[tuple[int, Entry]], account: Account, heads: Mapping[str, int]
) -> Reconciled:
    """Compare a ledger with what the gateway tells of it: the latest delivery of each epoch, and the totals of all.

    Older deliveries are compared by their totals alone.
    """
    ours = _Ours(entries)
    latest = {(each.epoch, each.first, each.last): each for each in account.latest.values()}
    told = dict(latest)
    for key, (_, receipt) in ours.settled.items():
        last = account.latest.get(receipt.epoch)
        if last is not None and receipt.last < last.first:
            told[key] = receipt  # held by the totals
    covered = _Covered([*told, *ours.settled])
    ranges = sorted({*told, *ours.settled, *ours.sent})
    anchors, problems = _check_anchors(account.latest.values(), heads)
    result = Reconciled(
        deliveries=[_classify(key, ours, told.get(key), covered) for key in ranges],
        ours=total(receipt for _, receipt in ours.settled.values()),
        theirs=_totals(account.accepted, account.rejected, account.absent),
        anchors=anchors,
        problems=problems + ours.problems,
    )
    waiting = {(each.epoch, each.first, each.last) for each in result.deliveries if each.kind is Kind.NO_RECEIPT}
    known = total(
        [*(receipt for _, receipt in ours.settled.values()), *(latest[key] for key in waiting & latest.keys())]
    )
    for name in sorted(known.keys() | result.theirs.keys()):
        if known.get(name, Totals()) != result.theirs.get(name, Totals()):
            result.problems.append(f"{name}: the totals of the two ends differ")
    return result


class _Ours:
    """The instance's half by ranges."""

    def __init__(self, entries: Iterable[tuple[int, Entry]]) -> None:
        self.sent: dict[_Range, list[tuple[int, Sent]]] = {}
        self.settled: dict[_Range, tuple[int, Receipt]] = {}
        self.refused: dict[_Range, tuple[int, Refused]] = {}
        self.problems: list[str] = []
        for number, entry in entries:
            if isinstance(entry, Sent):
                self.sent.setdefault((entry.epoch, entry.first, entry.last), []).append((number, entry))
            elif isinstance(entry, Refused):
                self.refused[entry.epoch, entry.first, entry.last] = (number, entry)
            elif isinstance(entry, (Settled, CarriedOver)):
                try:
                    self.settled[entry.epoch, entry.first, entry.last] = (number, read_receipt(entry))
                except ReceiptError as error:
                    self.problems.append(f"entry {number}: its receipt {error}")


class _Covered:
    """Which numbers some delivery accounts for."""

    def __init__(self, ranges: Iterable[_Range]) -> None:
        self._last: dict[int, int] = {}
        for epoch, _, last in ranges:
            self._last[epoch] = max(self._last.get(epoch, 0), last)

    def touches(self, key: _Range) -> bool:
        epoch, first, _ = key
        return self._last.get(epoch, 0) >= first


def _classify(key: _Range, ours: _Ours, theirs: Receipt | None, covered: _Covered) -> Delivery:
    settled, attempts = ours.settled.get(key), ours.sent.get(key, [])
    kind, why = _kind(key, ours, theirs, covered)
    numbers = [number for number, _ in attempts]
    if settled is not None:
        numbers.append(settled[0])
    epoch, first, last = key
    return Delivery(epoch=epoch, first=first, last=last, kind=kind, entry=max(numbers, default=None), why=why)


def _kind(key: _Range, ours: _Ours, theirs: Receipt | None, covered: _Covered) -> tuple[Kind, str]:
    if key in ours.settled:
        return _kind_of_settled(ours.settled[key][1], theirs)
    attempts = ours.sent.get(key, [])
    if theirs is not None:
        return _kind_of_held(attempts, theirs)
    if (refused := ours.refused.get(key)) is not None and refused[0] > attempts[-1][0]:
        return Kind.NOT_TAKEN, f"refused for {refused[1].reason}: {refused[1].outcome.replace('_', ' ')}"
    if covered.touches(key):
        return Kind.NOT_TAKEN, "its numbers went in other deliveries"
    return Kind.UNDECIDED, ""


def _kind_of_settled(ours: Receipt, theirs: Receipt | None) -> tuple[Kind, str]:
    if theirs is None:
        return Kind.RECEIPT_WITHOUT_RECORD, ""
    if ours != theirs:
        return Kind.DIFFERING, _difference(ours, theirs)
    if not ours.accepted and not ours.rejected:
        return Kind.EXCLUDED, _reasons(ours.absent)
    return Kind.MATCHED, ""


def _kind_of_held(attempts: Sequence[tuple[int, Sent]], theirs: Receipt) -> tuple[Kind, str]:
    if not attempts:
        return Kind.NO_RECEIPT, "nor does the ledger tell that it was sent"
    if all(sent.digest != theirs.digest for _, sent in attempts):
        return Kind.DIFFERING, "the vendor holds other bytes than were sent"
    return Kind.NO_RECEIPT, ""


def _difference(ours: Receipt, theirs: Receipt) -> str:
    fields = [name for name in Receipt.__struct_fields__ if getattr(ours, name) != getattr(theirs, name)]
    return f"the receipt says otherwise than the vendor of: {', '.join(fields)}"


def _reasons(absent: VerdictCounts) -> str:
    counts: dict[str, int] = {}
    for verdicts in absent.values():
        for verdict, count in verdicts.items():
            counts[verdict.value] = counts.get(verdict.value, 0) + count
    return ", ".join(f"{verdict} {count:,}" for verdict, count in sorted(counts.items()))


def _check_anchors(theirs: Iterable[Receipt], heads: Mapping[str, int]) -> tuple[int, list[str]]:
    anchors, problems = 0, []
    for each in sorted(theirs, key=lambda receipt: receipt.received):
        if each.ledger is None:
            continue
        if each.ledger in heads:
            anchors += 1
        else:
            problems.append(
                f"epoch {each.epoch}, {each.first}-{each.last}: when this was sent, the ledger ended with an entry "
                f"that is not in it now ({each.ledger[:16]}…): it was cut off, put back, or is another one"
            )
    return anchors, problems


def _check_repeated(theirs: Sequence[Receipt]) -> list[str]:
    last: dict[int, Receipt] = {}
    problems = []
    for each in sorted(theirs, key=lambda receipt: (receipt.epoch, receipt.first)):
        before = last.get(each.epoch)
        if before is not None and each.first <= before.last:
            problems.append(
                f"epoch {each.epoch}: the vendor holds {before.first}-{before.last} and {each.first}-{each.last}, "
                "which overlap"
            )
        last[each.epoch] = each
    return problems


def total(receipts: Iterable[Receipt]) -> dict[str, Totals]:
    """Return what became of the events of each name."""
    accepted: Counts = {}
    rejected: VerdictCounts = {}
    absent: VerdictCounts = {}
    for receipt in receipts:
        for name, count in receipt.accepted.items():
            accepted[name] = accepted.get(name, 0) + count
        merge_counts(rejected, receipt.rejected)
        merge_counts(absent, receipt.absent)
    return _totals(accepted, rejected, absent)


def _totals(accepted: Counts, rejected: VerdictCounts, absent: VerdictCounts) -> dict[str, Totals]:
    return {
        name: Totals(
            accepted=accepted.get(name, 0),
            rejected=total_counts({name: rejected.get(name, {})}),
            excluded={verdict.value: count for verdict, count in sorted(absent.get(name, {}).items())},
        )
        for name in sorted(accepted.keys() | rejected.keys() | absent.keys())
    }
