"""Every metric: what it is called, the function that computes it, what may be chosen, and which tables it reads.

Whoever wants all of them goes by this list: the command line, the documentation, the tests that hold two engines to
the same answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

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
from heliograph.insights.power_users import PowerUserRule, power_users
from heliograph.insights.retention import RetentionRule, retention
from heliograph.insights.searches import SearchRule, searches
from heliograph.insights.sessions import SessionRule, multi_feature_sessions
from heliograph.insights.stickiest import StickinessRule, feature_stickiness
from heliograph.plan.model import Plan


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric."""

    name: str
    """What it is called on the command line."""
    words: str
    """The question that it answers."""
    function: Callable[..., ibis.Table]
    """``function(tables, plan, scope, *, rule)``; without a rule, the default one where there is one."""
    rule: type[msgspec.Struct]
    """The parameters, each with its bounds and meaning."""
    reads: tuple[str, ...]
    """The tables of `heliograph.insights.tables.Tables` that it reads, with days in UTC."""
    required: Callable[[Plan], dict[str, Any]] = lambda _: {}
    """Values for those parameters that have no default, such as the first events of a plan as the steps of a funnel."""

    def example(self, plan: Plan) -> msgspec.Struct:
        """Return a rule that means something under the plan, with the defaults wherever there are any."""
        return self.rule(**self.required(plan))


_USE: Final = ("user_feature_days", "instance_days")

METRICS: Final = (
    Metric(
        name="daily-active-users",
        words="How many users were active on each day?",
        function=daily_active_users,
        rule=NoRule,
        reads=_USE,
    ),
    Metric(
        name="weekly-active-users",
        words="How many users were active in the 7 days that end with each day?",
        function=weekly_active_users,
        rule=NoRule,
        reads=_USE,
    ),
    Metric(
        name="monthly-active-users",
        words="How many users were active in the 28 days that end with each day?",
        function=monthly_active_users,
        rule=NoRule,
        reads=_USE,
    ),
    Metric(
        name="trailing-active-users",
        words="How many users were active in any number of days that end with each day?",
        function=trailing_active_users,
        rule=TrailingRule,
        reads=_USE,
    ),
    Metric(
        name="calendar-month-active-users",
        words="How many users were active in each calendar month?",
        function=calendar_month_active_users,
        rule=NoRule,
        reads=_USE,
    ),
    Metric(
        name="stickiness",
        words="How often do active users come back?",
        function=stickiness,
        rule=NoRule,
        reads=_USE,
    ),
    Metric(
        name="feature-stickiness",
        words="Which feature, or set of features, is stickiest?",
        function=feature_stickiness,
        rule=StickinessRule,
        reads=_USE,
    ),
    Metric(
        name="power-user-curve",
        words="How many users were active on exactly so many of the days?",
        function=power_user_curve,
        rule=CurveRule,
        reads=_USE,
    ),
    Metric(
        name="power-users",
        words="How many users are power users, and how much hangs on each threshold?",
        function=power_users,
        rule=PowerUserRule,
        reads=_USE,
    ),
    Metric(
        name="multi-feature-sessions",
        words="How many users use several features in one session?",
        function=multi_feature_sessions,
        rule=SessionRule,
        reads=("session_parts", "instance_days"),
    ),
    Metric(
        name="retention",
        words="How many of those who began to use the product still use it?",
        function=retention,
        rule=RetentionRule,
        reads=("user_feature_days",),
    ),
    Metric(
        name="lifecycle",
        words="How many users are new, return, come back after a pause, or fall silent?",
        function=lifecycle,
        rule=LifecycleRule,
        reads=_USE,
    ),
    Metric(
        name="funnel",
        words="How many users go through these steps, and where do they stop?",
        function=funnel,
        rule=FunnelRule,
        reads=("events", "instance_days"),
        required=lambda plan: {"steps": tuple([name for name, event in plan.events.items() if event.active][:3])},
    ),
    Metric(
        name="adoption",
        words="How broadly, how often and how deeply is the product used?",
        function=adoption,
        rule=AdoptionRule,
        reads=(*_USE, "pings"),
    ),
    Metric(
        name="feature-adoption",
        words="How broadly, how often and how deeply is each feature used?",
        function=feature_adoption,
        rule=AdoptionRule,
        reads=(*_USE, "pings"),
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
        reads=_USE,
    ),
)
"""In the order of the documentation."""


def metric_named(name: str) -> Metric:
    """Return the metric of this name.

    Raises:
        KeyError: There is none.
    """
    return {metric.name: metric for metric in METRICS}[name]
