"""How many users go through these steps, and where do they stop?

A step is an event. Time runs from the first step, and steps follow each other strictly by (time, sequence). *Ordered*
allows anything between two steps, *exact* nothing that makes the user active, and *any* takes the steps so far in
whatever order. The three are those of product analytics at large.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import ibis
import msgspec
import pyarrow as pa
from msgspec import Meta

from heliograph.insights.activity import MONTH
from heliograph.insights.ends import count_ends
from heliograph.insights.filters import chosen, matches, matching, midnight, scoped
from heliograph.insights.known_days import told_known, units
from heliograph.insights.listing import is_in_process, list_position
from heliograph.insights.scope import QuestionError, Scope, checked, zone_named
from heliograph.insights.way_windows import Course
from heliograph.insights.zones import WIDEST, local_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from heliograph.insights.ends import End
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan

_COLUMNS: Final = {
    "step": pa.int64(),
    "name": pa.string(),
    "users": pa.int64(),
    "share": pa.float64(),
    "share_of_previous": pa.float64(),
    "pending": pa.int64(),
    "complete": pa.bool_(),
}
"""Of the answer, behind the unit's."""


class FunnelRule(msgspec.Struct, frozen=True, kw_only=True):
    """The steps, and how they must follow each other.

    Raises:
        QuestionError: A step stands twice.
    """

    steps: Annotated[tuple[str, ...], Meta(min_length=2, max_length=10)]
    """Names of events, each once."""
    order: Literal["ordered", "exact", "any"] = "ordered"
    """In this order; in this order with nothing between; in any order."""
    window_hours: Annotated[int, Meta(ge=1, le=24 * 90)] = 24 * 7
    """Hours from the first step within which all others count, that long included."""
    days: Annotated[int, Meta(ge=1)] = MONTH
    """Days that count, up to the scope's last, where the scope has no first day. All steps lie in them."""

    def __post_init__(self) -> None:
        if len(set(self.steps)) < len(self.steps):
            raise QuestionError([f"A step of a funnel stands once, not as in {', '.join(self.steps)}."])


def funnel(tables: Tables, plan: Plan, scope: Scope, *, rule: FunnelRule) -> ibis.Table:
    """Return how many users of each unit came to each step.

    Filters by feature, version and client leave out steps that they do not match; for *exact*, what lies between two
    steps is looked at before, so that no filter ever makes a way of what was none.

    Returns:
        The unit, `step` (from 1), `name`, `users`, `share` (of those at step 1; null where there are none),
        `share_of_previous`, `pending` (users who were not here, and whose last first step is so recent that they can
        still come), and `complete`: whether nobody is pending, all of the days lie after the unit's data began, and no
        event of them has run out.

    Raises:
        QuestionError: The plan does not know a step.
    """
    rule = checked(rule)
    if unknown := [name for name in rule.steps if name not in plan.events]:
        raise QuestionError([f"The tracking plan has no event {name!r}, which is a step." for name in unknown])
    events = _marked(tables, plan, scope, rule)
    course = Course(rule.order, len(rule.steps), rule.window_hours)
    ends = defaultdict(list)
    for end, users in count_ends(events, scope.unit, course, until=_end(scope), stored=tables.stored_events).items():
        ends[end.unit].append((end, users))
    local = scoped(tables, plan, scope)
    window = scope.window(rule.days)
    every = told_known(units(local, scope, scope.until), local, scope, window).order_by(scope.unit).to_pyarrow()
    has_all = tables.has_events_from(window.first, scope.zone)
    schema = pa.schema({scope.unit: pa.string(), **_COLUMNS})
    rows = [
        dict(zip(schema.names, (unit, *row), strict=True))
        for unit, is_known in zip(every[scope.unit].to_pylist(), every["known"].to_pylist(), strict=True)
        for row in _rows(ends[unit], rule.steps, is_whole=is_known and has_all)
    ]
    return ibis.memtable(pa.Table.from_pylist(rows, schema))


def _end(scope: Scope) -> datetime:
    """Return the end of what is known of: that of the last day, or the moment of asking (naive UTC)."""
    last = datetime.combine(scope.until, time.max, tzinfo=zone_named(scope.zone))
    return min(last, scope.now).astimezone(UTC).replace(tzinfo=None)


def _rows(ends: Sequence[tuple[End, int]], steps: Sequence[str], *, is_whole: bool) -> Iterator[tuple[Any, ...]]:
    """Return what each row of a unit has behind its name, of how many of its users stop where."""
    first = before = 0
    for step, name in enumerate(steps, 1):
        users = sum(users for end, users in ends if end.reached >= step)
        pending = sum(users for end, users in ends if end.reached < step and end.is_pending)
        if step == 1:
            first = before = users
        shares = (users / first if first else None, users / before if before else None)
        yield step, name, users, *shares, pending, is_whole and not pending
        before = users


def _marked(tables: Tables, plan: Plan, scope: Scope, rule: FunnelRule) -> ibis.Table:
    """Return the events that matter: unit, user_id, time, sequence, `step` (0: none)."""
    window = scope.window(rule.days)
    events = chosen(tables.events, scope)
    # The bare column, so that an engine skips all other files; then the days of the scope's own time zone.
    events = events.filter(
        events.time >= midnight(window.first, before=WIDEST),
        events.time < midnight(window.last + timedelta(days=1), before=-WIDEST),
        events.user_id.notnull(),
    )
    local = local_time(events.time, scope.zone, now=scope.now)
    events = events.filter(local >= midnight(window.first), local < midnight(window.last + timedelta(days=1)))
    # Only these: a property of the plan may have the name of a column that is added.
    events = events.select(scope.unit, "user_id", "name", "time", "sequence", "version", "source")
    between = sorted(name for name, event in plan.events.items() if event.active) if rule.order == "exact" else []
    marked = _numbered(events, [*rule.steps, *(name for name in between if name not in rule.steps)], len(rule.steps))
    if rule.order != "exact":
        return matching(marked, plan, scope).select(scope.unit, "user_id", "time", "sequence", "step")
    matched = matches(marked, plan, scope)
    step = marked.step if matched is None else ibis.ifelse(matched, marked.step, 0)
    return marked.select(scope.unit, "user_id", "time", "sequence", step=step)


def _numbered(events: ibis.Table, names: list[str], steps: int) -> ibis.Table:
    """Return the events with these names, with the number of each `step`, and 0 for those behind the steps."""
    if not is_in_process(events):
        # By the bare column, too: an engine then reads what else there is of these rows alone.
        events = events.filter(events.name.isin(names))
        numbers = ((name, number) for number, name in enumerate(names[:steps], 1))
        return events.mutate(step=events.name.cases(*numbers, else_=0).cast("int64"))
    # Not by a join, behind which DuckDB gives rows in another order than files have them, nor by cases, which it goes
    # through for each row: a function of the name it asks once for each name that a file has.
    found = events.mutate(list_position(ibis.array(names), events.name).name("step"))
    found = found.filter(found.step.notnull())
    return found.mutate(step=ibis.ifelse(found.step > steps, 0, found.step)) if len(names) > steps else found
