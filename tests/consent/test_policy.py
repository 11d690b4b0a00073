"""How an instance treats what it is told: only the vendor's word to it counts, for its time and not a moment longer."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

import documents
import signing
from heliograph.consent.level import Decision, Level
from heliograph.consent.policy import AHEAD_SECONDS, Doubt, Policy, PolicyDoubtError, instance_level, read_policy
from heliograph.keys import fingerprint
from heliograph.wire import KEY_TYPE, POLICY_TYPE
from signing import INSTANCE

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
ISSUED = int(NOON.timestamp())
KEY = Ed25519PrivateKey.generate()
STRANGER = Ed25519PrivateKey.generate()
KEYS = {fingerprint(KEY): KEY.public_key()}
EVENTS = Decision(Level.EVENTS, ("The admin chose events.",))


def policy(key: Ed25519PrivateKey = KEY, **fields: Any) -> str:
    return signing.policy(key, **{"issued": ISSUED, **fields})


def read(text: str, *, held: int = 0, instance: str = INSTANCE) -> Policy:
    latest = NOON.timestamp() + AHEAD_SECONDS
    return read_policy(text, KEYS, instance=instance, received=NOON, latest=latest, held=held)


def doubt_of(text: str, **fields: Any) -> Doubt:
    with pytest.raises(PolicyDoubtError) as caught:
        read(text, **fields)
    return caught.value.doubt


def signed(payload: bytes, **headers: Any) -> str:
    given = {"typ": POLICY_TYPE, "kid": fingerprint(KEY)} | headers
    return jwt.PyJWS().encode(payload, KEY, "EdDSA", headers=given)


def as_key_of(signer: Ed25519PrivateKey, claimed: Ed25519PrivateKey) -> str:
    """A policy that `signer` signed, and that says it was `claimed`."""
    payload = base64.urlsafe_b64decode(policy().split(".")[1] + "==")
    headers = {"typ": POLICY_TYPE, "kid": fingerprint(claimed)}
    return jwt.PyJWS().encode(payload, signer, "EdDSA", headers=headers)


def test_a_fresh_policy_and_a_willing_admin_allow_events_and_name_the_agreement() -> None:
    decision = instance_level(read(policy()).word(NOON), EVENTS)
    assert (decision.level, decision.agreement) == (Level.EVENTS, "agreement-1")
    assert decision.reasons == ("agreement-1 allows events.", "The admin chose events.")


def test_without_a_policy_nothing_leaves() -> None:
    assert instance_level(None, EVENTS).level is Level.OFF


def test_without_a_choice_of_the_admin_nothing_leaves() -> None:
    assert instance_level(read(policy()).word(NOON), None).level is Level.OFF


@pytest.mark.parametrize(
    ("seconds", "level"), [(-0.000001, Level.OFF), (0, Level.EVENTS), (59.999999, Level.EVENTS), (60, Level.OFF)]
)
def test_a_policy_holds_for_its_time_and_not_before_it_was_received(seconds: float, level: Level) -> None:
    word = read(policy(valid_seconds=60)).word(NOON + timedelta(seconds=seconds))
    assert instance_level(word, EVENTS).level is level


def test_a_clock_that_was_set_back_does_not_make_a_policy_last_longer() -> None:
    found = read(policy(valid_seconds=60))
    assert found.doubt(NOON + timedelta(seconds=1), elapsed=59.0) is None
    assert found.doubt(NOON + timedelta(seconds=1), elapsed=60.0) is Doubt.EXPIRED
    assert found.doubt(NOON - timedelta(seconds=1), elapsed=2.0) is Doubt.CLOCK_SET_BACK


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        (policy(STRANGER), Doubt.UNKNOWN_KEY),
        (as_key_of(STRANGER, KEY), Doubt.WRONG_SIGNATURE),
        (policy(kind=KEY_TYPE), Doubt.MALFORMED),
        (policy(instance="acme-2"), Doubt.OTHER_INSTANCE),
        (policy(issued=ISSUED + AHEAD_SECONDS + 1), Doubt.FROM_THE_FUTURE),
        (policy(level="everything"), Doubt.UNKNOWN_LEVEL),
        (policy(agreement=None), Doubt.NO_AGREEMENT),
        (policy(agreement=""), Doubt.NO_AGREEMENT),
        (signed(b"{}"), Doubt.MALFORMED),
        (signed(b"\xff"), Doubt.MALFORMED),
        (signed(b"[" * 50_000), Doubt.MALFORMED),
        (signed(b"{}", kid="?"), Doubt.UNKNOWN_KEY),
        (policy(valid_seconds=-1), Doubt.MALFORMED),
        (policy(valid_seconds=1 << 40), Doubt.MALFORMED),
        (policy(reasons=["x" * 100_000]), Doubt.MALFORMED),
        ("", Doubt.MALFORMED),
        ("a.b.c", Doubt.MALFORMED),
    ],
    ids=lambda value: value.code if isinstance(value, Doubt) else "",
)
def test_what_is_not_the_vendors_word_to_this_instance_is_a_doubt_of_its_own(text: str, doubt: Doubt) -> None:
    assert doubt_of(text) is doubt
    assert doubt.decision().level is Level.OFF
    [reason] = doubt.decision().reasons
    assert doubt.sentence in reason
    assert doubt.remedy in reason


def test_a_policy_of_up_to_five_minutes_ahead_is_taken() -> None:
    assert read(policy(issued=ISSUED + AHEAD_SECONDS)).level is Level.EVENTS


def test_an_older_policy_never_takes_the_place_of_a_newer_one() -> None:
    assert doubt_of(policy(issued=ISSUED - 1), held=ISSUED) is Doubt.REPLAYED
    assert read(policy(issued=ISSUED), held=ISSUED).issued == ISSUED


def test_a_vendors_word_that_is_in_doubt_still_makes_older_ones_repetitions() -> None:
    for fields in ({"level": "everything"}, {"agreement": None}):
        with pytest.raises(PolicyDoubtError) as caught:
            read(policy(**fields))
        assert caught.value.issued == ISSUED
    with pytest.raises(PolicyDoubtError) as caught:
        read(policy(STRANGER))
    assert caught.value.issued == 0


def test_a_narrower_level_needs_no_agreement() -> None:
    assert read(policy(level="critical", agreement=None)).word(NOON).level is Level.CRITICAL


@given(st.text() | st.binary().map(lambda data: data.hex()))
def test_any_other_text_is_malformed(text: str) -> None:
    assert doubt_of(text) is Doubt.MALFORMED


@given(st.data())
def test_no_changed_character_leaves_a_policy_valid(data: st.DataObject) -> None:
    text = policy()
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."))
    changed = text[:place] + letter + text[place + 1 :]
    try:
        found = read(changed)
    except PolicyDoubtError:
        return
    # Base64 has bits at its end that carry nothing.
    assert found == read(text)


@given(
    told=st.sampled_from(Level) | st.text(max_size=8),
    admin=st.none() | st.sampled_from(Level),
    valid_seconds=st.integers(0, 1 << 33),
    seconds=st.floats(-1e9, 1e9),
    elapsed=st.floats(0, 1e9),
)
def test_an_instance_never_goes_beyond_the_policy_or_the_admin(
    told: Level | str, admin: Level | None, valid_seconds: int, seconds: float, elapsed: float
) -> None:
    now = NOON + timedelta(seconds=seconds)
    chosen = None if admin is None else Decision(admin, ("chosen",))
    try:
        word = read(policy(level=str(told), valid_seconds=valid_seconds)).word(now, elapsed)
    except PolicyDoubtError as error:
        assert Level.parse(str(told)) is None
        word = error.doubt.decision()
    decision = instance_level(word, chosen)
    assert decision.level <= (Level.parse(str(told)) or Level.OFF)
    assert decision.level <= (admin or Level.OFF)
    if now < NOON or max((now - NOON).total_seconds(), elapsed) >= valid_seconds:
        assert decision.level is Level.OFF


def test_every_doubt_is_explained_in_its_own_words() -> None:
    section = documents.section("docs/policy.md", "Doubts")
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{doubt.code}` | {doubt.sentence} | {doubt.remedy} |" for doubt in Doubt]


def test_the_header_names_the_key_and_the_purpose() -> None:
    header = json.loads(base64.urlsafe_b64decode(policy().split(".")[0] + "=="))
    assert header == {"alg": "EdDSA", "typ": POLICY_TYPE, "kid": fingerprint(KEY)}
