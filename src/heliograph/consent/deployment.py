"""The deployment policy: managed instances first, on-premises ones by a recorded decision."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from heliograph.consent.level import Decision, Level
from heliograph.consent.records import DeploymentDecision, Record, Unreadable, of_kind, record_problems

if TYPE_CHECKING:
    from datetime import datetime


class Deployment(enum.StrEnum):
    """Who runs an instance."""

    MANAGED = "managed"
    """The vendor, for the customer."""
    ON_PREMISES = "on_premises"
    """The customer."""


def deployment_level(deployment: Deployment | None, records: tuple[Record, ...], at: datetime) -> Decision:
    """Return what an instance may send at the moment `at` because of how it is deployed.

    Args:
        deployment: None when it is unknown, which decides for `Level.OFF`.
        records: All records of the vendor's own chain, in their order.
        at: The moment in question, with a time zone.
    """
    if deployment is None:
        return Decision(Level.OFF, ("How the instance is deployed is not known: nothing may leave.",))
    if deployment is Deployment.MANAGED:
        return Decision(Level.EVENTS, ("Managed instances may send events.",))
    doubts = [record.doubt for record in of_kind(records, Unreadable)]
    decision = standing_decision(records, at)
    if decision is not None:
        doubts += [
            f"The evidence of decision {decision.document} has a gap, {problem}: nothing may leave."
            for problem in record_problems(decision)
        ]
    if doubts:
        return Decision(Level.OFF, tuple(doubts))
    if decision is None:
        reason = "On-premises instances may send critical telemetry only: no decision lets them send events."
        return Decision(Level.CRITICAL, (reason,))
    reason = f"On-premises instances may send at most {decision.level}, by decision {decision.document}: "
    return Decision(decision.level, (f"{reason}{decision.reason}.",))


def standing_decision(records: tuple[Record, ...], at: datetime) -> DeploymentDecision | None:
    """Return the decision in force at `at`: of those that have begun, the last to begin, and the last recorded."""
    begun = [decision for decision in of_kind(records, DeploymentDecision) if decision.effective <= at]
    return max(reversed(begun), key=lambda decision: decision.effective, default=None)
