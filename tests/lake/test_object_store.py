"""The lake in an object store: a real one, over HTTP."""

from __future__ import annotations

import json
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import pytest
from psycopg.conninfo import conninfo_to_dict
from typer.testing import CliRunner

from erasing import OTHER, Lake
from harness import INSTANCE, USER
from heliograph.cli import app
from heliograph.lake.exclusion import BusyError, Exclusion
from heliograph.lake.loader import Loader
from heliograph.lake.loader_locks import LoaderRunningError
from heliograph.lake.maintenance.inventory import take_inventory
from heliograph.lake.report import count_events, count_repeated
from heliograph.lake.storage import connect, open_storage
from heliograph.lake.tables import EVENTS, event_files
from heliograph.registry.erasures import read_erasures
from keeping import KeptLake, row
from object_store import ObjectStore, running_object_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from heliograph.demo.postgres import PostgresCluster


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with running_object_store(tmp_path_factory.mktemp("objects")) as store:
        yield store


@pytest.fixture
def lake(store: ObjectStore, tmp_path: Path) -> Iterator[Lake]:
    with Lake(tmp_path) as lake:
        fields: dict[str, Any] = {**store.lake_settings(tmp_path.name), "catalog": f"sqlite:///{tmp_path}/catalog.db"}
        section = msgspec.structs.replace(lake.settings.lake, **fields)
        lake.settings = msgspec.structs.replace(lake.settings, lake=section)
        yield lake


def rows(lake: Lake) -> list[tuple[str, int]]:
    files = event_files(lake.settings.lake)
    with connect(lake.settings.lake) as connection:
        query = "select instance, sequence from read_parquet($files) order by all"
        return connection.execute(query, {"files": files}).fetchall()


def test_what_was_accepted_is_loaded_once_and_counted_there(lake: Lake) -> None:
    lake.send(INSTANCE, 1, 30)
    lake.load()
    lake.send(OTHER, 1, 20)
    lake.load()
    assert all(file.startswith("s3://") for file in event_files(lake.settings.lake))
    assert not (lake.folder / "lake").exists()
    assert rows(lake) == [*((INSTANCE, n) for n in range(1, 31)), *((OTHER, n) for n in range(1, 21))]
    assert {name: sum(counts.values()) for name, counts in count_events(lake.settings.lake).items()} == {
        INSTANCE: 30,
        OTHER: 20,
    }
    assert count_repeated(lake.settings.lake) == 0
    loader = lake.loader()
    elsewhere = msgspec.structs.replace(lake.settings.gateway, log=str(lake.folder / "other-log"))
    with pytest.raises(LoaderRunningError, match="somebody else is at work"):
        Loader(elsewhere, lake.settings.lake, lake.vendor.plan)
    loader.close()


def test_an_erasure_leaves_no_object_that_holds_the_user_and_its_proof_lists_all_that_were_looked_through(
    lake: Lake, store: ObjectStore
) -> None:
    lake.send(INSTANCE, 1, 30)
    lake.send(OTHER, 1, 30)
    lake.load()
    storage = open_storage(lake.settings.lake)
    before = {file.location for file in storage.files(storage.url)}
    lake.order(instance=INSTANCE, user_id=USER)
    assert lake.carry_out() == []
    [erasure] = read_erasures(lake.registry)
    assert erasure.proof is not None
    assert erasure.proof.tables[EVENTS] == 30
    assert rows(lake) == [(OTHER, n) for n in range(1, 31)]
    after = {file.location for file in storage.files(storage.url)}
    assert not before & {name for name in after if name.endswith(".parquet") and "/events/" in name}
    files = store.files()
    for name in files.find(lake.settings.lake.warehouse):
        assert USER.encode() not in files.cat_file(name), name
    listing = files.cat_file(f"{lake.settings.lake.warehouse}/erasures/{erasure.proof.digest}.sha256").decode()
    assert all(name in listing for name in after if name.endswith((".parquet", ".avro")))


def test_sql_is_answered_from_the_store_with_keys_of_the_environment_and_no_raw_row(
    lake: Lake, store: ObjectStore, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(msgspec.json.encode(lake.vendor.plan).decode())  # which is YAML, too
    section = lake.settings.lake
    config = tmp_path / "vendor.toml"
    config.write_text(
        f'[plan]\nfile = "{plan}"\n[lake]\nwarehouse = "{section.warehouse}"\ncatalog = "{section.catalog}"\n'
    )

    def sql(statement: str, status: int = 0) -> str:
        arguments = ["--config", str(config), "sql", statement, "--json"]
        done = CliRunner().invoke(app, arguments, env=store.environment())
        assert done.exit_code == status, done.output
        return done.stdout if status == 0 else done.stderr

    assert "heliograph lake load" in sql("SELECT count(*) FROM user_days", status=2), "there is no lake yet"
    lake.send(INSTANCE, 1, 30)
    lake.load()
    lake.send(OTHER, 1, 20)
    lake.load()
    query = "SELECT instance, sum(events)::BIGINT AS events FROM {} GROUP BY instance ORDER BY instance"
    counted = [{"instance": INSTANCE, "events": 30}, {"instance": OTHER, "events": 20}]
    for mart in ("user_days", "session_parts", "instance_days"):
        assert json.loads(sql(query.format(mart))) == counted, mart
    assert json.loads(sql("SELECT count(*) AS pings FROM pings")) == [{"pings": 0}]
    assert "raw rows are closed" in sql("SELECT * FROM events", status=2)
    assert "no files" in sql(f"FROM read_parquet('{event_files(section)[0]}')", status=2)


@pytest.fixture
def shared(store: ObjectStore, postgres: PostgresCluster, tmp_path: Path) -> KeptLake:
    """A lake of several machines: its files in the store, its catalog in PostgreSQL."""
    name = f"lake_{secrets.token_hex(8)}"
    with postgres.connect() as connection:
        connection.execute(f"CREATE DATABASE {name}")
    where = conninfo_to_dict(postgres.dsn(name))
    catalog = f"postgresql+psycopg://{where['user']}@/{name}?host={quote(str(where['host']))}"
    fields: dict[str, Any] = {**store.lake_settings(f"shared-{tmp_path.name}"), "catalog": catalog}
    return KeptLake(tmp_path, **fields)


def test_a_shared_lake_is_kept_in_order_and_its_rows_stay_what_they_are(shared: KeptLake) -> None:
    for n in range(1, 5):
        shared.append(row(4 * n + k, user=k) for k in range(4))
    before = shared.rows()
    [done] = shared.keeper().compact()
    assert (done.files_before, done.files_after, done.rows) == (4, 1, 16)
    assert shared.rows() == before
    storage = open_storage(shared.settings)
    storage.write(storage.location("heliograph/events/data/orphan.parquet"), b"a commit that never came")
    assert [file.location for file in storage.files(storage.url) if "orphan" in file.location]
    shared.later = timedelta(days=2)
    [removed] = shared.keeper().expire()
    assert removed.snapshots == 4
    shared.keeper().clean()
    data = {file.location for file in storage.files(storage.url) if file.location.endswith(".parquet")}
    assert data == set(event_files(shared.settings))
    assert shared.rows() == before
    [found] = take_inventory(shared.settings, shared.now())
    assert (found.files, found.snapshots) == (1, 1)


def test_locks_hold_among_machines_by_the_catalog_s_database_and_end_with_their_session(shared: KeptLake) -> None:
    one, other = (Exclusion(shared.settings, wait=lambda _: None) for _ in range(2))
    with one.erasing(), pytest.raises(BusyError) as refused, other.rewriting(seconds=1):
        pass
    assert "postgres" not in str(refused.value).split(":")[1], "no user, no password"
    with other.rewriting():
        pass


def test_the_store_s_secret_is_in_no_file_of_the_lake_and_in_no_message(lake: Lake, store: ObjectStore) -> None:
    lake.send(INSTANCE, 1, 3)
    lake.load()
    secret = lake.settings.lake.store_secret_key.encode()
    files = store.files()
    for name in files.find(lake.settings.lake.warehouse):
        assert secret not in files.cat_file(name), name
    assert secret not in (lake.folder / "catalog.db").read_bytes()
