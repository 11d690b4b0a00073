"""The trial server over TLS: what each address answers, what is recorded, and what is never told or kept."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import structlog
from standardwebhooks import Webhook

from harness import Vendor, as_lines, deliver, event, said, zstd
from heliograph.consent.deployment import Deployment
from heliograph.keys import load_or_create_key, public_key_text
from heliograph.registry.errors import RegistryError
from heliograph.registry.sign_up_problems import SignUpRefusal
from heliograph.registry.trial_pages import protection
from heliograph.registry.trials import TrialLinks
from heliograph.wire import NDJSON, PROBLEM
from trial_site import SAME_ORIGIN, TERMS, TrialSite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from registry.conftest import Clock

SECRET = "whsec_" + "A" * 43 + "="
DIGEST = hashlib.sha256(TERMS.encode()).hexdigest()
FORM = {"terms_digest": DIGEST, "authorised": "yes"}


@pytest.fixture
def site(tmp_path: Path, clock: Clock) -> Iterator[TrialSite]:
    site = TrialSite(tmp_path, f"sqlite:///{tmp_path / 'registry.db'}", clock, {"webhook_secrets": SECRET})
    with site.registry() as registry:
        registry.add_account("acme")
    with site.running():
        yield site


@pytest.fixture
def http(site: TrialSite) -> Iterator[httpx.Client]:
    with site.http() as client:
        yield client


def press(http: httpx.Client, path: str, form: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    """Send the form, as the button on the page does."""
    return http.post(path, data=FORM if form is None else form, **({"headers": SAME_ORIGIN} | more))


def test_the_page_shows_for_whom_what_and_all_of_the_terms(site: TrialSite, http: httpx.Client) -> None:
    answer = http.get(site.create(days=1, created_by="field <engineering>"))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    text = " ".join(answer.text.split())
    for words in (
        "I am authorised to accept for <strong>acme</strong>",
        "one day from when you accept",
        "field &lt;engineering&gt;",
        "15 October 2026, 12:00 UTC",
        "version 2026-10",
        DIGEST,
        "Nothing that &lt;the plan&gt; &amp; its lists do not declare.",
        "whose meaning is known on the customer&#39;s own instance alone",
        "A random id in place of the user",
        "Code, file contents",
        "The text of searches",
        "Names, e-mail addresses, IP addresses",
        "<code>critical</code>",
        "Lighthouse Software",
        'href="mailto:trials@vendor.example"',
    ):
        assert words in text, words


def test_to_accept_is_to_be_told_what_was_recorded_and_how_to_change_ones_mind(
    site: TrialSite, http: httpx.Client, clock: Clock
) -> None:
    path = site.create()
    clock.pass_time(hours=1)
    answer = press(http, path)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{path}/accepted")
    record = http.get(answer.headers["location"])
    assert record.status_code == 200
    for words in ("agreement-1", DIGEST, "1 October 2026, 13:00 UTC", "31 October 2026, 13:00 UTC", "agent.level"):
        assert words in record.text
    [agreement] = site.agreements()
    assert (agreement["account"], agreement["route"]) == ("acme", "trial_engineer")
    assert (agreement["terms_version"], agreement["terms_digest"]) == ("2026-10", DIGEST)


def test_a_second_press_of_the_button_shows_the_same_record_and_records_nothing(
    site: TrialSite, http: httpx.Client
) -> None:
    path = site.create()
    first, second = press(http, path), press(http, path)
    assert (first.status_code, first.headers["location"]) == (second.status_code, second.headers["location"])
    assert len(site.agreements()) == 1


def test_the_record_tells_of_an_end(site: TrialSite, http: httpx.Client, clock: Clock) -> None:
    path = site.create()
    press(http, path)
    clock.pass_time(days=1)
    with site.registry() as registry:
        registry.end_agreement("agreement-1", reason="asked for")
    ended = http.get(f"{path}/accepted").text
    assert "This trial is over" in ended
    assert "2 October 2026, 12:00 UTC" in ended


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_looking_accepts_nothing(method: str, site: TrialSite, http: httpx.Client) -> None:
    path = site.create()
    answer = http.request(method, path, params=FORM, headers=SAME_ORIGIN)
    assert answer.status_code == 200
    assert http.request(method, f"{path}/accepted").status_code == 404
    assert site.agreements() == []


def test_links_that_cannot_be_used_say_so_each_with_its_status(
    site: TrialSite, http: httpx.Client, clock: Clock
) -> None:
    revoked, used = site.create(), site.create()
    expired = site.create(expires=clock.now + timedelta(hours=1))
    with site.registry() as registry:
        TrialLinks(registry).revoke("trial-1", reason="a reason for us alone")
    press(http, used)
    clock.pass_time(hours=1)
    for path, title in (
        (expired, "This link has expired"),
        (revoked, "This link was taken back"),
        (used, "This link has been used"),
    ):
        answer = http.get(path)
        assert answer.status_code == 410
        assert f"<h1>{title}</h1>" in answer.text
        assert "a reason for us alone" not in answer.text
        if path is not used:
            assert press(http, path).status_code == 410
            assert http.get(f"{path}/accepted").status_code == 404
    assert f'href="{used}/accepted"' in http.get(used).text
    assert len(site.agreements()) == 1


def test_whatever_never_was_a_link_looks_alike(site: TrialSite, http: httpx.Client) -> None:
    real = site.create()
    paths = ["/trial/x", "/trial/" + "A" * 43, real[:-1], real + "A", real.swapcase(), f"{real}/", "/trial/", "/", "/x"]
    answers = [http.get(path) for path in paths] + [press(http, path) for path in paths[:5]]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert len({tuple(sorted(answer.headers.items() - {("date", answer.headers["date"])})) for answer in answers}) == 1


def test_only_the_terms_that_were_shown_are_accepted(site: TrialSite, clock: Clock) -> None:
    path = site.create()
    site.change_terms("2026-11", "Other Terms, which say <more>.")
    with site.running(), site.http() as http:
        changed = press(http, path)
        assert changed.status_code == 409
        assert "The Terms have changed" in changed.text
        assert "Other Terms, which say &lt;more&gt;." in changed.text
        assert site.agreements() == []
        [shown] = re.findall(r'name="terms_digest" value="(\w+)"', changed.text)
        assert shown == hashlib.sha256(site.terms_file.read_bytes()).hexdigest()
        assert press(http, path, FORM | {"terms_digest": shown}).status_code == 303
        assert http.get(f"/terms/{DIGEST}").content == TERMS.encode()
    [agreement] = site.agreements()
    assert (agreement["terms_version"], agreement["terms_digest"]) == ("2026-11", shown)


def test_the_server_does_not_start_with_a_changed_text_under_an_old_label(site: TrialSite) -> None:
    site.terms_file.write_text("Other Terms.")
    with pytest.raises(RegistryError, match="label of their own"), site.running():
        pass


@pytest.mark.parametrize("form", [{"terms_digest": DIGEST}, FORM | {"authorised": "no"}, {"more": "1"}])
def test_without_the_box_nothing_is_accepted_and_the_page_says_what_is_missing(
    form: dict[str, str], site: TrialSite, http: httpx.Client
) -> None:
    answer = press(http, site.create(), form)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert site.agreements() == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "https://localhost:8444"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "https://localhost:8444"}, 303),
        ({"sec-fetch-site": "same-origin", "origin": "null"}, 303),
    ],
)
def test_a_form_is_taken_from_our_page_alone(
    headers: dict[str, str], status: int, site: TrialSite, http: httpx.Client
) -> None:
    assert press(http, site.create(), headers=headers).status_code == status
    assert len(site.agreements()) == (status == 303)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"authorised=yes&" + b"x" * 5_000, "application/x-www-form-urlencoded", 413),
        (b"authorised=yes&authorised=yes", "application/x-www-form-urlencoded", 400),
        (b"\xff", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a%d=1" % number for number in range(9)), "application/x-www-form-urlencoded", 400),
        (json.dumps(FORM).encode(), "application/json", 415),
        (b"authorised=yes", "text/plain", 415),
    ],
)
def test_what_is_not_our_form_is_refused(
    content: bytes, kind: str, status: int, site: TrialSite, http: httpx.Client
) -> None:
    answer = http.post(site.create(), content=content, headers={"content-type": kind, **SAME_ORIGIN})
    assert answer.status_code == status
    assert "Nothing was accepted" in answer.text
    assert site.agreements() == []


def test_a_body_without_a_length_is_read_no_further_than_its_bound(site: TrialSite, http: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1_000

    headers = {"content-type": "application/x-www-form-urlencoded", **SAME_ORIGIN}
    assert http.post(site.create(), content=endless(), headers=headers).status_code == 413


def test_every_answer_has_the_headers_that_keep_it_safe(site: TrialSite, http: httpx.Client) -> None:
    path = site.create()
    page = http.get(path)
    [style] = re.findall(r'<link rel="stylesheet" href="([^"]+)">', page.text)
    answers = [
        page,
        http.get("/nothing"),
        http.get(style),
        http.get("/healthz"),
        http.get(f"/terms/{DIGEST}"),
        http.put(path),
        http.post("/webhooks/signup"),
        http.get("/webhooks/signup"),
        press(http, path),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 200, 200, 200, 405, 415, 405, 303]
    for answer in answers:
        assert protection.SECURITY_HEADERS.items() <= answer.headers.items()
        assert "set-cookie" not in answer.headers
        assert "server" not in answer.headers
        assert answer.headers["cache-control"] == (
            "public, max-age=31536000, immutable" if answer is answers[2] else "no-store"
        )
    policy = page.headers["content-security-policy"]
    assert "script-src" not in policy
    assert {"default-src 'none'", "frame-ancestors 'none'", "form-action 'self'"} <= set(policy.split("; "))
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["strict-transport-security"].startswith("max-age=")


def test_a_page_holds_no_script_no_style_of_its_own_and_nothing_from_elsewhere(
    site: TrialSite, http: httpx.Client
) -> None:
    text = http.get(site.create()).text
    assert not re.findall(r"<script|<style|\sstyle=|\son\w+=|javascript:|@import", text)
    assert not re.findall(r'(?:src|href)="(?!/|#|mailto:)', text)
    assert len(text.encode()) < 16_000
    [style] = re.findall(r'rel="stylesheet" href="([^"]+)"', text)
    css = http.get(style)
    assert css.headers["content-type"] == "text/css; charset=utf-8"
    assert not re.findall(r"url\(|@import|expression", css.text)
    [icon] = re.findall(r'rel="icon" href="([^"]+)"', text)
    assert http.get(icon).headers["content-type"] == "image/svg+xml"
    assert http.get("/assets/..%2fapp.py").status_code == 404


def test_tls_older_than_1_2_is_not_spoken(site: TrialSite) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with httpx.Client(verify=old) as client, pytest.raises(httpx.ConnectError):
        client.get(f"{site.address}/healthz")


def test_nothing_is_logged_but_what_was_recorded_and_why_not(
    site: TrialSite, http: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    path = site.create()
    with structlog.testing.capture_logs() as logged:
        http.get(path, headers={"user-agent": "agent-canary", "x-forwarded-for": "203.0.113.7"})
        http.get("/trial/token-canary?query-canary")
        press(http, path)
        http.post("/webhooks/signup", json={"account": "body-canary"})
        http.get("/webhooks/signup")
    assert logged == [
        {"event": "trial accepted", "link": "trial-1", "agreement": "agreement-1", "log_level": "info"},
        {"event": "sign-up refused", "reason": "bad_headers", "log_level": "info"},
    ]
    said = capfd.readouterr()
    assert not said.out + said.err
    stored = b"".join(file.read_bytes() for file in site.folder.iterdir() if file.is_file())
    for secret in (path.rpartition("/")[2], "agent-canary", "203.0.113.7", "127.0.0.1", "token-canary", "body-canary"):
        assert secret.encode() not in stored.replace(site.terms_file.read_bytes(), b"")


@pytest.mark.parametrize("how", ["unavailable", "failed"])
def test_when_something_fails_the_page_says_so_without_details(
    how: str, site: TrialSite, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = site.create()
    if how == "unavailable":
        with site.registry() as registry, registry._database.engine.begin() as connection:
            for table in ("trial_links", "sign_ups"):
                connection.exec_driver_sql(f"DROP TABLE {table}")
    else:

        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("value-canary")

        monkeypatch.setattr("heliograph.registry.trials._find", fail)
        monkeypatch.setattr("heliograph.registry.sign_ups._read", fail)
    with structlog.testing.capture_logs() as logged:
        page, problem = http.get(path), http.post("/webhooks/signup", **signed())
    assert (page.status_code, problem.status_code) == (503, 503)
    assert "We cannot answer now" in page.text
    assert page.headers["content-security-policy"]
    assert problem.json()["type"] == "unavailable"
    assert [entry["event"] for entry in logged] == [f"trials {how}"] * 2
    assert "value-canary" not in str(logged)
    assert path.rpartition("/")[2] not in str(logged)


def test_the_server_says_all_that_is_wrong_with_its_settings(tmp_path: Path) -> None:
    site = TrialSite(
        tmp_path,
        f"sqlite:///{tmp_path / 'registry.db'}",
        more={"public_address": "http://x", "terms_version": "", "webhook_secrets": "hunter2"},
    )
    with pytest.raises(RegistryError) as caught, site.running():
        pass
    assert [problem.partition(":")[0].split()[0] for problem in caught.value.problems] == [
        "trials.public_address",
        "trials.terms_version",
        "trials.webhook_secrets",
    ]


def signed(
    message: str = "msg_1", *, secret: str = SECRET, at: datetime | None = None, **changes: Any
) -> dict[str, Any]:
    """What a sign-up site sends."""
    moment = at or datetime(2026, 10, 1, 12, tzinfo=UTC)
    given = {
        "account": "prospect",
        "terms_version": "2026-10",
        "terms_digest": DIGEST,
        "accepted_at": "2026-10-01T12:00:00Z",
    }
    body = json.dumps(given | changes)
    headers = {
        "content-type": "application/json",
        "webhook-id": message,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(message, moment, body),
    }
    return {"content": body, "headers": headers}


def test_a_sign_up_is_recorded_and_a_repetition_gets_the_first_answer(site: TrialSite, http: httpx.Client) -> None:
    with structlog.testing.capture_logs() as logged:
        first, again = http.post("/webhooks/signup", **signed()), http.post("/webhooks/signup", **signed())
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == {
        "account": "prospect",
        "agreement": "agreement-1",
        "terms_version": "2026-10",
        "terms_digest": DIGEST,
        "effective_from": "2026-10-01T12:00:00Z",
        "effective_to": "2026-10-31T12:00:00Z",
    }
    assert again.content == first.content
    [agreement] = site.agreements()
    assert (agreement["account"], agreement["route"]) == ("prospect", "trial_signup")
    assert logged == [{"event": "sign-up recorded", "agreement": "agreement-1", "log_level": "info"}]


def test_each_refusal_of_a_sign_up_is_a_problem_of_the_table(site: TrialSite, http: httpx.Client) -> None:
    http.post("/webhooks/signup", **signed("used"))
    late = datetime(2026, 10, 1, 12, 6, tzinfo=UTC)
    plain = signed()
    given = {
        "method_not_allowed": http.get("/webhooks/signup"),
        "body_too_large": http.post("/webhooks/signup", **signed(more="x" * 17_000)),
        "unknown_format": http.post("/webhooks/signup", content=plain["content"]),
        "bad_headers": http.post("/webhooks/signup", json={}),
        "invalid_signature": http.post("/webhooks/signup", **signed(secret="whsec_" + "B" * 44)),
        "stale_message": http.post("/webhooks/signup", **signed(at=late)),
        "message_reused": http.post("/webhooks/signup", **signed("used", days=3)),
        "malformed_body": http.post("/webhooks/signup", **signed(more=1)),
        "unknown_terms": http.post("/webhooks/signup", **signed(terms_version="2026-11")),
        "bad_acceptance_time": http.post("/webhooks/signup", **signed(accepted_at="2026-10-02T12:00:00Z")),
    }
    table = {each.code: each for each in SignUpRefusal}
    for code, answer in given.items():
        problem = answer.json()
        refusal = table.pop(code)
        assert answer.headers["content-type"] == PROBLEM
        assert (problem["type"], problem["status"], problem["title"]) == (code, refusal.status, refusal.title)
        assert answer.status_code == refusal.status
        assert problem["remedy"] == refusal.remedy
    assert set(table) == {"no_sign_ups", "incomplete_body", "unavailable"}
    assert given["method_not_allowed"].headers["allow"] == "POST"
    assert len(site.agreements()) == 1


def test_without_a_secret_the_server_takes_no_sign_ups(site: TrialSite) -> None:
    site.more["webhook_secrets"] = ""
    with site.running(), site.http() as http:
        assert http.post("/webhooks/signup", **signed()).json()["type"] == "no_sign_ups"


def test_a_trial_enables_an_instance_at_its_next_contact_with_a_real_gateway(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path)
    site = TrialSite(tmp_path, vendor.settings.registry.url, more={"webhook_secrets": SECRET})
    keys = {name: load_or_create_key(tmp_path / f"{name}.pem") for name in ("led-1", "signed-1")}
    with vendor.registry() as registry:
        for name, key in keys.items():
            account = name.removesuffix("-1")
            registry.add_account(account)
            registry.add_instance(name, account=account, deployment=Deployment.MANAGED, public_key=public_key_text(key))
    now = datetime.now(UTC)
    with vendor.running(), site.running(), site.http() as http:
        clients = {name: vendor.client(key, name) for name, key in keys.items()}
        assert {said(client.policy()).level for client in clients.values()} == {"critical"}
        press(http, site.create("led"))
        http.post("/webhooks/signup", **signed(at=now, account="signed", accepted_at=now.isoformat()))
        enabled = [wait_until_enabled(client.policy) for client in clients.values()]
        body = zstd(as_lines([event(1)]))
        for name, client in clients.items():
            with vendor.http() as gateway:
                gateway.headers["authorization"] = f"Bearer {client._token}"
                answer = deliver(gateway, body, numbers=(1, 1), content_type=NDJSON)
            assert answer.status_code == 200, (name, answer.text)
            client.close()
    assert [policy.agreement for policy in enabled] == ["agreement-2", "agreement-3"]
    assert "trial led by a customer engineer" in enabled[0].reasons[0]
    assert [(entry.receipt.instance, entry.receipt.agreement) for entry, _ in vendor.entries()] == [
        ("led-1", "agreement-2"),
        ("signed-1", "agreement-3"),
    ]


def wait_until_enabled(policy: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while (found := said(policy())).level != "events":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found
