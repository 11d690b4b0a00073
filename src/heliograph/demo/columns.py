"""Random ids and sparse columns in bulk, made with numpy and given to Arrow without a Python object for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import numpy.typing as npt

_DIGITS: Final = 32
_PAIRS: Final = np.frombuffer(b"".join(b"%02x" % octet for octet in range(256)), np.uint16)
"""The two hexadecimal digits of each octet, as they lie in memory."""


def hexadecimal(source: np.random.Generator, count: int) -> pa.StringArray:
    """Return `count` random ids of 128 bits, in hexadecimal."""
    octets = np.frombuffer(source.bytes(count * _DIGITS // 2), np.uint8)
    return _ids(_PAIRS[octets].view(np.uint64).reshape(count, -1))


def take_ids(ids: pa.StringArray, which: npt.NDArray[np.int64]) -> pa.StringArray:
    """Return the ids of `hexadecimal` at some positions: `take`, several times faster because all are of one length."""
    return _ids(np.frombuffer(ids.buffers()[2], np.uint64).reshape(len(ids), -1)[which])


def _ids(digits: npt.NDArray[np.uint64]) -> pa.StringArray:
    offsets = np.arange(0, (len(digits) + 1) * _DIGITS, _DIGITS, dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(digits), [None, pa.py_buffer(offsets), pa.py_buffer(digits)])


def spread(values: pa.Array, rows: npt.NDArray[np.int64], count: int) -> pa.Array:
    """Return a column of `count` rows that has `values` in `rows`, and nulls elsewhere.

    Args:
        values: Of a type of numbers or text; without nulls, and not a slice.
        rows: Where each of them goes: rising.
        count: Rows of the column.
    """
    present = np.zeros(count, np.bool_)
    present[rows] = True
    validity = pa.py_buffer(np.packbits(present, bitorder="little"))
    if pa.types.is_string(values.type):
        ends = np.frombuffer(values.buffers()[1], np.int32)[: len(values) + 1]
        offsets = np.zeros(count + 1, np.int32)
        offsets[rows + 1] = np.diff(ends)
        content = [pa.py_buffer(np.cumsum(offsets, dtype=np.int32)), values.buffers()[2]]
    else:
        numbers = values.to_numpy(zero_copy_only=False)
        filled = np.zeros(count, numbers.dtype)
        filled[rows] = numbers
        content = [pa.py_buffer(np.packbits(filled, bitorder="little") if filled.dtype == np.bool_ else filled)]
    return pa.Array.from_buffers(values.type, count, [validity, *content])
