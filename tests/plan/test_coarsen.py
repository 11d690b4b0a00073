"""What is rounded on the instance, and that both ends agree on what is coarse enough, in both formats."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from harness import as_arrow
from heliograph.event import Verdict
from heliograph.gateway.bodies import read_arrow
from heliograph.plan.coarse_columns import ColumnCoarsener, are_coarse, coarse_values
from heliograph.plan.coarsen import coarsen, is_number, least, nearest_multiple, nearest_step
from heliograph.plan.columns import ColumnChecker
from heliograph.plan.lines import LineChecker
from heliograph.plan.model import (
    CountProperty,
    DurationProperty,
    IntegerProperty,
    NumberProperty,
    Plan,
    Property,
)
from heliograph.plan.rules import RULES
from heliograph.plan.values import is_in_range
from heliograph.wire import Skeleton
from plan_strategies import (
    any_property,
    coarse_event,
    counts,
    durations,
    events_with_a_fault,
    integers,
    numbers,
    plans,
    raw_events,
    raw_values,
    wire_events,
    wrong_values,
)

if TYPE_CHECKING:
    import pyarrow as pa

LATEST = datetime(2027, 1, 1, tzinfo=UTC)
MICROSECONDS = int(LATEST.timestamp() * 1_000_000)
rounded = integers() | numbers() | durations() | counts


def in_columns(rows: list[dict[str, Any]], plan: Plan) -> pa.RecordBatch:
    return read_arrow(as_arrow(rows, plan))


def by_columns(batch: pa.RecordBatch, checker: ColumnChecker) -> list[tuple[Verdict, str | None]]:
    findings = checker.check(batch, latest=MICROSECONDS)
    return [
        (checker.verdict(code), batch.schema.names[field] if field >= 0 else None)
        for code, field in zip(findings.codes, findings.fields, strict=True)
    ]


def by_lines(row: dict[str, Any], checker: LineChecker) -> tuple[Verdict, str | None]:
    line = msgspec.json.encode(row)
    found = checker.decode_one(line, latest=LATEST)
    passes = checker.decode_all(line, latest=LATEST) is not None
    assert passes is not isinstance(found, Skeleton)
    return (found.verdict, found.field) if isinstance(found, Skeleton) else (Verdict.ACCEPTED, None)


@settings(max_examples=50)
@given(plans())
def test_a_drawn_plan_keeps_all_rules(plan: Plan) -> None:
    assert [finding for rule in RULES for finding in rule(plan)] == []


@given(st.data())
def test_a_rounded_value_is_near_and_stays_as_it_is(data: st.DataObject) -> None:
    kind = data.draw(any_property)
    raw = data.draw(raw_values(kind))
    coarse = coarsen(raw, kind)
    assert coarsen(coarse, kind) == coarse
    match kind:
        case IntegerProperty() | DurationProperty():
            assert coarse % kind.precision == 0
            assert 2 * abs(coarse - raw) <= kind.precision
            assert least(kind) <= coarse <= kind.maximum
        case NumberProperty() if kind.precision is not None:
            steps = round(1 / kind.precision)
            assert kind.minimum <= coarse <= kind.maximum
            nearest = round(Fraction(coarse) * steps)
            assert coarse == nearest / steps
            # The product is itself rounded to floating point: a raw value a hair from a half may go either way.
            assert abs(Fraction(raw) * steps - nearest) <= Fraction(1, 2) + Fraction(abs(raw)) * steps / 2**53
        case CountProperty():
            assert coarse in kind.buckets
            assert coarse <= raw
            assert not any(coarse < bound <= raw for bound in kind.buckets)
        case _:
            assert coarse == raw


@given(st.data())
def test_rounding_keeps_the_order(data: st.DataObject) -> None:
    kind = data.draw(rounded)
    raw = sorted(data.draw(st.lists(raw_values(kind), min_size=2, max_size=8)))
    assert all(low <= high for low, high in pairwise(coarsen(value, kind) for value in raw))


@given(st.data())
def test_a_column_is_rounded_as_its_values_are_one_by_one(data: st.DataObject) -> None:
    kind = data.draw(rounded)
    values = data.draw(st.lists(raw_values(kind) | wrong_values(kind), max_size=8))
    column = np.array(values, np.float64 if isinstance(kind, NumberProperty) else np.int64)
    together = coarse_values(column, kind).tolist()
    alone = [coarsen(value, kind) for value in column.tolist()]
    assert together == alone
    coarse = [value == rounded for value, rounded in zip(column.tolist(), alone, strict=True)]
    inside = [is_in_range(value, kind) for value in column.tolist()]
    checked = are_coarse(column, kind).tolist()
    assert [each for each, within in zip(checked, inside, strict=True) if within] == [
        each for each, within in zip(coarse, inside, strict=True) if within
    ]
    assert [str(value) for value in together] == [str(value) for value in alone]  # negative zero is another text


PASSING = {Verdict.ACCEPTED, Verdict.SENSITIVE_VALUE}
"""What is right by all rules: only then is it looked at for what looks sensitive, such as ids of zeros."""


@pytest.mark.parametrize(
    ("kind", "raw", "coarse"),
    [
        (IntegerProperty(description="I.", maximum=100, precision=10), 15, 20),
        (IntegerProperty(description="I.", maximum=100, precision=10), 25, 20),
        (IntegerProperty(description="I.", minimum=-100, maximum=100, precision=10), -15, -20),
        (IntegerProperty(description="I.", minimum=-100, maximum=100, precision=10), -25, -20),
        (IntegerProperty(description="I.", maximum=100, precision=10), 99, 100),
        (DurationProperty(description="D.", maximum=600_000, precision=100), 49, 0),
        (DurationProperty(description="D.", maximum=600_000, precision=100), 51, 100),
        (NumberProperty(description="N.", maximum=1.0, precision=0.1), 0.25, 0.2),
        (NumberProperty(description="N.", maximum=1.0, precision=0.1), 0.35, 0.4),
        (NumberProperty(description="N.", maximum=1.0, precision=0.01), 0.07, 0.07),
        (NumberProperty(description="N.", minimum=-1.0, maximum=1.0, precision=0.1), -0.01, 0.0),
        (CountProperty(description="C.", buckets=(0, 1, 10, 100)), 0, 0),
        (CountProperty(description="C.", buckets=(0, 1, 10, 100)), 9, 1),
        (CountProperty(description="C.", buckets=(0, 1, 10, 100)), 10, 10),
        (CountProperty(description="C.", buckets=(0, 1, 10, 100)), 2**62, 100),
    ],
)
def test_what_leaves_in_the_place_of_a_value(kind: Property, raw: float, coarse: float) -> None:
    assert str(coarsen(raw, kind)) == str(coarse)


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (IntegerProperty(description="I.", maximum=100, precision=10), 101),
        (IntegerProperty(description="I.", maximum=100, precision=10), -1),
        (IntegerProperty(description="I.", maximum=100, precision=10), True),
        (IntegerProperty(description="I.", maximum=100, precision=10), 14.0),
        (IntegerProperty(description="I.", maximum=100, precision=10), "15"),
        (NumberProperty(description="N.", maximum=1.0, precision=0.1), 1.01),
        (NumberProperty(description="N.", maximum=1.0, precision=0.1), float("nan")),
        (NumberProperty(description="N.", maximum=1.0, precision=0.1), float("inf")),
        (NumberProperty(description="N.", maximum=1.0, precision=0.1), 10**400),
        (CountProperty(description="C.", buckets=(1, 10)), 0),
        (CountProperty(description="C.", buckets=(1, 10)), [3]),
    ],
)
def test_what_is_out_of_range_or_of_another_type_is_never_moved_into_range(kind: Property, raw: Any) -> None:
    assert coarsen(raw, kind) is raw


@given(st.integers(-(2**53), 2**53), st.integers(1, 2**53))
def test_the_nearest_multiple_is_exact_where_floating_point_is_not(value: int, precision: int) -> None:
    assert nearest_multiple(value, precision) == round(Fraction(value, precision)) * precision


@given(st.integers(-(2**50), 2**50), st.sampled_from([10**power for power in range(7)]))
@example(2**50, 10**6)
def test_each_step_is_its_own_nearest_up_to_the_largest_that_a_plan_may_have(number: int, steps: int) -> None:
    assert nearest_step(number / steps, steps) == number / steps


@given(st.data())
def test_both_formats_give_the_same_verdict_and_name_the_same_field(data: st.DataObject) -> None:
    plan = data.draw(plans())
    columns, lines = ColumnChecker(plan), LineChecker(plan)
    rows = data.draw(st.lists(wire_events(plan) | events_with_a_fault(plan), min_size=1, max_size=6))
    assert by_columns(in_columns(rows, plan), columns) == [by_lines(row, lines) for row in rows]


@settings(max_examples=50)
@given(st.data())
def test_whatever_the_instance_has_rounded_passes_at_the_gateway_in_both_formats(data: st.DataObject) -> None:
    plan = data.draw(plans())
    columns, lines = ColumnChecker(plan), LineChecker(plan)
    rows = data.draw(st.lists(raw_events(plan), min_size=1, max_size=6))
    coarse = [coarse_event(row, plan) for row in rows]
    batch = ColumnCoarsener(plan).coarsen(in_columns(rows, plan))
    batch.validate(full=True)
    assert {verdict for verdict, _ in by_columns(batch, columns)} <= PASSING
    assert {by_lines(row, lines)[0] for row in coarse} <= PASSING
    assert batch.equals(in_columns(coarse, plan))


@settings(max_examples=50)
@given(st.data())
def test_rounding_moves_no_event_into_the_plan(data: st.DataObject) -> None:
    """An event that is rejected because of its values is rejected after rounding, unless it was merely too fine."""
    plan = data.draw(plans())
    row = data.draw(events_with_a_fault(plan))
    assume(row["name"] in plan.events)
    coarse = coarse_event(row, plan)
    checker = LineChecker(plan)
    verdict, field = by_lines(coarse, checker)
    if by_lines(row, checker)[0] is Verdict.ACCEPTED:
        assert coarse == row
    elif verdict is Verdict.ACCEPTED:
        [name] = [name for name in row if row[name] != coarse[name]]
        kind = plan.events[row["name"]].properties[name]
        assert isinstance(kind, CountProperty) or is_number(row[name])
    else:
        assert (verdict, field) == by_lines(row, checker)
