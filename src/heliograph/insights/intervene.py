"""Is there a moment when we should step in with enablement or a message?

An account is compared with nothing but its own past. Each of four components is measured in windows of whole weeks;
the latest two are compared with the preceding eight, the baseline. To step in is advised when the same component is
worse than its baseline in both, beyond chance and by a margin that matters.

The score of a window is a modified z-score, ``(value - median) / scale`` (Iglewicz and Hoaglin 1993), with
``1.4826 * MAD`` of the baseline as the scale, but no less than the standard deviation that chance alone gives: the
median absolute deviation of eight windows is often 0. Chance alone is Poisson for counts (the variance is the
median), the mean of as many Poisson counts as there are users for breadth, and binomial for the share of failures,
with half a failure added. Two windows in a row beyond two deviations on the same side is stricter than the second
zone rule of the Western Electric handbook (1956), two out of three.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias, get_args

import ibis
import msgspec
import pyarrow as pa
from msgspec import Meta

from heliograph.insights.activity import use
from heliograph.insights.answer import Answer, scope_parameters
from heliograph.insights.filters import scoped, up_to, within
from heliograph.insights.scope import Scope, Window, checked, number_of

if TYPE_CHECKING:
    from datetime import date

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
"""Windows, in a row, that are compared with the baseline."""

NORMAL_MAD: Final = 1.4826
"""Makes the median absolute deviation estimate the standard deviation of a normal distribution."""


class InterventionRule(msgspec.Struct, frozen=True, kw_only=True):
    """When to step in."""

    window_days: Annotated[int, Meta(ge=1, le=28)] = 7
    """Days of a window: whole weeks, so that weekdays and weekends do not differ between windows."""
    baseline_windows: Annotated[int, Meta(ge=4, le=52)] = 8
    """Windows before the latest two that make the baseline."""
    minimum_windows: Annotated[int, Meta(ge=4)] = 6
    """Windows of the baseline in which something arrived, at least."""
    minimum_users: Annotated[int, Meta(ge=1)] = 5
    """Active users in the median window of the baseline, at least."""
    minimum_outcomes: Annotated[int, Meta(ge=1)] = 30
    """Events with an outcome in a window for its share of failures to count, at least."""
    threshold: Annotated[float, Meta(gt=0)] = 2.0
    """Score in both windows, at least."""
    minimum_change: Annotated[float, Meta(ge=0, le=1)] = 0.2
    """Change for the worse in both windows, at least, as a share of the baseline."""

    @property
    def days(self) -> int:
        """The days of all windows together."""
        return self.window_days * (self.baseline_windows + LATEST)


def window_measures(tables: Tables, plan: Plan, scope: Scope, *, rule: InterventionRule) -> ibis.Table:
    """Return the components of each unit in each window in which anything arrived from it.

    A window without a single event, of whatever kind, is missing: silence of the connection is not told apart from
    silence of the users, and no data is no score.

    Returns:
        The unit, `window` (0: the latest), `users`, `outcomes` (events that have one), and a column for each of
        `COMPONENTS`; null where it is undefined, such as the breadth of nobody.
    """
    days = Window(last=scope.last_complete_day, days=rule.days)
    tables = scoped(tables, plan, scope)
    arrived = within(tables.instance_days, days)
    arrived = arrived.select(scope.unit, window=_window(arrived.day.epoch_days().cast("int64"), days, rule)).distinct()
    active = use(tables, days)
    active = active.mutate(window=_window(active.day, days, rule))
    keys = [scope.unit, "window"]
    totals = active.group_by(keys).agg(
        users=active.user_id.nunique(),
        core=active.core_actions.sum(),
        outcomes=active.outcomes.sum(),
        failed=active.failures.sum(),
    )
    pairs = active.select(*keys, "user_id", "feature").distinct()
    pairs = pairs.group_by(keys).agg(pairs=pairs.count())
    table = arrived.left_join(totals, keys).select(*keys, "users", "core", "outcomes", "failed")
    table = table.left_join(pairs, keys).select(*table.columns, "pairs")
    table = table.fill_null(dict.fromkeys(("users", "core", "outcomes", "failed", "pairs"), 0))
    return table.select(
        *keys,
        "users",
        "outcomes",
        active_users=table.users.cast("float64"),
        core_actions=table.core.cast("float64"),
        breadth=table.pairs / table.users.nullif(0),
        failures=ibis.ifelse(table.outcomes >= rule.minimum_outcomes, table.failed / table.outcomes, None),
    )


def deviations(tables: Tables, plan: Plan, scope: Scope, *, rule: InterventionRule | None = None) -> ibis.Table:
    """Return how far each component of each unit lies from its own baseline in the latest two windows.

    Returns:
        The unit, `component` (of `COMPONENTS`), `windows` (of the baseline, with data), `baseline` (their median),
        `previous` and `latest` (the values of the last two windows), `previous_score` and `latest_score` (deviations
        for the worse are positive), and `deviates`: whether both pass the threshold and the margin. Whatever has no
        data is null.
    """
    rule = checked(rule or InterventionRule())
    measures = window_measures(tables, plan, scope, rule=rule)
    long = ibis.union(
        *(
            measures.select(
                scope.unit,
                "window",
                component=ibis.literal(name),
                value=measures[name],
                size=measures.outcomes if name == "failures" else measures.users,
            )
            for name in COMPONENTS
        )
    )
    keys = [scope.unit, "component"]
    # Ibis compiles a median with a condition to what Spark refuses, so that the values carry the condition.
    long = long.mutate(past=ibis.ifelse(long.window >= LATEST, long.value, None))
    medians = long.group_by(keys).agg(baseline=long.past.median(), windows=long.past.count())
    table = long.inner_join(medians, keys)
    table = table.mutate(distance=(table.past - table.baseline).abs())
    spreads = table.group_by(keys).agg(spread=table.distance.median() * NORMAL_MAD)
    table = table.inner_join(spreads, keys)
    worse = ibis.ifelse(table.component == "failures", table.value - table.baseline, table.baseline - table.value)
    scale = ibis.greatest(table.spread, _chance(table).sqrt())
    table = table.mutate(
        score=ibis.ifelse(table.windows >= rule.minimum_windows, worse / scale, None),
        matters=worse >= rule.minimum_change * table.baseline,
    )
    passes = (table.score >= rule.threshold) & table.matters
    result = table.group_by(keys).agg(
        windows=table.windows.max(),
        baseline=table.baseline.max(),
        previous=table.value.max(where=table.window == 1),
        latest=table.value.max(where=table.window == 0),
        previous_score=table.score.max(where=table.window == 1),
        latest_score=table.score.max(where=table.window == 0),
        passing=table.count(where=passes & (table.window < LATEST)),
    )
    return result.mutate(deviates=result.passing == LATEST).drop("passing").order_by(keys)


def answer_intervene(tables: Tables, plan: Plan, scope: Scope, *, rule: InterventionRule | None = None) -> Answer:
    """Answer for each account or instance whether to step in, and which component says so.

    The table has a row for each component that deviates; one row for a unit that is steady, with the component that
    is closest to deviating, or too thin to have a score. Notes say the evidence in words.

    Raises:
        QuestionError: A parameter of `rule` is out of bounds.
    """
    rule = checked(rule or InterventionRule())
    days = Window(last=scope.last_complete_day, days=rule.days)
    measured: dict[str, dict[str, dict[str, Any]]] = {}
    for row in deviations(tables, plan, scope, rule=rule).to_pyarrow().to_pylist():
        measured.setdefault(row[scope.unit], {})[row["component"]] = row
    seen = up_to(scoped(tables, plan, scope).instance_days, days.last)
    seen = seen.group_by(scope.unit).agg(latest=seen.day.max()).order_by(scope.unit)
    rows, notes = [], []
    for each in seen.to_pyarrow().to_pylist():
        name = each[scope.unit]
        components = measured.get(name, {})
        if thin := _why_too_thin(components, each["latest"], rule):
            rows.append({scope.unit: name, "status": "too_thin"})
            notes.append(f"{name} is too thin: {thin}.")
            continue
        deviating = [row for row in components.values() if row["deviates"]]
        rows += [{**row, "status": "intervene"} for row in deviating]
        notes += [f"{name}: {_evidence(row)}." for row in deviating]
        if not deviating:
            closest = max(components.values(), key=_closeness)
            rows.append({**closest, "status": "steady"})
    return Answer(
        question="Is there a moment when we should step in with enablement or a message?",
        definition=(
            f"Each {scope.unit} against its own past: {', '.join(COMPONENTS.values())}, in the latest two windows of "
            f"{rule.window_days} days to {days.last} and the {rule.baseline_windows} before them. Intervene: the same "
            f"component is worse than its baseline in both, by a score of {rule.threshold:g} and by "
            f"{rule.minimum_change:.0%} or more; otherwise the component that is closest to it is shown."
        ),
        table=_table(rows, scope),
        parameters=scope_parameters(scope, last_complete_day=days.last.isoformat(), **msgspec.structs.asdict(rule)),
        notes=tuple(notes) if rows else (f"No event arrived until {days.last}, so there is nothing to compare.",),
    )


def _table(rows: list[dict[str, Any]], scope: Scope) -> pa.Table:
    words = (scope.unit, "status", "component")
    numbers = ("baseline", "previous", "latest", "previous_score", "latest_score")
    schema = pa.schema([*((name, pa.string()) for name in words), *((name, pa.float64()) for name in numbers)])
    urgency = get_args(Status).index
    return pa.Table.from_pylist(sorted(rows, key=lambda row: urgency(row["status"])), schema)


def _closeness(row: dict[str, Any]) -> float:
    scores = (row["previous_score"], row["latest_score"])
    return -math.inf if None in scores else min(scores)


def _why_too_thin(rows: dict[str, dict[str, Any]], latest: date, rule: InterventionRule) -> str | None:
    if not rows or rows["active_users"]["latest"] is None or rows["active_users"]["previous"] is None:
        return f"nothing arrived in one of the latest two windows or both; the last event is of {latest}"
    users = rows["active_users"]
    if users["windows"] < rule.minimum_windows:
        return (
            f"something arrived in {users['windows']} of {rule.baseline_windows} windows of the baseline; "
            f"at least {rule.minimum_windows} are needed"
        )
    if users["baseline"] < rule.minimum_users:
        return f"{users['baseline']:g} users in the median window; at least {rule.minimum_users} are needed"
    return None


def _evidence(row: dict[str, Any]) -> str:
    shown = "{:.1%}" if row["component"] == "failures" else "{:.3g}"
    previous, latest, baseline = (shown.format(row[name]) for name in ("previous", "latest", "baseline"))
    return f"{COMPONENTS[row['component']]}: {previous}, then {latest}, against a median of {baseline} before"


def _window(day: ibis.Value, days: Window, rule: InterventionRule) -> ibis.Value:
    return (number_of(days.last) - day) // rule.window_days


def _chance(table: ibis.Table) -> ibis.Value:
    """Return the variance that chance alone gives a component, and a positive number at that."""
    size = ibis.greatest(table["size"], 1)
    smoothed = (table.baseline * size + 0.5) / (size + 1)
    return ibis.cases(
        (table.component == "failures", smoothed * (1 - smoothed) / size),
        (table.component == "breadth", table.baseline / size),
        else_=ibis.greatest(table.baseline, 1),
    )
