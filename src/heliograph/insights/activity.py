"""Who is active: daily, weekly and monthly active users, and stickiness, for every day since the data began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import ibis
import pyarrow as pa

from heliograph.insights.answer import Answer, scope_parameters
from heliograph.insights.scope import (
    QuestionError,
    Scope,
    Window,
    between,
    chosen,
    day_date,
    day_number,
    number_of,
)

if TYPE_CHECKING:
    from heliograph.plan.model import Plan

WEEK: Final = 7
"""Days of the trailing window of weekly active users."""
MONTH: Final = 28
"""Days of the trailing window of monthly active users: four whole weeks, so that each weekday counts alike."""


def active_events(events: ibis.Table, plan: Plan, scope: Scope, *, window: Window | None = None) -> ibis.Table:
    """Return the qualifying events: of a known user, and declared by `plan` to make its user active.

    Args:
        events: The lake's events.
        plan: Says which events are active, and the feature of each.
        scope: Which accounts and instances count, and until when.
        window: Only these days; None: all days until the scope's last.

    Returns:
        account, instance, user_id, name, time, outcome, `day` (days since 1970-01-01), `feature`, `core`.
    """
    declared = [(name, event) for name, event in plan.events.items() if event.active]
    definitions = pa.table(
        {
            "name": pa.array([name for name, _ in declared], pa.string()),
            "feature": pa.array([event.feature for _, event in declared], pa.string()),
            "core": pa.array([event.core for _, event in declared], pa.bool_()),
        }
    )
    first, last = (window.first, window.last) if window else (None, scope.until)
    counted = between(chosen(events, scope), first, last)
    counted = counted.filter(counted.user_id.notnull())
    joined = counted.join(ibis.memtable(definitions), "name")
    return joined.select(
        "account", "instance", "user_id", "name", "time", "outcome", "feature", "core", day=day_number(joined.time)
    )


def daily_active_users(events: ibis.Table, plan: Plan, scope: Scope) -> ibis.Table:
    """Return the users active on each day; see `trailing_active_users`."""
    return trailing_active_users(events, plan, scope, days=1)


def weekly_active_users(events: ibis.Table, plan: Plan, scope: Scope) -> ibis.Table:
    """Return the users active in the 7 days that end with each day; see `trailing_active_users`."""
    return trailing_active_users(events, plan, scope, days=WEEK)


def monthly_active_users(events: ibis.Table, plan: Plan, scope: Scope) -> ibis.Table:
    """Return the users active in the 28 days that end with each day; see `trailing_active_users`."""
    return trailing_active_users(events, plan, scope, days=MONTH)


def trailing_active_users(events: ibis.Table, plan: Plan, scope: Scope, *, days: int) -> ibis.Table:
    """Return the distinct users of each unit in the `days` days that end with each day, quiet days included.

    Each active day of a user is a stay that begins on it and ends `days` later, or with the user's next active day
    if that is sooner. The stays of a user never overlap, so the count is the running sum of beginnings less ends:
    one sort, and no row for each day of a window.

    Returns:
        The unit (account or instance), `day` (date), `active_users`, and `complete`: false for the day in progress
        and for the first ``days - 1`` days since the unit's data began.

    Raises:
        QuestionError: `days` is less than 1.
    """
    if days < 1:
        raise QuestionError([f"A trailing window has 1 day or more, not {days}."])
    user_days = _user_days(active_events(events, plan, scope), scope)
    return _dated(_trailing(user_days, calendar(events, scope), scope, days))


def stickiness(events: ibis.Table, plan: Plan, scope: Scope) -> ibis.Table:
    """Return all activity metrics by unit and day.

    Stickiness is the mean of daily active users over the 28 days that end with the day, quiet days included, divided
    by the users active in them: the share of the month on which a monthly user is active, on average.

    Returns:
        The unit, `day` (date), `daily_active_users`, `weekly_active_users`, `monthly_active_users`, `stickiness`
        (0 to 1; null when nobody was active), and `complete`: whether the day is over and 28 days of data lie behind.
    """
    user_days = _user_days(active_events(events, plan, scope), scope)
    days = calendar(events, scope)
    table = _trailing(user_days, days, scope, MONTH).rename(monthly_active_users="active_users")
    for name, length in (("weekly_active_users", WEEK), ("daily_active_users", 1)):
        counts = _trailing(user_days, days, scope, length).select(scope.unit, "day", **{name: "active_users"})
        table = table.inner_join(counts, [scope.unit, "day"])
    month = ibis.window(group_by=scope.unit, order_by="day", preceding=MONTH - 1, following=0)
    mean_daily = table.daily_active_users.sum().over(month) / MONTH
    table = table.mutate(stickiness=mean_daily / table.monthly_active_users.nullif(0))
    return _dated(
        table.select(
            scope.unit,
            "day",
            "daily_active_users",
            "weekly_active_users",
            "monthly_active_users",
            "stickiness",
            "complete",
        )
    )


def active_days(events: ibis.Table, plan: Plan, scope: Scope) -> ibis.Table:
    """Return for each user active in the 28 days until the scope's last on how many of them.

    Returns:
        The unit, user_id, `active_days` (1 to 28). Counted by `active_days`, this is the power-user curve.
    """
    window = Window(last=scope.until, days=MONTH)
    active = active_events(events, plan, scope, window=window)
    return active.group_by(scope.unit, "user_id").agg(active_days=active.day.nunique())


def calendar(events: ibis.Table, scope: Scope) -> ibis.Table:
    """Return each unit's days from its first event of any kind to the scope's last: unit, `day`, `first_day`."""
    counted = between(chosen(events, scope), None, scope.until)
    begun = counted.group_by(scope.unit).agg(first_day=day_number(counted.time.min()))
    return begun.select(scope.unit, "first_day", day=ibis.range(begun.first_day, number_of(scope.until) + 1).unnest())


def _user_days(active: ibis.Table, scope: Scope) -> ibis.Table:
    return active.select(scope.unit, "user_id", "day").distinct()


def _trailing(user_days: ibis.Table, calendar: ibis.Table, scope: Scope, days: int) -> ibis.Table:
    # The next active day is looked up as the preceding row of the descending order: quicker in both engines.
    latest_first = ibis.window(group_by=[scope.unit, "user_id"], order_by=ibis.desc("day"))
    stays = user_days.mutate(next_day=user_days.day.lag().over(latest_first))
    ended = ibis.least(stays.day + days, stays.next_day.fill_null(stays.day + days))
    begins = stays.select(scope.unit, "day", change=ibis.literal(1, "int64"))
    ends = stays.select(scope.unit, day=ended, change=ibis.literal(-1, "int64"))
    changes = ibis.union(begins, ends).group_by([scope.unit, "day"]).agg(change=lambda table: table.change.sum())
    table = calendar.left_join(changes, [scope.unit, "day"])
    running = ibis.window(group_by=scope.unit, order_by="day", preceding=None, following=0)
    return table.select(
        scope.unit,
        "day",
        active_users=table.change.fill_null(0).sum().over(running),
        complete=(table.day >= table.first_day + days - 1) & (table.day < number_of(scope.today)),
    )


def _dated(table: ibis.Table) -> ibis.Table:
    return table.mutate(day=day_date(table.day)).order_by([table.columns[0], "day"])


def answer_activity(events: ibis.Table, plan: Plan, scope: Scope, *, days: int = WEEK) -> Answer:
    """Answer who is active, for the last `days` days, by account or instance.

    Raises:
        QuestionError: `days` is less than 1.
    """
    if days < 1:
        raise QuestionError([f"Show 1 day or more, not {days}."])
    shown = Window(last=scope.until, days=days)
    table = stickiness(events, plan, scope)
    rows = table.filter(table.day >= shown.first).to_pyarrow()
    notes = [] if rows.num_rows else [f"There is no event from {shown} or before."]
    if not all(rows["complete"].to_pylist()):
        notes.append(
            f"Not complete: the day in progress, and days with fewer than {MONTH} days of data up to them; "
            "they understate the trailing figures."
        )
    return Answer(
        question="How many users are active, and how often do they come back?",
        definition=(
            f"Users with at least one qualifying event on the day, in the {WEEK} days and in the {MONTH} days that end "
            f"with it. Stickiness is the mean of daily active users over the {MONTH} days, divided by the users active "
            "in them."
        ),
        table=rows,
        parameters=scope_parameters(scope, days=days, week_days=WEEK, month_days=MONTH),
        notes=tuple(notes),
    )
