"""Agreements as amended: Terms, ends and redlines from a moment on, and no restriction that widens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given

from consent.conftest import DAY, GOOD, NOON, TICK, amendment, ending, histories, moments
from heliograph.consent.agreement import Agreement, Amendment, Ending, amendment_problems
from heliograph.consent.contract import contract_level, standings, state_words
from heliograph.consent.level import Level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heliograph.consent.records import Record


def levels(records: Sequence[Record], *days: float) -> str:
    """The first letter of the level on each of these days after noon."""
    return "".join(contract_level(records, NOON + day * DAY).level.value[0] for day in days)


def test_an_end_that_is_moved_holds_from_the_moment_of_the_amendment() -> None:
    bounded = msgspec.structs.replace(GOOD, effective_to=NOON + 5 * DAY)
    earlier = amendment(1, 1, effective_to=NOON + 2 * DAY)
    later = amendment(1, 1, effective_to=NOON + 7 * DAY)
    assert levels([bounded], 0, 1, 2, 4, 5, 6) == "eeeecc"
    assert levels([bounded, earlier], 0, 1, 2, 4, 5, 6) == "eecccc"
    assert levels([bounded, later], 0, 1, 2, 4, 5, 6, 7) == "eeeeeec"


def test_of_two_ends_the_amendment_that_began_last_counts_in_whatever_order_they_were_recorded() -> None:
    first, second = amendment(2, 1, effective_to=NOON + 9 * DAY), amendment(1, 2, effective_to=NOON + 4 * DAY)
    assert levels([GOOD, first, second], 1, 3, 4, 8) == "eecc"
    assert levels([GOOD, second, first], 1, 3, 4, 8) == "eecc"


def test_a_redline_vetoes_from_its_moment_until_it_is_lifted_or_its_agreement_ends() -> None:
    redline = amendment(1, 1, redline="Section 4.2 is struck")
    other = msgspec.structs.replace(GOOD, id="agreement-2")
    assert levels([GOOD, redline], 0, 1, 2) == "ecc"
    assert levels([GOOD, redline, amendment(2, 3, lifts_redline=True)], 0, 1, 2, 3) == "ecce"
    assert levels([GOOD, redline, other], 0, 1, 2) == "ecc"
    assert levels([GOOD, redline, other, ending(3)], 0, 1, 2, 3) == "ecce"
    assert "“Section 4.2 is struck” (AM-1)" in contract_level([GOOD, redline], NOON + DAY).reasons[0]


def test_the_redline_of_the_agreement_itself_is_lifted_by_an_amendment() -> None:
    redlined = msgspec.structs.replace(GOOD, redline="struck")
    assert levels([redlined, amendment(1, 2, lifts_redline=True)], 0, 1, 2) == "cce"


def test_a_lift_puts_nothing_back_that_is_struck_later_or_by_another_agreement() -> None:
    lift = amendment(1, 1, lifts_redline=True)
    assert levels([GOOD, lift, amendment(2, 0, redline="struck")], 0, 1, 2) == "ccc"
    assert levels([GOOD, amendment(2, 3, redline="struck"), lift], 0, 1, 3) == "eec"
    other = msgspec.structs.replace(GOOD, id="agreement-2", redline="struck")
    assert levels([GOOD, other, lift], 0, 1, 2) == "ccc"


def test_other_terms_are_named_from_their_moment_on() -> None:
    other = amendment(1, 1, terms_version="2026-11", terms_digest="0b" * 32)
    [before], [after] = standings((GOOD, other), NOON), standings((GOOD, other), NOON + DAY)
    assert (before.terms_version, before.terms_digest) == ("2026-05", "0a" * 32)
    assert (after.terms_version, after.terms_digest) == ("2026-11", "0b" * 32)
    assert "amended by AM-1, Terms 2026-11" in contract_level([GOOD, other], NOON + DAY).reasons[0]
    assert "Terms 2026-05" in contract_level([GOOD, other], NOON).reasons[0]


def test_the_state_of_an_agreement_is_told_in_a_word() -> None:
    records = (GOOD, amendment(1, 1, redline="struck"), amendment(2, 2, document=""), ending(3))
    told = [state_words(standings(records, NOON + day * DAY)[0], NOON + day * DAY) for day in (-1, 0, 1, 2, 3)]
    assert told == ["not yet in force", "in force", "vetoes events", "cannot be relied on", "ended"]


@pytest.mark.parametrize(
    "gap",
    [
        {},
        {"redline": ""},
        {"redline": "struck", "document": ""},
        {"redline": "struck", "recorded_by": " "},
        {"redline": "struck", "lifts_redline": True},
        {"terms_version": "2026-11"},
        {"terms_digest": "0a" * 32},
        {"terms_version": "2026-11", "terms_digest": "0A" * 32},
        {"effective_to": NOON},
    ],
    ids=str,
)
def test_an_amendment_whose_evidence_has_a_gap_means_off_while_its_agreement_may_hold(gap: dict[str, Any]) -> None:
    doubtful = amendment(1, 1, **gap)
    assert amendment_problems(doubtful)
    assert levels([GOOD, doubtful], 1, 2) == "oo"
    assert levels([GOOD, doubtful, ending(3)], 1, 2, 3) == "ooc"


def test_an_amendment_that_cannot_be_relied_on_may_have_moved_the_end() -> None:
    bounded = msgspec.structs.replace(GOOD, effective_to=NOON + 2 * DAY)
    doubtful = amendment(1, 1, document="", effective_to=NOON + 4 * DAY)
    assert levels([bounded, doubtful], 0, 1, 3, 4) == "eooc"


def test_an_amendment_that_revives_what_had_ended_means_off() -> None:
    bounded = msgspec.structs.replace(GOOD, effective_to=NOON + 2 * DAY)
    revival = amendment(1, 3, effective_to=NOON + 9 * DAY)
    assert levels([bounded, revival], 1, 2, 3, 8, 9) == "ecooc"
    assert levels([bounded, amendment(1, 2, effective_to=NOON + 9 * DAY)], 1, 2, 8, 9) == "eooc"


def test_an_amendment_that_ends_an_agreement_before_its_beginning_means_off() -> None:
    assert (
        levels([GOOD, amendment(1, -3, effective_to=NOON - DAY)], 0, 5) == "cc"
        or levels([GOOD, amendment(1, -3, effective_to=NOON - DAY)], 0, 5) == "oo"
    )


@pytest.mark.parametrize(
    "records",
    [
        [amendment(redline="struck")],
        [amendment(redline="struck"), GOOD],
        [ending(-1)],
        [ending(1), GOOD],
        [GOOD, GOOD],
        [GOOD, amendment(1, agreement="agreement-7", lifts_redline=True)],
    ],
    ids=["amendment alone", "amendment first", "ending alone", "ending first", "one id twice", "of another"],
)
def test_records_that_do_not_belong_together_mean_off(records: list[Record]) -> None:
    assert levels(records, -2, 0, 2) == "ooo"


@given(histories(), moments, moments)
def test_a_redline_never_widens_and_vetoes_while_its_agreement_holds(
    history: list[Record], since: datetime, at: datetime
) -> None:
    before = contract_level(history, at).level
    agreement = history[0]
    assert isinstance(agreement, Agreement)
    redline = amendment(99, agreement=agreement.id, redline="struck")
    redline = msgspec.structs.replace(redline, effective=since)
    after = contract_level([*history, redline], at).level
    assert after <= before
    if since <= at and standings(tuple(history), at)[0].holds:
        assert after < Level.EVENTS
    redlined = msgspec.structs.replace(GOOD, id="agreement-99", effective_from=since, redline="struck")
    assert contract_level([*history, redlined], at).level <= before


@given(histories(redlines=False), moments, moments)
def test_the_end_of_what_vetoes_nothing_and_is_in_no_doubt_never_widens(
    history: list[Record], since: datetime, at: datetime
) -> None:
    before = contract_level(history, at).level
    agreement = history[0]
    assert isinstance(agreement, Agreement)
    if not standings(tuple(history), at)[0].doubts:
        over = msgspec.structs.replace(ending(0, agreement.id), effective=since)
        assert contract_level([*history, over], at).level <= before


@given(histories(redlines=False), moments, moments)
def test_an_earlier_end_never_widens(history: list[Record], since: datetime, at: datetime) -> None:
    before = contract_level(history, at).level
    agreement = history[0]
    assert isinstance(agreement, Agreement)
    ends = [agreement.effective_to, *(record.effective_to for record in history if isinstance(record, Amendment))]
    earliest = min((end for end in ends if end is not None), default=NOON + DAY)
    sooner = msgspec.structs.replace(
        amendment(99, agreement=agreement.id, effective_to=earliest - TICK), effective=since
    )
    if not standings(tuple(history), at)[0].doubts:
        assert contract_level([*history, sooner], at).level <= before


@given(histories(), moments)
def test_what_is_allowed_is_what_a_reader_of_the_page_would_say(history: list[Record], at: datetime) -> None:
    """A second resolution, written from docs/consent.md: one agreement and one moment after the other."""
    agreements = [record for record in history if isinstance(record, Agreement)]
    words = [read_alone(agreement, history, at) for agreement in agreements]
    expected = Level.EVENTS if Level.EVENTS in words else Level.CRITICAL
    if Level.CRITICAL in words:
        expected = Level.CRITICAL
    if Level.OFF in words:
        expected = Level.OFF
    assert contract_level(history, at).level is expected


def read_alone(agreement: Agreement, history: list[Record], at: datetime) -> Level | None:
    """The word of one agreement; None where it is not in force."""
    own = [record for record in history if isinstance(record, Amendment) and record.agreement == agreement.id]
    over = [record.effective for record in history if isinstance(record, Ending) and record.agreement == agreement.id]
    if any(moment <= at for moment in over):
        return None
    end, is_doubtful = read_end(agreement, own, at)
    if is_doubtful:
        return Level.OFF if may_hold(agreement, own, at) else None
    if not (agreement.effective_from <= at and (end is None or at < end)):
        return None
    struck = [(place, each.effective) for place, each in enumerate(own) if each.redline and each.effective <= at]
    if agreement.redline is not None:
        struck.append((-1, datetime.min.replace(tzinfo=UTC)))
    return (
        Level.CRITICAL if any(not is_lifted(own[place + 1 :], since, at) for place, since in struck) else Level.EVENTS
    )


def read_end(agreement: Agreement, own: list[Amendment], at: datetime) -> tuple[datetime | None, bool]:
    end, is_doubtful = agreement.effective_to, False
    for each in sorted(own, key=lambda record: record.effective):
        if each.effective_to is None:
            continue
        is_doubtful |= each.effective_to < each.effective
        if each.effective <= at:
            is_doubtful |= each.effective_to <= agreement.effective_from or (end is not None and end <= each.effective)
            end = each.effective_to
    return end, is_doubtful


def may_hold(agreement: Agreement, own: list[Amendment], at: datetime) -> bool:
    ends = [each.effective_to for each in own if each.effective_to is not None]
    if agreement.effective_to is None:
        return agreement.effective_from <= at
    ends.append(agreement.effective_to)
    return min(ends) <= agreement.effective_from or agreement.effective_from <= at < max(ends)


def is_lifted(later: list[Amendment], since: datetime, at: datetime) -> bool:
    return any(lift.lifts_redline and since <= lift.effective <= at for lift in later)
