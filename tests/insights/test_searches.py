from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from heliograph.insights.scope import QuestionError, Scope
from heliograph.insights.searches import answer_searches, parse_month

if TYPE_CHECKING:
    from asking import MakeScope, MakeTables
    from heliograph.plan.model import Plan

ANN = b"ann".hex().rjust(32, "0")


def test_searches_of_one_user_and_month_are_counted_by_kind(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    mine = {"user": "ann", "at": "2026-10-05T10:00"}
    tables = make_tables(
        [
            {**mine, "pattern_type": "regexp"},
            {**mine, "pattern_type": "regexp", "outcome": "error", "at": "2026-10-31T23:59:59.999999"},
            {**mine, "pattern_type": "structural", "at": "2026-10-01T00:00", "instance": "two"},
            {**mine},
            {**mine, "pattern_type": "regexp", "at": "2026-09-30T23:59:59.999999"},
            {**mine, "pattern_type": "regexp", "at": "2026-11-01T00:00"},
            {**mine, "pattern_type": "regexp", "user": "bob"},
            {**mine, "pattern_type": "regexp", "name": "goToDefinition"},
        ]
    )
    answer = answer_searches(tables, plan, make_scope("2026-01-01"), user=ANN, month="2026-10")
    # The plan's own kinds first, also the one that did not occur; then the others by name.
    assert answer.table.to_pylist() == [
        {"pattern_type": "regexp", "events": 2},
        {"pattern_type": "literal", "events": 0},
        {"pattern_type": "(not given)", "events": 1},
        {"pattern_type": "structural", "events": 1},
    ]
    assert answer.notes == ()
    here = make_scope("2026-01-01", instances=("two",))
    assert sum(answer_searches(tables, plan, here, user=ANN, month="2026-10").table["events"].to_pylist()) == 1


def test_where_there_are_no_searches_the_answer_says_why(
    plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    tables = make_tables(
        [{"user": "ann", "at": "2026-10-05T10:00", "name": "SignedIn"}, {"user": "bob", "at": "2026-11-05T10:00"}]
    )
    scope = make_scope("2026-12-31")

    def notes(user: str, month: str, *, plan: Plan = plan, scope: Scope = scope) -> list[str]:
        answer = answer_searches(tables, plan, scope, user=user, month=month)
        assert answer.table.num_rows == 0
        return list(answer.notes)

    assert notes(ANN, "2026-10") == ["None of this user's events of the month (1) is SearchSubmitted."]
    assert notes(ANN, "2026-11") == ["This user has no events in 2026-11; the latest is of 2026-10-05."]
    assert notes("f" * 32, "2026-10") == ["No event is of this user, in any month."]
    elsewhere = make_scope("2026-12-31", instances=("two",))
    assert notes(ANN, "2026-10", scope=elsewhere) == [
        "No event of the chosen accounts and instances is of this user, in any month."
    ]
    assert (
        "product@1 does not say which event is a search"
        in notes(ANN, "2026-10", plan=msgspec.structs.replace(plan, searches=None))[0]
    )


def test_a_month_in_progress_is_said_to_be_so(plan: Plan, make_tables: MakeTables, make_scope: MakeScope) -> None:
    tables = make_tables([{"user": "ann", "at": "2026-10-05T10:00", "pattern_type": "regexp"}])
    asked = make_scope("2026-10-05", now="2026-10-31T23:00")
    answer = answer_searches(tables, plan, asked, user=ANN, month="2026-10")
    assert answer.notes == ("2026-10 is not over: the figures can still grow.",)


@pytest.mark.parametrize("month", ["2026", "2026-13", "2026-1", "10-2026", "0000-01", "2026-10-01", "", "\uff12026-10"])
def test_what_is_no_month_is_refused(month: str) -> None:
    with pytest.raises(QuestionError, match="is no month; write the year and the month, such as 2026-10"):
        parse_month(month)


def test_a_leap_february_has_its_last_day() -> None:
    assert str(parse_month("2028-02")) == "2028-02-01 to 2028-02-29"


@pytest.mark.parametrize("user", ["ann", "A" * 32, "0" * 31, "", "0" * 32 + "\n"])
def test_what_is_no_user_id_is_refused(plan: Plan, make_tables: MakeTables, make_scope: MakeScope, user: str) -> None:
    tables = make_tables([{"user": "ann", "at": "2026-10-05T10:00"}])
    with pytest.raises(QuestionError, match="32 hexadecimal digits"):
        answer_searches(tables, plan, make_scope("2026-10-05"), user=user, month="2026-10")
