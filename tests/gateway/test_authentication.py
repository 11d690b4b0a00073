"""Who sends: only the holder of a registered instance's key, only for as long as it is registered."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from heliograph.consent.deployment import Deployment
from heliograph.gateway import authentication
from heliograph.gateway.authentication import (
    ASSERTIONS_KEPT,
    LONGEST_JWT,
    SKEW_SECONDS,
    TOKENS_KEPT,
    AuthenticationError,
    Authenticator,
)
from heliograph.gateway.problems import Refusal, RefusalError
from heliograph.instance.identity import assertion
from heliograph.keys import fingerprint, public_key_text
from heliograph.registry.snapshot import AccountRecord, InstanceRecord, Snapshot
from heliograph.settings import GatewaySettings
from heliograph.wire import ASSERTION_AUDIENCE, ASSERTION_SECONDS

NOON = int(datetime(2026, 10, 1, 12, tzinfo=UTC).timestamp())
TOKEN_SECONDS = 600
SIGNING_KEY = Ed25519PrivateKey.generate()
ACME_KEY = Ed25519PrivateKey.generate()
OTHER_KEY = Ed25519PrivateKey.generate()


def instance(name: str, key: Ed25519PrivateKey, *, active: bool = True) -> InstanceRecord:
    return InstanceRecord(
        name=name,
        account="acme",
        deployment=Deployment.MANAGED,
        public_key=public_key_text(key),
        fingerprint=fingerprint(key),
        active=active,
        added=datetime(2026, 9, 1, tzinfo=UTC),
    )


class Gateway:
    """An authenticator whose clock and registry a test moves."""

    def __init__(self) -> None:
        self.now = float(NOON)
        self.register(instance("acme-1", ACME_KEY), instance("other-1", OTHER_KEY))
        settings = GatewaySettings(token_seconds=TOKEN_SECONDS)
        self.authenticator = Authenticator(lambda: self.snapshot, SIGNING_KEY, settings, lambda: self.now)

    def register(self, *instances: InstanceRecord) -> None:
        self.snapshot = Snapshot(
            version=1,
            accounts={"acme": AccountRecord(name="acme", added=datetime(2026, 9, 1, tzinfo=UTC))},
            instances={each.name: each for each in instances},
        )

    def header(self, *, key: Ed25519PrivateKey = ACME_KEY, name: str = "acme-1") -> str:
        return f"Bearer {self.authenticator.exchange(assertion(key, name, self.now)).token}"

    def refuses(self, *, authorization: str | None = None, assertion: str | None = None) -> AuthenticationError:
        try:
            if assertion is None:
                self.authenticator.authenticate(authorization or "")
            else:
                self.authenticator.exchange(assertion)
        except AuthenticationError as error:
            return error
        pytest.fail("it was taken")


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def signed(key: Any = ACME_KEY, *, algorithm: str = "EdDSA", **changes: Any) -> str:
    claims = {
        "iss": "acme-1",
        "sub": "acme-1",
        "aud": ASSERTION_AUDIENCE,
        "iat": NOON,
        "exp": NOON + ASSERTION_SECONDS,
        "jti": "1",
    }
    kept = {claim: value for claim, value in {**claims, **changes}.items() if value is not None}
    return jwt.PyJWS().encode(json.dumps(kept).encode(), key, algorithm=algorithm)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_token_tells_who_sends_until_it_ends(gateway: Gateway) -> None:
    token, expires_in = gateway.authenticator.exchange(assertion(ACME_KEY, "acme-1", gateway.now))
    assert expires_in == TOKEN_SECONDS
    header = f"Bearer {token}"
    assert gateway.authenticator.authenticate(header) == "acme-1"
    gateway.now += TOKEN_SECONDS - 0.001
    assert gateway.authenticator.authenticate(header) == "acme-1"
    gateway.now += 0.001
    assert gateway.refuses(authorization=header).refusal is Refusal.TOKEN_EXPIRED
    assert gateway.refuses(authorization=header).refusal is Refusal.TOKEN_EXPIRED


def test_each_instance_gets_its_own_token(gateway: Gateway) -> None:
    mine, other = gateway.header(), gateway.header(key=OTHER_KEY, name="other-1")
    for _ in range(2):
        assert gateway.authenticator.authenticate(mine) == "acme-1"
        assert gateway.authenticator.authenticate(other) == "other-1"


def test_the_scheme_may_be_written_in_any_case(gateway: Gateway) -> None:
    assert gateway.authenticator.authenticate(gateway.header().replace("Bearer", "bearer")) == "acme-1"


@pytest.mark.parametrize(
    "registered",
    [
        [],
        [instance("acme-1", OTHER_KEY)],
        [instance("acme-1", ACME_KEY, active=False)],
        [instance("acme-2", ACME_KEY)],
    ],
    ids=["removed", "another key", "deactivated", "renamed"],
)
def test_a_token_ends_at_once_when_the_registry_changes(gateway: Gateway, registered: list[InstanceRecord]) -> None:
    seen, unseen = gateway.header(), gateway.header()
    assert gateway.authenticator.authenticate(seen) == "acme-1"
    gateway.register(*registered)
    for header in (seen, unseen):
        assert gateway.refuses(authorization=header).refusal is Refusal.UNKNOWN_INSTANCE_OR_KEY
    assert gateway.refuses(assertion=signed()).refusal is Refusal.UNKNOWN_INSTANCE_OR_KEY


def test_an_unknown_instance_and_a_wrong_key_look_the_same_from_outside(gateway: Gateway) -> None:
    keyless = msgspec.structs.replace(instance("keyless", ACME_KEY), public_key="?", fingerprint="")
    gateway.register(*gateway.snapshot.instances.values(), instance("asleep", ACME_KEY, active=False), keyless)
    problems = {
        gateway.refuses(assertion=attempt).to_problem()
        for attempt in (
            signed(iss="nobody", sub="nobody"),
            signed(OTHER_KEY),
            signed(iss="asleep", sub="asleep"),
            signed(iss="keyless", sub="keyless"),
            signed(OTHER_KEY, exp=NOON + 10**6),
            signed(OTHER_KEY, iat=0, exp=60),
            signed()[:-8] + "AAAAAAAA",
        )
    }
    assert [problem.type for problem in problems] == ["unknown_instance_or_key"]


@pytest.mark.parametrize("skew", [-SKEW_SECONDS - ASSERTION_SECONDS, -SKEW_SECONDS - 86_400, SKEW_SECONDS + 1, 86_400])
def test_a_clock_that_is_off_is_told_both_times(gateway: Gateway, skew: int) -> None:
    error = gateway.refuses(assertion=assertion(ACME_KEY, "acme-1", NOON + skew))
    assert error.refusal is Refusal.CLOCK_SKEW
    problem = error.to_problem()
    assert problem.now == NOON
    theirs = datetime.fromtimestamp(NOON + skew, UTC)
    assert "2026-10-01 12:00:00 UTC" in problem.detail
    assert f"{theirs:%Y-%m-%d %H:%M:%S}" in problem.detail


@pytest.mark.parametrize("skew", [-SKEW_SECONDS, SKEW_SECONDS])
def test_a_clock_that_is_off_by_five_minutes_still_does(gateway: Gateway, skew: int) -> None:
    token = gateway.authenticator.exchange(assertion(ACME_KEY, "acme-1", NOON + skew)).token
    assert gateway.authenticator.authenticate(f"Bearer {token}") == "acme-1"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "other-1"},
        {"aud": "another-gateway"},
        {"aud": [ASSERTION_AUDIENCE]},
        {"exp": NOON + ASSERTION_SECONDS + 1},
        {"exp": NOON},
        {"exp": "soon"},
        {"iat": -1, "exp": 59},
        {"iat": 1e300, "exp": 1e300},
        {"iat": True},
        {"jti": ""},
        {"jti": "1" * 65},
        {"jti": 1},
        *({claim: None} for claim in ("iss", "sub", "aud", "iat", "exp", "jti")),
    ],
    ids=str,
)
def test_an_assertion_of_another_form_is_refused(gateway: Gateway, changes: dict[str, Any]) -> None:
    assert gateway.refuses(assertion=signed(**changes)).refusal is Refusal.MALFORMED_ASSERTION


def test_a_deeply_nested_assertion_is_refused(gateway: Gateway) -> None:
    nested = base64.urlsafe_b64encode(b'{"x":' + b"[" * 1_400).rstrip(b"=").decode()
    for attempt in (f"{part({'alg': 'EdDSA'})}.{nested}.", f"{nested}.{part({})}."):
        assert len(attempt) <= LONGEST_JWT
        assert gateway.refuses(assertion=attempt).refusal is Refusal.MALFORMED_ASSERTION


def test_no_other_algorithm_is_taken_for_an_assertion_or_a_token(gateway: Gateway) -> None:
    secret = public_key_text(ACME_KEY)
    own_secret = public_key_text(SIGNING_KEY)
    claims = {"sub": "acme-1", "exp": NOON + 60, "key": fingerprint(ACME_KEY)}
    for attempt in (
        signed(secret, algorithm="HS256"),
        signed("", algorithm="none"),
        f"{part({'alg': 'EdDSA'})}.{part(claims)}.",
    ):
        assert gateway.refuses(assertion=attempt).refusal is Refusal.MALFORMED_ASSERTION
    kind = {"typ": "heliograph-token+jwt"}
    for attempt in (
        jwt.encode(claims, own_secret, algorithm="HS256", headers=kind),
        jwt.encode(claims, "", algorithm="none", headers=kind),
        f"{part({'alg': 'EdDSA', **kind})}.{part(claims)}.",
    ):
        assert gateway.refuses(authorization=f"Bearer {attempt}").refusal is Refusal.INVALID_TOKEN


def test_only_what_this_gateway_signed_as_a_token_is_one(gateway: Gateway) -> None:
    claims = {"sub": "acme-1", "exp": NOON + 60, "key": fingerprint(ACME_KEY)}
    kind = {"typ": "heliograph-token+jwt"}
    foreign = jwt.encode(claims, OTHER_KEY, algorithm="EdDSA", headers=kind)
    receipt = jwt.encode(claims, SIGNING_KEY, algorithm="EdDSA")
    token = jwt.encode(claims, SIGNING_KEY, algorithm="EdDSA", headers=kind)
    for attempt in (foreign, receipt, signed(), token[:-8] + "AAAAAAAA"):
        assert gateway.refuses(authorization=f"Bearer {attempt}").refusal is Refusal.INVALID_TOKEN
    assert gateway.authenticator.authenticate(f"Bearer {token}") == "acme-1"


def test_an_assertion_is_taken_once_for_as_long_as_it_could_be(gateway: Gateway) -> None:
    once = signed()
    gateway.authenticator.exchange(once)
    last = NOON + ASSERTION_SECONDS + SKEW_SECONDS
    for gateway.now in (NOON - SKEW_SECONDS, NOON, NOON + ASSERTION_SECONDS, last - 0.001):
        assert gateway.refuses(assertion=once).refusal is Refusal.REPLAYED_ASSERTION
    gateway.now = last
    assert gateway.refuses(assertion=once).refusal is Refusal.CLOCK_SKEW


def test_two_instances_may_use_the_same_number(gateway: Gateway) -> None:
    gateway.authenticator.exchange(signed())
    gateway.authenticator.exchange(signed(OTHER_KEY, iss="other-1", sub="other-1"))


def test_one_instance_cannot_fill_the_memory_nor_keep_others_out(gateway: Gateway) -> None:
    for number in range(ASSERTIONS_KEPT):
        gateway.authenticator.exchange(signed(jti=str(number)))
    assert gateway.refuses(assertion=signed(jti="more")).refusal is Refusal.TOO_MANY_ASSERTIONS
    assert gateway.authenticator.exchange(signed(OTHER_KEY, iss="other-1", sub="other-1")).token
    gateway.now += ASSERTION_SECONDS + SKEW_SECONDS
    assert gateway.header()
    assert [len(used) for used in gateway.authenticator._used.values()] == [1, 1]


def test_verified_tokens_are_remembered_within_a_bound(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    assert TOKENS_KEPT > 3
    monkeypatch.setattr(authentication, "TOKENS_KEPT", 3)
    headers = []
    for _ in range(5):
        headers.append(gateway.header())
        gateway.now += 1
    for header in [*headers, *headers]:
        assert gateway.authenticator.authenticate(header) == "acme-1"
        assert len(gateway.authenticator._verified) <= 3


def test_a_token_is_verified_once(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    header = gateway.header()
    gateway.authenticator.authenticate(header)
    monkeypatch.setattr(authentication, "verified", lambda *_: pytest.fail("verified again"))
    assert gateway.authenticator.authenticate(header) == "acme-1"


hostile = (
    st.text()
    | st.binary().map(lambda data: data.decode("latin-1"))
    | st.tuples(*[st.text("AZaz09-_=.e", max_size=40)] * 3).map(".".join)
    | st.tuples(st.dictionaries(st.text(max_size=5), st.text(max_size=5)), st.recursive(st.none(), st.lists)).map(
        lambda both: f"{part({'alg': 'EdDSA', **both[0]})}.{part(both[1])}.AAAA"
    )
)


@given(hostile)
@example("")
@example("\ud800.\ud800.\ud800")
@example("A" * (LONGEST_JWT + 1))
@example(f"{part({'alg': 'EdDSA', 'b64': False, 'crit': ['b64']})}..AAAA")
def test_whatever_comes_is_refused_and_nothing_else(text: str) -> None:
    gateway = Gateway()
    assert gateway.refuses(assertion=text).refusal in {
        Refusal.MALFORMED_ASSERTION,
        Refusal.UNKNOWN_INSTANCE_OR_KEY,
    }
    for header in (text, f"Bearer {text}"):
        assert gateway.refuses(authorization=header).refusal is Refusal.INVALID_TOKEN


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_token_or_an_assertion_with_one_changed_letter_is_refused(place: int, change: int) -> None:
    gateway = Gateway()
    header = gateway.header()
    statement = signed()
    place %= len(header) - len("Bearer ")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    def changed(text: str, at: int) -> str:
        other = letters[(letters.find(text[at]) + 1 + change % 62) % 64]
        return text if other == text[at] else f"{text[:at]}{other}{text[at + 1 :]}"

    forged = changed(header, len("Bearer ") + place)
    if forged != header:
        assert gateway.refuses(authorization=forged).refusal is Refusal.INVALID_TOKEN
    forged = changed(statement, place % len(statement))
    if forged != statement:
        assert isinstance(gateway.refuses(assertion=forged), AuthenticationError)


def test_every_refusal_says_what_is_wrong_and_what_to_do() -> None:
    codes = [refusal.code for refusal in Refusal]
    assert len(set(codes)) == len(codes)
    for refusal in Refusal:
        assert refusal.code == refusal.name.lower()
        assert 400 <= refusal.status < 600
        problem = RefusalError(refusal, "here", expected=7, now=8).to_problem()
        assert (problem.type, problem.status, problem.detail) == (refusal.code, refusal.status, "here")
        assert (problem.expected, problem.now) == (7, 8)
        assert problem.title
        assert problem.remedy.endswith(".")
