"""Stands for the registry: one instance, what it may send, and the orders to erase, each recorded in one commit."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from harness import ACCOUNT, INSTANCE
from heliograph.consent.deployment import Deployment
from heliograph.consent.erasure import ErasureOrder, user_digest
from heliograph.consent.level import Decision, Level
from heliograph.keys import fingerprint, public_key_text
from heliograph.registry.erasures import Ordered, Pending, _pending
from heliograph.registry.snapshot import InstanceRecord, Permission, Snapshot
from heliograph.registry.view import MAXIMUM_AGE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from heliograph.consent.erasure import ErasureProof
    from simulation.processes import Stage

_ADDED: Final = datetime(2026, 11, 1, tzinfo=UTC)


class Registry:
    """The registry's database and the view on it, which outlive whoever asks."""

    def __init__(self, stage: Stage, key: Ed25519PrivateKey) -> None:
        self._stage = stage
        self.level = Level.EVENTS
        self.orders: dict[str, ErasureOrder] = {}
        self.users: dict[str, str] = {}
        """The random id of each order for one user, proved or not: the real one forgets it with the proof."""
        self.proofs: dict[str, ErasureProof] = {}
        self.use_key(key)

    def use_key(self, key: Ed25519PrivateKey) -> None:
        """Register another key of the instance."""
        record = InstanceRecord(
            name=INSTANCE,
            account=ACCOUNT,
            deployment=Deployment.MANAGED,
            public_key=public_key_text(key),
            fingerprint=fingerprint(key.public_key()),
            active=True,
            added=_ADDED,
        )
        self._snapshot = Snapshot(version=1, accounts={}, instances={INSTANCE: record})

    @property
    def registry(self) -> Registry:
        """The database behind the view."""
        return self

    def permission(self, _: str) -> Permission:
        agreement = "agreement-1" if self.level is Level.EVENTS else None
        return Permission(ACCOUNT, Decision(self.level, ("as the simulation says",), agreement))

    def snapshot(self) -> Snapshot:
        return self._snapshot

    def waiting(self) -> list[str]:
        """Return the orders that are not proved."""
        return [erasure for erasure in self.orders if erasure not in self.proofs]

    def commit(self, what: str) -> contextlib.AbstractContextManager[None]:
        process = self._stage.acting
        return contextlib.nullcontext() if process is None else process.commit(what)


def order(
    registry: Registry,
    *,
    account: str,
    reason: str,
    recorded_by: str,
    now: datetime,
    since: datetime | None,
    instance: str | None = None,
    user_id: str | None = None,
) -> Ordered:
    """Stands for `heliograph.registry.erasures.order`."""
    digest = None if user_id is None else user_digest(user_id)
    for erasure in registry.waiting():
        if digest is not None and registry.orders[erasure].user_digest == digest:
            return Ordered(registry.orders[erasure], duplicate=True)
    made = ErasureOrder(
        id=f"erasure-{len(registry.orders) + 1}",
        account=account,
        instance=instance,
        user_digest=digest,
        since=since,
        until=now + timedelta(seconds=MAXIMUM_AGE_SECONDS),
        reason=reason,
        recorded=now,
        recorded_by=recorded_by,
    )
    with registry.commit("record an erasure"):
        registry.orders[made.id] = made
        if user_id is not None:
            registry.users[made.id] = user_id
    return Ordered(made)


def pending(registry: Registry) -> list[Pending]:
    """Stands for `heliograph.registry.erasures.pending`."""
    instances = registry.snapshot().instances.values()
    return [
        _pending(registry.orders[erasure], instances, user_id=registry.users.get(erasure))
        for erasure in registry.waiting()
    ]


def note(_: Registry, ids: Iterable[str], step: str, *, problem: str | None = None) -> None:
    """Stands for `heliograph.registry.erasures.note`: nobody reads it here."""


def finish(registry: Registry, proof: ErasureProof) -> None:
    """Stands for `heliograph.registry.erasures.finish`."""
    with registry.commit(f"record the proof of {proof.erasure}"):
        registry.proofs.setdefault(proof.erasure, proof)
