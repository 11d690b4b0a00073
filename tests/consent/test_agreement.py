"""What agreements allow: one of four routes, unless a redline vetoes it or the evidence has a gap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.consent.agreement import (
    Agreement,
    Ending,
    Route,
    agreement_problems,
)
from heliograph.consent.contract import contract_level
from heliograph.consent.deployment import Deployment, deployment_level
from heliograph.consent.level import Level
from heliograph.consent.records import DeploymentDecision, Record, Unreadable

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
GOOD = Agreement(
    id="agreement-1",
    account="acme",
    route=Route.ORDER_FORM,
    document="OF-2041",
    terms_version="2026-05",
    terms_digest="0a" * 32,
    recorded_by="legal",
    recorded=NOON,
    effective_from=NOON,
)
REDLINED = msgspec.structs.replace(GOOD, id="agreement-2", redline="Section 4.2 is struck")


def ending(agreement: Agreement, effective: datetime) -> Ending:
    return Ending(
        agreement=agreement.id,
        account="acme",
        reason="replaced",
        recorded=NOON,
        recorded_by="legal",
        effective=effective,
    )


moments = st.integers(-6, 6).map(lambda hours: NOON + timedelta(hours=hours))
good_agreements = st.builds(
    msgspec.structs.replace,
    st.just(GOOD),
    id=st.integers(1, 9).map("agreement-{}".format),
    route=st.sampled_from(Route),
    effective_from=moments,
    effective_to=st.none() | st.just(NOON + DAY),
    redline=st.none() | st.just("struck"),
)


@st.composite
def some_records(draw: st.DrawFn) -> list[Record]:
    """Agreements, and endings of some of them after them."""
    agreements = draw(st.lists(good_agreements, max_size=4, unique_by=lambda agreement: agreement.id))
    if not agreements:
        return []
    return [*agreements, *draw(st.lists(st.builds(ending, st.sampled_from(agreements), moments), max_size=3))]


records = some_records()


@pytest.mark.parametrize("route", Route)
def test_an_agreement_by_any_of_the_four_routes_allows_events(route: Route) -> None:
    decision = contract_level([msgspec.structs.replace(GOOD, route=route)], NOON)
    assert (decision.level, decision.agreement) == (Level.EVENTS, "agreement-1")
    assert route.words in decision.reasons[0]


def test_without_an_agreement_the_default_is_critical() -> None:
    decision = contract_level([], NOON)
    assert (decision.level, decision.agreement) == (Level.CRITICAL, None)


def test_a_redline_vetoes_events_whatever_else_was_agreed() -> None:
    decision = contract_level([GOOD, REDLINED], NOON)
    assert decision.level is Level.CRITICAL
    assert "Section 4.2 is struck" in decision.reasons[0]


def test_a_redline_vetoes_only_while_its_agreement_is_in_force() -> None:
    assert contract_level([GOOD, REDLINED, ending(REDLINED, NOON + DAY)], NOON).level is Level.CRITICAL
    assert contract_level([GOOD, REDLINED, ending(REDLINED, NOON + DAY)], NOON + DAY).level is Level.EVENTS


def test_an_agreement_holds_from_its_first_moment_and_not_in_its_last() -> None:
    bounded = msgspec.structs.replace(GOOD, effective_to=NOON + DAY)
    tick = timedelta(microseconds=1)
    allowed = [contract_level([bounded], at).level for at in (NOON - tick, NOON, NOON + DAY - tick, NOON + DAY)]
    assert allowed == [Level.CRITICAL, Level.EVENTS, Level.EVENTS, Level.CRITICAL]


def test_an_ended_agreement_allows_nothing_more_and_the_reason_says_why() -> None:
    decision = contract_level([GOOD, ending(GOOD, NOON + DAY)], NOON + DAY)
    assert decision.level is Level.CRITICAL
    assert "replaced" in decision.reasons[0]


def test_of_several_agreements_the_latest_in_force_is_named() -> None:
    later = msgspec.structs.replace(GOOD, id="agreement-9", effective_from=NOON + DAY)
    assert contract_level([later, GOOD], NOON + DAY).agreement == "agreement-9"


@pytest.mark.parametrize(
    "gap",
    [
        {"document": " "},
        {"terms_version": ""},
        {"recorded_by": ""},
        {"terms_digest": "0A" * 32},
        {"terms_digest": ""},
        {"document": "OF\n2041"},
        {"document": "x" * 501},
        {"redline": ""},
        {"effective_to": NOON},
        {"effective_to": NOON - DAY, "redline": "struck"},
    ],
    ids=str,
)
def test_evidence_with_a_gap_means_off(gap: dict[str, object]) -> None:
    doubtful = msgspec.structs.replace(GOOD, **gap)
    assert agreement_problems(doubtful)
    decision = contract_level([GOOD, doubtful], NOON)
    assert (decision.level, decision.agreement) == (Level.OFF, None)
    assert all(reason.endswith("nothing may leave.") for reason in decision.reasons)


def test_all_gaps_in_the_evidence_are_told_at_once() -> None:
    doubtful = msgspec.structs.replace(GOOD, document="", terms_digest="?", effective_to=NOON - DAY)
    assert len(agreement_problems(doubtful)) == 3


@given(records, moments)
def test_a_record_that_cannot_be_read_means_off(others: list[Record], at: datetime) -> None:
    unreadable = Unreadable(account="acme", place="record 7 of the agreements")
    decision = contract_level([*others, unreadable], at)
    assert decision.level is Level.OFF
    assert "Record 7" in decision.reasons[0]


@given(records, moments, moments)
def test_a_further_redline_or_the_end_of_a_grant_never_widens(
    some: list[Record], at: datetime, since: datetime
) -> None:
    before = contract_level(some, at)
    redline = msgspec.structs.replace(REDLINED, id="agreement-99", effective_from=since)
    assert contract_level([*some, redline], at).level <= before.level
    grants = [record for record in some if isinstance(record, Agreement) and record.redline is None]
    for grant in grants:
        assert contract_level([*some, ending(grant, since)], at).level <= before.level


@given(records, moments)
def test_events_are_allowed_only_by_an_agreement_in_force_without_a_veto(some: list[Record], at: datetime) -> None:
    decision = contract_level(some, at)
    ended = {record.agreement for record in some if isinstance(record, Ending) and record.effective <= at}
    in_force = [
        record
        for record in some
        if isinstance(record, Agreement)
        and record.effective_from <= at
        and (record.effective_to is None or record.effective_to > at)
        and record.id not in ended
    ]
    is_allowed = bool(in_force) and all(record.redline is None for record in in_force)
    assert (decision.level is Level.EVENTS) == is_allowed
    assert (decision.agreement in {record.id for record in in_force}) == is_allowed


def test_managed_instances_may_send_events_and_others_by_decision_only() -> None:
    def level(deployment: Deployment | None, *decisions: Level) -> Level:
        return deployment_level(deployment, tuple(decision(each) for each in decisions), NOON).level

    assert level(Deployment.MANAGED) is Level.EVENTS
    assert level(Deployment.MANAGED, Level.CRITICAL) is Level.EVENTS
    assert level(Deployment.ON_PREMISES) is Level.CRITICAL
    assert level(Deployment.ON_PREMISES, Level.EVENTS) is Level.EVENTS
    assert level(Deployment.ON_PREMISES, Level.EVENTS, Level.CRITICAL) is Level.CRITICAL
    assert level(Deployment.ON_PREMISES, Level.CRITICAL, Level.EVENTS) is Level.EVENTS
    assert level(None, Level.EVENTS) is Level.OFF


def decision(level: Level, effective: datetime = NOON) -> DeploymentDecision:
    return DeploymentDecision(
        level=level, document="DEC-7", reason="agreed", recorded=NOON, recorded_by="product", effective=effective
    )


def test_of_the_decisions_that_have_begun_the_last_to_begin_counts() -> None:
    later = decision(Level.EVENTS, NOON + DAY)
    sooner = decision(Level.CRITICAL)
    for records in ((later, sooner), (sooner, later)):
        assert deployment_level(Deployment.ON_PREMISES, records, NOON).level is Level.CRITICAL
        assert deployment_level(Deployment.ON_PREMISES, records, NOON + DAY).level is Level.EVENTS
