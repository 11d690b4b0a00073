"""The narrowest decides, doubt ends at off, and a mistake in the resolution would be noticed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.consent.level import AT_THE_VENDOR, EVIDENT, ON_THE_INSTANCE, Decision, Level, Party, resolve

Resolution = Callable[[Sequence[Party], Mapping[Party, Decision | None]], Decision]

levels = st.sampled_from(Level)
words = st.builds(
    Decision,
    level=levels,
    reasons=st.just(("because",)),
    agreement=st.none() | st.sampled_from(["agreement-1", "agreement-2"]),
)
parties = st.sampled_from([AT_THE_VENDOR, ON_THE_INSTANCE])


@st.composite
def hearings(draw: st.DrawFn) -> tuple[tuple[Party, ...], dict[Party, Decision | None]]:
    """Return who has a say at one end, and what is known of what all five parties say."""
    heard: dict[Party, Decision | None] = draw(st.dictionaries(st.sampled_from(Party), st.none() | words))
    return draw(parties), heard


def check_promise(resolution: Resolution) -> None:
    """Fail unless `resolution` keeps the promise of consent."""

    @settings(max_examples=2_000, database=None, report_multiple_bugs=False, deadline=None)
    @given(hearings(), st.sampled_from(Party), st.none() | words)
    def keeps_the_promise(
        hearing: tuple[tuple[Party, ...], dict[Party, Decision | None]], party: Party, other: Decision | None
    ) -> None:
        asked, heard = hearing
        decision = resolution(asked, heard)
        for who in asked:
            word = heard.get(who)
            assert decision.level <= (Level.OFF if word is None else word.level), "a party was passed over"
        if decision.level is Level.EVENTS:
            assert decision.agreement is not None, "events were allowed without evidence"
        else:
            assert decision.agreement is None
        assert decision.reasons
        # Whatever a party narrows, or whatever becomes unknown, never widens the decision.
        before = heard.get(party)
        if before is None or (party in EVIDENT and before.level is Level.EVENTS and before.agreement is None):
            return  # what cannot be verified was off already, and can only get wider
        if other is None or other.level < before.level:
            assert resolution(asked, {**heard, party: other}).level <= decision.level, "a restriction widened"

    keeps_the_promise()


def widest(asked: Sequence[Party], heard: Mapping[Party, Decision | None]) -> Decision:
    return max((heard.get(who) or Decision(Level.OFF, ("?",)) for who in asked), key=lambda word: word.level)


def deaf_to_silence(asked: Sequence[Party], heard: Mapping[Party, Decision | None]) -> Decision:
    known = [who for who in asked if heard.get(who) is not None]
    return resolve(known, heard)


def without_the_override(asked: Sequence[Party], heard: Mapping[Party, Decision | None]) -> Decision:
    return resolve([who for who in asked if who is not Party.OVERRIDE], heard)


def without_evidence(asked: Sequence[Party], heard: Mapping[Party, Decision | None]) -> Decision:
    return min((heard.get(who) or Decision(Level.OFF, ("?",)) for who in asked), key=lambda word: word.level)


def test_the_narrowest_decides_and_no_restriction_ever_widens() -> None:
    check_promise(resolve)


@pytest.mark.parametrize("mistake", [widest, deaf_to_silence, without_the_override, without_evidence])
def test_a_planted_mistake_is_found(mistake: Resolution) -> None:
    with pytest.raises(AssertionError):
        check_promise(mistake)


@given(contract=words, override=words, deployment=words, admin=levels)
def test_both_ends_together_decide_for_the_narrowest_of_all_four(
    contract: Decision, override: Decision, deployment: Decision, admin: Level
) -> None:
    evident = Decision(contract.level, contract.reasons, "agreement-1")
    said = {Party.CONTRACT: evident, Party.OVERRIDE: override, Party.DEPLOYMENT: deployment}
    policy = resolve(AT_THE_VENDOR, said)
    chosen = Decision(admin, ("chosen",))
    decision = resolve(ON_THE_INSTANCE, {Party.POLICY: policy, Party.ADMIN: chosen})
    assert decision.level is min(contract.level, override.level, deployment.level, admin)


@pytest.mark.parametrize("level", list(Level))
def test_events_without_evidence_stay_off_whatever_another_party_narrows(level: Level) -> None:
    said = {party: Decision(Level.EVENTS, ("yes",)) for party in AT_THE_VENDOR}
    said[Party.OVERRIDE] = Decision(level, ("narrowed",))
    assert resolve(AT_THE_VENDOR, said).level is Level.OFF


def test_nobody_asked_means_off() -> None:
    assert resolve((), {}).level is Level.OFF


@pytest.mark.parametrize("silent", AT_THE_VENDOR)
def test_one_silent_party_means_off_and_is_named(silent: Party) -> None:
    said = {party: Decision(Level.EVENTS, ("yes",), "agreement-1") for party in AT_THE_VENDOR if party is not silent}
    decision = resolve(AT_THE_VENDOR, said)
    assert decision.level is Level.OFF
    assert any(silent.value in reason for reason in decision.reasons)


def test_levels_are_ordered_by_width_and_not_by_the_alphabet() -> None:
    assert sorted([Level.EVENTS, Level.CRITICAL, Level.OFF]) == [Level.OFF, Level.CRITICAL, Level.EVENTS]
    assert Level.CRITICAL <= Level.CRITICAL < Level.EVENTS
    with pytest.raises(TypeError):
        _ = Level.OFF < "critical"


@given(st.text())
def test_any_text_parses_to_its_level_or_to_none(text: str) -> None:
    parsed = Level.parse(text)
    assert parsed is None or parsed.value == text


@given(levels)
def test_a_level_survives_its_text(level: Level) -> None:
    assert Level.parse(str(level)) is level
