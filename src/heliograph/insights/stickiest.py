"""Which feature, or set of features, is stickiest?

A user's days are bits of a whole number, so that the days of a set of features are one bitwise *or*.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Final

import ibis
import msgspec
import pyarrow.compute as pc
from msgspec import Meta

from heliograph.insights.activity import MONTH
from heliograph.insights.answer import Answer, scope_notes, scope_parameters
from heliograph.insights.bits import bits_set, day_masks
from heliograph.insights.building import built_once
from heliograph.insights.filters import scoped, up_to, within
from heliograph.insights.scope import QuestionError, Scope, checked
from heliograph.lake.marts.feature_sets import BITS, numbered_features

if TYPE_CHECKING:
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan

SEPARATOR: Final = " + "
MOST_DAYS: Final = BITS
"""Days that one number holds the bits of."""


class StickinessRule(msgspec.Struct, frozen=True, kw_only=True):
    """What is ranked, and how."""

    minimum_users: Annotated[int, Meta(ge=2)] = 5
    """Users that a feature or set needs to be ranked."""
    largest_set: Annotated[int, Meta(ge=1, le=3)] = 3
    """Features in a set, at most."""
    normal_quantile: Annotated[float, Meta(gt=0, le=5)] = 1.96
    """The normal distribution's quantile for the interval: 1.96 gives 95 %."""


@built_once
def feature_stickiness(tables: Tables, plan: Plan, scope: Scope, *, rule: StickinessRule | None = None) -> ibis.Table:
    """Return the stickiness of each feature and set of features, ranked within sets of the same size.

    The users of a set are those who used every feature of it within the 28 days until the scope's last (or within the
    scope's days, where it has a first one); a day counts when they used any of its features. Stickiness is the mean
    over the days of the daily users, divided by the users of all of them: the mean over the users of the share of days
    that count. All units of the scope are counted together.

    The interval is Wilson's (1927) with the effective sample size of Korn and Graubard (1998) in place of the number
    of user-days, because the days of one user are alike: ``p (1 - p) / (s² / n)``, where the own shares of the `n`
    users have the variance `s²`; at most the user-days, and `n` where `s²` is 0; times the squared ratio of the
    normal to Student's quantile with ``n - 1`` degrees of freedom. The rank goes by the interval's lower end, so
    that few users do not win by luck.

    Returns:
        `size`, `rank` (from 1; null below the minimum of users), `features` (names in alphabetical order, joined),
        `users`, `stickiness`, `lower`, `upper` (0 to 1; the last two null below the minimum), and `complete`: whether
        all of the days are over, and lie after the data of the first unit began.

    Raises:
        QuestionError: The scope has more than 62 days, or a parameter is out of bounds.
    """
    rule, window = checked(rule or StickinessRule()), scope.window(MONTH)
    if window.days > MOST_DAYS:
        raise QuestionError([f"Stickiness of sets is told of {MOST_DAYS} days at most, not of {window.days}."])
    tables = scoped(tables, plan, scope)
    masks = day_masks(within(tables.active_days, window), plan, window)
    totals = ibis.union(*(_totals(masks, size, plan) for size in range(1, rule.largest_set + 1)))
    begun = up_to(tables.data_days, scope.until).agg(first_day=lambda days: days.day.min())
    ranked = _ranked(_interval(totals, rule, window.days)).cross_join(begun)
    complete = (ranked.first_day <= ibis.literal(window.first)) & ibis.literal(window.last < scope.today)
    return (
        ranked.mutate(complete=complete)
        .drop("first_day")
        .order_by(["size", ranked["rank"].asc(nulls_first=False), "features"])
    )


def _totals(masks: ibis.Table, size: int, plan: Plan) -> ibis.Table:
    """Return for each set of so many features its users, their days, and the sum of the squares of these."""
    columns = [f"feature_{place}" for place in range(size)]
    table = masks.rename({columns[0]: "feature"})
    # Renamed, and no `view`, which is another one each time, so that the whole question would be compiled each time.
    other = masks.rename(other_user="user", other_feature="feature", other_mask="mask")
    for before, column in itertools.pairwise(columns):
        joined = table.join(other, [("user", "other_user")])
        joined = joined.filter(joined[before] < joined.other_feature)
        known = [name for name in columns if name in table.columns]
        table = joined.select("user", *known, joined.other_feature.name(column), mask=joined.mask | joined.other_mask)
    table = table.mutate(days=bits_set(table.mask))
    totals = table.group_by(columns).agg(
        users=table.count(), days=table.days.sum(), squares=(table.days * table.days).sum()
    )
    # By number until here: an engine groups by words several times slower.
    names = [(number, name) for name, number in numbered_features(plan).items()]
    words = [totals[column].cases(*names) for column in columns]
    return totals.select(
        "users", "days", "squares", size=ibis.literal(size, "int64"), features=ibis.literal(SEPARATOR).join(words)
    )


def _interval(totals: ibis.Table, rule: StickinessRule, length: int) -> ibis.Table:
    users, days, z = totals.users, totals.days, rule.normal_quantile
    # n (n - 1) times the variance of the users' active days: a whole number, and so exactly 0 where all are alike.
    spread = users * totals.squares - days * days
    design = days * (length * users - days) * (users - 1) / spread.nullif(0)
    effective = ibis.least(design.fill_null(users), length * users) * (z / _student_quantile(z, users - 1)) ** 2
    table = totals.mutate(stickiness=days / (length * users), effective=effective)
    share, effective = table.stickiness, table.effective
    middle = (share + z**2 / (2 * effective)) / (1 + z**2 / effective)
    variance = share * (1 - share) / effective + z**2 / (4 * effective**2)
    half = z * variance.sqrt() / (1 + z**2 / effective)
    enough = table.users >= rule.minimum_users
    return table.mutate(lower=ibis.ifelse(enough, middle - half, None), upper=ibis.ifelse(enough, middle + half, None))


def _student_quantile(normal: float, freedom: ibis.Value) -> ibis.Value:
    """Return Student's quantile for the normal one (Abramowitz and Stegun 26.7.5; within 2 % from 4 degrees on).

    For a single user, who has no degree of freedom, it is that of one degree; such a row is never ranked.
    """
    z, freedom = normal, ibis.greatest(freedom, 1)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2


def _ranked(table: ibis.Table) -> ibis.Table:
    within = ibis.window(group_by="size", order_by=[ibis.desc("lower"), "features"])
    ranked = table.mutate(rank=ibis.ifelse(table.lower.notnull(), ibis.row_number().over(within) + 1, None))
    return ranked.select("size", "rank", "features", "users", "stickiness", "lower", "upper")


def answer_stickiest(
    tables: Tables, plan: Plan, scope: Scope, *, rule: StickinessRule | None = None, top: int = 5
) -> Answer:
    """Answer which features and sets of features are stickiest: the `top` of each size.

    Raises:
        QuestionError: `top` is less than 1, or a parameter of `rule` is out of bounds.
    """
    rule = checked(rule or StickinessRule())
    if top < 1:
        raise QuestionError([f"Show the first 1 or more of each size, not {top}."])
    window = scope.window(MONTH)
    table = feature_stickiness(tables, plan, scope, rule=rule).to_pyarrow()
    thin = [row for row in table.to_pylist() if row["rank"] is None]
    notes = [] if table.num_rows else [f"Nobody was active from {window}."]
    notes += [
        f"The feature {row['features']} is too thin: users {row['users']}; at least {rule.minimum_users} are needed."
        for row in thin
        if row["size"] == 1
    ]
    if sets := sum(row["size"] > 1 for row in thin):
        notes.append(f"Sets with fewer than {rule.minimum_users} users, not ranked: {sets}.")
    return Answer(
        question="Which feature, or set of features, is stickiest?",
        definition=(
            f"From {window}: the mean over a feature's users of the share of the {window.days} days on which they "
            "used it. The users of a set used all of its features in that time; a day counts when they used any of "
            "them. Lower and upper bound the stickiness (95 % at the default); the rank goes by the lower."
        ),
        table=table.filter(pc.field("rank") <= top),
        parameters=scope_parameters(scope, **msgspec.structs.asdict(rule), days=window.days, top=top),
        notes=(*notes, *scope_notes(scope)),
    )
