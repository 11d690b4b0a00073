"""Verifying a ledger, offline: nothing in it changed, nothing is missing, and every receipt is the vendor's word."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import msgspec

from heliograph.consent.chain import Head, empty, find_link_faults
from heliograph.ledger.entries import (
    CHAIN,
    Acknowledged,
    Begun,
    CarriedOver,
    EntryError,
    Moved,
    PingSent,
    PingSettled,
    Sent,
    Settled,
    canonical_json,
    decode_entry,
    encode_entry,
)
from heliograph.ledger.receipts import ReceiptError, UnknownKeyError, check_receipt, read_receipt
from heliograph.wire import PingReceipt, Receipt, total_counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from heliograph.consent.chain import Link
    from heliograph.consent.trust import Keys
    from heliograph.ledger.entries import Entry

_Kind = TypeVar("_Kind", Receipt, PingReceipt)


class Problem(NamedTuple):
    """Something that must not be in a ledger."""

    number: int
    """Of the entry at fault; 0 for what is about no entry."""
    why: str
    """What is wrong, to follow the words "entry N"."""

    def __str__(self) -> str:
        """Return it as a sentence."""
        return f"entry {self.number} {self.why}" if self.number else self.why


class Verified(msgspec.Struct, kw_only=True):
    """What verifying has come to."""

    entries: int
    deliveries: int = 0
    """Those that have a receipt."""
    signatures: int = 0
    """Receipts that the vendor has signed, for events and pings."""
    bodies: int = 0
    """Kept bytes that have the digest of their delivery."""
    problems: list[Problem] = []
    """Empty: all is as it was written."""
    notes: list[Problem] = []
    """What is no fault of the ledger, and worth knowing."""


def verify(links: Sequence[Link], keys: Keys, bodies: Iterable[tuple[str, str]] = ()) -> Verified:
    """Verify a ledger.

    Args:
        links: All its entries as they are stored.
        keys: The vendor's keys that are trusted, and those that follow from them.
        bodies: The digest under which each kept delivery stands, and the digest that its bytes have.
    """
    known = _Remembered()
    walk = Walk(keys, known)
    walk.take(links)
    walk.end()
    _look_at_bodies(walk, known, bodies)
    return walk.found


def read_entries(links: Iterable[Link]) -> list[tuple[int, Entry]]:
    """Return the entries that can be read, with their numbers."""
    found = []
    for link in links:
        try:
            found.append((link.number, decode_entry(link.body)))
        except EntryError:
            continue
    return found


class Known(Protocol):
    """The entries that a walk has passed."""

    def add(self, number: int, digest: str, entry: Entry | None) -> None:
        """Take one in; None: it cannot be read."""

    def attempts(self, receipt: Receipt, before: int) -> list[tuple[int, Sent]]:
        """Return, of those before a number, which tell of sending the range of a receipt, in their order."""

    def number_of(self, digest: str) -> int:
        """Return the number of the entry with a digest; 0 if there is none."""


class _Remembered:
    """All of them, in memory."""

    def __init__(self) -> None:
        self._heads: dict[str, int] = {}
        self._sent: dict[tuple[int, int, int], list[tuple[int, Sent]]] = {}
        self.bodies: dict[str, int] = {}
        """Which entry tells first of sending bytes of this digest."""

    def add(self, number: int, digest: str, entry: Entry | None) -> None:
        """See `Known.add`."""
        self._heads.setdefault(digest, number)
        if isinstance(entry, Sent):
            self._sent.setdefault((entry.epoch, entry.first, entry.last), []).append((number, entry))
            self.bodies.setdefault(entry.digest, number)

    def attempts(self, receipt: Receipt, before: int) -> list[tuple[int, Sent]]:
        """See `Known.attempts`."""
        sent = self._sent.get((receipt.epoch, receipt.first, receipt.last), [])
        return [(number, each) for number, each in sent if number < before]

    def number_of(self, digest: str) -> int:
        """See `Known.number_of`."""
        return self._heads.get(digest, 0)


def _look_at_bodies(walk: Walk, known: _Remembered, bodies: Iterable[tuple[str, str]]) -> None:
    for said, is_so in bodies:
        if said not in known.bodies:
            walk.found.notes.append(Problem(0, f"bytes are kept that no entry tells of (SHA-256 {said})"))
        elif said != is_so:
            why = "was sent with other bytes than those that are kept: these were changed"
            walk.found.problems.append(Problem(known.bodies[said], why))
        else:
            walk.found.bodies += 1


class Walk:
    """Goes through the entries from the first on, in portions, and holds each to those before it.

    Args:
        keys: The vendor's keys that are trusted.
        known: Remembers what was passed.
        are_all: Whether those are all keys that the vendor ever had. If not, a receipt of another one is noted alone.
    """

    def __init__(self, keys: Keys, known: Known, *, are_all: bool = True) -> None:
        self._keys = keys
        self._are_all = are_all
        self._known = known
        self.found = Verified(entries=0)
        self.passed = empty(CHAIN)
        """The last entry that was taken."""
        self._settled: dict[int, int] = {}
        """The last number of each epoch that a receipt accounts for."""
        self._moved: dict[int, int] = {}
        """Where each epoch goes on after the two ends differed."""
        self._pings: dict[str, PingSent] = {}
        self._instance: str | None = None

    def take(self, links: Sequence[Link]) -> None:
        """Take the next entries, as they are stored."""
        for fault in find_link_faults(CHAIN, links, self.passed):
            self._problem(fault.number, fault.why)
        for link in links:
            entry = None
            try:
                entry = decode_entry(link.body)
            except EntryError as error:
                self._problem(link.number, str(error))
            else:
                if encode_entry(entry) != link.body:
                    self._problem(link.number, "is not in its one written form: it was changed")
                self._take(link.number, entry)
            self._known.add(link.number, link.digest, entry)
            self.passed = Head(link.number, link.digest)
        self.found.entries += len(links)

    def end(self) -> None:
        """Say that there are no more."""
        if self.found.entries == 0:
            self._problem(0, "the ledger has no entry")

    def _problem(self, number: int, why: str) -> None:
        self.found.problems.append(Problem(number, why))

    def _note(self, number: int, why: str) -> None:
        self.found.notes.append(Problem(number, why))

    def _take(self, number: int, entry: Entry) -> None:
        if isinstance(entry, Begun) != (number == 1):
            self._problem(number, "begins a ledger, and is not the first" if number > 1 else "does not begin a ledger")
        match entry:
            case Sent():
                self._take_sent(number, entry)
            case Settled() | CarriedOver():
                self._take_settled(number, entry)
            case Moved():
                self._note(
                    number,
                    f"tells that the two ends differed: epoch {entry.epoch} goes on at {entry.expected}, not at "
                    f"{entry.acknowledged + 1}",
                )
                self._moved[entry.epoch] = entry.expected
            case PingSent():
                self._pings[entry.day.isoformat()] = entry
            case PingSettled():
                self._take_ping(number, entry)
            case Acknowledged():
                for fault in entry.faults:
                    self._note(number, f"acknowledges that {fault}; {entry.by} says why: {entry.reason}")
            case _:
                pass

    def _take_sent(self, number: int, sent: Sent) -> None:
        numbers = sent.last - sent.first + 1
        events, absent = sum(sent.events.values()), total_counts(sent.absent)
        if numbers < 1 or events + absent != numbers:
            self._problem(
                number, f"does not close: {numbers:,} numbers, and {events:,} events and {absent:,} that stayed"
            )

    def _take_settled(self, number: int, entry: Settled | CarriedOver) -> None:
        receipt = self._receipt(number, entry)
        if receipt is None:
            return
        self.found.deliveries += 1
        if (receipt.epoch, receipt.first, receipt.last) != (entry.epoch, entry.first, entry.last):
            self._problem(number, "is about another range than its receipt")
        self._check_instance(number, receipt)
        self._check_contiguous(number, receipt, carried_over=isinstance(entry, CarriedOver))
        numbers = receipt.last - receipt.first + 1
        told = sum(receipt.accepted.values()) + total_counts(receipt.rejected) + total_counts(receipt.absent)
        if told != numbers:
            self._problem(number, f"has a receipt that does not close: {numbers:,} numbers, and {told:,} are told of")
        if isinstance(entry, Settled):
            self._check_sent(number, receipt)

    def _receipt(self, number: int, entry: Settled | CarriedOver) -> Receipt | None:
        try:
            if entry.signature is None:
                receipt = read_receipt(entry)
                self._note(number, "has a receipt without a signature: the answer was lost, and the account told of it")
                return receipt
            return self._signed(number, entry.signature, Receipt) or read_receipt(entry)
        except ReceiptError as error:
            self._problem(number, f"is not proved: its receipt {error}")
            return None

    def _signed(self, number: int, signature: str, kind: type[_Kind]) -> _Kind | None:
        """Return the receipt that the vendor signed; None where one of the vendor's earlier keys may have.

        Raises:
            ReceiptError: See `check_receipt`.
        """
        try:
            receipt = check_receipt(signature, self._keys, kind)
        except UnknownKeyError as error:
            if self._are_all:
                raise
            self._note(number, f"is not verified: its receipt {error}")
            return None
        self.found.signatures += 1
        return receipt

    def _check_instance(self, number: int, receipt: Receipt | PingReceipt) -> None:
        self._instance = self._instance or receipt.instance
        if receipt.instance != self._instance:
            self._problem(number, "has a receipt for another instance than those before it")

    def _check_contiguous(self, number: int, receipt: Receipt, *, carried_over: bool) -> None:
        after = self._settled.get(receipt.epoch, 0)
        expected = self._moved.pop(receipt.epoch, after + 1)
        if receipt.first != expected and not (carried_over and after == 0):
            self._problem(
                number,
                f"leaves a gap, or overlaps: in epoch {receipt.epoch} the number {expected} comes next, "
                f"and not {receipt.first}",
            )
        self._settled[receipt.epoch] = receipt.last

    def _check_sent(self, number: int, receipt: Receipt) -> None:
        attempts = self._known.attempts(receipt, number)
        if not attempts:
            self._problem(number, "has a receipt for a delivery that no entry before it tells of")
            return
        same = [(at, sent) for at, sent in attempts if sent.digest == receipt.digest]
        if not same:
            self._problem(number, f"has a receipt for other bytes than those sent by entry {attempts[-1][0]}")
            return
        # Bodies without an event are the same bytes, whatever their numbers are left out for.
        at, sent = next(((at, sent) for at, sent in same if _counts_alike(receipt, sent)), same[0])
        if not _counts_alike(receipt, sent):
            self._problem(number, f"counts otherwise than entry {at}, which was sent")
        elif any(count > sent.events.get(name, 0) for name, count in receipt.accepted.items()):
            self._problem(number, f"has more of an event accepted than entry {at} has sent")
        if receipt.ledger is not None and not at <= self._known.number_of(receipt.ledger) < number:
            self._problem(
                number, "has a receipt that names an entry which is not here: the ledger is not the one that was sent"
            )

    def _take_ping(self, number: int, entry: PingSettled) -> None:
        sent = self._pings.get(entry.day.isoformat())
        if sent is None:
            self._problem(number, f"answers a ping of {entry.day} of which no entry before it tells")
        if entry.signature is None:
            return
        try:
            receipt = self._signed(number, entry.signature, PingReceipt)
        except ReceiptError as error:
            self._problem(number, f"is not proved: its receipt {error}")
            return
        if receipt is None:
            return
        self._check_instance(number, receipt)
        if receipt.day != entry.day or (sent is not None and receipt.digest != sent.digest):
            self._problem(number, "has a receipt for another ping than the one that was sent")


def _counts_alike(receipt: Receipt, sent: Sent) -> bool:
    stored = sum(receipt.accepted.values()) + total_counts(receipt.rejected)
    return stored == sum(sent.events.values()) and receipt.absent == sent.absent


def is_canonical(line: bytes) -> bool:
    """Tell whether a line of JSON is in its one written form, so that no byte of it can change unseen."""
    try:
        return canonical_json(msgspec.json.decode(line)) == line
    except (ValueError, RecursionError):
        return False
