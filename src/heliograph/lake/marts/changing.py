"""Changes of a mart's table: each is one commit, with the mart's place in the log and its state in it."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import _dataframe_to_data_files

from heliograph.lake.commits import commit
from heliograph.lake.places import all_places, place_property, read_place, standing_at
from heliograph.lake.storage import local_path, storage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.metadata import TableMetadata

    from heliograph.gateway.log_reading import Place
    from heliograph.lake.marts.tables import Mart


def add_rows(
    table: Table, mart: Mart, rows: pa.Table, place: Place, properties: Mapping[str, str] | None = None
) -> None:
    """Append rows, and say that the log was read up to `place`.

    Raises:
        CommitConflictError: Somebody else has done so meanwhile.
    """
    at = place_property(place, table)
    arranged = sorted_rows(mart, rows)

    def change(transaction: Transaction) -> None:
        transaction.append(arranged, snapshot_properties=all_places(place, table))
        transaction.set_properties({**at, **(properties or {})})

    commit(table, change, relying_on=standing_at(read_place(table), table))


def add_files(
    table: Table, files: Sequence[DataFile], place: Place, properties: Mapping[str, str] | None = None
) -> None:
    """Append files that are on disk, and say that the log was read up to `place`.

    Raises:
        CommitConflictError: Somebody else has done so meanwhile.
    """
    at = place_property(place, table)

    def change(transaction: Transaction) -> None:
        with transaction.update_snapshot(snapshot_properties=all_places(place, table)).fast_append() as update:
            for file in files:
                update.append_data_file(file)
        transaction.set_properties({**at, **(properties or {})})

    commit(table, change, relying_on=standing_at(read_place(table), table))


def replace_rows(
    table: Table,
    mart: Mart,
    new: Callable[[], tuple[Iterable[DataFile], pa.Table]],
    *,
    place: Place | None = None,
    properties: Mapping[str, str] | None = None,
) -> None:
    """Put rows in the place of some files.

    Args:
        table: The mart's table.
        mart: Which it is.
        new: Gives the files that go, and the rows that come; asked again when others have committed first.
        place: Up to where the log was read; None: as far as before.
        properties: What to write down besides.

    Raises:
        CommitConflictError: Somebody else has moved the mart's place meanwhile.
    """
    place = read_place(table) if place is None else place
    at = place_property(place, table)

    def change(transaction: Transaction) -> None:
        files, rows = new()
        with transaction.update_snapshot(snapshot_properties=all_places(place, table)).overwrite() as update:
            for file in files:
                update.delete_data_file(file)
            for file in written(table, transaction.table_metadata, mart, rows):
                update.append_data_file(file)
        transaction.set_properties({**at, **(properties or {})})

    commit(table, change, relying_on=standing_at(read_place(table), table))


def written(table: Table, metadata: TableMetadata, mart: Mart, rows: pa.Table) -> list[DataFile]:
    """Write rows into files of a mart, which no snapshot names yet."""
    return list(_dataframe_to_data_files(metadata, sorted_rows(mart, rows), table.io)) if len(rows) else []


def sorted_rows(mart: Mart, rows: pa.Table) -> pa.Table:
    """Return rows in the order in which they are kept."""
    return rows if _are_sorted(rows, mart.order) else rows.sort_by([(name, "ascending") for name in mart.order])


def _are_sorted(rows: pa.Table, order: Sequence[str]) -> bool:
    """Tell whether rows are in order, which takes far less time than to put them in it."""
    tied: pa.Array | None = None
    for name in order:
        column = rows.column(name).combine_chunks()
        before, after = column.slice(0, max(len(column) - 1, 0)), column.slice(1)
        falls = pc.greater(before, after)
        if pc.any(falls if tied is None else pc.and_(tied, falls)).as_py():
            return False
        tied = pc.equal(before, after) if tied is None else pc.and_(tied, pc.equal(before, after))
    return True


def data_files(table: Table, *, first: date = date.min, last: date = date.max) -> list[DataFile]:
    """Return the data files of the newest snapshot that may hold rows of some days."""
    return _files(table, [f"day >= '{first}'"] * (first > date.min) + [f"day <= '{last}'"] * (last < date.max))


def event_files_of(events: Table, first: date, until: date | None) -> list[str]:
    """Return the paths of the files that may hold events of some days: from `first` to the one before `until`."""
    bounds = [f"time >= '{first}T00:00:00'"] * (first > date.min)
    if until is not None:
        bounds.append(f"time < '{until}T00:00:00'")
    return paths_of(_files(events, bounds))


def _files(table: Table, bounds: Sequence[str]) -> list[DataFile]:
    """Return the files that may hold what all bounds allow: the first and the last of all days are none for Iceberg."""
    if table.current_snapshot() is None:
        return []
    scan = table.scan(row_filter=" and ".join(bounds)) if bounds else table.scan()
    return [task.file for task in scan.plan_files()]


def paths_of(files: Iterable[DataFile]) -> list[str]:
    """Return the paths of data files, in a fixed order."""
    return sorted(local_path(file.file_path) for file in files)


def read_files(table: Table, mart: Mart, paths: Sequence[str]) -> pa.Table:
    """Return the rows of a mart's files."""
    storage = storage_of(table)
    tables = [mart.schema.empty_table()]
    for path in paths:
        with storage.open(path) as file:
            tables.append(pq.read_table(file, columns=mart.schema.names).cast(mart.schema))
    return pa.concat_tables(tables)
