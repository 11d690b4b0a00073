"""What a vendor signs, for tests: policies and endorsements, as they should be and as they should not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness import SMALL_PLAN
from heliograph.gateway.signing import sign
from heliograph.keys import public_key_text
from heliograph.wire import KEY_TYPE, POLICY_TYPE, Endorsement, PolicyStatement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

INSTANCE = "acme-1"


def policy(key: Ed25519PrivateKey, *, kind: str = POLICY_TYPE, **fields: Any) -> str:
    """A policy that allows events, changed by `fields`, signed by `key`."""
    given: dict[str, Any] = {
        "instance": INSTANCE,
        "level": "events",
        "agreement": "agreement-1",
        "reasons": ["agreement-1 allows events."],
        "plan": "code-intelligence@1",
        "plan_digest": SMALL_PLAN.digest(),
        "issued": 1_790_856_000,
        "valid_seconds": 60,
    }
    return sign(PolicyStatement(**(given | fields)), key, kind)


def endorsement(by: Ed25519PrivateKey, key: Ed25519PrivateKey, *, kind: str = KEY_TYPE) -> str:
    """The word of `by` for `key`."""
    return sign(Endorsement(key=public_key_text(key), by=public_key_text(by), issued=1), by, kind)
