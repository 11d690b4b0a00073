"""Erasure: the order to take back what was stored, and the proof that it was carried out."""

from __future__ import annotations

import hashlib

from heliograph.consent.agreement import Moment, Recorded, text_problems


class ErasureOrder(Recorded, frozen=True, kw_only=True, tag="erasure_order"):
    """What is to be erased, and why. It is recorded first, by a role or the instance, then carried out, then proved."""

    id: str
    account: str
    instance: str | None = None
    """One instance of the account; None: all of them."""
    user_digest: str | None = None
    """SHA-256 of the random id of one user of the instance, whose rows go whenever they arrived; None: everybody."""
    since: Moment | None = None
    """The first moment of arrival at the gateway that is covered; None: from the beginning."""
    until: Moment
    """The last moment covered: for this long a gateway may rely on what it knew before the order."""
    reason: str


class ErasureProof(Recorded, frozen=True, kw_only=True, tag="erasure_proof"):
    """What was erased for an order, and what was looked through afterwards without finding any of it."""

    account: str
    erasure: str
    """The order's id."""
    rows: dict[str, dict[str, int]]
    """Events erased, by instance and event name."""
    tables: dict[str, int]
    """Rows erased, by table of the lake."""
    files_rewritten: int
    """Data files of the lake that held such rows."""
    files_removed: int
    """Files deleted from the lake: those, and whatever told of them."""
    files_scanned: int
    bytes_scanned: int
    digest: str
    """SHA-256 of the list of the scanned files, each with its own SHA-256, in the form of ``sha256sum``."""


def user_digest(user_id: str) -> str:
    """Return what an order keeps of a user's random id."""
    return hashlib.sha256(user_id.encode()).hexdigest()


def order_problems(order: ErasureOrder) -> list[str]:
    """Return everything that is wrong with an order by itself; empty: nothing."""
    problems = [*text_problems("reason", order.reason), *text_problems("recorded by", order.recorded_by)]
    if order.since is not None and order.since > order.recorded:
        problems.append(f"since {order.since.isoformat()} is in the future: an erasure reaches back")
    if order.user_digest is not None and order.instance is None:
        problems.append("a user is known on one instance only: name it")
    return problems
