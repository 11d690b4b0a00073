"""How many users are power users?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import ibis
import msgspec
from msgspec import Meta
from msgspec.structs import replace

from heliograph.insights.activity import MONTH
from heliograph.insights.answer import Answer, scope_notes, scope_parameters
from heliograph.insights.bits import count_days, count_features, day_sets, unions, with_paged_sets
from heliograph.insights.building import built_once
from heliograph.insights.filters import scoped, within
from heliograph.insights.known_days import told_complete
from heliograph.insights.scope import Scope, checked, is_valid

if TYPE_CHECKING:
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan


class PowerUserRule(msgspec.Struct, frozen=True, kw_only=True):
    """When a user is a power user: all three thresholds must be met within the 28 days until the scope's last.

    Where the scope has a first day, too, they must be met within its days, however many these are.
    """

    active_days: Annotated[int, Meta(ge=1, le=MONTH)] = 10
    """Active days, at least: half of the working days of four weeks."""
    features: Annotated[int, Meta(ge=1)] = 3
    """Distinct features used, at least: more than the one or two of a narrow routine."""
    percentile: Annotated[int, Meta(ge=0, le=99)] = 75
    """Volume of core actions: more than at least this percentage of the peers, the other active users of the same
    account or instance. The upper quarter, so that no account is measured by another's habits."""
    minimum_users: Annotated[int, Meta(ge=2)] = 5
    """Active users that an account or instance needs for a percentile of peers to mean something."""


STEPS: Final = {"active_days": 1, "features": 1, "percentile": 5}
"""How far each threshold moves, down and up, for the sensitivity of the answer."""


def user_measures(tables: Tables, plan: Plan, scope: Scope) -> ibis.Table:
    """Return what the thresholds are compared with, for each user active in the 28 days until the scope's last.

    Returns:
        The unit, user_id, `active_days`, `features` (distinct), `core_actions`, `peers` (the unit's other active
        users) and `peers_below` (those of them with fewer core actions).
    """
    window = scope.window(MONTH)
    days = with_paged_sets(within(scoped(tables, plan, scope).active_days, window), plan)
    users = days.group_by([scope.unit, "user_id"]).agg(
        core_actions=days.core_actions.sum(), **day_sets(days.day, window), **unions(days)
    )
    users = users.select(
        scope.unit, "user_id", "core_actions", active_days=count_days(users), features=count_features(users)
    ).relocate("active_days", "features", before="core_actions")
    return users.mutate(
        peers=users.count().over(ibis.window(group_by=scope.unit)) - 1,
        # Ibis counts ranks from 0, so that the rank is the number of users strictly below.
        peers_below=ibis.rank().over(ibis.window(group_by=scope.unit, order_by="core_actions")),
    )


def is_power_user(users: ibis.Table, rule: PowerUserRule) -> ibis.Value:
    """Return for each row of `user_measures` whether `rule` makes it a power user; in whole numbers, so exactly."""
    return (
        (users.active_days >= rule.active_days)
        & (users.features >= rule.features)
        & (users.peers_below * 100 >= users.peers * rule.percentile)
    )


@built_once
def power_users(tables: Tables, plan: Plan, scope: Scope, *, rule: PowerUserRule | None = None) -> ibis.Table:
    """Return the number of power users of each unit, and how it changes when a threshold moves one step.

    Returns:
        The unit, `active_users`, `power_users`, `share`, and for each threshold two counts with that one alone moved
        by its step of `STEPS`, such as `active_days_lower` and `active_days_higher`; no column where the moved
        threshold is out of bounds. All but `active_users` are null where fewer users were active than the rule needs.
        `complete`: whether all of the days are over, and lie after the unit's data began.
    """
    rule = checked(rule or PowerUserRule())
    users = user_measures(tables, plan, scope)
    rules = {"power_users": rule, **variants(rule)}
    counts = users.group_by(scope.unit).agg(
        active_users=users.count(),
        **{name: is_power_user(users, each).cast("int64").sum() for name, each in rules.items()},
    )
    enough = counts.active_users >= rule.minimum_users
    shown = counts.mutate(**{name: ibis.ifelse(enough, counts[name], None) for name in rules})
    shown = shown.mutate(share=shown.power_users / shown.active_users)
    shown = shown.relocate("share", after="power_users")
    return told_complete(shown, scoped(tables, plan, scope), scope, scope.window(MONTH)).order_by(scope.unit)


def variants(rule: PowerUserRule) -> dict[str, PowerUserRule]:
    """Return `rule` with each threshold moved down and up by one step, by name; none that would be out of bounds."""
    moved = {
        f"{threshold}_{direction}": replace(rule, **{threshold: getattr(rule, threshold) + sign * step})
        for threshold, step in STEPS.items()
        for direction, sign in (("lower", -1), ("higher", 1))
    }
    return {name: each for name, each in moved.items() if is_valid(each)}


def answer_power_users(tables: Tables, plan: Plan, scope: Scope, *, rule: PowerUserRule | None = None) -> Answer:
    """Answer how many users are power users, by account or instance, and how much hangs on each threshold."""
    rule = checked(rule or PowerUserRule())
    window = scope.window(MONTH)
    table = power_users(tables, plan, scope, rule=rule).to_pyarrow()
    notes = [
        "The columns lower and higher count the power users with that threshold alone moved by one step: "
        + ", ".join(f"{name.replace('_', ' ')} by {step}" for name, step in STEPS.items())
        + "."
    ]
    if not table.num_rows:
        notes = [f"Nobody was active from {window}."]
    notes += [
        f"{row[scope.unit]} is too thin: {row['active_users']} active; at least {rule.minimum_users} are needed."
        for row in table.to_pylist()
        if row["power_users"] is None
    ]
    return Answer(
        question="How many users are power users?",
        definition=(
            f"From {window}: active on {rule.active_days} days or more, using {rule.features} features or more, and "
            f"with more core actions than at least {rule.percentile} % of the other active users of the {scope.unit}."
        ),
        table=table,
        parameters=scope_parameters(scope, **msgspec.structs.asdict(rule), steps=STEPS),
        notes=(*notes, *scope_notes(scope)),
    )
