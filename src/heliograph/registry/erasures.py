"""Erasures as the registry keeps them: `order` records one, `pending` tells what is to be done, `finish` proves it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import delete, func, insert, select, update

from heliograph.consent.erasure import ErasureOrder, ErasureProof, order_problems, user_digest
from heliograph.registry import checks
from heliograph.registry.erasure_tables import erasures, pending_erasures
from heliograph.registry.errors import RegistryError
from heliograph.registry.reading import read_snapshot
from heliograph.registry.view import MAXIMUM_AGE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from heliograph.registry.snapshot import InstanceRecord
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
    ordered_by: str,
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
    with registry.alone() as connection:
        if digest is not None:
            found = _pending_for(connection, instance, digest)
            if found is not None:
                return Ordered(found, duplicate=True)
        number = 1 + (connection.scalar(select(func.max(erasures.c.number))) or 0)
        made = ErasureOrder(
            id=f"erasure-{number}",
            account=account,
            instance=instance,
            user_digest=digest,
            since=since,
            until=now + timedelta(seconds=MAXIMUM_AGE_SECONDS),
            reason=reason,
            ordered_by=ordered_by,
            recorded=now,
        )
        _check(connection, made)
        _append(connection, number, made)
        connection.execute(
            insert(pending_erasures).values(
                number=number,
                instance=None if digest is None else instance,
                user_digest=digest,
                user_id=user_id,
                step=WAITING,
            )
        )
    return Ordered(made)


def _pending_for(connection: Connection, instance: str | None, digest: str) -> ErasureOrder | None:
    of_instance = select(erasures.c.body).join(pending_erasures).where(pending_erasures.c.instance == instance)
    body = connection.scalar(of_instance.where(pending_erasures.c.user_digest == digest))
    if body is not None:
        return msgspec.json.decode(body, type=ErasureOrder)
    waiting = select(func.count()).select_from(pending_erasures).where(pending_erasures.c.instance == instance)
    if connection.execute(waiting).scalar_one() >= MOST_PENDING:
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
        ordered_by="nobody",
        recorded=now,
    )
    with registry.reading() as connection:
        _check(connection, made)
        return _pending(made, read_snapshot(connection, "").instances.values())


def _check(connection: Connection, made: ErasureOrder) -> None:
    snapshot = read_snapshot(connection, "")
    problems = [*checks.check_account(snapshot, made.account), *order_problems(made)]
    if made.instance is not None:
        problems += checks.check_instance(snapshot, made.instance)
        record = snapshot.instances.get(made.instance)
        if record is not None and record.account != made.account:
            problems.append(f"instance {made.instance!r} is of account {record.account!r}, not {made.account!r}")
    checks.raise_any(problems)


def pending(registry: Registry) -> list[Pending]:
    """Return the orders that are not proved yet, in the order in which they were recorded."""
    with registry.reading() as connection:
        rows = connection.execute(
            select(erasures.c.body, pending_erasures).join(pending_erasures).order_by(erasures.c.number)
        ).all()
        instances = read_snapshot(connection, "").instances.values() if rows else ()
    return [
        _pending(
            msgspec.json.decode(row.body, type=ErasureOrder),
            instances,
            user_id=row.user_id,
            step=row.step,
            problem=row.problem,
        )
        for row in rows
    ]


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
    numbers = [_number(each) for each in ids]
    with registry.alone() as connection:
        connection.execute(
            update(pending_erasures).where(pending_erasures.c.number.in_(numbers)).values(step=step, problem=problem)
        )


def finish(registry: Registry, proof: ErasureProof) -> None:
    """Record the proof of an order, and forget its user's random id; once is enough, and twice is no more."""
    with registry.alone() as connection:
        number = _number(proof.erasure)
        row = connection.execute(
            select(erasures.c.account).join(pending_erasures).where(erasures.c.number == number)
        ).one_or_none()
        if row is None:
            return
        next_number = 1 + connection.execute(select(func.max(erasures.c.number))).scalar_one()
        connection.execute(delete(pending_erasures).where(pending_erasures.c.number == number))
        connection.execute(insert(erasures).values(number=next_number, account=row.account, body=_encode(proof)))
    registry.forget_deleted()


def read_erasures(registry: Registry) -> list[Erasure]:
    """Return all orders in the order in which they were recorded, each with its proof or where it stands."""
    with registry.reading() as connection:
        bodies = connection.execute(select(erasures.c.body).order_by(erasures.c.number)).scalars().all()
        waiting = {row.number: row for row in connection.execute(select(pending_erasures))}
    records = [msgspec.json.decode(body, type=ErasureOrder | ErasureProof) for body in bodies]
    proofs = {record.erasure: record for record in records if isinstance(record, ErasureProof)}
    found = []
    for record in records:
        if isinstance(record, ErasureOrder):
            row = waiting.get(_number(record.id))
            found.append(
                Erasure(
                    order=record,
                    proof=proofs.get(record.id),
                    step=None if row is None else row.step,
                    problem=None if row is None else row.problem,
                )
            )
    return found


def _append(connection: Connection, number: int, record: ErasureOrder) -> None:
    connection.execute(insert(erasures).values(number=number, account=record.account, body=_encode(record)))


def _encode(record: ErasureOrder | ErasureProof) -> str:
    return msgspec.json.encode(record, order="deterministic").decode()


def _number(erasure: str) -> int:
    return int(erasure.removeprefix("erasure-"))
