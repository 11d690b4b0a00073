"""How many users use several features in one session?

A session is a run of one user's events on one instance without a long pause. The pause of 30 minutes is the convention
of web analytics, from the study of Catledge and Pitkow (1995). A session counts whole in the days on which it began.
"""

from __future__ import annotations

from datetime import time, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import ibis
import msgspec
from msgspec import Meta

from heliograph.insights.activity import MONTH
from heliograph.insights.answer import Answer, scope_notes, scope_parameters
from heliograph.insights.bits import count_features, sets, unions, with_feature_sets, with_paged_sets
from heliograph.insights.building import built_once
from heliograph.insights.filters import chosen, matches, midnight, restricts_use, scoped, with_unit
from heliograph.insights.known_days import told_complete
from heliograph.insights.listing import is_in_process
from heliograph.insights.numbering import Numbered, numbered
from heliograph.insights.pauses import feature_numbers, sessions_of, use
from heliograph.insights.scope import Scope, checked, day_number, number_of
from heliograph.insights.zones import WIDEST, local_time
from heliograph.lake.marts.definitions import PART_GAP_MINUTES
from heliograph.lake.marts.feature_sets import count_pages
from heliograph.lake.marts.tables import SPAN_FILE

if TYPE_CHECKING:
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan

_USER: Final = ["account", "instance", "user_id"]
_MICROSECONDS: Final = 60 * 1_000_000
"""Of a minute."""


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
    whole = _sessions(tables, plan, scope, rule)
    order = ibis.window(group_by=whole.by, order_by="begun")
    counted = _counted(whole.rows.mutate(session=ibis.row_number().over(order) + 1), scope, rule)
    told = whole.told(counted).select(*_USER, "begun", "ended", "events", "features", "session")
    return with_unit(told, scope)


def _counted(whole: ibis.Table, scope: Scope, rule: SessionRule) -> ibis.Table:
    """Return those that began within the window and had use that counts."""
    window = scope.window(rule.days)
    begun = day_number(local_time(whole.begun, scope.zone, now=scope.now))
    return whole.filter(whole.events > 0, begun >= number_of(window.first), begun <= number_of(window.last))


def _sessions(tables: Tables, plan: Plan, scope: Scope, rule: SessionRule) -> Numbered:
    """Return all sessions that the spans make: a row each, with what the filters leave of its `events` and `features`.

    Most are one span, and known by their neighbours. Only those of several spans, which are few, are numbered and
    grouped once more.
    """
    is_kept = tables.kept and rule.gap_minutes >= PART_GAP_MINUTES
    if not is_kept and is_in_process(tables.events):
        return Numbered(_gone_through(tables, plan, scope, rule), _USER, None)
    spans = _spans(tables, plan, scope, rule, is_kept=is_kept)
    return _joined(numbered(spans, ["instance", "user_id"], beside=["account"]), rule, is_kept=is_kept)


def _joined(of_users: Numbered, rule: SessionRule, *, is_kept: bool) -> Numbered:
    """Return the sessions that spans make; see `_sessions` and `_spans`."""
    spans, user = of_users.rows, of_users.by
    order = {"group_by": user, "order_by": "begun"}
    # Parts may overlap, as events arrive in whatever portions; stretches of the clock do not.
    previous = {"rows": (None, -1)} if is_kept else {}
    before = (spans.ended.max() if is_kept else spans.ended.lag()).over(ibis.window(**order, **previous))
    reached = ibis.greatest(before.fill_null(spans.ended), spans.ended)
    after = spans.begun.lead().over(ibis.window(**order))
    pause = ibis.interval(minutes=rule.gap_minutes)
    marked = spans.mutate(
        begins=before.isnull() | (spans.begun > before + pause), ends=after.isnull() | (after > reached + pause)
    )
    alone = marked.filter(marked.begins & marked.ends)
    several = marked.filter(~(marked.begins & marked.ends))
    # By range, not by rows: of spans that begin together one alone begins the session of all.
    beginning = ibis.ifelse(several.begins, several.begun, None).max().over(ibis.window(**order, range=(None, 0)))
    several = several.mutate(session_begun=beginning)
    joined = several.group_by([*user, "session_begun"]).agg(
        ended=several.ended.max(), events=several.events.sum(), **unions(several)
    )
    columns = [*user, "begun", "ended", "events", *sets(spans)]
    whole = ibis.union(alone.select(columns), joined.rename(begun="session_begun").select(columns))
    return of_users._replace(rows=whole.select(*user, "begun", "ended", "events", features=count_features(whole)))


def _gone_through(tables: Tables, plan: Plan, scope: Scope, rule: SessionRule) -> ibis.Table:
    """Return the sessions of all events, by one pass over each user's."""
    events = chosen(tables.events, scope)
    events = events.filter(events.time >= _earliest(scope, rule), events.user_id.notnull())
    numbers = feature_numbers(plan)
    active = events.select(*_USER, "name", "time", "version", "source").join(numbers.table, "name")
    matched = matches(active, plan, scope)
    active = active.mutate(counts=ibis.literal(True) if matched is None else matched)  # noqa: FBT003 - the value
    users = active.group_by(["instance", "user_id"]).agg(
        account=active.account.arbitrary(), use=use(active, numbers.features)
    )
    found = users.select(
        *_USER, session=sessions_of(users.use, numbers.features, rule.gap_minutes * _MICROSECONDS).unnest()
    )
    return found.select(*_USER, **{name: found.session[name] for name in ("begun", "ended", "events", "features")})


def _earliest(scope: Scope, rule: SessionRule) -> ibis.Value:
    return midnight(scope.window(rule.days).first, before=WIDEST + timedelta(minutes=rule.gap_minutes))


def _spans(tables: Tables, plan: Plan, scope: Scope, rule: SessionRule, *, is_kept: bool) -> ibis.Table:
    """Return stretches of use that lie within one session each, so few that putting them in order costs little.

    From the marts they are the parts of sessions. From events, all of a user within one stretch of the clock as long as
    a pause are one span: whatever else there is, no pause lies between them.

    A session that began before the window has a part that ended no longer before it than a pause; it is read too, and
    is what tells that the session did not begin later. To the other side there is no bound: however long a session
    goes on, it belongs to the day of its beginning.

    Returns:
        account, instance, user_id, `begun` (from events once for each user), `ended` (from events in that order, too);
        of what the filters leave, `events` and sets of features as bits.
    """
    earliest = _earliest(scope, rule)
    if is_kept and not restricts_use(scope):
        spans = with_paged_sets(chosen(tables.session_spans, scope), plan)
        return spans.filter(spans.ended >= earliest).select(*_USER, "begun", "ended", "events", *sets(spans))
    told = [*_USER, "name", "version", "source"]
    if is_kept:
        parts = chosen(tables.session_parts, scope)
        rows = parts.filter(parts.ended >= earliest).select(*told, "begun", "ended", "events", span="begun")
    else:
        events = chosen(tables.events, scope)
        events = events.filter(events.time >= earliest, events.user_id.notnull())
        span = events.time.epoch_seconds() // (rule.gap_minutes * 60)
        rows = events.select(*told, begun="time", ended="time", events=ibis.literal(1, "int64"), span=span)
    joined = with_feature_sets(rows, plan)
    matched = matches(joined, plan, scope)
    events = joined.events if matched is None else ibis.ifelse(matched, joined.events, 0)
    # An instance is of one account for ever: it needs no grouping by it, which costs a quarter of all.
    spans = joined.group_by(["instance", "user_id", "span"]).agg(
        account=joined.account.max(),
        begun=joined.begun.min(),
        ended=joined.ended.max(),
        events=events.sum(),
        **unions(joined, where=matched),
    )
    # Not by dropping the other: Ibis would not know again what it has dropped columns of, and compute it twice.
    return spans.select(*_USER, "begun", "ended", "events", *sets(spans))


def _sessions_of_users(tables: Tables, plan: Plan, scope: Scope, rule: SessionRule) -> ibis.Table:
    """Return account, instance, user_id, `sessions` and `multi_feature_sessions`: of a user one row, or two.

    By user first: distinct users of several conditions cost an engine a table of them each.
    """
    is_short = rule.gap_minutes == PART_GAP_MINUTES and count_pages(plan) == 1 and not restricts_use(scope)
    if tables.filed_spans is None or not is_short:
        return _by_user(_sessions(tables, plan, scope, rule), scope, rule)
    spans = chosen(tables.filed_spans, scope)
    # By days, and not by when they end: to find what is in several files takes no times then. No zone's first day, nor
    # a pause before it, reaches further back than one.
    spans = spans.filter(spans.day >= ibis.literal(scope.window(rule.days).first - timedelta(days=1)))
    alone, near = _parted(with_paged_sets(spans, plan))
    columns = [*_USER, "begun", "ended", "events"]
    whole = Numbered(alone.select(*columns, features=count_features(alone)), _USER, None)
    # They are few: to number their users would take longer.
    joined = _joined(Numbered(near.select(*columns, *sets(near)), _USER, None), rule, is_kept=True)
    return ibis.union(_by_user(whole, scope, rule), _by_user(joined, scope, rule))


def _parted(spans: ibis.Table) -> tuple[ibis.Table, ibis.Table]:
    """Return the spans that are sessions as they are, which are most, and those that others may belong to.

    In one file no two spans of a user's day belong together. So a span is alone unless rows of the same instance and
    day are in several files, or midnight is within `PART_GAP_MINUTES`.
    """
    key = ["instance", "day"]
    files = spans.group_by(key).agg(first=spans[SPAN_FILE].min(), last=spans[SPAN_FILE].max())
    shared = files.filter(files.first != files.last)
    # Nothing of a span lies beyond its day: the times of day say it, and more quickly than times beside the midnights.
    is_far = (spans.begun.time() > ibis.literal(time(minute=PART_GAP_MINUTES))) & (
        spans.ended.time() < ibis.literal(time(23, 60 - PART_GAP_MINUTES))
    )
    far, others = spans.filter(is_far), spans.filter(~is_far)
    # As a view, which is another table to Ibis: so it has the engine compute both of one.
    return far.anti_join(shared, key), ibis.union(far.semi_join(shared.view(), key), others)


def _by_user(whole: Numbered, scope: Scope, rule: SessionRule) -> ibis.Table:
    table = _counted(whole.rows, scope, rule)
    counts = table.group_by(whole.by).agg(
        sessions=table.count(), multi_feature_sessions=table.count(where=table.features >= rule.features)
    )
    return whole.told(counts).select(*_USER, "sessions", "multi_feature_sessions")


@built_once
def multi_feature_sessions(tables: Tables, plan: Plan, scope: Scope, *, rule: SessionRule | None = None) -> ibis.Table:
    """Return how many users had a session of several features, and how many sessions were such.

    Returns:
        The unit, `users` (with a session at all), `multi_feature_users`, `share_of_users`, `sessions`,
        `multi_feature_sessions`, `share_of_sessions`, and `complete`: whether all of the days are over, and lie after
        the unit's data began.
    """
    rule = checked(rule or SessionRule())
    table = with_unit(_sessions_of_users(tables, plan, scope, rule), scope)
    users = table.group_by([scope.unit, "user_id"]).agg(
        sessions=table.sessions.sum(), multi_feature_sessions=table.multi_feature_sessions.sum()
    )
    counts = users.group_by(scope.unit).agg(
        users=users.count(),
        multi_feature_users=users.count(where=users.multi_feature_sessions > 0),
        sessions=users.sessions.sum(),
        multi_feature_sessions=users.multi_feature_sessions.sum(),
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
