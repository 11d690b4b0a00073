"""How many regex searches and literal searches did user X run in a month?"""

from __future__ import annotations

import calendar
import re
from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa

from heliograph.event import RANDOM_ID_PATTERN
from heliograph.insights.answer import Answer
from heliograph.insights.scope import QuestionError, Scope, Window, between, chosen

if TYPE_CHECKING:
    import ibis

    from heliograph.plan.model import Comparison, Plan

UNKNOWN = "(not given)"
"""Stands for searches whose kind the event does not say."""


def parse_month(text: str) -> Window:
    """Return the days of the calendar month that `text` names, such as ``2026-10``.

    Raises:
        QuestionError: It names none.
    """
    match = re.fullmatch(r"([0-9]{4})-(0[1-9]|1[0-2])", text)
    if match is None or match[1] == "0000":
        raise QuestionError([f"{text!r} is no month; write the year and the month, such as 2026-10."])
    year, month = int(match[1]), int(match[2])
    days = calendar.monthrange(year, month)[1]
    return Window(last=date(year, month, days), days=days)


def parse_user(text: str) -> str:
    """Return `text` as the random id of a user.

    Raises:
        QuestionError: It is not of the form that random ids have.
    """
    if RANDOM_ID_PATTERN.fullmatch(text) is None:
        problem = (
            f"{text!r} is no user id; a user is known here by a random id of 32 hexadecimal digits in lower case, "
            "which the customer's admin can look up on the instance."
        )
        raise QuestionError([problem])
    return text


def searches(events: ibis.Table, comparison: Comparison, scope: Scope, *, user: str, month: Window) -> ibis.Table:
    """Return one user's searches of a month by kind; only kinds that occur.

    Every search counts, whatever its outcome.

    Args:
        events: The lake's events.
        comparison: The event that is a search, and the property that says its kind.
        scope: Which accounts and instances count; its last day does not matter here.
        user: The user's random id.
        month: The days of the month.

    Returns:
        A column of kinds with the property's name (`UNKNOWN` where an event does not say), and `events`.
    """
    counted = between(chosen(events, scope), month.first, month.last)
    counted = counted.filter(counted.name == comparison.event, counted.user_id == user)
    kinds = counted.select(kind=counted[comparison.by].cast("string").fill_null(UNKNOWN))
    return kinds.group_by("kind").agg(events=kinds.count()).rename({comparison.by: "kind"})


def answer_searches(events: ibis.Table, plan: Plan, scope: Scope, *, user: str, month: str) -> Answer:
    """Answer how many searches of each kind `user` ran in `month`, such as ``2026-10``.

    The kinds that the plan names come first, also when there were none; all others follow by name.

    Raises:
        QuestionError: `user` or `month` is ill-formed.
    """
    days, user, comparison = parse_month(month), parse_user(user), plan.searches
    if comparison is None:
        counts: dict[str, int] = {}
        event, kind = "searches", "kind"
        notes = [f"The tracking plan {plan.label} does not say which event is a search; add `searches` to it."]
    else:
        event, kind = comparison.event, comparison.by
        found = searches(events, comparison, scope, user=user, month=days).to_pyarrow().to_pylist()
        counts = _in_order({row[kind]: row["events"] for row in found}, comparison)
        notes = [] if counts else [_why_none(events, scope, comparison.event, user=user, month=days)]
        if days.first <= scope.today <= days.last:
            notes.append(f"{month} is not over: the figures can still grow.")
    return Answer(
        question=f"How many {event} of each {kind} did user {user} have in {month}?",
        definition=f"Events of the calendar month (UTC days), whatever their outcome, by {kind}.",
        table=pa.table(
            {kind: pa.array(list(counts), pa.string()), "events": pa.array(list(counts.values()), pa.int64())}
        ),
        parameters={
            "user": user,
            "month": month,
            "time_zone": "UTC",
            "accounts": list(scope.accounts),
            "instances": list(scope.instances),
        },
        notes=tuple(notes),
    )


def _in_order(found: dict[str, int], comparison: Comparison) -> dict[str, int]:
    """Return the counts with the plan's own kinds first, 0 where there are none; nothing when nothing was found."""
    kinds = [*comparison.members, *sorted(found.keys() - set(comparison.members))] if found else []
    return {kind: found.get(kind, 0) for kind in kinds}


def _why_none(events: ibis.Table, scope: Scope, event: str, *, user: str, month: Window) -> str:
    theirs = chosen(events, scope).filter(lambda table: table.user_id == user)
    latest = theirs.time.max().to_pyarrow().as_py()
    if latest is None:
        where = " of the chosen accounts and instances" if scope.accounts or scope.instances else ""
        return f"No event{where} is of this user, in any month."
    if count := between(theirs, month.first, month.last).count().to_pyarrow().as_py():
        return f"None of this user's events of the month ({count:,}) is {event}."
    return f"This user has no events in {month.first:%Y-%m}; the latest is of {latest:%Y-%m-%d}."
