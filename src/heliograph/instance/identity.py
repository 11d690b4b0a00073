"""How an instance proves who it is: a short-lived statement that its own key signs (RFC 7523)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import jwt

from heliograph.wire import ASSERTION_AUDIENCE, ASSERTION_SECONDS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def assertion(key: Ed25519PrivateKey, instance: str, now: float, *, number: str | None = None) -> str:
    """Return a JWT that says "I am `instance`", signed by `key`; the gateway takes each once.

    Args:
        key: The instance's own private key.
        instance: Its name, as the vendor registered it.
        now: Seconds since 1970 by the instance's clock.
        number: The JWT's id; a random one by default.
    """
    issued = int(now)
    claims = {
        "iss": instance,
        "sub": instance,
        "aud": ASSERTION_AUDIENCE,
        "iat": issued,
        "exp": issued + ASSERTION_SECONDS,
        "jti": number or secrets.token_hex(16),
    }
    return jwt.encode(claims, key, algorithm="EdDSA")
