"""Erasures in the registry: orders and proofs are kept for good, a user's random id only until it is proved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from harness import ACCOUNT, INSTANCE, USER
from heliograph.consent.deployment import Deployment
from heliograph.consent.erasure import ErasureProof, user_digest
from heliograph.registry.erasures import WAITING, finish, note, order, pending, preview, read_erasures
from heliograph.registry.errors import RegistryError
from heliograph.registry.view import MAXIMUM_AGE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from heliograph.registry.store import Registry

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def known(registry: Registry, new_key: Callable[[], str]) -> None:
    """An account with one instance, in each kind of database."""
    registry.add_account(ACCOUNT)
    registry.add_instance(INSTANCE, account=ACCOUNT, deployment=Deployment.MANAGED, public_key=new_key())


def make(registry: Registry, **fields: Any) -> Any:
    given = {"account": ACCOUNT, "reason": "revoked", "recorded_by": "legal", "since": None, "now": NOW}
    return order(registry, **(given | fields))


def proof(erasure: str) -> ErasureProof:
    return ErasureProof(
        erasure=erasure, rows={INSTANCE: {"SearchSubmitted": 3}}, tables={"heliograph.events": 3}, files_rewritten=1,
        files_removed=4, files_scanned=9, bytes_scanned=100, digest="0" * 64,
        account=ACCOUNT, recorded=NOW, recorded_by="loader",
    )  # fmt: skip


def test_an_order_covers_what_a_gateway_may_accept_on_what_it_knew_before(registry: Registry) -> None:
    made = make(registry, since=NOW - timedelta(days=3)).order
    assert made.until == NOW + timedelta(seconds=MAXIMUM_AGE_SECONDS)
    (found,) = pending(registry)
    assert (found.order, found.instances, found.user_id, found.step) == (made, (INSTANCE,), None, WAITING)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"account": "nobody"}, "there is no account 'nobody'"),
        ({"instance": "nobody-1"}, "there is no instance 'nobody-1'"),
        ({"account": "second", "instance": INSTANCE}, "is of account 'acme', not 'second'"),
        ({"reason": " "}, "reason is empty"),
        ({"recorded_by": "x" * 501}, "recorded by has 501 characters"),
        ({"since": NOW + timedelta(seconds=1)}, "is in the future"),
        ({"user_id": USER}, "a user is known on one instance only"),
    ],
)
def test_what_is_wrong_with_an_order_is_said_and_nothing_is_recorded(
    registry: Registry, fields: dict[str, Any], said: str
) -> None:
    registry.add_account("second")
    with pytest.raises(RegistryError, match=said):
        make(registry, **fields)
    assert read_erasures(registry) == []
    assert pending(registry) == []


def test_all_problems_are_said_at_once(registry: Registry) -> None:
    with pytest.raises(RegistryError) as raised:
        make(registry, account="nobody", reason="", recorded_by="")
    assert len(raised.value.problems) == 3


def test_a_proof_ends_an_order_and_takes_the_random_id_from_every_byte_of_the_database(
    registry: Registry, tmp_path: Path
) -> None:
    made = make(registry, instance=INSTANCE, user_id=USER).order
    assert made.user_digest == user_digest(USER)
    files = list(tmp_path.glob("registry.db*"))  # none of PostgreSQL's
    assert any(USER.encode() in path.read_bytes() for path in files) == bool(files)
    finish(registry, proof(made.id))
    finish(registry, proof(made.id))
    assert pending(registry) == []
    (found,) = read_erasures(registry)
    assert (found.proof, found.state) == (proof(made.id), "proved")
    with registry.read_transaction() as connection:
        assert connection.execute(text("select count(*) from pending_erasures")).scalar() == 0
    assert not [path for path in tmp_path.glob("registry.db*") if USER.encode() in path.read_bytes()]


def test_the_same_user_can_be_erased_again_after_the_proof(registry: Registry) -> None:
    first = make(registry, instance=INSTANCE, user_id=USER)
    assert make(registry, instance=INSTANCE, user_id=USER).duplicate
    finish(registry, proof(first.order.id))
    again = make(registry, instance=INSTANCE, user_id=USER)
    assert (again.duplicate, again.order.id) == (False, "erasure-2")
    assert [each.order.id for each in read_erasures(registry)] == ["erasure-1", "erasure-2"]


def test_where_an_order_stands_is_kept_until_it_is_proved(registry: Registry) -> None:
    made = make(registry).order
    note(registry, [made.id], "rewriting the lake")
    assert read_erasures(registry)[0].state == "pending: rewriting the lake"
    note(registry, [made.id], WAITING, problem="a file cannot be read")
    assert read_erasures(registry)[0].state == "pending: a file cannot be read"
    assert pending(registry)[0].problem == "a file cannot be read"


def test_a_preview_is_not_recorded(registry: Registry) -> None:
    assert preview(registry, account=ACCOUNT, instance=None, since=NOW, now=NOW).instances == (INSTANCE,)
    with pytest.raises(RegistryError):
        preview(registry, account="nobody", instance=None, since=None, now=NOW)
    assert read_erasures(registry) == []


def test_orders_and_proofs_are_never_changed(registry: Registry) -> None:
    made = make(registry).order
    with registry.read_transaction() as connection:
        before = connection.execute(text("select * from records order by chain, number")).all()
    note(registry, [made.id], "rewriting the lake")
    finish(registry, proof(made.id))
    with registry.read_transaction() as connection:
        after = connection.execute(text("select * from records order by chain, number")).all()
    assert set(before) < set(after)
    assert not registry.chain(ACCOUNT).faults
