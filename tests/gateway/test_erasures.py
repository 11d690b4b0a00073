"""The gateway's address for erasures: recorded once, at any level, and never in any line of the log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from harness import INSTANCE, USER, Vendor, told
from heliograph.consent.erasure import user_digest
from heliograph.consent.level import Level
from heliograph.registry import erasures as recorded
from heliograph.registry.erasures import pending, read_erasures
from heliograph.wire import ERASURES_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Vendor]:
    with Vendor(tmp_path).running() as running:
        yield running


@pytest.fixture
def http(vendor: Vendor) -> Iterator[httpx.Client]:
    with vendor.http() as client:
        yield client


def problem(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    kind: str = response.json()["type"]
    return kind


def test_an_order_for_a_user_is_recorded_once_while_it_is_pending(vendor: Vendor, http: httpx.Client) -> None:
    first = http.post(ERASURES_PATH, json={"user_id": USER}).json()
    assert first == {"erasure": "erasure-1", "ordered": first["ordered"], "duplicate": False}
    assert http.post(ERASURES_PATH, json={"user_id": USER}).json() == first | {"duplicate": True}
    assert http.post(ERASURES_PATH, json={"user_id": USER[::-1]}).json()["erasure"] == "erasure-2"
    with vendor.registry() as registry:
        order = read_erasures(registry)[0].order
        waiting = pending(registry)
    assert (order.account, order.instance, order.since) == ("acme", INSTANCE, None)
    assert order.user_digest == user_digest(USER)
    assert order.recorded_by == f"instance {INSTANCE}"
    assert int(order.recorded.timestamp() * 1_000_000) == first["ordered"]
    assert [each.user_id for each in waiting] == [USER, USER[::-1]]


def test_no_level_keeps_an_instance_from_it(vendor: Vendor, http: httpx.Client) -> None:
    with vendor.registry() as registry:
        registry.set_override(INSTANCE, Level.OFF, reason="asked for")
    while told(http.get("/v1/policy")).level != "off":
        pass
    assert http.post(ERASURES_PATH, json={"user_id": USER}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        json.dumps({"user_id": USER.upper()}).encode(),
        json.dumps({"user_id": USER + "\n"}).encode(),
        json.dumps({"user_id": USER[1:]}).encode(),
        json.dumps({"user_id": USER, "account": "acme"}).encode(),
        json.dumps({"user_id": [USER]}).encode(),
    ],
)
def test_what_is_no_order_is_refused_without_repeating_it(
    http: httpx.Client, body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    response = http.post(ERASURES_PATH, content=body)
    assert (response.status_code, problem(response)) == (400, "malformed_erasure")
    assert USER[1:].lower() not in (response.text + capsys.readouterr().out).lower()


def test_a_large_body_an_unknown_sender_and_another_method_are_refused(http: httpx.Client) -> None:
    assert problem(http.post(ERASURES_PATH, content=b" " * 1_025)) == "body_too_large"
    assert problem(http.get(ERASURES_PATH)) == "method_not_allowed"
    assert problem(http.post(ERASURES_PATH, json={"user_id": USER}, headers={"authorization": "Bearer x"})) == (
        "invalid_token"
    )


def test_an_instance_has_so_many_orders_waiting_and_no_more(
    vendor: Vendor, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "MOST_PENDING", 2)
    users = [f"{n:032x}" for n in range(3)]
    answers: list[Any] = [http.post(ERASURES_PATH, json={"user_id": user}) for user in users]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert problem(answers[2]) == "too_many_erasures"
    assert http.post(ERASURES_PATH, json={"user_id": users[0]}).json()["duplicate"]


def test_no_line_of_the_log_holds_the_id(
    vendor: Vendor, http: httpx.Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    http.post(ERASURES_PATH, json={"user_id": USER})

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(USER)

    monkeypatch.setattr("heliograph.gateway.erasures.order", fail)
    assert problem(http.post(ERASURES_PATH, json={"user_id": USER})) == "unavailable"
    said = capsys.readouterr()
    assert "failed" in said.out
    assert USER not in said.out + said.err
