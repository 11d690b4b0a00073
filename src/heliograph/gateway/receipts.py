"""Receipts: the gateway's signed word on what it stored, which anyone can check offline with its public key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heliograph.gateway.signing import sign
from heliograph.wire import RECEIPT_TYPE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from heliograph.wire import PingReceipt, Receipt


class ReceiptSigner:
    """Signs receipts as compact JWS (RFC 7515) with EdDSA (RFC 8037)."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def sign(self, receipt: Receipt | PingReceipt) -> str:
        """Return the receipt as a compact JWS, whose payload is the receipt's JSON."""
        return sign(receipt, self._key, RECEIPT_TYPE)
