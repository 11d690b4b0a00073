"""One way of signing for everything that the gateway says and others keep: compact JWS (RFC 7515), EdDSA (RFC 8037)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import jwt
import msgspec

from heliograph.keys import fingerprint

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_jws: Final = jwt.PyJWS(algorithms=["EdDSA"])


def sign(statement: msgspec.Struct, key: Ed25519PrivateKey, kind: str) -> str:
    """Return `statement` as a compact JWS, whose payload is its JSON.

    Args:
        statement: What is said.
        key: The gateway's signing key; the header names it by its fingerprint (``kid``).
        kind: What the signature is for (``typ``), such as `heliograph.wire.POLICY_TYPE`.
    """
    return _jws.encode(msgspec.json.encode(statement), key, "EdDSA", headers={"typ": kind, "kid": _name(key)})


@lru_cache(maxsize=4)
def _name(key: Ed25519PrivateKey) -> str:
    """Return a key's fingerprint, found once: a gateway signs each delivery with the same one."""
    return fingerprint(key)
