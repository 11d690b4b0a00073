"""The deliveries of one commit as one table: words stay dictionaries until it is written, and are sorted by numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

_WORDS: Final = pa.dictionary(pa.int32(), pa.string())


def gathered(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """Return the rows of all tables with the columns of a schema; what a table lacks is null.

    Columns of words are dictionaries where they were delivered as such.
    """
    return pa.table([_column(tables, field) for field in schema], names=schema.names)


def _column(tables: Sequence[pa.Table], field: pa.Field) -> pa.ChunkedArray:
    kind = field.type
    columns = [table.column(field.name) if field.name in table.schema.names else None for table in tables]
    if kind == pa.string() and all(column is None or _is_words(column) for column in columns):
        kind = _WORDS
    if not any(columns):
        return pa.chunked_array([pa.nulls(sum(map(len, tables)), kind)])
    chunks: list[pa.Array] = []
    for table, column in zip(tables, columns, strict=True):
        if column is None:
            chunks.append(pa.nulls(len(table), kind))
        else:
            chunks += column.chunks if column.type == kind else _cast(column, kind)
    whole = pa.chunked_array(chunks, kind)
    return whole.unify_dictionaries() if kind == _WORDS else whole


def _is_words(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_dictionary(column.type))


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> Iterable[pa.Array]:
    if kind != _WORDS:
        return column.cast(kind).chunks  # type: ignore[no-any-return]  # Arrow has no types
    return [pa.DictionaryArray.from_arrays(each.indices.cast(pa.int32()), each.dictionary) for each in column.chunks]


def in_order(rows: pa.Table) -> pa.Table:
    """Return events by instance, time and number, as compaction keeps them (`heliograph.lake.maintenance.layout`)."""
    keys = [_ranks(rows.column("instance"))]
    keys += [np.asarray(rows.column(name).cast(pa.int64())) for name in ("time", "sequence")]
    return rows.take(pa.array(np.lexsort(keys[::-1])))


def in_plain_words(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows as they are written, with no dictionaries.

    A file remembers that its columns were dictionaries. Whoever rewrites it without some rows, as an erasure does,
    would get the whole dictionary back, and write it again: the words of those who were erased, too.
    """
    return rows.cast(schema)


def _ranks(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return numbers that are in the order of the words; null comes last."""
    words = column if _is_words(column) else column.dictionary_encode()
    words = words.unify_dictionaries()
    dictionary = words.chunk(0).dictionary if words.num_chunks else pa.array([], pa.string())
    ranks = np.empty(len(dictionary) + 1, np.int64)
    ranks[np.asarray(pc.array_sort_indices(dictionary))] = np.arange(len(dictionary))
    ranks[-1] = len(dictionary)
    places = [np.asarray(pc.fill_null(chunk.indices.cast(pa.int64()), len(dictionary))) for chunk in words.chunks]
    found: npt.NDArray[np.int64] = ranks[np.concatenate(places)] if places else np.empty(0, np.int64)
    return found
