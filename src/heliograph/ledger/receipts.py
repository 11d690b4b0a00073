"""Receipts as they stand in a ledger: read without trust, and checked against the vendor's keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import jwt
import msgspec

from heliograph.consent.trust import read_header, verified
from heliograph.wire import RECEIPT_TYPE, PingReceipt, Receipt

if TYPE_CHECKING:
    from heliograph.consent.trust import Keys
    from heliograph.ledger.entries import CarriedOver, Settled

_Kind = TypeVar("_Kind", Receipt, PingReceipt)
_jws: Final = jwt.PyJWS(algorithms=["EdDSA"])


class ReceiptError(Exception):
    """A receipt cannot be believed; the message says why, to follow the words "its receipt"."""


class UnknownKeyError(ReceiptError):
    """It is signed by a key of which nothing is known."""


def read_receipt(entry: Settled | CarriedOver) -> Receipt:
    """Return what an entry's receipt says; the instance checked it when it came, or it is checked elsewhere.

    Raises:
        ReceiptError: There is none that can be read.
    """
    if entry.signature is None:
        if entry.receipt is None:
            raise ReceiptError("is missing")
        return entry.receipt
    return _decode(_payload(entry.signature), Receipt)


def check_receipt(signature: str, keys: Keys, kind: type[_Kind]) -> _Kind:
    """Return the receipt that one of the vendor's keys signed.

    Raises:
        ReceiptError: None of them did, or it says something else; `UnknownKeyError`: none of them signed it.
    """
    header = read_header(signature)
    if header is None or header.get("typ") != RECEIPT_TYPE:
        raise ReceiptError("is no signed receipt: it was changed")
    key = keys.get(header["kid"])
    if key is None:
        raise UnknownKeyError(
            "is signed by a key that does not follow from those given: give the vendor's older keys too"
        )
    content = verified(signature, key)
    if content is None:
        raise ReceiptError("does not bear the vendor's signature: it was changed")
    return _decode(content, kind)


def _payload(signature: str) -> bytes:
    try:
        content: bytes = _jws.decode_complete(signature, options={"verify_signature": False})["payload"]
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise ReceiptError("cannot be read: it was changed") from None
    return content


def _decode(content: bytes, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError):
        raise ReceiptError("is signed, and says no receipt of this kind") from None
