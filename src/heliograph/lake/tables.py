"""The lake's tables: Apache Iceberg over Parquet, in a folder that any engine can read.

`events` has one row for each accepted event. Its columns are the envelope but for `NOT_KEPT`, what the gateway adds,
and one for each property that the plan declares; a new property adds a column, and none of these ever goes away.
`pings` has one row for each number of each ping, so that a feature or a fact adds none. `deliveries` has one row for
each delivery. Times are in UTC, without a zone, as not all engines read zones alike.
"""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError, TableAlreadyExistsError
from pyiceberg.io import PY_IO_IMPL
from pyiceberg.transforms import MonthTransform
from pyiceberg.types import BooleanType, DoubleType, IcebergType, LongType, StringType, TimestampType
from sqlalchemy import inspect, make_url
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from heliograph.lake.places import LOG
from heliograph.lake.storage import local_path, open_storage
from heliograph.plan.columns import plain_type, wire_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiceberg.table import Table

    from heliograph.plan.model import Plan
    from heliograph.settings import LakeSettings

NAMESPACE: Final = "heliograph"
EVENTS: Final = f"{NAMESPACE}.events"
PINGS: Final = f"{NAMESPACE}.pings"
DELIVERIES: Final = f"{NAMESPACE}.deliveries"
IDENTITY: Final = ("instance", "epoch", "sequence")
"""The columns by which an event is known."""
CATALOG_TABLE: Final = "iceberg_tables"
"""Where PyIceberg's SQL catalog keeps its tables."""
_FILES: Final = "heliograph.lake.durability.DurableFileIO"
_CATALOG_PAUSES: Final = (0.1, 0.3, 1.0, 3.0)
"""Seconds between attempts to make a catalog."""
TIME: Final = pa.timestamp("us")
_BEFORE_PROPERTIES: Final = [
    pa.field("instance", pa.string()),
    pa.field("account", pa.string()),
    pa.field("epoch", pa.int64()),
    pa.field("sequence", pa.int64()),
    pa.field("name", pa.string()),
    pa.field("time", TIME),
    pa.field("user_id", pa.string()),
    pa.field("outcome", pa.string()),
    pa.field("version", pa.string()),
    pa.field("source", pa.string()),
    pa.field("actor", pa.string()),
    pa.field("agreement", pa.string()),
    pa.field("plan", pa.string()),
    pa.field("received", TIME),
]

NOT_KEPT: Final = frozenset({"session_id"})
"""What is delivered with an event, and does not come into the lake: no question needs it, as sessions end by a pause.
It would be a quarter of all bytes, and is what ties the events of somebody unknown together."""

ACTIVE_USERS: Final = "active_users"
"""Distinct users; the key is ``day``, ``week`` or ``month``."""
FEATURE_USERS: Final = "feature_users"
"""Distinct users of a feature on the day; the key is the feature."""
FEATURE_EVENTS: Final = "feature_events"
"""Events of a feature on the day; the key is the feature."""
FACT: Final = "fact"
"""What the product says of itself; the key is the fact, or fact and member with a dot between."""
PING_SCHEMA: Final = pa.schema(
    [
        pa.field("instance", pa.string()),
        pa.field("account", pa.string()),
        pa.field("day", pa.date32()),
        pa.field("measure", pa.string()),
        pa.field("key", pa.string()),
        pa.field("value", pa.int64()),
        pa.field("word", pa.string()),
        pa.field("suppressed", pa.bool_()),
        pa.field("plan", pa.string()),
        pa.field("agent", pa.string()),
        pa.field("agreement", pa.string()),
        pa.field("received", TIME),
    ]
)
"""The columns of `pings`: `value` is null where it is suppressed, and for facts that are words, which `word` holds."""
DELIVERY_SCHEMA: Final = pa.schema(
    [
        pa.field("instance", pa.string()),
        pa.field("account", pa.string()),
        pa.field("epoch", pa.int64()),
        pa.field("first", pa.int64()),
        pa.field("last", pa.int64()),
        pa.field("digest", pa.string()),
        pa.field("accepted", pa.int64()),
        pa.field("rejected", pa.int64()),
        pa.field("absent", pa.int64()),
        pa.field("agreement", pa.string()),
        pa.field("plan", pa.string()),
        pa.field("received", TIME),
        pa.field("ledger", pa.string()),
        pa.field("receipt", pa.string()),
        pa.field("log", pa.string()),
        pa.field("generation", pa.int64()),
        pa.field("offset", pa.int64()),
    ]
)
"""The columns of `deliveries`: the counts are totals, `receipt` is the receipt's JSON, which has them by name, and the
last three say behind which place of which log it stands; rows from before these columns have none of them."""
_FIRST_DELIVERY_COLUMNS: Final = 14
"""How many columns the table had at first."""
_ARROW_TYPES: Final[dict[IcebergType, pa.DataType]] = {
    LongType(): pa.int64(),
    DoubleType(): pa.float64(),
    BooleanType(): pa.bool_(),
    StringType(): pa.string(),
    TimestampType(): TIME,
}
PROPERTIES: Final = {
    "write.parquet.compression-codec": "zstd",
    "write.parquet.compression-level": "3",
    # Each commit writes the table's metadata anew; what it was twenty commits ago is of no use to anybody.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}
"""What each table of the lake has."""


def event_schema(plan: Plan) -> pa.Schema:
    """Return the columns of `events` under a plan."""
    known = {field.name for field in _BEFORE_PROPERTIES} | NOT_KEPT
    properties = [
        pa.field(field.name, plain_type(field.type)) for field in wire_schema(plan) if field.name not in known
    ]
    return pa.schema([*_BEFORE_PROPERTIES, *properties])


class ColumnTypeError(Exception):
    """A column of the lake would get another type; the message says which, and what to do."""


def lake_columns(table: Table) -> pa.Schema:
    """Return the columns that the table of events has, those of earlier plans too, as the loader fills them."""
    return pa.schema([pa.field(field.name, _ARROW_TYPES[field.field_type]) for field in table.schema().fields])


def is_events(table: Table) -> bool:
    """Tell whether a table is that of events."""
    return ".".join(table.name()) == EVENTS


def widen(table: Table, schema: pa.Schema) -> None:
    """Add the columns of `schema` that a table lacks.

    Raises:
        ColumnTypeError: It has some of them with another type; nothing was changed.
    """
    known = {field.name: field.type for field in lake_columns(table)}
    retyped = [field for field in schema if known.get(field.name, field.type) != field.type]
    if retyped:
        columns = ", ".join(f"{field.name} ({known[field.name]}, and now {field.type})" for field in retyped)
        raise ColumnTypeError(
            f"columns of the lake would get another type: {columns}. Give the property its earlier type in the "
            "plan, or another name: what is stored stays as it is."
        )
    if not set(schema.names) <= known.keys():
        with table.update_schema() as update:
            update.union_by_name(schema)


def _narrow(table: Table) -> None:
    """Take away the columns of earlier versions that are kept no more; files have them until they are rewritten."""
    if dropped := NOT_KEPT.intersection(field.name for field in table.schema().fields):
        with table.update_schema() as update:
            for name in dropped:
                update.delete_column(name)


def open_catalog(settings: LakeSettings, *, make: bool = False) -> SqlCatalog:
    """Open the catalog; with `make`, make it when it is missing, which is for the loader alone."""
    if make:
        open_storage(settings).make()
    if (file := catalog_file(settings)) is None:
        return _catalog_of_server(settings, make=make)
    if make:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _catalog(settings, make=make)


@functools.cache
def _catalog_of_server(settings: LakeSettings, *, make: bool) -> SqlCatalog:
    """Return a catalog whose connections are kept: a server has only so many."""
    return _catalog(settings, make=make)


def _catalog(settings: LakeSettings, *, make: bool) -> SqlCatalog:
    for pause in _CATALOG_PAUSES if make else ():
        try:
            return _opened(settings, make=True)
        except (IntegrityError, OperationalError, ProgrammingError):  # other loaders make its tables in this moment
            time.sleep(pause)
    return _opened(settings, make=make)


def _opened(settings: LakeSettings, *, make: bool) -> SqlCatalog:
    storage = open_storage(settings)
    catalog = SqlCatalog(
        "heliograph",
        uri=settings.catalog,
        warehouse=storage.url,
        init_catalog_tables="false",
        **{PY_IO_IMPL: _FILES, LOG: settings.log},
        **storage.properties,
    )
    if make:
        try:
            catalog.create_tables()
        except SQLAlchemyError:  # PyIceberg would leave the connection open
            catalog.engine.dispose()
            raise
    return catalog


def catalog_file(settings: LakeSettings) -> Path | None:
    """Return the file that is the catalog; None where it is in a server."""
    url = make_url(settings.catalog)
    return Path(url.database).absolute() if url.get_backend_name() == "sqlite" and url.database else None


def open_events(settings: LakeSettings, plan: Plan) -> Table:
    """Open the table of events for writing: made when it is missing, widened when the plan declares more.

    What an earlier version kept, and this one does not, goes.

    It is partitioned by month: a back-fill of many years would make a file a day otherwise.

    Raises:
        ColumnTypeError: The plan declares a property with another type than its column has.
    """
    catalog = open_catalog(settings, make=True)
    schema = event_schema(plan)
    catalog.create_namespace_if_not_exists(NAMESPACE)
    try:
        table = catalog.create_table(EVENTS, schema, properties=PROPERTIES)
        with table.update_spec() as spec:
            spec.add_field("time", MonthTransform(), "month")
    except TableAlreadyExistsError:
        table = catalog.load_table(EVENTS)
        _narrow(table)
        widen(table, schema)
    return table


def open_pings(settings: LakeSettings) -> Table:
    """Open the table of pings for writing, made when it is missing."""
    catalog = open_catalog(settings, make=True)
    catalog.create_namespace_if_not_exists(NAMESPACE)
    return catalog.create_table_if_not_exists(PINGS, PING_SCHEMA, properties=PROPERTIES)


def open_deliveries(settings: LakeSettings) -> Table:
    """Open the table of deliveries for writing: made when it is missing, widened when it is from before."""
    catalog = open_catalog(settings, make=True)
    catalog.create_namespace_if_not_exists(NAMESPACE)
    table = catalog.create_table_if_not_exists(DELIVERIES, DELIVERY_SCHEMA, properties=PROPERTIES)
    widen(table, DELIVERY_SCHEMA)
    return table


def are_deliveries(columns: Sequence[str]) -> bool:
    """Tell whether a file with these columns is one of the table of deliveries, whenever it was written."""
    return len(columns) >= _FIRST_DELIVERY_COLUMNS and list(columns) == DELIVERY_SCHEMA.names[: len(columns)]


def find_deliveries(settings: LakeSettings) -> Table | None:
    """Return the table of deliveries as of now; None when there is none yet."""
    return find_table(settings, DELIVERIES)


def find_events(settings: LakeSettings) -> Table | None:
    """Return the table of events as of now; None when there is no lake yet."""
    return find_table(settings, EVENTS)


def find_tables(settings: LakeSettings) -> list[Table]:
    """Return all tables of the lake as of now, whoever has made them."""
    catalog = find_catalog(settings)
    if catalog is None:
        return []
    return [catalog.load_table(name) for name in sorted(catalog.list_tables(NAMESPACE))]


def find_table(settings: LakeSettings, name: str) -> Table | None:
    """Return a table as of now; None when it is not there."""
    catalog = find_catalog(settings)
    try:
        return None if catalog is None else catalog.load_table(name)
    except NoSuchTableError:
        return None


def find_catalog(settings: LakeSettings) -> SqlCatalog | None:
    """Return the catalog of a lake that is there; it is not made."""
    file = catalog_file(settings)
    if file is not None and not file.exists():
        return None
    catalog = open_catalog(settings)
    if not inspect(catalog.engine).has_table(CATALOG_TABLE):
        return None
    return catalog


def event_files(settings: LakeSettings) -> list[str]:
    """Return the paths of the Parquet files that hold the events as of now; none when there is no lake yet."""
    return _files(settings, EVENTS)


def ping_files(settings: LakeSettings) -> list[str]:
    """Return the paths of the Parquet files that hold the pings as of now; none when there is no such table yet."""
    return _files(settings, PINGS)


def delivery_files(settings: LakeSettings) -> list[str]:
    """Return the paths of the Parquet files that hold the deliveries as of now; none when there is no such table."""
    return _files(settings, DELIVERIES)


def _files(settings: LakeSettings, name: str) -> list[str]:
    table = find_table(settings, name)
    return [] if table is None else sorted(local_path(task.file.file_path) for task in table.scan().plan_files())
