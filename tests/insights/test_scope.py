from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest

from heliograph.insights.resolve import resolve_scope
from heliograph.insights.scope import QuestionError, Scope

if TYPE_CHECKING:
    from asking import MakeTables
    from heliograph.insights.tables import Tables

NOW = datetime(2026, 4, 1, 12, tzinfo=UTC)


@pytest.fixture
def tables(make_tables: MakeTables) -> Tables:
    return make_tables(
        [
            {"at": "2026-01-01T09:00", "account": "acme", "instance": "acme-east"},
            {"at": "2026-01-02T09:00", "account": "acme", "instance": "acme-west"},
            {"at": "2026-01-03T09:00", "account": "zeta", "instance": "zeta"},
        ]
    )


def test_the_last_day_is_that_of_the_latest_event_of_those_chosen(tables: Tables) -> None:
    assert resolve_scope(tables.instance_days, now=NOW).until == date(2026, 1, 3)
    assert resolve_scope(tables.instance_days, now=NOW, accounts=["acme"]).until == date(2026, 1, 2)
    assert resolve_scope(tables.instance_days, now=NOW, instances=["acme-east"]).until == date(2026, 1, 1)
    assert resolve_scope(tables.instance_days, now=NOW, until=date(2026, 2, 1)).until == date(2026, 2, 1)


def test_an_empty_lake_ends_today(make_tables: MakeTables) -> None:
    assert resolve_scope(make_tables([]).instance_days, now=NOW).until == date(2026, 4, 1)


def test_all_unknown_names_are_told_at_once_with_the_nearest_known(tables: Tables) -> None:
    with pytest.raises(QuestionError) as error:
        resolve_scope(tables.instance_days, now=NOW, accounts=["acne", "qqqqqq"], instances=["acme-est"])
    assert error.value.problems == [
        "The lake holds no event of the account 'acne'. Did you mean acme?",
        "The lake holds no event of the account 'qqqqqq'. It knows acme, zeta.",
        "The lake holds no event of the instance 'acme-est'. Did you mean acme-west or acme-east?",
    ]


def test_an_instance_of_another_account_is_refused(tables: Tables) -> None:
    with pytest.raises(QuestionError, match="No instance 'zeta' belongs to the account 'acme'"):
        resolve_scope(tables.instance_days, now=NOW, accounts=["acme"], instances=["zeta"])


def test_a_name_asked_of_an_empty_lake_is_refused(make_tables: MakeTables) -> None:
    with pytest.raises(QuestionError, match="no events yet"):
        resolve_scope(make_tables([]).instance_days, now=NOW, accounts=["acme"])


def test_the_day_in_progress_is_the_utc_day_of_asking() -> None:
    late = datetime.fromisoformat("2026-03-31T23:00-05:00")
    scope = Scope(until=date(2026, 5, 1), now=late)
    assert scope.today == date(2026, 4, 1)
    assert scope.last_complete_day == date(2026, 3, 31)


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(QuestionError, match="no time zone"):
        Scope(until=date(2026, 5, 1), now=datetime.fromisoformat("2026-05-01"))
