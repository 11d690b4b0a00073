"""How many of those who began to use the product still use it, so many days after their first?

A cohort is everybody whose first active day lies in the same days. *N-day* retention is the share of them that was
active on exactly the Nth day after their own first, *unbounded* on that day or any later one (which is also called
rolling), *bracket* within some days. The three are those of product analytics at large; here only those members count
for whom the interval has fully elapsed, as a share of those who could not have come back yet would only fall.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import ibis
import msgspec
from msgspec import Meta

from heliograph.insights.activity import use_up_to, user_days
from heliograph.insights.filters import scoped
from heliograph.insights.scope import QuestionError, Scope, checked, day_date, number_of

if TYPE_CHECKING:
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan


class RetentionRule(msgspec.Struct, frozen=True, kw_only=True):
    """Which intervals after the first day are looked at, and who makes a cohort.

    Raises:
        QuestionError: The days do not rise, or there is only one and a bracket needs two.
    """

    kind: Literal["n_day", "unbounded", "bracket"] = "n_day"
    """What retained means: active on the day itself, on it or later, or from it to the day before the next."""
    days: Annotated[tuple[Annotated[int, Meta(ge=0, le=3650)], ...], Meta(min_length=1, max_length=30)] = (1, 7, 14, 28)
    """Days after a member's first, rising. A bracket goes from each to the day before the next, so that the last day
    here ends the last bracket."""
    cohort_days: Literal[1, 7, 28] = 7
    """Days whose new users make one cohort; cohorts end with the scope's last day."""

    def __post_init__(self) -> None:
        if any(earlier >= later for earlier, later in itertools.pairwise(self.days)):
            raise QuestionError([f"Days of retention rise, such as 1,7,28; {','.join(map(str, self.days))} do not."])
        if self.kind == "bracket" and len(self.days) == 1:
            raise QuestionError(["Brackets need two days or more: 1,7 is the bracket from day 1 to day 6."])


class Interval(NamedTuple):
    """Days after a member's first, both included."""

    first: int
    last: int | None
    """None: whatever comes."""

    @property
    def elapsed(self) -> int:
        """The day after whose end the interval has fully elapsed; of one without an end, its first."""
        return self.first if self.last is None else self.last


def intervals(rule: RetentionRule) -> list[Interval]:
    """Return the intervals that a rule means."""
    match rule.kind:
        case "n_day":
            return [Interval(day, day) for day in rule.days]
        case "unbounded":
            return [Interval(day, None) for day in rule.days]
        case "bracket":
            return [Interval(first, following - 1) for first, following in itertools.pairwise(rule.days)]


def retention(tables: Tables, plan: Plan, scope: Scope, *, rule: RetentionRule | None = None) -> ibis.Table:
    """Return how many of each cohort were retained in each interval.

    The first day is the first of all until the scope's last, by the use that the filters leave: with a feature, the
    first use of the feature. A first day of the scope leaves out members who began before it.

    Returns:
        The unit, `cohort` (the date on which its days begin), `users` (all members), `from_day` and `to_day` (the
        interval; null where it has no end), `eligible` (members for whom it has fully elapsed), `retained` (of them),
        `share` (of them; null where there are none), and `complete`: whether all members are eligible. Only cohorts
        that have members.
    """
    rule = checked(rule or RetentionRule())
    days = user_days(use_up_to(scoped(tables, plan, scope), scope), scope)
    users = _members(days, scope, intervals(rule))
    if scope.since is not None:
        users = users.filter(users["first"] >= number_of(scope.since))
    ago = (number_of(scope.until) - users["first"]) // rule.cohort_days
    cohorts = users.mutate(cohort=number_of(scope.until) - (ago + 1) * rule.cohort_days + 1)
    table = ibis.union(*(_counted(cohorts, scope, place, each) for place, each in enumerate(intervals(rule))))
    return table.mutate(
        cohort=day_date(table.cohort),
        share=table.retained / table.eligible.nullif(0),
        complete=table.eligible == table.users,
    ).order_by([scope.unit, "cohort", "from_day"])


def _members(days: ibis.Table, scope: Scope, intervals: list[Interval]) -> ibis.Table:
    """Return each user's `first` day, and for each interval whether it `elapsed_…` and whether they were `active_…`."""
    keys = [scope.unit, "user_id"]
    aged = days.mutate(first=days.day.min().over(ibis.window(group_by=keys)))
    age = aged.day - aged["first"]
    inside = {
        f"active_{place}": (age >= each.first) if each.last is None else (age >= each.first) & (age <= each.last)
        for place, each in enumerate(intervals)
    }
    users = aged.group_by([*keys, "first"]).agg(**{name: flag.cast("int64").max() for name, flag in inside.items()})
    last = number_of(scope.last_complete_day)
    return users.mutate(
        **{
            f"elapsed_{place}": (users["first"] + each.elapsed <= last).cast("int64")
            for place, each in enumerate(intervals)
        }
    )


def _counted(cohorts: ibis.Table, scope: Scope, place: int, interval: Interval) -> ibis.Table:
    elapsed, active = cohorts[f"elapsed_{place}"], cohorts[f"active_{place}"]
    counts = cohorts.group_by([scope.unit, "cohort"]).agg(
        users=cohorts.count(), eligible=elapsed.sum(), retained=(elapsed * active).sum()
    )
    return counts.select(
        scope.unit,
        "cohort",
        "users",
        "eligible",
        "retained",
        from_day=ibis.literal(interval.first, "int64"),
        to_day=ibis.literal(interval.last, "int64"),
    ).relocate("from_day", "to_day", before="eligible")
