"""Compaction: many small files of a partition become few, in the order of questions, with the same rows.

Marts may hold several rows of one key, whose counts are added up by whoever reads them
(`heliograph.lake.marts.definitions`); compaction adds them up for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import structlog

from heliograph.lake.commits import holds, replace_files
from heliograph.lake.marts.tables import MARTS
from heliograph.lake.rewriting import table_name
from heliograph.lake.tables import IDENTITY, is_events
from heliograph.lake.writers.writer import Change

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from heliograph.lake.writers.writer import Writer
    from heliograph.settings import LakeSettings

_STEP: Final = 4
"""A file that has more than so many times the rows of all smaller ones together is not rewritten with them."""
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


def compact_pieces(table: Table, pieces: Sequence[Piece], writer: Writer, into: Compacted) -> None:
    """Rewrite each piece as one file, unless others change it meanwhile: then it stays as it is, and that is told.

    Raises:
        LayoutError: A file is not as the table says.
        EngineError: The writer's engine could not.
        CommitConflictError: Others committed first too often.
    """
    there = [piece for piece in pieces if holds(table, piece.files)]
    into.overtaken += len(pieces) - len(there)
    written = writer.rewrite(table, [piece.files for piece in there], _change_of(table))
    for piece, files in zip(there, written, strict=True):
        _put(table, piece, files, into)


def _change_of(table: Table) -> Change:
    if is_events(table):
        return Change(once=IDENTITY)
    return Change(folds=next((mart for mart in MARTS if mart.table == table_name(table)), None))


def _put(table: Table, piece: Piece, files: Sequence[DataFile], into: Compacted) -> None:
    """Commit the files that were made of a piece."""
    rows = sum(file.record_count for file in files)
    if is_events(table) and rows < piece.rows:
        _log.error("rows stood twice in the lake", rows=piece.rows - rows)
        into.left_out += piece.rows - rows
    if not replace_files(table, piece.files, files):
        into.overtaken += 1
        return
    into.files_before += len(piece.files)
    into.files_after += len(files)
    into.bytes_before += piece.bytes
    into.bytes_after += sum(file.file_size_in_bytes for file in files)
    into.rows += rows
    into.added_up += piece.rows - rows if not is_events(table) else 0


def foresee(table: Table, pieces: Sequence[Piece]) -> Compacted:
    """Return what rewriting would read; how small the result is shows only when it is written."""
    return Compacted(
        table=table_name(table),
        files_before=sum(len(piece.files) for piece in pieces),
        files_after=len(pieces),
        bytes_before=sum(piece.bytes for piece in pieces),
        rows=sum(piece.rows for piece in pieces),
    )
