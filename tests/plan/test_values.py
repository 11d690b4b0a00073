"""A product's tests are told what would not leave an instance, and why; the pipeline judges likewise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import definition
from heliograph.plan.facts import fact_problems, passing_facts
from heliograph.plan.lines import LineChecker
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    DurationProperty,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
    Plan,
)
from heliograph.plan.values import event_problems, value_passes
from heliograph.testing import MemoryRecorder
from heliograph.wire import Skeleton
from plan_strategies import any_property, coarse_event, events_with_a_fault, plans, raw_events, raw_values, wrong_values

LATEST = datetime(2027, 1, 1, tzinfo=UTC)
PLAN = Plan(
    heliograph_plan=2,
    name="tried",
    version=4,
    description="A property of every type.",
    sources=("web", "backend"),
    features={"search": "Finding."},
    facts={"seats": IntegerProperty(description="Seats.", maximum=1_000, precision=50)},
    events={
        "SearchSubmitted": definition(
            "search",
            outcomes={"ok": "Found.", "timed_out": "Stopped."},
            properties={
                "offset": IntegerProperty(description="From where.", maximum=100, precision=10),
                "share": NumberProperty(description="Seen.", maximum=1.0, precision=0.01),
                "duration_ms": DurationProperty(description="How long.", maximum=60_000, precision=100),
                "results": CountProperty(description="Found.", buckets=(1, 10, 100)),
                "exact": BooleanProperty(description="Whether."),
                "pattern_type": MemberProperty(description="How.", members=("literal", "regexp")),
            },
        ),
    },
)
PASSED: dict[str, Any] = {
    "offset": 17,
    "share": 0.333,
    "duration_ms": timedelta(seconds=1.23456),
    "results": 12_345,
    "exact": True,
    "pattern_type": "regexp",
}


def test_what_leaves_an_instance_is_kept_as_it_was_passed() -> None:
    recorder = MemoryRecorder(plan=PLAN)
    assert recorder.record("SearchSubmitted", outcome="timed_out", source="web", **PASSED)
    assert recorder.record("SearchSubmitted", outcome=None, duration_ms=None)
    assert recorder.events[0].properties == {**PASSED, "duration_ms": 1_235}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"offset": 101}, "offset is out of range: pass whole number, 0 to 100, to the nearest 10, or widen"),
        ({"offset": 1.5}, "offset is of type float: pass whole number"),
        ({"offset": True}, "offset is of type bool"),
        ({"share": -0.001}, "share is out of range: pass number, 0"),
        ({"share": "0.5"}, "share is of type str: pass number"),
        ({"duration_ms": timedelta(minutes=2)}, "duration_ms is out of range: pass a datetime.timedelta or millis"),
        ({"duration_ms": 41.5}, "duration_ms is of type float: pass a datetime.timedelta"),
        ({"results": 0}, "results is out of range: pass a whole number, 1 or more"),
        ({"exact": 1}, "exact is of type int: pass true or false"),
        ({"pattern_type": "literl"}, "pattern_type is not one of literal, regexp: did you mean literal?"),
        ({"pattern_type": 3}, "pattern_type is of type int: pass one of literal, regexp"),
        ({"query": "PRIVATE"}, "it does not declare query: add to the plan"),
        ({"offset": [1]}, "offset is of type list, which no property can have"),
        ({"outcome": "failed"}, "outcome is not one of ok, timed_out: pass one of them, or None"),
        ({"source": "Web"}, "source is not one of web, backend: did you mean web?"),
    ],
)
def test_what_would_not_leave_is_told_with_what_to_do(change: dict[str, Any], said: str) -> None:
    recorder = MemoryRecorder(plan=PLAN)
    with pytest.raises(AssertionError) as caught:
        recorder.record("SearchSubmitted", **{**PASSED, **change})
    assert said in str(caught.value)
    assert not any(str(value) in str(caught.value) for value in change.values() if value in ("PRIVATE", "literl"))
    assert recorder.events == []


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(AssertionError, match=r"share is out of range.*; outcome is not one of"):
        MemoryRecorder(plan=PLAN).record("SearchSubmitted", outcome="bad", share=3)


def test_an_event_that_the_plan_does_not_declare_is_told() -> None:
    with pytest.raises(
        AssertionError, match=r"tried@4: it declares no event of this name: did you mean SearchSubmitted"
    ):
        MemoryRecorder(plan=PLAN).record("SearchSubmited")


def test_a_fact_is_rounded_as_the_agent_does() -> None:
    recorder = MemoryRecorder(plan=PLAN)
    assert recorder.report_facts(seats=137)
    with pytest.raises(AssertionError, match="seats is not a whole number from 0 to 1000, to the nearest 50"):
        recorder.report_facts(seats=1_001)


@settings(max_examples=50)
@given(st.data())
def test_a_value_passes_alone_if_it_passes_in_a_line(data: st.DataObject) -> None:
    kind = data.draw(any_property)
    value = data.draw(raw_values(kind) | wrong_values(kind) | st.sampled_from([True, 1, 1.5, "ok"]))
    plan = msgspec.structs.replace(PLAN, events={"A": definition("search", properties={"x_ms": kind})})
    line = msgspec.json.encode({"name": "A", "sequence": 1, "time": "2026-10-01T12:00:00Z", "x_ms": value})
    passes = not isinstance(LineChecker(plan).decode_one(line, latest=LATEST), Skeleton)
    assert value_passes(value, kind) is passes


@settings(max_examples=50)
@given(st.data())
def test_a_product_s_tests_find_what_the_pipeline_would_drop(data: st.DataObject) -> None:
    plan = data.draw(plans())
    event = data.draw(raw_events(plan) | events_with_a_fault(plan))
    for key in ("time", "user_id", "session_id", "version", "actor"):  # which a product does not pass, or not so
        event.pop(key, None)
    wire = coarse_event(event, plan) if event["name"] in plan.events else event
    line = msgspec.json.encode({**wire, "time": "2026-10-01T12:00:00Z"})
    properties = {key: event[key] for key in event.keys() - {"name", "sequence", "outcome", "source"}}
    problems = event_problems(plan, event["name"], properties, outcome=event.get("outcome"), source=event.get("source"))
    assert bool(problems) is isinstance(LineChecker(plan).decode_one(line, latest=LATEST), Skeleton)


def test_the_agent_rounds_a_fact_and_the_gateway_takes_no_finer_one() -> None:
    assert passing_facts({"seats": 137, "unknown": 1}, PLAN) == {"seats": 150}
    assert passing_facts({"seats": 1_001}, PLAN) == {}
    assert fact_problems({"seats": 150}, PLAN) == []
    assert fact_problems({"seats": 137}, PLAN) == [
        "facts.seats is not a whole number from 0 to 1000, to the nearest 50"
    ]
