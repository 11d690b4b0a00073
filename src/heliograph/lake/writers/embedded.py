"""The writer of one machine: Arrow, in this process, a piece at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import numpy as np
import pyarrow as pa

from heliograph.lake.maintenance.layout import in_order, read_rows, write_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from heliograph.lake.writers.writer import Change

_SERIES_BITS: Final = 21
_SEQUENCE_BITS: Final = 42
"""An event's identity fits into one number, unless there are more series, or events of one."""


class EmbeddedWriter:
    """Does each piece in memory; see `heliograph.lake.writers.writer.Writer`."""

    at_once = 1

    def rewrite(self, table: Table, pieces: Sequence[Sequence[DataFile]], change: Change) -> list[list[DataFile]]:
        """Write the rows of each piece to one new file."""
        return [self._rewrite(table, piece, change) for piece in pieces]

    @staticmethod
    def _rewrite(table: Table, piece: Sequence[DataFile], change: Change) -> list[DataFile]:
        rows = read_rows(table, piece)
        if change.once:
            rows = _each_once(rows, change.once)
        if change.sums:
            rows = _added_up(rows, change.sums)
        return [write_file(table, in_order(rows), piece[0])] if len(rows) else []

    def rest(self) -> None:
        """It holds nothing."""

    def close(self) -> None:
        """It holds nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()


def _each_once(rows: pa.Table, identity: Sequence[str]) -> pa.Table:
    """Return rows without those whose identity another before them has; its last column is a number, counted up."""
    *words, last = identity
    series = np.zeros(len(rows), np.int64)
    for name in words:
        positions = _positions(rows.column(name))
        series = series * (positions.max(initial=0) + 1) + positions
    sequence = rows.column(last).to_numpy()
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


def _added_up(rows: pa.Table, sums: Sequence[str]) -> pa.Table:
    """Return rows such that each key has one."""
    keys = [name for name in rows.schema.names if name not in sums]
    summed = rows.group_by(keys).aggregate([(name, "sum") for name in sums])
    columns = [summed.column(f"{name}_sum" if name in sums else name) for name in rows.schema.names]
    return pa.table(columns, schema=rows.schema) if len(summed) < len(rows) else rows
