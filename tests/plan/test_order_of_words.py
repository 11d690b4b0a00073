"""The order of words in a column: that of the rows that have them first, whatever order it was made in."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from heliograph.plan.buffers import fresh_column, in_order_of_appearance, is_bare

WORDS = ["a", "b", "c", "d", "e"]


@given(
    st.permutations(WORDS).flatmap(lambda words: st.tuples(st.just(words), st.integers(0, len(words)))),
    st.data(),
)
def test_words_stand_in_the_order_in_which_rows_have_them_first(
    chosen: tuple[list[str], int], data: st.DataObject
) -> None:
    words = chosen[0][: chosen[1]]
    places = data.draw(st.lists(st.none() | st.integers(0, len(words) - 1) if words else st.none(), max_size=20))
    recorded = pa.DictionaryArray.from_arrays(pa.array(places, pa.int16()), pa.array(words, pa.string()))
    skipped = data.draw(st.integers(0, len(places)))
    for column in (recorded, recorded.slice(skipped)):
        found = in_order_of_appearance(column)
        found.validate(full=True)
        assert found.to_pylist() == column.to_pylist()
        assert found.type == column.type
        if column.null_count < len(column):
            assert found.dictionary.to_pylist() == fresh_column(column).dictionary.to_pylist()
            assert column.offset or is_bare(found)
