"""One way of signing for everything that the gateway says and others keep: compact JWS (RFC 7515), EdDSA (RFC 8037)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec
from jwt.utils import base64url_encode

from heliograph.keys import fingerprint

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
_MOST_HEADERS: Final = 16


def sign(statement: msgspec.Struct, key: Ed25519PrivateKey, kind: str) -> str:
    """Return `statement` as a compact JWS, whose payload is its JSON.

    Args:
        statement: What is said.
        key: The gateway's signing key; the header names it by its fingerprint (``kid``).
        kind: What the signature is for (``typ``), such as `heliograph.wire.POLICY_TYPE`.
    """
    signed = b".".join((_header(key, kind), base64url_encode(msgspec.json.encode(statement))))
    return b".".join((signed, base64url_encode(key.sign(signed)))).decode()


@lru_cache(maxsize=_MOST_HEADERS)
def _header(key: Ed25519PrivateKey, kind: str) -> bytes:
    """Return the first part of what a key signs, made once: a gateway signs each delivery with the same one."""
    return base64url_encode(msgspec.json.encode({"alg": "EdDSA", "kid": fingerprint(key), "typ": kind}))
