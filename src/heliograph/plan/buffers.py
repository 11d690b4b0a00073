"""Arrow's buffers, read and written in place: what a column holds beside its values, and a column that holds no more.

See the Arrow columnar format, "Physical Memory Layout". Most columns are empty in most rows, so that it pays to look
at the rows with a value only; both ends have validated a batch before. PyArrow's own conversions from Python objects
import pandas where it is installed: a second in which a gateway answers nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zstandard

if TYPE_CHECKING:
    import numpy.typing as npt

    Integers: TypeAlias = npt.NDArray[np.int64]
    Booleans: TypeAlias = npt.NDArray[np.bool_]

_NUMBERS: Final = {
    kind.id: np.dtype(kind.to_pandas_dtype())
    for kind in (
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float32(), pa.float64()),
    )
}
_KEPT_BYTES: Final = 4 << 20


def fresh_column(column: pa.Array) -> pa.Array:
    """Return the same values in a dictionary that holds no others, or with zeros where there is no value."""
    if not pa.types.is_dictionary(column.type):
        return pc.if_else(column.is_valid(), column, pa.nulls(1, column.type)[0])
    return pc.dictionary_encode(column.cast(column.type.value_type)).cast(column.type)


def in_order_of_appearance(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """Return the same values in a dictionary that has each word in the order of the rows that have it first.

    Words that no row has are left out. Those of `column` are all different.
    """
    words = column.dictionary
    rows = rows_with_value(column)
    if len(words) == min(len(rows), 1):
        return column
    places = column_values(column.indices)
    places = places[rows] if column.null_count else places
    first_row = np.full(len(words), len(column))
    first_row[places[::-1]] = rows[::-1]
    order = np.argsort(first_row, kind="stable")[: np.count_nonzero(first_row < len(column))]
    if len(order) == len(words) and (order == np.arange(len(order))).all():
        return column
    place_of = np.zeros(len(words), places.dtype)
    place_of[order] = np.arange(len(order))
    found = np.zeros(len(column), places.dtype)
    found[rows] = place_of[places]
    return pa.DictionaryArray.from_arrays(with_values(column.indices, found), words.take(pa.array(order)), safe=False)


def bare_column(column: pa.Array) -> pa.Array:
    """Return the same values in buffers that hold nothing else: zeros where there is no value, and no padding."""
    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(bare_column(column.indices), _bare_words(column.dictionary))
    valid = row_bits(column.buffers()[0], column) if column.null_count else None
    if pa.types.is_boolean(column.type):
        values = row_bits(column.buffers()[1], column) if len(column) else np.empty(0, np.bool_)
        data = np.packbits(values if valid is None else values & valid, bitorder="little")
    else:
        data = column_values(column.view(pa.int64()) if pa.types.is_timestamp(column.type) else column)
        if valid is not None:
            data = np.where(valid, data, data.dtype.type(0))
    validity = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(column.type, len(column), [validity, pa.py_buffer(np.ascontiguousarray(data))])


def is_bare(column: pa.Array) -> bool:
    """Tell whether zeros stand where there is no value; what is between buffers, Arrow leaves out when it writes."""
    count, nulls, kind = len(column), column.null_count, column.type
    if column.offset or nulls == count:
        return False
    is_boolean = pa.types.is_boolean(kind)
    if nulls == 0 and not is_boolean:
        return True
    validity, data = column.buffers()
    bits = [validity] * bool(nulls) + [data] * is_boolean
    if any(count % 8 and buffer[count // 8] >> count % 8 for buffer in bits):
        return False
    if nulls == 0:
        return True
    if is_boolean:
        values: npt.NDArray[Any] = row_bits(data, column)
    else:
        # Whole numbers of the same width: no zero of another form hides.
        width = kind.index_type.bit_width if pa.types.is_dictionary(kind) else kind.bit_width
        values = np.frombuffer(data, f"i{width // 8}", count)
    return not values[~row_bits(validity, column)].any()


def ends_with_values(column: pa.Array) -> bool:
    """Tell whether the buffers of a column that begins with them end with its last value.

    What is in a buffer behind that, Arrow writes as well, up to 63 bytes of it.
    """
    count, kind = len(column), column.type
    validity, values = column.buffers()[:2]
    if column.null_count and validity.size != (count + 7) // 8:
        return False
    if not pa.types.is_dictionary(kind):
        return bool(values.size == (count * kind.bit_width + 7) // 8)
    return bool(values.size == count * kind.index_type.bit_width // 8) and _do_words_end(column.dictionary)


def _do_words_end(words: pa.StringArray) -> bool:
    _, offsets, letters = words.buffers()
    if words.offset or offsets.size != 4 * (len(words) + 1):
        return False
    bounds = np.frombuffer(offsets, np.int32)
    return bool(bounds[0] == 0 and bounds[-1] == (0 if letters is None else letters.size))


def _bare_words(words: pa.StringArray) -> pa.StringArray:
    if len(words) == 0:
        return pa.array([], words.type)
    offsets = np.frombuffer(words.buffers()[1], np.int32, len(words) + 1, words.offset * 4)
    letters = pa.py_buffer(b"") if words.buffers()[2] is None else words.buffers()[2]
    letters = letters.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    return pa.Array.from_buffers(words.type, len(words), [None, pa.py_buffer(offsets - offsets[0]), letters])


def valid_rows(column: pa.Array) -> Booleans:
    """Tell for each row of a column of any type whether it has a value."""
    valid = column.is_valid()
    return row_bits(valid.buffers()[1], valid)


def as_mask(chosen: Booleans) -> pa.BooleanArray:
    """Return one truth value for each row as Arrow filters by."""
    bits = pa.py_buffer(np.packbits(chosen, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(chosen), [None, bits])


def rows_with_value(column: pa.Array) -> Integers:
    """Return the rows of a column of fixed-width values, or of words, that are not null."""
    if column.null_count == 0:
        return np.arange(len(column))
    return np.flatnonzero(row_bits(column.buffers()[0], column))


def row_bits(buffer: pa.Buffer, column: pa.Array) -> Booleans:
    """Return those bits of a buffer of `column` that belong to its rows."""
    bits = np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little")
    return bits[column.offset : column.offset + len(column)].view(np.bool_)


def column_values(column: pa.Array) -> npt.NDArray[Any]:
    """Return the values of a column of numbers; where it is null, any number stands."""
    kind = _NUMBERS[column.type.id]
    if len(column) == 0:
        return np.empty(0, kind)
    # With a count, as a buffer may be longer than what it holds.
    return np.frombuffer(column.buffers()[1], kind, len(column), column.offset * kind.itemsize)


def with_values(column: pa.Array, values: npt.NDArray[Any]) -> pa.Array:
    """Return `column`, which is of numbers, with other values in its rows; where it is null, it stays so."""
    valid = row_bits(column.buffers()[0], column) if column.null_count else None
    validity = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(column.type, len(column), [validity, pa.py_buffer(values)])


def write_arrow(batch: pa.RecordBatch) -> pa.Buffer:
    """Return a batch as an Arrow IPC stream, in Arrow's own memory: a copy of a megabyte is worth saving."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


class StreamWriter:
    """Writes streams as `write_arrow` does, in memory that it keeps: to get some costs more than to fill it."""

    def __init__(self, size: int = _KEPT_BYTES) -> None:
        self._memory = pa.allocate_buffer(size)

    def write(self, batch: pa.RecordBatch) -> pa.Buffer:
        """Return a batch as an Arrow IPC stream, which is there until the next one is written."""
        while True:
            sink = pa.FixedSizeBufferWriter(self._memory)
            try:
                with pa.ipc.new_stream(sink, batch.schema) as writer:
                    writer.write_batch(batch)
            except (OSError, pa.ArrowException):  # there is no room
                self._memory = pa.allocate_buffer(2 * self._memory.size)
            else:
                return self._memory.slice(0, sink.tell())


class WrittenForm:
    """Compares streams with what `write_arrow` gives, in memory that it keeps: to get some costs much, too."""

    def __init__(self) -> None:
        self._memory = pa.allocate_buffer(_KEPT_BYTES)

    def is_of(self, batch: pa.RecordBatch, content: bytes) -> bool:
        """Tell whether `content` is, byte for byte, the stream of `batch`."""
        size = len(content)
        memory = self._memory if size <= _KEPT_BYTES else pa.allocate_buffer(size)
        sink = pa.FixedSizeBufferWriter(memory)
        try:
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
        except (OSError, pa.ArrowException):  # it is longer than that memory, and so than `content`
            return False
        return bool(sink.tell() == size and memory.slice(0, size).equals(pa.py_buffer(content)))


def compress(content: bytes | pa.Buffer) -> bytes:
    """Return the content as one zstd frame that says how large it is."""
    return zstandard.ZstdCompressor(level=1, write_content_size=True).compress(content)
