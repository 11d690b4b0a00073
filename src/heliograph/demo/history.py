"""The history data set, or any file of its shape, as the product's `event_logs` tables in a real PostgreSQL."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import psycopg
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from psycopg import sql

from heliograph.instance.event_logs_table import grant_statement
from heliograph.plan.columns import plain_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from heliograph.demo.postgres import PostgresCluster

READER: Final = "heliograph_reader"
"""The role that reads the tables, and may read no more of them than it needs."""
TABLE: Final = "event_logs"
_PREFIX: Final = "history_"
_WORKERS: Final = 2
_BATCH_ROWS: Final = 20_000

CREATE_TABLE: Final = """
CREATE TABLE event_logs (
    id bigserial,
    name text NOT NULL,
    url text,
    user_id integer,
    anonymous_user_id text,
    source text,
    argument jsonb,
    public_argument jsonb DEFAULT '{}',
    version text,
    timestamp timestamptz NOT NULL,
    insert_id text,
    feature_flags jsonb,
    cohort_id date,
    first_source_url text,
    last_source_url text,
    referrer text,
    device_id text,
    billing_product_category text,
    billing_event_id text,
    client text
)
"""
"""The product's table."""
# Made once the rows are there, which takes half the time.
INDEXES: Final = (
    "ALTER TABLE event_logs ADD PRIMARY KEY (id)",
    "CREATE UNIQUE INDEX event_logs_insert_id ON event_logs (insert_id)",
    "CREATE INDEX event_logs_name_timestamp ON event_logs (name, timestamp DESC)",
    "CREATE INDEX event_logs_user_id_name ON event_logs (user_id, name)",
    "CREATE INDEX event_logs_user_id_timestamp ON event_logs (user_id, timestamp)",
    "CREATE INDEX event_logs_timestamp ON event_logs (timestamp)",
)
"""The product's indexes."""


def _is_text(kind: pa.DataType) -> bool:
    plain = plain_type(kind)
    return bool(pa.types.is_string(plain) or pa.types.is_large_string(plain))


class _Kind(NamedTuple):
    word: str
    holds: Callable[[pa.DataType], bool]


_TEXT: Final = _Kind("text", _is_text)
_INTEGER: Final = _Kind("integer", pa.types.is_integer)
_TIME: Final = _Kind("timestamp", pa.types.is_timestamp)
_SHAPE: Final = {
    "instance": _TEXT,
    "id": _INTEGER,
    "name": _TEXT,
    "url": _TEXT,
    "user_id": _INTEGER,
    "anonymous_user_id": _TEXT,
    "source": _TEXT,
    "argument": _TEXT,
    "public_argument": _TEXT,
    "version": _TEXT,
    "timestamp": _TIME,
    "insert_id": _TEXT,
}


class HistoryError(Exception):
    """The file cannot be loaded; `problems` says all that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class InstanceDatabase(NamedTuple):
    """The database of one customer's instance."""

    instance: str
    """As the file names it: any text."""
    database: str
    dsn: str
    """For the role that may read what is needed, and no more."""
    rows: int


def load_history(
    cluster: PostgresCluster, parquet: Path, *, progress: Callable[[str], None] = lambda _: None
) -> list[InstanceDatabase]:
    """Make a database for each instance in a file, with its `event_logs` table, and return them by instance.

    What an earlier call has loaded into the same cluster is dropped.

    Args:
        cluster: A running server.
        parquet: The file.
        progress: Is told of each instance once it is loaded.

    Raises:
        HistoryError: The file is not there, not of this shape, or its rows do not fit the product's table.
    """
    check_shape(parquet)
    counts = _count_rows(parquet)
    names = _database_names(list(counts))
    _prepare(cluster, list(names.values()))

    problems: list[str] = []

    def load(instance: str) -> InstanceDatabase | None:
        database = names[instance]
        try:
            rows = _load_instance(cluster, parquet, instance, database)
        except HistoryError as error:
            problems.extend(error.problems)
            return None
        except psycopg.Error as error:
            problems.append(f"{parquet}: instance {instance!r}: {error.diag.message_primary or error}")
            return None
        progress(f"{instance}: {rows:,} rows")
        return InstanceDatabase(instance, database, cluster.dsn(database, user=READER), rows)

    largest_first = sorted(counts, key=lambda instance: -counts[instance])
    with ThreadPoolExecutor(_WORKERS) as pool:
        loaded = list(pool.map(load, largest_first))
    if problems:
        raise HistoryError(sorted(problems))
    return sorted(database for database in loaded if database is not None)


def check_shape(parquet: Path) -> None:
    """Check that a file has the columns of the data set.

    Raises:
        HistoryError: It has not.
    """
    with _reading(parquet):
        schema = pyarrow.parquet.read_schema(parquet)
    problems = [
        f"{parquet}: column {name} ({kind.word}) is missing"
        for name, kind in _SHAPE.items()
        if name not in schema.names
    ]
    problems += [
        f"{parquet}: column {name} is {schema.field(name).type}, and must be {kind.word}"
        for name, kind in _SHAPE.items()
        if name in schema.names and not kind.holds(schema.field(name).type)
    ]
    if problems:
        raise HistoryError(problems)


@contextmanager
def _reading(parquet: Path) -> Iterator[None]:
    """Turn what can go wrong when a file is read into what it means."""
    try:
        yield
    except FileNotFoundError:
        raise HistoryError([f"{parquet}: there is no such file"]) from None
    except (OSError, pa.ArrowException) as error:
        said = str(error).splitlines()[0]
        raise HistoryError([f"{parquet}: it is not a Parquet file, or it is damaged: {said}"]) from None


def _count_rows(parquet: Path) -> dict[str, int]:
    with _reading(parquet):
        instances = pyarrow.parquet.read_table(parquet, columns=["instance"]).column("instance")
    counted = instances.value_counts().to_pylist()
    counts = {entry["values"]: entry["counts"] for entry in counted}
    if None in counts:
        raise HistoryError([f"{parquet}: {counts[None]} rows have no instance"])
    if not counts:
        raise HistoryError([f"{parquet}: it has no rows"])
    return dict(sorted(counts.items()))


def _database_names(instances: list[str]) -> dict[str, str]:
    """Return a database's name for each instance: safe, short, and no two alike."""
    return {
        instance: f"{_PREFIX}{number:03d}_{re.sub('[^a-z0-9]+', '_', instance.lower())[:40].strip('_')}"
        for number, instance in enumerate(instances, start=1)
    }


def _prepare(cluster: PostgresCluster, names: list[str]) -> None:
    """Make the reading role and empty databases, without those of an earlier call."""
    with cluster.connect() as admin:
        found = admin.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (_PREFIX,)).fetchall()
        for (name,) in found:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        make_reader(admin)
        for name in names:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def make_reader(admin: psycopg.Connection) -> None:
    """Make the reading role, unless it is there."""
    if not admin.execute("SELECT FROM pg_roles WHERE rolname = %s", (READER,)).fetchall():
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(READER)))


def _load_instance(cluster: PostgresCluster, parquet: Path, instance: str, database: str) -> int:
    with cluster.connect(database) as admin, admin.cursor() as cursor:
        with admin.transaction():
            cursor.execute(CREATE_TABLE)
            # Frozen rows need no later pass of the vacuum.
            statement = sql.SQL("COPY event_logs ({}) FROM STDIN (FORMAT csv, FREEZE)").format(
                sql.SQL(", ").join(sql.Identifier(name) for name in _SHAPE if name != "instance")
            )
            with cursor.copy(statement) as copy:
                for part in _read_csv(parquet, instance):
                    copy.write(part)
            rows = cursor.rowcount
            for index in INDEXES:
                cursor.execute(index)
            cursor.execute("SELECT setval('event_logs_id_seq', greatest(max(id), 1)) FROM event_logs")
            cursor.execute(grant_statement(TABLE, READER))
        cursor.execute("VACUUM (ANALYZE) event_logs")
    return rows


def _read_csv(parquet: Path, instance: str) -> Iterator[pa.Buffer]:
    columns = [name for name in _SHAPE if name != "instance"]
    with _reading(parquet):
        table = pyarrow.parquet.read_table(parquet, columns=columns, filters=[("instance", "==", instance)])
    options = pyarrow.csv.WriteOptions(include_header=False)
    plain = pa.schema([(field.name, plain_type(field.type)) for field in table.schema])
    for batch in table.cast(plain).sort_by("id").to_batches(_BATCH_ROWS):
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(batch, sink, options)
        yield sink.getvalue()
