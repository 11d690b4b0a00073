"""How many users go through these steps, and where do they stop?

A step is an event. Time runs from the first step, and steps follow each other strictly by (time, sequence). *Ordered*
allows anything between two steps, *exact* nothing that makes the user active, and *any* takes the steps so far in
whatever order. The three are those of product analytics at large.

A user's way is found in one pass over their events in order. For *ordered*, each event of step k carries the latest
first step from which it can be reached: the largest that an event of step k-1 before it carries, as of all first steps
the latest leaves most time. For *any*, each event carries when each step was last done before it.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import ibis
import msgspec
import pyarrow as pa
from msgspec import Meta

from heliograph.insights.activity import MONTH
from heliograph.insights.filters import chosen, matches, matching, midnight, scoped, with_unit
from heliograph.insights.known_days import told_known, units
from heliograph.insights.listing import is_in_process
from heliograph.insights.scope import QuestionError, Scope, checked, zone_named
from heliograph.insights.ways import moments, ways
from heliograph.insights.zones import WIDEST, local_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan

_MICROSECONDS: Final = 60 * 60 * 1_000_000
"""Of an hour."""


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
    users = furthest(tables, plan, scope, rule=rule)
    counts = users.group_by(scope.unit).agg(
        **{f"users_{step}": users.count(where=users.reached >= step) for step in _numbers(rule)},
        **{f"pending_{step}": users.count(where=users.pending & (users.reached < step)) for step in _numbers(rule)},
    )
    known = scoped(tables, plan, scope)
    every = told_known(units(known, scope, scope.until), known, scope, scope.window(rule.days))
    every = every.left_join(counts, scope.unit)
    every = every.select(
        scope.unit, "known", **{name: every[name].fill_null(0) for name in counts.columns if name != scope.unit}
    )
    table = every.cross_join(_steps(rule.steps))
    users, before = (_of_step(table, "users_{}", table.step - back, rule) for back in (0, 1))
    pending = _of_step(table, "pending_{}", table.step, rule)
    first = scope.window(rule.days).first
    return table.select(
        scope.unit,
        "step",
        "name",
        users=users,
        share=users / table.users_1.nullif(0),
        share_of_previous=users / before.nullif(0),
        pending=pending,
        complete=(pending == 0) & table.known & ibis.literal(tables.has_events_from(first, scope.zone)),
    ).order_by([scope.unit, "step"])


@lru_cache(maxsize=16)
def _steps(names: tuple[str, ...]) -> ibis.Table:
    """Return `step` (from 1) and `name`: the same table each time."""
    steps = pa.array(range(1, len(names) + 1), pa.int64())
    return ibis.memtable(pa.table({"step": steps, "name": pa.array(names, pa.string())}))


def _of_step(table: ibis.Table, column: str, step: ibis.Value, rule: FunnelRule) -> ibis.Value:
    """Return the value of that one of the columns which is a row's step's; of the first for none before it."""
    branches = [(step == number, table[column.format(number)]) for number in _numbers(rule)[1:]]
    return ibis.cases(*branches, else_=table[column.format(1)])


def furthest(tables: Tables, plan: Plan, scope: Scope, *, rule: FunnelRule) -> ibis.Table:
    """Return how far each user came who did any step at all.

    Returns:
        The unit, user_id, `reached` (the number of the last step; 0 for none), `pending` (whether a way begun so late
        that it can still go on).
    """
    events = _marked(tables, plan, scope, rule)
    # The user alone where the unit is the same word in all rows.
    key = ["user_id"] if scope.unit == "everyone" else [scope.unit, "user_id"]
    users = with_unit((_by_lists if is_in_process(events) else _by_windows)(events, key, rule), scope)
    zone = zone_named(scope.zone)
    end = min(datetime.combine(scope.until, time.max, tzinfo=zone), scope.now).astimezone(UTC).replace(tzinfo=None)
    pending = users.begun + _window(rule) > ibis.literal(end, "timestamp(6)")
    users = users.mutate(pending=pending.fill_null(False)).filter(users.steps > 0)  # noqa: FBT003 - the value it stands for
    return users.select(scope.unit, "user_id", "reached", "pending")


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
    between = {name for name, event in plan.events.items() if event.active} if rule.order == "exact" else set()
    # Only these: a property of the plan may have the name of a column that is added.
    events = events.select(scope.unit, "user_id", "name", "time", "sequence", "version", "source")
    names = (*rule.steps, *sorted(between - {*rule.steps}))
    if not is_in_process(events):
        # By the bare column, too: an engine then reads what else there is of these rows alone. DuckDB does as it is.
        events = events.filter(events.name.isin(names))
    marked = events.join(_numbered(names, len(rule.steps)), "name")
    if rule.order == "exact":
        matched = matches(marked, plan, scope)
        step = marked.step if matched is None else ibis.ifelse(matched, marked.step, 0)
    else:
        marked = matching(marked, plan, scope)
        step = marked.step
    return marked.select(scope.unit, "user_id", "time", "sequence", step=step.cast("int64"))


@lru_cache(maxsize=16)
def _numbered(names: tuple[str, ...], steps: int) -> ibis.Table:
    """Return the names with the number of each `step`, and 0 for those behind the steps: the same table each time."""
    numbers = [number if number <= steps else 0 for number in range(1, len(names) + 1)]
    return ibis.memtable(pa.table({"name": pa.array(names, pa.string()), "step": pa.array(numbers, pa.int64())}))


def _by_lists(events: ibis.Table, user: list[str], rule: FunnelRule) -> ibis.Table:
    """Return for each user how far they came, gone through in this process.

    A list of sequence numbers beside that of times would cost more than all that is done with both, and they matter to
    next to nobody: those users' events are read once more, and put in order by windows.
    """
    gathered = events.group_by(user).agg(moments=moments(events))
    gathered = gathered.select(*user, way=ways(rule.order, gathered.moments, rule.window_hours * _MICROSECONDS))
    columns = ("reached", "begun", "steps")
    found = gathered.select(*user, "way", **{name: gathered.way[name] for name in columns})
    tied = found.filter(found.way["tied"])
    certain = found.filter(~found.way["tied"]).select(*user, *columns)
    return ibis.union(certain, _by_windows(events.semi_join(tied, user), user, rule).select(*user, *columns))


def _by_windows(events: ibis.Table, user: list[str], rule: FunnelRule) -> ibis.Table:
    """Return for each user how far they came by windows of SQL, as for an engine on other machines."""
    found = {"ordered": _ordered, "exact": _exact, "any": _any}[rule.order](events, user, rule)
    begins = found.step > 0 if rule.order == "any" else found.step == 1
    return found.group_by(user).agg(
        reached=found.reached.max(), begun=found.time.max(where=begins), steps=found.step.max()
    )


def _in_order(user: list[str], **frame: Any) -> Any:
    """Return a window over the events in order of each user, as some columns tell them apart.

    Of events with the same time and sequence, which are of different instances or epochs, a later step comes first, so
    that no step precedes one that it does not strictly precede.
    """
    return ibis.window(group_by=user, order_by=["time", "sequence", ibis.desc("step")], **frame)


def _ordered(marked: ibis.Table, user: list[str], rule: FunnelRule) -> ibis.Table:
    before = _in_order(user, rows=(None, -1))
    table = marked.mutate(start_1=ibis.ifelse(marked.step == 1, marked.time, None))
    for number in _numbers(rule)[1:]:
        start = table[f"start_{number - 1}"].max().over(before)
        table = table.mutate(start=start)
        goes_on = (table.step == number) & (table.time <= table.start + _window(rule))
        table = table.mutate(**{f"start_{number}": ibis.ifelse(goes_on, table.start, None)}).drop("start")
    return table.mutate(reached=_furthest({number: table[f"start_{number}"].notnull() for number in _numbers(rule)}))


def _exact(marked: ibis.Table, user: list[str], rule: FunnelRule) -> ibis.Table:
    order = _in_order(user)
    back = _numbers(rule)[:-1]
    table = marked.mutate(
        **{f"step_{n}": marked.step.lag(n).over(order) for n in back},
        **{f"time_{n}": marked.time.lag(n).over(order) for n in back},
    )
    conditions = {}
    for number in _numbers(rule):
        condition = table.step == number
        for n in range(1, number):
            condition &= table[f"step_{n}"] == number - n
        if number > 1:
            condition &= table.time <= table[f"time_{number - 1}"] + _window(rule)
        conditions[number] = condition
    return table.mutate(reached=_furthest(conditions))


def _any(marked: ibis.Table, user: list[str], rule: FunnelRule) -> ibis.Table:
    so_far = _in_order(user, rows=(None, 0))
    table = marked.mutate(
        **{f"at_{n}": ibis.ifelse(marked.step == n, marked.time, None).max().over(so_far) for n in _numbers(rule)}
    )
    conditions = {}
    for number in _numbers(rule):
        times = [table[f"at_{n}"] for n in range(1, number + 1)]
        done = times[0].notnull()
        for each in times[1:]:
            done &= each.notnull()
        earliest = ibis.least(*times) if number > 1 else times[0]  # Spark knows no least of one
        conditions[number] = done & (table.time <= earliest + _window(rule))
    return table.mutate(reached=_furthest(conditions))


def _furthest(conditions: Mapping[int, Any]) -> ibis.Value:
    """Return the largest number whose condition holds; 0 when none does."""
    branches = [(condition, number) for number, condition in sorted(conditions.items(), reverse=True)]
    return ibis.cases(*branches, else_=0).cast("int64")


def _window(rule: FunnelRule) -> ibis.Value:
    return ibis.interval(hours=rule.window_hours)


def _numbers(rule: FunnelRule) -> list[int]:
    return list(range(1, len(rule.steps) + 1))
