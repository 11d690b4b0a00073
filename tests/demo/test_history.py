"""The history data set in a real PostgreSQL: the rows of the file, each once, and a role that sees little."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet
import pytest

from heliograph.demo.history import HistoryError, load_history
from heliograph.instance.event_logs import Cursor, EventLogsSource
from heliograph.plan.load import load_plan
from heliograph.settings import EventLogsSettings

if TYPE_CHECKING:
    from heliograph.demo.postgres import PostgresCluster

PLAN = Path(__file__).parents[2] / "examples" / "commit-history.yaml"
SCHEMA = pa.schema(
    [
        ("instance", pa.string()),
        ("id", pa.int64()),
        ("name", pa.string()),
        ("url", pa.string()),
        ("user_id", pa.int32()),
        ("anonymous_user_id", pa.string()),
        ("source", pa.string()),
        ("argument", pa.string()),
        ("public_argument", pa.string()),
        ("version", pa.string()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("insert_id", pa.string()),
    ]
)


def row(instance: str | None, number: int, **columns: Any) -> dict[str, Any]:
    return {
        "instance": instance,
        "id": number,
        "name": "FileEdited" if number % 3 else "CommitPushed",
        "url": "",
        "user_id": number % 5,
        "anonymous_user_id": str(uuid.UUID(int=number % 5)),
        "source": "BACKEND",
        "argument": '{"note": "PRIVATE-CANARY"}',
        "public_argument": f'{{"files": {number}}}',
        "version": "26.2.0",
        "timestamp": datetime(2020, 1, 1, 12, number % 60, tzinfo=UTC),
        "insert_id": str(uuid.UUID(int=number)),
    } | columns


def write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> Path:
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows, SCHEMA).cast(schema), path)
    return path


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """A file with three instances, their rows mixed and out of order."""
    rows = [row(instance, number) for number in range(400, 0, -1) for instance in ("acme", "Zoë & Søn / 3", "b" * 200)]
    return write(tmp_path / "history.parquet", rows[:-50])


def test_each_instance_has_its_rows_by_name(postgres: PostgresCluster, parquet: Path) -> None:
    said: list[str] = []
    databases = load_history(postgres, parquet, progress=said.append)
    assert [database.instance for database in databases] == ["Zoë & Søn / 3", "acme", "b" * 200]
    assert len(said) == 3
    for database in databases:
        expected = duckdb.execute(
            "SELECT name, count(*), min(id), max(id), sum(user_id) FROM read_parquet(?) WHERE instance = ? "
            "GROUP BY name ORDER BY name",
            [str(parquet), database.instance],
        ).fetchall()
        with psycopg.connect(database.dsn) as reader:
            found = reader.execute(
                "SELECT name, count(*), min(id), max(id), sum(user_id) FROM event_logs GROUP BY name ORDER BY name"
            ).fetchall()
        assert found == expected
        assert database.rows == sum(count for _, count, *_ in expected)


def test_the_real_history_is_read_as_it_is_in_the_file(postgres: PostgresCluster, history: Path) -> None:
    plan = load_plan(PLAN)
    found: dict[str, Counter[tuple[str, str, str]]] = {}
    for database in load_history(postgres, history):
        source = EventLogsSource(EventLogsSettings(dsn=database.dsn), plan)
        counts: Counter[tuple[str, str, str]] = Counter()
        cursor, caught_up = Cursor(), False
        while not caught_up:
            events, cursor, caught_up, stripped, _ = source.read(cursor)
            counts.update((event["name"], event["user"], event["time"][:7]) for event in events)
            assert stripped == {}
        source.close()
        assert counts.total() == database.rows
        found[database.instance] = counts
    expected: dict[str, Counter[tuple[str, str, str]]] = {}
    for instance, *key, count in duckdb.execute(
        "SELECT instance, name, 'u:' || user_id, strftime(make_timestamp(epoch_us(timestamp)), '%Y-%m'), count(*) "
        "FROM read_parquet(?) GROUP BY ALL",
        [str(history)],
    ).fetchall():
        expected.setdefault(instance, Counter())[(key[0], key[1], key[2])] = count
    assert found == expected


def test_rows_are_as_in_the_file(postgres: PostgresCluster, tmp_path: Path) -> None:
    tricky = row(
        "acme",
        7,
        name='a "quoted", name\nwith lines \\. \t',
        url=None,
        version="",
        public_argument=None,
        timestamp=datetime(1999, 12, 31, 23, 59, 59, 123456, tzinfo=UTC),
    )
    [database] = load_history(postgres, write(tmp_path / "tricky.parquet", [tricky]))
    with postgres.connect(database.database) as admin:
        found = admin.execute(
            "SELECT id, name, url, user_id, anonymous_user_id, source, argument::text, public_argument, version, "
            "timestamp, insert_id, client FROM event_logs"
        ).fetchone()
        assert found == (*[tricky[name] for name in SCHEMA.names[1:]], None)
        assert admin.execute(
            "INSERT INTO event_logs (name, timestamp) VALUES ('New', now()) RETURNING id"
        ).fetchone() == (8,)


def test_the_reading_role_sees_no_private_column(postgres: PostgresCluster, parquet: Path) -> None:
    [database, *_] = load_history(postgres, parquet)
    with psycopg.connect(database.dsn, autocommit=True) as reader:
        for statement in ("SELECT argument FROM event_logs", "SELECT url FROM event_logs", "DELETE FROM event_logs"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement)


def test_the_table_has_the_products_columns_and_indexes(postgres: PostgresCluster, parquet: Path) -> None:
    [database, *_] = load_history(postgres, parquet)
    with postgres.connect(database.database) as admin:
        columns = admin.execute(
            "SELECT count(*) FROM pg_attribute WHERE attrelid = 'event_logs'::regclass AND attnum > 0"
        )
        assert columns.fetchone() == (20,)
        indexes = admin.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'event_logs' ORDER BY 1").fetchall()
    assert [definition.split(" USING btree ")[1] for (definition,) in indexes] == [
        '(name, "timestamp" DESC)',
        '("timestamp")',
        "(user_id, name)",
        '(user_id, "timestamp")',
        "(insert_id)",
        "(id)",
    ]


def test_loading_again_replaces_what_was_there(postgres: PostgresCluster, parquet: Path, tmp_path: Path) -> None:
    load_history(postgres, parquet)
    load_history(postgres, write(tmp_path / "other.parquet", [row("acme", 1)]))
    with postgres.connect() as admin:
        found = admin.execute("SELECT datname FROM pg_database WHERE datname LIKE 'history\\_%'").fetchall()
    assert found == [("history_001_acme",)]


def test_other_types_of_the_same_meaning_are_taken(postgres: PostgresCluster, tmp_path: Path) -> None:
    others = {
        "instance": pa.dictionary(pa.int32(), pa.string()),
        "name": pa.dictionary(pa.int32(), pa.string()),
        "id": pa.int32(),
        "url": pa.large_string(),
        "user_id": pa.int64(),
        "timestamp": pa.timestamp("ns"),
    }
    schema = pa.schema([field.with_type(others.get(field.name, field.type)) for field in SCHEMA])
    [database] = load_history(postgres, write(tmp_path / "other.parquet", [row("acme", 1), row("acme", 2)], schema))
    with psycopg.connect(database.dsn) as reader:
        assert reader.execute("SELECT timestamp FROM event_logs WHERE id = 2").fetchone() == (
            row("acme", 2)["timestamp"],
        )


def problems(cluster: PostgresCluster, path: Path) -> list[str]:
    with pytest.raises(HistoryError) as caught:
        load_history(cluster, path)
    assert all(problem.startswith(str(path)) for problem in caught.value.problems)
    return [problem.removeprefix(f"{path}: ") for problem in caught.value.problems]


def test_all_that_is_wrong_with_the_columns_is_said_at_once(postgres: PostgresCluster, tmp_path: Path) -> None:
    path = tmp_path / "wrong.parquet"
    pyarrow.parquet.write_table(
        pa.table({"id": ["1"], "name": ["a"], "url": [""], "user_id": [1.5], "timestamp": ["2020"], "source": [None]}),
        path,
    )
    assert problems(postgres, path) == [
        "column instance (text) is missing",
        "column anonymous_user_id (text) is missing",
        "column argument (text) is missing",
        "column public_argument (text) is missing",
        "column version (text) is missing",
        "column insert_id (text) is missing",
        "column id is string, and must be integer",
        "column user_id is double, and must be integer",
        "column source is null, and must be text",
        "column timestamp is string, and must be timestamp",
    ]


def test_what_is_no_parquet_file_is_said(postgres: PostgresCluster, tmp_path: Path) -> None:
    assert "no such file" in problems(postgres, tmp_path / "none.parquet")[0]
    (tmp_path / "text.parquet").write_text("instance,id\n")
    assert "not a Parquet file" in problems(postgres, tmp_path / "text.parquet")[0]
    assert "not a Parquet file" in problems(postgres, tmp_path)[0]


def test_a_damaged_file_is_said(postgres: PostgresCluster, parquet: Path, tmp_path: Path) -> None:
    whole = parquet.read_bytes()
    # The footer is whole, and the rows are not.
    (tmp_path / "damaged.parquet").write_bytes(whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :])
    assert "damaged" in problems(postgres, tmp_path / "damaged.parquet")[0]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], "no rows"),
        ([row(None, 1)], "1 rows have no instance"),
        ([row("acme", 1), row("acme", 1, insert_id="other")], "instance 'acme': could not create unique index"),
        ([row("acme", 1), row("acme", 2, argument="no json, but a canary")], "instance 'acme': invalid input syntax"),
        ([row("acme", 1, name=None)], "instance 'acme': null value in column \"name\""),
        ([row("acme", 1, id=None)], "instance 'acme': null value in column \"id\""),
    ],
    ids=["empty", "no instance", "an id twice", "no json", "no name", "no id"],
)
def test_rows_that_do_not_fit_are_said_without_their_content(
    postgres: PostgresCluster, tmp_path: Path, rows: list[dict[str, Any]], expected: str
) -> None:
    said = problems(postgres, write(tmp_path / "bad.parquet", rows))
    assert said[0].startswith(expected) or expected in said[0]
    assert "canary" not in said[0]


def test_the_problems_of_all_instances_are_said_at_once(postgres: PostgresCluster, tmp_path: Path) -> None:
    rows = [row("acme", 1, name=None), row("beta", 1), row("gamma", 1, argument="{")]
    assert len(problems(postgres, write(tmp_path / "bad.parquet", rows))) == 2
