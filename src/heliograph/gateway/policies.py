"""Policies: the gateway's signed word on what an instance may send, which the instance checks with a pinned key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heliograph.gateway.plans import PlanInForce
from heliograph.gateway.signing import sign
from heliograph.wire import POLICY_TYPE, PolicyAnswer, PolicyStatement

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from heliograph.plan.model import Plan
    from heliograph.registry.snapshot import Permission


class PolicySigner:
    """Signs policies.

    Args:
        key: The gateway's signing key.
        plan: The tracking plan that the gateway checks against.
        valid_seconds: For how long an instance may rely on a policy.
        now: The clock.
    """

    def __init__(
        self, key: Ed25519PrivateKey, plan: Plan | PlanInForce, *, valid_seconds: int, now: Callable[[], datetime]
    ) -> None:
        self._key = key
        self._plans = PlanInForce.of(plan)
        self._valid_seconds = valid_seconds
        self._now = now

    def answer(self, instance: str, permission: Permission) -> PolicyAnswer:
        """Return what `instance` is told of its `permission`."""
        decision, plan = permission.decision, self._plans.checks()
        statement = PolicyStatement(
            instance=instance,
            level=decision.level.value,
            agreement=decision.agreement,
            reasons=list(decision.reasons),
            plan=plan.label,
            plan_digest=plan.digest,
            issued=int(self._now().timestamp()),
            valid_seconds=self._valid_seconds,
            evidence=permission.evidence,
        )
        return PolicyAnswer(policy=sign(statement, self._key, POLICY_TYPE))
