"""How many users use several features in one session?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import ibis
import msgspec
from msgspec import Meta

from heliograph.insights.activity import MONTH, active_events
from heliograph.insights.answer import Answer, scope_notes, scope_parameters
from heliograph.insights.scope import Scope, Window, checked

if TYPE_CHECKING:
    from heliograph.plan.model import Plan


class SessionRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a session is, and when it is one of several features."""

    gap_minutes: Annotated[int, Meta(ge=1, le=1440)] = 30
    """A session goes on while no more than this lies between two events of its user: 30 minutes, as web analytics
    has it by convention."""
    features: Annotated[int, Meta(ge=2)] = 2
    """Distinct features that make a session one of several features."""
    days: Annotated[int, Meta(ge=1)] = MONTH
    """Days that count, up to the scope's last."""


def sessions(active: ibis.Table, *, gap_minutes: int = 30) -> ibis.Table:
    """Return the sessions among `active` events: runs of one user on one instance without a longer gap.

    Args:
        active: Events as `heliograph.insights.activity.active_events` returns them. A session that had begun before
            the first of them begins with the first.
        gap_minutes: The longest pause within a session.

    Returns:
        account, instance, user_id, `session` (1, 2, ... of the user on the instance), `begun` and `ended` (the times
        of its first and last event), `events`, `features` (distinct).
    """
    order = {"group_by": ["instance", "user_id"], "order_by": "time"}
    before = active.time.lag().over(ibis.window(**order))
    begins = before.isnull() | (active.time > before + ibis.interval(minutes=gap_minutes))
    marked = active.mutate(begins=begins.cast("int64"))
    # By range, not by rows: events at the same microsecond belong together, whichever of them comes first.
    numbered = marked.mutate(session=marked.begins.sum().over(ibis.window(**order, range=(None, 0))))
    return numbered.group_by(["account", "instance", "user_id", "session"]).agg(
        begun=numbered.time.min(),
        ended=numbered.time.max(),
        events=numbered.count(),
        features=numbered.feature.nunique(),
    )


def multi_feature_sessions(
    events: ibis.Table, plan: Plan, scope: Scope, *, rule: SessionRule | None = None
) -> ibis.Table:
    """Return how many users had a session of several features, and how many sessions were such.

    Returns:
        The unit, `users` (with a session at all), `multi_feature_users`, `share_of_users`, `sessions`,
        `multi_feature_sessions`, `share_of_sessions`.
    """
    rule = checked(rule or SessionRule())
    window = Window(last=scope.until, days=rule.days)
    table = sessions(active_events(events, plan, scope, window=window), gap_minutes=rule.gap_minutes)
    several = table.features >= rule.features
    counts = table.group_by(scope.unit).agg(
        users=table.user_id.nunique(),
        multi_feature_users=table.user_id.nunique(where=several),
        sessions=table.count(),
        multi_feature_sessions=table.count(where=several),
    )
    return (
        counts.select(
            scope.unit,
            "users",
            "multi_feature_users",
            "sessions",
            "multi_feature_sessions",
            share_of_users=counts.multi_feature_users / counts.users,
            share_of_sessions=counts.multi_feature_sessions / counts.sessions,
        )
        .relocate("share_of_users", before="sessions")
        .order_by(scope.unit)
    )


def answer_multi_feature_sessions(
    events: ibis.Table, plan: Plan, scope: Scope, *, rule: SessionRule | None = None
) -> Answer:
    """Answer how many users use several features in one session, by account or instance."""
    rule = rule or SessionRule()
    window = Window(last=scope.until, days=rule.days)
    table = multi_feature_sessions(events, plan, scope, rule=rule).to_pyarrow()
    notes = scope_notes(scope)
    if not table.num_rows:
        notes.append(f"Nobody was active from {window}.")
    return Answer(
        question="How many users use several features in one session?",
        definition=(
            f"A session is a run of one user's events on one instance without a pause of more than {rule.gap_minutes} "
            f"minutes, within the {rule.days} days from {window}; one with {rule.features} or more distinct features "
            "is multi-feature."
        ),
        table=table,
        parameters=scope_parameters(scope, **msgspec.structs.asdict(rule)),
        notes=tuple(notes),
    )
