"""What a change of the plan does: found in full, told to reviewer and customer, never too little."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import plan_changes
from heliograph.plan.diff import Effect, Kind, plan_diff, predecessors
from heliograph.plan.diff_customer import OTHERWISE, SENTENCES, as_markdown
from heliograph.plan.diff_text import REMEDIES, as_json, as_text
from heliograph.plan.facts import fact_passes
from heliograph.plan.lines import LineChecker
from heliograph.plan.load import load_plan
from heliograph.plan.model import CountProperty, IntegerProperty, MemberProperty, NumberProperty
from heliograph.wire import Skeleton

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.plan.model import Plan, Property

FOLDER = Path(__file__).parent / "diff"
OLD, NEW, BREAKING = (load_plan(FOLDER / f"{name}.yaml") for name in ("old", "new", "breaking"))
CUSTOMER_KINDS = {*OTHERWISE, *(kind for kind in Kind if kind.effect in (Effect.COLLECTED, Effect.STOPPED))}


def passes(plan: Plan, line: dict[str, Any]) -> bool:
    found = LineChecker(plan).decode_one(msgspec.json.encode(line), latest=datetime(2027, 1, 1, tzinfo=UTC))
    return not isinstance(found, Skeleton)


@settings(max_examples=20)
@given(plan_changes.plans())
def test_a_plan_differs_from_itself_in_nothing(plan: Plan) -> None:
    assert plan_diff(plan, plan).changes == ()


def next_version(data: st.DataObject, old: Plan) -> Plan:
    """Now and then all is changed, and mostly a single part: there, nothing else can make up for what is not told."""
    changes = plan_changes.changed if data.draw(st.integers(0, 4)) == 0 else plan_changes.nudged
    return data.draw(changes(old))


@settings(max_examples=150)
@given(st.data())
def test_what_passes_newly_is_told_as_newly_collected(data: st.DataObject) -> None:
    old = data.draw(plan_changes.plans())
    new = next_version(data, old)
    found = plan_diff(old, new)
    if found.collects_more:
        return
    line = data.draw(plan_changes.lines(new))
    assert passes(new, line)
    names = predecessors(line["name"], old, new)
    assert names
    assert all(passes(old, line | {"name": name}) for name in names)


@settings(max_examples=60)
@given(st.data())
def test_a_fact_that_passes_newly_is_told_as_newly_collected(data: st.DataObject) -> None:
    old = data.draw(plan_changes.plans())
    new = msgspec.structs.replace(old, version=2, facts=data.draw(plan_changes.facts()))
    value = data.draw(plan_changes.values(new.facts["fact"]))
    assert fact_passes(value, new.facts["fact"])
    assert fact_passes(value, old.facts["fact"]) or plan_diff(old, new).collects_more


@settings(max_examples=50)
@given(st.data())
def test_each_change_of_a_plan_is_told(data: st.DataObject) -> None:
    old = data.draw(plan_changes.plans())
    new = data.draw(plan_changes.changed(old))
    found = plan_diff(old, new)
    assert bool(found.changes) is (msgspec.structs.replace(new, version=old.version).digest() != old.digest())


@settings(max_examples=50)
@given(st.data())
def test_leaving_things_out_collects_nothing_more(data: st.DataObject) -> None:
    old = data.draw(plan_changes.plans())
    kept = data.draw(st.sets(st.sampled_from(sorted(old.events)), min_size=1))
    without = data.draw(st.sampled_from(["much", "such"]))
    events = {
        name: msgspec.structs.replace(
            event, properties={key: kind for key, kind in event.properties.items() if key != without}
        )
        for name, event in old.events.items()
        if name in kept
    }
    assert not plan_diff(old, msgspec.structs.replace(old, events=events, facts={})).collects_more


def kinds_between(old: Property, new: Property) -> set[Kind]:
    """The kinds of change between two plans that differ in one property of one event."""
    plans = []
    for version, kind in enumerate((old, new), 1):
        event = msgspec.structs.replace(OLD.events["LinkCopied"], properties={"value": kind})
        plans.append(msgspec.structs.replace(OLD, version=version, events={"LinkCopied": event}))
    return {change.kind for change in plan_diff(*plans).changes}


def whole(minimum: int, maximum: int, precision: int = 1) -> IntegerProperty:
    return IntegerProperty(description="It.", minimum=minimum, maximum=maximum, precision=precision)


def number(precision: float | None) -> NumberProperty:
    return NumberProperty(description="It.", maximum=1, precision=precision)


def count(*buckets: int) -> CountProperty:
    return CountProperty(description="It.", buckets=buckets)


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        (whole(0, 10), whole(0, 11), {Kind.RANGE_WIDENED}),
        (whole(0, 10), whole(1, 9), {Kind.RANGE_NARROWED}),
        (whole(0, 10), whole(-5, 5), {Kind.RANGE_WIDENED, Kind.RANGE_NARROWED}),
        (whole(0, 10), whole(0, 10, 5), {Kind.PRECISION_COARSER}),
        (whole(0, 90, 10), whole(0, 90, 30), {Kind.PRECISION_COARSER}),
        (whole(0, 90, 30), whole(0, 90, 10), {Kind.PRECISION_FINER}),
        (whole(0, 90, 2), whole(0, 90, 3), {Kind.PRECISION_FINER}),
        (number(None), number(0.1), {Kind.PRECISION_COARSER}),
        (number(0.1), number(0.01), {Kind.PRECISION_FINER}),
        (number(0.1), number(None), {Kind.PRECISION_FINER}),
        (count(0, 1, 10), count(0, 10), {Kind.BUCKETS_COARSER}),
        (count(0, 10), count(0, 5), {Kind.BUCKETS_FINER}),
        (whole(0, 10), count(0, 10), {Kind.BUCKETS_COARSER, Kind.TYPE_CHANGED}),
        (whole(0, 10), count(0, 20), {Kind.BUCKETS_FINER, Kind.TYPE_CHANGED}),
        (count(0, 10), whole(0, 10), {Kind.PRECISION_FINER, Kind.TYPE_CHANGED}),
        (whole(0, 1), number(None), {Kind.VALUES_OTHER, Kind.COLUMN_CHANGED}),
    ],
)
def test_values_are_compared_by_what_can_leave(old: Property, new: Property, kinds: set[Kind]) -> None:
    assert kinds_between(old, new) == kinds


def test_a_column_that_another_event_takes_over_with_another_type_breaks() -> None:
    events = dict(OLD.events)
    events["FileViewed"] = msgspec.structs.replace(events["FileViewed"], properties={})
    words = MemberProperty(description="It.", members=("few",))
    events["LinkCopied"] = msgspec.structs.replace(events["LinkCopied"], properties={"lines": words})
    found = plan_diff(OLD, msgspec.structs.replace(OLD, version=5, events=events))
    assert [change.where for change in found.changes if change.kind is Kind.COLUMN_CHANGED] == ["properties.lines"]


def test_a_plan_that_goes_back_to_a_lower_version_breaks() -> None:
    found = plan_diff(OLD, msgspec.structs.replace(OLD, version=3))
    assert [change.kind for change in found.changes] == [Kind.VERSION_NOT_RAISED]


def test_a_version_that_is_raised_alone_is_no_difference() -> None:
    assert not plan_diff(OLD, msgspec.structs.replace(OLD, version=5)).changes


def test_two_events_that_become_one_are_both_compared_with_it() -> None:
    merged = msgspec.structs.replace(OLD.events["LinkOpened"], renamed_from=("LinkCopied",))
    events = {name: event for name, event in OLD.events.items() if name not in ("LinkCopied", "LinkOpened")}
    found = plan_diff(OLD, msgspec.structs.replace(OLD, version=5, events=events | {"LinkOpened": merged}))
    assert [change.kind for change in found.changes if change.kind.effect is not Effect.MEANING] == [Kind.EVENT_RENAMED]


def test_the_examples_have_every_kind_of_change() -> None:
    found = {change.kind for new in (NEW, BREAKING) for change in plan_diff(OLD, new).changes}
    renamed = msgspec.structs.replace(OLD, name="other", heliograph_plan=1)
    assert found | {change.kind for change in plan_diff(OLD, renamed).changes} == {*Kind}


def test_an_admin_is_told_of_all_that_leaves_and_of_nothing_else() -> None:
    assert {*SENTENCES} == CUSTOMER_KINDS


def test_all_that_breaks_has_a_remedy() -> None:
    assert {*REMEDIES} == {kind for kind in Kind if kind.effect is Effect.BREAKING}


@pytest.mark.parametrize(("name", "new"), [("new", NEW), ("breaking", BREAKING)])
def test_each_output_is_as_reviewed(name: str, new: Plan, golden: Callable[[str, str], None]) -> None:
    found = plan_diff(OLD, new)
    golden(f"tests/plan/diff/{name}.txt", as_text(found))
    golden(f"tests/plan/diff/{name}.md", as_markdown(found))
    golden(f"tests/plan/diff/{name}.json", msgspec.json.format(msgspec.json.encode(as_json(found))).decode() + "\n")


def test_no_difference_is_said_in_a_line() -> None:
    assert as_text(plan_diff(OLD, OLD)) == "example@4 → example@4: no difference\n"
    assert "Nothing that leaves your instance changes." in as_markdown(plan_diff(OLD, OLD))


def test_what_a_new_event_can_tell_is_shown_beside_it() -> None:
    text = as_text(plan_diff(OLD, NEW), bits={"MonitorTriggered": "7.2 bits an event"})
    assert "  events.MonitorTriggered (7.2 bits an event)\n" in text
