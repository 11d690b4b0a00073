"""Do the pings say what the events say? Both are counted from the same events, by either end for itself.

The lake's events are counted a second time as they were when the ping came, to tell late events from a wrong count.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import ibis
import msgspec
import pyarrow as pa

from heliograph.insights.activity import MONTH, WEEK
from heliograph.insights.answer import Answer, scope_parameters
from heliograph.insights.difference import EXPLANATIONS, Found, Kind, kind_of
from heliograph.insights.filters import between, chosen
from heliograph.insights.scope import EPOCH, QuestionError, Window, day_number, number_of
from heliograph.lake.tables import ACTIVE_USERS, FEATURE_EVENTS, FEATURE_USERS
from heliograph.ping import SMALLEST_GROUP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from heliograph.insights.scope import Scope
    from heliograph.plan.model import Plan

PERIODS: Final = {"day": 1, "week": WEEK, "month": MONTH}
"""Days of each period of active users."""

InstanceDay: TypeAlias = tuple[str, int]
"""An instance, and a day as days since 1970-01-01."""
Measure: TypeAlias = tuple[str, str]
"""A measure of the lake's pings, and its key."""


class Head(NamedTuple):
    """What is known of a ping but its numbers."""

    account: str
    permitted: bool
    """Whether events were allowed when it came."""


class Difference(msgspec.Struct, frozen=True, order=True):
    """A number that a ping tells, beside what the lake's events give: a row of the answer."""

    account: str
    instance: str
    day: date
    measure: str
    key: str
    ping: int | None
    """None where it is suppressed."""
    lake: int
    kind: Kind


_SCHEMA: Final = pa.schema(
    [
        ("account", pa.string()),
        ("instance", pa.string()),
        ("day", pa.date32()),
        ("measure", pa.string()),
        ("key", pa.string()),
        ("ping", pa.int64()),
        ("lake", pa.int64()),
        ("kind", pa.string()),
    ]
)


def pings_between(pings: ibis.Table, scope: Scope, window: Window) -> ibis.Table:
    """Return the pings of the window's days, with `number`: the day as days since 1970-01-01."""
    numbered = chosen(pings, scope).mutate(number=pings.day.epoch_days().cast("int64"))
    return numbered.filter(numbered.number >= number_of(window.first), numbered.number <= number_of(window.last))


def arrivals(pings: ibis.Table) -> ibis.Table:
    """Return a row for each ping: account, instance, number, agreement, and `told`, when it came."""
    heads = pings.filter(pings.measure == ACTIVE_USERS, pings.key == "day")
    return heads.select("account", "instance", "number", "agreement", told="received")


def declared_events(events: ibis.Table, plan: Plan, scope: Scope, window: Window) -> ibis.Table:
    """Return the events that pings count: those that `plan` declares, of known users.

    Returns:
        instance, user_id, received, `number` (the day as days since 1970-01-01), `feature`, `active`.
    """
    definitions = pa.table(
        {
            "name": pa.array(list(plan.events), pa.string()),
            "feature": pa.array([event.feature for event in plan.events.values()], pa.string()),
            "active": pa.array([event.active for event in plan.events.values()], pa.bool_()),
        }
    )
    counted = between(chosen(events, scope), window.first, window.last)
    joined = counted.filter(counted.user_id.notnull()).join(ibis.memtable(definitions), "name")
    return joined.select("instance", "user_id", "received", "feature", "active", number=day_number(joined.time))


def active_users(declared: ibis.Table, arrived: ibis.Table) -> ibis.Table:
    """Return for each ping the users active in the periods that end with its day.

    Returns:
        instance, number, and for each of `PERIODS` its users, such as `week`, and those known by the events that had
        arrived when the ping came, such as `week_before`.
    """
    active = declared.filter(declared.active)
    user_days = active.group_by(["instance", "user_id", "number"]).agg(received=active.received.min())
    user_days = user_days.rename(active_day="number")
    pings = arrived.select("instance", "number", "told")
    inside = [user_days.active_day <= pings.number, user_days.active_day > pings.number - MONTH]
    pairs = pings.join(user_days, ["instance", *inside])
    counts: dict[str, ibis.Value] = {}
    for period, days in PERIODS.items():
        counted = pairs.active_day > pairs.number - days
        counts[period] = pairs.user_id.nunique(where=counted)
        counts[f"{period}_before"] = pairs.user_id.nunique(where=counted & (pairs.received <= pairs.told))
    return pairs.group_by(["instance", "number"]).agg(**counts)


def feature_use(declared: ibis.Table, arrived: ibis.Table) -> ibis.Table:
    """Return for each ping the use of each feature on its day.

    Returns:
        instance, number, feature, `users`, `events`, and both by the events that had arrived when the ping came:
        `users_before`, `events_before`.
    """
    pairs = arrived.select("instance", "number", "told").join(declared, ["instance", "number"])
    before = pairs.received <= pairs.told
    return pairs.group_by(["instance", "number", "feature"]).agg(
        users=pairs.user_id.nunique(),
        events=pairs.count(),
        users_before=pairs.user_id.nunique(where=before),
        events_before=pairs.count(where=before),
    )


def answer_reconcile(events: ibis.Table, pings: ibis.Table, plan: Plan, scope: Scope, *, days: int = MONTH) -> Answer:
    """Answer where the pings of the last `days` days differ from what the lake's events give.

    Args:
        events: The lake's events.
        pings: The lake's pings, of the same connection.
        plan: Says which events make a user active, and the feature of each.
        scope: Which accounts and instances count; its last day is that of the last ping that does.
        days: How many days to compare.

    Raises:
        QuestionError: `days` is less than 1.
    """
    if days < 1:
        raise QuestionError([f"Compare 1 day or more, not {days}."])
    shown = Window(last=scope.until, days=days)
    # The periods of the first day reach back, and so do the pings that tell whether events were allowed in them.
    wide = Window(last=scope.until, days=days + MONTH - 1)
    asked = pings_between(pings, scope, shown)
    told = _told(asked)
    heads = _heads(arrivals(pings_between(pings, scope, wide)))
    spans = _spans(events, scope)
    found = _found(declared_events(events, plan, scope, wide), arrivals(asked))
    compared = [each for each in told if each[0] in spans and spans[each[0]][0] <= each[1] <= spans[each[0]][1]]
    differences = sorted(
        difference
        for each in compared
        for difference in _compare(each, told[each], found.get(each, {}), heads, first_event=spans[each[0]][0])
    )
    shown_rows = [msgspec.structs.asdict(each) for each in differences if each.kind is not Kind.SAME]
    return Answer(
        question="Do the pings say what the events say?",
        definition=(
            f"Pings of {shown}, of days from an instance's first event in the lake to its last: the users active on "
            f"the day, in the {WEEK} and in the {MONTH} days that end with it, and users and events of each feature on "
            "the day. What differs is shown."
        ),
        table=pa.Table.from_pylist(shown_rows, _SCHEMA),
        parameters=scope_parameters(scope, days=days, week_days=WEEK, month_days=MONTH, smallest_group=SMALLEST_GROUP),
        notes=tuple(_notes(differences, pings=len(told), compared=len(compared))),
    )


def _told(pings: ibis.Table) -> dict[InstanceDay, dict[Measure, int | None]]:
    """Return the numbers of each ping."""
    numbers = pings.filter(pings.measure.isin([ACTIVE_USERS, FEATURE_USERS, FEATURE_EVENTS]))
    told: dict[InstanceDay, dict[Measure, int | None]] = defaultdict(dict)
    for row in numbers.select("instance", "number", "measure", "key", "value").to_pyarrow().to_pylist():
        told[row["instance"], row["number"]][row["measure"], row["key"]] = row["value"]
    return told


def _heads(arrived: ibis.Table) -> dict[InstanceDay, Head]:
    return {
        (row["instance"], row["number"]): Head(row["account"], row["agreement"] is not None)
        for row in arrived.to_pyarrow().to_pylist()
    }


def _spans(events: ibis.Table, scope: Scope) -> dict[str, tuple[int, int]]:
    """Return the days of the first and the last event of each instance."""
    counted = between(chosen(events, scope), None, scope.until)
    spans = counted.group_by("instance").agg(first=day_number(counted.time.min()), last=day_number(counted.time.max()))
    return {row["instance"]: (row["first"], row["last"]) for row in spans.to_pyarrow().to_pylist()}


def _found(declared: ibis.Table, arrived: ibis.Table) -> dict[InstanceDay, dict[Measure, Found]]:
    """Return what the lake's events give for each ping."""
    found: dict[InstanceDay, dict[Measure, Found]] = defaultdict(dict)
    for row in active_users(declared, arrived).to_pyarrow().to_pylist():
        for period in PERIODS:
            users, before = row[period], row[f"{period}_before"]
            found[row["instance"], row["number"]][ACTIVE_USERS, period] = Found(users, users, before, before)
    for row in feature_use(declared, arrived).to_pyarrow().to_pylist():
        users, before = row["users"], row["users_before"]
        of_day = found[row["instance"], row["number"]]
        of_day[FEATURE_USERS, row["feature"]] = Found(users, users, before, before)
        of_day[FEATURE_EVENTS, row["feature"]] = Found(row["events"], users, row["events_before"], before)
    return found


def _compare(
    ping: InstanceDay,
    told: dict[Measure, int | None],
    found: dict[Measure, Found],
    heads: dict[InstanceDay, Head],
    *,
    first_event: int,
) -> Iterator[Difference]:
    """Yield each number of one ping beside the lake's; what either leaves out is zero there."""
    instance, number = ping
    for measure, key in told.keys() | found.keys():
        value, counted = told.get((measure, key), 0), found.get((measure, key), Found())
        first = number - (PERIODS[key] if measure == ACTIVE_USERS else 1) + 1
        period = [heads[instance, day] for day in range(first, number + 1) if (instance, day) in heads]
        kind = kind_of(value, counted, complete=first_event <= first, permitted=all(head.permitted for head in period))
        day = EPOCH + timedelta(days=number)
        yield Difference(heads[ping].account, instance, day, measure, key, value, counted.value, kind)


def _notes(differences: Iterable[Difference], *, pings: int, compared: int) -> Iterator[str]:
    if not pings:
        yield "There is no ping of these days."
        return
    kinds = Counter(each.kind for each in differences)
    yield f"Pings compared: {compared:,}. Numbers: {kinds.total():,}, of which the same: {kinds[Kind.SAME]:,}."
    if compared < pings:
        yield f"Pings of days without events around them, which are not compared: {pings - compared:,}."
    for kind, explanation in EXPLANATIONS.items():
        if kinds[kind]:
            yield f"{kind} ({kinds[kind]:,}): {explanation}"
