"""The writer of many machines: Spark reads and writes the files, in the folder of the lake, which all of them see.

It writes to a folder of its own below the table's. From there the files are moved to where they stay, forced to disk,
and read once more for what their footers say. The folder goes with whoever has made it, or with the next one.
"""

from __future__ import annotations

import uuid
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import ibis
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.typedef import Record

from heliograph.engines import Stored
from heliograph.engines.spark import SparkEngine, Written
from heliograph.engines.staging import Staging
from heliograph.frames import make_folder
from heliograph.lake.durability import sync_files
from heliograph.lake.maintenance.layout import (
    BLOOM,
    DICTIONARY_BYTES,
    LEVEL,
    PAGE_BYTES,
    RISING,
    ROW_GROUP_ROWS,
    SOUGHT,
    UNLIKE,
    LayoutError,
    count_rows,
    data_file,
    new_location,
    order_of,
)
from heliograph.lake.marts.definitions import all_marts, counted_events, session_parts, user_days
from heliograph.lake.marts.folding import folded_table
from heliograph.lake.marts.tables import MADE_OF, MARTS, SESSION_PARTS, USER_DAYS
from heliograph.lake.matching import ibis_case
from heliograph.lake.storage import local_path
from heliograph.lake.tables import event_schema, is_events
from heliograph.lake.writers.writer import Covered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date

    import pyarrow as pa
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from heliograph.lake.marts.tables import Mart
    from heliograph.lake.matching import Scope
    from heliograph.lake.writers.writer import Change, Days
    from heliograph.plan.model import Plan
    from heliograph.settings import Settings

_PART: Final = "_part"
_PLACE: Final = "_place"
"""Columns beside those of a table: no property's name begins so."""
_FILE: Final = "_file"
_ERASURE: Final = "_erasure"
_EPOCH_YEAR: Final = 1970
_FOLDER: Final = "written"
"""Below a table's own folder: what is being written to it."""


class SparkWriter:
    """Does as many pieces at once as the cluster has cores; see `heliograph.lake.writers.writer.Writer`.

    Args:
        settings: Which cluster. A session begins with the first piece of work.
    """

    at_once = 32
    slice_rows = 50_000_000

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine: SparkEngine | None = None

    def _open(self) -> SparkEngine:
        if self._engine is None:
            self._engine = SparkEngine(self._settings.engine)
        return self._engine

    def rewrite(self, table: Table, pieces: Sequence[Sequence[DataFile]], change: Change) -> list[list[DataFile]]:
        """Write the rows of each piece to one new file."""
        if not pieces:
            return []
        for piece in pieces:
            _check_counts(table, piece)
        columns = _columns(table)
        paths = {str(n): tuple(local_path(file.file_path) for file in piece) for n, piece in enumerate(pieces)}
        opened = self._open().open({name: Stored(files, columns) for name, files in paths.items()})
        if change.folds is not None:  # each piece by itself
            opened = {name: folded_table(rows, change.folds) for name, rows in opened.items()}
        parts = [rows.mutate(ibis.literal(int(name), "int32").name(_PART)) for name, rows in opened.items()]
        rows = _changed(ibis.union(*parts) if len(parts) > 1 else parts[0], change).select(*columns.names, _PART)
        how = Written(order_of(columns.names), _PART, len(pieces), _ids(table), encodings(columns.names))
        with closing(_staging(table)) as staging:
            written = self._open().write(rows, staging.folder, how=how)
            return [_put_piece(table, piece, written.get(n, []), change) for n, piece in enumerate(pieces)]

    def find(self, table: Table, files: Sequence[str], scopes: Sequence[Scope]) -> list[Covered]:
        """Return what of a table's files orders cover."""
        columns = _columns(table)
        rows = self._open().open({"rows": Stored(tuple(files), columns)}, path=_FILE)["rows"]
        case = ibis_case(scopes, columns.names, rows)
        if case is None:
            return []
        found = rows.mutate(case.name(_ERASURE)).filter(lambda each: each[_ERASURE].notnull())
        keys = [_ERASURE, _FILE]
        if is_events(table):
            keys += ["instance", "name", "epoch"]
            told = found.group_by(keys).agg(rows=found.count(), last=found["sequence"].max(), first=found["time"].min())
        else:
            told = found.group_by(keys).agg(rows=found.count())
        names = {_ERASURE: "erasure", _FILE: "file"}
        return [
            Covered(**{names.get(name, name): value for name, value in row.items()})
            for row in told.to_pyarrow().to_pylist()
        ]

    def make(
        self,
        marts: Mapping[Mart, Table],
        plan: Plan,
        files: Sequence[str],
        days: Days,
        scopes: Sequence[Scope] | None = None,
    ) -> dict[Mart, list[DataFile]]:
        """Write what the definitions of marts say of the events of some days."""
        if not files:
            return {mart: [] for mart in marts}
        engine = self._open()
        events = _of_days(engine.open({"events": Stored(tuple(files), event_schema(plan))})["events"], days)
        if scopes is not None:
            case = ibis_case(scopes, next(iter(marts)).schema.names, events, day=events.time.date())
            if case is None:
                return {mart: [] for mart in marts}
            events = events.filter(case.notnull())
        counted = counted_events(events, plan)
        with closing(_staging(next(iter(marts.values())))) as staging:
            written: dict[Mart, dict[int, list[Path]]] = {}
            sources: dict[str, ibis.Table] = {}
            for source, definition in ((USER_DAYS, user_days), (SESSION_PARTS, session_parts)):
                if source in marts or any(MADE_OF.get(mart) is source for mart in marts):
                    # Written, although it may not be asked for: others are made of it, and it is made but once.
                    by_month = self._write(staging, source, definition(counted, plan), marts.get(source))
                    paths = tuple(str(file) for of_month in by_month.values() for file in of_month)
                    sources |= engine.open({source.name: Stored(paths, source.schema)})
                    written[source] = by_month
            made = all_marts(counted, plan, days=sources.get(USER_DAYS.name), parts=sources.get(SESSION_PARTS.name))
            for mart, table in marts.items():
                if mart in MADE_OF:
                    written[mart] = self._write(staging, mart, made[mart.name], table)
            return {mart: _put_months(table, written[mart]) for mart, table in marts.items()}

    def _write(self, staging: Staging, mart: Mart, rows: ibis.Table, table: Table | None) -> dict[int, list[Path]]:
        """Write a mart's rows, by months since 1970, as Iceberg counts them."""
        month = ((rows.day.year() - _EPOCH_YEAR) * 12 + rows.day.month() - 1).cast("int32")
        names = mart.schema.names
        most = {"maxRecordsPerFile": str(self._settings.lake.file_rows)}
        ids = {} if table is None else _ids(table)
        how = Written(mart.order, _PART, ids=ids, options={**encodings(names), **most})
        return self._open().write(rows.mutate(month.name(_PART)).select(*names, _PART), staging.folder, how=how)

    def count_days(self, plan: Plan, files: Sequence[str], days: Days) -> list[tuple[date, int]]:
        """Return how many events there are in files of each day, in order."""
        if not files:
            return []
        stored = Stored(tuple(files), event_schema(plan))
        events = _of_days(self._open().open({"events": stored})["events"], days)
        found = events.group_by(day=events.time.date()).agg(events=events.count()).to_pyarrow()
        return sorted((row["day"], row["events"]) for row in found.to_pylist())

    def count_differing(
        self, plan: Plan, stored: Mapping[str, Stored], days: Days, tell: Callable[[date], object]
    ) -> dict[str, dict[date, int]]:
        """Compare marts with what their definitions say of the events, all days at once."""
        tell(days.first)
        opened = self._open().open(stored)
        counted = counted_events(_of_days(opened["events"], days), plan)
        made = all_marts(counted, plan)
        found: dict[str, dict[date, int]] = {}
        for mart in MARTS:
            ours = folded_table(opened[mart.name].filter(opened[mart.name].day >= days.first), mart)
            theirs = folded_table(made[mart.name].select(*mart.schema.names), mart)
            apart = ibis.union(ours.difference(theirs, distinct=False), theirs.difference(ours, distinct=False))
            differing = apart.group_by("day").agg(rows=apart.count()).to_pyarrow().to_pylist()
            if differing:
                found[mart.name] = {row["day"]: row["rows"] for row in sorted(differing, key=lambda row: row["day"])}
        return found

    def begin(self) -> None:
        """Begin a session."""
        self._open()

    def rest(self) -> None:
        """End the session: the next piece of work begins another."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def close(self) -> None:
        """End the session."""
        self.rest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()


def _columns(table: Table) -> pa.Schema:
    return schema_to_pyarrow(table.schema(), include_field_ids=False)


def _ids(table: Table) -> dict[str, int]:
    return {field.name: field.field_id for field in table.schema().fields}


def _changed(rows: ibis.Table, change: Change) -> ibis.Table:
    if change.without and (case := ibis_case(change.without, rows.columns, rows)) is not None:
        rows = rows.filter(case.isnull())
    if change.once:
        # Not the first value of each column: where they differ, that would be a row that there never was.
        place = ibis.row_number().over(ibis.window(group_by=[_PART, *change.once]))
        known = rows.mutate(place.name(_PLACE))
        rows = known.filter(known[_PLACE] == 0).drop(_PLACE)
    return rows


def _check_counts(table: Table, piece: Sequence[DataFile]) -> None:
    for file in piece:
        found = count_rows(table, file.file_path)
        if found != file.record_count:
            raise LayoutError(f"{file.file_path}: it has {found} rows, and should have {file.record_count}")


def _staging(table: Table) -> Staging:
    return Staging(Path(local_path(table.location())) / _FOLDER)


def _of_days(events: ibis.Table, days: Days) -> ibis.Table:
    events = events.filter(events.time >= ibis.literal(days.first).cast("timestamp(6)"))
    if days.until is not None:
        events = events.filter(events.time < ibis.literal(days.until).cast("timestamp(6)"))
    return events


def _put_piece(table: Table, piece: Sequence[DataFile], files: Sequence[Path], change: Change) -> list[DataFile]:
    """Keep what was written of a piece, and return what a snapshot says of it."""
    like = piece[0]
    found = [_put(table, file, new_location(like), like.partition) for file in files]
    rows, before = (sum(each.record_count for each in some) for some in (found, piece))
    if rows > before or (change.keeps_all and rows != before):
        raise LayoutError(f"{like.file_path}: what was made of it and others has {rows} rows, and they have {before}")
    return found


def _put_months(table: Table, by_month: Mapping[int, Sequence[Path]]) -> list[DataFile]:
    """Keep what was written to a table that is partitioned by month, and return what a snapshot says of it."""
    found = []
    for month, files in by_month.items():
        folder = f"{table.location()}/data/{table.spec().partition_to_path(Record(month), table.schema())}"
        make_folder(Path(local_path(folder)))
        found += [_put(table, file, f"{folder}/{uuid.uuid4()}-made.parquet", Record(month)) for file in files]
    return found


def _put(table: Table, file: Path, place: str, partition: Record) -> DataFile:
    """Move a file to where it stays, on disk."""
    file.rename(local_path(place))
    sync_files([place])
    return data_file(table, place, partition, table.metadata.default_spec_id)


def encodings(names: Sequence[str]) -> Mapping[str, str]:
    """Return what Spark's writer of Parquet is told, so that files are as Arrow writes them for this process."""
    sought = [name for name in names if name in SOUGHT]
    # A column that has a dictionary alone gets no Bloom filter; without one, only where words differ is written.
    plain = [name for name in names if name in RISING or name in UNLIKE or name in SOUGHT]
    return {
        "parquet.compression.codec.zstd.level": str(LEVEL),
        # Pages of the second version keep what says where a column has no value beside what is compressed: of some
        # fifty columns that most events lack it costs more than writing numbers as differences spares.
        "parquet.writer.version": "PARQUET_1_0",
        "parquet.block.row.count.limit": str(ROW_GROUP_ROWS),
        # Else a page ends with 20,000 rows, and each is compressed by itself.
        "parquet.page.row.count.limit": str(ROW_GROUP_ROWS),
        "parquet.page.size": str(PAGE_BYTES),
        "parquet.dictionary.page.size": str(DICTIONARY_BYTES),
        **{f"parquet.enable.dictionary#{name}": "false" for name in plain},
        **{f"parquet.bloom.filter.enabled#{name}": "true" for name in sought},
        **{f"parquet.bloom.filter.expected.ndv#{name}": str(BLOOM["ndv"]) for name in sought},
        **{f"parquet.bloom.filter.fpp#{name}": str(BLOOM["fpp"]) for name in sought},
    }
