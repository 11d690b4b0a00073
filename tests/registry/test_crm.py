"""What the CRM should say follows from the evidence alone, and where the two differ the evidence wins."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import documents
from heliograph.consent.agreement import Agreement, Ending, Route
from heliograph.consent.level import Level
from heliograph.consent.records import Override, Unreadable
from heliograph.registry.crm import Change, CrmAccount, Severity, Standing, changes, compare, evidence
from heliograph.registry.snapshot import AccountRecord, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

START = datetime(2026, 10, 1, tzinfo=UTC)


def hour(number: float) -> datetime:
    return START + timedelta(hours=number)


def agreement(number: int = 1, *, recorded: float = 0, start: float | None = None, **changes: Any) -> Agreement:
    fields: dict[str, Any] = {
        "id": f"agreement-{number}",
        "account": "acme",
        "route": Route.ORDER_FORM,
        "document": f"OF-{number}",
        "terms_version": "2026-05",
        "terms_digest": "0a" * 32,
        "recorded_by": "legal",
        "recorded": hour(recorded),
        "effective_from": hour(recorded if start is None else start),
    }
    return Agreement(**(fields | changes))


def ending(of: int = 1, *, recorded: float, effective: float | None = None) -> Ending:
    return Ending(
        agreement=f"agreement-{of}",
        account="acme",
        reason="over",
        recorded_by="legal",
        recorded=hour(recorded),
        effective=hour(recorded if effective is None else effective),
    )


def override(level: Level, *, recorded: float) -> Override:
    return Override(account="acme", level=level, reason="asked for", recorded=hour(recorded), recorded_by="legal")


def registry(*records: Any, overrides: Iterable[Override] = (), added: float = 0) -> Snapshot:
    account = AccountRecord(name="acme", added=hour(added), records=(*records, *overrides))
    return Snapshot(version=1, accounts={"acme": account}, instances={})


def said(snapshot: Snapshot, at: float) -> tuple[bool, datetime]:
    known = evidence(snapshot, hour(at))["acme"]
    return known.allowed, known.since


def test_an_agreement_in_force_is_yes_from_its_first_moment_and_names_its_evidence() -> None:
    snapshot = registry(agreement(recorded=1, start=5))
    assert said(snapshot, 4.9) == (False, hour(0))
    assert said(snapshot, 5) == (True, hour(5))
    known = evidence(snapshot, hour(9))["acme"]
    assert (known.since, known.day) == (hour(5), date(2026, 10, 1))
    assert known.agreement == agreement(recorded=1, start=5)


def test_what_was_recorded_later_than_it_began_is_yes_from_its_record_only() -> None:
    assert said(registry(agreement(recorded=7, start=1)), 9) == (True, hour(7))


def test_one_agreement_after_the_other_without_a_gap_is_one_yes() -> None:
    snapshot = registry(agreement(1, effective_to=hour(5)), agreement(2, recorded=3, start=5))
    assert said(snapshot, 9) == (True, hour(0))
    known = evidence(snapshot, hour(9))["acme"]
    assert known.agreement is not None
    assert known.agreement.id == "agreement-2"


def test_a_gap_begins_anew() -> None:
    snapshot = registry(agreement(1, effective_to=hour(5)), agreement(2, recorded=6))
    assert said(snapshot, 5.5) == (False, hour(5))
    assert said(snapshot, 9) == (True, hour(6))


def test_an_ending_is_no_from_its_moment_and_a_veto_while_it_is_in_force() -> None:
    assert said(registry(agreement(), ending(recorded=3, effective=6)), 9) == (False, hour(6))
    veto = agreement(2, recorded=2, redline="Section 4.2 is struck", effective_to=hour(4))
    assert said(registry(agreement(), veto), 3) == (False, hour(2))
    assert said(registry(agreement(), veto), 9) == (True, hour(4))


def test_an_override_of_the_account_is_no_until_it_is_lifted() -> None:
    narrowed = override(Level.CRITICAL, recorded=2)
    lifted = override(Level.EVENTS, recorded=4)
    assert said(registry(agreement(), overrides=[narrowed]), 9) == (False, hour(2))
    assert said(registry(agreement(), overrides=[narrowed, lifted]), 9) == (True, hour(4))


def test_a_record_that_cannot_be_read_is_no() -> None:
    snapshot = registry(agreement(), Unreadable(account="acme", place="record 2"))
    assert said(snapshot, 9) == (False, hour(0))


def test_an_account_without_an_agreement_is_no_since_it_was_added() -> None:
    assert said(registry(added=3), 9) == (False, hour(3))


def test_a_record_of_a_clock_that_is_ahead_counts_at_once() -> None:
    snapshot = registry(agreement(), agreement(2, recorded=9.5, start=1, redline="no events"))
    assert said(snapshot, 9) == (False, hour(9))


HOURS = st.integers(0, 12)
AGREEMENTS = st.builds(
    lambda number, recorded, start, length, redline: agreement(
        number,
        recorded=recorded,
        start=start,
        effective_to=hour(start + length) if length else None,
        redline="no" if redline else None,
    ),
    st.integers(1, 3),
    HOURS,
    HOURS,
    st.integers(0, 6),
    st.booleans(),
)
ENDINGS = st.builds(
    lambda of, recorded, effective: ending(of, recorded=recorded, effective=effective), st.integers(1, 3), HOURS, HOURS
)
OVERRIDES = st.builds(lambda level, recorded: override(level, recorded=recorded), st.sampled_from(Level), HOURS)
SNAPSHOTS = st.builds(
    lambda records, overrides, added: registry(
        *records, overrides=sorted(overrides, key=lambda each: each.recorded), added=added
    ),
    st.lists(AGREEMENTS | ENDINGS, max_size=5),
    st.lists(OVERRIDES, max_size=2),
    st.integers(0, 2),
)


@settings(deadline=None)
@given(SNAPSHOTS)
@example(registry(agreement(1, effective_to=hour(5)), agreement(2, recorded=5)))
def test_since_is_the_last_change_that_somebody_asking_every_half_hour_would_have_seen(snapshot: Snapshot) -> None:
    now = hour(12)
    known = evidence(snapshot, now)["acme"]
    asked = [hour(half / 2) for half in range(25) if hour(half / 2) >= snapshot.accounts["acme"].added]
    seen = [evidence(snapshot.as_of(at), at)["acme"].allowed for at in asked]
    assert seen[-1] == known.allowed
    same = next((place for place in range(len(seen), 0, -1) if seen[place - 1] != known.allowed), 0)
    assert known.since == asked[same]


YES, NO = registry(agreement()), registry(added=0)
DAY = date(2026, 10, 1)


def record(allowed: bool | None, since: date | None = DAY, account: str | None = "acme") -> CrmAccount:
    return CrmAccount(reference="r1", account=account, allowed=allowed, since=since)


@pytest.mark.parametrize(
    ("snapshot", "crm", "standing", "severity"),
    [
        (YES, record(allowed=True), Standing.AGREES, None),
        (NO, record(allowed=False), Standing.AGREES, None),
        (YES, record(allowed=True, since=date(2026, 9, 1)), Standing.STALE, Severity.LOW),
        (NO, record(allowed=None, since=None), Standing.STALE, Severity.LOW),
        (NO, record(allowed=True), Standing.CRM_SAYS_YES_WITHOUT_EVIDENCE, Severity.HIGH),
        (YES, record(allowed=False), Standing.EVIDENCE_SAYS_YES_CRM_DOES_NOT, Severity.MEDIUM),
        (YES, record(allowed=None), Standing.EVIDENCE_SAYS_YES_CRM_DOES_NOT, Severity.MEDIUM),
    ],
)
def test_what_both_sides_say_is_one_standing(
    snapshot: Snapshot, crm: CrmAccount, standing: Standing, severity: Severity | None
) -> None:
    [finding] = compare(evidence(snapshot, hour(9)), [crm])
    assert (finding.standing, finding.standing.severity) == (standing, severity)
    assert finding.standing.is_alarm == (severity in {Severity.HIGH, Severity.MEDIUM})
    assert bool(finding.remedy) == (severity is not None)
    assert finding.name == "acme"


@pytest.mark.parametrize("account", ["globex", None])
def test_a_yes_that_the_registry_does_not_know_is_an_alarm_and_becomes_no(account: str | None) -> None:
    strange = record(allowed=True, account=account)
    findings = compare(evidence(NO, hour(30)), [strange])
    assert {finding.standing for finding in findings} == {Standing.UNKNOWN_HERE, Standing.UNKNOWN_IN_CRM}
    assert changes(findings, hour(30), can_add=False) == [
        Change(reference="r1", account=account, allowed=False, since=date(2026, 10, 2), before=strange)
    ]
    assert compare({}, [record(allowed=False, account=account)])[0].standing is Standing.AGREES


def test_an_account_that_the_crm_does_not_have_is_added_only_where_that_is_possible() -> None:
    [finding] = findings = compare(evidence(YES, hour(9)), [])
    assert (finding.standing, finding.standing.is_alarm) == (Standing.UNKNOWN_IN_CRM, False)
    assert changes(findings, hour(9), can_add=False) == []
    assert changes(findings, hour(9), can_add=True) == [Change(reference=None, account="acme", allowed=True, since=DAY)]


def test_two_records_of_one_account_are_two_findings() -> None:
    findings = compare(evidence(YES, hour(9)), [record(allowed=True), record(allowed=False)])
    assert {finding.standing for finding in findings} == {Standing.AGREES, Standing.EVIDENCE_SAYS_YES_CRM_DOES_NOT}


def test_an_alarm_says_what_differs_and_what_to_do() -> None:
    [wrong] = compare(evidence(NO, hour(9)), [record(allowed=True)])
    assert wrong.difference == (
        "the CRM says Yes since 2026-10-01; the evidence says No since 2026-10-01: "
        "No agreement is in force: critical telemetry only. The vendor has not narrowed it."
    )
    assert "`heliograph registry agree acme`" in wrong.remedy
    [missing] = compare(evidence(YES, hour(9)), [record(allowed=None)])
    assert missing.difference.startswith("the CRM says neither Yes nor No; the evidence says Yes since 2026-10-01: ")
    assert "`heliograph registry end agreement-1`" in missing.remedy


def test_every_standing_is_explained_with_its_severity() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+)(, alarm)? \|", documents.section("docs/crm.md", "Drift"), re.MULTILINE)
    assert {name: (severity, bool(alarm)) for name, severity, alarm in rows} == {
        str(each): (str(each.severity or "none"), each.is_alarm) for each in Standing
    }
