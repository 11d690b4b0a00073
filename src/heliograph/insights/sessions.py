"""How many users use several features in one session?

A session is a run of one user's events on one instance without a long pause. The pause of 30 minutes is the convention
of web analytics, from the study of Catledge and Pitkow (1995). A session counts whole in the days on which it began.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import ibis
import msgspec
from msgspec import Meta

from heliograph.insights.activity import MONTH
from heliograph.insights.answer import Answer, scope_notes, scope_parameters
from heliograph.insights.filters import chosen, matching, midnight, scoped
from heliograph.insights.known_days import told_complete
from heliograph.insights.scope import Scope, checked, day_number, number_of
from heliograph.insights.zones import WIDEST, local_time
from heliograph.lake.marts.definitions import PART_GAP_MINUTES, meanings, session_parts

if TYPE_CHECKING:
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan


class SessionRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a session is, and when it is one of several features."""

    gap_minutes: Annotated[int, Meta(ge=1, le=1440)] = 30
    """A session goes on while no more than this lies between two events of its user: 30 minutes, as web analytics
    has it by convention."""
    features: Annotated[int, Meta(ge=2)] = 2
    """Distinct features that make a session one of several features."""
    days: Annotated[int, Meta(ge=1)] = MONTH
    """Days that count, up to the scope's last, where the scope has no first day."""


def sessions(tables: Tables, plan: Plan, scope: Scope, *, rule: SessionRule | None = None) -> ibis.Table:
    """Return the sessions that began within the days that count, and had use that the scope's filters leave.

    The filters by feature, version and client say what is counted in a session and which sessions are counted, but
    not where one begins or ends.

    Returns:
        account, instance, user_id, `session` (1, 2, ... of the user on the instance, in the days read), `begun` and
        `ended` (the UTC times of its first and last event of whatever feature), `events`, `features` (distinct); and
        `everyone` where that is the unit.
    """
    rule = checked(rule or SessionRule())
    merged = _merged(_parts(tables, plan, scope, rule), rule.gap_minutes)
    session = ["account", "instance", "user_id", "session_begun"]
    merged = merged.mutate(session_ended=merged.ended.max().over(ibis.window(group_by=session)))
    order = ibis.window(group_by=["account", "instance", "user_id"], order_by="session_begun")
    merged = merged.mutate(session=ibis.dense_rank().over(order) + 1)
    counted = _counted(merged, plan, scope, rule)
    return counted.group_by([*session[:-1], "session", *_everyone(scope)]).agg(
        begun=counted.session_begun.min(),
        ended=counted.session_ended.max(),
        events=counted.events.sum(),
        features=counted.feature.nunique(),
    )


def _everyone(scope: Scope) -> list[str]:
    return ["everyone"] if scope.unit == "everyone" else []


def _counted(merged: ibis.Table, plan: Plan, scope: Scope, rule: SessionRule) -> ibis.Table:
    """Return the parts of the sessions that began within the window, of what the filters leave, with `feature`."""
    window = scope.window(rule.days)
    begun = day_number(local_time(merged.session_begun, scope.zone, now=scope.now))
    counted = matching(merged.filter(begun >= number_of(window.first), begun <= number_of(window.last)), plan, scope)
    return counted.join(meanings(plan).select("name", "feature"), "name")


def _parts(tables: Tables, plan: Plan, scope: Scope, rule: SessionRule) -> ibis.Table:
    """Return all parts that decide which sessions began in the window, and what was in them.

    A session that began before has a part that ended no longer before the window than a pause; it is read too, and is
    what tells that the session did not begin later. To the other side there is no bound: however long a session goes
    on, it belongs to the day of its beginning.
    """
    margin = WIDEST + timedelta(minutes=rule.gap_minutes)
    earliest = midnight(scope.window(rule.days).first, before=margin)
    if tables.kept and rule.gap_minutes >= PART_GAP_MINUTES:
        parts = chosen(tables.session_parts, scope)
        return parts.filter(parts.ended >= earliest)
    events = chosen(tables.events, scope)
    return chosen(session_parts(events.filter(events.time >= earliest), plan, gap_minutes=rule.gap_minutes), scope)


def _merged(parts: ibis.Table, gap_minutes: int) -> ibis.Table:
    """Return the parts with `session_begun`, of the session that each belongs to: no two of a user begin at once."""
    order = {"group_by": ["account", "instance", "user_id"], "order_by": "begun"}
    reached = parts.ended.max().over(ibis.window(**order, rows=(None, -1)))
    begins = reached.isnull() | (parts.begun > reached + ibis.interval(minutes=gap_minutes))
    marked = parts.mutate(beginning=ibis.ifelse(begins, parts.begun, None))
    # By range, not by rows: parts that begin at the same microsecond belong together, whichever of them comes first.
    return marked.mutate(session_begun=marked.beginning.max().over(ibis.window(**order, range=(None, 0))))


def multi_feature_sessions(tables: Tables, plan: Plan, scope: Scope, *, rule: SessionRule | None = None) -> ibis.Table:
    """Return how many users had a session of several features, and how many sessions were such.

    Returns:
        The unit, `users` (with a session at all), `multi_feature_users`, `share_of_users`, `sessions`,
        `multi_feature_sessions`, `share_of_sessions`, and `complete`: whether all of the days are over, and lie after
        the unit's data began.
    """
    rule = checked(rule or SessionRule())
    counted = _counted(_merged(_parts(tables, plan, scope, rule), rule.gap_minutes), plan, scope, rule)
    session = ["account", "instance", "user_id", "session_begun", *_everyone(scope)]
    table = counted.group_by(session).agg(features=counted.feature.nunique())
    several = table.features >= rule.features
    counts = table.group_by(scope.unit).agg(
        users=table.user_id.nunique(),
        multi_feature_users=table.user_id.nunique(where=several),
        sessions=table.count(),
        multi_feature_sessions=table.count(where=several),
    )
    shares = counts.select(
        scope.unit,
        "users",
        "multi_feature_users",
        "sessions",
        "multi_feature_sessions",
        share_of_users=counts.multi_feature_users / counts.users,
        share_of_sessions=counts.multi_feature_sessions / counts.sessions,
    ).relocate("share_of_users", before="sessions")
    return told_complete(shares, scoped(tables, plan, scope), scope, scope.window(rule.days)).order_by(scope.unit)


def answer_multi_feature_sessions(
    tables: Tables, plan: Plan, scope: Scope, *, rule: SessionRule | None = None
) -> Answer:
    """Answer how many users use several features in one session, by account or instance."""
    rule = rule or SessionRule()
    window = scope.window(rule.days)
    table = multi_feature_sessions(tables, plan, scope, rule=rule).to_pyarrow()
    notes = scope_notes(scope)
    if not table.num_rows:
        notes.append(f"Nobody was active from {window}.")
    return Answer(
        question="How many users use several features in one session?",
        definition=(
            f"A session is a run of one user's events on one instance without a pause of more than {rule.gap_minutes} "
            f"minutes, begun within the {window.days} days from {window}; one with {rule.features} or more distinct "
            "features is multi-feature."
        ),
        table=table,
        parameters=scope_parameters(scope, **msgspec.structs.asdict(rule)),
        notes=tuple(notes),
    )
