"""Recorded lines as columns: what is in the columns is what the lines say, and one bad line costs no other."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import SMALL_PLAN
from heliograph.event import UNDECLARED, Verdict
from heliograph.instance.actors import PERSON, Marks
from heliograph.instance.batch import BatchBuilder
from heliograph.instance.line_columns import LineColumns
from heliograph.instance.opt_outs import OptOutsFile
from heliograph.instance.pseudonyms import Pseudonyms
from heliograph.instance.refusals import Objections
from heliograph.instance.state import State
from heliograph.instance.usage import Tally
from heliograph.settings import AgentSettings
from plan_strategies import plans, raw_events

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
LATEST = NOW + timedelta(minutes=15)
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
)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    state = State(tmp_path_factory.mktemp("agent"))
    yield state
    state.close()


def refuse_all(lines: Sequence[bytes]) -> list[bytes]:
    raise AssertionError(f"{len(lines)} lines were not read")


@settings(max_examples=60)
@given(data=st.data())
def test_columns_hold_what_the_lines_say(data: st.DataObject) -> None:
    plan = data.draw(plans())
    events = data.draw(st.lists(raw_events(plan), max_size=20))
    keys = {"user_id": "user", "session_id": "session"}  # the outbox holds the product's own
    events = [{keys.get(key, key): value for key, value in event.items()} for event in events]
    table = LineColumns(plan).read(b"\n".join(map(msgspec.json.encode, events)), refuse_all)
    found = [{key: value for key, value in row.items() if value is not None} for row in table.to_pylist()]
    for row in found:
        row["time"] = row["time"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert found == [{key: value for key, value in event.items() if value is not None} for event in events]
    empty = {"name", "sequence", "time", "user", "session", "outcome", "version", "source", "actor"}
    assert all(table.column(name).null_count < len(events) for name in set(table.column_names) - empty)


def line(number: int, user: str | None, *, hours: float = 0.0, **fields: Any) -> bytes:
    event = {"name": "SearchSubmitted", "sequence": number, "time": NOW - timedelta(hours=hours), "user": user}
    return msgspec.json.encode({key: value for key, value in (event | fields).items() if value is not None})


@given(
    kept=st.lists(st.sampled_from(["u1", "u2", None]), max_size=40),
    bad=st.lists(st.tuples(st.integers(0, 40), st.sampled_from(BAD)), max_size=5),
)
def test_a_line_at_fault_costs_no_other_wherever_it_stands(
    state: State, kept: list[str | None], bad: list[tuple[int, bytes]]
) -> None:
    lines = [line(number, user) for number, user in enumerate(kept, 1)]
    for place, each in bad:
        lines.insert(min(place, len(lines)), each)
    recorded = BatchBuilder(SMALL_PLAN, Pseudonyms(state)).read(b"\n".join(lines), latest=LATEST)
    assert recorded.table.column("sequence").to_pylist() == [*range(1, len(kept) + 1)]
    assert recorded.table.column("user").to_pylist() == kept
    assert Counter(recorded.unread) == Counter([part for _, each in bad for part in each.split(b"\n")])


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
    recorded = BatchBuilder(SMALL_PLAN, Pseudonyms(state)).read(b"\n".join(lines), latest=LATEST)
    left_out = refusals.left_out_rows(recorded.table, locally=locally, marked=marked)
    found: Counter[tuple[Any, ...]] = Counter()
    for *key, number in [
        *tally.count_rows(recorded.table, latest=LATEST, left_out=left_out),
        *tally.count(recorded.unread, latest=LATEST, leaves_out=leaves_out),
    ]:
        found[tuple(key)] += number
    state.close()
    assert found == expected
