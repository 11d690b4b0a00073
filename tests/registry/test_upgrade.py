"""A registry that version 0.1.0 wrote is carried over, on every database; one that is newer is left alone."""

from __future__ import annotations

import re
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, make_url, text

import heliograph.registry
from heliograph.consent.agreement import Agreement, Ending
from heliograph.consent.level import Level
from heliograph.consent.records import Activation, Override, Unreadable
from heliograph.registry import trial_tables
from heliograph.registry.errors import RegistryError, RegistryUnavailableError
from heliograph.registry.store import Registry
from heliograph.registry.tables import metadata
from heliograph.registry.upgrade import NEWEST
from heliograph.settings import RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.conftest import Clock

WRITTEN = Path(__file__).with_name("version_0_1_0.sql").read_text(encoding="utf-8")
"""What `sqlite3 .dump` says of a registry that version 0.1.0 wrote."""


def execute(url: str, script: str) -> None:
    """Run a script of many statements, as a person with the database's own shell would."""
    where = make_url(url)
    if where.get_backend_name() == "sqlite":
        with sqlite3.connect(str(where.database)) as connection:
            connection.executescript(script)
        connection.close()
        return
    with psycopg.connect(dbname=where.database, user=where.username, host=str(where.query["host"])) as server:
        server.execute(script.encode())


@pytest.fixture
def old_url(registry_url: str) -> str:
    """Return the URL of a registry of version 0.1.0."""
    execute(registry_url, WRITTEN)
    return registry_url


def days(count: int) -> datetime:
    return datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(days=count)


def test_what_version_0_1_0_recorded_is_carried_over_in_its_order(old_url: str) -> None:
    with Registry.open(RegistrySettings(url=old_url)) as registry:
        acme, other, vendor = (registry.chain(name) for name in ("acme", "other", ""))
        assert [type(record) for record in acme.records] == [Activation, Agreement, Override, Override, Override]
        assert [type(record) for record in other.records] == [Agreement, Ending, Agreement]
        assert (acme.faults, other.faults, vendor.faults, vendor.records) == ((), (), (), ())
        assert [instance.active for instance in registry.instances()] == [True, False, True]
        bodies = [entry.link.body.decode() for entry in other.entries if entry.link]
        assert bodies == re.findall(r"'other','(\{.*\})'", WRITTEN)


def test_a_registry_that_was_carried_over_gives_the_answers_of_before(old_url: str) -> None:
    with Registry.open(RegistrySettings(url=old_url)) as registry:
        snapshot = registry.snapshot()

    def told(instance: str) -> list[str]:
        return [str(snapshot.as_of(days(day)).level(instance, days(day)).level) for day in range(7)]

    assert told("acme-1") == ["critical", "events", "critical", "events", "events", "events", "events"]
    assert told("acme-2") == ["off"] * 7
    assert told("other-1") == ["critical"] * 6 + ["events"]
    assert snapshot.as_of(days(8)).level("acme-1", days(8)).level is Level.OFF
    assert snapshot.level("other-1", days(900)).level is Level.CRITICAL


def test_a_registry_that_was_carried_over_is_written_on(old_url: str, clock: Clock) -> None:
    with Registry.open(RegistrySettings(url=old_url), now=clock) as registry:
        version = registry.version()
        registry.set_override("acme-1", Level.EVENTS, reason="done")
        registry.set_active("acme-2", active=True)
        assert registry.version() == version + 2
        assert registry.level("acme-1", clock.now).level is Level.EVENTS
        assert registry.chain("acme").faults == ()
    with Registry.open(RegistrySettings(url=old_url)) as again:
        assert again.version() == version + 2


def test_a_row_of_version_0_1_0_that_cannot_be_understood_stays_a_doubt(old_url: str, clock: Clock) -> None:
    execute(
        old_url,
        """
        UPDATE agreements SET body = '{' WHERE number = 1;
        UPDATE overrides SET level = 'some' WHERE number = 1;
        """,
    )
    with Registry.open(RegistrySettings(url=old_url)) as registry:
        doubts = [record for record in registry.records("acme") if isinstance(record, Unreadable)]
        assert len(doubts) == 2
        assert registry.snapshot().account_level("acme", clock.now).level is Level.OFF
        assert registry.snapshot().account_level("other", clock.now).level is Level.EVENTS


def test_a_step_that_fails_leaves_everything_as_it_was(old_url: str) -> None:
    execute(old_url, "CREATE TABLE chains (something INTEGER)")
    with pytest.raises(RegistryUnavailableError, match="chains"):
        Registry.open(RegistrySettings(url=old_url))
    engine = create_engine(old_url)
    tables = set(inspect(engine).get_table_names())
    engine.dispose()
    assert {"agreements", "overrides"} <= tables
    assert "records" not in tables
    execute(old_url, "DROP TABLE chains")
    with Registry.open(RegistrySettings(url=old_url)) as registry:
        assert len(registry.records("acme")) == 5


def test_a_registry_that_is_newer_than_the_program_is_refused_and_left_alone(registry_url: str) -> None:
    Registry.open(RegistrySettings(url=registry_url)).close()
    execute(registry_url, "UPDATE alembic_version SET version_num = '999'")
    with pytest.raises(RegistryError, match=r"newer version .*'999'.*update this program"):
        Registry.open(RegistrySettings(url=registry_url))
    engine = create_engine(registry_url)
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "999"
    engine.dispose()


def test_the_program_names_the_last_step() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(heliograph.registry.__file__).with_name("migrations")))
    assert ScriptDirectory.from_config(config).get_current_head() == NEWEST


@pytest.mark.parametrize("prepare", [lambda _: None, lambda url: execute(url, WRITTEN)], ids=["new", "carried over"])
def test_the_steps_make_the_tables_that_the_program_names(registry_url: str, prepare: Callable[[str], None]) -> None:
    prepare(registry_url)
    Registry.open(RegistrySettings(url=registry_url)).close()
    engine = create_engine(registry_url)
    found = inspect(engine)
    made = {name: {column["name"] for column in found.get_columns(name)} for name in found.get_table_names()}
    engine.dispose()
    assert made.pop("alembic_version")
    assert trial_tables.metadata is metadata
    assert made == {table.name: set(table.columns.keys()) for table in metadata.sorted_tables}
