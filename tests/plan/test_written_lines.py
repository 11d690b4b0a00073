"""Lines that are read all at once are just those that pass one by one, and are written anew as they are."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.plan.lines import LineChecker
from heliograph.plan.model import EventDefinition, Plan
from heliograph.plan.written_lines import WrittenLines
from plan_strategies import LARGEST, events_with_a_fault, plans, wire_events

if TYPE_CHECKING:
    from collections.abc import Sequence

LATEST = datetime(2026, 10, 1, 12, tzinfo=UTC)
ID = "9f86d081884c7d659a2feaa0c55ad015"
_encode_lines = msgspec.json.Encoder().encode_lines
RIGHT = {"name": "A", "sequence": 12, "time": "2026-09-01T08:09:10.123456Z", "user_id": ID, "version": "1.2"}
OWN: dict[str, list[Any]] = {
    "sequence": [0, 1, 9, 10, 12345678, 10**17, LARGEST, -1, 1.0, "1"],
    "user_id": [ID[::-1], ID.upper(), "g" * 32, "0" * 32, "1234" * 8, ID[:31], ID + "0", "é" * 16, None],
    "version": ["10.2", "10.1.2.3", "v1"],
    "time": [
        "1970-01-01T00:00:00Z",
        "2024-02-29T23:59:59.999999Z",
        "2026-10-01T12:00:00Z",
        # Not as they are written.
        "2026-09-01T12:00:00.000000Z",
        "2026-09-01T12:00:00.1Z",
        "2026-09-01T12:00:00+00:00",
        "2026-09-01t12:00:00Z",
        "2026-09-01 12:00:00.123456Z",
        "2026-09-01T12:00:00.123456z",
        "2026-09-01T12:00:00.12345:Z",
        "2026-09-01T1:00:00.123456Z",
        # No days, or no times.
        "2025-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-10T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:60Z",
        "2026-0:-01T00:00:00Z",
        # Too early, or too late.
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
        "2026-10-01T12:00:00.000001Z",
        "2200-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
    ],
}


def _plan() -> Plan:
    event = EventDefinition(
        description="What happened.",
        feature="search",
        action="use",
        question="Who uses it?",
        owner="team",
        added=date(2026, 1, 1),
        expires="never",
        outcomes={"ok": "Good."},
    )
    return Plan(
        heliograph_plan=2,
        name="small",
        version=1,
        description="One event.",
        sources=("web",),
        features={"search": "Finding."},
        events={"A": event},
    )


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in OWN for value in OWN[field]])
def test_of_what_an_event_has_for_itself_just_that_is_read_which_passes(field: str, value: Any) -> None:
    line = _in_order(RIGHT | {field: value}) + b"\n"
    events = LineChecker(_plan()).decode_all(line, latest=LATEST)
    is_so = _encode_lines(events or []) == line

    assert (WrittenLines(_plan()).read(line, latest=LATEST) is not None) is is_so
    assert WrittenLines(_plan()).read(_in_order(RIGHT), latest=LATEST) is not None


_own = st.sampled_from([(field, value) for field in OWN for value in OWN[field]])


def _texts(plan: Plan) -> st.SearchStrategy[bytes]:
    """Draw some lines, most of them as the gateway writes them, and change a few letters here and there."""
    right = wire_events(plan).map(lambda event: event | {"time": "2026-09-01T08:09:10.123456Z"})
    wrong = events_with_a_fault(plan) | st.tuples(right, _own).map(lambda two: two[0] | dict([two[1]]))
    events = st.one_of(right, right, right, wrong)
    texts = st.lists(events.map(_in_order), min_size=1, max_size=4).map(b"\n".join)
    ended = st.tuples(texts, st.sampled_from([b"\n", b"\n", b""])).map(b"".join)
    changed = st.tuples(ended, st.lists(_changes, min_size=1, max_size=2)).map(lambda two: _changed(*two))
    return ended | ended | changed


def _in_order(event: dict[str, Any]) -> bytes:
    first = ["name", "sequence", "time", "user_id", "session_id", "outcome", "version", "source", "actor"]
    keys = [key for key in first if key in event] + [key for key in event if key not in first]
    return msgspec.json.encode({key: event[key] for key in keys})


_changes = st.tuples(
    st.integers(0, 1000),
    st.integers(0, 40),
    st.sampled_from([b"", b" ", b"\n", b'"', b",", b"}", b"0", b"\\u0041", b"\xff", b"null", b'"x":1,', b',"time":"'])
    | st.binary(max_size=3),
)


def _changed(text: bytes, changes: Sequence[tuple[int, int, bytes]]) -> bytes:
    for place, length, word in changes:
        begin = place % (len(text) + 1)
        text = text[:begin] + word + text[begin + length % 4 * (length % 5) :]
    return text


@pytest.mark.parametrize(
    "otherwise",
    [
        b' "version":"1.2"',
        b'"outcome":null,"version":"1.2"',
        b'"version":"1.2","version":"1.2"',
        b'"version":"\\u0031.2"',
    ],
)
def test_what_would_be_written_otherwise_is_not_read_at_once(otherwise: bytes) -> None:
    line = _in_order(RIGHT).replace(b'"version":"1.2"', otherwise)

    assert LineChecker(_plan()).decode_all(line, latest=LATEST)
    assert WrittenLines(_plan()).read(line, latest=LATEST) is None


@given(st.data())
def test_what_is_read_at_once_passes_line_by_line_and_is_written_as_it_is(data: st.DataObject) -> None:
    plan = data.draw(plans())
    lines = data.draw(_texts(plan))
    if not lines:
        return
    checker = LineChecker(plan)

    read = WrittenLines(plan).read(lines, latest=LATEST)

    events = checker.decode_all(lines, latest=LATEST)
    ended = lines if lines.endswith(b"\n") else lines + b"\n"
    if not events or _encode_lines(events) != ended or any(event.sequence >= 10**18 for event in events):
        assert read is None
        return
    assert read is not None
    assert read.numbers.tolist() == [event.sequence for event in events]
    names = [checker.name(event) for event in events]
    assert read.names == {name: names.count(name) for name in names}


@given(st.data())
def test_whatever_the_bytes_are_reading_them_at_once_ends(data: st.DataObject) -> None:
    plan = data.draw(plans())
    pieces = [b'{"name":"', b'","sequence":', b"1", b',"time":"', b"2026-10-01T12:00:00Z", b'",', b'"user_id":"', b"\n"]
    pieces += [ID.encode(), b'"}', b"{}", b"x" * 70]
    lines = b"".join(data.draw(st.lists(st.sampled_from(pieces) | st.binary(max_size=9), min_size=1, max_size=30)))
    checker = LineChecker(plan)

    read = WrittenLines(plan).read(lines or b"\n", latest=LATEST)

    if read is not None:
        assert checker.decode_all(lines, latest=LATEST) is not None
