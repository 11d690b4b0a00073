"""The heavy work of a lake on a real cluster of Spark leaves what it leaves when one process does it."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import structlog
from typer.testing import CliRunner

from heliograph.cli import app
from heliograph.demo.filled import append_events, make_marts
from heliograph.demo.population import PopulationRule, draw_population
from heliograph.gateway.log import Log
from heliograph.gateway.log_entries import Entry
from heliograph.lake.maintenance.layout import order_of
from heliograph.lake.maintenance.upkeep import Keeper
from heliograph.lake.marts.tables import MARTS, SESSION_PARTS, USER_DAYS
from heliograph.lake.report import count_events, count_repeated
from heliograph.lake.storage import local_path
from heliograph.lake.tables import EVENTS, find_events, find_tables
from heliograph.plan.load import load_plan
from heliograph.settings import (
    EngineSettings,
    GatewaySettings,
    LakeSettings,
    PlanSettings,
    RegistrySettings,
    Settings,
    commented_file,
)
from heliograph.wire import NDJSON, Receipt
from lake_files import told
from spark_cluster import Killing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyiceberg.table import Table

    from heliograph.engines.spark import SparkEngine
    from spark_cluster import SparkCluster

# Spark's way from Python to Java leaves sockets of ended threads to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PLAN = Path(__file__).resolve().parents[2] / "plans" / "code-intelligence.yaml"
BESIDE: Final = "beside-1"
"""The instance whose events come while the cluster is at work."""
NAME: Final = "SearchSubmitted"
NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)
ERASE: Final = ["--since", "1970-01-01", "--reason", "revoked"]
KILLED = """
import importlib, os, signal, sys
from heliograph.cli import main

module, step = sys.argv.pop(1), sys.argv.pop(1)
setattr(importlib.import_module(module), step, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
main()
"""


class Site:
    """A lake with some thousand events of two months in many small files, and its marts, of which some rows are double.

    It is filled once, and put back to how it was for each engine: Iceberg's files name each other by their whole paths.
    """

    def __init__(self, folder: Path) -> None:
        self.home, self._copy = folder / "home", folder / "copy"
        self.settings = Settings(
            plan=PlanSettings(file=str(PLAN)),
            gateway=GatewaySettings(log=str(self.home / "log")),
            registry=RegistrySettings(url=f"sqlite:///{self.home}/registry.db"),
            lake=LakeSettings(
                warehouse=str(self.home / "lake"),
                catalog=f"sqlite:///{self.home}/lake/catalog.db",
                compact_files=2,
            ),
        )
        plan = load_plan(PLAN)
        rule = PopulationRule(seed=6, first_day=date(2026, 1, 5), days=45, accounts=2, people=10)
        events = append_events(self.settings.lake, plan, draw_population(rule, plan), rows=400)
        events.append(one_of(events))
        make_marts(self.settings.lake, plan, events)
        for table in find_tables(self.settings.lake):
            if table.name()[-1] == "user_days":
                table.append(one_of(table))
        shutil.copytree(self.home, self._copy)

    def put_back(self) -> None:
        shutil.rmtree(self.home)
        shutil.copytree(self._copy, self.home)

    def on(self, engine: EngineSettings) -> list[str]:
        """Return the arguments by which the command line uses an engine."""
        file = self.home / "vendor.toml"
        file.write_text(commented_file(msgspec.structs.replace(self.settings, engine=engine)))
        return ["--config", str(file)]

    def run(self, engine: EngineSettings, *verb: str) -> str:
        """Run a verb, and return what it prints."""
        done = CliRunner().invoke(app, [*self.on(engine), *verb])
        assert done.exit_code == 0, done.output
        return done.stdout

    def tables(self) -> dict[str, Table]:
        return {".".join(table.name()): table for table in find_tables(self.settings.lake)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


def one_of(table: Table) -> pa.Table:
    """Return some rows that a table has."""
    return table.scan(limit=50).to_arrow()


def assert_in_order(tables: dict[str, Table], orders: Mapping[str, Sequence[str]]) -> None:
    for name, by in orders.items():
        for task in tables[name].scan().plan_files():
            rows = pq.read_table(local_path(task.file.file_path), partitioning=None)
            assert rows.select(by).equals(rows.sort_by([(name, "ascending") for name in by]).select(by))


def excludes(table: Table, column: str, value: str) -> list[bool]:
    """Return for each group of rows whether its Bloom filter tells that a value is not there."""
    query = "select bloom_filter_excludes from parquet_bloom_probe($files, $column, $value)"
    files = [local_path(task.file.file_path) for task in table.scan().plan_files()]
    with duckdb.connect() as connection:
        parameters = {"files": files, "column": column, "value": value}
        return [excluded for (excluded,) in connection.execute(query, parameters).fetchall()]


def bytes_of(tables: dict[str, Table]) -> int:
    return sum(task.file.file_size_in_bytes for table in tables.values() for task in table.scan().plan_files())


@pytest.mark.timeout(1800)
def test_compaction_on_a_cluster_that_loses_a_machine_leaves_the_files_that_one_process_leaves(
    site: Site, cluster: SparkCluster, spark: SparkEngine, tmp_path: Path
) -> None:
    site.put_back()
    said_here = site.run(EngineSettings(), "lake", "compact", "--all")
    here, size = told(site.tables()), bytes_of(site.tables())
    assert "50 rows stood there twice" in said_here
    assert "50 rows of a mart added to others" in said_here
    site.put_back()
    with Killing(cluster):
        said_there = site.run(cluster.settings(copies=str(tmp_path)), "lake", "compact", "--all")
    assert told(site.tables()) == here
    columns = {name: [field.name for field in table.schema().fields] for name, table in site.tables().items()}
    assert_in_order(site.tables(), {name: order_of(names) for name, names in columns.items()})
    # Of files so small the Bloom filters, which may be of another size, are the greater part.
    assert bytes_of(site.tables()) < 1.3 * size + 8_192 * sum(map(len, here.values()))
    assert [line.rpartition(" bytes now ")[0] for line in said_there.splitlines()] == [
        line.rpartition(" bytes now ")[0] for line in said_here.splitlines()
    ]
    # Who looks for one user reads no group of rows that this user is not in.
    excluded = excludes(site.tables()[EVENTS], "user_id", "0" * 32)
    assert excluded == [True, True]
    # Iceberg plans by what the files' footers say: of the rows of one day those of other months are not read.
    [events] = [table for name, table in site.tables().items() if name == EVENTS]
    assert len(list(events.scan(row_filter="time < '2026-01-08T00:00:00'").plan_files())) == 1
    assert [line for line in (tmp_path.rglob("*")) if line.is_file()] == []


@pytest.mark.timeout(1800)
def test_compaction_that_is_killed_between_what_spark_wrote_and_the_commit_changes_nothing_and_leaves_orphans(
    site: Site, cluster: SparkCluster, tmp_path: Path
) -> None:
    site.put_back()
    engine = cluster.settings(copies=str(tmp_path))
    before = told(site.tables())
    known = set(files_under(site))
    kill(site, engine, ["heliograph.lake.maintenance.compaction", "replace_files"], "lake", "compact")
    orphans = set(files_under(site)) - known
    assert orphans
    assert told(site.tables()) == before
    site.run(EngineSettings(), "lake", "compact")  # whoever goes on with it
    clean(site)
    assert not orphans & set(files_under(site))
    rows = [[*map(str, file[-1])] for file in told(site.tables())[EVENTS]]
    assert sum(map(len, rows)) == sum(len(file[-1]) for file in before[EVENTS]) - 50


def kill(site: Site, engine: EngineSettings, step: list[str], *verb: str) -> None:
    """Run a verb in a process that is killed when it comes to a step, a module and a function's name."""
    command = [sys.executable, "-c", KILLED, *step, *site.on(engine), *verb]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


@pytest.mark.timeout(1800)
def test_marts_that_a_cluster_makes_are_those_that_one_process_makes_and_it_finds_the_same_that_differs(
    site: Site, cluster: SparkCluster, spark: SparkEngine, tmp_path: Path
) -> None:
    engine = cluster.settings(copies=str(tmp_path))
    site.put_back()
    site.run(EngineSettings(), "lake", "marts", "--rebuild")
    here = told(site.tables())
    site.put_back()
    with Killing(cluster):
        site.run(engine, "lake", "marts", "--rebuild")
    assert told(site.tables()) == here
    assert_in_order(site.tables(), {mart.table: mart.order for mart in MARTS})
    site.run(engine, "lake", "marts", "--check")
    site.tables()[SESSION_PARTS.table].append(one_of(site.tables()[SESSION_PARTS.table]))
    said = [
        CliRunner().invoke(app, [*site.on(each), "lake", "marts", "--check"]) for each in (EngineSettings(), engine)
    ]
    assert [each.exit_code for each in said] == [1, 1]
    found, other = (sum(map(int, re.findall(r"session_parts: (\d+) rows differ", each.stderr))) for each in said)
    assert found == other > 0


@pytest.mark.timeout(1800)
def test_making_marts_that_is_killed_between_what_spark_wrote_and_the_commit_is_finished_by_whoever_comes_next(
    site: Site, cluster: SparkCluster, tmp_path: Path
) -> None:
    engine = cluster.settings(copies=str(tmp_path))
    site.put_back()
    site.run(EngineSettings(), "lake", "marts", "--rebuild")
    here = told(site.tables())
    site.put_back()
    kill(site, engine, ["heliograph.lake.marts.keeping", "add_files"], "lake", "marts", "--rebuild")
    left = set(files_under(site))
    assert [file for file in left if "-made.parquet" in file]
    site.run(EngineSettings(), "lake", "load")
    assert told(site.tables()) == here
    clean(site)
    assert not [file for file in files_under(site) if file in left and "-made.parquet" in file]


class Sending:
    """A gateway's log that gets a delivery every moment, and a loader of its own process that follows it."""

    def __init__(self, site: Site) -> None:
        gateway = site.settings.gateway
        self._lake = site.settings.lake
        self._log = Log(Path(gateway.log), segment_bytes=gateway.segment_bytes, maximum_bytes=gateway.maximum_log_bytes)
        command = [sys.executable, "-m", "heliograph.cli", *site.on(EngineSettings()), "lake", "load", "--follow"]
        self._loader = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait_for(1)
        return self

    def _send(self) -> None:
        while not self._stop.wait(0.3):
            first, last = self.sent + 1, self.sent + 10
            receipt = Receipt(
                instance=BESIDE,
                epoch=1,
                first=first,
                last=last,
                accepted={NAME: 10},
                rejected={},
                absent={},
                digest="",
                agreement="agreement-1",
                received=1_790_000_000_000_000,
            )
            entry = Entry(receipt=receipt, account="acme", plan="p@1", content_type=NDJSON, content_encoding="")
            body = b"\n".join(
                b'{"name":"%s","sequence":%d,"time":"2026-01-20T10:%02d:00Z","user_id":"%032d"}'
                % (NAME.encode(), number, number % 60, number % 7)
                for number in range(first, last + 1)
            )
            asyncio.run(self._log.append(entry, body))
            self.sent = last

    def loaded(self) -> int:
        return sum(count_events(self._lake).get(BESIDE, {}).values())

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 120
        while self.loaded() < count:
            assert self._loader.poll() is None, self._loader.stderr.read()[-2_000:] if self._loader.stderr else ""
            assert time.monotonic() < deadline, "the loader does not come on"
            time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.wait_for(self.sent)
        self._loader.terminate()
        self._loader.communicate()
        self._log.close()


@pytest.mark.timeout(1800)
def test_what_a_loader_commits_while_the_cluster_compacts_is_there_once_in_events_and_marts(
    site: Site, cluster: SparkCluster, spark: SparkEngine, tmp_path: Path
) -> None:
    engine = cluster.settings(copies=str(tmp_path))
    site.put_back()
    before = sum(sum(names.values()) for names in count_events(site.settings.lake).values()) - 50
    with Sending(site) as sending:
        loaded = sending.loaded()
        said = site.run(engine, "lake", "compact", "--all")
        assert "50 rows stood there twice" in said
        assert sending.loaded() > loaded, "it has committed meanwhile"
    counted = count_events(site.settings.lake)
    assert counted.pop(BESIDE) == {NAME: sending.sent}
    assert sum(sum(names.values()) for names in counted.values()) == before
    assert count_repeated(site.settings.lake) == 0
    for mart in MARTS:
        rows = site.tables()[mart.table].scan(row_filter=f"instance = '{BESIDE}'").to_arrow()
        assert sum(rows["events"].to_pylist()) == sending.sent, mart.name


@pytest.mark.timeout(1800)
def test_what_a_loader_commits_while_the_cluster_makes_marts_is_there_once_in_each(
    site: Site, cluster: SparkCluster, spark: SparkEngine, tmp_path: Path
) -> None:
    site.put_back()
    with Sending(site) as sending:
        loaded = sending.loaded()
        site.run(cluster.settings(copies=str(tmp_path)), "lake", "marts", "--rebuild")
        assert sending.loaded() > loaded, "it has committed meanwhile"
    assert count_events(site.settings.lake)[BESIDE] == {NAME: sending.sent}
    # Each is what its definition says of all events, those that came meanwhile among them.
    site.run(EngineSettings(), "lake", "marts", "--check")
    rows = site.tables()[USER_DAYS.table].scan(row_filter=f"instance = '{BESIDE}'").to_arrow()
    assert sum(rows["events"].to_pylist()) == sending.sent


def clean(site: Site) -> None:
    """Delete orphans, as if they were old."""
    structlog.reset_defaults()
    later = datetime.now(UTC) + timedelta(days=2)
    Keeper(site.settings.lake, now=lambda: later).clean()


def files_under(site: Site) -> list[str]:
    return [str(path) for path in (site.home / "lake").rglob("*.parquet")]


@pytest.mark.parametrize(
    "verb", [["compact"], ["marts", "--rebuild"], ["marts", "--check"], ["erase", "--account", "a", *ERASE]]
)
def test_a_lake_in_an_object_store_is_refused_with_what_to_do(tmp_path: Path, verb: list[str]) -> None:
    settings = Settings(
        plan=PlanSettings(file=str(PLAN)),
        registry=RegistrySettings(url=f"sqlite:///{tmp_path}/registry.db"),
        lake=LakeSettings(warehouse="s3://bucket/lake", catalog=f"sqlite:///{tmp_path}/catalog.db"),
        engine=EngineSettings(kind="spark"),
    )
    file = tmp_path / "vendor.toml"
    file.write_text(commented_file(settings))
    done = CliRunner().invoke(app, ["--config", str(file), "lake", *verb])
    assert done.exit_code
    assert "HELIOGRAPH_ENGINE_KIND=duckdb" in done.stderr
    assert find_events(settings.lake) is None
