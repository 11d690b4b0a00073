from __future__ import annotations

import io
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

import ibis
import pyarrow as pa
import pytest
from pyarrow import parquet

from debian import require_program
from heliograph.engines import EmbeddedEngine, EngineError, Stored, open_engine
from heliograph.engines.spark import SparkEngine
from heliograph.engines.staging import Staging
from heliograph.settings import EngineSettings

if TYPE_CHECKING:
    from heliograph.engines import Engine

# Spark's way from Python to Java leaves sockets of what has ended to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

COLUMNS = pa.schema(
    [
        pa.field("account", pa.string()),
        pa.field("time", pa.timestamp("us")),
        pa.field("number", pa.int64()),
        pa.field("day", pa.date32()),
        pa.field("share", pa.float64()),
        pa.field("exact", pa.bool_()),
    ]
)
NIGHT = datetime(2026, 3, 29, 2, 30)  # noqa: DTZ001 - naive UTC; Berlin's clocks never showed it
ROWS = pa.Table.from_pylist(
    [
        {
            "account": "acme",
            "time": NIGHT,
            "number": 2**53 + 1,
            "day": date(2026, 3, 29),
            "share": 0.5,
            "exact": True,
        },
        {"account": "bell", "time": datetime(2026, 1, 1, 23, 59, 59, 999999), "number": None, "share": None},  # noqa: DTZ001
    ],
    COLUMNS,
)


def check(engine: Engine, folder: Path) -> None:
    """Hold an engine to what it promises, whichever it is."""
    # Folders named as partitions, and names that a pattern or a URL would read otherwise.
    place = folder / "account=other" / "a b%2F[x]{1}"
    place.mkdir(parents=True)
    old, new = place / "old*.parquet", place / "new.parquet"
    parquet.write_table(ROWS.slice(1).drop_columns(["exact", "share"]), old)
    parquet.write_table(ROWS.slice(0, 1), new)
    stored = Stored((str(old), str(new)), COLUMNS)
    with engine:
        tables = engine.open({"events": stored, "none": Stored((), COLUMNS), "again": stored})
        events = tables["events"]
        assert events.order_by("account").to_pyarrow().equals(ROWS)
        assert tables["none"].to_pyarrow().equals(ROWS.slice(0, 0))
        assert events.union(tables["none"]).count().to_pyarrow().as_py() == 2
        assert events.join(tables["again"], "account").count().to_pyarrow().as_py() == 2
        words = ibis.memtable(pa.table({"account": ["acme"], "core": [True]}))
        assert events.join(words, "account").select("number", "core").to_pyarrow().to_pylist() == [
            {"number": 2**53 + 1, "core": True}
        ]
        assert events.filter(events.time >= ibis.literal(NIGHT, "timestamp(6)")).count().to_pyarrow().as_py() == 1
        days = events.select(day=events.time.cast("date"), hour=events.time.hour()).order_by("day")
        assert days.to_pyarrow().to_pylist() == [
            {"day": date(2026, 1, 1), "hour": 23},
            {"day": date(2026, 3, 29), "hour": 2},
        ]
        assert events.time.max().to_pyarrow().as_py() == NIGHT


def test_duckdb_reads_what_iceberg_plans_with_nulls_for_columns_that_a_file_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    check(open_engine(EngineSettings()), tmp_path)


def test_spark_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_program("java", package="openjdk-17-jre-headless")
    monkeypatch.setenv("TZ", "America/New_York")
    options = ("spark.sql.shuffle.partitions=2", "spark.driver.memory=512m")
    settings = EngineSettings(kind="spark", master="local[1]", options=options)
    check(open_engine(settings), tmp_path)
    # Which file a row is in, by the very name that was given.
    files = tuple(str(file) for file in tmp_path.rglob("*.parquet"))
    with SparkEngine(settings) as engine:
        events = engine.open({"events": Stored(files, COLUMNS)}, path="_file")["events"]
        assert set(events["_file"].to_pyarrow().to_pylist()) == set(files)


class Store:
    """An object store, as far as an engine sees one."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self._objects = objects
        self.read: list[str] = []

    def open(self, location: str) -> IO[bytes]:
        self.read.append(location)
        return io.BytesIO(self._objects[location])

    def attach(self, connection: object) -> None:
        raise AssertionError("this is for DuckDB")


def test_copies_of_what_is_elsewhere_are_made_once_and_gone_when_the_engine_is_closed(tmp_path: Path) -> None:
    store = Store({"s3://lake/one": b"one", "s3://lake/two": b"two"})
    staging = Staging(tmp_path, store)
    copies = staging.copy(["s3://lake/one", "s3://lake/two"])
    assert staging.copy(["s3://lake/two"]) == copies
    assert {location: Path(path).read_bytes() for location, path in copies.items()} == store._objects
    assert store.read == ["s3://lake/one", "s3://lake/two"]
    beside = Staging(tmp_path, store)
    assert all(Path(path).exists() for path in copies.values()), "another engine must not delete them"
    staging.close()
    beside.close()
    assert list(tmp_path.iterdir()) == []


def test_copies_that_a_killed_process_left_go_with_the_next_one(tmp_path: Path) -> None:
    script = "import sys, os, signal; from heliograph.engines.staging import Staging; import io\n"
    script += "class Store:\n    open = staticmethod(lambda location: io.BytesIO(b'left'))\n"
    script += f"Staging({str(tmp_path)!r}, Store()).copy(['s3://lake/one']); os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", script], check=False)
    assert [path.read_bytes() for path in tmp_path.glob("*/*.parquet")] == [b"left"]
    Staging(tmp_path, Store({})).close()
    assert list(tmp_path.iterdir()) == []


def test_without_spark_installed_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("pyspark", "ibis.backends.pyspark"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.delitem(sys.modules, "heliograph.engines.spark", raising=False)
    with pytest.raises(EngineError, match=r'pip install "heliograph\[spark\]"'):
        open_engine(EngineSettings(kind="spark"))


def test_without_java_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(EngineError, match="apt-get install openjdk-17-jre-headless"):
        open_engine(EngineSettings(kind="spark"))


@pytest.mark.parametrize("option", ["spark.executor.memory", "executor.memory=4g"])
def test_what_is_no_option_of_sparks_is_named(option: str) -> None:
    require_program("java", package="openjdk-17-jre-headless")
    with pytest.raises(EngineError, match="is no option of Spark's"):
        open_engine(EngineSettings(kind="spark", options=(option,)))


def test_a_closed_engine_answers_no_more(tmp_path: Path) -> None:
    file = tmp_path / "events.parquet"
    parquet.write_table(ROWS, file)
    engine = EmbeddedEngine()
    events = engine.open({"events": Stored((str(file),), COLUMNS)})["events"]
    engine.close()
    with pytest.raises(Exception, match="closed"):
        events.to_pyarrow()
