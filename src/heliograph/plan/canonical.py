"""A plan as the gateway answers it: canonical JSON, which is believed only as far as a signed digest says."""

from __future__ import annotations

import hashlib
from datetime import date
from typing import Any, Final

import msgspec

from heliograph.plan.model import EventDefinition, Plan
from heliograph.plan.rules import RULES

MOST_BYTES: Final = 1 << 20
"""Of a plan in canonical form: some hundred events are a tenth of it."""


class _Event(EventDefinition, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    # msgspec decodes no union of two types that are both text in JSON.
    expires: str  # type: ignore[assignment] # a date, or `never`


class _Plan(Plan, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    events: dict[str, _Event]  # type: ignore[assignment] # made to events afterwards


_decode: Final = msgspec.json.Decoder(_Plan).decode


class CanonicalPlanError(Exception):
    """These bytes are not a plan that can be used here; the message says why, and repeats nothing of them."""


def decode_canonical(content: bytes) -> Plan:
    """Return the plan that `content` holds, as it was checked before.

    Raises:
        CanonicalPlanError: It does not have the form of one.
    """
    try:
        rough = _decode(content)
        events = {name: _definition(event) for name, event in rough.events.items()}
    except (ValueError, RecursionError):
        raise CanonicalPlanError("it does not have the form of a plan that this release knows") from None
    return Plan(**_fields(rough, events=events))


def _fields(struct: msgspec.Struct, **others: object) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__} | others


def _definition(event: _Event) -> EventDefinition:
    expires = event.expires if event.expires == "never" else date.fromisoformat(event.expires)
    return EventDefinition(**_fields(event, expires=expires))


def read_canonical(content: bytes, digest: str) -> Plan:
    """Return the plan whose canonical JSON `content` is, checked by the rules that a plan's file is held to.

    Args:
        content: As it was answered.
        digest: The SHA-256 that it must have, in hexadecimal, by the word of somebody who is trusted.

    Raises:
        CanonicalPlanError: It has another digest, is larger than `MOST_BYTES`, has a form that this release does not
            know in full, or breaks a rule. A field of a later format may narrow what this release would let pass, so
            that nothing is believed of a plan that holds one.
    """
    if len(content) > MOST_BYTES:
        raise CanonicalPlanError(f"it is larger than {MOST_BYTES:,} bytes")
    if hashlib.sha256(content).hexdigest() != digest:
        raise CanonicalPlanError("it is not the plan whose digest was signed")
    plan = decode_canonical(content)
    if plan.canonical() != content:
        raise CanonicalPlanError("it says more than this release knows of plans")
    broken = sum(1 for rule in RULES for _ in rule(plan))
    if broken:
        raise CanonicalPlanError(f"it breaks {broken} of the rules that plans are held to")
    return plan
