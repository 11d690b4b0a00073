"""What lists hold comes out in its order, by whichever way it is sorted."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from heliograph.insights.listing import in_order

LISTS = st.lists(st.lists(st.integers(-(1 << 60), 1 << 60), min_size=1, max_size=5), min_size=1, max_size=5)
NEAR = st.lists(st.lists(st.integers(1 << 55, (1 << 55) + 9), min_size=1, max_size=5), min_size=1, max_size=5)


@given(LISTS | NEAR, st.sampled_from([0, 63]), st.integers(0, 4))
def test_each_users_numbers_come_in_their_order_one_user_behind_the_other(
    lists: list[list[int]], key_bits: int, cut: int
) -> None:
    type_ = pa.list_(pa.int64())
    found = in_order(pa.chunked_array([lists[:cut], lists[cut:]], type_), key_bits=key_bits)
    assert found.numbers.tolist() == [number for each in lists for number in sorted(each)]
    assert found.users.tolist() == [user for user, each in enumerate(lists) for _ in each]
    assert [found.numbers[at] for at in found.first] == [min(each) for each in lists]
