"""How far users come where much happens at the same time, and who can still come when clocks are put back."""

from __future__ import annotations

import itertools
import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest

from asking import rows_of, user_id
from heliograph.insights.funnel import FunnelRule, funnel, furthest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asking import MakeScope, MakeTables
    from heliograph.plan.model import Plan

STEPS: Final = ("SearchSubmitted", "goToDefinition", "SignedIn")
BETWEEN: Final = "SearchNotebookPageViewed"
HOURS: Final = 2
Order = Literal["ordered", "exact", "any"]
Event = tuple[datetime, int, int]
"""Time, sequence, and the number of the step; 0 for what lies between."""


def goes(events: Sequence[Event], order: Order, step: int) -> bool:
    """Tell, by trying all, whether a user came to a step."""
    events = sorted(events)
    if order != "exact":
        events = [event for event in events if event[2]]
    wanted = list(range(1, step + 1))
    ways: Any = itertools.combinations(events, step)
    if order == "exact":
        ways = (events[at : at + step] for at in range(len(events) - step + 1))
    for way in ways:
        steps = [each[2] for each in way]
        if (sorted(steps) if order == "any" else steps) == wanted and way[-1][0] - way[0][0] <= timedelta(hours=HOURS):
            return True
    return False


@pytest.mark.parametrize("order", ["ordered", "exact", "any"])
def test_of_steps_at_the_same_time_the_sequence_says_which_comes_first(
    order: Order, make_tables: MakeTables, make_scope: MakeScope, plan: Plan
) -> None:
    drawn = random.Random(7)
    noon = datetime.fromisoformat("2026-03-02T12:00")
    users: dict[str, list[Event]] = {}
    for number in range(600):
        sequences = drawn.sample(range(1, 100), drawn.randint(1, 6))
        users[f"user {number}"] = [
            (noon + timedelta(hours=drawn.choice([0, 1, 3]), microseconds=drawn.choice([0, 1])), sequence, step)
            for sequence, step in ((each, drawn.choice([0, 1, 1, 2, 2, 3])) for each in sequences)
        ]
    rows = [
        {"user": user, "at": time.isoformat(), "sequence": sequence, "name": STEPS[step - 1] if step else BETWEEN}
        for user, events in users.items()
        for time, sequence, step in events
    ]
    drawn.shuffle(rows)
    scope = make_scope("2026-03-03", unit="everyone")
    rule = FunnelRule(steps=STEPS, order=order, window_hours=HOURS)
    found = {row["user_id"]: row["reached"] for row in rows_of(furthest(make_tables(rows), plan, scope, rule=rule))}
    expected = {
        user_id(user): max((step for step in (1, 2, 3) if goes(events, order, step)), default=0)
        for user, events in users.items()
        if any(step for _, _, step in events)
    }
    assert found == expected


@pytest.mark.parametrize(("now", "pending"), [("2026-10-25T23:30", 1), ("2026-10-26T00:30", 0)])
def test_whoever_can_still_come_can_for_so_many_hours_whatever_clocks_do(
    now: str, pending: int, make_tables: MakeTables, make_scope: MakeScope, plan: Plan
) -> None:
    # At three in the morning of the 25th it is two again in Berlin, so that by the clock these 24 hours are 23.
    tables = make_tables([{"user": "ann", "at": "2026-10-25T00:00"}])
    scope = make_scope("2026-10-26", now=now, unit="everyone", zone="Europe/Berlin")
    rows = rows_of(funnel(tables, plan, scope, rule=FunnelRule(steps=STEPS, window_hours=24)))
    assert [row["pending"] for row in rows] == [0, pending, pending]
