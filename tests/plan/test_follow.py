"""A plan's file that changes while a program runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from heliograph.plan.follow import LOOK_SECONDS, FollowedPlan, Look

PLAN = (Path(__file__).parents[2] / "plans" / "code-intelligence.yaml").read_text()
VERSION = next(line for line in PLAN.splitlines() if line.startswith("version:"))


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def write(file: Path, text: str, at: float) -> None:
    file.write_text(text)
    os.utime(file, (at, at))


def test_a_change_is_seen_once_nobody_writes_any_more(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "plan.yaml"
    write(file, PLAN, clock.now - 60)
    plan = FollowedPlan(file, ticks=clock, wall=clock)
    before = plan.plan.label
    clock.now += LOOK_SECONDS
    assert plan.look() is Look.SAME
    # Half of it is a plan as well, and would withdraw the other half.
    write(file, PLAN.replace(VERSION, "version: 9001"), clock.now)
    assert plan.look() is Look.SAME, "looked a moment ago"
    clock.now += LOOK_SECONDS - 0.1
    assert plan.look() is Look.SAME
    clock.now += 0.1
    write(file, PLAN.replace(VERSION, "version: 9002"), clock.now - 0.1)
    assert plan.look() is Look.SAME, "it is just being written"
    assert plan.plan.label == before
    clock.now += LOOK_SECONDS
    assert plan.look() is Look.CHANGED
    assert plan.plan.version == 9002
    clock.now += LOOK_SECONDS
    assert plan.look() is Look.SAME


def test_what_cannot_be_used_is_told_once_and_the_last_plan_stays(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "plan.yaml"
    write(file, PLAN, clock.now - 60)
    plan = FollowedPlan(file, ticks=clock, wall=clock)
    before = plan.plan
    write(file, PLAN.replace("description:", "descripton:", 1), clock.now)
    clock.now += 2 * LOOK_SECONDS
    assert plan.look() is Look.REFUSED
    assert "descripton" in str(plan.problems[0])
    clock.now += 2 * LOOK_SECONDS
    assert plan.look() is Look.SAME
    assert plan.plan is before
    file.unlink()
    clock.now += 2 * LOOK_SECONDS
    assert [plan.look_now(), plan.look_now()] == [Look.REFUSED, Look.SAME]
    write(file, PLAN, clock.now)
    clock.now += 2 * LOOK_SECONDS
    assert plan.look() is Look.SAME, "it is the plan that was there before"
    assert plan.problems == []
