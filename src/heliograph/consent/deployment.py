"""The deployment policy: managed instances first, on-premises ones by a recorded decision."""

from __future__ import annotations

import enum

from heliograph.consent.level import Decision, Level


class Deployment(enum.StrEnum):
    """Who runs an instance."""

    MANAGED = "managed"
    """The vendor, for the customer."""
    ON_PREMISES = "on_premises"
    """The customer."""


def deployment_level(deployment: Deployment | None, *, on_premises_decision: str) -> Decision:
    """Return what an instance may send because of how it is deployed.

    Args:
        deployment: None when it is unknown, which decides for `Level.OFF`.
        on_premises_decision: Reference of the decision that lets on-premises instances send events, or empty.
    """
    if deployment is None:
        return Decision(Level.OFF, ("How the instance is deployed is not known: nothing may leave.",))
    if deployment is Deployment.MANAGED:
        return Decision(Level.EVENTS, ("Managed instances may send events.",))
    if on_premises_decision:
        reason = f"On-premises instances may send events, by decision {on_premises_decision}."
        return Decision(Level.EVENTS, (reason,))
    reason = "On-premises instances may send critical telemetry only: no decision lets them send events."
    return Decision(Level.CRITICAL, (reason,))
