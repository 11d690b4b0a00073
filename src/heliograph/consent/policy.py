"""What the vendor told the instance, and for how long the instance may believe it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from heliograph.consent.level import ON_THE_INSTANCE, Decision, Level, Party, resolve

if TYPE_CHECKING:
    from heliograph.wire import PolicyAnswer


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The vendor's answer, with the moment of its receipt by the instance's clock."""

    level: Level | None
    """None when the answer names a level that is not known here, which decides for `Level.OFF`."""
    agreement: str | None
    reasons: tuple[str, ...]
    plan: str
    plan_digest: str
    received: datetime
    valid_seconds: int

    @classmethod
    def from_answer(cls, answer: PolicyAnswer, *, received: datetime) -> Policy:
        """Return the policy that `answer` states."""
        return cls(
            level=Level.parse(answer.level),
            agreement=answer.agreement,
            reasons=tuple(answer.reasons),
            plan=answer.plan,
            plan_digest=answer.plan_digest,
            received=received,
            valid_seconds=answer.valid_seconds,
        )


def instance_level(policy: Policy | None, admin: Level | None, now: datetime) -> Decision:
    """Return what the instance may send at `now`: the narrowest of the vendor's word and the admin's.

    Args:
        policy: The latest policy received; None when there is none.
        admin: The admin's choice; None when it cannot be read.
        now: The instance's clock, with a time zone.
    """
    words = {Party.POLICY: _policy_word(policy, now), Party.ADMIN: _admin_word(admin)}
    return resolve(ON_THE_INSTANCE, words)


def _policy_word(policy: Policy | None, now: datetime) -> Decision | None:
    if policy is None:
        return None
    if policy.level is None:
        return _doubtful("The vendor's policy names a level that is not known here")
    age = (now - policy.received).total_seconds()
    if age < 0:
        return _doubtful("The clock was set back, so the age of the vendor's policy is not known")
    if age >= policy.valid_seconds:
        return _doubtful(f"The vendor's policy has expired, {policy.valid_seconds} seconds after its receipt")
    return Decision(policy.level, policy.reasons, policy.agreement)


def _doubtful(doubt: str) -> Decision:
    return Decision(Level.OFF, (f"{doubt}: nothing may leave until the gateway has answered again.",))


def _admin_word(admin: Level | None) -> Decision | None:
    return None if admin is None else Decision(admin, (f"The admin chose {admin}.",))
