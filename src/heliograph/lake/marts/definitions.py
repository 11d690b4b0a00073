"""What each mart is: a pure function from events to a table, which any engine that Ibis knows can run.

A mart is what its definition says of all events. The loader keeps it by adding what the definition says of those that
are new, so that a mart may hold several rows of one key, each with a part of its counts and sets: **counts are summed,
sets are united, and rows are never counted**. Uniques are counted from the rows, and never summed. `instance_days`
alone has one row a key.

All of them leave out events with an ``actor``, which are those of the vendor's operators and of services, and name
events as the plan now does. Days are UTC days.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import ibis
import msgspec
import pyarrow as pa

from heliograph.lake.marts.feature_sets import bit_or, bits_of_features, bits_of_names
from heliograph.plan.changes import present_names

if TYPE_CHECKING:
    from heliograph.plan.model import Plan

VERSION: Final = 3
"""Of the definitions below: marts of another version are made anew."""

USER_DAY: Final = ("account", "instance", "user_id", "day")
"""The columns by which a user's day is known."""
PART_GAP_MINUTES: Final = 30
"""No two events of a part of a session, one after the other, lie further apart."""


def definition_digest(plan: Plan) -> str:
    """Return the SHA-256 of all that marts depend on beside the events: as long as it is the same, they hold."""
    meanings = {name: (event.feature, event.active, event.core) for name, event in plan.events.items()}
    content = (VERSION, PART_GAP_MINUTES, present_names(plan), meanings, plan.searches)
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def counted_events(events: ibis.Table, plan: Plan) -> ibis.Table:
    """Return the events that questions count, under their present names: those without an actor."""
    return under_present_names(events.filter(events.actor.isnull()), plan)


def under_present_names(events: ibis.Table, plan: Plan) -> ibis.Table:
    """Return the events as if they had always been called what `plan` calls them; `events` itself without renames."""
    names = present_names(plan)
    return events.mutate(name=events.name.substitute(names)) if names else events


def meanings(plan: Plan) -> ibis.Table:
    """Return what the plan says of each event that makes its user active: `name`, `feature`, `core`."""
    return _table_of(tuple((name, event.feature, event.core) for name, event in plan.events.items() if event.active))


@lru_cache(maxsize=16)
def _table_of(declared: tuple[tuple[str, str, bool], ...]) -> ibis.Table:
    """Return the table, the same one each time: expressions of equal parts are known to be equal, and compiled once."""
    names, features, cores = zip(*declared, strict=True) if declared else ((), (), ())
    return ibis.memtable(
        pa.table(
            {
                "name": pa.array(names, pa.string()),
                "feature": pa.array(features, pa.string()),
                "core": pa.array(cores, pa.bool_()),
            }
        )
    )


def all_marts(
    counted: ibis.Table, plan: Plan, *, days: ibis.Table | None = None, parts: ibis.Table | None = None
) -> dict[str, ibis.Table]:
    """Return each mart by its name.

    Args:
        counted: Events as `counted_events` returns them.
        plan: Says what they mean.
        days: `user_days` where it is at hand, for those that are made of it; None: they are made of events, too.
        parts: Likewise `session_parts`.
    """
    made_days, made_parts = user_days(counted, plan), session_parts(counted, plan)
    days, parts = made_days if days is None else days, made_parts if parts is None else parts
    of_features = user_feature_days(days, plan)
    return {
        "user_days": made_days,
        "user_feature_days": of_features,
        "active_days": active_days(of_features, plan),
        "session_parts": made_parts,
        "session_spans": session_spans(parts, plan),
        "instance_days": instance_days(days, plan),
    }


def user_days(counted: ibis.Table, plan: Plan) -> ibis.Table:
    """Return how many events there were of each user, day, event and outcome.

    Args:
        counted: Events as `counted_events` returns them.
        plan: Says which event is a search, and which property is its kind.

    Returns:
        account, instance, `user_id` (null: of nobody), `day` (date), name, outcome, version, source, `kind` (of a
        search; else null), `events`.
    """
    comparison = plan.searches
    kind = (
        ibis.null("string")
        if comparison is None or comparison.by not in counted.columns
        else ibis.ifelse(counted.name == comparison.event, counted[comparison.by].cast("string"), None)
    )
    keys = ["account", "instance", "user_id", "day", "name", "outcome", "version", "source", "kind"]
    return (
        counted.mutate(day=counted.time.cast("date"), kind=kind).group_by(keys).agg(events=lambda table: table.count())
    )


def user_feature_days(days: ibis.Table, plan: Plan) -> ibis.Table:
    """Return how much each user used each feature on each day; only events that make their user active.

    Args:
        days: `user_days`.
        plan: Says the feature of each event.

    Returns:
        account, instance, user_id, `day` (date), `feature`, version, source, `events`, `core_actions`, `outcomes`
        (events that have one), `failures` (those of them that did not end in ``ok``).
    """
    joined = days.filter(days.user_id.notnull()).join(meanings(plan), "name")
    keys = ["account", "instance", "user_id", "day", "feature", "version", "source"]
    return joined.group_by(keys).agg(
        events=joined.events.sum(),
        core_actions=joined.events.sum(where=joined.core).fill_null(0),
        outcomes=joined.events.sum(where=joined.outcome.notnull()).fill_null(0),
        failures=joined.events.sum(where=joined.outcome.notnull() & (joined.outcome != "ok")).fill_null(0),
    )


def active_days(feature_days: ibis.Table, plan: Plan) -> ibis.Table:
    """Return what each user did on each day on which they were active: a row, as long as the plan has few features.

    Args:
        feature_days: `user_feature_days`.
        plan: Says which features there are.

    Returns:
        account, instance, user_id, `day` (date), `page` and `features` (a set; see
        `heliograph.lake.marts.feature_sets`), and of the events of these features `events`, `core_actions`,
        `outcomes`, `failures`.
    """
    joined = feature_days.join(bits_of_features(plan), "feature")
    return joined.group_by([*USER_DAY, "page"]).agg(
        features=bit_or(joined.bit),
        events=joined.events.sum(),
        core_actions=joined.core_actions.sum(),
        outcomes=joined.outcomes.sum(),
        failures=joined.failures.sum(),
    )


def session_parts(counted: ibis.Table, plan: Plan) -> ibis.Table:
    """Return the runs of active events of one user on one instance without a longer pause than `PART_GAP_MINUTES`.

    A part is what is known of a session from some of the events: the whole session is what parts make together that
    overlap, or lie no further apart than the longest pause. That gives the same sessions as all events would, in
    whatever portions they arrive, as every event of a part has a neighbour within the pause. No part goes beyond its
    UTC day, so that a day can be made anew by itself; one that goes on after midnight is two that lie close together.

    Returns:
        account, instance, user_id, `day` (date), `begun` and `ended` (of the part: times of its first and last event),
        name, version, source, `events`: a row for each name, version and source of a part.
    """
    active = counted.filter(counted.user_id.notnull()).join(meanings(plan), "name")
    active = active.mutate(day=active.time.cast("date"))
    before = active.time.lag().over(ibis.window(group_by=USER_DAY, order_by="time"))
    bounded = in_parts(active, before, begun="time", ended="time")
    keys = ["account", "instance", "user_id", "day", "begun", "ended", "name", "version", "source"]
    return bounded.group_by(keys).agg(events=bounded.count())


def session_spans(parts: ibis.Table, plan: Plan) -> ibis.Table:
    """Return the parts of sessions with the set of the features that were used in each: a row a part.

    Args:
        parts: `session_parts`.
        plan: Says the feature of each event.

    Returns:
        account, instance, user_id, `day` (date), `begun` and `ended` (of the part), `page` and `features` (a set; see
        `heliograph.lake.marts.feature_sets`), and `events` of these features.
    """
    joined = parts.join(bits_of_names(plan), "name")
    return joined.group_by([*USER_DAY, "begun", "ended", "page"]).agg(
        features=bit_or(joined.bit), events=joined.events.sum()
    )


def in_parts(rows: ibis.Table, before: ibis.Value, *, begun: str, ended: str) -> ibis.Table:
    """Return rows of users' days with `begun` and `ended` of the part of a session that each belongs to.

    Args:
        rows: With the columns of a user's day, and when what each tells of begins and ends.
        before: For each row, when what comes before it on the user's day ends; null: nothing does.
        begun: The column with the beginnings.
        ended: The column with the ends.
    """
    begins = before.isnull() | (rows[begun] > before + ibis.interval(minutes=PART_GAP_MINUTES))
    marked = rows.mutate(begins=begins.cast("int64"))
    # By range, not by rows: what begins and ends at the same microsecond belongs together, whichever comes first.
    order = list(dict.fromkeys([begun, ended]))
    until_here = ibis.window(group_by=USER_DAY, order_by=order, range=(None, 0))
    numbered = marked.mutate(part=marked.begins.sum().over(until_here))
    whole = ibis.window(group_by=[*USER_DAY, "part"])
    return numbered.mutate(begun=numbered[begun].min().over(whole), ended=numbered[ended].max().over(whole))


def instance_days(days: ibis.Table, plan: Plan) -> ibis.Table:
    """Return what each instance did on each day on which anything came from it.

    Args:
        days: `user_days`.
        plan: Says which events make their user active, and which are core actions.

    Returns:
        account, instance, `day` (date), `events` (of any kind), `active_users`, `features` (distinct), `core_actions`,
        `outcomes`, `failures`: the last five of events that make their user active. One row a key.
    """
    joined = days.left_join(meanings(plan), "name")
    active = joined.feature.notnull() & joined.user_id.notnull()
    return joined.group_by(["account", "instance", "day"]).agg(
        events=joined.events.sum(),
        active_users=joined.user_id.nunique(where=active),
        features=joined.feature.nunique(where=active),
        core_actions=joined.events.sum(where=active & joined.core).fill_null(0),
        outcomes=joined.events.sum(where=active & joined.outcome.notnull()).fill_null(0),
        failures=joined.events.sum(where=active & joined.outcome.notnull() & (joined.outcome != "ok")).fill_null(0),
    )
