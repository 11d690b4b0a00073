"""Forty events whose answers were worked out by hand: golden/events.txt, and golden/results.txt with all of them.

``pytest --golden-renew`` writes the results anew. What stands here was worked out by hand, and is not renewed.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asking import word_of
from conformance.histories import Event, History
from conformance.reading import READINGS
from heliograph.insights.catalog import METRICS, metric_named
from heliograph.insights.funnel import FunnelRule
from heliograph.insights.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from asking import Row
    from conformance.engines import Engine

SCOPE = Scope(until=date(2026, 1, 28), now=datetime(2026, 2, 1, 12, tzinfo=UTC))
FOLDER = Path(__file__).parent / "golden"
RULES = {"funnel": FunnelRule(steps=("Searched", "Jumped", "Read"))}


def read_events() -> History:
    """Read the file of events; they arrived in three portions, every third in each."""
    events: list[Event] = []
    for line in (FOLDER / "events.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            day, time, *words = line.split()
            instance, user, name, outcome, kind, actor = (None if word == "." else word for word in words)
            assert instance is not None
            assert name is not None
            moment = datetime.fromisoformat(f"2026-01-{day}T{time}")
            about: dict[str, Any] = {"user": user, "outcome": outcome, "kind": kind, "actor": actor}
            events.append(Event(sequence=len(events) + 1, time=moment, instance=instance, name=name, **about))
    portions = tuple(tuple(range(first, len(events), 3)) for first in range(3))
    return History(events=tuple(events), portions=portions, seats={"three": 10})


@pytest.fixture
def ask(engine: Engine) -> Callable[..., list[Row]]:
    """Ask a metric about the forty events."""
    history = read_events()
    assert len(history.events) == 40
    engine.fill(history.table, history.portions, history.pings)
    return lambda name: engine.ask(metric_named(name), SCOPE, RULES.get(name))


def test_all_answers_are_those_of_the_file(ask: Callable[..., list[Row]], golden: Callable[[str, str], None]) -> None:
    lines = []
    for metric in (metric for metric in METRICS if metric.name in READINGS):
        lines += ["", f"== {metric.name}: {metric.words}"]
        lines += sorted(shown(row) for row in ask(metric.name))
    golden("tests/conformance/golden/results.txt", "\n".join(lines[1:]) + "\n")


def shown(row: Row) -> str:
    return "  ".join(f"{name} {worded(name, value)}" for name, value in row.items())


def worded(name: str, value: object) -> str:
    if value is None:
        return "-"
    return word_of(str(value)) if name == "user_id" else f"{value:.4f}" if isinstance(value, float) else str(value)


def test_who_is_active(ask: Callable[..., list[Row]]) -> None:
    # acme: ann on 1 2 3 5 8 15 22 28, bob on 1 2 9, cid on 15 16 17: 14 user-days of 3 users in 28 days.
    # zeta: dan on 20 21 27, fay on 20 22 23 24 25, gus on 28: 9 user-days of 3 users; data only since the 10th.
    last = {row["account"]: list(row.values())[2:] for row in ask("stickiness") if row["day"] == SCOPE.until}
    assert last == {
        "acme": [1, 1, 3, pytest.approx(14 / 28 / 3), True],
        "zeta": [1, 3, 3, pytest.approx(9 / 28 / 3), False],
    }
    curve = {(row["account"], row["active_days"]): row["users"] for row in ask("power-user-curve") if row["users"]}
    assert curve == {("acme", 3): 2, ("acme", 8): 1, ("zeta", 1): 1, ("zeta", 3): 1, ("zeta", 5): 1}


def test_who_is_new_and_who_fell_silent(ask: Callable[..., list[Row]]) -> None:
    # acme, weeks that end on the 7th, 14th, 21st and 28th: ann and bob; both; ann and cid; ann.
    assert [list(row.values())[2:-1] for row in ask("lifecycle") if row["account"] == "acme"] == [
        [2, 2, 0, 0, 0, 0],
        [2, 0, 2, 0, 0, 0],
        [2, 1, 1, 0, 1, 1],
        [1, 0, 1, 0, 1, 2],
    ]


def test_who_was_retained(ask: Callable[..., list[Row]]) -> None:
    # acme, from the 1st: ann and bob were there on the 2nd, ann on the 8th and 15th; the 29th has not come.
    # From the 15th: cid was there on the 16th, and not on the 22nd; the 29th has not come.
    found = {
        (row["cohort"].day, row["from_day"]): (row["users"], row["eligible"], row["retained"], row["complete"])
        for row in ask("retention")
        if row["account"] == "acme"
    }
    assert found == {
        (1, 1): (2, 2, 2, True),
        (1, 7): (2, 2, 1, True),
        (1, 14): (2, 2, 1, True),
        (1, 28): (2, 0, 0, False),
        (15, 1): (1, 1, 1, True),
        (15, 7): (1, 1, 0, True),
        (15, 14): (1, 0, 0, False),
        (15, 28): (1, 0, 0, False),
    }


def test_who_used_several_features_in_a_session(ask: Callable[..., list[Row]]) -> None:
    # acme: ann 8 sessions, 3 with a jump; bob 3; cid 2, both of several features.
    # zeta: dan 3; fay 2 on the 20th, one of three features, and 4 more; gus one, of three features with the 29th.
    found = {row["account"]: list(row.values())[1:] for row in ask("multi-feature-sessions")}
    assert found["acme"][:2] + found["acme"][3:5] == [3, 2, 13, 5]
    assert found["zeta"][:2] + found["zeta"][3:5] == [3, 2, 10, 2]


def test_how_far_users_came(ask: Callable[..., list[Row]]) -> None:
    # acme: all searched; ann and cid jumped later, and nobody read after that. Ann's last search can still lead on.
    # zeta: all searched, all jumped (dan six days after his second search), fay read; gus read only on the 29th.
    found = [(row["account"], row["step"], row["users"], row["pending"], row["complete"]) for row in ask("funnel")]
    assert found == [
        ("acme", 1, 3, 0, True),
        ("acme", 2, 2, 0, True),
        ("acme", 3, 0, 1, False),
        ("zeta", 1, 3, 0, False),
        ("zeta", 2, 3, 0, False),
        ("zeta", 3, 1, 1, False),
    ]


def test_how_broadly_the_product_is_used(ask: Callable[..., list[Row]]) -> None:
    # acme: features 2 of ann, 2 of bob, 3 of cid; 12 searches on 14 user-days; nothing known of seats.
    # zeta: 2, 3 and 2; 2 + 1 + 1 searches on 9 user-days; the pings tell of 10 seats.
    found = {row["account"]: list(row.values())[1:-1] for row in ask("adoption")}
    assert found["acme"] == [3, *map(pytest.approx, (7 / 3, 14 / 3, 12 / 14)), None, None]
    assert found["zeta"] == [3, *map(pytest.approx, (7 / 3, 9 / 3, 4 / 9)), 10, pytest.approx(0.3)]


def test_which_searches_bob_ran(ask: Callable[..., list[Row]]) -> None:
    rows = [row for row in ask("searches") if word_of(row["user_id"]) == "bob"]
    assert [(row["kind"], row["events"]) for row in rows] == [("literal", 1), ("regexp", 1)]
