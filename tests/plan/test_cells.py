"""The cells of many columns: what each column holds, and whether it hides anything, as if it were looked at alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.plan.buffers import is_bare
from heliograph.plan.cells import Cells, groups

INTEGERS = (pa.int64(), np.int64, st.integers(-2, 2))
FLOATS = (pa.float64(), np.float64, st.sampled_from([0.0, -0.0, 1.5, float("inf")]))
ZEROS = (pa.float64(), np.float64, st.sampled_from([0.0, -0.0]))
BOOLEANS = (pa.bool_(), None, st.booleans())


@st.composite
def columns_of(draw: st.DrawFn, kind: pa.DataType, number: Any, values: st.SearchStrategy[Any]) -> list[pa.Array]:
    """Draw columns of some rows, with anything where no value is: in the rows, and behind the last one."""
    rows = draw(st.integers(1, 20))
    offset = draw(st.sampled_from([0, 0, 0, 3]))
    columns = []
    for _ in range(draw(st.integers(1, 5))):
        valid = np.array(draw(st.lists(st.booleans(), min_size=rows + offset, max_size=rows + offset)))
        held = np.array(draw(st.lists(values, min_size=rows + offset, max_size=rows + offset)), number or np.bool_)
        if draw(st.booleans()):
            held = np.where(valid, held, held.dtype.type(0))
        bits = bytearray(np.packbits(valid, bitorder="little").tobytes())
        data = bytearray(held.tobytes() if number else np.packbits(held, bitorder="little").tobytes())
        if (rows + offset) % 8 and draw(st.booleans()):
            draw(st.sampled_from([bits] if number else [bits, data]))[-1] |= 0x80
        column = pa.Array.from_buffers(kind, rows + offset, [pa.py_buffer(bytes(bits)), pa.py_buffer(bytes(data))])
        columns.append(column.slice(offset))
    return columns


@pytest.mark.parametrize(("kind", "number", "values"), [INTEGERS, FLOATS, ZEROS, BOOLEANS])
@settings(deadline=None)
@given(data=st.data())
def test_columns_hold_together_what_each_holds_alone(
    kind: pa.DataType, number: Any, values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    columns = data.draw(columns_of(kind, number, values))
    cells = Cells.of(columns)
    assert [cells.rows[where].tolist() for where in cells.each()] == [
        [row for row in range(len(column)) if column[row].is_valid] for column in columns
    ]
    if number is None:
        hides_nothing = cells.is_bare() and cells.are_bits_bare()
    else:
        found, is_zero_elsewhere = cells.values(number)
        assert [found[where].tolist() for where in cells.each()] == [
            column.drop_null().to_pylist() for column in columns
        ]
        hides_nothing = cells.is_bare() and is_zero_elsewhere
    assert hides_nothing == all(map(is_bare, columns))


@settings(deadline=None)
@given(columns_of(*INTEGERS), st.data())
def test_a_part_of_the_cells_is_what_some_of_the_columns_hold(columns: list[pa.Array], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(columns) - 1))
    last = data.draw(st.integers(first + 1, len(columns)))
    part, alone = Cells.of(columns).part(first, last), Cells.of(columns[first:last])
    assert part.places.tolist() == alone.places.tolist()
    assert part.rows.tolist() == alone.rows.tolist()
    assert part.starts == alone.starts
    assert part.values(np.int64)[0].tolist() == alone.values(np.int64)[0].tolist()
    assert part.is_bare() == alone.is_bare()


def test_however_many_rows_no_more_is_laid_out_at_once_than_a_bound() -> None:
    assert [len(group) for group in groups(range(25), 100_000)] == [10, 10, 5]
    assert [len(group) for group in groups(range(3), 10_000_000)] == [1, 1, 1]
