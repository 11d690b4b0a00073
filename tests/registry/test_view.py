"""A gateway's view of the registry: in memory, quick to see a change, and silent once it is too old."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.conftest import NOON, TICK, histories, moments
from heliograph.consent.deployment import Deployment
from heliograph.consent.level import Level
from heliograph.registry.errors import RegistryUnavailableError
from heliograph.registry.snapshot import AccountRecord, InstanceRecord, Snapshot
from heliograph.registry.store import Registry
from heliograph.registry.view import MAXIMUM_AGE_SECONDS, RegistryView
from heliograph.settings import RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from heliograph.consent.records import Record
    from registry.conftest import Clock

NEVER = 1e6


def test_a_change_is_seen_without_asking(registry: Registry, registry_url: str) -> None:
    with RegistryView(RegistrySettings(url=registry_url), poll_seconds=0.01) as view:
        assert view.snapshot().accounts == {}
        registry.add_account("acme")
        deadline = time.monotonic() + 60
        while not view.snapshot().accounts:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert list(view.snapshot().accounts) == ["acme"]


def test_a_view_that_was_not_refreshed_for_too_long_tells_nothing(registry_url: str) -> None:
    clock = [100.0]
    settings = RegistrySettings(url=registry_url)
    with RegistryView(settings, poll_seconds=NEVER, monotonic=lambda: clock[0]) as view:
        clock[0] += MAXIMUM_AGE_SECONDS - 0.001
        assert view.snapshot().accounts == {}
        clock[0] += 0.001
        with pytest.raises(RegistryUnavailableError, match="too long"):
            view.snapshot()
        with pytest.raises(RegistryUnavailableError):
            view.permission("acme-1")
        view.refresh()
        assert view.snapshot().accounts == {}


def test_a_database_that_is_damaged_under_a_view_ends_what_it_tells(tmp_path: Path) -> None:
    file = tmp_path / "registry.db"
    clock = [100.0]
    settings = RegistrySettings(url=f"sqlite:///{file}")
    with RegistryView(settings, poll_seconds=NEVER, monotonic=lambda: clock[0]) as view:
        with Registry.open(settings) as registry, registry._database.write() as connection:
            connection.exec_driver_sql("DROP TABLE changes")
        with pytest.raises(RegistryUnavailableError, match="does not answer"):
            view.refresh()
        assert view.snapshot().accounts == {}
        clock[0] += MAXIMUM_AGE_SECONDS
        with pytest.raises(RegistryUnavailableError):
            view.snapshot()


def test_a_permission_names_the_account_and_nobody_unknown_has_one(
    registry: Registry, registry_url: str, new_key: Callable[[], str], clock: Clock
) -> None:
    registry.add_account("acme")
    registry.add_instance("acme-1", account="acme", deployment=Deployment.MANAGED, public_key=new_key())
    with RegistryView(RegistrySettings(url=registry_url), poll_seconds=NEVER, now=clock) as view:
        known, unknown = view.permission("acme-1"), view.permission("acme-2")
    assert (known.account, known.decision.level) == ("acme", Level.CRITICAL)
    assert (unknown.account, unknown.decision.level) == ("", Level.OFF)


@settings(deadline=None)
@given(histories(), st.lists(moments | moments.map(lambda at: at - TICK), min_size=2, max_size=30))
def test_what_a_view_remembers_of_a_permission_is_what_the_records_say_at_each_moment(
    records: list[Record], asked: list[datetime]
) -> None:
    instance = InstanceRecord(
        name="acme-1",
        account="acme",
        deployment=Deployment.MANAGED,
        public_key="",
        fingerprint="",
        active=True,
        added=NOON,
    )
    snapshot = Snapshot(
        version=1,
        accounts={"acme": AccountRecord(name="acme", added=NOON, records=tuple(records))},
        instances={"acme-1": instance},
    )
    clock = [NOON]
    with RegistryView(RegistrySettings(url="sqlite://"), poll_seconds=NEVER, now=lambda: clock[0]) as view:
        view._latest = (snapshot, float("inf"))
        for clock[0] in asked:
            assert view.permission("acme-1") == snapshot.permission("acme-1", clock[0])


def test_the_clock_of_a_view_runs_in_utc(registry_url: str) -> None:
    with RegistryView(RegistrySettings(url=registry_url), poll_seconds=NEVER) as view:
        assert abs(view._now() - datetime.now(UTC)).total_seconds() < 60
