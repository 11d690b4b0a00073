"""Who is active: daily, weekly and monthly active users, and stickiness, for every day since the data began.

The trailing windows are of 7 and 28 days, so that each weekday counts alike in every one. Stickiness is the ratio of
daily to monthly active users of product analytics, with the mean over the month in place of a single day's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import ibis
import msgspec
from msgspec import Meta

from heliograph.insights.answer import Answer, scope_parameters
from heliograph.insights.filters import scoped, up_to, within
from heliograph.insights.known_days import calendar, shown
from heliograph.insights.scope import QuestionError, Scope, Window, checked, day_date, number_of

if TYPE_CHECKING:
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan

WEEK: Final = 7
"""Days of the trailing window of weekly active users."""
MONTH: Final = 28
"""Days of the trailing window of monthly active users: four whole weeks, so that each weekday counts alike."""


class NoRule(msgspec.Struct, frozen=True, kw_only=True):
    """There is nothing to choose but the scope."""


class TrailingRule(msgspec.Struct, frozen=True, kw_only=True):
    """How long the trailing window is."""

    days: Annotated[int, Meta(ge=1, le=366)] = WEEK
    """Days that end with each day: whoever was active on one of them counts."""


def use(scoped_tables: Tables, window: Window) -> ibis.Table:
    """Return how much each user used each feature on each day of the window: rows add up, several of them to a key.

    Args:
        scoped_tables: As `heliograph.insights.filters.scoped` returns them.
        window: Only these days.

    Returns:
        The columns of the mart `user_feature_days`; but `day` is a number of days since 1970-01-01.
    """
    return _numbered(within(scoped_tables.user_feature_days, window))


def use_up_to(scoped_tables: Tables, scope: Scope) -> ibis.Table:
    """Return the same of all days until the scope's last."""
    return _numbered(up_to(scoped_tables.user_feature_days, scope.until))


def user_days(used: ibis.Table, scope: Scope) -> ibis.Table:
    """Return the unit, user_id and `day` (a number) of each day on which a user was active: once each."""
    return used.select(scope.unit, "user_id", "day").distinct()


def _numbered(table: ibis.Table) -> ibis.Table:
    return table.mutate(day=table.day.epoch_days().cast("int64"))


def daily_active_users(tables: Tables, plan: Plan, scope: Scope, *, rule: NoRule | None = None) -> ibis.Table:
    """Return the users active on each day; see `trailing_active_users`."""
    checked(rule or NoRule())
    return trailing_active_users(tables, plan, scope, rule=TrailingRule(days=1))


def weekly_active_users(tables: Tables, plan: Plan, scope: Scope, *, rule: NoRule | None = None) -> ibis.Table:
    """Return the users active in the 7 days that end with each day; see `trailing_active_users`."""
    checked(rule or NoRule())
    return trailing_active_users(tables, plan, scope, rule=TrailingRule(days=WEEK))


def monthly_active_users(tables: Tables, plan: Plan, scope: Scope, *, rule: NoRule | None = None) -> ibis.Table:
    """Return the users active in the 28 days that end with each day; see `trailing_active_users`."""
    checked(rule or NoRule())
    return trailing_active_users(tables, plan, scope, rule=TrailingRule(days=MONTH))


def trailing_active_users(tables: Tables, plan: Plan, scope: Scope, *, rule: TrailingRule | None = None) -> ibis.Table:
    """Return the distinct users of each unit in the days that end with each day, quiet days included.

    Each active day of a user is a stay that begins on it and ends `rule.days` later, or with the user's next active
    day if that is sooner. The stays of a user never overlap, so the count is the running sum of beginnings less ends:
    one sort, and no row for each day of a window.

    Returns:
        The unit, `day` (date), `active_users`, and `complete`: false for the day in progress, and for the days since
        the unit's data began that have fewer days of it up to them than the window.

    Raises:
        QuestionError: The window has no day.
    """
    rule = checked(rule or TrailingRule())
    tables = scoped(tables, plan, scope)
    days = user_days(use_up_to(tables, scope), scope)
    return _dated(_trailing(days, calendar(tables, scope), scope, rule.days), scope)


def calendar_month_active_users(tables: Tables, plan: Plan, scope: Scope, *, rule: NoRule | None = None) -> ibis.Table:
    """Return the distinct users of each unit in each calendar month, quiet months included.

    Returns:
        The unit, `month` (the date of its first day), `active_users`, and `complete`: false when the month is not
        over, reaches beyond the scope's days, or began before the unit's data did.
    """
    checked(rule or NoRule())
    tables = scoped(tables, plan, scope)
    used = up_to(tables.user_feature_days, scope.until)
    if scope.since is not None:
        used = used.filter(used.day >= ibis.literal(scope.since))
    used = used.mutate(month=used.day.truncate("M").cast("date"))
    counts = used.group_by([scope.unit, "month"]).agg(active_users=used.user_id.nunique())
    days = shown(calendar(tables, scope), scope)
    days = days.mutate(month=day_date(days.day).truncate("M").cast("date"))
    months = days.group_by([scope.unit, "month"]).agg(
        known=days.count(), last=days.day.max(), first_day=days.first_day.min()
    )
    table = months.left_join(counts, [scope.unit, "month"]).select(
        scope.unit, "month", "known", "last", active_users=lambda joined: joined.active_users.fill_null(0)
    )
    # 31 days after the first of a month always lies in the next.
    following = (table.month + ibis.interval(days=31)).cast("date").truncate("M").cast("date").epoch_days()
    length = (following - table.month.epoch_days()).cast("int64")
    complete = (table.known == length) & (table["last"] < number_of(scope.today))
    return table.select(scope.unit, "month", "active_users", complete=complete).order_by([scope.unit, "month"])


def stickiness(tables: Tables, plan: Plan, scope: Scope, *, rule: NoRule | None = None) -> ibis.Table:
    """Return all activity metrics by unit and day.

    Stickiness is the mean of daily active users over the 28 days that end with the day, quiet days included, divided
    by the users active in them: the share of the month on which a monthly user is active, on average.

    Returns:
        The unit, `day` (date), `daily_active_users`, `weekly_active_users`, `monthly_active_users`, `stickiness`
        (0 to 1; null when nobody was active), and `complete`: whether the day is over and 28 days of data lie behind.
    """
    checked(rule or NoRule())
    tables = scoped(tables, plan, scope)
    active = user_days(use_up_to(tables, scope), scope)
    days = calendar(tables, scope)
    table = _trailing(active, days, scope, MONTH).rename(monthly_active_users="active_users")
    for name, length in (("weekly_active_users", WEEK), ("daily_active_users", 1)):
        counts = _trailing(active, days, scope, length).select(scope.unit, "day", **{name: "active_users"})
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
        ),
        scope,
    )


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


def _dated(table: ibis.Table, scope: Scope) -> ibis.Table:
    return shown(table, scope).mutate(day=lambda rows: day_date(rows.day)).order_by([scope.unit, "day"])


def answer_activity(tables: Tables, plan: Plan, scope: Scope, *, days: int = WEEK) -> Answer:
    """Answer who is active, for the last `days` days, by account or instance.

    Raises:
        QuestionError: `days` is less than 1.
    """
    if days < 1:
        raise QuestionError([f"Show 1 day or more, not {days}."])
    period = scope.window(days)
    table = stickiness(tables, plan, scope)
    rows = table.filter(table.day >= period.first).to_pyarrow()
    notes = [] if rows.num_rows else [f"There is no event from {period} or before."]
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
