"""Each day is told once, in order, in bytes that never change; and what the gateway says keeps nothing else back."""

from __future__ import annotations

import shutil
import tempfile
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import httpx
import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from structlog.testing import capture_logs

from harness import CANARY, INSTANCE
from heliograph.instance.facts import merge_facts
from heliograph.instance.ping_sender import GRACE, MOST_DAYS, PingSender
from heliograph.instance.ping_table import PingTable
from heliograph.instance.state import State
from heliograph.instance.transport import GatewayClient, GatewayRefusalError, UnreachableError
from heliograph.instance.usage import day_number
from heliograph.keys import load_or_create_key
from heliograph.ping import Ping
from heliograph.plan.pings import ping_problems
from heliograph.settings import AgentSettings
from heliograph.wire import PINGS_PATH, TOKEN_PATH, PingAnswer, PingReceipt, Problem
from ping_plan import DAY, PLAN, at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEMORY = Path("/dev/shm")


class StandIn:
    """Stands for `GatewayClient`: takes pings as a gateway must, and fails on command."""

    def __init__(self) -> None:
        self.bodies: list[tuple[date, bytes]] = []
        """All that came, answered or not."""
        self.stored: dict[date, bytes] = {}
        self.trouble: str | int | None = None

    def send_ping(self, body: bytes) -> PingAnswer:
        if self.trouble == "request":
            raise UnreachableError("the request was lost", 7.0)
        ping = msgspec.json.decode(body, type=Ping)
        assert ping_problems(ping, PLAN) == []
        self.bodies.append((ping.day, body))
        if isinstance(self.trouble, int):
            raise GatewayRefusalError(Problem(type="as_the_test_says", title="No.", status=self.trouble))
        duplicate = ping.day in self.stored
        self.stored.setdefault(ping.day, body)
        if self.trouble == "answer":
            raise UnreachableError("the answer was lost")
        receipt = PingReceipt(instance=INSTANCE, day=ping.day, digest="d", agreement=None, received=1)
        return PingAnswer(receipt=receipt, signature="s", duplicate=duplicate)


class Instance:
    """An instance's state and its sender, with a clock that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gateway = StandIn()
        self.now = at(DAY, 12 * 3_600)
        self.may_send = True
        self.failures: list[datetime] = []
        self.open()

    def open(self) -> None:
        self.state = State(self.folder / "agent")
        self.sender = PingSender(
            state=self.state,
            client=self.gateway,  # type: ignore[arg-type] # stands for it
            plan=PLAN,
            outbox=self.folder / "outbox",
            usage_days=90,
            may_send=lambda: self.may_send,
            failed=lambda: self.failures.append(self.now),
            now=lambda: self.now,
        )

    def restart(self) -> None:
        self.state.close()
        self.open()

    def use(self, users: int, day: date) -> None:
        tallied = [(day_number(day), "PageViewed", f"{CANARY}-{user}", 1) for user in range(users)]
        with self.state._connection:
            self.state.usage.add(tallied, sendable=True)

    def days(self) -> list[date]:
        return [day for day, _ in self.gateway.bodies]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    instance = Instance(tmp_path)
    yield instance
    instance.state.close()


def test_a_day_is_told_an_hour_after_it_is_over_and_not_before_the_outbox_is_drained(instance: Instance) -> None:
    instance.use(6, DAY)
    end = at(DAY, 86_400)
    for now in (instance.now, end, end + GRACE - timedelta(seconds=1)):
        instance.now = now
        assert not instance.sender.send_due(caught_up=True)
    assert instance.days() == []
    instance.now = end + GRACE
    assert not instance.sender.send_due(caught_up=False)
    assert instance.days() == []
    assert not instance.sender.send_due(caught_up=True)
    assert instance.days() == [DAY]
    assert not instance.sender.send_due(caught_up=True)
    assert instance.days() == [DAY]
    assert msgspec.json.decode(instance.gateway.stored[DAY], type=Ping).active_users.day == 6
    (kept,) = instance.state.pings.kept()
    assert (kept.body, kept.signature, kept.refused) == (instance.gateway.stored[DAY], "s", None)
    assert kept.receipt is not None
    assert kept.receipt.day == DAY


@pytest.mark.parametrize("trouble", ["request", "answer", 401, 403, 404, 405])
def test_what_is_not_answered_is_repeated_byte_for_byte_even_after_a_restart(
    instance: Instance, trouble: str | int
) -> None:
    assert not instance.sender.send_due(caught_up=True)
    instance.now += timedelta(days=1)
    instance.gateway.trouble = trouble
    assert instance.sender.send_due(caught_up=True)
    came = len(instance.gateway.bodies)
    assert instance.sender.send_due(caught_up=True)  # it waits
    assert len(instance.gateway.bodies) == came
    instance.use(9, DAY)
    instance.restart()
    instance.gateway.trouble = None
    assert not instance.sender.send_due(caught_up=False)  # it was made before
    assert instance.days()[-1] == DAY
    assert len({body for _, body in instance.gateway.bodies}) == 1
    assert msgspec.json.decode(instance.gateway.stored[DAY], type=Ping).active_users.day == 0


def test_the_gateway_is_asked_again_after_as_long_as_it_said(instance: Instance) -> None:
    instance.sender.send_due(caught_up=True)
    instance.now += timedelta(days=1)
    instance.gateway.trouble = "request"
    assert instance.sender.send_due(caught_up=True)
    instance.gateway.trouble = None
    instance.now += timedelta(seconds=6)
    assert instance.sender.send_due(caught_up=True)
    assert instance.days() == []
    instance.now += timedelta(seconds=1)
    assert not instance.sender.send_due(caught_up=True)
    assert instance.days() == [DAY]


def test_a_refusal_for_good_stays_visible_and_keeps_no_later_day_back(instance: Instance) -> None:
    instance.sender.send_due(caught_up=True)
    instance.now += timedelta(days=1)
    instance.gateway.trouble = 422
    with capture_logs() as logs:
        assert not instance.sender.send_due(caught_up=True)
    assert {"event": "a ping is refused for good", "day": "2026-11-01", "reason": "as_the_test_says"}.items() <= logs[
        0
    ].items()
    instance.gateway.trouble = None
    instance.now += timedelta(days=1)
    assert not instance.sender.send_due(caught_up=True)
    assert instance.days() == [DAY, DAY + timedelta(days=1)]
    assert [(kept.settled, kept.refused) for kept in instance.state.pings.kept()] == [
        (True, "as_the_test_says"),
        (True, None),
    ]


def test_after_a_long_absence_the_last_28_days_are_told(instance: Instance) -> None:
    instance.sender.send_due(caught_up=True)
    instance.now += timedelta(days=60)
    instance.sender.send_due(caught_up=True)
    last = DAY + timedelta(days=59)
    assert instance.days() == [last - timedelta(days=ago) for ago in reversed(range(MOST_DAYS))]


def test_a_day_before_the_level_allowed_it_is_never_told_and_off_drops_what_was_not(instance: Instance) -> None:
    instance.use(6, DAY - timedelta(days=1))
    instance.sender.send_due(caught_up=True)
    instance.now += timedelta(days=1)
    instance.gateway.trouble = "request"
    assert instance.sender.send_due(caught_up=True)
    instance.sender.withdraw()
    instance.sender.withdraw()
    instance.now += timedelta(days=3)
    instance.restart()
    instance.gateway.trouble = None
    assert not instance.sender.send_due(caught_up=True)
    assert instance.days() == []
    instance.now += timedelta(days=1)
    assert not instance.sender.send_due(caught_up=True)
    assert instance.days() == [DAY + timedelta(days=4)]


def test_a_clock_that_was_far_ahead_keeps_nothing_back_for_long(instance: Instance) -> None:
    right = instance.now
    instance.now = right + timedelta(days=4_000)
    instance.sender.send_due(caught_up=True)
    instance.now += timedelta(days=1)
    instance.sender.send_due(caught_up=True)
    instance.now = right
    instance.sender.send_due(caught_up=True)
    instance.now += timedelta(days=1)
    instance.sender.send_due(caught_up=True)
    assert instance.days()[-1] == DAY


def test_facts_go_as_the_plan_takes_them_and_the_log_names_no_value_and_nothing_undeclared(instance: Instance) -> None:
    facts = {"version": "5.3.1", "seats": 9_999, "deployment": CANARY, "licence_key": CANARY}
    assert merge_facts(instance.folder / "outbox", facts, now=instance.now)
    instance.sender.send_due(caught_up=True)
    instance.now += timedelta(days=1)
    with capture_logs() as logs:
        instance.sender.send_due(caught_up=True)
    assert msgspec.json.decode(instance.gateway.stored[DAY], type=Ping).facts == {"version": "5.3.1"}
    (log,) = [each for each in logs if each["event"] == "facts left out"]
    assert (log["invalid"], log["undeclared"]) == (["deployment", "seats"], 1)
    assert CANARY not in str(logs)
    assert "9999" not in str(logs)


def test_a_ping_that_breaks_a_rule_is_not_sent(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heliograph.instance.ping.suppressed", lambda users: users)
    instance.use(3, DAY)
    instance.sender.send_due(caught_up=True)
    instance.now += timedelta(days=1)
    assert not instance.sender.send_due(caught_up=True)
    assert instance.days() == []
    (kept,) = instance.state.pings.kept()
    assert kept.refused is not None
    assert kept.refused.startswith("not sent: active_users.day is about fewer than 5 users")


def test_use_is_forgotten_after_the_days_of_the_setting(instance: Instance) -> None:
    instance.use(2, DAY)
    instance.now += timedelta(days=90)
    instance.sender.send_due(caught_up=True)
    assert len(list(instance.state.usage.read(DAY, days=1, sendable_only=False))) == 2
    instance.now += timedelta(days=1)
    instance.sender.send_due(caught_up=True)
    assert not list(instance.state.usage.read(DAY, days=1, sendable_only=False))


def test_the_client_sends_the_very_bytes_under_its_token_and_takes_the_answer(tmp_path: Path) -> None:
    asked: list[httpx.Request] = []
    receipt = PingReceipt(instance=INSTANCE, day=DAY, digest="d", agreement=None, received=1)

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if request.url.path == TOKEN_PATH:
            return httpx.Response(200, json={"access_token": "the-token", "expires_in": 600})
        return httpx.Response(200, content=msgspec.json.encode(PingAnswer(receipt=receipt, signature="s")))

    client = GatewayClient(
        AgentSettings(instance=INSTANCE),
        load_or_create_key(tmp_path / "instance.pem"),
        transport=httpx.MockTransport(answer),
    )
    assert client.send_ping(b'{"format":1}') == PingAnswer(receipt=receipt, signature="s")
    client.close()
    assert [request.url.path for request in asked] == [TOKEN_PATH, PINGS_PATH]
    assert asked[1].content == b'{"format":1}'
    assert asked[1].headers["content-type"] == "application/json"
    assert asked[1].headers["authorization"] == "Bearer the-token"


class KilledError(Exception):
    """The agent was killed here."""


def killing(step: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    def call(*arguments: Any, **fields: Any) -> None:
        if after:
            step(*arguments, **fields)
        raise KilledError

    return call


class Days(RuleBasedStateMachine):
    """An agent that is killed, and a gateway that does not answer, over weeks."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.instance = Instance(self.folder)
        self._allow()

    def _allow(self) -> None:
        self.instance.state.pings.begin(self.instance.now.date())
        self.since = self.instance.state.pings.since()

    def teardown(self) -> None:
        if hasattr(self, "instance"):
            self.instance.state.close()
            shutil.rmtree(self.folder)

    @rule(hours=st.sampled_from([1, 5, 24, 24, 60, 24 * 40]))
    def time_passes(self, hours: int) -> None:
        self.instance.now += timedelta(hours=hours)

    @rule(users=st.integers(0, 8), ago=st.integers(0, 3))
    def use(self, users: int, ago: int) -> None:
        self.instance.use(users, self.instance.now.date() - timedelta(days=ago))

    @rule(
        caught_up=st.booleans(),
        trouble=st.sampled_from([None, None, None, "request", "answer", 403, 422]),
        killed=st.sampled_from([None, None, "put", "settle"]),
        after=st.booleans(),
    )
    def send(self, caught_up: bool, trouble: str | int | None, killed: str | None, after: bool) -> None:
        self.instance.gateway.trouble = trouble
        try:
            if killed is None:
                self.instance.sender.send_due(caught_up=caught_up)
                return
            step = killing(getattr(PingTable, killed), after=after)
            with mock.patch.object(PingTable, killed, autospec=True, side_effect=step):
                self.instance.sender.send_due(caught_up=caught_up)
        except KilledError:
            self.instance.restart()

    @rule()
    @precondition(lambda self: self.instance.now.hour < 12)
    def off_and_on_again(self) -> None:
        self.instance.sender.withdraw()
        self._allow()

    @invariant()
    def days_are_told_in_order_and_each_in_one_form(self) -> None:
        if not hasattr(self, "instance"):
            return
        days = self.instance.days()
        assert days == sorted(days)
        assert len(set(self.instance.gateway.bodies)) == len(set(days))
        assert all(at(day, 86_400) + GRACE <= self.instance.now for day in days)
        assert self.since == self.instance.state.pings.since()
        kept = [each for each in self.instance.state.pings.kept() if not each.settled]
        assert len(kept) <= 1
        assert all(each.day >= (self.since or DAY) for each in kept)

    @invariant()
    def no_day_is_left_out(self) -> None:
        if not hasattr(self, "instance") or self.since is None:
            return
        settled = {each.day for each in self.instance.state.pings.kept() if each.settled}
        told = sorted(day for day in settled if day >= self.since)
        if any(later - day != timedelta(days=1) for day, later in pairwise(told)):
            # Only an absence of more than 28 days leaves some out.
            assert (self.instance.now.date() - self.since).days > MOST_DAYS


Days.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestDays = Days.TestCase


def test_nothing_is_sent_while_the_vendor_has_not_been_heard_a_moment_ago(instance: Instance) -> None:
    instance.sender.send_due(caught_up=True)
    instance.now += timedelta(days=1)
    instance.may_send = False
    assert instance.sender.send_due(caught_up=True)
    assert instance.days() == []
    instance.may_send = True
    assert not instance.sender.send_due(caught_up=True)
    assert len(instance.days()) == 1
