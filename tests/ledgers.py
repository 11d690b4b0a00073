"""Ledgers for tests: made entry by entry with the real table, and receipts that a key really signed."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from heliograph.event import Verdict
from heliograph.gateway.receipts import ReceiptSigner
from heliograph.instance.ledger import SCHEMA, Ledger
from heliograph.keys import fingerprint
from heliograph.ledger.entries import Refused, Sent, Settled
from heliograph.ledger.export import ledger_lines
from heliograph.wire import Receipt

if TYPE_CHECKING:
    from heliograph.consent.trust import Keys

VENDOR = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS: Keys = {fingerprint(VENDOR): VENDOR.public_key()}


class Book:
    """A ledger in memory, and the vendor's half of it."""

    def __init__(self, instance: str = "acme-1") -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.executescript(SCHEMA)
        self.time = 1_790_000_000_000_000
        self.ledger = Ledger(self.connection, now=lambda: self.time, new_id=lambda: "7" * 32)
        self.instance = instance
        self.signer = ReceiptSigner(VENDOR)
        self.receipts: list[Receipt] = []
        self.next: dict[int, int] = {}

    def send(self, epoch: int, events: int, absent: int = 0, *, salt: str = "") -> Sent:
        """Tell of a delivery that leaves, with so many events and numbers that stay."""
        self.time += 1_000
        first = self.next.get(epoch, 1)
        sent = Sent(
            time=self.time,
            epoch=epoch,
            first=first,
            last=first + events + absent - 1,
            events={"goToDefinition": events} if events else {},
            absent={"PageViewed": {Verdict.OPTED_OUT: absent}} if absent else {},
            digest=hashlib.sha256(f"{epoch} {first} {events} {absent} {salt}".encode()).hexdigest(),
            size=100 + events,
            plan=None,
        )
        self.ledger.append_sent(sent)
        return sent

    def hold(self, sent: Sent, *, rejected: int = 0, **fields: Any) -> Receipt:
        """Let the vendor hold a delivery, and return its receipt."""
        events = sum(sent.events.values())
        given: dict[str, Any] = {
            "instance": self.instance,
            "epoch": sent.epoch,
            "first": sent.first,
            "last": sent.last,
            "accepted": {"goToDefinition": events - rejected} if events > rejected else {},
            "rejected": {"goToDefinition": {Verdict.INVALID_PROPERTY: rejected}} if rejected else {},
            "absent": sent.absent,
            "digest": sent.digest,
            "agreement": "agreement-1",
            "received": self.time + 500,
            "ledger": self.ledger.head().digest,
        }
        receipt = Receipt(**(given | fields))
        self.receipts.append(receipt)
        self.next[sent.epoch] = sent.last + 1
        return receipt

    def settle(self, receipt: Receipt, *, signed: bool = True) -> None:
        """Tell of the receipt."""
        self.time += 1_000
        self.ledger.append(
            Settled(
                time=self.time,
                epoch=receipt.epoch,
                first=receipt.first,
                last=receipt.last,
                signature=self.signer.sign(receipt) if signed else None,
                receipt=None if signed else receipt,
            )
        )

    def deliver(self, epoch: int, events: int, absent: int = 0, *, rejected: int = 0) -> Receipt:
        """Send, hold and settle."""
        receipt = self.hold(self.send(epoch, events, absent), rejected=rejected)
        self.settle(receipt)
        return receipt

    def refuse(self, sent: Sent, *, outcome: str = "split") -> None:
        """Tell that the gateway refused it."""
        self.time += 1_000
        self.ledger.append(
            Refused(
                time=self.time,
                epoch=sent.epoch,
                first=sent.first,
                last=sent.last,
                reason="bad_sequence",
                outcome=outcome,
            )
        )

    def lines(self) -> list[bytes]:
        """The lines of its export."""
        return list(ledger_lines(self.ledger.links(), self.ledger.head(), []))
