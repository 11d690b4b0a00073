"""Recorded lines as columns: what is in the columns is what the lines say, and one bad line costs no other.

Lines are plain, as sources write them, or compact, as recorders do; what holds of one form holds of the other.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import cycle
from operator import itemgetter
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest
import zstandard
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness import SMALL_PLAN
from heliograph.event import UNDECLARED, Verdict
from heliograph.instance.actors import PERSON, Marks
from heliograph.instance.batch import BatchBuilder
from heliograph.instance.compact_columns import CompactColumns
from heliograph.instance.compact_lines import PLACES, plain_line
from heliograph.instance.machine_code import compiled_loops, instance_code
from heliograph.instance.opt_outs import OptOutsFile
from heliograph.instance.pseudonyms import Pseudonyms
from heliograph.instance.quick_lines import QuickLines
from heliograph.instance.refusals import Objections
from heliograph.instance.state import State
from heliograph.instance.usage import Tally
from heliograph.plan.buffers import in_order_of_appearance
from heliograph.settings import AgentSettings
from heliograph.wire import merge_counts
from plan_strategies import plans, raw_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from heliograph.instance.batch import Batch

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
LATEST = NOW + timedelta(minutes=15)
TIME = b'"2026-11-01T12:00:00Z"'
BAD = (
    b" ",
    b"{",
    b"7",
    b'{"name":"Unheard","sequence":1,"time":"2026-11-01T00:00:00Z","user":"u1"}',
    b'{"name":"SearchSubmitted","sequence":1,"time":"yesterday","user":"u1"}',
    b'{"name":"SearchSubmitted","sequence":1,"time":"2026-11-01T00:00:00Z","user":7}',
    b'{"name":"SearchSubmitted","sequence":1,"time":"2026-11-01T00:00:00Z","user":"u2","duration_ms":1e3}',
    b'{"name":"SearchSubmitted","sequence":99999999999999999999,"time":"2026-11-01T00:00:00Z"}',
    b'{"name":"SearchSubmitted","sequence":1,"time":"2026-11-01T00:00:00Z","user":"\xff"}',
    b'{"name":"SearchSubmitted",\n"sequence":1,"time":"2026-11-01T00:00:00Z"}',
    b'{"name":"SearchSubmitted","sequence":1,"time":"2026-11-01T00:00:00Z"}{}',
    b'["SearchSubmitted",1,"2026-11-01T00:00:00Z","\0\0",null,null,null,null,null,{}]',
)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    state = State(tmp_path_factory.mktemp("agent"))
    yield state
    state.close()


@pytest.fixture(scope="module", params=["compiled", "plain"])
def builder(request: pytest.FixtureRequest, state: State) -> BatchBuilder:
    return BatchBuilder(SMALL_PLAN, Pseudonyms(state), None if request.param == "plain" else instance_code().ready())


def refuse_all(lines: Sequence[bytes]) -> list[bytes]:
    raise AssertionError(f"{len(lines)} lines were not read")


def compact(line: bytes) -> bytes:
    """Return a plain line as a compact one; what is not even one plain line stays as it is."""
    if b"\n" in line:
        return line
    try:
        event = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return line
    envelope = [event.pop(name, None) for name in PLACES]
    return msgspec.json.encode([*envelope, event])


def as_written(form: str, lines: Iterable[bytes]) -> bytes:
    """Return lines in a form, joined; of mixed ones some are compact."""
    chosen = {"plain": [False], "compact": [True], "mixed": [True, False, True]}[form]
    return b"\n".join(compact(line) if is_so else line for line, is_so in zip(lines, cycle(chosen), strict=False))


forms = st.sampled_from(["plain", "compact", "mixed"])


@settings(max_examples=100)
@given(data=st.data(), form=forms)
def test_columns_hold_what_the_lines_say(data: st.DataObject, form: str) -> None:
    plan = data.draw(plans())
    events = data.draw(st.lists(raw_events(plan), max_size=20, unique_by=itemgetter("sequence")))
    events.sort(key=itemgetter("sequence"))
    keys = {"user_id": "user", "session_id": "session"}  # the outbox holds the product's own
    events = [{keys.get(key, key): value for key, value in event.items()} for event in events]
    table = CompactColumns(plan).read(as_written(form, map(msgspec.json.encode, events)), refuse_all)
    found = [{key: value for key, value in row.items() if value is not None} for row in table.to_pylist()]
    for row in found:
        row["time"] = row["time"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert found == [{key: value for key, value in event.items() if value is not None} for event in events]
    empty = {"name", "sequence", "time", "user", "session", "outcome", "version", "source", "actor"}
    assert all(table.column(name).null_count < len(events) for name in set(table.column_names) - empty)


SWAPS = (
    (b"Z", b"+01:00"),
    (b".", b",5."),
    (b"-01", b"-00"),
    (b"-01", b"-31"),
    (b"02-", b"13-"),
    (b":5", b":6"),
    (b":", b": "),
    (b"true", b"null"),
    (b"{", b'{"duration_ms":4,'),
    (b"1", b"1.0"),
    (b"1", b"10000000000000000000"),
    (b"1", b"0.1234567890123456789"),
    (b"1", b"123456789012345.625"),
    (b"1", b"-1"),
    (b"1", b"-0"),
    (b"1", b"-0.0"),
    (b"1", b"01"),
    (b"1", b"1e3"),
    (b"1", b"4.384972144308215e-09"),
    (b"1", b"1e999"),
    (b"1", b"1.5e-99"),
    (b"1", b"7.25"),
    (b'"', b'"a'),
    (b"u", "\u00fc".encode()),
    (b"]", b"] "),
    (b"]", b",1]"),
)


def changed(data: st.DataObject, lines: Sequence[bytes]) -> bytes:
    """Return compact lines, of which some are other than a recorder writes them."""
    found = [*map(compact, lines)]
    for place, (old, new) in data.draw(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(SWAPS)), max_size=4)):
        parts = found[place % len(found)].split(old)
        at = data.draw(st.integers(0, len(parts) - 1))
        found[place % len(found)] = old.join(parts[:at]) + (new if at else b"") + old.join(parts[at:])
    body = bytearray(b"\n".join(found))
    for place in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=2)):
        body[place] = data.draw(st.sampled_from(b'",[]{}\\n0 \n-x\xff\0.') | st.integers(0, 255))
    return bytes(body)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_what_is_compiled_makes_the_same_of_all_lines(data: st.DataObject, state: State) -> None:
    plan = data.draw(plans())
    events = data.draw(st.lists(raw_events(plan), min_size=1, max_size=12))
    keys = {"user_id": "user", "session_id": "session"}
    written = [{keys.get(key, key): value for key, value in event.items()} for event in events]
    for number, event in enumerate(written, 11):
        event["sequence"] = number
    body = changed(data, [*map(msgspec.json.encode, written)])
    found, batches, numbers = [], [], []
    for code in (None, instance_code().ready()):
        builder = BatchBuilder(plan, Pseudonyms(state, random_bytes=Random(7).randbytes), code)
        recorded = builder.read(body, latest=LATEST)
        recorded.table.validate(full=True)
        numbers.append(recorded.table.column("sequence").to_pylist())
        batches.append(batch := builder.build(recorded, numbers=len(events), latest=LATEST))
        # Lines that are looked at one by one are rounded and refused already: only batches have to be the same.
        found.append((rows(batch), *batch[1:]))
        if recorded.in_order:
            words = [column.chunk(0) for column in recorded.table.columns if pa.types.is_dictionary(column.type)]
            assert all(in_order_of_appearance(column) is column for column in words)
    # As a recorder writes them; others may be put in order, and get their random ids in that one.
    if all(each == sorted(each) for each in numbers):
        assert found[0] == found[1]
        assert batches[0] == batches[1]
    else:
        assert sorted(numbers[0]) == sorted(numbers[1])


def test_a_recorders_lines_are_all_read_by_the_compiled_loop() -> None:
    users = [f"u{number % 7}" for number in range(500)]
    lines = [
        compact(line(number, user, session=f"s{number % 90}", outcome="ok", pattern_type="literal", share=number / 7))
        for number, user in enumerate(users, 1)
    ]
    lines[7] = compact(line(8, "u0", session="s7", outcome="ok", pattern_type="literal", share=8 / 7e9))
    looked = QuickLines(SMALL_PLAN).read(b"\n".join(lines), compiled_loops().read_lines)
    assert looked.others == []
    assert looked.table.column("user").to_pylist() == users
    assert looked.table.column("share").to_pylist() == [
        8 / 7e9 if number == 8 else number / 7 for number in range(1, 501)
    ]


def test_a_line_that_has_a_property_twice_is_left_by_the_compiled_loop() -> None:
    lines = [compact(line(number, "u1", duration_ms=4)) for number in (1, 2, 3)]
    lines[1] = lines[1].replace(b"}", b',"duration_ms":5}')
    looked = QuickLines(SMALL_PLAN).read(b"\n".join(lines), compiled_loops().read_lines)
    assert looked.others == [lines[1]]
    assert looked.table.column("sequence").to_pylist() == [1, 3]


def test_an_empty_line_costs_the_compiled_loop_no_other() -> None:
    lines = [b"", compact(line(1, "u1")), b"", compact(line(2, "u2")), b""]
    looked = QuickLines(SMALL_PLAN).read(b"\n".join(lines), compiled_loops().read_lines)
    assert looked.others == [b"", b"", b""]
    assert looked.table.column("user").to_pylist() == ["u1", "u2"]


def line(number: int, user: str | None, *, hours: float = 0.0, **fields: Any) -> bytes:
    event = {"name": "SearchSubmitted", "sequence": number, "time": NOW - timedelta(hours=hours), "user": user}
    return msgspec.json.encode({key: value for key, value in (event | fields).items() if value is not None})


@given(
    kept=st.lists(st.sampled_from(["u1", "u2", 'u"3', "\u00fc\\", "a,null", "", None]), max_size=40),
    bad=st.lists(st.tuples(st.integers(0, 40), st.sampled_from(BAD)), max_size=5),
    form=forms,
)
def test_a_line_at_fault_costs_no_other_wherever_it_stands(
    builder: BatchBuilder, kept: list[str | None], bad: list[tuple[int, bytes]], form: str
) -> None:
    lines = [line(number, user) for number, user in enumerate(kept, 1)]
    for place, each in bad:
        lines.insert(min(place, len(lines)), each)
    body = as_written(form, lines)
    recorded = builder.read(body, latest=LATEST)
    assert recorded.table.column("sequence").to_pylist() == [*range(1, len(kept) + 1)]
    assert recorded.table.column("user").to_pylist() == kept
    # However they were written, whoever looks at them one by one sees plain lines.
    good = Counter(map(plain_line, as_written(form, [each for each in lines if each not in BAD]).split(b"\n")))
    assert Counter(recorded.unread) == Counter(map(plain_line, body.split(b"\n"))) - good


@settings(max_examples=200)
@given(
    users=st.lists(st.sampled_from(["u1", "u2", None]), min_size=1, max_size=4),
    changes=st.lists(
        st.tuples(st.integers(0, 10_000), st.sampled_from(b'",[]{}\\n0 \n-x\xff\0') | st.integers(0, 255))
    ),
)
def test_whatever_bytes_a_compact_line_has_it_is_read_as_the_plain_one_of_it(
    builder: BatchBuilder, users: list[str | None], changes: list[tuple[int, int]]
) -> None:
    body = bytearray(b"\n".join(compact(line(number, user, duration_ms=41)) for number, user in enumerate(users, 1)))
    for place, byte in changes:
        body[place % len(body)] = byte
    lines = bytes(body).split(b"\n")
    # Where all else is well, a time may lack its seconds, and a number be 0: no recorder writes either.
    assume(body.count(TIME) == len(lines) and b",0," not in body)
    as_is = builder.build(builder.read(b"\n".join(lines), latest=LATEST), numbers=len(lines), latest=LATEST)
    plain = builder.read(b"\n".join([b"{", *map(plain_line, lines)]), latest=LATEST)
    expected = builder.build(plain, numbers=len(lines) + 1, latest=LATEST)
    assert rows(as_is) == rows(expected)
    merge_counts(as_is.absent, {UNDECLARED: {Verdict.MALFORMED: 1}})
    assert as_is[2:] == expected[2:]


def rows(batch: Batch) -> list[str]:
    return sorted(map(repr, pa.ipc.open_stream(zstandard.decompress(batch.body)).read_all().to_pylist()))


def test_a_recorders_events_are_read_in_the_order_of_their_numbers_though_some_are_escaped(state: State) -> None:
    users = ["u1", 'a "quoted" one', "u1", "back\\slash", None, "a,null,b", ",null"]
    lines = [compact(line(number, user)) for number, user in enumerate(users, 1)]
    recorded = BatchBuilder(SMALL_PLAN, Pseudonyms(state)).read(b"\n".join(lines), latest=LATEST)
    assert recorded.table.column("sequence").to_pylist() == [*range(1, len(users) + 1)]
    assert recorded.table.column("user").to_pylist() == users


def test_what_was_lost_is_what_no_line_is_there_for(state: State) -> None:
    lines = [line(1, "u1"), BAD[1], line(3, "u2")]
    batch = BatchBuilder(SMALL_PLAN, Pseudonyms(state)).build(lines, numbers=5, latest=LATEST)
    assert (batch.events, batch.absent) == (2, {UNDECLARED: {Verdict.LOST: 2, Verdict.MALFORMED: 1}})


USERS = ("u1", "u2", "out", "back", "operator", "service-7", None)
lines_of_anybody = st.builds(
    line,
    st.integers(1, 9),
    st.sampled_from(USERS),
    hours=st.sampled_from([-2.0, -0.25, 0.0, 11.9, 12.1, 13.0, 40.0, 200.0]),
    name=st.sampled_from(["SearchSubmitted", "SearchSubmitted", "Unheard"]),
    actor=st.sampled_from([None, None, "operator", "else"]),
    duration_ms=st.sampled_from([None, 4, -1]),
)


@settings(max_examples=80, deadline=None)
@given(lines=st.lists(lines_of_anybody | st.sampled_from(BAD), max_size=30), data=st.data())
def test_use_is_counted_from_columns_as_from_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], data: st.DataObject
) -> None:
    outbox: Path = tmp_path_factory.mktemp("outbox")
    state = State(outbox / "agent")
    lines = [part for each in lines for part in each.split(b"\n")]
    objections = Objections(state, outbox)
    if data.draw(st.booleans()):
        file = OptOutsFile(outbox)
        file.append("out", out=True, now=NOW)
        file.append("back", out=True, now=NOW)
        file.append("back", out=False, now=NOW - timedelta(hours=12))
    refusals = objections.look()
    settings = AgentSettings(operators=("operator",), service_accounts=("service-*",))
    marks = Marks({"u2": PERSON}, settings) if data.draw(st.booleans()) else None
    marked = marks.marks if marks else None
    locally = data.draw(st.booleans())
    tally = Tally(SMALL_PLAN, days=3)
    expected: Counter[tuple[Any, ...]] = Counter()
    leaves_out = refusals.leaves_out(locally=locally, marked=marked)
    for *key, number in tally.count(lines, latest=LATEST, leaves_out=leaves_out):
        expected[tuple(key)] += number
    recorded = BatchBuilder(SMALL_PLAN, Pseudonyms(state)).read(as_written(data.draw(forms), lines), latest=LATEST)
    left_out = refusals.left_out_rows(recorded.table, locally=locally, marked=marked)
    found: Counter[tuple[Any, ...]] = Counter()
    for *key, number in [
        *tally.count_rows(recorded.table, latest=LATEST, left_out=left_out),
        *tally.count(recorded.unread, latest=LATEST, leaves_out=leaves_out),
    ]:
        found[tuple(key)] += number
    state.close()
    assert found == expected
