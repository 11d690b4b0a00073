"""The information budget is an upper bound: no plan can tell more than it says, and coarser plans say less."""

from __future__ import annotations

import itertools
import math
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from heliograph.event import Actor
from heliograph.plan.budget import event_bits, interleaving_bits, plan_bits, sequence_bits, value_count
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    DurationProperty,
    EventDefinition,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
    Plan,
    Property,
)

ROUNDING = 1e-9


def event_of(properties: dict[str, Property], *, rate: int = 100, outcomes: int = 1) -> EventDefinition:
    return EventDefinition(
        description="It happened.",
        feature="f",
        action="do",
        question="Did it happen at all?",
        owner="team",
        added=date(2026, 10, 1),
        expires="never",
        outcomes={f"o{n}": f"It ended so, {n}." for n in range(outcomes)},
        properties=properties,
        rate=rate,
    )


def plan_of(events: dict[str, EventDefinition]) -> Plan:
    return Plan(
        heliograph_plan=2,
        name="p",
        version=1,
        description="A plan.",
        sources=("web", "api"),
        features={"f": "F."},
        events=events,
    )


kinds = st.one_of(
    st.builds(
        lambda low, width, precision: IntegerProperty(
            description="I.", minimum=low * precision, maximum=(low + width) * precision, precision=precision
        ),
        st.integers(-3, 3), st.integers(0, 4), st.integers(1, 10),
    ),
    st.builds(
        lambda low, width, precision: NumberProperty(
            description="N.", minimum=low * precision, maximum=(low + width) * precision, precision=precision
        ),
        st.integers(-3, 3), st.integers(0, 4), st.sampled_from([1.0, 0.1, 0.01]),
    ),
    st.builds(
        lambda steps, precision: DurationProperty(description="D.", maximum=steps * precision, precision=precision),
        st.integers(0, 4), st.sampled_from([1, 10, 1000]),
    ),
    st.builds(lambda n: CountProperty(description="C.", buckets=tuple(range(n))), st.integers(1, 5)),
    st.just(BooleanProperty(description="B.")),
    st.builds(lambda n: MemberProperty(description="M.", members=tuple(f"m{i}" for i in range(n))), st.integers(1, 5)),
)  # fmt: skip
property_sets = st.dictionaries(st.sampled_from(["a", "b", "c"]), kinds, max_size=3)
events = st.builds(event_of, property_sets, rate=st.integers(0, 3), outcomes=st.integers(1, 3))


def values_that_can_leave(kind: Property) -> set[str]:
    """Return, as text, what is left of every value in the range of a property when it is rounded."""
    match kind:
        case IntegerProperty() | DurationProperty():
            low = 0 if isinstance(kind, DurationProperty) else kind.minimum
            step = max(1, kind.precision // 4)
            near = {*range(low, kind.maximum + 1, step), kind.maximum}
            return {str(round(value / kind.precision) * kind.precision) for value in near}
        case NumberProperty():
            assert kind.precision is not None
            per_one = round(1 / kind.precision)
            fine = [kind.minimum + (kind.maximum - kind.minimum) * n / 64 for n in range(65)] + [0.0, -0.0]
            return {repr(round(value * per_one) / per_one) for value in fine if kind.minimum <= value <= kind.maximum}
        case CountProperty():
            return set(map(str, kind.buckets))
        case BooleanProperty():
            return {"true", "false"}
        case MemberProperty():
            return set(kind.members)


def messages_of(plan: Plan, event: EventDefinition) -> list[tuple[str | None, ...]]:
    """Return all events of a name that can be told apart, but for their times and ids."""
    parts: list[set[str]] = [set(event.outcomes), set(plan.sources), set(Actor)]
    parts += [values_that_can_leave(kind) for kind in event.properties.values()]
    return list(itertools.product(*([None, *sorted(part)] for part in parts)))


@settings(max_examples=60)
@given(events)
def test_no_event_can_carry_more_than_its_bits(event: EventDefinition) -> None:
    plan = plan_of({"E": event})
    messages = messages_of(plan, event)
    assert len(messages) <= 2 ** event_bits(plan, event).total * (1 + ROUNDING)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2)), min_size=1, max_size=2),
)
def test_no_day_can_carry_more_than_its_bits(shapes: list[tuple[int, int]]) -> None:
    """All days of small plans, spelled out: sequences with at most `rate` events of each name."""
    days = 0
    names = [(name, message) for name, (count, _) in enumerate(shapes) for message in range(count)]
    for length in range(sum(rate for _, rate in shapes) + 1):
        for day in itertools.product(names, repeat=length):
            days += all(sum(name == n for name, _ in day) <= rate for n, (_, rate) in enumerate(shapes))
    bound = sum(sequence_bits(math.log2(count), rate) for count, rate in shapes)
    bound += interleaving_bits([rate for _, rate in shapes])
    assert math.log2(days) <= bound + ROUNDING


def wider(kind: Property) -> list[Property]:
    """Return properties that can tell whatever `kind` can, and more."""
    change = msgspec.structs.replace
    match kind:
        case IntegerProperty():
            return [
                change(kind, maximum=kind.maximum + kind.precision),
                change(kind, minimum=kind.minimum - kind.precision),
                change(kind, precision=1),
            ]
        case NumberProperty():
            assert kind.precision is not None
            return [
                change(kind, maximum=kind.maximum + 1),
                change(kind, minimum=kind.minimum - 1),
                change(kind, precision=kind.precision / 10),
                change(kind, precision=None),
            ]
        case DurationProperty():
            return [change(kind, maximum=kind.maximum + kind.precision), change(kind, precision=1)]
        case CountProperty():
            return [change(kind, buckets=(*kind.buckets, kind.buckets[-1] + 1))]
        case MemberProperty():
            return [change(kind, members=(*kind.members, "more"))]
        case BooleanProperty():
            return []


@settings(max_examples=100)
@given(property_sets, kinds, st.integers(0, 1_000), st.data())
def test_whatever_can_tell_more_has_no_fewer_bits(
    properties: dict[str, Property], kind: Property, rate: int, data: st.DataObject
) -> None:
    less = plan_bits(plan_of({"E": event_of({**properties, "z": kind}, rate=rate)}))
    without = plan_bits(plan_of({"E": event_of(properties, rate=rate)}))
    more: list[Plan] = [plan_of({"E": event_of({**properties, "z": wide}, rate=rate)}) for wide in wider(kind)]
    more.append(plan_of({"E": event_of({**properties, "z": kind}, rate=rate + 1)}))
    more.append(plan_of({"E": event_of({**properties, "z": kind}, rate=rate, outcomes=2)}))
    more.append(plan_of({"E": event_of({**properties, "z": kind}, rate=rate), "F": event_of({}, rate=rate)}))
    chosen = plan_bits(data.draw(st.sampled_from(more)))
    assert without.events["E"].total <= less.events["E"].total <= chosen.events["E"].total + ROUNDING
    assert without.user_day <= less.user_day + ROUNDING
    assert less.user_day <= chosen.user_day + ROUNDING


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 200))
def test_a_number_with_all_its_digits_counts_each_float_in_its_range(start: float, steps: int) -> None:
    found, value = {repr(start)}, start
    for _ in range(steps):
        value = math.nextafter(value, math.inf)
        found.add(repr(value))
    assume(math.isfinite(value))
    if start <= 0.0 <= value:
        found |= {"0.0", "-0.0"}
    assert value_count(NumberProperty(description="N.", minimum=start, maximum=value)) == len(found)


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        (IntegerProperty(description="I.", maximum=9), 10),
        (IntegerProperty(description="I.", minimum=-20, maximum=20, precision=10), 5),
        (DurationProperty(description="D.", maximum=60_000, precision=100), 601),
        (NumberProperty(description="N.", maximum=100.0, precision=1.0), 102),
        (NumberProperty(description="N.", minimum=1.0, maximum=2.0, precision=0.1), 11),
        (CountProperty(description="C.", buckets=(0, 1, 10)), 3),
        (BooleanProperty(description="B."), 2),
    ],
)
def test_values_are_counted_after_rounding(kind: Property, count: int) -> None:
    assert value_count(kind) == count


def test_a_day_of_one_event_is_about_rate_times_its_bits() -> None:
    assert sequence_bits(1.0, 3) == pytest.approx(math.log2(16))  # 15 sequences of up to 3 of 2 messages
    assert sequence_bits(30.0, 200) == pytest.approx(6_000, abs=1e-6)
    assert sequence_bits(0.0, 7) == 3
    assert sequence_bits(8.0, 0) == 0
    assert interleaving_bits([2, 1]) == pytest.approx(math.log2(3))
    assert interleaving_bits([5]) == 0


def test_bits_are_told_by_part() -> None:
    kind: Any = MemberProperty(description="M.", members=("a", "b", "c"))
    bits = event_bits(plan_of({}), event_of({"m": kind}))
    assert bits.properties == {"m": 2.0}
    assert bits.envelope == pytest.approx(math.log2(2 * 3 * 3))
    assert bits.total == pytest.approx(bits.envelope + 2.0)
