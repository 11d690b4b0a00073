"""Pings beside the events that they were counted from: equal where they must be, and named where they are not."""

from __future__ import annotations

import itertools
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from heliograph.insights.difference import EXPLANATIONS, Found, Kind, kind_of
from heliograph.insights.reconcile import answer_reconcile
from heliograph.insights.scope import QuestionError
from told import TOLD, open_as_pings, told

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from asking import MakeEvents, MakeScope, Row
    from heliograph.insights.answer import Answer
    from heliograph.plan.model import Plan

BEFORE, AFTER = (TOLD.replace(tzinfo=None) + timedelta(hours=hours) for hours in (-1, 1))
SIX = ("ann", "bob", "cid", "dan", "eve", "fay")


@pytest.fixture
def reconcile(make_events: MakeEvents, make_scope: MakeScope, plan: Plan, tmp_path: Path) -> Callable[..., Answer]:
    """Reconcile events with pings, up to the last day of May."""
    numbers = itertools.count()

    def ask(events: list[Row], pings: list[list[Row]], *, until: str = "2026-05-31", days: int = 28) -> Answer:
        table = make_events([{"received": BEFORE, **event} for event in events])
        beside = open_as_pings(pings, table, tmp_path / f"pings-{next(numbers)}.parquet")
        return answer_reconcile(table, beside, plan, make_scope(until, unit="instance"), days=days)

    return ask


def used(day: str, *users: str, **fields: Any) -> list[Row]:
    """An event of each user on a day."""
    return [{"at": f"{day}T12:00", "user": user, **fields} for user in users]


def differences(answer: Answer) -> list[tuple[Any, ...]]:
    """What differs, without account and instance."""
    return [tuple(row.values())[3:] for row in answer.table.to_pylist()]


LONG_AGO = used("2026-03-01", "ann")
"""So that no period reaches back to before the first event."""


def test_a_ping_that_says_what_the_events_say_differs_in_nothing(reconcile: Callable[..., Answer]) -> None:
    events = LONG_AGO + used("2026-05-30", *SIX) + used("2026-05-31", *SIX[:5], name="goToDefinition")
    answer = reconcile(
        events,
        [told("2026-05-30", (6, 6, 6), {"search": (6, 6)}), told("2026-05-31", (5, 6, 6), {"navigation": (5, 5)})],
    )
    assert differences(answer) == []
    assert answer.notes == ("Pings compared: 2. Numbers: 10, of which the same: 10.",)


def test_each_difference_has_its_kind_and_each_kind_its_explanation(reconcile: Callable[..., Answer]) -> None:
    events = [
        *LONG_AGO,
        *used("2026-05-31", *SIX),
        *used("2026-05-31", "ann", "bob", name="goToDefinition"),
        *used("2026-05-31", *SIX, name="SearchNotebookPageViewed", received=AFTER),
    ]
    features = {"search": (5, 6), "navigation": (None, None), "notebooks": (None, None), "accounts": (7, 7)}
    answer = reconcile(events, [told("2026-05-31", (6, 6, 9), features)])
    assert differences(answer) == [
        ("active_users", "month", 9, 6, "fewer"),
        ("feature_events", "accounts", 7, 0, "fewer"),
        ("feature_events", "navigation", None, 2, "suppressed"),
        ("feature_events", "notebooks", None, 6, "late"),
        ("feature_users", "accounts", 7, 0, "fewer"),
        ("feature_users", "navigation", None, 2, "suppressed"),
        ("feature_users", "notebooks", None, 6, "late"),
        ("feature_users", "search", 5, 6, "more"),
    ]
    assert answer.notes[0] == "Pings compared: 1. Numbers: 11, of which the same: 3."
    assert [note.partition(" ")[0] for note in answer.notes[1:]] == ["suppressed", "late", "fewer", "more"]
    assert f"more (1): {EXPLANATIONS[Kind.MORE]}" in answer.notes


def test_a_feature_that_only_the_lake_knows_is_one_that_the_ping_says_nobody_used(
    reconcile: Callable[..., Answer],
) -> None:
    answer = reconcile(LONG_AGO + used("2026-05-31", "ann"), [told("2026-05-31", (None, None, None))])
    assert [row for row in differences(answer) if row[0] != "active_users"] == [
        ("feature_events", "search", 0, 1, "more"),
        ("feature_users", "search", 0, 1, "more"),
    ]


def test_a_period_that_reaches_back_to_before_the_events_or_to_a_narrower_level_may_have_fewer(
    reconcile: Callable[..., Answer],
) -> None:
    pings = [
        told("2026-05-20", (9, 9, 9), agreement=None),
        told("2026-05-31", (6, 8, 9), {"search": (6, 6)}),
    ]
    new = reconcile(used("2026-05-25", "ann") + used("2026-05-31", *SIX), pings)
    assert differences(new) == [
        ("active_users", "month", 9, 6, "begun"),
        ("active_users", "week", 8, 6, "fewer"),
    ]
    narrowed = reconcile(LONG_AGO + used("2026-05-31", *SIX), pings)
    assert differences(narrowed) == [
        ("active_users", "day", 9, 0, "narrowed"),
        ("active_users", "month", 9, 0, "narrowed"),
        ("active_users", "week", 9, 0, "narrowed"),
        ("active_users", "month", 9, 6, "narrowed"),
        ("active_users", "week", 8, 6, "fewer"),
    ]


def test_days_that_only_one_of_the_two_has_are_not_compared(reconcile: Callable[..., Answer]) -> None:
    events = used("2026-05-10", *SIX) + used("2026-05-20", *SIX) + used("2026-05-20", *SIX, instance="two")
    pings = [
        told("2026-05-09", (6, 6, 6)),
        told("2026-05-20", (6, 6, 6), {"search": (6, 6)}),
        told("2026-05-21", (6, 6, 6)),
        told("2026-05-20", (60, 60, 60), instance="three"),
    ]
    answer = reconcile(events, pings)
    assert differences(answer) == []
    assert answer.notes == (
        "Pings compared: 1. Numbers: 5, of which the same: 5.",
        "Pings of days without events around them, which are not compared: 3.",
    )


def test_only_the_days_asked_for_are_compared(reconcile: Callable[..., Answer]) -> None:
    events = LONG_AGO + used("2026-05-31", *SIX)
    pings = [told("2026-05-30", (9, 9, 9)), told("2026-05-31", (9, 9, 9))]
    assert {row["day"] for row in reconcile(events, pings, days=1).table.to_pylist()} == {date(2026, 5, 31)}
    assert len({row["day"] for row in reconcile(events, pings, days=2).table.to_pylist()}) == 2
    assert reconcile(events, pings, until="2026-05-29").notes == ("There is no ping of these days.",)
    with pytest.raises(QuestionError, match="1 day or more"):
        reconcile(events, pings, days=0)


@pytest.mark.parametrize(
    ("number", "found", "kind"),
    [
        (0, Found(), Kind.SAME),
        (7, Found(7, 7, 0, 0), Kind.SAME),
        (None, Found(1, 1, 1, 1), Kind.SUPPRESSED),
        (None, Found(90, 4, 90, 4), Kind.SUPPRESSED),
        (None, Found(5, 5, 4, 4), Kind.LATE),
        (None, Found(5, 5, 5, 5), Kind.MORE),
        (None, Found(), Kind.FEWER),
        (7, Found(8, 8, 7, 7), Kind.LATE),
        (7, Found(8, 8, 8, 8), Kind.MORE),
        (7, Found(6, 6, 6, 6), Kind.FEWER),
    ],
)
def test_the_kind_follows_from_both_numbers_and_from_when_the_events_arrived(
    number: int | None, found: Found, kind: Kind
) -> None:
    assert kind_of(number, found, complete=True, permitted=True) is kind
    if kind is Kind.FEWER:
        assert kind_of(number, found, complete=True, permitted=False) is Kind.NARROWED
        assert kind_of(number, found, complete=False, permitted=False) is Kind.BEGUN
    else:
        assert kind_of(number, found, complete=False, permitted=False) is kind


def test_every_kind_but_the_same_is_explained() -> None:
    assert set(EXPLANATIONS) == set(Kind) - {Kind.SAME}


NAMES = {
    "SearchSubmitted": ("search", True),
    "goToDefinition": ("navigation", True),
    "SearchNotebookPageViewed": ("notebooks", True),
    "SignedIn": ("accounts", False),
}
FIRST = date(2026, 4, 1)
things = st.fixed_dictionaries(
    {
        "instance": st.sampled_from(["one", "two"]),
        "user": st.sampled_from([None, *"abcdefghij"]),
        "day": st.integers(0, 40),
        "name": st.sampled_from(list(NAMES)),
        "minute": st.integers(0, 1439),
    }
)


def ping_by_force(events: list[Row], instance: str, day: int) -> list[Row]:
    """The ping of a day, counted in the plainest way."""

    def leave(users: set[str]) -> int | None:
        return None if 1 <= len(users) <= 4 else len(users)

    known = [event for event in events if event["instance"] == instance and event["user"] is not None]
    users = tuple(
        leave({each["user"] for each in known if NAMES[each["name"]][1] and day - days < each["day"] <= day})
        for days in (1, 7, 28)
    )
    features: dict[str, tuple[int | None, int | None]] = {}
    for feature in ("search", "navigation", "notebooks", "accounts"):
        of_day = [each for each in known if NAMES[each["name"]][0] == feature and each["day"] == day]
        if of_day:
            count = leave({each["user"] for each in of_day})
            features[feature] = (count, None if count is None else len(of_day))
    return told((FIRST + timedelta(days=day)).isoformat(), users, features, instance=instance)  # type: ignore[arg-type]


# Without shrinking, which would take minutes: each example is a lake of its own.
@settings(
    max_examples=15,
    phases=[Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(events=st.lists(things, min_size=1, max_size=120), days=st.sampled_from([1, 14, 41]))
def test_pings_counted_from_the_same_events_reconcile_without_a_difference(
    reconcile: Callable[..., Answer], events: list[Row], days: int
) -> None:
    last = max(event["day"] for event in events)
    rows = [
        {
            "at": (datetime(2026, 4, 1) + timedelta(days=event["day"], minutes=event["minute"])).isoformat(),  # noqa: DTZ001
            **{key: event[key] for key in ("instance", "user", "name")},
        }
        for event in events
    ]
    pings = [ping_by_force(events, instance, day) for instance in ("one", "two") for day in range(last + 1)]
    until = (FIRST + timedelta(days=last)).isoformat()
    answer = reconcile(rows, pings, until=until, days=days)
    assert {row["kind"] for row in answer.table.to_pylist()} <= {"suppressed"}
    assert answer.notes[0].startswith("Pings compared: ")
    assert not answer.notes[0].startswith("Pings compared: 0")
