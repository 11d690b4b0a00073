"""A second reading of every metric: plain Python over the events, as the definitions say, small and slow.

Nothing is shared with the metrics but their rules and the plan.
"""

from __future__ import annotations

import calendar
import itertools
import math
from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias
from zoneinfo import ZoneInfo

from asking import user_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asking import Row
    from conformance.histories import Event, History
    from heliograph.insights.scope import Scope
    from heliograph.plan.model import Plan

ONE = timedelta(days=1)
Measures: TypeAlias = dict[str, tuple[int, int, int]]
"""Of each user: active days, features, core actions."""


class Reading:
    """A history as one scope sees it."""

    def __init__(self, history: History, plan: Plan, scope: Scope) -> None:
        self.plan, self.scope, self.seats = plan, scope, history.seats
        self.names = {old: name for name, event in plan.events.items() for old in event.renamed_from}
        people = [event for event in history.events if event.actor is None]
        self.arrived = [
            event
            for event in people
            if (not scope.accounts or event.account in scope.accounts)
            and (not scope.instances or event.instance in scope.instances)
        ]
        self.today = scope.now.astimezone(ZoneInfo(scope.zone)).date()

    def name(self, event: Event) -> str:
        return self.names.get(event.name, event.name)

    def local(self, event: Event) -> datetime:
        return event.time.replace(tzinfo=UTC).astimezone(ZoneInfo(self.scope.zone)).replace(tzinfo=None)

    def day(self, event: Event) -> date:
        return self.local(event).date()

    def unit(self, event: Event) -> str:
        unit: str = "everyone" if self.scope.unit == "everyone" else getattr(event, self.scope.unit)
        return unit

    def feature(self, event: Event) -> str | None:
        known = self.plan.events.get(self.name(event))
        return known.feature if known else None

    def is_active(self, event: Event) -> bool:
        known = self.plan.events.get(self.name(event))
        return event.user is not None and known is not None and known.active

    def is_core(self, event: Event) -> bool:
        return self.plan.events[self.name(event)].core

    def matches(self, event: Event) -> bool:
        scope = self.scope
        return (
            (not scope.features or self.feature(event) in scope.features)
            and (not scope.versions or event.version in scope.versions)
            and (not scope.clients or event.source in scope.clients)
        )

    def active(self, first: date = date.min) -> list[Event]:
        return [
            event
            for event in self.arrived
            if self.is_active(event) and self.matches(event) and first <= self.day(event) <= self.scope.until
        ]

    def first_days(self) -> dict[str, date]:
        days: dict[str, date] = {}
        for event in self.arrived:
            if self.day(event) <= self.scope.until:
                days[self.unit(event)] = min(days.get(self.unit(event), date.max), self.day(event))
        return days

    def first(self, days: int) -> date:
        """The first day of the window."""
        return self.scope.since or self.scope.until - (days - 1) * ONE

    def complete(self, unit: str, first: date) -> bool:
        return self.first_days()[unit] <= first and self.scope.until < self.today

    def by_unit(self, events: list[Event]) -> dict[str, list[Event]]:
        found: dict[str, list[Event]] = {unit: [] for unit in sorted(self.first_days())}
        for event in events:
            found[self.unit(event)].append(event)
        return found


def users(events: list[Event]) -> set[str]:
    return {event.user for event in events if event.user is not None}


def each_day(first: date, last: date) -> Iterator[date]:
    return (first + n * ONE for n in range((last - first).days + 1))


def trailing(read: Reading, days: int) -> list[Row]:
    rows = []
    for unit, events in read.by_unit(read.active()).items():
        begun = read.first_days()[unit]
        for day in each_day(max(begun, read.scope.since or begun), read.scope.until):
            inside = [event for event in events if day - days * ONE < read.day(event) <= day]
            complete = day - (days - 1) * ONE >= begun and day < read.today
            rows.append({"unit": unit, "day": day, "active_users": len(users(inside)), "complete": complete})
    return rows


def calendar_months(read: Reading, _rule: Any) -> list[Row]:
    rows = []
    for unit, events in read.by_unit(read.active(read.scope.since or date.min)).items():
        begun = max(read.first_days()[unit], read.scope.since or date.min)
        for month in sorted({day.replace(day=1) for day in each_day(begun, read.scope.until)}):
            last = month.replace(day=calendar.monthrange(month.year, month.month)[1])
            inside = [event for event in events if month <= read.day(event) <= last]
            complete = begun <= month and last <= read.scope.until and last < read.today
            rows.append({"unit": unit, "month": month, "active_users": len(users(inside)), "complete": complete})
    return rows


def stickiness(read: Reading, _rule: Any) -> list[Row]:
    day, week, month = trailing(read, 1), trailing(read, 7), trailing(read, 28)
    active = read.by_unit(read.active())
    rows = []
    for daily, weekly, monthly in zip(day, week, month, strict=True):
        last = daily["day"]
        pairs = {(e.user, read.day(e)) for e in active[daily["unit"]] if last - 28 * ONE < read.day(e) <= last}
        count = monthly["active_users"]
        rows.append(
            {
                "unit": daily["unit"],
                "day": last,
                "daily_active_users": daily["active_users"],
                "weekly_active_users": weekly["active_users"],
                "monthly_active_users": count,
                "stickiness": len(pairs) / 28 / count if count else None,
                "complete": monthly["complete"],
            }
        )
    return rows


def curve(read: Reading, rule: Any) -> list[Row]:
    first = read.first(rule.days)
    length = (read.scope.until - first).days + 1
    rows = []
    for unit, events in read.by_unit(read.active(first)).items():
        days = {user: len({read.day(e) for e in events if e.user == user}) for user in users(events)}
        for k in range(1, length + 1):
            exactly = sum(count == k for count in days.values())
            rows.append(
                {
                    "unit": unit,
                    "active_days": k,
                    "users": exactly,
                    "reach": sum(count >= k for count in days.values()),
                    "share": exactly / len(days) if days else None,
                    "complete": read.complete(unit, first),
                }
            )
    return rows


def power_users(read: Reading, rule: Any) -> list[Row]:
    first = read.first(28)
    rows = []
    for unit, events in read.by_unit(read.active(first)).items():
        if not events:
            continue
        measures: Measures = {}
        for user in users(events):
            own = [event for event in events if event.user == user]
            core = sum(map(read.is_core, own))
            measures[user] = (len({read.day(e) for e in own}), len({read.feature(e) for e in own}), core)

        def count(days: int, features: int, percentile: int, measures: Measures = measures) -> int | None:
            if len(measures) < rule.minimum_users:
                return None
            return sum(
                own[0] >= days
                and own[1] >= features
                and sum(other[2] < own[2] for other in measures.values()) * 100 >= (len(measures) - 1) * percentile
                for own in measures.values()
            )

        days, features, percentile = rule.active_days, rule.features, rule.percentile
        number = count(days, features, percentile)
        moved = {
            "active_days_lower": (days - 1, features, percentile),
            "active_days_higher": (days + 1, features, percentile),
            "features_lower": (days, features - 1, percentile),
            "features_higher": (days, features + 1, percentile),
            "percentile_lower": (days, features, percentile - 5),
            "percentile_higher": (days, features, percentile + 5),
        }
        rows.append(
            {
                "unit": unit,
                "active_users": len(measures),
                "power_users": number,
                "share": None if number is None else number / len(measures),
                **{
                    name: count(*each)
                    for name, each in moved.items()
                    if 1 <= each[0] <= 28 and each[1] >= 1 and 0 <= each[2] <= 99
                },
                "complete": read.complete(unit, first),
            }
        )
    return rows


def visits(read: Reading, gap: int) -> Iterator[list[Event]]:
    """Yield the events of each session, of all features: they are cut before filters are applied."""
    active = [event for event in read.arrived if read.is_active(event)]
    active.sort(key=lambda event: (event.instance, event.user, event.time))
    for _, own in itertools.groupby(active, key=lambda event: (event.instance, event.user)):
        session: list[Event] = []
        for event in own:
            if session and event.time - session[-1].time > timedelta(minutes=gap):
                yield session
                session = []
            session.append(event)
        yield session


def multi_feature_sessions(read: Reading, rule: Any) -> list[Row]:
    first = read.first(rule.days)
    found: dict[str, list[list[Event]]] = defaultdict(list)
    for visit in visits(read, rule.gap_minutes):
        counted = [event for event in visit if read.matches(event)]
        if counted and first <= read.day(visit[0]) <= read.scope.until:
            found[read.unit(visit[0])].append(counted)
    rows = []
    for unit, sessions in sorted(found.items()):
        several = [session for session in sessions if len({read.feature(e) for e in session}) >= rule.features]
        people = {session[0].user for session in sessions}
        multi = {session[0].user for session in several}
        rows.append(
            {
                "unit": unit,
                "users": len(people),
                "multi_feature_users": len(multi),
                "share_of_users": len(multi) / len(people),
                "sessions": len(sessions),
                "multi_feature_sessions": len(several),
                "share_of_sessions": len(several) / len(sessions),
                "complete": read.complete(unit, first) if unit in read.first_days() else False,
            }
        )
    return rows


def feature_stickiness(read: Reading, rule: Any) -> list[Row]:
    first = read.first(28)
    length = (read.scope.until - first).days + 1
    events = read.active(first)
    features = sorted({read.feature(event) or "" for event in events})
    complete = bool(events) and min(read.first_days().values()) <= first and read.scope.until < read.today
    rows = []
    for size in range(1, rule.largest_set + 1):
        ranked = []
        for names in itertools.combinations(features, size):
            days = {}
            for user in users(events):
                own = [e for e in events if e.user == user and read.feature(e) in names]
                if {read.feature(e) for e in own} == set(names):
                    days[user] = len({read.day(e) for e in own})
            if days:
                ranked.append(stickiness_row(names, list(days.values()), length, rule) | {"complete": complete})
        ranked.sort(key=lambda row: (row["lower"] is None, -(row["lower"] or 0), row["features"]))
        for rank, row in enumerate(ranked, 1):
            rows.append(row | {"rank": None if row["lower"] is None else rank})
    return rows


def stickiness_row(names: tuple[str, ...], days: list[int], length: int, rule: Any) -> Row:
    n, z = len(days), rule.normal_quantile
    share = sum(days) / n / length
    row: Row = {"size": len(names), "features": " + ".join(names), "users": n, "stickiness": share}
    if n < rule.minimum_users:
        return row | {"lower": None, "upper": None}
    own = [each / length for each in days]
    variance = sum((each - share) ** 2 for each in own) / (n - 1)
    alike = len(set(days)) == 1
    effective = n if alike else min(share * (1 - share) / (variance / n), length * n)
    freedom = n - 1
    student = z + (z**3 + z) / 4 / freedom + (5 * z**5 + 16 * z**3 + 3 * z) / 96 / freedom**2
    effective *= (z / student) ** 2
    middle = (share + z**2 / (2 * effective)) / (1 + z**2 / effective)
    half = z * math.sqrt(share * (1 - share) / effective + z**2 / (4 * effective**2)) / (1 + z**2 / effective)
    return row | {"lower": middle - half, "upper": middle + half}


def retention(read: Reading, rule: Any) -> list[Row]:
    last_complete = min(read.scope.until, read.today - ONE)
    rows = []
    for unit, events in read.by_unit(read.active()).items():
        days: dict[str, set[date]] = {user: {read.day(e) for e in events if e.user == user} for user in users(events)}
        cohorts: dict[date, list[set[date]]] = defaultdict(list)
        for own in days.values():
            if min(own) >= (read.scope.since or date.min):
                ago = (read.scope.until - min(own)).days // rule.cohort_days
                cohorts[read.scope.until - (ago + 1) * rule.cohort_days * ONE + ONE].append(own)
        for cohort, members in sorted(cohorts.items()):
            for place, begin in enumerate(rule.days):
                if rule.kind == "bracket" and place + 1 == len(rule.days):
                    break
                end = {"n_day": begin, "unbounded": None, "bracket": rule.days[min(place + 1, len(rule.days) - 1)] - 1}[
                    rule.kind
                ]
                elapsed = [m for m in members if min(m) + (begin if end is None else end) * ONE <= last_complete]
                back = [
                    m
                    for m in elapsed
                    if any((d - min(m)).days >= begin and (end is None or (d - min(m)).days <= end) for d in m)
                ]
                rows.append(
                    {
                        "unit": unit,
                        "cohort": cohort,
                        "users": len(members),
                        "from_day": begin,
                        "to_day": end,
                        "eligible": len(elapsed),
                        "retained": len(back),
                        "share": len(back) / len(elapsed) if elapsed else None,
                        "complete": len(elapsed) == len(members),
                    }
                )
    return rows


def lifecycle(read: Reading, rule: Any) -> list[Row]:
    length = rule.period_days * ONE
    rows = []
    for unit, events in read.by_unit(read.active()).items():
        begun, end = read.first_days()[unit], read.scope.until
        ever: set[str] = set()
        before: set[str] = set()
        periods = []
        while end >= begun:
            periods.append((end - length + ONE, end))
            end -= length
        for first, last in reversed(periods):
            now = users([event for event in events if first <= read.day(event) <= last])
            row = {
                "unit": unit,
                "period": first,
                "active": len(now),
                "new": len(now - ever),
                "returning": len(now & before),
                "resurrecting": len((now & ever) - before),
                "dormant": len(before - now),
                "inactive": len(ever - now),
                "complete": first >= begun and last < read.today,
            }
            ever, before = ever | now, now
            if first >= (read.scope.since or date.min):
                rows.append(row)
    return rows


def funnel(read: Reading, rule: Any) -> list[Row]:
    first = read.first(rule.days)
    window = timedelta(hours=rule.window_hours)
    midnight = datetime.combine(read.scope.until, time.max, tzinfo=ZoneInfo(read.scope.zone))
    end = min(midnight, read.scope.now).astimezone(UTC).replace(tzinfo=None)
    steps = list(rule.steps)
    inside = [e for e in read.arrived if e.user is not None and first <= read.day(e) <= read.scope.until]
    rows = []
    for unit, events in read.by_unit(inside).items():
        reached: dict[str, int] = {}
        pending: dict[str, bool] = {}
        for user in users(events):
            own = sorted((e for e in events if e.user == user), key=lambda e: (e.time, e.sequence))
            does = [e for e in own if read.name(e) in steps and read.matches(e)]
            between = [e for e in own if read.is_active(e) or read.name(e) in steps]
            reached[user] = max(
                (k for k in range(1, len(steps) + 1) if WAYS[rule.order](read, does, between, steps[:k], window)),
                default=0,
            )
            begins = [e for e in does if rule.order == "any" or read.name(e) == steps[0]]
            pending[user] = any(e.time + window > end for e in begins)
        previous = at_first = sum(furthest >= 1 for furthest in reached.values())
        for step, name in enumerate(steps, 1):
            count = sum(furthest >= step for furthest in reached.values())
            waiting = sum(pending[user] and reached[user] < step for user in reached)
            rows.append(
                {
                    "unit": unit,
                    "step": step,
                    "name": name,
                    "users": count,
                    "share": count / at_first if at_first else None,
                    "share_of_previous": count / previous if previous else None,
                    "pending": waiting,
                    "complete": not waiting and read.first_days()[unit] <= first,
                }
            )
            previous = count
    return rows


def way_in_order(read: Reading, does: list[Event], _: list[Event], steps: list[str], window: timedelta) -> bool:
    def goes(after: Event, rest: list[str], until: datetime) -> bool:
        return not rest or any(
            goes(e, rest[1:], until)
            for e in does
            if read.name(e) == rest[0] and (e.time, e.sequence) > (after.time, after.sequence) and e.time <= until
        )

    return any(goes(e, steps[1:], e.time + window) for e in does if read.name(e) == steps[0])


def way_without_detour(
    read: Reading, does: list[Event], between: list[Event], steps: list[str], window: timedelta
) -> bool:
    chains = (between[place : place + len(steps)] for place in range(len(between)))
    return any(
        [read.name(e) for e in chain] == steps
        and all(e in does for e in chain)
        and chain[-1].time - chain[0].time <= window
        for chain in chains
        if chain
    )


def way_in_any_order(read: Reading, does: list[Event], _: list[Event], steps: list[str], window: timedelta) -> bool:
    return any(
        set(steps) <= {read.name(e) for e in does if begin.time <= e.time <= begin.time + window} for begin in does
    )


WAYS = {"ordered": way_in_order, "exact": way_without_detour, "any": way_in_any_order}


def access(read: Reading, unit: str) -> int | None:
    instances = {e.instance for e in read.arrived if read.unit(e) == unit and read.day(e) <= read.scope.until}
    # The pings of a history tell them on the first day, and one fewer on the day before.
    if not instances <= read.seats.keys():
        return None
    return sum(read.seats[instance] for instance in instances)


def adoption(read: Reading, rule: Any) -> list[Row]:
    first = read.first(rule.days)
    rows = []
    for unit, events in read.by_unit(read.active(first)).items():
        people = users(events)
        days = {(e.user, read.day(e)) for e in events}
        seats = access(read, unit)
        rows.append(
            {
                "unit": unit,
                "users": len(people),
                "breadth": len({(e.user, read.feature(e)) for e in events}) / len(people) if people else None,
                "frequency": len(days) / len(people) if people else None,
                "depth": sum(map(read.is_core, events)) / len(days) if days else None,
                "access": seats,
                "saturation": len(people) / seats if seats else None,
                "complete": read.complete(unit, first),
            }
        )
    return rows


def feature_adoption(read: Reading, rule: Any) -> list[Row]:
    first = read.first(rule.days)
    rows = []
    known = sorted({event.feature for event in read.plan.events.values() if event.active})
    of_all = [
        e
        for e in read.arrived
        if read.is_active(e)
        and first <= read.day(e) <= read.scope.until
        and (not read.scope.versions or e.version in read.scope.versions)
        and (not read.scope.clients or e.source in read.scope.clients)
    ]
    everybody = read.by_unit(of_all)
    for unit, events in read.by_unit(read.active(first)).items():
        for feature in known:
            if read.scope.features and feature not in read.scope.features:
                continue
            own = [e for e in events if read.feature(e) == feature]
            people, active = users(own), users(everybody[unit])
            days = {(e.user, read.day(e)) for e in own}
            seats = access(read, unit)
            rows.append(
                {
                    "unit": unit,
                    "feature": feature,
                    "users": len(people),
                    "breadth": len(people) / len(active) if active else None,
                    "frequency": len(days) / len(people) if people else None,
                    "depth": len(own) / len(days) if days else None,
                    "access": seats,
                    "saturation": len(people) / seats if seats else None,
                    "complete": read.complete(unit, first),
                }
            )
    return rows


def searches(read: Reading, rule: Any) -> list[Row]:
    first = read.first(rule.days)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for event in read.arrived:
        search = read.plan.searches
        if not search or read.name(event) != search.event or event.user is None or not read.matches(event):
            continue
        if first <= read.day(event) <= read.scope.until:
            counts[user_id(event.user), event.kind or "(not given)"] += 1
    return [{"user_id": user, "kind": kind, "events": count} for (user, kind), count in sorted(counts.items())]


READINGS: dict[str, Callable[[Reading, Any], list[Row]]] = {
    "daily-active-users": lambda read, _: trailing(read, 1),
    "weekly-active-users": lambda read, _: trailing(read, 7),
    "monthly-active-users": lambda read, _: trailing(read, 28),
    "trailing-active-users": lambda read, rule: trailing(read, rule.days),
    "calendar-month-active-users": calendar_months,
    "stickiness": stickiness,
    "feature-stickiness": feature_stickiness,
    "power-user-curve": curve,
    "power-users": power_users,
    "multi-feature-sessions": multi_feature_sessions,
    "retention": retention,
    "lifecycle": lifecycle,
    "funnel": funnel,
    "adoption": adoption,
    "feature-adoption": feature_adoption,
    "searches": searches,
}
"""By the name in the catalogue."""
