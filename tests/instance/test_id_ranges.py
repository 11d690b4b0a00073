"""What is missing of a table, as sets of ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.instance.id_ranges import (
    LOWEST,
    Cursor,
    Holes,
    Ranges,
    count_within,
    decode_cursor,
    encode_cursor,
    fill,
    find_gaps,
    settle,
)
from heliograph.instance.source import SourceError

SMALL_IDS = st.sets(st.integers(-5, 60))


def ids_of(ranges: Ranges | list[tuple[int, int]]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


def ranges_of(ids: set[int]) -> Ranges:
    ranges: list[tuple[int, int]] = []
    for number in sorted(ids):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)


@given(seen=SMALL_IDS)
def test_gaps_are_all_ids_that_were_not_seen(seen: set[int]) -> None:
    ids = sorted(seen)
    assert ids_of(find_gaps(-6, ids)) == (set(range(-5, ids[-1])) - seen if ids else set())


@given(seen=SMALL_IDS, room=st.integers(0, 8))
def test_no_more_gaps_are_noticed_than_there_is_room_for(seen: set[int], room: int) -> None:
    ids = sorted(seen)
    count = count_within(-6, ids, room)
    assert len(find_gaps(-6, ids[:count])) <= room
    assert count == len(ids) or len(find_gaps(-6, ids[: count + 1])) > room


@given(missing=SMALL_IDS, found=SMALL_IDS)
def test_holes_lose_just_the_ids_that_were_found(missing: set[int], found: set[int]) -> None:
    left = fill(Holes(ranges_of(missing), (), 0), sorted(found))
    assert (left.ranges if left else ()) == ranges_of(missing - found)


def test_holes_are_kept_until_their_writers_have_ended_and_a_while_longer() -> None:
    holes = Holes(((3, 4),), ("3/7", "4/9"), since=100)
    held = settle(holes, frozenset({"4/9", "5/1"}), 1_000, 50)
    assert held == Holes(((3, 4),), ("4/9",), 100)
    ended = settle(held, frozenset({"5/1"}), 2_000, 50)
    assert ended == Holes(((3, 4),), (), 2_000)
    assert settle(ended, frozenset({"5/1"}), 2_049, 50) == ended
    assert settle(ended, frozenset({"5/1"}), 2_050, 50) is None


def test_a_writer_that_is_gone_may_be_any_prepared_transaction_of_that_moment() -> None:
    holes = Holes(((3, 4),), ("3/7",), since=100)
    held = settle(holes, frozenset({"-1/800", "5/1"}), 1_000, 50)
    assert held == Holes(((3, 4),), ("-1/800",), 100)
    assert settle(held, frozenset({"-1/801"}), 1_000, 50) == Holes(((3, 4),), (), 1_000)


def test_a_clock_that_was_set_back_starts_the_wait_anew() -> None:
    assert settle(Holes(((3, 4),), (), since=5_000), frozenset(), 1_000, 50) == Holes(((3, 4),), (), 1_000)


@st.composite
def cursors(draw: st.DrawFn) -> Cursor:
    ids = draw(st.lists(st.integers(LOWEST + 1, (1 << 63) - 2), unique=True, max_size=12).map(sorted))
    pairs = list(zip(ids[::2], ids[1::2], strict=False))
    cut = draw(st.integers(0, len(pairs)))
    groups = [
        Holes(tuple(part), tuple(draw(st.lists(st.text("0123456789/-"), max_size=3))), draw(st.integers(0, 1 << 60)))
        for part in (pairs[:cut], pairs[cut:])
        if part
    ]
    return Cursor(ids[-1] + 1 if ids else LOWEST, tuple(groups))


@given(cursor=cursors())
def test_a_cursor_survives_its_encoding(cursor: Cursor) -> None:
    assert decode_cursor(encode_cursor(cursor)) == cursor


@pytest.mark.parametrize(
    "encoded",
    [b"", b"{", b"\xff", b"{}", b'{"version":2,"high":1,"holes":[]}', b'{"version":1,"high":"1","holes":[]}'],
)
def test_what_is_no_cursor_is_refused_with_a_remedy(encoded: bytes) -> None:
    with pytest.raises(SourceError, match="newer version"):
        decode_cursor(encoded)
