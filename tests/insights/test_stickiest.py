from __future__ import annotations

import itertools
import math
from datetime import datetime
from typing import TYPE_CHECKING

import ibis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asking import rows_of
from heliograph.insights.scope import QuestionError
from heliograph.insights.stickiest import StickinessRule, answer_stickiest, feature_stickiness
from heliograph.insights.tables import defined_tables

if TYPE_CHECKING:
    from asking import AskSource, MakeScope, MakeTable, MakeTables, Row
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan


def test_stickiness_of_features_and_sets_of_the_history_equals_plain_sql(
    history_tables: Tables, history_plan: Plan, make_scope: MakeScope, ask_source: AskSource
) -> None:
    instance, until = "tobikodata-sqlmesh", "2026-03-31"
    days = ask_source(
        f"""
        SELECT DISTINCT user_id, name, time::DATE FROM source
        WHERE instance = '{instance}' AND time::DATE BETWEEN DATE '{until}' - 27 AND '{until}'
        """
    )
    expected = {}
    for size in (1, 2, 3):
        for names in itertools.combinations(
            sorted(history_plan.events, key=lambda name: feature(history_plan, name)), size
        ):
            ((users, used),) = ask_source(
                f"""
                WITH days AS (
                  SELECT DISTINCT user_id, name, time::DATE AS day FROM source
                  WHERE instance = '{instance}' AND time::DATE BETWEEN DATE '{until}' - 27 AND '{until}'
                    AND list_contains({list(names)}, name)
                ),
                members AS (FROM days SELECT user_id GROUP BY user_id HAVING count(DISTINCT name) = {size})
                SELECT count(DISTINCT user_id), count(DISTINCT (user_id, day)) FROM days JOIN members USING (user_id)
                """
            )
            if users:
                label = " + ".join(feature(history_plan, name) for name in names)
                expected[label] = (size, users, pytest.approx(used / users / 28))
    scope = make_scope(until, instances=(instance,))
    rows = rows_of(feature_stickiness(history_tables, history_plan, scope))
    assert days
    assert {row["features"]: (row["size"], row["users"], row["stickiness"]) for row in rows} == expected
    assert {size for size, _, _ in expected.values()} == {1, 2, 3}


def feature(plan: Plan, name: str) -> str:
    return plan.events[name].feature


def use(user: str, name: str, days: range) -> list[dict[str, str]]:
    return [{"user": user, "name": name, "at": f"2026-01-{day:02}T09:00"} for day in days]


def test_the_days_of_a_set_are_those_of_any_of_its_features(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    tables = make_tables(
        [
            *use("ann", "SearchSubmitted", range(1, 5)),
            *use("ann", "goToDefinition", range(3, 9)),
            *use("bob", "SearchSubmitted", range(28, 29)),
            *use("bob", "goToDefinition", range(28, 29)),
            *use("cid", "SearchSubmitted", range(1, 29)),
        ]
    )
    rows = rows_of(feature_stickiness(tables, plan, make_scope("2026-01-28"), rule=StickinessRule(minimum_users=2)))
    found = {row["features"]: (row["users"], row["stickiness"]) for row in rows}
    assert found == {
        "search": (3, pytest.approx((4 + 1 + 28) / 3 / 28)),
        "navigation": (2, pytest.approx((6 + 1) / 2 / 28)),
        "navigation + search": (2, pytest.approx((8 + 1) / 2 / 28)),
    }


def test_the_interval_is_wilsons_with_the_effective_sample_size(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    days = [1, 2, 3, 6, 8]
    tables = make_tables(
        [row for number, last in enumerate(days) for row in use(str(number), "goToDefinition", range(1, last + 1))]
    )
    (row,) = rows_of(feature_stickiness(tables, plan, make_scope("2026-01-28")))
    shares = [day / 28 for day in days]
    mean = sum(shares) / 5
    variance = sum((share - mean) ** 2 for share in shares) / 4
    # Student's 97.5 % quantile with 4 degrees of freedom, from a printed table.
    size = mean * (1 - mean) / (variance / 5) * (1.96 / 2.776) ** 2
    centre = (mean + 1.96**2 / (2 * size)) / (1 + 1.96**2 / size)
    half = 1.96 / (1 + 1.96**2 / size) * math.sqrt(mean * (1 - mean) / size + 1.96**2 / (4 * size**2))
    assert row["stickiness"] == pytest.approx(mean)
    assert (row["lower"], row["upper"]) == pytest.approx((centre - half, centre + half), rel=0.02)


def test_where_all_users_are_alike_the_interval_is_not_of_no_width(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    tables = make_tables([row for user in "abcde" for row in use(user, "goToDefinition", range(1, 29))])
    (row,) = rows_of(feature_stickiness(tables, plan, make_scope("2026-01-28")))
    assert row["stickiness"] == 1
    assert row["upper"] == pytest.approx(1)
    assert 0.3 < row["lower"] < 0.6


def test_rank_goes_by_the_lower_end_and_thin_features_have_none(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    many = [row for number in range(40) for row in use(str(number), "goToDefinition", range(1, 15))]
    few = [row for user in "abcde" for row in use(user, "SearchSubmitted", range(1, 17))]
    thin = use("f", "SearchNotebookPageViewed", range(1, 29))
    answer = answer_stickiest(make_tables(many + few + thin), plan, make_scope("2026-01-28"))
    assert [(row["rank"], row["features"]) for row in answer.table.to_pylist()] == [(1, "navigation"), (2, "search")]
    assert answer.notes == ("The feature notebooks is too thin: users 1; at least 5 are needed.",)
    nobody = answer_stickiest(make_tables(many), plan, make_scope("2026-09-28"))
    assert nobody.notes == ("Nobody was active from 2026-09-01 to 2026-09-28.",)
    assert nobody.table.num_rows == 0


def test_only_the_first_of_each_size_are_shown(plan: Plan, make_tables: MakeTables, make_scope: MakeScope) -> None:
    names = ("goToDefinition", "SearchSubmitted", "SearchNotebookPageViewed")
    tables = make_tables([row for user in "abcde" for name in names for row in use(user, name, range(1, 3))])
    answer = answer_stickiest(tables, plan, make_scope("2026-01-28"), top=1)
    assert [row["size"] for row in answer.table.to_pylist()] == [1, 2, 3]
    with pytest.raises(QuestionError, match="1 or more of each size, not 0"):
        answer_stickiest(tables, plan, make_scope("2026-01-28"), top=0)


used = st.lists(
    st.fixed_dictionaries(
        {
            "user": st.sampled_from(["ann", "bob", "cid", "dan"]),
            "at": st.datetimes(
                min_value=datetime.fromisoformat("2026-01-01"), max_value=datetime.fromisoformat("2026-02-28")
            ).map(datetime.isoformat),
            "name": st.sampled_from(["SearchSubmitted", "goToDefinition", "SearchNotebookPageViewed"]),
        }
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=25, deadline=None)
@given(rows=used)
def test_stickiness_lies_in_its_interval_and_a_set_has_no_more_users_than_its_features(
    plan: Plan, make_table: MakeTable, make_scope: MakeScope, rows: list[Row]
) -> None:
    rule = StickinessRule(minimum_users=2)
    table = rows_of(
        feature_stickiness(
            defined_tables(ibis.memtable(make_table(rows)), plan), plan, make_scope("2026-01-28"), rule=rule
        )
    )
    users = {row["features"]: row["users"] for row in table}
    for row in table:
        assert 1 / 28 <= row["stickiness"] <= 1
        assert all(row["users"] <= users[feature] for feature in row["features"].split(" + "))
        assert (row["rank"] is None) == (row["users"] < 2) == (row["lower"] is None)
        if row["rank"]:
            assert 0 <= row["lower"] <= row["stickiness"] <= row["upper"] <= 1 + 1e-9
    for size in (1, 2, 3):
        ranks = [row["rank"] for row in table if row["size"] == size and row["rank"]]
        assert ranks == list(range(1, len(ranks) + 1))
