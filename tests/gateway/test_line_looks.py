"""The quick look at lines: just those pass that pass one by one, and are written anew as they are."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import count_passing_flips
from harness import SMALL_PLAN, USER, event, random_id
from heliograph.event import microseconds
from heliograph.gateway import machine_code
from heliograph.gateway.bodies import MOST_EVENTS, BodyChecker, Checked
from heliograph.gateway.line_looks import LineLook
from heliograph.gateway.line_loops import read_lines
from heliograph.gateway.machine_code import compiled_line_loop, line_code
from heliograph.gateway.problems import RefusalError
from heliograph.plan.lines import LineChecker
from heliograph.plan.model import EventDefinition, NumberProperty, Plan
from heliograph.plan.sensitive.wall import SecondWall
from heliograph.wire import NDJSON
from plan.test_second_wall import PLAN as CARELESS_PLAN
from plan_strategies import LARGEST, events_with_a_fault, plans, wire_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heliograph.gateway.line_looks import Faultless, LineLoop

LATEST: Final = datetime(2026, 10, 1, 12, tzinfo=UTC)
ID: Final = "9f86d081884c7d659a2feaa0c55ad015"
RIGHT: Final = {"name": "A", "sequence": 12, "time": "2026-09-01T08:09:10.123456Z", "user_id": ID, "version": "1.2"}
OWN: Final[dict[str, list[Any]]] = {
    "sequence": [0, 1, 9, 10, 12345678, 10**17, 10**18 - 1, 10**18, LARGEST, -1, 1.0, "1"],
    "user_id": [ID[::-1], ID.upper(), "g" * 32, "0" * 32, "1234" * 8, ID[:31], ID + "0", "é" * 16, None, "/" * 32]
    + [ID[:7] + letter + ID[8:] for letter in "0129:@`afg\\\x7f"]
    + ["2" * 8 + ID[8:], ID[:3] + "d" * 8 + ID[11:], ID[:16] * 2, ID[:8] + ID[8:16] + ID[:8] + ID[:8], "4a" * 16],
    "version": ["10.2", "10.1.2.3", "11.1.2.3", "v1", "1.2.", "1..2", "1.2.3.4.5", "99999.99999.99999.99999", ID, ""],
    "outcome": ["ok", "o", "okk", "", "é", "ok\n"],
    "source": ["web", "wed", "website", "w"],
    "actor": ["operator", "service", "operato", None],
    "else": [1],
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
        "2026-09-01T12:00:00.:00001Z",
        "2026-09-01T12:00:00.00000/Z",
        "2026-09-01T1:00:00.123456Z",
        "2026-09-01T12:00.00.123456Z",
        # No days, or no times.
        "2025-02-29T00:00:00Z",
        "2026-02-30T00:00:00Z",
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
        "2199-12-31T23:59:59Z",
        "2200-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
    ],
}
FORMS: Final = (
    *("0", "-0", "0.0", "-0.0", "00", "01", "1", "-1", "+1", "1.0", "1.", ".5", "1.50", "0.5", "-0.5", "1e5", "1E5"),
    *("1e-5", "0.0001", "0.00009", "0.1234567890123", "0.12345678901234", "0.123456789012345", "NaN", "Infinity"),
    *("123456789012.25", "1234567890123.25", "999999999.0", "1000000000.0", "999999999999999", "1e400", "9" * 19),
    *("9" * 400, "0." + "0" * 400 + "1", "null", "true", '"1"', "1 ", "[]", "0x1", "1_0", "20", "20.0", "3"),
)
_encode_lines: Final = msgspec.json.Encoder().encode_lines


@pytest.fixture(autouse=True)
def what_overflows_is_meant_to() -> Any:
    """Python says so of the numbers of a hash; machine code does not."""
    with np.errstate(over="ignore"):
        yield


@pytest.fixture(scope="module", params=["compiled", "plain"])
def loop(request: pytest.FixtureRequest) -> LineLoop:
    return compiled_line_loop() if request.param == "compiled" else read_lines


def look_of(plan: Plan, most: int = MOST_EVENTS) -> LineLook:
    return LineLook(plan, SecondWall(plan).looks, most)


def look(plan: Plan, lines: bytes, loop: LineLoop) -> Faultless | None:
    return look_of(plan).faultless(lines, latest=microseconds(LATEST), read_lines=loop)


def both_look(plan: Plan, lines: bytes) -> Faultless | None:
    """Look at lines by either loop: both say the same."""
    looking, latest = look_of(plan), microseconds(LATEST)
    found = looking.faultless(lines, latest=latest, read_lines=compiled_line_loop())
    assert looking.faultless(lines, latest=latest, read_lines=read_lines) == found
    return found


def _plan() -> Plan:
    definition = EventDefinition(
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
        events={"A": definition},
    )


def _in_order(fields: dict[str, Any]) -> bytes:
    first = ["name", "sequence", "time", "user_id", "session_id", "outcome", "version", "source", "actor"]
    keys = [key for key in first if key in fields] + [key for key in fields if key not in first]
    return msgspec.json.encode({key: fields[key] for key in keys})


def _ended(lines: bytes) -> bytes:
    return lines if lines.endswith(b"\n") else lines + b"\n"


def passes(plan: Plan, lines: bytes) -> list[Any] | None:
    """Return the events of lines that the plan lets pass, in order, and that are written anew as they are."""
    events = LineChecker(plan).decode_all(lines, latest=LATEST)
    if events is None or _encode_lines(events) != (_ended(lines) if lines else b""):
        return None
    numbers = [event.sequence for event in events]
    return events if numbers == sorted({*numbers}) else None


def may_be_in_doubt(lines: bytes) -> bool:
    """Tell whether there are numbers with so many digits, or so small ones, that the quick look leaves them alone."""
    written = re.findall(rb"[:](-?[0-9.e-]+)[,}]", lines)
    return any(
        len(each.strip(b"-").replace(b".", b"")) > (15 if b"." in each else 18)
        or b"e" in each
        or b"0.0000" in each
        or each == b"-0.0"
        for each in written
    )


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in OWN for value in OWN[field]])
def test_of_what_every_event_can_have_just_that_passes_which_is_right(field: str, value: Any, loop: LineLoop) -> None:
    line = _in_order(RIGHT | {field: value}) + b"\n"
    is_right = passes(_plan(), line) is not None and not may_be_in_doubt(line)

    assert (look(_plan(), line, loop) is not None) is is_right
    assert look(_plan(), _in_order(RIGHT), loop) is not None


@pytest.mark.parametrize("text", FORMS)
@pytest.mark.parametrize("steps", [None, 1.0, 0.1, 0.01])
def test_numbers_pass_in_the_form_in_which_they_are_written(text: str, steps: float | None, loop: LineLoop) -> None:
    kind = NumberProperty(description="N.", minimum=-1e14, maximum=1e14, precision=steps)
    plan = _with_property("x", kind)
    line = _in_order(RIGHT)[:-1] + b',"x":' + text.encode() + b"}"
    is_right = passes(plan, line) is not None and not may_be_in_doubt(line)

    found = look(plan, line, loop)

    # A plan whose numbers leave room for a telephone number has those of ten digits looked at by the second wall.
    assert (found is not None) is (is_right and (not is_right or abs(float(text)) < 10**9))


def _with_property(key: str, kind: Any) -> Plan:
    plan = _plan()
    changed = msgspec.structs.replace(plan.events["A"], properties={key: kind})
    return msgspec.structs.replace(plan, events={"A": changed})


_own = st.sampled_from([(field, value) for field in OWN for value in OWN[field]])


def _texts(plan: Plan) -> st.SearchStrategy[bytes]:
    """Draw some lines, most of them as the gateway writes them, and change a few letters here and there."""
    right = wire_events(plan).map(lambda each: each | {"time": "2026-09-01T08:09:10.123456Z"})
    wrong = events_with_a_fault(plan) | st.tuples(right, _own).map(lambda two: two[0] | dict([two[1]]))
    rows = st.lists(st.one_of(right, right, right, wrong), min_size=1, max_size=4)
    texts = st.tuples(rows, st.integers(0, 9)).map(lambda two: b"\n".join(_numbered(*two)))
    ended = st.tuples(texts, st.sampled_from([b"\n", b"\n", b""])).map(b"".join)
    changed = st.tuples(ended, st.lists(_changes, min_size=1, max_size=2)).map(lambda two: _changed(*two))
    return ended | ended | changed


def _numbered(rows: Sequence[dict[str, Any]], first: int) -> list[bytes]:
    """Return rows as lines; if `first` is above zero, in the order of rising numbers."""
    return [_in_order(row | ({"sequence": first + place} if first else {})) for place, row in enumerate(rows)]


_changes = st.tuples(
    st.integers(0, 1000),
    st.integers(0, 40),
    st.sampled_from([b"", b" ", b"\n", b"\r", b'"', b",", b"}", b"0", b"-", b"\0", b"\\u0041", b"\xff", b"null"])
    | st.sampled_from([b'"x":1,', b',"time":"', *(form.encode() for form in FORMS)])
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
        b'"version":"1.2"\r',
    ],
)
def test_what_would_be_written_otherwise_does_not_pass(otherwise: bytes, loop: LineLoop) -> None:
    line = _in_order(RIGHT).replace(b'"version":"1.2"', otherwise)

    assert LineChecker(_plan()).decode_all(line, latest=LATEST)
    assert look(_plan(), line, loop) is None


@settings(deadline=None)
@given(st.data())
def test_just_those_lines_pass_that_pass_one_by_one_and_are_written_as_they_are(data: st.DataObject) -> None:
    plan = data.draw(plans())
    lines = data.draw(_texts(plan))

    found = both_look(plan, lines)

    events = passes(plan, lines)
    if events is None:
        assert found is None
    elif found is None:
        assert may_be_in_doubt(lines)
    else:
        names = [type(each).__name__ for each in events]
        assert found.names == {name: names.count(name) for name in names}
        numbers = [each.sequence for each in events]
        assert (found.rows, found.first, found.last) == (len(events), numbers[0], numbers[-1])


@settings(deadline=None)
@given(st.data())
def test_whatever_the_bytes_are_the_look_at_them_ends(data: st.DataObject) -> None:
    plan = data.draw(plans())
    pieces = [b'{"name":"', b'","sequence":', b"1", b',"time":"', b"2026-10-01T12:00:00Z", b'",', b'"user_id":"', b"\n"]
    pieces += [ID.encode(), b'"}', b"{}", b"x" * 70, b',"version":"', b"A"]
    lines = b"".join(data.draw(st.lists(st.sampled_from(pieces) | st.binary(max_size=9), min_size=1, max_size=30)))

    found = both_look(plan, lines)

    if found is not None:
        assert passes(plan, lines) is not None


ROWS: Final[list[dict[str, Any]]] = [
    {"name": "SearchSubmitted", "version": "5.3.1", "pattern_type": "literal", "duration_ms": 12},
    {"name": "SearchSubmitted", "session_id": random_id(2), "outcome": "error", "source": "web", "share": 0.25},
    {"name": "SearchSubmitted", "user_id": None, "actor": "operator", "exact": True},
    {"name": "goToDefinition", "user_id": random_id(1), "version": "5.3.2", "source": "api", "duration_ms": 1_000},
    {"name": "PageViewed"},
]


def body_of(rows: Sequence[dict[str, Any]]) -> bytes:
    times = (f"2026-09-01T12:00:00.{number:06}Z" for number in range(1, len(rows) + 1))
    numbered = [event(number, **{"time": next(times), **row}) for number, row in enumerate(rows, 1)]
    return b"\n".join(_in_order({key: value for key, value in row.items() if value is not None}) for row in numbered)


class Both:
    """One plan with the quick look and without it."""

    def __init__(self, plan: Plan) -> None:
        self.look = look_of(plan)
        self.quick, self.plain = BodyChecker(plan, line_loop=line_code().ready()), BodyChecker(plan, line_loop=NEVER)

    def lets_pass(self, body: bytes) -> bool:
        """Tell whether the quick look lets lines pass; the same comes of them without it."""
        expected = outcome(self.plain, body)
        assert outcome(self.quick, body) == expected
        found = self.look.faultless(body, latest=microseconds(LATEST), read_lines=compiled_line_loop())
        assert found is None or (isinstance(expected, Checked) and not expected.rejected)
        return found is not None


NEVER: Final = line_code(pays_after=1 << 62)


def outcome(checker: BodyChecker, body: bytes) -> Checked | str:
    try:
        return checker.check(body, "", NDJSON, most=1 << 24, latest=LATEST)
    except RefusalError as error:
        return str(error.to_problem())


@pytest.fixture(scope="module")
def both() -> Both:
    return Both(SMALL_PLAN)


def test_of_lines_of_which_any_bit_is_another_the_same_comes_with_the_look_and_without(both: Both) -> None:
    right = body_of(ROWS)
    assert both.lets_pass(right)
    # Numbers, times, versions and ids that have another digit.
    assert count_passing_flips(right, both.lets_pass) > 500


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n", b"\r\n", b"\0", b" ", b"\n ", b"}", b"\n{", b","])
@pytest.mark.parametrize("begin", [b"", b"\n", b" ", b"\xef\xbb\xbf"])
def test_of_any_begin_and_end_the_same_comes_with_the_look_and_without(both: Both, begin: bytes, end: bytes) -> None:
    for rows in ([], ROWS[:1], ROWS):
        body = begin + body_of(rows) + end
        assert both.lets_pass(body) == (begin == b"" and end in (b"", b"\n") and (rows != [] or end == b""))
    whole = body_of(ROWS) + end
    for length in range(len(whole)):
        both.lets_pass(begin + whole[:length])


def test_fields_in_another_order_or_twice_do_not_pass(both: Both) -> None:
    pairs = [*json.loads(body_of(ROWS[:1])).items()]
    for one in range(len(pairs)):
        for other in range(len(pairs)):
            swapped, doubled = pairs.copy(), pairs.copy()
            swapped[one], swapped[other] = swapped[other], swapped[one]
            doubled.insert(other, pairs[one])
            for changed, is_same in ((swapped, one == other), (doubled, False)):
                text = ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in changed)
                assert both.lets_pass(b"{" + text.encode() + b"}") == is_same


def test_numbers_that_do_not_rise_do_not_pass(both: Both) -> None:
    for numbers in ([2, 1], [1, 1], [1, 3, 2], [1, 0]):
        rows = [{"name": "PageViewed", "sequence": number} for number in numbers]
        body = b"\n".join(_in_order({**RIGHT, **row}) for row in rows)
        assert not both.lets_pass(body)
    assert both.lets_pass(b"\n".join(_in_order({**RIGHT, "name": "PageViewed", "sequence": each}) for each in (1, 7)))


def test_more_lines_than_are_allowed_do_not_pass(loop: LineLoop) -> None:
    body = body_of(ROWS)
    for most, passes_ in ((4, False), (5, True)):
        found = look_of(SMALL_PLAN, most).faultless(body, latest=microseconds(LATEST), read_lines=loop)
        assert (found is not None) is passes_


careless: Final = st.fixed_dictionaries(
    {"name": st.sampled_from([*CARELESS_PLAN.events])},
    optional={
        "outcome": st.sampled_from(["ok", "sk_live_abcdefghijklmnop"]),
        "source": st.sampled_from(["web", "db01.prod.acme.com"]),
        "version": st.sampled_from(["5.3.1", "192.168.1.7", "1.415.555.2671"]),
        "user_id": st.sampled_from([USER, b"jane@example.com".hex(), "0" * 24 + USER[:8]]),
        "host_kind": st.sampled_from(["other", "jane.doe", "cloud"]),
        "bytes_read": st.sampled_from([5, 10**9, 4915112345678, -(10**15), 10**15 + 1]),
        "rounded": st.sampled_from([0, 10**7, 10**15, 10**6]),
        "weight": st.sampled_from([0.5, 1e299, 4915112345678.0]),
        "size": st.sampled_from([0, 10, 11, 4915112345678]),
        "jane_doe": st.just(1),
    },
)


@pytest.fixture(scope="module")
def careless_both() -> Both:
    return Both(CARELESS_PLAN)


@settings(deadline=None)
@given(st.lists(careless, min_size=1, max_size=4))
def test_what_the_second_wall_stops_does_not_pass(careless_both: Both, rows: list[dict[str, Any]]) -> None:
    careless_both.lets_pass(body_of(rows))


@settings(deadline=None)
@given(st.lists(careless, min_size=1, max_size=1))
def test_with_one_event_that_the_second_wall_stops_no_other_passes(
    careless_both: Both, rows: list[dict[str, Any]]
) -> None:
    right: list[dict[str, Any]] = [{"name": "Closed", "host_kind": "cloud"}]
    assert careless_both.lets_pass(body_of(right))
    assert careless_both.lets_pass(body_of(right + rows)) == careless_both.lets_pass(body_of(rows))


class TestLineCode:
    def test_bodies_that_were_checked_without_it_count_towards_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        worked: list[int] = []
        code = line_code()
        monkeypatch.setattr(code, "worked", worked.append)
        checker = BodyChecker(SMALL_PLAN, line_loop=code)
        outcome(checker, body_of(ROWS))
        code.ready()
        outcome(checker, body_of(ROWS))
        outcome(checker, b" " + body_of(ROWS))
        assert worked == [5, 5]

    def test_without_it_lines_are_checked_as_before(self, both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> LineLoop:
            raise ImportError("no module named numba")

        monkeypatch.setattr(machine_code, "compiled_line_loop", fail)
        code = line_code().ready()
        assert code.loops() is None
        body = body_of(ROWS)
        assert outcome(BodyChecker(SMALL_PLAN, line_loop=code), body) == outcome(both.plain, body)
