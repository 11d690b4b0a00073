"""Two plans at once: whatever the narrowed plan accepts, both accept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from harness import SMALL_PLAN, definition
from heliograph.plan.coarsen import coarsen_all
from heliograph.plan.lines import LineChecker
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    CountsFact,
    DurationProperty,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
    Plan,
    VersionFact,
)
from heliograph.plan.narrow import narrowed
from heliograph.wire import Skeleton

if TYPE_CHECKING:
    from heliograph.plan.model import Property

LATEST = datetime(2027, 1, 1, tzinfo=UTC)
WORDS = ("one", "two", "three")
NAMES = ("Opened", "Closed", "Moved")


def bounds(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda pair: (min(pair), max(pair)))


def some(words: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(words), min_size=1, unique=True).map(tuple)


PROPERTIES: dict[str, st.SearchStrategy[Property]] = {
    "whole": st.builds(
        lambda pair, step: IntegerProperty(
            description="D.", minimum=pair[0] * step, maximum=pair[1] * step, precision=step
        ),
        bounds(-8, 8),
        st.integers(1, 4),
    ),
    "share": st.builds(
        lambda pair, digits: NumberProperty(description="D.", minimum=pair[0], maximum=pair[1], precision=digits),
        bounds(-20, 20),
        st.sampled_from([None, 1.0, 0.1]),
    ),
    "taken_ms": st.builds(
        lambda most, step: DurationProperty(description="D.", maximum=most * step, precision=step),
        st.integers(1, 9),
        st.integers(1, 4),
    ),
    "found": st.lists(st.sampled_from([0, 1, 2, 5, 10]), min_size=1, unique=True).map(
        lambda each: CountProperty(description="D.", buckets=tuple(sorted(each)))
    ),
    "exact": st.just(BooleanProperty(description="D.")),
    "how": some(WORDS).map(lambda members: MemberProperty(description="D.", members=members)),
}


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    events = {}
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1)):
        kept = draw(st.lists(st.sampled_from(sorted(PROPERTIES)), unique=True))
        events[name] = definition(
            "pages",
            outcomes=dict.fromkeys(draw(some(("ok", "error", "timed_out"))), "So it ended."),
            properties={key: draw(PROPERTIES[key]) for key in kept},
        )
    return replace(SMALL_PLAN, sources=draw(some(("web", "api", "cli"))), events=events)


values = st.one_of(
    st.integers(-30, 50),
    st.integers(-300, 300).map(lambda tenths: tenths / 10),
    st.floats(-30, 30),
    st.booleans(),
    st.sampled_from([*WORDS, "four"]),
)
events = st.fixed_dictionaries(
    {
        "name": st.sampled_from(NAMES),
        "sequence": st.just(1),
        "time": st.just("2026-10-01T12:00:00Z"),
    },
    optional={
        "outcome": st.sampled_from(["ok", "error", "timed_out"]),
        "source": st.sampled_from(["web", "api", "cli"]),
        **dict.fromkeys(PROPERTIES, values),
    },
)


def accepts(plan: Plan, event: dict[str, Any]) -> bool:
    return not isinstance(LineChecker(plan).decode_one(msgspec.json.encode(event), latest=LATEST), Skeleton)


@settings(max_examples=200, deadline=None)
@given(plans(), plans(), st.lists(events, min_size=1, max_size=5))
def test_whatever_the_narrowed_plan_accepts_both_accept(plan: Plan, limit: Plan, found: list[dict[str, Any]]) -> None:
    both = narrowed(plan, limit)
    for recorded in found:
        kinds = both.events[recorded["name"]].properties if recorded["name"] in both.events else {}
        rounded = coarsen_all(recorded, kinds)
        assert accepts(both, rounded) or not accepts(both, recorded), "what is rounded stays within the bounds"
        if accepts(both, rounded):
            assert accepts(plan, rounded), rounded
            assert accepts(limit, rounded), rounded


@settings(max_examples=50, deadline=None)
@given(plans())
def test_a_plan_is_its_own_limit(plan: Plan) -> None:
    assert narrowed(plan, plan).events == plan.events


def test_ranges_and_precisions_are_the_narrower_and_the_coarser() -> None:
    def narrow(one: Property, other: Property) -> Property | None:
        both = (
            replace(SMALL_PLAN, events={"Opened": definition("pages", properties={"x": each})}) for each in (one, other)
        )
        return narrowed(*both).events["Opened"].properties.get("x")

    def whole(low: int, high: int, precision: int) -> IntegerProperty:
        return IntegerProperty(description="D.", minimum=low, maximum=high, precision=precision)

    assert narrow(whole(0, 100, 10), whole(-5, 60, 4)) == whole(0, 60, 20)
    assert narrow(whole(0, 10, 1), whole(20, 30, 1)) is None
    assert narrow(whole(0, 10, 1), BooleanProperty(description="D.")) is None
    number = NumberProperty(description="D.", maximum=1.0)
    assert narrow(number, replace(number, precision=0.1)) == replace(number, precision=0.1)
    assert narrow(replace(number, precision=0.01), replace(number, precision=0.1)) == replace(number, precision=0.1)
    duration = DurationProperty(description="D.", maximum=1_000, precision=10)
    # The bound is coarse as well: no multiple of 30 lies between 480 and 500.
    assert narrow(duration, replace(duration, maximum=500, precision=15)) == replace(
        duration, maximum=480, precision=30
    )


def test_an_event_under_its_earlier_name_is_the_same_event() -> None:
    renamed = replace(SMALL_PLAN, events={"Viewed": definition("pages", renamed_from=("PageViewed",))})
    assert list(narrowed(renamed, SMALL_PLAN).events) == ["Viewed"]


def test_facts_are_narrowed_too() -> None:
    facts = {
        "version": VersionFact(description="D."),
        "hosts": CountsFact(description="D.", members=("a", "b"), maximum=9),
        "seats": IntegerProperty(description="D.", maximum=9),
    }
    plan = replace(SMALL_PLAN, facts=facts)
    limit = replace(
        SMALL_PLAN,
        facts={"version": facts["version"], "hosts": CountsFact(description="D.", members=("b",), maximum=5)},
    )
    assert narrowed(plan, limit).facts == limit.facts
