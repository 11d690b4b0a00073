"""Erasures as the registry keeps them: `order` records one, `pending` tells what is to be done, `finish` proves it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import delete, func, insert, select, update

from heliograph.consent.erasure import ErasureOrder, ErasureProof, order_problems, user_digest
from heliograph.consent.records import of_kind
from heliograph.registry import checks
from heliograph.registry.errors import RegistryError
from heliograph.registry.tables import pending_erasures
from heliograph.registry.view import MAXIMUM_AGE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection, Row

    from heliograph.registry.snapshot import InstanceRecord, Snapshot
    from heliograph.registry.store import Registry

MOST_PENDING: Final = 1_000
"""Orders for users of one instance that may wait at once."""
WAITING: Final = "waiting for the loader"


class TooManyErasuresError(RegistryError):
    """An instance has as many orders waiting as it may."""


class Ordered(msgspec.Struct, frozen=True):
    """An order as it was recorded."""

    order: ErasureOrder
    duplicate: bool = False
    """Whether the same had been ordered before and is still pending, so that nothing was recorded now."""


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """An order that is not proved yet, with what is needed to carry it out."""

    order: ErasureOrder
    instances: tuple[str, ...]
    """The instances that it covers."""
    user_id: str | None
    """The random id of its user; None when it is for everybody."""
    step: str
    problem: str | None


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """An order with what became of it."""

    order: ErasureOrder
    proof: ErasureProof | None
    """None while it is pending."""
    step: str | None
    """What is being done, while it is pending."""
    problem: str | None
    """Why the last attempt did not succeed."""

    @property
    def state(self) -> str:
        """What became of it, in words."""
        if self.proof is not None:
            return "proved"
        return f"pending: {self.step}" if self.problem is None else f"pending: {self.problem}"


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
    """Record an order; one for a user that is still pending is not recorded again.

    Raises:
        TooManyErasuresError: The instance has too many orders waiting.
        RegistryError: All that is wrong with the order.
    """
    digest = None if user_id is None else user_digest(user_id)
    with registry.transaction() as transaction:
        orders = _orders(transaction.snapshot)
        if digest is not None:
            found = _pending_for(transaction.connection, instance, digest)
            if found is not None:
                return Ordered(orders[found], duplicate=True)
        made = ErasureOrder(
            id=checks.next_id("erasure", orders),
            account=account,
            instance=instance,
            user_digest=digest,
            since=since,
            until=now + timedelta(seconds=MAXIMUM_AGE_SECONDS),
            reason=reason,
            recorded=now,
            recorded_by=recorded_by,
        )
        checks.raise_any(_problems(transaction.snapshot, made))
        transaction.append(made)
        transaction.connection.execute(
            insert(pending_erasures).values(
                erasure=made.id,
                instance=None if digest is None else instance,
                user_digest=digest,
                user_id=user_id,
                step=WAITING,
            )
        )
    return Ordered(made)


def _orders(snapshot: Snapshot) -> dict[str, ErasureOrder]:
    """Return all orders by id, in the order in which they were recorded."""
    found = [order for account in snapshot.accounts.values() for order in of_kind(account.records, ErasureOrder)]
    return {order.id: order for order in sorted(found, key=lambda order: _number(order.id))}


def _pending_for(connection: Connection, instance: str | None, digest: str) -> str | None:
    """Return the id of an order for this user that is pending, if there is one."""
    waiting = select(pending_erasures.c.erasure).where(pending_erasures.c.instance == instance)
    found = connection.scalar(waiting.where(pending_erasures.c.user_digest == digest))
    if found is not None:
        return str(found)
    count = select(func.count()).select_from(pending_erasures).where(pending_erasures.c.instance == instance)
    if connection.execute(count).scalar_one() >= MOST_PENDING:
        raise TooManyErasuresError([f"{MOST_PENDING:,} erasures of {instance!r} wait already: order the rest later"])
    return None


def preview(
    registry: Registry, *, account: str, instance: str | None, since: datetime | None, now: datetime
) -> Pending:
    """Return an order as it would be, without recording it.

    Raises:
        RegistryError: All that is wrong with it.
    """
    made = ErasureOrder(
        id="preview",
        account=account,
        instance=instance,
        since=since,
        until=now,
        reason="none",
        recorded=now,
        recorded_by="nobody",
    )
    snapshot = registry.snapshot()
    checks.raise_any(_problems(snapshot, made))
    return _pending(made, snapshot.instances.values())


def _problems(snapshot: Snapshot, made: ErasureOrder) -> list[str]:
    problems = [*checks.check_account(snapshot, made.account), *order_problems(made)]
    if made.instance is not None:
        problems += checks.check_instance(snapshot, made.instance)
        record = snapshot.instances.get(made.instance)
        if record is not None and record.account != made.account:
            problems.append(f"instance {made.instance!r} is of account {record.account!r}, not {made.account!r}")
    return problems


def pending(registry: Registry) -> list[Pending]:
    """Return the orders that are not proved yet, in the order in which they were recorded."""
    waiting = _waiting(registry)
    if not waiting:
        return []
    snapshot = registry.snapshot()
    return [
        _pending(order, snapshot.instances.values(), user_id=row.user_id, step=row.step, problem=row.problem)
        for order in _orders(snapshot).values()
        if (row := waiting.get(order.id)) is not None
    ]


def _waiting(registry: Registry) -> dict[str, Row[tuple[str, str, str, str, str, str]]]:
    with registry.read_transaction() as connection:
        return {row.erasure: row for row in connection.execute(select(pending_erasures))}


def _pending(
    made: ErasureOrder,
    instances: Iterable[InstanceRecord],
    *,
    user_id: str | None = None,
    step: str = WAITING,
    problem: str | None = None,
) -> Pending:
    covered = (each.name for each in instances if each.account == made.account)
    return Pending(
        order=made,
        instances=tuple(covered) if made.instance is None else (made.instance,),
        user_id=user_id,
        step=step,
        problem=problem,
    )


def note(registry: Registry, ids: Iterable[str], step: str, *, problem: str | None = None) -> None:
    """Say what is being done for pending orders, and why the last attempt did not succeed."""
    with registry.write_transaction() as connection:
        chosen = pending_erasures.c.erasure.in_(list(ids))
        connection.execute(update(pending_erasures).where(chosen).values(step=step, problem=problem))


def finish(registry: Registry, proof: ErasureProof) -> None:
    """Record the proof of an order, and forget its user's random id; once is enough, and twice is no more."""
    with registry.transaction() as transaction:
        chosen = pending_erasures.c.erasure == proof.erasure
        if transaction.connection.execute(delete(pending_erasures).where(chosen)).rowcount == 0:
            return
        transaction.append(proof)
    registry.forget_deleted()


def read_erasures(registry: Registry) -> list[Erasure]:
    """Return all orders in the order in which they were recorded, each with its proof or where it stands."""
    waiting, snapshot = _waiting(registry), registry.snapshot()
    proofs = {
        proof.erasure: proof
        for account in snapshot.accounts.values()
        for proof in of_kind(account.records, ErasureProof)
    }
    found = []
    for order in _orders(snapshot).values():
        row = waiting.get(order.id)
        found.append(
            Erasure(
                order=order,
                proof=proofs.get(order.id),
                step=None if row is None else row.step,
                problem=None if row is None else row.problem,
            )
        )
    return found


def _number(erasure: str) -> int:
    return int(erasure.removeprefix("erasure-"))
