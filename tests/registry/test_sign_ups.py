"""Sign-ups: only an authentic message is recorded, and each one once."""

from __future__ import annotations

import base64
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from heliograph.consent.agreement import Route
from heliograph.registry import webhook
from heliograph.registry.errors import RegistryError
from heliograph.registry.sign_up_problems import SignUpRefusal, SignUpRefusedError
from heliograph.registry.sign_ups import SignUpAnswer, SignUps, _read
from heliograph.registry.terms import Terms, publish
from heliograph.registry.webhook import Message, read_secrets, verify
from heliograph.settings import Settings, TrialsSettings, masked

if TYPE_CHECKING:
    from pathlib import Path

    from heliograph.registry.store import Registry
    from registry.conftest import Clock

NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
OLD, NEW = (Webhook(bytes([number]) * 32) for number in (1, 2))
FOREIGN = Webhook(b"\x03" * 32)
BODY = b'{"account":"acme"}'
DIGEST = hashlib.sha256(b"Terms").hexdigest()


def sign(secret: Webhook, body: bytes = BODY, message: str = "msg_1", at: datetime = NOW) -> dict[str, str]:
    return {
        "webhook-id": message,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": secret.sign(message, at, body.decode()),
    }


def refusal_of(headers: dict[str, str], body: bytes = BODY, *, now: datetime = NOW) -> SignUpRefusal:
    with pytest.raises(SignUpRefusedError) as caught:
        verify(headers, body, [OLD, NEW], now=now)
    return caught.value.refusal


@pytest.mark.parametrize("secret", [OLD, NEW])
@pytest.mark.parametrize("minutes", [-5, 0, 5])
def test_a_message_signed_with_any_valid_secret_is_authentic_for_five_minutes(secret: Webhook, minutes: int) -> None:
    found = verify(sign(secret), BODY, [OLD, NEW], now=NOW + timedelta(minutes=minutes))
    assert found == Message(id="msg_1", body=BODY)


def test_a_message_may_hold_signatures_by_several_secrets() -> None:
    headers = sign(NEW)
    foreign = sign(FOREIGN)["webhook-signature"]
    headers["webhook-signature"] = f"v1a,abc {foreign} {headers['webhook-signature']}"
    assert verify(headers, BODY, [OLD, NEW], now=NOW).id == "msg_1"


def test_what_the_library_of_the_senders_verifies_is_what_we_verify() -> None:
    now = datetime.now(UTC)
    headers = sign(OLD, at=now)
    OLD.verify(BODY, headers)
    assert verify(headers, BODY, [OLD], now=now).body == BODY


@pytest.mark.parametrize("seconds", [-301, 301])
def test_an_old_message_is_refused_however_well_it_is_signed(seconds: int) -> None:
    assert refusal_of(sign(OLD), now=NOW + timedelta(seconds=seconds)) is SignUpRefusal.STALE_MESSAGE


def test_whatever_is_signed_cannot_be_changed() -> None:
    headers = sign(OLD)
    changed = [
        (headers | {"webhook-id": "msg_2"}, BODY),
        (headers | {"webhook-timestamp": str(int(NOW.timestamp()) + 1)}, BODY),
        (headers, BODY.replace(b"acme", b"evil")),
        (headers, BODY + b" "),
        (headers, b"\xff"),
        (sign(FOREIGN), BODY),
        (headers | {"webhook-signature": headers["webhook-signature"].replace("v1,", "v2,")}, BODY),
        (headers | {"webhook-signature": ""}, BODY),
        ({key: value for key, value in headers.items() if key != "webhook-signature"}, BODY),
    ]
    assert [refusal_of(*each) for each in changed] == [SignUpRefusal.INVALID_SIGNATURE] * len(changed)


@given(st.text(st.characters(max_codepoint=255), max_size=60), st.binary(max_size=30))
def test_no_signature_is_forged_by_chance(signature: str, body: bytes) -> None:
    assert refusal_of(sign(OLD) | {"webhook-signature": signature}, body) is SignUpRefusal.INVALID_SIGNATURE


@pytest.mark.parametrize(
    "headers",
    [
        {"webhook-id": ""},
        {"webhook-id": "a.b"},
        {"webhook-id": "a" * 129},
        {"webhook-id": "a\n"},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "9" * 12},
        {"webhook-timestamp": "1.5"},
    ],
)
def test_headers_of_another_form_are_refused(headers: dict[str, str]) -> None:
    assert refusal_of(sign(OLD) | headers) is SignUpRefusal.BAD_HEADERS


def test_without_a_secret_nothing_is_taken() -> None:
    with pytest.raises(SignUpRefusedError) as caught:
        verify(sign(OLD), BODY, [], now=NOW)
    assert caught.value.refusal is SignUpRefusal.NO_SIGN_UPS


def secret_text(key: bytes) -> str:
    return f"whsec_{base64.b64encode(key).decode()}"


def test_secrets_come_from_the_settings_and_from_a_file_of_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"{secret_text(bytes([2]) * 32)}\n\n")
    file.chmod(0o600)
    settings = TrialsSettings(webhook_secrets=secret_text(bytes([1]) * 32), webhook_secrets_file=str(file))
    found = read_secrets(settings)
    assert [each.sign("a", NOW, "b") for each in found] == [each.sign("a", NOW, "b") for each in (OLD, NEW)]
    assert read_secrets(TrialsSettings()) == []


def test_secrets_that_cannot_be_used_are_told_together_and_never_repeated(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text("hunter2-hunter2-hunter2-hunter2-hunter2\n")
    file.chmod(0o640)
    settings = TrialsSettings(
        webhook_secrets=f"whsec_hunter2 whsec_hunter2= {secret_text(b'1' * 23)}", webhook_secrets_file=str(file)
    )
    with pytest.raises(RegistryError) as caught:
        read_secrets(settings)
    assert len(caught.value.problems) == 5
    assert f"chmod 600 {file}" in str(caught.value)
    assert "hunter2" not in str(caught.value).replace(str(file), "")
    assert secret_text(b"1" * 23) not in str(caught.value)
    with pytest.raises(RegistryError, match="No such file"):
        read_secrets(TrialsSettings(webhook_secrets_file=str(tmp_path / "none")))


def test_nothing_of_a_secret_is_shown_with_the_settings() -> None:
    shown = masked(Settings(trials=TrialsSettings(webhook_secrets=f"{secret_text(b'1' * 32)} whsec_a=b=")))
    assert shown.trials.webhook_secrets == "********"


@pytest.fixture
def sign_ups(registry: Registry) -> SignUps:
    publish(registry, Terms(version="2026-10", digest=DIGEST, content=b"Terms"))
    return SignUps(registry, days=30)


def message(name: str = "msg_1", **changes: Any) -> Message:
    given: dict[str, Any] = {
        "account": "acme",
        "terms_version": "2026-10",
        "terms_digest": DIGEST,
        "accepted_at": "2026-10-01T11:58:00+02:00",
    }
    fields = {key: value for key, value in (given | changes).items() if value is not None}
    return Message(id=name, body=json.dumps(fields).encode())


def refused(sign_ups: SignUps, sent: Message) -> SignUpRefusedError:
    with pytest.raises(SignUpRefusedError) as caught:
        sign_ups.record(sent)
    return caught.value


def test_a_sign_up_adds_its_account_and_is_an_agreement_with_its_evidence(
    sign_ups: SignUps, registry: Registry, clock: Clock
) -> None:
    accepted = datetime(2026, 10, 1, 9, 58, tzinfo=UTC)
    answer, is_new = sign_ups.record(message())
    assert is_new
    assert answer == SignUpAnswer(
        account="acme",
        agreement="agreement-1",
        terms_version="2026-10",
        terms_digest=DIGEST,
        effective_from=accepted,
        effective_to=accepted + timedelta(days=30),
    )
    [account] = registry.accounts()
    [agreement] = registry.snapshot().agreements().values()
    assert (account.name, account.added) == ("acme", clock.now)
    assert (agreement.route, agreement.document) == (Route.TRIAL_SIGNUP, "sign-up message msg_1")
    assert (agreement.recorded, agreement.recorded_by) == (clock.now, "sign-up site")
    assert (agreement.terms_version, agreement.terms_digest) == ("2026-10", DIGEST)
    assert (agreement.effective_from, agreement.effective_to) == (answer.effective_from, answer.effective_to)


def test_a_sign_up_of_a_known_account_is_added_to_it(sign_ups: SignUps, registry: Registry) -> None:
    registry.add_account("acme")
    sign_ups.record(message(days=1))
    answer, _ = sign_ups.record(message("msg_2", days=7))
    assert answer.effective_to - answer.effective_from == timedelta(days=7)
    assert len(registry.accounts()[0].records) == 2


def test_a_repeated_message_gets_the_first_answer_and_another_under_its_id_is_refused(
    sign_ups: SignUps, registry: Registry, clock: Clock
) -> None:
    first, _ = sign_ups.record(message())
    clock.pass_time(days=400)
    assert sign_ups.record(message()) == (first, False)
    for other in (message(days=3), Message(id="msg_1", body=b"{}")):
        assert refused(sign_ups, other).refusal is SignUpRefusal.MESSAGE_REUSED
    assert len(registry.snapshot().agreements()) == 1


def test_of_many_copies_at_once_one_is_recorded(sign_ups: SignUps, registry: Registry) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: sign_ups.record(message()), range(6)))
    assert sorted(is_new for _, is_new in answers) == [False] * 5 + [True]
    assert len({answer.agreement for answer, _ in answers}) == 1
    assert len(registry.snapshot().agreements()) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"account": "Acme Corporation"},
        {"account": "acme\n"},
        {"account": "a" * 64},
        {"account": None},
        {"terms_digest": DIGEST.upper()},
        {"terms_digest": DIGEST + "\n"},
        {"accepted_at": "2026-10-01T12:00:00"},
        {"accepted_at": 1_790_000_000},
        {"days": 0},
        {"days": 367},
        {"days": "7"},
        {"e_mail": "someone@customer.example"},
    ],
)
def test_a_body_that_is_no_sign_up_is_refused(changes: dict[str, Any], sign_ups: SignUps, registry: Registry) -> None:
    error = refused(sign_ups, message(**changes))
    assert error.refusal is SignUpRefusal.MALFORMED_BODY
    assert error.detail
    assert not [value for value in ("someone", "e_mail", "Corporation") if value in error.detail]
    assert (registry.accounts(), registry.snapshot().agreements()) == ([], {})


@given(st.binary(max_size=80))
def test_bytes_that_are_no_sign_up_are_refused_and_nothing_else(body: bytes) -> None:
    with pytest.raises(SignUpRefusedError):
        _read(body)


@pytest.mark.parametrize("changes", [{"terms_version": "2026-11"}, {"terms_digest": "0a" * 32}])
def test_terms_that_were_not_published_so_are_refused_until_they_are(
    changes: dict[str, Any], sign_ups: SignUps, registry: Registry
) -> None:
    sent = message(**changes)
    assert refused(sign_ups, sent).refusal is SignUpRefusal.UNKNOWN_TERMS
    assert registry.accounts() == []
    if "terms_version" in changes:
        publish(registry, Terms(version="2026-11", digest=DIGEST, content=b"Terms"))
        assert sign_ups.record(sent)[1]


def test_an_acceptance_is_not_of_the_future_nor_of_a_trial_that_is_over(sign_ups: SignUps, clock: Clock) -> None:
    def at(moment: datetime, name: str) -> Message:
        return message(name, accepted_at=moment.isoformat())

    for index, moment in enumerate(
        (
            clock.now + webhook.TOLERANCE + timedelta(microseconds=1),
            clock.now - timedelta(days=30),
            datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
            datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-14))),
        )
    ):
        assert refused(sign_ups, at(moment, f"no_{index}")).refusal is SignUpRefusal.BAD_ACCEPTANCE_TIME
    assert sign_ups.record(at(clock.now + webhook.TOLERANCE, "yes_1"))[1]
    assert sign_ups.record(at(clock.now - timedelta(days=30, microseconds=-1), "yes_2"))[1]


def test_every_refusal_has_a_code_of_its_own_and_a_remedy() -> None:
    assert len({each.code for each in SignUpRefusal}) == len(SignUpRefusal)
    for each in SignUpRefusal:
        problem = SignUpRefusedError(each, "so").to_problem()
        assert (problem.type, problem.status, problem.detail) == (each.code, each.status, "so")
        assert each.code == each.name.lower()
        assert 400 <= each.status < 600
        assert problem.title
        assert problem.remedy.endswith(".")
