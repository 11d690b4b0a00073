"""Columns made of Python's values, by way of numpy, as Arrow has them in memory."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Sequence

    import numpy.typing as npt

    Integers: TypeAlias = npt.NDArray[np.int64]


class Numbers(dict[Any, int]):
    """Numbers what it is asked for from 0 on, in the order in which it comes."""

    def __init__(self) -> None:
        super().__init__()
        self._next = count()

    def __missing__(self, key: Hashable) -> int:
        number = self[key] = next(self._next)
        return number

    def of(self, keys: Iterable[Any], rows: int) -> npt.NDArray[np.int32]:
        """Return the number of each key."""
        return np.fromiter(map(self.__getitem__, keys), np.int32, rows)


class Part(NamedTuple):
    """Values of some rows of a column."""

    rows: Integers
    values: Sequence[Any]
    """One for each row; None where it has none. Or, with `value_of`, those that there are."""
    value_of: npt.NDArray[np.integer[Any]] | None = None
    """Which one each row has."""


def column_per_group(
    words: Sequence[str | None], group_of: npt.NDArray[np.integer[Any]], kind: pa.DictionaryType
) -> pa.Array:
    """Return for each row the word of its group."""
    different = dict.fromkeys(words)
    different.pop(None, None)
    numbers = dict(zip(different, range(len(different)), strict=True)) | {None: -1}
    word_of = np.fromiter(map(numbers.__getitem__, words), np.int32, len(words))
    return _word_column(word_of[group_of], different, kind)


def column_of_parts(parts: Sequence[Part], kind: pa.DataType, rows: int) -> pa.Array | None:
    """Return a column of values that are given in parts; None where there is no value."""
    is_word = pa.types.is_dictionary(kind)
    stored = kind.index_type if is_word else kind
    words = Numbers()
    found = np.zeros(rows, stored.to_pandas_dtype())
    valid = np.zeros(rows, np.bool_)
    for places, values, value_of in parts:
        has_value: npt.NDArray[np.bool_] | None = None
        present = values
        if None in values:
            has_value = np.fromiter((value is not None for value in values), np.bool_, len(values))
            present = [value for value in values if value is not None]
        given = words.of(present, len(present)) if is_word else np.fromiter(present, found.dtype, len(present))
        if is_word:
            _check_room(words, found.dtype)
        if has_value is not None:
            spread = np.zeros(len(values), found.dtype)
            spread[has_value] = given
            given = spread
        found[places] = given if value_of is None else given[value_of]
        valid[places] = True if has_value is None else has_value if value_of is None else has_value[value_of]
    if not valid.any():
        return None
    column = number_column(stored, found, None if valid.all() else valid)
    return pa.DictionaryArray.from_arrays(column, pa.array([*words], pa.string()), safe=False) if is_word else column


def _check_room(words: Collection[Any], kind: np.dtype[Any]) -> None:
    if len(words) > np.iinfo(kind).max:
        raise pa.ArrowInvalid("more different words than a batch can hold")


def _word_column(places: npt.NDArray[np.int32], words: Collection[str | None], kind: pa.DictionaryType) -> pa.Array:
    """Return words by their places; -1 stands for none."""
    listed = pa.array([*words], pa.string())
    width = np.dtype(kind.index_type.to_pandas_dtype())
    _check_room(words, width)
    has_word = places >= 0
    indices = number_column(kind.index_type, np.maximum(places, 0).astype(width), None if has_word.all() else has_word)
    return pa.DictionaryArray.from_arrays(indices, listed, safe=False)


def number_column(kind: pa.DataType, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Return values as Arrow has them; where there is none, they have to be zero."""
    data = np.packbits(values, bitorder="little") if pa.types.is_boolean(kind) else values
    validity = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(data)])
