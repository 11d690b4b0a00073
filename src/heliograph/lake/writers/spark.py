"""The writer of many machines: Spark reads and writes the files, in the folder of the lake, which all of them see.

It writes to a folder of its own below the table's. From there the files are moved to where they stay, forced to disk,
and read once more for what their footers say. The folder goes with whoever has made it, or with the next one.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import ibis
from pyiceberg.io.pyarrow import schema_to_pyarrow

from heliograph.engines import Stored
from heliograph.engines.spark import SparkEngine, Written
from heliograph.engines.staging import Staging
from heliograph.lake.durability import sync_files
from heliograph.lake.maintenance.layout import (
    DICTIONARY_BYTES,
    LEVEL,
    RISING,
    ROW_GROUP_ROWS,
    UNLIKE,
    LayoutError,
    count_rows,
    data_file,
    new_location,
    order_of,
)
from heliograph.lake.storage import local_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from heliograph.lake.writers.writer import Change
    from heliograph.settings import EngineSettings

_PART: Final = "_part"
_PLACE: Final = "_place"
"""Columns beside those of a table: no property's name begins so."""
_FOLDER: Final = "written"
"""Below a table's own folder: what is being written to it."""


class SparkWriter:
    """Does as many pieces at once as the cluster has cores; see `heliograph.lake.writers.writer.Writer`.

    Args:
        settings: Which cluster. A session begins with the first piece of work.
    """

    at_once = 32

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._engine: SparkEngine | None = None

    def _open(self) -> SparkEngine:
        if self._engine is None:
            self._engine = SparkEngine(self._settings)
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
        parts = [rows.mutate(ibis.literal(int(name), "int32").name(_PART)) for name, rows in opened.items()]
        rows = _changed(ibis.union(*parts) if len(parts) > 1 else parts[0], change).select(*columns.names, _PART)
        how = Written(order_of(columns.names), _PART, len(pieces), _ids(table), encodings(columns.names))
        with closing(Staging(Path(local_path(table.location())) / _FOLDER)) as staging:
            written = self._open().write(rows, staging.folder, how=how)
            return [_put(table, piece, written.get(n, []), change) for n, piece in enumerate(pieces)]

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
    if change.once:
        # Not the first value of each column: where they differ, that would be a row that there never was.
        place = ibis.row_number().over(ibis.window(group_by=[_PART, *change.once]))
        known = rows.mutate(place.name(_PLACE))
        rows = known.filter(known[_PLACE] == 0).drop(_PLACE)
    if change.sums:
        keys = [name for name in rows.columns if name not in change.sums]
        names = rows.columns
        rows = rows.group_by(keys).agg(**{name: rows[name].sum() for name in change.sums}).select(*names)
    return rows


def _check_counts(table: Table, piece: Sequence[DataFile]) -> None:
    for file in piece:
        found = count_rows(table, file.file_path)
        if found != file.record_count:
            raise LayoutError(f"{file.file_path}: it has {found} rows, and should have {file.record_count}")


def _put(table: Table, piece: Sequence[DataFile], files: Sequence[Path], change: Change) -> list[DataFile]:
    """Move what was written of a piece to where it stays, on disk, and return what a snapshot says of it."""
    like = piece[0]
    found = []
    for file in files:
        place = new_location(like)
        file.rename(local_path(place))
        sync_files([place])
        found.append(data_file(table, place, like.partition, like.spec_id))
    rows, before = (sum(each.record_count for each in some) for some in (found, piece))
    if rows > before or (change.keeps_all and rows != before):
        raise LayoutError(f"{like.file_path}: what was made of it and others has {rows} rows, and they have {before}")
    return found


def encodings(names: Sequence[str]) -> Mapping[str, str]:
    """Return what Spark's writer of Parquet is told, so that files are as Arrow writes them for this process."""
    return {
        "parquet.compression.codec.zstd.level": str(LEVEL),
        # Numbers are written as differences, and words by what they begin with, where no dictionary is.
        "parquet.writer.version": "PARQUET_2_0",
        "parquet.block.row.count.limit": str(ROW_GROUP_ROWS),
        "parquet.dictionary.page.size": str(DICTIONARY_BYTES),
        **{f"parquet.enable.dictionary#{name}": "false" for name in names if name in RISING or name in UNLIKE},
    }
