"""Compaction: many small files of a partition become few, in the order of questions, with the same rows.

Marts may hold several rows of one key, whose counts are added up by whoever reads them
(`heliograph.lake.marts.definitions`); compaction adds them up for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import structlog

from heliograph.lake.commits import holds, replace_files
from heliograph.lake.maintenance.layout import in_order, read_rows, write_file
from heliograph.lake.marts.tables import MARTS
from heliograph.lake.rewriting import table_name
from heliograph.lake.storage import storage_of
from heliograph.lake.tables import EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from heliograph.settings import LakeSettings

_STEP: Final = 4
"""A file that has more than so many times the rows of all smaller ones together is not rewritten with them."""
_SERIES_BITS: Final = 21
_SEQUENCE_BITS: Final = 42
"""An event's identity fits into one number, unless there are more series, or events of one."""
_log: Final = structlog.get_logger("heliograph.lake")


class Piece(NamedTuple):
    """Files of one partition that are to be rewritten together."""

    files: list[DataFile]

    @property
    def rows(self) -> int:
        """How many rows they have."""
        return sum(file.record_count for file in self.files)

    @property
    def bytes(self) -> int:
        """How many bytes they take."""
        return sum(file.file_size_in_bytes for file in self.files)


class Compacted(msgspec.Struct, kw_only=True):
    """What compaction has done to one table, or would do."""

    table: str
    files_before: int = 0
    """Files that were rewritten."""
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    rows: int = 0
    left_out: int = 0
    """Events that stood there a second time."""
    added_up: int = 0
    """Rows of a mart that went into others of the same key."""
    overtaken: int = 0
    """Pieces that somebody else changed meanwhile; the next run takes them up."""


def find_pieces(table: Table, settings: LakeSettings, *, everything: bool = False) -> list[Piece]:
    """Return what is worth rewriting: per partition, small files once they are many enough.

    Files are taken from the smallest on, and none that is far greater than those before it, so that a row is
    rewritten about as often as its partition has grown fourfold, and not with each run.

    Args:
        table: Whose files.
        settings: What is small, and many.
        everything: Take all files, also those that are as they should be.
    """
    partitions: dict[str, list[DataFile]] = {}
    for task in table.scan().plan_files():
        if task.file.spec_id == table.metadata.default_spec_id:
            partitions.setdefault(str(task.file.partition), []).append(task.file)
    pieces: list[Piece] = []
    for _, files in sorted(partitions.items()):
        if everything:
            pieces += _packed(sorted(files, key=lambda file: file.file_path), settings.file_rows)
            continue
        small = [file for file in files if file.record_count * 2 <= settings.file_rows]
        piece = _small_ones(sorted(small, key=lambda file: file.record_count), settings.file_rows)
        if len(piece.files) >= settings.compact_files:
            pieces.append(piece)
    return pieces


def _small_ones(files: Sequence[DataFile], most: int) -> Piece:
    piece = Piece([])
    for file in files:
        if len(piece.files) > 1 and file.record_count > _STEP * piece.rows:
            break
        if piece.files and piece.rows + file.record_count > most:
            break
        piece.files.append(file)
    return piece


def _packed(files: Sequence[DataFile], most: int) -> Iterator[Piece]:
    piece = Piece([])
    for file in files:
        if piece.files and piece.rows + file.record_count > most:
            yield piece
            piece = Piece([])
        piece.files.append(file)
    if piece.files:
        yield piece


def compact_piece(table: Table, piece: Piece, into: Compacted) -> None:
    """Rewrite some files as one, unless others change them meanwhile: then nothing is changed, and told so.

    Raises:
        LayoutError: A file is not as the table says.
        CommitConflictError: Others committed first too often.
    """
    if not holds(table, piece.files):
        into.overtaken += 1
        return
    rows = read_rows(table, piece.files)
    if table_name(table) == EVENTS:
        single = _each_once(rows)
        if len(single) < len(rows):
            _log.error("rows stood twice in the lake", rows=len(rows) - len(single))
        into.left_out += len(rows) - len(single)
        rows = single
    summed = _added_up(rows, table_name(table))
    added_up, rows = len(rows) - len(summed), summed
    new = write_file(table, in_order(rows), piece.files[0])
    if not replace_files(table, piece.files, [new]):
        into.overtaken += 1
        storage_of(table).delete([new.file_path])
        return
    into.files_before += len(piece.files)
    into.files_after += 1
    into.bytes_before += piece.bytes
    into.bytes_after += new.file_size_in_bytes
    into.rows += new.record_count
    into.added_up += added_up


def _each_once(rows: pa.Table) -> pa.Table:
    """Return rows without those whose identity another before them has."""
    instance, epoch = (_positions(rows.column(name)) for name in ("instance", "epoch"))
    sequence = rows.column("sequence").to_numpy()
    series = instance * (epoch.max(initial=0) + 1) + epoch
    if series.max(initial=0) >= 1 << _SERIES_BITS or sequence.max(initial=0) >= 1 << _SEQUENCE_BITS:
        _, series = np.unique(series, return_inverse=True)
        keys = np.rec.fromarrays([series, sequence])
    else:
        keys = series << _SEQUENCE_BITS | sequence
    _, first = np.unique(keys, return_index=True)
    return rows if len(first) == len(rows) else rows.take(pa.array(np.sort(first)))


def _positions(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return for each value its position among all that there are."""
    return np.asarray(column.combine_chunks().dictionary_encode().indices).astype(np.int64)


def _added_up(rows: pa.Table, table: str) -> pa.Table:
    """Return a mart's rows such that each key has one; any other table's as they are."""
    mart = next((each for each in MARTS if each.table == table), None)
    if mart is None or not mart.sums:
        return rows
    summed = rows.group_by(mart.keys).aggregate([(name, "sum") for name in mart.sums])
    columns = [summed.column(f"{name}_sum" if name in mart.sums else name) for name in rows.schema.names]
    return pa.table(columns, schema=rows.schema) if len(summed) < len(rows) else rows


def foresee(table: Table, pieces: Sequence[Piece]) -> Compacted:
    """Return what rewriting would read; how small the result is shows only when it is written."""
    return Compacted(
        table=table_name(table),
        files_before=sum(len(piece.files) for piece in pieces),
        files_after=len(pieces),
        bytes_before=sum(piece.bytes for piece in pieces),
        rows=sum(piece.rows for piece in pieces),
    )
