from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asking import rows_of
from heliograph.insights.power_users import (
    PowerUserRule,
    answer_power_users,
    power_users,
    user_measures,
    variants,
)
from heliograph.insights.scope import QuestionError

if TYPE_CHECKING:
    from asking import AskSource, MakeScope, MakeTables
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan


def power_users_in_sql(ask_source: AskSource, core: list[str], instance: str, until: str, rule: PowerUserRule) -> int:
    ((count,),) = ask_source(
        f"""
        WITH users AS (
          SELECT user_id, count(DISTINCT time::DATE) AS days, count(DISTINCT name) AS features,
                 count(*) FILTER (list_contains({core}, name)) AS core
          FROM source
          WHERE instance = '{instance}' AND time::DATE BETWEEN DATE '{until}' - 27 AND '{until}'
          GROUP BY user_id
        )
        SELECT count(*) FROM users AS this
        WHERE days >= {rule.active_days} AND features >= {rule.features}
          AND (SELECT avg((other.core < this.core)::INT) FROM users AS other WHERE other.user_id <> this.user_id)
              >= {rule.percentile} / 100
        """
    )
    return int(count)


def test_power_users_of_the_history_equal_plain_sql(
    history_tables: Tables, history_plan: Plan, make_scope: MakeScope, ask_source: AskSource
) -> None:
    core = [name for name, event in history_plan.events.items() if event.core]
    counts = set()
    for instance, until in (("ibis-project-ibis", "2024-03-31"), ("dlt-hub-dlt", "2026-03-31")):
        scope = make_scope(until, unit="instance", instances=(instance,))
        for rule in (PowerUserRule(), PowerUserRule(active_days=4, features=2, percentile=60)):
            (row,) = rows_of(power_users(history_tables, history_plan, scope, rule=rule))
            for name, each in {"power_users": rule, **variants(rule)}.items():
                assert row[name] == power_users_in_sql(ask_source, core, instance, until, each), name
                counts.add(row[name])
    assert len(counts) > 3


def month_of(user: str, days: int, features: int, searches: int) -> list[dict[str, str]]:
    """Return use on `days` days from 1 January: `searches` core actions in all, and so many features."""
    others = ["goToDefinition", "SearchNotebookPageViewed"][: features - 1]
    return [
        *({"user": user, "at": f"2026-01-{day:02}T09:00", "name": "goToDefinition"} for day in range(1, days + 1)),
        *({"user": user, "at": "2026-01-01T10:00"} for _ in range(searches)),
        *({"user": user, "at": "2026-01-01T11:00", "name": name} for name in others),
    ]


def test_all_three_thresholds_must_be_met(plan: Plan, make_tables: MakeTables, make_scope: MakeScope) -> None:
    tables = make_tables(
        [
            *month_of("all", days=10, features=3, searches=40),
            *month_of("rarely", days=9, features=3, searches=41),
            *month_of("narrow", days=20, features=2, searches=42),
            *month_of("little", days=20, features=3, searches=3),
            *month_of("minor", days=1, features=2, searches=2),
        ]
    )
    scope = make_scope("2026-01-28")
    measures = {
        bytes.fromhex(row["user_id"]).strip(b"\0").decode(): row for row in rows_of(user_measures(tables, plan, scope))
    }
    assert {name: row["peers_below"] for name, row in measures.items()} == {
        "minor": 0, "little": 1, "all": 2, "rarely": 3, "narrow": 4,
    }  # fmt: skip
    rule = PowerUserRule(percentile=50)
    assert rows_of(power_users(tables, plan, scope, rule=rule)) == [
        {
            "account": "acme",
            "active_users": 5,
            "power_users": 1,
            "share": 0.2,
            "active_days_lower": 2,
            "active_days_higher": 0,
            "features_lower": 2,
            "features_higher": 0,
            "percentile_lower": 1,
            "percentile_higher": 0,
            "complete": True,
        }
    ]


def test_too_few_peers_give_no_number(plan: Plan, make_tables: MakeTables, make_scope: MakeScope) -> None:
    tables = make_tables(month_of("all", days=10, features=3, searches=40))
    answer = answer_power_users(tables, plan, make_scope("2026-01-28"))
    (row,) = answer.table.to_pylist()
    assert row["active_users"] == 1
    assert row["power_users"] is None
    assert "acme is too thin: 1 active; at least 5 are needed." in answer.notes
    nobody = answer_power_users(tables, plan, make_scope("2026-06-28"))
    assert nobody.notes == ("Nobody was active from 2026-06-01 to 2026-06-28.",)


def test_a_threshold_at_its_bound_has_no_step_beyond_it() -> None:
    assert "active_days_lower" not in variants(PowerUserRule(active_days=1))
    assert "percentile_higher" not in variants(PowerUserRule(percentile=95))


def test_rules_out_of_bounds_are_refused(plan: Plan, make_tables: MakeTables, make_scope: MakeScope) -> None:
    tables = make_tables([{"user": "ann", "at": "2026-01-03T23:59"}])
    with pytest.raises(QuestionError, match="active_days"):
        answer_power_users(tables, plan, make_scope("2026-01-28"), rule=PowerUserRule(active_days=29))
