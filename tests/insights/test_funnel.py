"""How far users come, by loops and by windows, and who can still come when clocks are put back."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import ibis
import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asking import rows_of, user_id
from heliograph.insights import ends as ends_module
from heliograph.insights import machine_code
from heliograph.insights.ends import count_ends
from heliograph.insights.funnel import FunnelRule, funnel
from heliograph.insights.machine_code import compiled_loops, plain_loops
from heliograph.insights.way_windows import Course
from heliograph.insights.ways import ways

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from asking import MakeScope, MakeTables
    from heliograph.insights.ends import End
    from heliograph.plan.model import Plan

STEPS: Final = ("SearchSubmitted", "goToDefinition", "SignedIn")
BETWEEN: Final = "SearchNotebookPageViewed"
HOURS: Final = 2
Order = Literal["ordered", "exact", "any"]
Event = tuple[datetime, int, int]
"""Time, sequence, and the number of the step; 0 for what lies between."""


def goes(events: Sequence[Event], order: Order, step: int) -> bool:
    """Tell, by trying all, whether a user came to a step."""
    events = sorted(events)
    if order != "exact":
        events = [event for event in events if event[2]]
    wanted = list(range(1, step + 1))
    ways: Any = itertools.combinations(events, step)
    if order == "exact":
        ways = (events[at : at + step] for at in range(len(events) - step + 1))
    for way in ways:
        steps = [each[2] for each in way]
        if (sorted(steps) if order == "any" else steps) == wanted and way[-1][0] - way[0][0] <= timedelta(hours=HOURS):
            return True
    return False


def furthest(users: Mapping[str, Sequence[Event]], order: Order) -> Counter[int]:
    """Return how many came to which last step, of those who did any step at all."""
    return Counter(
        max((step for step in (1, 2, 3) if goes(events, order, step)), default=0)
        for events in users.values()
        if any(step for _, _, step in events)
    )


@pytest.mark.parametrize("stored", [None, 0], ids=["loops", "windows"])
@pytest.mark.parametrize("order", ["ordered", "exact", "any"])
def test_of_steps_at_the_same_time_the_sequence_says_which_comes_first(
    order: Order, stored: int | None, make_tables: MakeTables, make_scope: MakeScope, plan: Plan
) -> None:
    drawn = random.Random(7)
    noon = datetime.fromisoformat("2026-03-02T12:00")
    users: dict[str, list[Event]] = {}
    for number in range(600):
        sequences = drawn.sample(range(1, 100), drawn.randint(1, 6))
        users[f"user {number}"] = [
            (noon + timedelta(hours=drawn.choice([0, 1, 3]), microseconds=drawn.choice([0, 1])), sequence, step)
            for sequence, step in ((each, drawn.choice([0, 1, 1, 2, 2, 3])) for each in sequences)
        ]
    rows = [
        {
            "instance": user.replace(" ", "-"),
            "user": user,
            "at": time.isoformat(),
            "sequence": sequence,
            "name": STEPS[step - 1] if step else BETWEEN,
        }
        for user, events in users.items()
        for time, sequence, step in events
    ]
    drawn.shuffle(rows)
    tables = msgspec.structs.replace(make_tables(rows), stored_events=stored)
    rule = FunnelRule(steps=STEPS, order=order, window_hours=HOURS)
    told = rows_of(funnel(tables, plan, make_scope("2026-03-03", unit="instance"), rule=rule))
    assert {(row["instance"], row["step"]) for row in told if row["users"]} == {
        (user.replace(" ", "-"), step)
        for user, events in users.items()
        for step in (1, 2, 3)
        if goes(events, order, step)
    }
    everyone = rows_of(funnel(tables, plan, make_scope("2026-03-03", unit="everyone"), rule=rule))
    reached = furthest(users, order)
    assert [row["users"] for row in everyone] == [
        sum(count for last, count in reached.items() if last >= step) for step in (1, 2, 3)
    ]


def listed(users: Mapping[str, Sequence[Event]], order: Iterable[int], *, ids: Mapping[str, str]) -> ibis.Table:
    """Return events in this order, as `count_ends` takes them."""
    rows = [
        {"everyone": "everyone", "user_id": ids[user], "time": time, "sequence": sequence, "step": step}
        for user, events in users.items()
        for time, sequence, step in events
    ]
    columns = {"everyone": pa.string(), "user_id": pa.string(), "time": pa.timestamp("us")}
    schema = pa.schema({**columns, "sequence": pa.int64(), "step": pa.int64()})
    return ibis.memtable(pa.Table.from_pylist([rows[at] for at in order], schema))


def ends_gone_through(events: ibis.Table, order: Order, *, at_once: int) -> Counter[End]:
    """Return how many users stop where, of events before the next day, so many of which are gone through at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ends_module, "ways", partial(ways, at_once=at_once))
        return count_ends(events, "everyone", Course(order, 3, HOURS), until=datetime(2026, 3, 3))  # noqa: DTZ001 - naive UTC


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[str, list[Event]], list[int]]:
    """Return what some users did, each with a time and a sequence, and in which order it is read: some of it late."""
    noon = datetime.fromisoformat("2026-03-02T12:00")
    moments = st.integers(0, 240).map(lambda each: noon + timedelta(minutes=each))
    event = st.tuples(moments, st.integers(1, 1_000_000), st.sampled_from([1, 2, 3]))
    names = st.sampled_from(["ann", "bob"])
    users = draw(st.dictionaries(names, st.lists(event, min_size=1, max_size=8, unique_by=lambda each: each[1])))
    flat = [event for events in users.values() for event in events]
    in_order = sorted(range(len(flat)), key=lambda at: flat[at])
    moved = draw(st.lists(st.integers(0, max(len(flat) - 1, 0)), max_size=3, unique=True)) if flat else []
    return users, [at for at in in_order if at not in moved] + moved


@pytest.mark.parametrize("order", ["ordered", "exact", "any"])
@settings(max_examples=150, deadline=None)
@given(history=histories(), at_once=st.integers(1, 12))
def test_whatever_is_read_first_and_however_little_at_once_users_come_as_far(
    order: Order, history: tuple[dict[str, list[Event]], list[int]], at_once: int
) -> None:
    users, read = history
    events = listed(users, read, ids={user: user_id(user) for user in users})
    found = ends_gone_through(events, order, at_once=at_once)
    assert Counter({end.reached: count for end, count in found.items()}) == furthest(users, order)
    assert not any(end.is_pending for end in found)


@pytest.mark.parametrize("order", ["ordered", "exact", "any"])
@given(history=histories(), at_once=st.integers(1, 40))
def test_loops_tell_the_same_whether_they_are_compiled_or_not(
    order: Order, history: tuple[dict[str, list[Event]], list[int]], at_once: int
) -> None:
    users, read = history
    events = listed(users, read, ids={user: user_id(user) for user in users})
    compiled = compiled_loops(order)
    assert compiled is not None
    course = Course(order, 3, HOURS)
    with np.errstate(over="ignore"):  # hashes overflow
        plain = ways(events, "everyone", course, plain_loops(order), at_once=at_once)
    assert plain == ways(events, "everyone", course, compiled, at_once=at_once)


@pytest.mark.parametrize("ids", [{"ann": "a", "bob": "b" * 31}, {"ann": "a" * 31, "bob": "b" * 33}], ids=str)
def test_ids_that_are_no_random_ids_are_told_apart_all_the_same(ids: dict[str, str]) -> None:
    noon = datetime.fromisoformat("2026-03-02T12:00")
    users = {
        "ann": [(noon, 1, 1), (noon + timedelta(minutes=1), 2, 2)],
        "bob": [(noon, 3, 2), (noon + timedelta(minutes=1), 4, 1)],
    }
    events, course = listed(users, range(4), ids=ids), Course("ordered", 3, HOURS)
    loops = compiled_loops("ordered")
    assert loops is not None
    assert ways(events, "everyone", course, loops) is None
    found = count_ends(events, "everyone", course, until=noon + timedelta(days=1))
    assert Counter({end.reached: count for end, count in found.items()}) == {1: 1, 2: 1}


@pytest.mark.parametrize(("order", "reached"), [("ordered", 3), ("exact", 2), ("any", 3)])
def test_what_is_told_of_too_late_takes_an_exact_way_from_who_had_come_to_the_end(order: Order, reached: int) -> None:
    noon = datetime.fromisoformat("2026-03-02T12:00")
    users = {"ann": [(noon + timedelta(minutes=at), at, step) for at, step in ((1, 1), (3, 2), (5, 3), (4, 1))]}
    events = listed(users, range(4), ids={"ann": user_id("ann")})
    found = ends_gone_through(events, order, at_once=3)
    assert Counter({end.reached: count for end, count in found.items()}) == furthest(users, order) == {reached: 1}


def test_where_loops_cannot_be_compiled_a_funnel_is_told_of_and_takes_another_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: str) -> None:
        raise OSError("no room for them")

    noon = datetime.fromisoformat("2026-03-02T12:00")
    users = {"ann": [(noon, 1, 1), (noon + timedelta(minutes=1), 2, 2)]}
    events = listed(users, range(2), ids={"ann": user_id("ann")})
    monkeypatch.setattr(machine_code, "_compile", fail)
    monkeypatch.setattr(ends_module, "compiled_loops", machine_code.compiled_loops.__wrapped__)
    with pytest.warns(RuntimeWarning, match="no room for them"):
        found = count_ends(events, "everyone", Course("ordered", 3, HOURS), until=noon + timedelta(days=1))
    assert [(end.reached, count) for end, count in found.items()] == [(2, 1)]


def test_a_user_of_two_accounts_is_one_in_each(make_tables: MakeTables, make_scope: MakeScope, plan: Plan) -> None:
    rows = [
        {"account": account, "instance": account, "user": "ann", "at": f"2026-03-02T12:0{minute}", "name": name}
        for minute, (account, name) in enumerate([("acme", STEPS[0]), ("globex", STEPS[1]), ("acme", STEPS[1])])
    ]
    told = rows_of(funnel(make_tables(rows), plan, make_scope("2026-03-03"), rule=FunnelRule(steps=STEPS)))
    assert [row["users"] for row in told] == [1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(("now", "pending"), [("2026-10-25T23:30", 1), ("2026-10-26T00:30", 0)])
def test_whoever_can_still_come_can_for_so_many_hours_whatever_clocks_do(
    now: str, pending: int, make_tables: MakeTables, make_scope: MakeScope, plan: Plan
) -> None:
    # At three in the morning of the 25th it is two again in Berlin, so that by the clock these 24 hours are 23.
    tables = make_tables([{"user": "ann", "at": "2026-10-25T00:00"}])
    scope = make_scope("2026-10-26", now=now, unit="everyone", zone="Europe/Berlin")
    rows = rows_of(funnel(tables, plan, scope, rule=FunnelRule(steps=STEPS, window_hours=24)))
    assert [row["pending"] for row in rows] == [0, pending, pending]
