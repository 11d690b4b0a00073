"""How many regex searches and literal searches did user X run in a month?"""

from __future__ import annotations

import calendar
import re
from datetime import date
from typing import TYPE_CHECKING, Annotated, Final

import ibis
import msgspec
import pyarrow as pa
from msgspec import Meta
from msgspec.structs import replace

from heliograph.event import RANDOM_ID_PATTERN
from heliograph.insights.activity import MONTH
from heliograph.insights.answer import Answer, scope_parameters
from heliograph.insights.building import built_once
from heliograph.insights.filters import scoped, within
from heliograph.insights.scope import QuestionError, Scope, Window, checked

if TYPE_CHECKING:
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Comparison, Plan

_NOT_ASKED: Final = {"since", "until", "unit"}
"""What the month and the user stand for."""
UNKNOWN: Final = "(not given)"
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


class SearchRule(msgspec.Struct, frozen=True, kw_only=True):
    """Whose searches are counted."""

    user: Annotated[str, Meta(pattern=f"^{RANDOM_ID_PATTERN.pattern}$")] | None = None
    """The user's random id; None: each user's."""
    days: Annotated[int, Meta(ge=1)] = MONTH
    """Days that count, up to the scope's last, where the scope has no first day."""


@built_once
def searches(tables: Tables, plan: Plan, scope: Scope, *, rule: SearchRule | None = None) -> ibis.Table:
    """Return how many searches of each kind each user ran; only kinds that occur.

    Every search counts, whatever its outcome.

    Returns:
        user_id, `kind` (`UNKNOWN` where an event does not say), `events`. Nothing where the plan does not say which
        event is a search.
    """
    rule = checked(rule or SearchRule())
    counted = within(scoped(tables, plan, scope).user_days, scope.window(rule.days))
    counted = counted.filter(counted.name == (plan.searches.event if plan.searches else ""), counted.user_id.notnull())
    if rule.user is not None:
        counted = counted.filter(counted.user_id == rule.user)
    kinds = counted.mutate(kind=counted.kind.fill_null(UNKNOWN))
    return kinds.group_by(["user_id", "kind"]).agg(events=kinds.events.sum()).order_by(["user_id", "kind"])


def answer_searches(tables: Tables, plan: Plan, scope: Scope, *, user: str, month: str) -> Answer:
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
        asked = replace(scope, since=days.first, until=days.last)
        found = searches(tables, plan, asked, rule=SearchRule(user=user)).to_pyarrow().to_pylist()
        counts = _in_order({row["kind"]: row["events"] for row in found}, comparison)
        notes = (
            [] if counts else [_why_none(scoped(tables, plan, scope), scope, comparison.event, user=user, month=days)]
        )
        if days.first <= scope.today <= days.last:
            notes.append(f"{month} is not over: the figures can still grow.")
    asked_of = {name: value for name, value in scope_parameters(scope).items() if name not in _NOT_ASKED}
    return Answer(
        question=f"How many {event} of each {kind} did user {user} have in {month}?",
        definition=f"Events of the calendar month ({scope.zone} days), whatever their outcome, by {kind}.",
        table=pa.table(
            {kind: pa.array(list(counts), pa.string()), "events": pa.array(list(counts.values()), pa.int64())}
        ),
        parameters={"user": user, "month": month} | asked_of,
        notes=tuple(notes),
    )


def _in_order(found: dict[str, int], comparison: Comparison) -> dict[str, int]:
    """Return the counts with the plan's own kinds first, 0 where there are none; nothing when nothing was found."""
    kinds = [*comparison.members, *sorted(found.keys() - set(comparison.members))] if found else []
    return {kind: found.get(kind, 0) for kind in kinds}


def _why_none(scoped_tables: Tables, scope: Scope, event: str, *, user: str, month: Window) -> str:
    theirs = scoped_tables.user_days.filter(scoped_tables.user_days.user_id == user)
    inside = theirs.day.between(ibis.literal(month.first), ibis.literal(month.last))
    # At once: to find one user's rows of all time means to look into all files.
    [known] = theirs.agg(latest=theirs.day.max(), count=theirs.events.sum(where=inside)).to_pyarrow().to_pylist()
    if known["latest"] is None:
        where = " of those chosen" if scope.features or scope.versions or scope.clients else ""
        where = where or (" of the chosen accounts and instances" if scope.accounts or scope.instances else "")
        return f"No event{where} is of this user, in any month."
    if known["count"]:
        return f"None of this user's events of the month ({known['count']:,}) is {event}."
    return f"This user has no events in {month.first:%Y-%m}; the latest is of {known['latest']:%Y-%m-%d}."
