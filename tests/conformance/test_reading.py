"""Every metric gives what a second reading of its definition gives, under all filters, on every engine."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from conformance.histories import NOW, PLAN, History, histories
from conformance.reading import READINGS, Reading
from heliograph.insights.catalog import METRICS, metric_named
from heliograph.insights.funnel import FunnelRule
from heliograph.insights.lifecycle import LifecycleRule
from heliograph.insights.power_users import PowerUserRule
from heliograph.insights.retention import RetentionRule
from heliograph.insights.scope import Scope
from heliograph.insights.sessions import SessionRule
from heliograph.insights.stickiest import StickinessRule

if TYPE_CHECKING:
    import msgspec

    from asking import Row
    from conformance.engines import Engine

SCOPES = {
    "by account": Scope(until=date(2026, 2, 9), now=NOW),
    "by instance, of one feature and version, of some days": Scope(
        until=date(2026, 2, 5),
        since=date(2026, 1, 14),
        now=NOW,
        unit="instance",
        features=("search", "reading"),
        versions=("5.3.1",),
    ),
    "of all together, in New York, in the middle of a day": Scope(
        until=date(2026, 1, 30),
        now=datetime(2026, 1, 31, 3, tzinfo=UTC),
        unit="everyone",
        zone="America/New_York",
    ),
    "of one account and client": Scope(
        until=date(2026, 2, 14), now=NOW, accounts=("acme",), instances=("one", "three"), clients=("web",)
    ),
}
STEPS = ("Searched", "Jumped", "Read")
RULES: list[tuple[str, msgspec.Struct]] = [
    ("power-users", PowerUserRule(active_days=2, features=2, percentile=50, minimum_users=2)),
    ("feature-stickiness", StickinessRule(minimum_users=2)),
    ("multi-feature-sessions", SessionRule(gap_minutes=15, features=3)),
    ("multi-feature-sessions", SessionRule(gap_minutes=60)),
    ("retention", RetentionRule(kind="unbounded", days=(0, 1, 5), cohort_days=28)),
    ("retention", RetentionRule(kind="bracket", days=(0, 1, 5, 20), cohort_days=1)),
    ("lifecycle", LifecycleRule(period_days=1)),
    ("lifecycle", LifecycleRule(period_days=28)),
    ("funnel", FunnelRule(steps=STEPS, order="exact", window_hours=24)),
    ("funnel", FunnelRule(steps=STEPS, order="any", window_hours=2)),
    ("funnel", FunnelRule(steps=STEPS, order="ordered", window_hours=2)),
]
"""Beside the example of each."""


DIFFERENT = ("daily-active-users", "multi-feature-sessions", "funnel", "searches")
"""One metric of each way in which days and filters come into them: the others share theirs with one of these."""


def comparable(rows: list[Row], scope: Scope) -> list[Row]:
    """Return rows in one order, with floating numbers rounded, and the unit's column named alike."""
    same = [
        {
            ("unit" if name == scope.unit else name): round(value, 9) if isinstance(value, float) else value
            for name, value in row.items()
        }
        for row in rows
    ]
    return sorted(
        (dict(sorted(row.items())) for row in same),
        key=lambda row: [str(value) for value in row.values() if not isinstance(value, float)],
    )


def test_every_metric_has_a_second_reading() -> None:
    # What interventions are made of is held to its definition where they are, on the real history.
    apart = {metric.name for metric in METRICS if metric.function.__module__ == "heliograph.insights.intervene"}
    assert {metric.name for metric in METRICS} - apart == READINGS.keys()


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories())
def test_every_metric_is_what_a_second_reading_gives(engine: Engine, scope: Scope, history: History) -> None:
    engine.fill(history.table, history.portions, history.pings)
    read = Reading(history, PLAN, scope)
    asked = [(name, metric_named(name).example(PLAN)) for name in READINGS] + RULES
    few = bool(scope.zone != "UTC" or scope.accounts)
    for name, rule in [each for each in asked if not few or each[0] in DIFFERENT]:
        found = comparable(engine.ask(metric_named(name), scope, rule), scope)
        assert found == comparable(READINGS[name](read, rule), scope), (name, rule)
