"""How far users come on the steps of a funnel, by windows of SQL: for an engine on other machines, and for few events.

For *ordered*, each event of step k carries the latest first step from which it can be reached: the largest that an
event of step k-1 before it carries, as of all first steps the latest leaves most time. For *any*, each event carries
when each step was last done before it. `heliograph.insights.way_loops` does the same by loops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import ibis

if TYPE_CHECKING:
    from collections.abc import Mapping


class Course(NamedTuple):
    """What a way is."""

    order: str
    """As `heliograph.insights.funnel.FunnelRule` has it."""
    steps: int
    """How many there are."""
    window_hours: int
    """From the first step, within which all others count."""


def by_windows(events: ibis.Table, user: list[str], course: Course) -> ibis.Table:
    """Return how far each user came.

    Args:
        events: With the columns of a user, `time`, `sequence`, and `step`: its number, 0 for none.
        user: The columns by which users are told apart.
        course: Says what a way is.

    Returns:
        The user, `reached` (the number of the last step; 0 for none), `begun` (the time at which a way last began; null
        for none) and `steps` (the largest number of a step that was done at all).
    """
    found = {"ordered": _ordered, "exact": _exact, "any": _any}[course.order](events, user, course)
    begins = found.step > 0 if course.order == "any" else found.step == 1
    return found.group_by(user).agg(
        reached=found.reached.max(), begun=found.time.max(where=begins), steps=found.step.max()
    )


def _in_order(user: list[str], **frame: Any) -> Any:
    """Return a window over the events in order of each user, as some columns tell them apart.

    Of events with the same time and sequence, which are of different instances or epochs, a later step comes first, so
    that no step precedes one that it does not strictly precede.
    """
    return ibis.window(group_by=user, order_by=["time", "sequence", ibis.desc("step")], **frame)


def _ordered(marked: ibis.Table, user: list[str], course: Course) -> ibis.Table:
    before = _in_order(user, rows=(None, -1))
    table = marked.mutate(start_1=ibis.ifelse(marked.step == 1, marked.time, None))
    for number in _numbers(course)[1:]:
        start = table[f"start_{number - 1}"].max().over(before)
        table = table.mutate(start=start)
        goes_on = (table.step == number) & (table.time <= table.start + _window(course))
        table = table.mutate(**{f"start_{number}": ibis.ifelse(goes_on, table.start, None)}).drop("start")
    return table.mutate(reached=_furthest({number: table[f"start_{number}"].notnull() for number in _numbers(course)}))


def _exact(marked: ibis.Table, user: list[str], course: Course) -> ibis.Table:
    order = _in_order(user)
    back = _numbers(course)[:-1]
    table = marked.mutate(
        **{f"step_{n}": marked.step.lag(n).over(order) for n in back},
        **{f"time_{n}": marked.time.lag(n).over(order) for n in back},
    )
    conditions = {}
    for number in _numbers(course):
        condition = table.step == number
        for n in range(1, number):
            condition &= table[f"step_{n}"] == number - n
        if number > 1:
            condition &= table.time <= table[f"time_{number - 1}"] + _window(course)
        conditions[number] = condition
    return table.mutate(reached=_furthest(conditions))


def _any(marked: ibis.Table, user: list[str], course: Course) -> ibis.Table:
    so_far = _in_order(user, rows=(None, 0))
    table = marked.mutate(
        **{f"at_{n}": ibis.ifelse(marked.step == n, marked.time, None).max().over(so_far) for n in _numbers(course)}
    )
    conditions = {}
    for number in _numbers(course):
        times = [table[f"at_{n}"] for n in range(1, number + 1)]
        done = times[0].notnull()
        for each in times[1:]:
            done &= each.notnull()
        earliest = ibis.least(*times) if number > 1 else times[0]  # Spark knows no least of one
        conditions[number] = done & (table.time <= earliest + _window(course))
    return table.mutate(reached=_furthest(conditions))


def _furthest(conditions: Mapping[int, Any]) -> ibis.Value:
    """Return the largest number whose condition holds; 0 when none does."""
    branches = [(condition, number) for number, condition in sorted(conditions.items(), reverse=True)]
    return ibis.cases(*branches, else_=0).cast("int64")


def _window(course: Course) -> ibis.Value:
    return ibis.interval(hours=course.window_hours)


def _numbers(course: Course) -> list[int]:
    return list(range(1, course.steps + 1))
