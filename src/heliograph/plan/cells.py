"""Cells: the values of many columns at once, without the rows in which they have none.

A batch has a column for each property of the plan, and an event has few of them. Going through the columns one by one
costs far more than what they hold; here they are laid one behind the other, and looked at together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from heliograph.plan.buffers import row_bits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    Integers: TypeAlias = npt.NDArray[np.int64]
    Bytes: TypeAlias = npt.NDArray[np.uint8]

_MOST_PLACES: Final = 1 << 20
"""Rows times columns that are laid out at once: it bounds the memory that one batch takes."""
_ALL_PLACES: Final = pa.Array.from_buffers(
    pa.int32(), _MOST_PLACES, [None, pa.py_buffer(np.arange(_MOST_PLACES, dtype=np.int32))]
)


class Cells(NamedTuple):
    """The cells of some columns of equal length that have a value: column by column, and in each one row by row."""

    columns: Sequence[pa.Array]
    buffers: Sequence[Sequence[pa.Buffer]]
    """Of each column: to ask Arrow for them costs more than to go through most of them."""
    validity: Bytes
    """For each column a line of bits that tells which of its rows have a value."""
    places: Integers
    """Of each cell, the number of the place that it has in the columns, one behind the other."""
    rows: Integers
    """Of each cell."""
    starts: Sequence[int]
    """Where each column's cells begin; the last one is where they all end."""

    @classmethod
    def of(cls, columns: Sequence[pa.Array]) -> Cells:
        """Return the cells of at least one column, of at least one row."""
        count = len(columns[0])
        buffers = [column.buffers() for column in columns]
        validity = _validity(columns, buffers, count)
        places = _places(validity, count)
        behind = np.arange(len(columns) + 1) * count
        starts = places.searchsorted(behind)
        rows = places - behind[:-1].repeat(starts[1:] - starts[:-1])
        return cls(columns, buffers, validity, places, rows, starts.tolist())

    def of_each(self, numbers: Integers) -> Integers:
        """Return for each cell the number of its column."""
        starts = np.array(self.starts)
        return numbers.repeat(starts[1:] - starts[:-1])

    def part(self, first: int, last: int) -> Cells:
        """Return the cells of some columns, one behind the other, from `first` to the one before `last`."""
        start, end = self.starts[first], self.starts[last]
        return Cells(
            self.columns[first:last],
            self.buffers[first:last],
            self.validity[first:last],
            self.places[start:end] - first * len(self.columns[0]),
            self.rows[start:end],
            [place - start for place in self.starts[first : last + 1]],
        )

    def each(self) -> Iterator[slice]:
        """Yield for each column where its cells are."""
        return map(slice, self.starts[:-1], self.starts[1:])

    def is_bare(self) -> bool:
        """Tell whether each column begins with its buffers, has a value, and no bit set behind the last of its rows.

        See `buffers.is_bare`: what stands in the rows without a value is for `values` and `bits` to tell.
        """
        return (
            not any(column.offset for column in self.columns)
            and all(start < end for start, end in zip(self.starts[:-1], self.starts[1:], strict=True))
            and not _has_padding(self.validity, len(self.columns[0]))
        )

    def values(self, kind: type[np.generic]) -> tuple[npt.NDArray[Any], bool]:
        """Return what columns of numbers hold, and whether it is all zeros where they have no value."""
        size = np.dtype(kind).itemsize
        # With an end, as a buffer may be longer than what it holds.
        parts = [
            memoryview(buffers[1])[column.offset * size : (column.offset + len(column)) * size]
            for column, buffers in zip(self.columns, self.buffers, strict=True)
        ]
        data = np.frombuffer(b"".join(parts), kind)
        values = data[self.places]
        # As bits, so that no zero of another form hides.
        bits = f"i{size}"
        return values, np.count_nonzero(data.view(bits)) == np.count_nonzero(values.view(bits))

    def are_bits_bare(self) -> bool:
        """Tell whether columns of booleans, all of which begin with their buffers, hold no bit without a value."""
        width = self.validity.shape[1]
        lines = b"".join([memoryview(buffers[1])[:width] for buffers in self.buffers])
        bits = np.frombuffer(lines, np.uint8).reshape(self.validity.shape)
        return not bool((bits & ~self.validity).any())


def groups(columns: Sequence[Any], rows: int) -> Iterator[Sequence[Any]]:
    """Yield as many columns of so many rows as may be laid out at once, until none is left."""
    most = max(1, _MOST_PLACES // rows)
    return (columns[start : start + most] for start in range(0, len(columns), most))


def _validity(columns: Sequence[pa.Array], buffers: Sequence[Sequence[pa.Buffer]], count: int) -> Bytes:
    width = -(-count // 8)
    everywhere = np.packbits(np.ones(count, np.bool_), bitorder="little").tobytes()
    lines = [
        everywhere
        if column.null_count == 0
        else np.packbits(row_bits(validity, column), bitorder="little").tobytes()
        if column.offset
        else memoryview(validity)[:width]
        for column, (validity, *_) in zip(columns, buffers, strict=True)
    ]
    return np.frombuffer(b"".join(lines), np.uint8).reshape(len(columns), width)


def _places(validity: Bytes, count: int) -> Integers:
    """Return the places of the bits that are set, of lines of `count` bits one behind the other."""
    number = validity.shape[0] * count
    if count % 8 or number > _MOST_PLACES:
        return np.unpackbits(validity, axis=1, count=count, bitorder="little").view(np.bool_).ravel().nonzero()[0]
    # Arrow goes through the bits as they are, in half the time that NumPy takes for a byte of each.
    bits = pa.Array.from_buffers(pa.bool_(), number, [None, pa.py_buffer(validity)])
    places: npt.NDArray[np.int32] = _ALL_PLACES.slice(0, number).filter(bits).to_numpy()
    return places.astype(np.int64)


def _has_padding(bits: Bytes, count: int) -> bool:
    return count % 8 != 0 and bool((bits[:, -1] >> count % 8).any())
