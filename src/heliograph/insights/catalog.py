"""Every metric: what it is called, the function that computes it, what may be chosen, and which tables it reads.

Whoever wants all of them goes by this list: the command line, the documentation, the tests that hold two engines to
the same answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import ibis
import msgspec

from heliograph.insights.activity import (
    NoRule,
    TrailingRule,
    calendar_month_active_users,
    daily_active_users,
    monthly_active_users,
    stickiness,
    trailing_active_users,
    weekly_active_users,
)
from heliograph.insights.adoption import AdoptionRule, adoption, feature_adoption
from heliograph.insights.curve import CurveRule, power_user_curve
from heliograph.insights.funnel import FunnelRule, funnel
from heliograph.insights.intervene import InterventionRule, window_measures
from heliograph.insights.lifecycle import LifecycleRule, lifecycle
from heliograph.insights.power_users import STEPS, PowerUserRule, power_users
from heliograph.insights.retention import RetentionRule, retention
from heliograph.insights.scope import QuestionError, Scope
from heliograph.insights.searches import SearchRule, searches
from heliograph.insights.sessions import SessionRule, multi_feature_sessions
from heliograph.insights.stickiest import SEPARATOR, StickinessRule, feature_stickiness
from heliograph.insights.suppression import Counts, from_row_to_row, parts_of, repeated, subsets, suppressed
from heliograph.plan.model import Plan

if TYPE_CHECKING:
    import pyarrow as pa

    from heliograph.insights.tables import Tables


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric."""

    name: str
    """What it is called on the command line."""
    words: str
    """The question that it answers."""
    function: Callable[..., ibis.Table]
    """``function(tables, plan, scope, *, rule)``; without a rule, the default one where there is one.

    What it returns reads the tables whenever it is asked for its rows, but that of a funnel, which has read them."""
    rule: type[msgspec.Struct]
    """The parameters, each with its bounds and meaning."""
    reads: tuple[str, ...]
    """The tables of `heliograph.insights.tables.Tables` that it reads, with days in UTC."""
    required: Callable[[Plan], dict[str, Any]] = lambda _: {}
    """Values for those parameters that have no default, such as the first events of a plan as the steps of a funnel."""
    counts: Counts | None = None
    """How its numbers of people hang together. None: it tells of single users, or of one account's own affairs, and is
    not for those to whom small groups are not told."""

    def example(self, plan: Plan) -> msgspec.Struct:
        """Return a rule that means something under the plan, with the defaults wherever there are any."""
        return self.rule(**self.required(plan))

    def result(
        self,
        tables: Tables,
        plan: Plan,
        scope: Scope,
        *,
        rule: msgspec.Struct | None = None,
        suppress: int | None = None,
    ) -> pa.Table:
        """Return the rows of the metric.

        Args:
            tables: The tables of one lake.
            plan: Says what events mean.
            scope: What is asked about.
            rule: The parameters; None: the defaults, or an example where there are none.
            suppress: The smallest number of people that is told, for those who may not see smaller groups; None: all.

        Raises:
            QuestionError: A parameter is out of bounds, or the metric is not told where small groups are not.
        """
        if suppress is not None and self.counts is None:
            raise QuestionError([f"{self.name} is not told where small groups are suppressed: it is about too few."])
        table = self.function(tables, plan, scope, rule=rule or self.example(plan)).to_pyarrow()
        if suppress is None or self.counts is None:
            return table
        return suppressed(table, self.counts, unit=scope.unit, minimum_group=suppress)


_USE: Final = ("user_feature_days", "instance_days")
_DAYS: Final = ("active_days", "instance_days")
_MOVED: Final = tuple(f"{threshold}_{way}" for threshold in STEPS for way in ("lower", "higher"))
_OF_A_DAY: Final = Counts(people=("active_users",), keys=("day",))

METRICS: Final = (
    Metric(
        name="daily-active-users",
        words="How many users were active on each day?",
        function=daily_active_users,
        rule=NoRule,
        reads=_USE,
        counts=_OF_A_DAY,
    ),
    Metric(
        name="weekly-active-users",
        words="How many users were active in the 7 days that end with each day?",
        function=weekly_active_users,
        rule=NoRule,
        reads=_USE,
        counts=_OF_A_DAY,
    ),
    Metric(
        name="monthly-active-users",
        words="How many users were active in the 28 days that end with each day?",
        function=monthly_active_users,
        rule=NoRule,
        reads=_USE,
        counts=_OF_A_DAY,
    ),
    Metric(
        name="trailing-active-users",
        words="How many users were active in any number of days that end with each day?",
        function=trailing_active_users,
        rule=TrailingRule,
        reads=_USE,
        counts=_OF_A_DAY,
    ),
    Metric(
        name="calendar-month-active-users",
        words="How many users were active in each calendar month?",
        function=calendar_month_active_users,
        rule=NoRule,
        reads=_USE,
        counts=Counts(people=("active_users",), keys=("month",)),
    ),
    Metric(
        name="stickiness",
        words="How often do active users come back?",
        function=stickiness,
        rule=NoRule,
        reads=_USE,
        counts=Counts(
            people=("daily_active_users", "weekly_active_users", "monthly_active_users"),
            derived={"stickiness": ("daily_active_users", "monthly_active_users")},
            links=(
                parts_of("weekly_active_users", "daily_active_users", rest=True),
                parts_of("monthly_active_users", "weekly_active_users", rest=True),
            ),
            keys=("day",),
        ),
    ),
    Metric(
        name="feature-stickiness",
        words="Which feature, or set of features, is stickiest?",
        function=feature_stickiness,
        rule=StickinessRule,
        reads=_DAYS,
        counts=Counts(
            people=("users",),
            derived=dict.fromkeys(("rank", "stickiness", "lower", "upper"), ("users",)),
            links=(subsets("users", "features", SEPARATOR),),
        ),
    ),
    Metric(
        name="power-user-curve",
        words="How many users were active on exactly so many of the days?",
        function=power_user_curve,
        rule=CurveRule,
        reads=_USE,
        counts=Counts(
            people=("users", "reach"),
            derived={"share": ("users", "reach")},
            links=(from_row_to_row({("reach", 0): 1, ("users", 0): -1, ("reach", 1): -1}),),
            keys=("active_days",),
        ),
    ),
    Metric(
        name="power-users",
        words="How many users are power users, and how much hangs on each threshold?",
        function=power_users,
        rule=PowerUserRule,
        reads=_DAYS,
        counts=Counts(
            people=("active_users", "power_users", *_MOVED),
            derived={"share": ("active_users", "power_users")},
            links=(
                parts_of("active_users", "power_users", rest=True),
                *(parts_of("active_users", name, rest=True) for name in _MOVED),
                *(parts_of(name, "power_users", rest=True) for name in _MOVED if name.endswith("lower")),
                *(parts_of("power_users", name, rest=True) for name in _MOVED if name.endswith("higher")),
            ),
        ),
    ),
    Metric(
        name="multi-feature-sessions",
        words="How many users use several features in one session?",
        function=multi_feature_sessions,
        rule=SessionRule,
        reads=("session_spans", "instance_days"),
        counts=Counts(
            people=("users", "multi_feature_users"),
            derived={
                "share_of_users": ("users", "multi_feature_users"),
                "sessions": ("users",),
                "multi_feature_sessions": ("multi_feature_users",),
                "share_of_sessions": ("users", "multi_feature_users"),
            },
            links=(parts_of("users", "multi_feature_users", rest=True),),
        ),
    ),
    Metric(
        name="retention",
        words="How many of those who began to use the product still use it?",
        function=retention,
        rule=RetentionRule,
        reads=("user_feature_days",),
        counts=Counts(
            people=("users", "eligible", "retained"),
            derived={"share": ("eligible", "retained"), "complete": ("users", "eligible")},
            links=(
                parts_of("users", "eligible", rest=True),
                parts_of("eligible", "retained", rest=True),
                repeated("users", "cohort"),
            ),
            keys=("cohort", "from_day"),
        ),
    ),
    Metric(
        name="lifecycle",
        words="How many users are new, return, come back after a pause, or fall silent?",
        function=lifecycle,
        rule=LifecycleRule,
        reads=_USE,
        counts=Counts(
            people=("active", "new", "returning", "resurrecting", "dormant", "inactive"),
            links=(
                parts_of("active", "new", "returning", "resurrecting"),
                from_row_to_row({("active", -1): 1, ("returning", 0): -1, ("dormant", 0): -1}),
                from_row_to_row({("inactive", 0): 1, ("inactive", -1): -1, ("dormant", 0): -1, ("resurrecting", 0): 1}),
            ),
            keys=("period",),
        ),
    ),
    Metric(
        name="funnel",
        words="How many users go through these steps, and where do they stop?",
        function=funnel,
        rule=FunnelRule,
        reads=("events", "instance_days"),
        counts=Counts(
            people=("users", "pending"),
            derived={
                "share": ("users",),
                "share_of_previous": ("users",),
                "complete": ("pending",),
            },
            links=(from_row_to_row({("users", 0): 1, ("users", 1): -1}, rest=True),),
            keys=("step",),
        ),
        required=lambda plan: {"steps": tuple([name for name, event in plan.events.items() if event.active][:3])},
    ),
    Metric(
        name="adoption",
        words="How broadly, how often and how deeply is the product used?",
        function=adoption,
        rule=AdoptionRule,
        reads=(*_USE, "pings"),
        counts=Counts(
            people=("users",),
            derived=dict.fromkeys(("breadth", "frequency", "depth", "saturation"), ("users",)),
        ),
    ),
    Metric(
        name="feature-adoption",
        words="How broadly, how often and how deeply is each feature used?",
        function=feature_adoption,
        rule=AdoptionRule,
        reads=(*_USE, "pings"),
        counts=Counts(
            people=("users",),
            derived=dict.fromkeys(("breadth", "frequency", "depth", "saturation"), ("users",)),
            keys=("feature",),
        ),
    ),
    Metric(
        name="searches",
        words="How many searches of each kind did each user run?",
        function=searches,
        rule=SearchRule,
        reads=("user_days",),
    ),
    Metric(
        name="components",
        words="What do the components of intervene measure, window by window?",
        function=window_measures,
        rule=InterventionRule,
        reads=_DAYS,
    ),
)
"""In the order of the documentation."""


def metric_named(name: str) -> Metric:
    """Return the metric of this name.

    Raises:
        KeyError: There is none.
    """
    return {metric.name: metric for metric in METRICS}[name]
