"""The registry's contract, on every database: what is recorded stays, and decides."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, insert, update

import heliograph.registry
from heliograph.consent.agreement import Agreement, Route
from heliograph.consent.deployment import Deployment
from heliograph.consent.level import Level
from heliograph.consent.records import Override
from heliograph.registry.errors import RegistryError, RegistryUnavailableError
from heliograph.registry.store import Registry
from heliograph.registry.tables import accounts, chains, instances, records
from heliograph.settings import RegistrySettings

if TYPE_CHECKING:
    from registry.conftest import Clock

DIGEST = "0a" * 32
NewKey = Callable[[], str]


def agree(registry: Registry, account: str = "acme", **changes: Any) -> Agreement:
    evidence: dict[str, Any] = {
        "route": Route.ORDER_FORM,
        "document": "OF-2041",
        "terms_version": "2026-05",
        "terms_digest": DIGEST,
        "recorded_by": "legal",
    }
    return registry.add_agreement(account, **{**evidence, **changes})


def add_acme(registry: Registry, key: str, *, deployment: Deployment = Deployment.MANAGED) -> None:
    registry.add_account("acme")
    registry.add_instance("acme-1", account="acme", deployment=deployment, public_key=key)


def test_what_was_recorded_is_there_after_opening_again(
    registry: Registry, registry_url: str, new_key: NewKey, clock: Clock
) -> None:
    key = new_key()
    add_acme(registry, key)
    recorded = agree(registry)
    registry.set_override("acme-1", Level.CRITICAL, reason="asked for")
    with Registry.open(RegistrySettings(url=registry_url)) as again:
        assert again.snapshot() == registry.snapshot()
        [account], [instance] = again.accounts(), again.instances()
        assert account.records[0] == recorded
        assert (instance.name, instance.account, instance.public_key) == ("acme-1", "acme", key)
        assert instance.added == clock.now
        assert again.instance("acme-1") == instance
        assert again.instance("acme-2") is None


def test_an_agreement_allows_events_from_its_first_moment(registry: Registry, new_key: NewKey, clock: Clock) -> None:
    add_acme(registry, new_key())
    assert registry.level("acme-1", clock.now).level is Level.CRITICAL
    agreement = agree(registry, effective_from=clock.now + timedelta(days=1))
    assert registry.level("acme-1", clock.now).level is Level.CRITICAL
    decision = registry.level("acme-1", clock.pass_time(days=1))
    assert (decision.level, decision.agreement) == (Level.EVENTS, agreement.id)


def test_an_unknown_instance_may_send_nothing(registry: Registry, clock: Clock) -> None:
    assert registry.level("acme-1", clock.now).level is Level.OFF


def test_a_deactivated_instance_may_send_nothing_until_it_is_activated(
    registry: Registry, new_key: NewKey, clock: Clock
) -> None:
    add_acme(registry, new_key())
    agree(registry)
    registry.set_active("acme-1", active=False)
    assert registry.level("acme-1", clock.now).level is Level.OFF
    registry.set_active("acme-1", active=True)
    assert registry.level("acme-1", clock.now).level is Level.EVENTS


def test_an_on_premises_instance_sends_events_by_a_recorded_decision_only(
    registry: Registry, new_key: NewKey, clock: Clock
) -> None:
    add_acme(registry, new_key(), deployment=Deployment.ON_PREMISES)
    agree(registry)
    assert registry.level("acme-1", clock.now).level is Level.CRITICAL
    evidence: dict[str, Any] = {"document": "DEC-7", "reason": "agreed with security", "recorded_by": "product"}
    registry.decide_deployment(Level.EVENTS, **evidence)
    assert registry.level("acme-1", clock.now).level is Level.EVENTS
    registry.decide_deployment(Level.CRITICAL, **evidence, effective=clock.now + timedelta(days=1))
    assert registry.level("acme-1", clock.now).level is Level.EVENTS
    assert registry.level("acme-1", clock.pass_time(days=1)).level is Level.CRITICAL


def test_overrides_of_account_and_instance_narrow_together_and_the_last_of_each_stands(
    registry: Registry, new_key: NewKey, clock: Clock
) -> None:
    add_acme(registry, new_key())
    agree(registry)
    levels = []
    for target, level in [
        ("acme", Level.CRITICAL),
        ("acme-1", Level.OFF),
        ("acme", Level.EVENTS),
        ("acme-1", Level.EVENTS),
    ]:
        registry.set_override(target, level, reason="asked for in ticket 512")
        levels.append(registry.level("acme-1", clock.now).level)
    assert levels == [Level.CRITICAL, Level.OFF, Level.OFF, Level.EVENTS]


def test_an_override_never_widens_what_the_contract_allows(registry: Registry, new_key: NewKey, clock: Clock) -> None:
    add_acme(registry, new_key())
    registry.set_override("acme", Level.EVENTS, reason="wishful")
    assert registry.level("acme-1", clock.now).level is Level.CRITICAL


def test_an_override_of_a_name_that_two_things_have_must_say_which(registry: Registry, new_key: NewKey) -> None:
    registry.add_account("acme")
    registry.add_instance("acme", account="acme", deployment=Deployment.MANAGED, public_key=new_key())
    with pytest.raises(RegistryError, match="both an account and an instance"):
        registry.set_override("acme", Level.OFF, reason="asked for")
    assert registry.set_override("acme", Level.OFF, reason="asked for", kind="instance") == "instance"
    [override] = registry.records("acme")
    assert isinstance(override, Override)
    assert override.instance == "acme"


def test_ending_an_agreement_adds_a_record_and_changes_none(registry: Registry, new_key: NewKey, clock: Clock) -> None:
    add_acme(registry, new_key())
    agreement = agree(registry)
    before = rows(registry)
    ending = registry.end_agreement(agreement.id, reason="replaced")
    assert registry.level("acme-1", clock.now).level is Level.CRITICAL
    assert rows(registry)[: len(before)] == before
    assert registry.accounts()[0].records == (agreement, ending)


def rows(registry: Registry) -> list[tuple[Any, ...]]:
    with registry._database.read() as connection:
        return [tuple(row) for row in connection.execute(records.select().order_by(records.c.number))]


def test_no_statement_of_the_package_updates_or_deletes_what_is_append_only() -> None:
    package = Path(heliograph.registry.__file__).parent
    source = "\n".join(file.read_text() for file in package.rglob("*.py") if file.parent.name != "versions")
    changed = {"changes", "instances", "chains", "pending_erasures", "trial_links"}
    assert set(re.findall(r"\bupdate\((\w+)\)", source)) == changed
    assert set(re.findall(r"\bdelete\((\w+)\)", source)) == {"pending_erasures"}
    assert not re.findall(r"\bDELETE\b|\bUPDATE\b|\bDROP\b|drop_all", source)


def test_what_was_allowed_then_is_told_from_what_was_recorded_then(
    registry: Registry, new_key: NewKey, clock: Clock
) -> None:
    add_acme(registry, new_key())
    first = clock.now
    second = clock.pass_time(days=1)
    agree(registry, effective_from=first)
    third = clock.pass_time(days=1)
    registry.set_override("acme", Level.OFF, reason="asked for")
    snapshot = registry.snapshot()

    def told(moment: datetime) -> Level:
        return snapshot.as_of(moment).level("acme-1", moment).level

    assert told(first - timedelta(seconds=1)) is Level.OFF
    assert [told(first), told(second), told(third)] == [Level.CRITICAL, Level.EVENTS, Level.OFF]


def test_all_problems_of_an_instance_are_told_at_once(registry: Registry) -> None:
    with pytest.raises(RegistryError) as caught:
        registry.add_instance("Acme 1", account="acme", deployment=Deployment.MANAGED, public_key="AAAA")
    problems = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 3
    assert all(words in problems for words in ("'Acme 1'", "no account 'acme'", "no public key"))


def test_all_problems_of_an_agreement_are_told_at_once(registry: Registry) -> None:
    with pytest.raises(RegistryError) as caught:
        agree(registry, document="", terms_digest="?", effective_to=datetime(2020, 1, 1, tzinfo=UTC))
    assert len(caught.value.problems) == 4
    with pytest.raises(RegistryError, match="no time zone"):
        agree(registry, effective_from=datetime(2026, 10, 1))  # noqa: DTZ001 - what is refused


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "a" * 64, "ä", "a\n"])
def test_names_that_cannot_be_are_refused(registry: Registry, name: str) -> None:
    with pytest.raises(RegistryError, match="name"):
        registry.add_account(name)
    assert registry.accounts() == []


def test_names_and_keys_are_given_once(registry: Registry, new_key: NewKey) -> None:
    key = new_key()
    add_acme(registry, key)
    with pytest.raises(RegistryError, match="account 'acme' is already registered"):
        registry.add_account("acme")
    with pytest.raises(RegistryError, match="instance 'acme-1' is already registered"):
        registry.add_instance("acme-1", account="acme", deployment=Deployment.MANAGED, public_key=new_key())
    with pytest.raises(RegistryError, match="key of instance 'acme-1' already"):
        registry.add_instance("acme-2", account="acme", deployment=Deployment.MANAGED, public_key=key)


@pytest.mark.parametrize(
    "request_it",
    [
        lambda registry: registry.end_agreement("agreement-7", reason="replaced"),
        lambda registry: registry.set_override("nobody", Level.OFF, reason="asked for"),
        lambda registry: registry.set_active("nobody", active=False),
        lambda registry: registry.replace_key("nobody", "AAAA"),
        lambda registry: agree(registry, "nobody"),
    ],
    ids=["end", "override", "active", "key", "agree"],
)
def test_what_is_not_there_is_named_with_a_remedy_and_nothing_is_recorded(
    registry: Registry, request_it: Callable[[Registry], object]
) -> None:
    version = registry.version()
    with pytest.raises(RegistryError, match=r"there is no .*list"):
        request_it(registry)
    assert registry.version() == version


def test_every_change_gives_another_version_and_reading_gives_none(registry: Registry, new_key: NewKey) -> None:
    versions = [registry.version()]
    for change in (
        lambda: registry.add_account("acme"),
        lambda: registry.add_instance("acme-1", account="acme", deployment=Deployment.MANAGED, public_key=new_key()),
        lambda: agree(registry),
        lambda: registry.end_agreement("agreement-1", reason="replaced"),
        lambda: registry.set_override("acme", Level.OFF, reason="asked for"),
        lambda: registry.set_active("acme-1", active=False),
        lambda: registry.replace_key("acme-1", new_key()),
    ):
        change()
        registry.snapshot()
        versions.append(registry.version())
    assert versions == sorted(set(versions))
    assert registry.snapshot().version == versions[-1]


def test_a_snapshot_is_read_again_only_after_a_change(registry: Registry, registry_url: str) -> None:
    first = registry.snapshot()
    assert registry.snapshot() is first
    with Registry.open(RegistrySettings(url=registry_url)) as other:
        other.add_account("acme")
    assert list(registry.snapshot().accounts) == ["acme"]


def test_several_processes_may_open_and_write_at_once(registry_url: str) -> None:
    start = threading.Barrier(4)

    def work(number: int) -> list[str]:
        start.wait()
        with Registry.open(RegistrySettings(url=registry_url)) as registry:
            registry.add_account(f"account-{number}")
            return [agree(registry, f"account-{number}").id for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        ids = [each for some in pool.map(work, range(4)) for each in some]
    assert sorted(ids, key=lambda each: int(each.split("-")[1])) == [f"agreement-{number}" for number in range(1, 21)]


@pytest.mark.parametrize(
    "damage",
    [
        update(instances).values(deployment="borrowed"),
        update(instances).values(added="yesterday"),
        update(accounts).values(added="yesterday"),
        update(chains).values(length=7),
        update(chains).values(digest="?"),
        delete(chains).where(chains.c.name == "acme"),
        insert(records).values(chain="acme", number=9, body=b"{}", previous="", digest=""),
        insert(records).values(chain="acme", number=0, body=b"", previous="", digest=""),
    ],
    ids=["deployment", "instance's date", "account's date", "length", "head", "no head", "number 9", "number 0"],
)
def test_a_row_that_cannot_be_understood_means_off(
    registry: Registry, registry_url: str, new_key: NewKey, clock: Clock, damage: Any
) -> None:
    add_acme(registry, new_key())
    agree(registry)
    assert registry.level("acme-1", clock.now).level is Level.EVENTS
    with registry._database.write() as connection:
        assert connection.execute(damage).rowcount != 0
    with Registry.open(RegistrySettings(url=registry_url)) as again:
        decision = again.level("acme-1", clock.now)
        assert decision.level is Level.OFF
        assert decision.reasons


@pytest.mark.parametrize("kind", [b"UPDATE records SET body = body", b"DELETE FROM records", b"TRUNCATE records"])
def test_the_database_itself_refuses_to_change_or_remove_a_record(
    registry: Registry, registry_url: str, kind: bytes
) -> None:
    if kind.startswith(b"TRUNCATE") and registry_url.startswith("sqlite"):
        pytest.skip("SQLite has no TRUNCATE")
    registry.add_account("acme")
    agree(registry)
    with pytest.raises(RegistryUnavailableError, match="only ever added to"), registry._database.write() as connection:
        connection.exec_driver_sql(kind.decode())
    assert len(registry.records("acme")) == 1


def test_a_stored_key_that_is_none_has_no_fingerprint(registry: Registry, new_key: NewKey) -> None:
    add_acme(registry, new_key())
    with registry._database.write() as connection:
        connection.execute(update(instances).values(public_key="?"))
    registry.add_account("other")
    assert registry.instances()[0].fingerprint == ""


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite:////nowhere/at/all/registry.db", "nosuch://host/database"])
def test_a_url_that_cannot_be_used_is_told_with_a_remedy(url: str) -> None:
    with pytest.raises(RegistryError, match=r"registry\.url"):
        Registry.open(RegistrySettings(url=url))


def test_a_database_that_is_none_is_told_as_unavailable(tmp_path: Path) -> None:
    file = tmp_path / "registry.db"
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(RegistryUnavailableError, match="does not answer"):
        Registry.open(RegistrySettings(url=f"sqlite:///{file}"))
