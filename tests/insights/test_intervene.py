from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from asking import rows_of
from heliograph.insights.intervene import InterventionRule, answer_intervene, window_measures
from heliograph.insights.scope import QuestionError

if TYPE_CHECKING:
    from asking import AskSource, MakeScope, MakeTables, Row
    from heliograph.insights.answer import Answer
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan

LAST = date(2026, 3, 31)


def week(number: int, *, users: int = 10, searches: int = 4, **about: Any) -> list[Row]:
    """Return a week of use, `number` weeks before the last: of each user so many searches and one other feature."""
    day = LAST - timedelta(days=7 * number + 3)
    own = [
        {"user": f"{about.get('account', 'acme')}{user}", "at": f"{day}T{10 + event}:00", **about}
        for user in range(users)
        for event in range(searches)
    ]
    return own + [{**row, "name": "goToDefinition"} for row in own[:: max(searches, 1)]]


def usual(account: str = "acme", weeks: range = range(2, 10)) -> list[Row]:
    return [row for number in weeks for row in week(number, account=account)]


def advice(answer: Answer) -> list[tuple[str, str, str | None]]:
    return [(row["account"], row["status"], row["component"]) for row in answer.table.to_pylist()]


def test_a_change_names_the_component_its_first_day_and_the_evidence(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    tables = make_tables([*usual(), *week(1, searches=1), *week(0, searches=2)])
    answer = answer_intervene(tables, plan, make_scope("2026-03-31"))
    assert advice(answer) == [("acme", "intervene", "core_actions")]
    (row,) = answer.table.to_pylist()
    assert (row["baseline"], row["latest"], row["change"]) == (40, 15, 0.5)
    assert row["since"] == date(2026, 3, 18)
    # All weeks before are alike, so that the scale is chance's: a deviation of 1 for twice the root.
    fall = 2 * (40.375**0.5 - (10.375**0.5 + 20.375**0.5) / 2)
    assert row["score"] == pytest.approx(fall * (8 * 2 / 10) ** 0.5)
    assert answer.notes == ("acme: core actions: 15 since 2026-03-18, against 40 before.",)


def test_a_change_of_five_weeks_ago_is_dated_there(plan: Plan, make_tables: MakeTables, make_scope: MakeScope) -> None:
    weeks = [week(number, users=4 if number < 5 else 12) for number in range(10)]
    answer = answer_intervene(make_tables([row for rows in weeks for row in rows]), plan, make_scope("2026-03-31"))
    rows = {row["component"]: row for row in answer.table.to_pylist()}
    assert {row["since"] for row in rows.values()} == {LAST - timedelta(days=5 * 7 - 1)}
    assert (rows["active_users"]["baseline"], rows["active_users"]["latest"]) == (12, 4)


def test_one_bad_week_or_a_good_one_is_steady(plan: Plan, make_tables: MakeTables, make_scope: MakeScope) -> None:
    bad_then_usual = [*usual("a", range(1, 10)), *week(0, searches=1, account="a")]
    usual_then_bad = [*usual("b"), *week(1, searches=1, account="b"), *week(0, account="b")]
    better = [*usual("c"), *week(1, searches=9, account="c"), *week(0, users=20, account="c")]
    answer = answer_intervene(make_tables([*bad_then_usual, *usual_then_bad, *better]), plan, make_scope("2026-03-31"))
    assert [row[:2] for row in advice(answer)] == [("a", "steady"), ("b", "steady"), ("c", "steady")]


def test_a_fall_beyond_chance_but_too_small_to_matter_is_steady(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    # 320 core actions after weeks of 400: five deviations, but 20 %.
    weeks = [week(number, searches=40 if number > 1 else 32) for number in range(10)]
    rows = [row | {"at": f"{row['at'][:10]}T09:00"} for rows in weeks for row in rows]
    tables, scope = make_tables(rows), make_scope("2026-03-31")
    assert advice(answer_intervene(tables, plan, scope)) == [("acme", "steady", "core_actions")]
    eager = InterventionRule(minimum_change=0.1)
    assert advice(answer_intervene(tables, plan, scope, rule=eager)) == [("acme", "intervene", "core_actions")]


def test_a_rise_of_failures_is_worse_and_a_fall_is_not(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    failing = [row | {"outcome": "error"} if number % 3 == 0 else row for number, row in enumerate(week(1) + week(0))]
    mended = [row | {"outcome": "error"} for row in usual("mended")]
    tables = make_tables([*usual(), *failing, *mended, *usual("mended", range(2))])
    answer = answer_intervene(tables, plan, make_scope("2026-03-31"))
    assert advice(answer)[0] == ("acme", "intervene", "failures")
    assert advice(answer)[1][:2] == ("mended", "steady")
    assert "share of failures: 34.0% since 2026-03-18, against 0.0% before" in answer.notes[0]


def test_a_component_with_too_few_windows_of_its_own_has_no_score(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    # Outcomes are known of five of the eight weeks before; whether the failures are new is not.
    known = [row | {"outcome": "ok" if row in usual(weeks=range(2, 7)) else None} for row in usual()]
    failing = [row | {"outcome": "error"} for row in week(1) + week(0)]
    tables, scope = make_tables([*known, *failing]), make_scope("2026-03-31")
    assert advice(answer_intervene(tables, plan, scope))[0][1] == "steady"
    rule = InterventionRule(minimum_windows=7)
    assert advice(answer_intervene(tables, plan, scope, rule=rule))[0][1:] == ("intervene", "failures")


def test_fewer_features_for_each_user_are_worse(plan: Plan, make_tables: MakeTables, make_scope: MakeScope) -> None:
    rich = [
        row | {"name": name}
        for row in usual() + week(1) + week(0)
        for name in ("SearchSubmitted", "goToDefinition", "SearchNotebookPageViewed")
        if name == "SearchSubmitted" or row["at"] < str(LAST - timedelta(days=14))
    ]
    answer = answer_intervene(make_tables(rich), plan, make_scope("2026-03-31"), rule=InterventionRule(threshold=2))
    assert ("acme", "intervene", "breadth") in advice(answer)


def test_no_data_is_no_score(plan: Plan, make_tables: MakeTables, make_scope: MakeScope) -> None:
    silent = usual("silent")
    new = [row for number in range(5) for row in week(number, account="new")]
    small = [row for number in range(10) for row in week(number, users=4, account="small")]
    gone = usual("gone", range(20, 30))
    answer = answer_intervene(make_tables([*silent, *new, *small, *gone]), plan, make_scope("2026-03-31"))
    assert {row[1:] for row in advice(answer)} == {("too_thin", None)}
    assert all(row["score"] is None for row in answer.table.to_pylist())
    silence = "nothing arrived in one of the latest two windows or both; the last event is of"
    thin = "something arrived in 5 of the latest 10 windows; at least 8 are needed; the last event is of"
    assert answer.notes == (
        f"gone is too thin: {silence} 2025-11-08.",
        f"new is too thin: {thin} 2026-03-28.",
        f"silent is too thin: {silence} 2026-03-14.",
        "small is too thin: 4 users in the median window; at least 5 are needed; the last event is of 2026-03-28.",
    )


def test_an_account_whose_instances_still_send_but_whose_users_left_is_not_too_thin(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    alive = [row | {"user": None, "name": "SignedIn"} for row in week(1) + week(0)]
    answer = answer_intervene(make_tables([*usual(), *alive]), plan, make_scope("2026-03-31"))
    assert ("acme", "intervene", "active_users") in advice(answer)


def test_the_day_in_progress_is_in_no_window(plan: Plan, make_tables: MakeTables, make_scope: MakeScope) -> None:
    tables = make_tables([*usual(weeks=range(10)), {"user": "ann", "at": "2026-04-01T09:00"}])
    answer = answer_intervene(tables, plan, make_scope("2026-04-01", now="2026-04-01T10:00"))
    assert answer.parameters["last_complete_day"] == "2026-03-31"
    assert answer.table["latest"].to_pylist() == answer.table["baseline"].to_pylist()
    day = make_scope("2026-04-01", now="2026-04-01T10:00")
    assert {row["active_users"] for row in rows_of(window_measures(tables, plan, day))} == {10}
    assert advice(answer)[0][:2] == ("acme", "steady")


def test_an_empty_lake_has_nothing_to_compare(plan: Plan, make_tables: MakeTables, make_scope: MakeScope) -> None:
    answer = answer_intervene(make_tables([]), plan, make_scope("2026-03-31"))
    assert answer.table.num_rows == 0
    assert answer.notes == ("No event arrived until 2026-03-31, so there is nothing to compare.",)


def test_rules_out_of_bounds_are_refused(plan: Plan, make_tables: MakeTables, make_scope: MakeScope) -> None:
    with pytest.raises(QuestionError, match="windows"):
        answer_intervene(make_tables([]), plan, make_scope("2026-03-31"), rule=InterventionRule(windows=3))


def test_measures_of_the_history_equal_plain_sql(
    history_tables: Tables, history_plan: Plan, make_scope: MakeScope, ask_source: AskSource
) -> None:
    instance, until = "dlt-hub-dlt", "2026-03-31"
    core = [name for name, event in history_plan.events.items() if event.core]
    weeks = ask_source(
        f"""
        SELECT (DATE '{until}' - time::DATE) // 7 AS week, count(DISTINCT user_id),
               count(*) FILTER (list_contains({core}, name)), count(DISTINCT (user_id, name)) / count(DISTINCT user_id)
        FROM source WHERE instance = '{instance}' AND time::DATE BETWEEN DATE '{until}' - 69 AND '{until}'
        GROUP BY week ORDER BY week
        """
    )
    assert len(weeks) == 10
    scope = make_scope(until, unit="instance", instances=(instance,))
    found = rows_of(window_measures(history_tables, history_plan, scope))
    assert [(row["window"], row["active_users"], row["core_actions"]) for row in found] == [row[:3] for row in weeks]
    assert [row["breadth"] for row in found] == pytest.approx([row[3] for row in weeks])
