"""Is there a moment when we should step in with enablement or a message?

An account is compared with nothing but its own past. Each of four components is measured in windows of whole weeks,
and the latest ten of them are divided where the level changed most (`heliograph.insights.change`). To step in is
advised when the level of a component is worse since then, beyond chance, and both of the latest windows are by a margin
that matters.

Each component is first brought to a scale on which chance alone has a deviation of 1: counts by twice the root
(Anscombe 1948; chance is Poisson), the share of failures by twice the arc sine of the root (chance is binomial), and
breadth, which is a mean over users, by its Poisson deviation.

How often the advice was right is measured, and told with it: `heliograph.insights.backtest`.
"""

from __future__ import annotations

import math
from datetime import date, timedelta
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias, get_args

import ibis
import msgspec
import pyarrow as pa
from msgspec import Meta

from heliograph.insights.answer import Answer, scope_parameters
from heliograph.insights.bits import count_features, united_in_turn, with_paged_sets
from heliograph.insights.building import built_once
from heliograph.insights.change import Change, find_change
from heliograph.insights.filters import restricts_use, scoped, up_to, within
from heliograph.insights.scope import Scope, Window, checked, number_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan

Status: TypeAlias = Literal["intervene", "steady", "too_thin"]
"""What is advised; too thin: there is no score, which is not a score of zero."""

COMPONENTS: Final = {
    "active_users": "active users",
    "core_actions": "core actions",
    "breadth": "features for each active user",
    "failures": "share of failures",
}
"""What is watched, with words for people. A rise of failures is worse; of the others, a fall."""

LATEST: Final = 2
"""Windows, the latest, in which something must have arrived for there to be a score."""
_LEAST_FAILURES: Final = 0.01
"""A rise of failures is measured against so many, at least."""
_COLUMNS: Final = ("users", "outcomes", *COMPONENTS)

Measures: TypeAlias = dict[int, dict[str, float | None]]
"""What a unit did, by window: 0 is the latest. A window in which nothing arrived is not there."""


class InterventionRule(msgspec.Struct, frozen=True, kw_only=True):
    """When to step in. The defaults of the last two were chosen by back-tests; see docs/exploring.md."""

    window_days: Annotated[int, Meta(ge=1, le=28)] = 7
    """Days of a window: whole weeks, so that weekdays and weekends do not differ between windows."""
    windows: Annotated[int, Meta(ge=6, le=52)] = 10
    """Windows that are looked at, up to the latest."""
    minimum_windows: Annotated[int, Meta(ge=4)] = 8
    """Windows of these in which something arrived, at least."""
    minimum_users: Annotated[int, Meta(ge=1)] = 5
    """Active users in the median window, at least."""
    minimum_outcomes: Annotated[int, Meta(ge=1)] = 30
    """Events with an outcome in a window for its share of failures to count, at least."""
    threshold: Annotated[float, Meta(gt=0)] = 3.0
    """Score of the change, at least, in standard deviations."""
    minimum_change: Annotated[float, Meta(ge=0, le=1)] = 0.35
    """Change for the worse in each of the latest two windows, at least, as a share of the level before."""

    @property
    def days(self) -> int:
        """The days of all windows together."""
        return self.window_days * self.windows


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one component of one unit."""

    component: str
    since: date
    """The first day of the window with which the present level begins."""
    baseline: float
    """The mean before it."""
    latest: float
    """The mean since."""
    score: float
    """Deviations for the worse."""
    change: float
    """For the worse, in the better one of the latest two windows, as a share of the baseline."""
    deviates: bool


@built_once
def window_measures(tables: Tables, plan: Plan, scope: Scope, *, rule: InterventionRule | None = None) -> ibis.Table:
    """Return the components of each unit in each window in which anything arrived from it.

    A window without a single event, of whatever kind, is missing: silence of the connection is not told apart from
    silence of the users, and no data is no score.

    Returns:
        The unit, `window` (0: the latest), `users`, `outcomes` (events that have one), and a column for each of
        `COMPONENTS`; null where it is undefined, such as the breadth of nobody.
    """
    rule = checked(rule or InterventionRule())
    days = Window(last=scope.last_complete_day, days=rule.days)
    return measures_of(scoped(tables, plan, scope), plan, scope, days, rule)


def measures_of(known: Tables, plan: Plan, scope: Scope, days: Window, rule: InterventionRule) -> ibis.Table:
    """Return `window_measures` of some days, of tables that the scope has been applied to."""

    def windowed(table: ibis.Table) -> ibis.Table:
        rows = within(table, days)
        return rows.mutate(window=_window(rows.day.epoch_days().cast("int64"), days, rule))

    keys = [scope.unit, "window"]
    arrived = windowed(known.data_days).select(keys).distinct()
    active = with_paged_sets(windowed(known.active_days), plan)
    # By user first: an engine counts rows faster than it tells distinct values apart.
    users = united_in_turn(active, [scope.unit, "user_id"], "window", plan)
    breadth = users.group_by(keys).agg(users=users.count(), pairs=count_features(users).sum())
    counted = windowed(_counted(known, scope))
    counts = counted.group_by(keys).agg(
        core=counted.core_actions.sum(), outcomes=counted.outcomes.sum(), failed=counted.failures.sum()
    )
    table = arrived.left_join(breadth, keys).select(*keys, "users", "pairs")
    table = table.left_join(counts, keys).select(*keys, "users", "pairs", "core", "outcomes", "failed")
    table = table.fill_null(dict.fromkeys(("users", "pairs", "core", "outcomes", "failed"), 0))
    return table.select(
        *keys,
        "users",
        "outcomes",
        active_users=table.users.cast("float64"),
        core_actions=table.core.cast("float64"),
        breadth=table.pairs / table.users.nullif(0),
        failures=ibis.ifelse(table.outcomes >= rule.minimum_outcomes, table.failed / table.outcomes, None),
    ).order_by(keys)


def _counted(known: Tables, scope: Scope) -> ibis.Table:
    """Return days with the counts of the events that make their users active: those of instances, which are fewer.

    They are at hand only where marts are kept and days are theirs, and say nothing of single features.
    """
    return known.active_days if known.event_days is not None or restricts_use(scope) else known.instance_days


def by_unit(table: pa.Table) -> dict[str, Measures]:
    """Return the rows of `window_measures` by unit and window."""
    units: dict[str, Measures] = {}
    columns = {name: table[name].to_pylist() for name in table.column_names}
    for place, unit in enumerate(columns[table.column_names[0]]):
        values = {name: columns[name][place] for name in _COLUMNS}
        units.setdefault(unit, {})[columns["window"][place]] = values
    return units


def findings(measures: Measures, rule: InterventionRule, *, last: date) -> list[Finding]:
    """Return what became of each component that has enough windows; none of a unit that is too thin.

    Args:
        measures: Of one unit, up to the window 0.
        rule: What is enough, and when a finding deviates.
        last: The last day of the window 0.
    """
    if why_too_thin(measures, rule) is not None:
        return []
    windows = sorted((window for window in measures if window < rule.windows), reverse=True)
    found = []
    for component in COMPONENTS:
        known = [window for window in windows if measures[window][component] is not None]
        change = _change(component, [measures[window] for window in known])
        if len(known) < rule.minimum_windows or change is None or not set(range(LATEST)) <= set(known):
            continue
        since = last - timedelta(days=(known[change.at] + 1) * rule.window_days - 1)
        latest = [measures[window][component] or 0.0 for window in range(LATEST)]
        found.append(_finding(component, change, latest, since, rule))
    return found


def why_too_thin(measures: Measures, rule: InterventionRule) -> str | None:
    """Return why a unit has no score; None if it has one."""
    known = [measures[window] for window in measures if window < rule.windows]
    if any(window not in measures for window in range(LATEST)):
        return "nothing arrived in one of the latest two windows or both"
    if len(known) < rule.minimum_windows:
        return (
            f"something arrived in {len(known)} of the latest {rule.windows} windows; at least {rule.minimum_windows} "
            "are needed"
        )
    users = median(float(each["users"] or 0) for each in known)
    if users < rule.minimum_users:
        return f"{users:g} users in the median window; at least {rule.minimum_users} are needed"
    return None


def answer_intervene(tables: Tables, plan: Plan, scope: Scope, *, rule: InterventionRule | None = None) -> Answer:
    """Answer for each account or instance whether to step in, and which component says so.

    The table has a row for each component that deviates; one row for a unit that is steady, with the component that
    is closest to deviating, or too thin to have a score. Notes say the evidence in words.

    Raises:
        QuestionError: A parameter of `rule` is out of bounds.
    """
    rule = checked(rule or InterventionRule())
    days = Window(last=scope.last_complete_day, days=rule.days)
    known = scoped(tables, plan, scope)
    measured = by_unit(window_measures(tables, plan, scope, rule=rule).to_pyarrow())
    seen = up_to(known.data_days, days.last)
    seen = seen.group_by(scope.unit).agg(latest=seen.day.max()).order_by(scope.unit)
    rows, notes = [], []
    for each in seen.to_pyarrow().to_pylist():
        name, measures = each[scope.unit], measured.get(each[scope.unit], {})
        if thin := why_too_thin(measures, rule):
            rows.append({scope.unit: name, "status": "too_thin"})
            notes.append(f"{name} is too thin: {thin}; the last event is of {each['latest']}.")
            continue
        shown, words = _advice(findings(measures, rule, last=days.last))
        rows += [{**row, scope.unit: name} for row in shown]
        notes += [f"{name}: {each}." for each in words]
    return Answer(
        question="Is there a moment when we should step in with enablement or a message?",
        definition=(
            f"Each {scope.unit} against its own past: {', '.join(COMPONENTS.values())}, in the {rule.windows} "
            f"windows of {rule.window_days} days to {days.last}. Intervene: the level of one of them changed for the "
            f"worse, two windows ago or earlier, by {rule.threshold:g} deviations, and in both of "
            f"the latest by {rule.minimum_change:.0%} or more; otherwise the component that is closest to it is shown."
        ),
        table=_table(rows, scope),
        parameters=scope_parameters(scope, last_complete_day=days.last.isoformat(), **msgspec.structs.asdict(rule)),
        notes=tuple(notes) if rows else (f"No event arrived until {days.last}, so there is nothing to compare.",),
    )


def _advice(found: Sequence[Finding]) -> tuple[list[dict[str, Any]], list[str]]:
    deviating = sorted((each for each in found if each.deviates), key=lambda each: -each.score)
    shown = deviating or sorted(found, key=lambda each: -each.score)[:1]
    status = "intervene" if deviating else "steady"
    rows = [{**msgspec.structs.asdict(each), "status": status} for each in shown]
    return rows or [{"status": "steady"}], [_evidence(each) for each in deviating]


def _finding(component: str, change: Change, latest: Sequence[float], since: date, rule: InterventionRule) -> Finding:
    sign = -1 if component == "failures" else 1
    score, worse = sign * change.score, min(sign * (change.before - each) for each in latest)
    # From no failure at all, any rise would be without end.
    floor = _LEAST_FAILURES if component == "failures" else 0.0
    share = worse / max(change.before, floor) if change.before or floor else 0.0
    return Finding(
        component=component,
        since=since,
        baseline=change.before,
        latest=change.after,
        score=score,
        change=share,
        deviates=score >= rule.threshold and share >= rule.minimum_change,
    )


def _change(component: str, windows: Sequence[Mapping[str, float | None]]) -> Change | None:
    """Return the change of a component in windows that have it, in the order of time."""

    def column(name: str) -> list[float]:
        return [float(each[name] or 0) for each in windows]

    if not windows:
        return None
    values = column(component)
    match component:
        case "failures":
            scale = math.sqrt(median(column("outcomes")))
            levelled = [2 * math.asin(math.sqrt(value)) * scale for value in values]
        case "breadth":
            # The number of features of all users together is Poisson, at most: nobody counts a feature twice.
            scale = math.sqrt(median(column("users")) / max(median(values), 1.0))
            levelled = [value * scale for value in values]
        case _:
            levelled = [2 * math.sqrt(value + 3 / 8) for value in values]
    return find_change(values, levelled)


def _table(rows: list[dict[str, Any]], scope: Scope) -> pa.Table:
    words = (scope.unit, "status", "component")
    numbers = ("baseline", "latest", "change", "score")
    schema = pa.schema(
        [
            *((name, pa.string()) for name in words),
            ("since", pa.date32()),
            *((name, pa.float64()) for name in numbers),
        ]
    )
    urgency = get_args(Status).index
    return pa.Table.from_pylist(sorted(rows, key=lambda row: urgency(row["status"])), schema)


def _evidence(finding: Finding) -> str:
    shown = "{:.1%}" if finding.component == "failures" else "{:.3g}"
    before, now = shown.format(finding.baseline), shown.format(finding.latest)
    return f"{COMPONENTS[finding.component]}: {now} since {finding.since}, against {before} before"


def _window(day: ibis.Value, days: Window, rule: InterventionRule) -> ibis.Value:
    return (number_of(days.last) - day) // rule.window_days
