"""The JSON Schema of a line and the gateway's own check accept the same lines."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness import definition
from heliograph.plan.line_schema import DIALECT, UNSAID, line_schema
from heliograph.plan.lines import LineChecker
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    Deprecation,
    DurationProperty,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
    Plan,
)
from heliograph.wire import Skeleton
from plan_strategies import TIME, events_with_a_fault, plans, raw_events, raw_values, wire_events, wrong_values

if TYPE_CHECKING:
    from collections.abc import Callable

LATEST = datetime(2027, 1, 1, tzinfo=UTC)
EVERY_TYPE = Plan(
    heliograph_plan=2,
    name="every-type",
    version=1,
    description="One event with a property of every type.",
    sources=("web", "api"),
    features={"search": "Finding."},
    events={
        "SearchSubmitted": definition(
            "search",
            outcomes={"ok": "Found.", "failed": "Stopped."},
            properties={
                "repositories": IntegerProperty(description="Searched.", minimum=10, maximum=1_000, precision=10),
                "filters": IntegerProperty(description="In the query.", maximum=100),
                "share": NumberProperty(description="Seen.", maximum=1.0, precision=0.01),
                "ratio": NumberProperty(description="Of two.", minimum=-1.5, maximum=1.5),
                "duration_ms": DurationProperty(description="How long.", maximum=600_000, precision=50),
                "results": CountProperty(description="Found.", buckets=(0, 1, 10, 100)),
                "exact": BooleanProperty(description="Whether."),
                "pattern_type": MemberProperty(description="How.", members=("literal", "regexp")),
            },
        ),
        "PageViewed": definition("search"),
    },
)


def schema_accepts(line: bytes, plan: Plan = EVERY_TYPE) -> bool:
    return jsonschema_rs.Draft202012Validator(line_schema(plan)).is_valid(json.loads(line))


def gateway_accepts(line: bytes, plan: Plan = EVERY_TYPE) -> bool:
    return not isinstance(LineChecker(plan).decode_one(line, latest=LATEST), Skeleton)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.integers(-2, 2)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer())
    | st.text(max_size=40)
    | st.sampled_from(["ok", "web", "operator", "9f86d081884c7d659a2feaa0c55ad015", "1.2", "2026-10-01T12:00:00Z"]),
    lambda values: st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=3), values, max_size=2),
    max_leaves=3,
)


@st.composite
def mutated_events(draw: st.DrawFn, plan: Plan) -> dict[str, Any]:
    """Draw an event with some keys taken away, put in, or given any value of JSON."""
    event = draw(wire_events(plan) | raw_events(plan))
    known = [*event, *plan.property_kinds(), "user_id", "session_id", "outcome", "version", "source", "actor"]
    for key in draw(st.lists(st.sampled_from(known), max_size=3)):
        event.pop(key, None)
    changes = st.dictionaries(st.sampled_from(known) | st.text(max_size=4), json_values, max_size=2)
    event |= draw(changes)
    kinds = plan.property_kinds()
    for key in draw(st.lists(st.sampled_from(sorted(kinds)), max_size=2)) if kinds else ():
        kind = next(each.properties[key] for each in plan.events.values() if key in each.properties)
        event[key] = draw(raw_values(kind) | wrong_values(kind))
    return event


@given(st.data())
def test_schema_and_gateway_accept_the_same_lines(data: st.DataObject) -> None:
    plan = data.draw(plans())
    event = data.draw(mutated_events(plan) | events_with_a_fault(plan))
    assume(event.get("time", TIME) == TIME)  # times have tests of their own
    line = msgspec.json.encode(event)
    assert schema_accepts(line, plan) is gateway_accepts(line, plan)


@settings(max_examples=50)
@given(st.data())
def test_every_event_that_the_instance_sends_is_valid(data: st.DataObject) -> None:
    plan = data.draw(plans())
    assert schema_accepts(msgspec.json.encode(data.draw(wire_events(plan))), plan)


@pytest.mark.parametrize(
    ("time", "passes"),
    [
        ("2026-10-01T12:00:00Z", True),
        ("2026-10-01t12:00:00.123456789z", True),
        ("2026-10-01 23:59:59+02:00", True),
        ("2026-10-01T12:00:00-0330", True),
        ("1970-01-01T00:00:00Z", True),
        ("1969-12-31T23:59:59Z", False),
        ("2026-10-01T12:00:00", False),
        ("2026-10-01T12:00Z", False),
        ("2026-10-01T24:00:00Z", False),
        ("2026-10-01T12:00:60Z", False),
        ("2026-10-01T12:00:00.Z", False),
        ("2026-10-01T12:00:00,5Z", False),
        ("2026-10-01T12:00:00+02", False),
        ("2026-13-01T12:00:00Z", False),
        ("2026-10-32T12:00:00Z", False),
        ("2026-10-01T12:00:00Z\n", False),
        ("20261001T120000Z", False),
        (1_790_000_000, False),
        (None, False),
    ],
)
def test_schema_and_gateway_read_the_same_times(time: Any, passes: bool) -> None:
    line = msgspec.json.encode({"name": "PageViewed", "sequence": 1, "time": time})
    assert (schema_accepts(line), gateway_accepts(line)) == (passes, passes)


HEAD = b'{"name":"SearchSubmitted","sequence":1,"time":"2026-10-01T12:00:00Z"'
DIFFERENCES = {
    "A time is not after now": b'{"name":"PageViewed","sequence":1,"time":"2998-10-01T12:00:00Z"}',
    "A time is a day of the calendar": b'{"name":"PageViewed","sequence":1,"time":"2027-02-30T12:00:00Z"}',
    "A whole number is written": HEAD + b',"filters":41.0}',
    "No value looks like personal": HEAD + b',"version":"192.168.0.1"}',
    "A key that stands twice": HEAD + b',"filters":"PRIVATE","filters":1}',
}
"""By the beginning of the sentence that says it: a line that is valid, and that the gateway rejects."""


@pytest.mark.parametrize("named", DIFFERENCES)
def test_what_the_schema_cannot_say_is_named(named: str) -> None:
    assert any(sentence.startswith(named) for sentence in UNSAID)
    line = DIFFERENCES[named]
    assert (schema_accepts(line), gateway_accepts(line)) == (True, False)


def test_what_differs_by_less_than_a_double_is_one_value_to_the_gateway() -> None:
    assert gateway_accepts(HEAD + b',"share":0.070000000000000000000001}')
    assert not gateway_accepts(HEAD + b',"share":0.0700000000000001}')


def test_the_schema_is_valid_itself_and_what_it_was_before(golden: Callable[[str, str], None]) -> None:
    schema = line_schema(EVERY_TYPE)
    assert jsonschema_rs.meta.is_valid(schema)
    assert schema["$schema"] == DIALECT
    golden("tests/plan/line-schema.json", msgspec.json.format(msgspec.json.encode(schema)).decode() + "\n")


def test_a_deprecated_event_is_said_to_be() -> None:
    events = {
        "PageViewed": definition("search", deprecated=Deprecation(since=date(2026, 11, 1), reason="Nobody asks."))
    }
    schemas = line_schema(msgspec.structs.replace(EVERY_TYPE, events=EVERY_TYPE.events | events))["$defs"]
    assert [name for name, schema in schemas.items() if schema.get("deprecated")] == ["PageViewed"]
