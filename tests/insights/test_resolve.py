from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest

from heliograph.insights.resolve import matches, resolve_filters, resolve_scope
from heliograph.insights.scope import QuestionError, Scope

if TYPE_CHECKING:
    from asking import MakeTables
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan

NOW = datetime(2026, 4, 1, 12, tzinfo=UTC)


@pytest.fixture
def tables(make_tables: MakeTables) -> Tables:
    versions = ["5.2", "5.3", "5.3.1", "5.10", "6.0.1", None]
    return make_tables([{"at": "2026-01-01T09:00", "version": version} for version in versions])


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["5.3"], ["5.3", "5.3.1"]),
        (["=5.3"], ["5.3"]),
        (["5"], ["5.2", "5.3", "5.3.1", "5.10"]),
        ([">=5.3", "<5.10"], ["5.3", "5.3.1"]),
        ([">5.3", "<=6"], ["5.3.1", "5.10"]),
        (["5.2", "6"], ["5.2", "6.0.1"]),
        (["5", ">5.3.0.0"], ["5.3.1", "5.10"]),
    ],
)
def test_versions_are_compared_number_by_number(
    tables: Tables, plan: Plan, patterns: list[str], found: list[str]
) -> None:
    scope = resolve_filters(resolve_scope(tables.instance_days, now=NOW), tables, plan, versions=patterns)
    assert list(scope.versions) == found
    assert not matches("5.3", ["latest"])


def test_what_is_unknown_is_told_at_once_with_the_nearest_known(tables: Tables, plan: Plan) -> None:
    scope = resolve_scope(tables.instance_days, now=NOW)
    with pytest.raises(QuestionError) as error:
        resolve_filters(scope, tables, plan, features=["serach"], versions=["v5"], clients=["phone"])
    assert error.value.problems == [
        "The tracking plan has no feature 'serach'. Did you mean search?",
        "The tracking plan has no client 'phone'. It has web.",
        "'v5' is no version; write one such as 5.3, =5.3 or >=5.3.",
    ]
    with pytest.raises(QuestionError, match=r"version 7; the newest known are: 5\.2, 5\.3, 5\.3\.1, 5\.10, 6\.0\.1"):
        resolve_filters(scope, tables, plan, versions=["7"])


def test_a_period_that_ends_before_it_begins_and_an_unknown_zone_are_refused() -> None:
    with pytest.raises(QuestionError) as error:
        Scope(until=date(2026, 1, 1), since=date(2026, 1, 2), now=NOW, zone="Atlantis")
    assert error.value.problems == [
        "'Atlantis' is no time zone; write one such as UTC or Europe/Berlin.",
        "The first day, 2026-01-02, lies after the last, 2026-01-01.",
    ]
