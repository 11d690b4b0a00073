"""The heavy work of a lake on a real cluster of Spark leaves what it leaves when one process does it."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from heliograph.cli import app
from heliograph.demo.filled import append_events, make_marts
from heliograph.demo.population import PopulationRule, draw_population
from heliograph.lake.maintenance.layout import order_of
from heliograph.lake.maintenance.upkeep import Keeper
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
from spark_cluster import Killing

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from heliograph.engines.spark import SparkEngine
    from spark_cluster import SparkCluster

PLAN = Path(__file__).resolve().parents[2] / "plans" / "code-intelligence.yaml"
NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)
_MINUS_ZERO: Final = struct.pack("<d", -0.0)
KILLED = """
import os, signal, sys
from heliograph.cli import main
from heliograph.lake.maintenance import compaction

compaction.replace_files = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
sys.argv[0] = "heliograph"
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


def told(tables: dict[str, Table]) -> dict[str, list[Any]]:
    """Return all that a lake says: by table and file what a snapshot tells of it, its columns, and its rows."""
    found: dict[str, list[Any]] = {}
    for name, table in tables.items():
        files = [task.file for task in table.scan().plan_files()]
        found[name] = sorted((told_of(table, file) for file in files), key=str)
    return found


def told_of(table: Table, file: DataFile) -> list[Any]:
    rows = pq.read_table(local_path(file.file_path), partitioning=None)
    numbers = {field.name: int(field.metadata[b"PARQUET:field_id"]) for field in rows.schema}
    assert numbers == {field.name: field.field_id for field in table.schema().fields}
    types = [(field.name, str(field.type).removeprefix("large_")) for field in rows.schema]
    # Parquet has the least of numbers that are zero be minus zero, and not all writers do so.
    lower = {number: bound.replace(_MINUS_ZERO, bytes(8)) for number, bound in file.lower_bounds.items()}
    kept = [lower, dict(file.upper_bounds), dict(file.value_counts), dict(file.null_value_counts)]
    return [str(file.partition), file.record_count, *kept, types, sorted(map(str, rows.to_pylist()))]


def assert_in_order(tables: dict[str, Table]) -> None:
    for table in tables.values():
        for task in table.scan().plan_files():
            rows = pq.read_table(local_path(task.file.file_path), partitioning=None)
            by = order_of(rows.schema.names)
            assert rows.select(by).equals(rows.sort_by([(name, "ascending") for name in by]).select(by))


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
    assert_in_order(site.tables())
    assert bytes_of(site.tables()) < 1.3 * size
    assert [line.rpartition(" bytes now ")[0] for line in said_there.splitlines()] == [
        line.rpartition(" bytes now ")[0] for line in said_here.splitlines()
    ]
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
    command = [sys.executable, "-c", KILLED, *site.on(engine), "lake", "compact"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    orphans = set(files_under(site)) - known
    assert orphans
    assert told(site.tables()) == before
    site.run(EngineSettings(), "lake", "compact")  # whoever goes on with it
    later = datetime.now(UTC) + timedelta(days=2)
    Keeper(site.settings.lake, now=lambda: later).clean()
    assert not orphans & set(files_under(site))
    rows = [[*map(str, file[-1])] for file in told(site.tables())[EVENTS]]
    assert sum(map(len, rows)) == sum(len(file[-1]) for file in before[EVENTS]) - 50


def files_under(site: Site) -> list[str]:
    return [str(path) for path in (site.home / "lake").rglob("*.parquet")]


def test_a_lake_in_an_object_store_is_refused_with_what_to_do(tmp_path: Path) -> None:
    settings = Settings(
        lake=LakeSettings(warehouse="s3://bucket/lake", catalog=f"sqlite:///{tmp_path}/catalog.db"),
        engine=EngineSettings(kind="spark"),
    )
    file = tmp_path / "vendor.toml"
    file.write_text(commented_file(settings))
    done = CliRunner().invoke(app, ["--config", str(file), "lake", "compact"])
    assert done.exit_code == 1
    assert "HELIOGRAPH_ENGINE_KIND=duckdb" in done.stderr
    assert find_events(settings.lake) is None
