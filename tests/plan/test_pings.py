from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import CANARY, SMALL_PLAN
from heliograph.ping import SMALLEST_GROUP, ActiveUsers, FeatureUse, suppressed
from heliograph.plan.pings import ping_problems
from pinging import make_ping


def test_a_ping_that_was_counted_by_the_plan_has_no_problem() -> None:
    assert ping_problems(make_ping(), SMALL_PLAN) == []


@given(st.tuples(*[st.integers(0, 40)] * 3).map(sorted), st.integers(0, 40), st.integers(0, 9))
def test_whatever_people_did_what_is_left_of_it_after_suppression_has_no_problem(
    active: list[int], users: int, more: int
) -> None:
    told = suppressed(users)
    ping = msgspec.structs.replace(
        make_ping(),
        active_users=ActiveUsers(**dict(zip(("day", "week", "month"), map(suppressed, active), strict=True))),
        features={"search": FeatureUse(users=told, events=None if told is None else users + more)},
    )
    assert ping_problems(ping, SMALL_PLAN) == []


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({"facts": {CANARY: "x"}}, ["facts"]),
        ({"features": {CANARY: {"users": 3, "events": 9}}}, ["features"]),
        ({"features": {f"search.{CANARY}": {"users": 3, "events": 9}}}, ["features"]),
        ({"features": {"search": {"users": 4, "events": 9}}}, ["features.search.users"]),
        ({"features": {"search": {"users": None, "events": 9}}}, ["features.search.events", "features.search"]),
        ({"features": {"search": {"users": 9, "events": None}}}, ["features.search"]),
        ({"active_users": {"day": 1, "week": 9, "month": 9}}, ["active_users.day"]),
        ({"active_users": {"day": 9, "week": 8, "month": 9}}, ["active_users.day"]),
        ({"active_users": {"day": 9, "week": None, "month": 9}}, ["active_users.day"]),
        ({"active_users": {"day": 9, "week": 9, "month": 8}}, ["active_users.week"]),
        ({"active_users": {"day": None, "week": 0, "month": 9}}, ["active_users.day"]),
        (
            {"facts": {CANARY: 1}, "active_users": {"day": 1, "week": 2, "month": 0}},
            ["facts", "active_users.day", "active_users.week", "active_users.week"],
        ),
    ],
    ids=str,
)
def test_each_rule_that_is_broken_is_told_by_its_field_and_without_a_value(
    fields: dict[str, Any], at_fault: list[str]
) -> None:
    problems = ping_problems(make_ping(**fields), SMALL_PLAN)
    assert [re.match(r"[a-z_]+(\.[a-z]+)*", problem)[0] for problem in problems] == at_fault  # type: ignore[index]
    assert CANARY not in "".join(problems)


def test_the_smallest_group_is_the_smallest_that_is_told() -> None:
    assert [suppressed(users) for users in (0, 1, SMALLEST_GROUP - 1, SMALLEST_GROUP)] == [
        0,
        None,
        None,
        SMALLEST_GROUP,
    ]
