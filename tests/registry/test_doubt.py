"""Every doubt ends at off: each row of the table in docs/consent.md, made real."""

from __future__ import annotations

import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, text, update

import documents
from heliograph.consent.agreement import Agreement, Amendment, Route
from heliograph.consent.deployment import Deployment
from heliograph.consent.level import AT_THE_VENDOR, Decision, Level, Party, resolve
from heliograph.consent.policy import Doubt, Policy, instance_level
from heliograph.consent.records import VENDOR, encode
from heliograph.registry import chains as stored
from heliograph.registry.errors import RegistryUnavailableError
from heliograph.registry.store import Registry
from heliograph.registry.tables import accounts, chains, instances, records
from heliograph.registry.view import MAXIMUM_AGE_SECONDS, RegistryView
from heliograph.settings import RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

    from registry.conftest import Clock

DAY = timedelta(days=1)


class World(NamedTuple):
    """Two accounts with three instances, of which each may send events."""

    registry: Registry
    url: str
    clock: Clock
    agreement: Agreement

    def levels(self) -> dict[str, Level]:
        with Registry.open(RegistrySettings(url=self.url)) as again:
            snapshot = again.snapshot()
        decisions = {name: snapshot.level(name, self.clock.now) for name in ("acme-1", "acme-2", "other-1")}
        assert all(decision.reasons and all(decision.reasons) for decision in decisions.values())
        return {name: decision.level for name, decision in decisions.items()}

    def change(self, *statements: Any) -> None:
        """Change the database as somebody would who gets around its triggers."""
        with self.registry._database.write() as connection:
            take_guards_away(connection)
            for statement in statements:
                assert connection.execute(statement).rowcount != 0

    def add(self, body: bytes, chain: str = "acme") -> None:
        """Add a record as the registry would, whatever it says."""
        with self.registry._database.write() as connection:
            stored.append_body(connection, chain, body)

    def add_changed(self, **changes: Any) -> None:
        """Add another agreement that differs from the first by what no one would let in."""
        fields = msgspec.json.decode(encode(self.agreement)) | {"id": "agreement-9"} | changes
        self.add(msgspec.json.encode(fields))


def take_guards_away(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("ALTER TABLE records DISABLE TRIGGER USER"))
        return
    for name in ("update", "delete"):
        connection.execute(text(f"DROP TRIGGER records_refuse_{name}"))


@pytest.fixture
def world(registry: Registry, registry_url: str, clock: Clock, new_key: Callable[[], str]) -> World:
    evidence: dict[str, Any] = {"route": Route.ORDER_FORM, "terms_version": "2026-05", "terms_digest": "0a" * 32}
    for account in ("acme", "other"):
        registry.add_account(account)
        agreement = registry.add_agreement(account, document=f"OF of {account}", recorded_by="legal", **evidence)
        registry.set_override(account, Level.EVENTS, reason="taken back")
        registry.end_agreement(agreement.id, reason="over", effective=clock.now + 900 * DAY)
    for name, deployment in (("acme-1", "managed"), ("acme-2", "on_premises"), ("other-1", "managed")):
        key = new_key()
        registry.add_instance(name, account=name[:-2], deployment=Deployment(deployment), public_key=key)
    registry.decide_deployment(Level.EVENTS, document="DEC-7", reason="agreed", recorded_by="product")
    made = World(registry, registry_url, clock, registry.snapshot().agreements()["agreement-1"])
    assert set(made.levels().values()) == {Level.EVENTS}
    return made


def in_chain(number: int, chain: str = "acme") -> Any:
    return (records.c.chain == chain) & (records.c.number == number)


def remove_account(world: World) -> None:
    snapshot = world.registry.snapshot()
    assert msgspec.structs.replace(snapshot, accounts={}).account_level("acme", world.clock.now).level is Level.OFF
    assert msgspec.structs.replace(snapshot, accounts={}).level("acme-1", world.clock.now).level is Level.OFF
    world.change(update(accounts).where(accounts.c.name == "acme").values(added="never"))


def amend_with_contradiction(world: World) -> None:
    now = world.clock.now
    amendment = Amendment(
        id="amendment-1",
        account="acme",
        agreement="agreement-1",
        document="AM-1",
        recorded=now,
        recorded_by="legal",
        effective=now,
        effective_to=now - DAY,
    )
    world.add(encode(amendment))


ACME = {"acme-1", "acme-2"}
AT_THE_REGISTRY: dict[str, tuple[Callable[[World], object], set[str]]] = {
    "the instance is not registered": (
        lambda w: w.change(delete(instances).where(instances.c.name == "acme-1")),
        {"acme-1"},
    ),
    "the account is not registered, or its row has no date": (remove_account, ACME),
    "the instance is deactivated": (lambda w: w.registry.set_active("acme-1", active=False), {"acme-1"}),
    "the kind of deployment is not known": (
        lambda w: w.change(update(instances).where(instances.c.name == "acme-1").values(deployment="borrowed")),
        {"acme-1"},
    ),
    "a record cannot be read": (lambda w: w.add(b"{"), ACME),
    "a record is of a kind, or has a field, that is not known": (
        lambda w: (w.add(b'{"record":"waiver"}'), w.add_changed(waived=True)),
        ACME,
    ),
    "a record names another account": (lambda w: w.add_changed(account="other"), ACME),
    "the route of an agreement is not known": (lambda w: w.add_changed(route="handshake"), ACME),
    "the level of an override is not known": (
        lambda w: w.add(
            b'{"record":"override","account":"acme","level":"some","reason":"?","recorded":"2026-10-01T12:00:00Z",'
            b'"recorded_by":"?"}'
        ),
        ACME,
    ),
    "a time has no time zone": (lambda w: w.add_changed(effective_from="2026-10-01T12:00:00"), ACME),
    "the evidence has a gap": (lambda w: w.add_changed(document=""), ACME),
    "dates contradict each other": (amend_with_contradiction, ACME),
    "an amendment or an ending is of no agreement before it, or an id is given twice": (
        lambda w: w.add_changed(id="agreement-1"),
        ACME,
    ),
    "a record was changed": (
        lambda w: w.change(update(records).where(in_chain(2)).values(body=b'{"record":"waiver"}')),
        ACME,
    ),
    "a record does not follow on the one before it": (
        lambda w: w.change(update(records).where(in_chain(2)).values(previous="0a" * 32)),
        ACME,
    ),
    "a record is missing": (lambda w: w.change(delete(records).where(in_chain(2))), ACME),
    "a record is missing at the end": (lambda w: w.change(delete(records).where(in_chain(3))), ACME),
    "a record was added beside the registry": (
        lambda w: w.change(insert(records).values(chain="acme", number=4, body=b"{}", previous="", digest="")),
        ACME,
    ),
    "the head of a chain is missing, or does not match": (
        lambda w: w.change(delete(chains).where(chains.c.name == "acme")),
        ACME,
    ),
    "any of these in the vendor's own chain": (
        lambda w: w.change(delete(records).where(in_chain(1, VENDOR))),
        {"acme-2"},
    ),
}


@pytest.mark.parametrize("doubt", AT_THE_REGISTRY)
def test_each_doubt_at_the_registry_means_off_and_touches_no_other_account(world: World, doubt: str) -> None:
    make, doubtful = AT_THE_REGISTRY[doubt]
    make(world)
    expected = {name: Level.OFF if name in doubtful else Level.EVENTS for name in ("acme-1", "acme-2", "other-1")}
    assert world.levels() == expected


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the SQLite file of a registry with some records, whose triggers are gone."""
    file = tmp_path_factory.mktemp("written") / "registry.db"
    evidence: dict[str, Any] = {"terms_version": "2026-05", "terms_digest": "0a" * 32, "recorded_by": "legal"}
    with Registry.open(RegistrySettings(url=f"sqlite:///{file}")) as registry:
        for account in ("acme", "other"):
            registry.add_account(account)
            registry.add_agreement(account, route=Route.ORDER_FORM, document="OF", **evidence)
            registry.set_override(account, Level.EVENTS, reason="Zürich asked for it")
        with registry._database.write() as connection:
            take_guards_away(connection)
    return file


@given(data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_single_bit_of_a_stored_record_that_changes_ends_at_off(
    written: Path, tmp_path: Path, data: st.DataObject
) -> None:
    file = tmp_path / "copy.db"
    shutil.copy(written, file)
    number = data.draw(st.integers(1, 2))
    column = data.draw(st.sampled_from(["body", "digest", "previous", "chain"]))
    place = "chain = 'acme' AND number = ?"
    with sqlite3.connect(file) as connection:
        [stored] = connection.execute(f"SELECT CAST({column} AS BLOB) FROM records WHERE {place}", (number,)).fetchone()
        changed = bytearray(stored)
        bit = data.draw(st.integers(0, len(stored) * 8 - 1))
        changed[bit // 8] ^= 1 << bit % 8
        kind = "BLOB" if column == "body" else "TEXT"
        connection.execute(f"UPDATE records SET {column} = CAST(? AS {kind}) WHERE {place}", (bytes(changed), number))
    connection.close()
    with Registry.open(RegistrySettings(url=f"sqlite:///{file}")) as registry:
        snapshot, at = registry.snapshot(), datetime.now(UTC)
        assert snapshot.account_level("acme", at).level is Level.OFF
        assert snapshot.account_level("other", at).level is Level.EVENTS
        assert number in {fault.number for fault in registry.chain("acme").faults}


def test_without_an_agreement_that_is_named_nobody_sends_events() -> None:
    word = Decision(Level.EVENTS, ("Said.",))
    words = dict.fromkeys(AT_THE_VENDOR, word)
    assert resolve(AT_THE_VENDOR, words).level is Level.OFF
    assert resolve(AT_THE_VENDOR, {**words, Party.CONTRACT: Decision(Level.EVENTS, (), "agreement-1")}).level is (
        Level.EVENTS
    )


def test_a_registry_that_does_not_answer_tells_nothing(registry_url: str) -> None:
    moment = [0.0]
    with RegistryView(RegistrySettings(url=registry_url), poll_seconds=1e6, monotonic=lambda: moment[0]) as view:
        moment[0] = MAXIMUM_AGE_SECONDS
        with pytest.raises(RegistryUnavailableError):
            view.permission("acme-1")


def vendor_word(heard: datetime, now: datetime) -> Decision:
    policy = Policy(
        level=Level.EVENTS,
        agreement="agreement-1",
        reasons=("agreed",),
        plan="p",
        plan_digest="0",
        issued=0,
        valid_seconds=60,
        received=heard,
    )
    return policy.word(now)


EVENTS = Decision(Level.EVENTS, ("chosen",))
ON_THE_INSTANCE: dict[str, Callable[[datetime], Decision]] = {
    "there is no policy yet": lambda _: instance_level(None, EVENTS),
    "the policy has expired": lambda now: instance_level(vendor_word(now - DAY, now), EVENTS),
    "the clock was set back since the policy came": lambda now: instance_level(vendor_word(now + DAY, now), EVENTS),
    "the policy cannot be relied on": lambda _: instance_level(Doubt.WRONG_SIGNATURE.decision(), EVENTS),
    "the admin's choice cannot be read": lambda now: instance_level(vendor_word(now, now), None),
}


@pytest.mark.parametrize("doubt", ON_THE_INSTANCE)
def test_each_doubt_on_the_instance_means_off(doubt: str, clock: Clock) -> None:
    assert instance_level(vendor_word(clock.now, clock.now), EVENTS).level is Level.EVENTS
    decision = ON_THE_INSTANCE[doubt](clock.now)
    assert decision.level is Level.OFF
    assert decision.reasons


def test_the_page_names_each_doubt() -> None:
    rows = documents.section("docs/consent.md", "Doubt").splitlines()
    named = {row.split("|")[1].strip() for row in rows if row.startswith("| ")}
    further = {
        "events would be allowed, but no agreement is named",
        "the gateway has not read the registry for 10 seconds",
    }
    assert {*AT_THE_REGISTRY, *ON_THE_INSTANCE, *further} <= named
