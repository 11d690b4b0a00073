"""What lists hold comes out in its order, and users apart, by however many at once."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from heliograph.insights.listing import in_order

_BITS = 4
_KEY_BITS = 63


def lists_of(times: st.SearchStrategy[int]) -> st.SearchStrategy[list[list[tuple[int, int]]]]:
    moment = st.tuples(times, st.integers(0, (1 << _BITS) - 1))
    return st.lists(st.lists(moment, min_size=1, max_size=5), min_size=1, max_size=5)


LISTS = lists_of(st.integers(-(1 << 55), 1 << 55))
NEAR = lists_of(st.integers(1 << 51, (1 << 51) + 9))


@given(LISTS | NEAR, st.sampled_from([0, 1, 1 << 40]), st.sampled_from([0, 10, _KEY_BITS]), st.integers(0, 4))
def test_each_users_moments_come_in_their_order_and_further_from_anothers_than_was_asked_for(
    lists: list[list[tuple[int, int]]], apart: int, key_bits: int, cut: int
) -> None:
    packed = [[(time << _BITS) | kind for time, kind in each] for each in lists]
    chunks = pa.chunked_array([packed[:cut], packed[cut:]], pa.list_(pa.int64()))
    found: list[list[tuple[int, int]]] = []
    for some in in_order(chunks, bits=_BITS, apart=apart, key_bits=key_bits):
        ends = [*some.first[1:], len(some.times)]
        before = 0
        for begin, end, begun in zip(some.first, ends, some.begun, strict=True):
            times, kinds = some.times[begin:end], some.kinds[begin:end]
            found.append(list(zip((times + begun).tolist(), kinds.tolist(), strict=True)))
            assert times[0] - before > apart
            before = times[-1]
    assert found == [sorted(each) for each in lists]
