"""How an instance treats what the vendor told it: believed for its time, and not a moment longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.consent.level import Level
from heliograph.consent.policy import Policy, instance_level
from heliograph.wire import PolicyAnswer

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)


def policy(*, level: str = "events", agreement: str | None = "agreement-1", valid_seconds: int = 60) -> Policy:
    answer = PolicyAnswer(
        level=level,
        agreement=agreement,
        reasons=["agreement-1 allows events."],
        plan="code-intelligence@1",
        plan_digest="0a" * 32,
        valid_seconds=valid_seconds,
    )
    return Policy.from_answer(answer, received=NOON)


def test_a_fresh_policy_and_a_willing_admin_allow_events_and_name_the_agreement() -> None:
    decision = instance_level(policy(), Level.EVENTS, NOON)
    assert (decision.level, decision.agreement) == (Level.EVENTS, "agreement-1")
    assert decision.reasons == ("agreement-1 allows events.", "The admin chose events.")


def test_without_a_policy_nothing_leaves() -> None:
    assert instance_level(None, Level.EVENTS, NOON).level is Level.OFF


def test_without_a_readable_choice_of_the_admin_nothing_leaves() -> None:
    assert instance_level(policy(), None, NOON).level is Level.OFF


@pytest.mark.parametrize(
    ("seconds", "level"), [(-0.000001, Level.OFF), (0, Level.EVENTS), (59.999999, Level.EVENTS), (60, Level.OFF)]
)
def test_a_policy_holds_for_its_time_and_not_before_it_was_received(seconds: float, level: Level) -> None:
    assert instance_level(policy(), Level.EVENTS, NOON + timedelta(seconds=seconds)).level is level


def test_a_policy_with_an_unknown_level_means_off() -> None:
    assert instance_level(policy(level="everything"), Level.EVENTS, NOON).level is Level.OFF


def test_a_policy_that_allows_events_by_no_agreement_means_off() -> None:
    assert instance_level(policy(agreement=None), Level.EVENTS, NOON).level is Level.OFF
    assert instance_level(policy(level="critical", agreement=None), Level.EVENTS, NOON).level is Level.CRITICAL


@given(
    told=st.sampled_from(Level) | st.text(max_size=8),
    admin=st.none() | st.sampled_from(Level),
    valid_seconds=st.integers(-(10**18), 10**18),
    seconds=st.floats(-1e9, 1e9),
)
def test_an_instance_never_goes_beyond_the_policy_or_the_admin(
    told: Level | str, admin: Level | None, valid_seconds: int, seconds: float
) -> None:
    now = NOON + timedelta(seconds=seconds)
    decision = instance_level(policy(level=str(told), valid_seconds=valid_seconds), admin, now)
    assert decision.level <= (Level.parse(str(told)) or Level.OFF)
    assert decision.level <= (admin or Level.OFF)
    if now < NOON or (now - NOON).total_seconds() >= valid_seconds:
        assert decision.level is Level.OFF
