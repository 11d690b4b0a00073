"""The tables of the marts, and what each says of itself: its definition, and how far it is made."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow as pa
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import MonthTransform
from pyiceberg.types import DateType, IcebergType, LongType, NestedField, StringType, TimestampType

from heliograph.lake.tables import NAMESPACE, TIME

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.table import Table

_WHO: Final = (pa.field("account", pa.string()), pa.field("instance", pa.string()))
_USER: Final = (*_WHO, pa.field("user_id", pa.string()))
_DAY: Final = pa.field("day", pa.date32())
_OF: Final = (pa.field("version", pa.string()), pa.field("source", pa.string()))
_SET: Final = (pa.field("page", pa.int64()), pa.field("features", pa.int64()))
_COUNTS: Final = tuple(pa.field(name, pa.int64()) for name in ("events", "core_actions", "outcomes", "failures"))


class Mart(msgspec.Struct, frozen=True, eq=False):
    """One mart."""

    name: str
    schema: pa.Schema
    """Its columns, as the definition has them; what is in neither `sums` nor `unions` is its key."""
    sums: tuple[str, ...]
    """The columns whose values of rows with the same key are added up."""
    order: tuple[str, ...]
    """By which its rows are sorted in files."""
    unions: tuple[str, ...] = ()
    """The columns whose values of rows with the same key are united: each is a set, as the bits of a number."""

    @property
    def table(self) -> str:
        """Its table's name."""
        return f"{NAMESPACE}.{self.name}"

    @property
    def keys(self) -> list[str]:
        """The columns that are neither summed nor united."""
        return [name for name in self.schema.names if name not in {*self.sums, *self.unions}]


USER_DAYS: Final = Mart(
    "user_days",
    pa.schema(
        [
            *_USER,
            _DAY,
            pa.field("name", pa.string()),
            pa.field("outcome", pa.string()),
            *_OF,
            pa.field("kind", pa.string()),
            _COUNTS[0],
        ]
    ),
    ("events",),
    ("user_id", "day", "name"),
)
USER_FEATURE_DAYS: Final = Mart(
    "user_feature_days",
    pa.schema([*_USER, _DAY, pa.field("feature", pa.string()), *_OF, *_COUNTS]),
    ("events", "core_actions", "outcomes", "failures"),
    ("account", "instance", "user_id", "day", "feature"),
)
ACTIVE_DAYS: Final = Mart(
    "active_days",
    pa.schema([*_USER, _DAY, *_SET, *_COUNTS]),
    ("events", "core_actions", "outcomes", "failures"),
    ("account", "instance", "user_id", "day"),
    unions=("features",),
)
SESSION_PARTS: Final = Mart(
    "session_parts",
    pa.schema(
        [
            *_USER,
            _DAY,
            pa.field("begun", TIME),
            pa.field("ended", TIME),
            pa.field("name", pa.string()),
            *_OF,
            _COUNTS[0],
        ]
    ),
    ("events",),
    ("account", "instance", "user_id", "begun", "name"),
)
SESSION_SPANS: Final = Mart(
    "session_spans",
    pa.schema([*_USER, _DAY, pa.field("begun", TIME), pa.field("ended", TIME), *_SET, _COUNTS[0]]),
    ("events",),
    ("account", "instance", "user_id", "begun"),
    unions=("features",),
)
INSTANCE_DAYS: Final = Mart(
    "instance_days",
    pa.schema(
        [
            *_WHO,
            _DAY,
            _COUNTS[0],
            pa.field("active_users", pa.int64()),
            pa.field("features", pa.int64()),
            *_COUNTS[1:],
        ]
    ),
    (),
    ("account", "instance", "day"),
)
SPAN_FILE: Final = "span_file"
"""A column that readers of `session_spans` may have besides: the number of the file that a row is in.

In one file no two spans of a user's day lie within a pause of each other. Whoever writes spans keeps to that.
"""
MARTS: Final = (USER_DAYS, USER_FEATURE_DAYS, ACTIVE_DAYS, SESSION_PARTS, SESSION_SPANS, INSTANCE_DAYS)
"""In the order in which they are committed: none comes before the one that it is made of."""
MADE_OF: Final = {
    USER_FEATURE_DAYS: USER_DAYS,
    ACTIVE_DAYS: USER_DAYS,
    SESSION_SPANS: SESSION_PARTS,
    INSTANCE_DAYS: USER_DAYS,
}
"""The marts that are made of another, and which; the others are made of events."""

_STATE: Final = "heliograph.mart"
"""The property with a mart's `State`, as JSON."""
RAW_FROM: Final = "heliograph.raw-from"
"""The property of `events` with the first day of which all events are still there; none: nothing has run out."""
RETIRED_UNTIL: Final = "heliograph.retired-until"
"""The property of `events` with the latest arrival, in UTC, of an event that was past its retention and is gone."""
_TYPES: Final[dict[pa.DataType, IcebergType]] = {
    pa.string(): StringType(),
    pa.int64(): LongType(),
    pa.date32(): DateType(),
    TIME: TimestampType(),
}
PROPERTIES: Final = {
    # So few that one user's rows are found without reading those of many others.
    "write.parquet.row-group-limit": "65536",
    "write.parquet.compression-codec": "zstd",
    "write.parquet.compression-level": "3",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What a mart's rows are made of."""

    digest: str
    """Of the definition (`heliograph.lake.marts.definitions.definition_digest`)."""
    until: date | None = None
    """All days before this one are there, and nothing of later ones: it is being made. None: it is whole."""

    def covers(self, digest: str) -> bool:
        """Tell whether a mart can be read in place of a definition."""
        return self.digest == digest and self.until is None


def read_state(table: Table) -> State:
    """Return what a mart's rows are made of."""
    return msgspec.json.decode(table.properties.get(_STATE, '{"digest":""}'), type=State)


def state_property(state: State) -> dict[str, str]:
    """Return the property that says so."""
    return {_STATE: msgspec.json.encode(state).decode()}


def read_raw_from(events: Table) -> date:
    """Return the first day of which the table of events still has all events."""
    return date.fromisoformat(events.properties.get(RAW_FROM, "0001-01-01"))


def read_retired_until(events: Table) -> datetime | None:
    """Return when the latest of those events had arrived that retention has taken; None: it has taken none."""
    text = events.properties.get(RETIRED_UNTIL)
    return None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC)


def retired_properties(events: Table, before: date, received: datetime) -> dict[str, str]:
    """Return the properties that say what retention takes: events of days before one, the latest of which had arrived.

    Args:
        events: Their table.
        before: The first day that stays.
        received: When the latest of those that go had arrived, in UTC.
    """
    known = read_retired_until(events)
    moment = received.replace(tzinfo=UTC)
    return {
        RAW_FROM: max(before, read_raw_from(events)).isoformat(),
        RETIRED_UNTIL: (moment if known is None else max(moment, known)).replace(tzinfo=None).isoformat(),
    }


def find_mart(catalog: SqlCatalog, mart: Mart) -> Table | None:
    """Return a mart's table as of now; None when there is none yet."""
    try:
        return catalog.load_table(mart.table)
    except NoSuchTableError:
        return None


def make_mart(catalog: SqlCatalog, mart: Mart, state: State) -> Table:
    """Make a mart's table, by month of the day, unless it is there."""
    fields = [
        NestedField(number, field.name, _TYPES[field.type], required=False)
        for number, field in enumerate(mart.schema, start=1)
    ]
    day = next(field.field_id for field in fields if field.name == "day")
    return catalog.create_table_if_not_exists(
        mart.table,
        Schema(*fields),
        partition_spec=PartitionSpec(PartitionField(day, 1_000, MonthTransform(), "month")),
        properties=PROPERTIES | state_property(state),
    )
