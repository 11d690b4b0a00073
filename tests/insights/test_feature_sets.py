"""Sets of more features, and of more days, than one number holds; and metrics that are built once."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import msgspec

from asking import rows_of
from harness import SMALL_PLAN, definition
from heliograph.insights.building import built_once
from heliograph.insights.intervene import window_measures
from heliograph.insights.power_users import user_measures
from heliograph.insights.sessions import SessionRule, multi_feature_sessions
from heliograph.insights.stickiest import StickinessRule, feature_stickiness
from heliograph.insights.tables import defined_tables

if TYPE_CHECKING:
    import ibis

    from asking import MakeEvents, MakeScope, MakeTables
    from heliograph.insights.scope import Scope
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan

MANY = [f"feature_{number:02}" for number in range(70)]
BROAD = msgspec.structs.replace(
    SMALL_PLAN,
    features=dict.fromkeys(MANY, "A part of it."),
    events={f"used_{feature}": definition(feature, core=True) for feature in MANY},
)


def used(feature: int, at: str) -> dict[str, str]:
    return {"user": "ann", "name": f"used_{MANY[feature]}", "at": at}


def test_a_plan_may_have_more_features_than_one_number_holds(make_events: MakeEvents, make_scope: MakeScope) -> None:
    minutes = [used(number, f"2026-01-28T09:{number % 60:02}") for number in range(70)]
    tables = defined_tables(make_events([*minutes, used(61, "2026-01-27T09:00"), used(62, "2026-01-27T12:00")]), BROAD)
    kept = msgspec.structs.replace(tables, kept=True)
    scope = make_scope("2026-01-28")
    [ann] = rows_of(user_measures(tables, BROAD, scope))
    assert (ann["features"], ann["core_actions"], ann["active_days"]) == (70, 72, 2)
    for each in (tables, kept):
        [acme] = rows_of(multi_feature_sessions(each, BROAD, scope, rule=SessionRule(features=70)))
        assert (acme["sessions"], acme["multi_feature_sessions"]) == (3, 1)
    assert rows_of(window_measures(tables, BROAD, make_scope("2026-01-28")))[-1]["breadth"] == 70
    ranked = rows_of(feature_stickiness(tables, BROAD, scope, rule=StickinessRule(largest_set=1)))
    days = {row["features"]: round(row["stickiness"] * 28) for row in ranked}
    assert days == dict.fromkeys(MANY, 1) | {MANY[61]: 2, MANY[62]: 2}


def test_windows_are_told_apart_however_many_of_them_share_a_number(
    make_events: MakeEvents, make_scope: MakeScope
) -> None:
    for count in (1, 2, 25, 31, 32, 62):  # 62 windows in a number, 31, 2, 2, and twice a single one
        plan = msgspec.structs.replace(BROAD, events={f"used_{each}": definition(each) for each in MANY[:count]})
        last, first = MANY[count - 1], MANY[0]
        used_in = {9: [first, last], 8: [last], 7: [first], 2: [first, first], 1: [first, last], 0: [last]}
        rows = [
            {"user": user, "name": f"used_{feature}", "at": f"{date(2026, 6, 28) - timedelta(days=7 * window)}T09:00"}
            for window, features in used_in.items()
            for feature in features
            for user in ("ann", "bob")[: 1 + window % 2]
        ]
        measures = rows_of(window_measures(defined_tables(make_events(rows), plan), plan, make_scope("2026-06-28")))
        assert {row["window"]: (row["users"], row["breadth"]) for row in measures} == {
            window: (1 + window % 2, len(set(features))) for window, features in used_in.items()
        }


def test_active_days_are_counted_over_more_days_than_one_number_holds(
    make_tables: MakeTables, plan: Plan, make_scope: MakeScope
) -> None:
    days = ["2026-01-01", "2026-03-01", "2026-03-04", "2026-03-05", "2026-05-30", "2026-05-30"]
    tables = make_tables([{"user": "ann", "at": f"{day}T09:00"} for day in days])
    scope = msgspec.structs.replace(make_scope("2026-05-30"), since=make_scope("2026-01-01").until)
    assert rows_of(user_measures(tables, plan, scope))[0]["active_days"] == 5


def test_a_question_of_this_quarter_of_an_hour_is_built_once_and_that_of_other_tables_or_plans_anew(
    make_tables: MakeTables, plan: Plan, make_scope: MakeScope
) -> None:
    asked: list[Scope] = []

    @built_once
    def metric(tables: Tables, plan: Plan, scope: Scope, *, rule: SessionRule | None = None) -> ibis.Table:
        asked.append(scope)
        return tables.events.limit(len(plan.events) if rule is None else rule.days)

    tables = make_tables([{"user": "ann", "at": "2026-01-28T09:00"}])
    moments = ("12:00:01", "12:00:02", "12:14:59", "12:15:00")
    scopes = [make_scope("2026-01-28", now=f"2030-01-01T{moment}") for moment in moments]
    found = [metric(tables, plan, scope) for scope in scopes]
    assert found[0] is found[1] is found[2] is not found[3]
    assert [scope.now.minute for scope in asked] == [0, 15]
    others = [
        metric(msgspec.structs.replace(tables, kept=True), plan, scopes[0]),
        metric(tables, msgspec.structs.replace(plan), scopes[0]),
        metric(tables, plan, scopes[0], rule=SessionRule(days=3)),
    ]
    assert len(asked) == 5
    assert metric(tables, plan, scopes[0]) is found[0], "and the first is still known"
    assert not any(other is found[0] for other in others)
