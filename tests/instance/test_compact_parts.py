"""Where the parts of compact lines are: no text that a line can have is taken for the end of one of its parts."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import SMALL_PLAN
from heliograph.instance.compact_columns import CompactColumns
from heliograph.instance.compact_lines import PLACES, SEQUENCE, plain_line
from heliograph.instance.compact_parts import NAMES, WORDS, find_parts

TIME = "2026-11-01T12:00:00Z"
# What is between two parts of a line, and in front of its properties, as a text that somebody records.
LIKE_BORDERS = st.sampled_from(
    [None, "u1", ",", '",', ',"', '",{', ",{", '",null', "\\", "\\\\", '\\"', "null", '"},{"', "]\n["]
)
texts = (
    LIKE_BORDERS
    | st.lists(LIKE_BORDERS.filter(bool), max_size=3).map(lambda several: "".join(map(str, several)))
    | st.text(max_size=4)
)
lines = st.builds(
    lambda whose, duration: [
        *whose[:SEQUENCE],
        0,
        *whose[SEQUENCE:],
        {} if duration is None else {"duration_ms": duration},
    ],
    st.tuples(st.just("SearchSubmitted"), st.just(TIME), *[texts] * (len(PLACES) - 3)),
    st.none() | st.integers(0, 9),
)


def written(events: list[list[Any]]) -> bytes:
    return b"\n".join(
        msgspec.json.encode([*each[:SEQUENCE], number, *each[SEQUENCE + 1 :]]) for number, each in enumerate(events, 1)
    )


@settings(max_examples=150)
@given(st.lists(lines, min_size=1, max_size=6))
def test_the_parts_of_each_line_that_is_taken_for_compact_are_what_it_says(events: list[list[Any]]) -> None:
    letters = np.frombuffer(written(events) + b"\n", np.uint8)
    parts = find_parts(letters)
    assert len(parts.is_compact) == len(events)

    def part(name: str, row: int) -> Any:
        begin = parts.place(name)[row]
        end = parts.place(NAMES[NAMES.index(name) + 1])[row]
        text = letters[begin:end].tobytes().rstrip(b",]")
        return msgspec.json.decode(b"[%s]" % text)

    for row in np.flatnonzero(parts.is_compact).tolist():
        expected = dict(zip(PLACES, events[row], strict=False))
        assert parts.numbers[row] == row + 1
        for name in ("name", "time", "user", "session"):
            assert part(name, row) == [expected[name]]
        assert part("words", row) == [expected[word] for word in WORDS]
        assert part("properties", row) == [events[row][-1]]


@settings(max_examples=60)
@given(st.lists(lines, min_size=1, max_size=6))
def test_lines_with_any_text_are_read_as_the_plain_ones_of_them(events: list[list[Any]]) -> None:
    def refuse(some: list[bytes]) -> list[bytes]:
        raise AssertionError(f"{len(some)} lines were not read")

    columns = CompactColumns(SMALL_PLAN)
    body = written(events)
    plain = columns.read(b"\n".join(map(plain_line, body.split(b"\n"))), refuse)
    assert filled(columns.read(body, refuse).to_pylist()) == filled(plain.to_pylist())


def filled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if value is not None} for row in rows]
