"""Delivery that behaves: pauses, answers that decide nothing, a line that is not filled, a clock that is wrong."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

import documents
from heliograph.gateway.problems import Refusal
from heliograph.instance.answers import Action, action_of, is_for_good
from heliograph.instance.bandwidth import Bandwidth
from heliograph.instance.gateway_clock import GatewayClock
from heliograph.instance.pauses import FIRST_SECONDS, LONGEST_ASKED_SECONDS, LONGEST_SECONDS, BackOff, asked_seconds
from heliograph.instance.proxy import ProxySettingError, proxy_of
from heliograph.instance.transport import GatewayClient, GatewayRefusalError, UnreachableError
from heliograph.settings import AgentSettings
from heliograph.wire import PROBLEM, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEY = Ed25519PrivateKey.generate()


class Ticking:
    """A clock that moves only when it is told to, or when somebody sleeps by it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.set_by = timedelta()

    def ticks(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds) + self.set_by


# Pauses


def test_pauses_double_up_to_a_bound_and_begin_anew_after_a_success() -> None:
    pauses = BackOff(lambda: 1.0)
    drawn = [pauses.next() for _ in range(12)]
    assert drawn == [min(FIRST_SECONDS * 2**number, LONGEST_SECONDS) for number in range(12)]
    pauses.reset()
    assert pauses.next() == FIRST_SECONDS


@given(st.integers(0, 2_000), st.floats(0, 1, exclude_max=True), st.none() | st.floats(-1e9, 1e9))
def test_no_pause_is_longer_than_both_bounds_together_or_shorter_than_what_was_asked(
    failures: int, drawn: float, asked: float | None
) -> None:
    pauses = BackOff(lambda: drawn)
    for _ in range(failures):
        pauses.next()
    pause = pauses.next(asked)
    assert pause <= LONGEST_SECONDS + LONGEST_ASKED_SECONDS
    assert pause >= min(asked or 0.0, LONGEST_ASKED_SECONDS)


@pytest.mark.parametrize("asked", [None, 30.0])
def test_after_an_outage_a_thousand_agents_do_not_return_at_once(asked: float | None) -> None:
    """The gateway is away for an hour, and each agent lost it at the same moment."""
    chance = random.Random(5)
    back = 3_600.0
    returns = []
    for _ in range(1_000):
        pauses, time = BackOff(chance.random), 0.0
        while time < back:
            time += pauses.next(asked)
        returns.append(time - back)
    by_second = Counter(int(each) for each in returns)
    assert max(returns) < LONGEST_SECONDS + (asked or 0.0)
    # Even pauses of at most 60 s bring 1000 / 30 agents back in the first second; twice that would be a flock.
    assert max(by_second.values()) < 67
    assert len(by_second) >= 45


def test_agents_that_were_all_asked_for_the_same_pause_come_back_spread() -> None:
    chance = random.Random(7)
    first = Counter(int(10 * BackOff(chance.random).next(30.0)) for _ in range(1_000))
    assert set(first) == {300, 301, 302, 303, 304}
    assert max(first.values()) < 250


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("-7", None),
        ("1e9", None),
        ("9" * 400, LONGEST_ASKED_SECONDS),
        ("Sun, 01 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Nov 2026 11:00:00 GMT", 0.0),
        ("Sun, 01 Nov 2226 12:00:00 GMT", LONGEST_ASKED_SECONDS),
        ("Sun, 99 Nov 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(header: str | None, seconds: float | None) -> None:
    assert asked_seconds(header, NOW) == seconds


@given(st.text())
def test_whatever_stands_in_retry_after_is_a_bounded_number_or_nothing(header: str) -> None:
    seconds = asked_seconds(header, NOW)
    assert seconds is None or 0.0 <= seconds <= LONGEST_ASKED_SECONDS


# Answers


def test_what_each_answer_asks_for_is_what_the_page_says() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|$", documents.section("docs/wire.md", "What to do next"), re.MULTILINE)
    said = {answer: meaning.strip() for answer, meaning in rows}
    for refusal in Refusal:
        problem = Problem(type=refusal.code, title="t", status=refusal.status)
        wanted = said.pop(refusal.code, None) or said.get(str(refusal.status))
        assert wanted == action_of(problem).value, refusal
    for answer, meaning in said.items():  # what is left are statuses
        assert meaning == action_of(Problem(type="of a later version", title="t", status=int(answer))).value


@given(st.integers(100, 999), st.sampled_from([each.code for each in Refusal]) | st.text(max_size=20))
def test_every_answer_asks_for_something_and_an_event_is_given_up_only_for_a_word_of_the_gateways(
    status: int, kind: str
) -> None:
    problem = Problem(type=kind, title="t", status=status)
    assert action_of(problem) in Action
    if is_for_good(problem):
        assert status in {400, 413, 422} or kind in {each.code for each in Refusal}
    assert not is_for_good(Problem(type="unknown", title="t", status=status))
    if status >= 500 or status == 429:
        assert kind in {"plan_changed", "sequence_gap"} or action_of(problem) in {Action.REPEAT, Action.STOP}


class Line:
    """Stands for the network: gives tokens, and answers everything else as it is told."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response], **settings: object) -> None:
        self.requests: list[httpx.Request] = []
        self._answer = answer
        self.clock = Ticking()
        agent = msgspec.convert({"instance": "acme-1", "gateway": "https://gateway.example", **settings}, AgentSettings)
        self.client = GatewayClient(
            agent,
            KEY,
            now=self.clock.now,
            ticks=self.clock.ticks,
            bandwidth=Bandwidth(agent.bytes_per_second, ticks=self.clock.ticks, sleep=self.clock.sleep),
            transport=httpx.MockTransport(self._take),
        )

    def _take(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.path == "/v1/token":
            return httpx.Response(200, json={"access_token": "token", "expires_in": 600})
        return self._answer(request)

    def deliver(self, body: bytes = b"body") -> object:
        return self.client.deliver(epoch=1, first=1, last=2, absent={}, body=body)


def receipt(**fields: object) -> dict[str, object]:
    given = {"instance": "acme-1", "epoch": 1, "first": 1, "last": 2, "accepted": {}, "rejected": {}, "absent": {}}
    given |= {"digest": "d", "agreement": "a", "received": 1}
    return {"receipt": given | fields, "signature": "s", "duplicate": False}


PORTAL = b"<!doctype html><title>Log in to the hotel's network</title>"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, content=PORTAL, headers={"content-type": "text/html"}),
        httpx.Response(200, content=b""),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"status": "ok"}),
        httpx.Response(200, json=receipt(last=3)),
        httpx.Response(200, json=receipt(epoch=2)),
        httpx.Response(204),
        httpx.Response(302, headers={"location": "https://portal.example/login"}),
        httpx.Response(308, headers={"location": "https://other.example/v1/events"}),
        httpx.Response(400, content=PORTAL, headers={"content-type": "text/html"}),
        httpx.Response(400, json={"type": "damaged_body", "title": "t", "status": 400}),  # no problem by its type
        httpx.Response(401, content=PORTAL),
        httpx.Response(403, content=PORTAL),
        httpx.Response(407, content=PORTAL),
        httpx.Response(422, content=PORTAL),
        httpx.Response(511, content=PORTAL),
        httpx.Response(200, content=b"\x28\xb5\x2f\xfd", headers={"content-encoding": "x-bomb"}),
    ],
    ids=lambda answer: f"{answer.status_code}-{len(answer.content)}",
)
def test_what_is_no_answer_of_ours_is_no_success_and_decides_nothing(answer: httpx.Response) -> None:
    line = Line(lambda _: answer)
    with pytest.raises(UnreachableError):
        line.deliver()
    assert {request.url.host for request in line.requests} == {"gateway.example"}


def test_a_proxy_that_bounds_bodies_is_sent_less_and_no_event_is_given_up_for_it() -> None:
    line = Line(lambda _: httpx.Response(413, content=b"<html>too large</html>"))
    with pytest.raises(GatewayRefusalError) as found:
        line.deliver()
    assert found.value.action is Action.SPLIT
    assert not is_for_good(found.value.problem)


@pytest.mark.parametrize("status", [429, 503, 507])
@pytest.mark.parametrize(("asked", "seconds"), [("20", 20.0), (format_datetime(NOW + timedelta(seconds=20)), 20.0)])
def test_later_means_later_and_as_long_as_was_asked_for(status: int, asked: str, seconds: float) -> None:
    body = msgspec.json.encode(Problem(type="unavailable", title="t", status=status))
    line = Line(lambda _: httpx.Response(status, content=body, headers={"content-type": PROBLEM, "retry-after": asked}))
    with pytest.raises(UnreachableError) as found:
        line.deliver()
    assert found.value.retry_after == seconds


def test_an_answer_without_end_is_cut_off() -> None:
    given = {"bytes": 0}

    def endless() -> object:
        while True:
            given["bytes"] += 1 << 16
            yield b" " * (1 << 16)

    line = Line(lambda _: httpx.Response(200, content=endless()))  # type: ignore[arg-type]
    with pytest.raises(UnreachableError):
        line.deliver()
    assert given["bytes"] <= 2 << 20


# Bandwidth


def test_a_body_is_paced_and_arrives_whole_with_its_length() -> None:
    line = Line(lambda _: httpx.Response(200, json=receipt()), bytes_per_second=10_000)
    body = random.Random(1).randbytes(100_000)
    line.deliver(body)
    sent = line.requests[-1]
    assert sent.content == body
    assert sent.headers["content-length"] == "100000"
    assert "transfer-encoding" not in sent.headers
    assert 8.9 <= line.clock.seconds <= 10.1  # one second's worth may leave at once


@given(st.integers(1, 10_000_000), st.lists(st.tuples(st.integers(0, 300_000), st.floats(0, 100)), max_size=8))
def test_in_no_span_of_time_more_leaves_than_the_limit_and_a_second_of_it(
    rate: int, bodies: list[tuple[int, float]]
) -> None:
    clock = Ticking()
    bandwidth = Bandwidth(rate, ticks=clock.ticks, sleep=clock.sleep)
    sent = [(0.0, 0)]
    for size, pause in bodies:
        body = bytes(min(size, rate * 60))
        left = 0
        for piece in bandwidth.pieces(body):
            left += len(piece)
            sent.append((clock.seconds, sent[-1][1] + len(piece)))
        assert left == len(body)
        clock.sleep(pause)
    # From any moment to any later one: what had left less what may have by then, beside the least of that so far.
    ahead = [bytes_left - moment * rate for moment, bytes_left in sent]
    least = itertools.accumulate(ahead, min)
    # A piece may leave once its first byte may.
    assert max(now - before for now, before in zip(ahead, least, strict=True)) <= rate * (1 + 1e-6) + 16_384


def test_deliveries_are_as_large_as_fits_into_some_seconds() -> None:
    bandwidth = Bandwidth(1_000)
    for _ in range(50):
        bandwidth.learn(100, 5_000)
    assert bandwidth.most_events(5_000) in {199, 200}
    assert Bandwidth(1).most_events(5_000) == 1
    assert Bandwidth(0).most_events(5_000) == 5_000


# Proxies


@pytest.mark.parametrize(
    "setting", ["proxy:3128", "ftp://proxy", "http://", "socks5://proxy:1", "http://p/path", "http://p:x"]
)
def test_an_address_that_is_none_of_a_proxy_is_told_without_its_credentials(setting: str) -> None:
    with pytest.raises(ProxySettingError) as found:
        proxy_of(setting.replace("://", "://user:secret-canary@"))
    assert "canary" not in str(found.value)


# The clock


def test_the_offset_is_kept_while_the_clock_runs_and_dropped_once_it_is_set() -> None:
    for wrong in (timedelta(days=-3), timedelta(days=3)):
        time = Ticking()
        time.set_by = wrong
        clock = GatewayClock(time.now, time.ticks)
        clock.learn(NOW)
        assert clock.now() == NOW
        time.sleep(600)
        assert not clock.was_set()
        assert clock.now() == NOW + timedelta(seconds=600)
        time.set_by = timedelta()
        assert clock.was_set()
        assert clock.now() == time.now()
        assert not clock.was_set()


def test_a_clock_that_jumps_while_the_agent_runs_is_told_before_anything_is_judged_by_it() -> None:
    real = Ticking()

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"policy": "p"})

    line = Line(answer)
    line.client.policy()
    asked = len(line.requests)
    line.client.policy()
    assert len(line.requests) == asked + 1
    line.clock.set_by = timedelta(days=-2)
    assert line.client.clock_was_set()
    line.client.policy()
    assert [request.url.path for request in line.requests[-2:]] == ["/v1/token", "/v1/policy"]
    assert real.seconds == 0.0
