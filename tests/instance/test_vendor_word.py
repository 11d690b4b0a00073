"""When the agent asks the vendor, and what it believes: nothing leaves on a word that is old, or not the vendor's."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import signing
from harness import INSTANCE, SMALL_PLAN, Vendor, told
from heliograph.consent.level import Level
from heliograph.consent.policy import Doubt
from heliograph.demo.home import free_port
from heliograph.event import Verdict
from heliograph.gateway.rotation import rotate_key
from heliograph.instance.account import read_account
from heliograph.instance.agent import Agent, Left
from heliograph.instance.https import tls_context
from heliograph.instance.recorder import Recorder
from heliograph.instance.state import State
from heliograph.instance.transport import GatewayClient, TransportError
from heliograph.instance.vendor_word import FRESH_SECONDS, IDLE_PART
from heliograph.keys import load_or_create_key, public_key_text
from heliograph.settings import AgentSettings, RecorderSettings, Settings
from heliograph.wire import EVENTS_PATH, KEYS_PATH, PLAN_PATH, POLICY_PATH, TOKEN_PATH, KeysAnswer, PolicyAnswer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.instance.account import InstanceAccount


class Clock:
    """Both clocks of an agent: the one on the wall, and the one that nobody sets."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.set_by = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead + self.set_by)

    def ticks(self) -> float:
        return time.monotonic() + self.ahead


class Wire(httpx.BaseTransport):
    """The way to the gateway: it counts what goes over it, and can be cut."""

    def __init__(self, beneath: httpx.BaseTransport) -> None:
        self.beneath = beneath
        self.is_cut = False
        self.requests: list[tuple[str, int]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.is_cut:
            raise httpx.ConnectError("no way there", request=request)
        self.requests.append((request.url.path, len(request.read())))
        return self.beneath.handle_request(request)

    def close(self) -> None:
        self.beneath.close()

    def paths(self) -> list[str]:
        """Which addresses were asked since the last time, but for tokens."""
        paths = [path for path, _ in self.requests if path != TOKEN_PATH]
        self.requests.clear()
        return paths

    def event_bytes(self) -> int:
        return sum(size for path, size in self.requests if path == EVENTS_PATH)


class Instance:
    """An instance's end, whose clocks and network a test moves."""

    def __init__(self, settings: Settings, beneath: httpx.BaseTransport) -> None:
        self.settings = settings
        self.clock = Clock()
        self.wire = Wire(beneath)
        self.recorder = Recorder(settings.recorder)
        self.start()

    def start(self) -> None:
        key = load_or_create_key(Path(self.settings.agent.key))
        client = GatewayClient(
            self.settings.agent, key, now=self.clock.now, ticks=self.clock.ticks, transport=self.wire
        )
        self.agent = Agent(
            self.settings, SMALL_PLAN, now=self.clock.now, ticks=self.clock.ticks, client=client, environment={}
        )

    def restart(self) -> None:
        self.agent._state.close()
        self.start()

    def close(self) -> None:
        self.recorder.close()
        self.agent.close()

    def record(self) -> None:
        assert self.recorder.record("PageViewed", user=1)

    def account(self) -> InstanceAccount:
        with closing(State(Path(self.settings.agent.state), exclusive=False)) as state:
            account = read_account(state, Path(self.settings.recorder.outbox), SMALL_PLAN)
        assert account.closes(), account
        return account


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Vendor]:
    (tmp_path / "vendor").mkdir()
    with Vendor(tmp_path / "vendor").running() as vendor:
        yield vendor


@pytest.fixture
def instance(vendor: Vendor, tmp_path: Path) -> Iterator[Instance]:
    verify = tls_context(str(vendor.authority_file))
    instance = Instance(vendor.agent_settings(tmp_path / "instance"), httpx.HTTPTransport(verify=verify))
    yield instance
    instance.close()


def narrow(vendor: Vendor, level: Level) -> None:
    """Narrow the level in the registry, and wait until the gateway knows."""
    with vendor.registry() as registry:
        registry.set_override(INSTANCE, level, reason="the customer asked")
    end = time.monotonic() + 20
    with vendor.http() as http:
        while told(http.get(POLICY_PATH)).level != str(level):
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.mark.parametrize("level", [Level.CRITICAL, Level.OFF])
def test_what_was_narrowed_while_the_instance_was_offline_holds_before_any_byte_of_an_event(
    vendor: Vendor, instance: Instance, level: Level
) -> None:
    instance.record()
    assert instance.agent.round() is Left.MORE
    assert instance.wire.event_bytes() > 0
    instance.wire.is_cut = True
    for _ in range(3):
        instance.record()
        with pytest.raises(TransportError):
            instance.agent.round()
    narrow(vendor, level)
    instance.wire.is_cut = False
    instance.wire.requests.clear()
    assert instance.agent.round() is Left.NOTHING
    assert instance.wire.event_bytes() == 0
    assert instance.wire.paths() == [POLICY_PATH]
    account = instance.account()
    assert account.dropped == {"PageViewed": {Verdict.NOT_PERMITTED: 3}}
    assert (account.delivered, account.pending) == ({"PageViewed": 1}, {})
    assert len(vendor.entries()) == 1


def test_an_idle_instance_that_did_not_notice_it_was_offline_asks_before_it_sends(
    vendor: Vendor, instance: Instance
) -> None:
    assert instance.agent.round() is Left.NOTHING
    instance.wire.is_cut = True
    narrow(vendor, Level.CRITICAL)
    instance.clock.ahead += FRESH_SECONDS
    assert instance.agent.round() is Left.NOTHING  # it has nothing to send, and asks nobody
    instance.wire.is_cut = False
    instance.wire.requests.clear()
    instance.record()
    assert instance.agent.round() is Left.NOTHING
    assert instance.wire.event_bytes() == 0
    assert instance.account().dropped == {"PageViewed": {Verdict.NOT_PERMITTED: 1}}


def test_a_word_of_a_moment_ago_is_not_asked_for_again(instance: Instance) -> None:
    instance.record()
    instance.agent.round()
    assert instance.wire.paths() == [POLICY_PATH, EVENTS_PATH]
    instance.record()
    instance.agent.round()
    assert instance.wire.paths() == [EVENTS_PATH]
    instance.clock.ahead += FRESH_SECONDS
    instance.record()
    instance.agent.round()
    assert instance.wire.paths() == [POLICY_PATH, EVENTS_PATH]


def test_each_delivery_of_a_round_needs_a_word_of_a_moment_ago(
    vendor: Vendor, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Recorder(instance.settings.recorder)
    other.record("PageViewed", user=2)
    other.close()
    instance.record()
    whole = GatewayClient.deliver

    def slow(*arguments: Any, **fields: Any) -> Any:
        instance.clock.ahead += FRESH_SECONDS
        return whole(*arguments, **fields)

    monkeypatch.setattr(GatewayClient, "deliver", slow)
    instance.agent.round()
    assert instance.wire.paths() == [POLICY_PATH, EVENTS_PATH, POLICY_PATH, EVENTS_PATH]


@pytest.mark.parametrize("set_by", [0.0, -3_600.0])
def test_an_idle_agent_asks_after_a_tenth_of_the_time_whatever_the_clock_is_set_to(
    instance: Instance, set_by: float
) -> None:
    instance.agent.round()
    instance.wire.paths()
    part = 3_600 / IDLE_PART
    instance.clock.ahead += part - 5
    instance.agent.round()
    assert instance.wire.paths() == []
    instance.clock.ahead += 5
    instance.clock.set_by = set_by
    instance.agent.round()
    assert instance.wire.paths() == [POLICY_PATH]


def test_after_any_request_that_failed_the_next_round_asks_first(instance: Instance) -> None:
    instance.record()
    instance.agent.round()
    instance.wire.paths()
    instance.record()
    instance.wire.is_cut = True
    with pytest.raises(TransportError):
        instance.agent.round()
    instance.wire.is_cut = False
    instance.agent.round()
    assert instance.wire.paths() == [POLICY_PATH, EVENTS_PATH]


def test_a_new_key_is_followed_from_the_pinned_one_and_asked_for_once(tmp_path: Path) -> None:
    (tmp_path / "vendor").mkdir()
    vendor = Vendor(tmp_path / "vendor", port=free_port())
    verify = tls_context(str(vendor.authority_file))
    with vendor.running():
        instance = Instance(vendor.agent_settings(tmp_path / "instance"), httpx.HTTPTransport(verify=verify))
        instance.record()
        instance.agent.round()
        assert instance.wire.paths() == [POLICY_PATH, EVENTS_PATH]
        instance.wire.close()
    for number in range(2):
        rotate_key(vendor.signing_key, now=float(number))
    instance.clock.ahead += FRESH_SECONDS
    with vendor.running():
        instance.wire.beneath = httpx.HTTPTransport(verify=verify)
        instance.record()
        instance.agent.round()
        # The token of the old key is refused once, and a new one is got by itself.
        assert instance.wire.paths() == [POLICY_PATH, POLICY_PATH, KEYS_PATH, EVENTS_PATH]
        instance.clock.ahead += FRESH_SECONDS
        instance.record()
        instance.agent.round()
        assert instance.wire.paths() == [POLICY_PATH, EVENTS_PATH]
        instance.restart()
        instance.record()
        instance.agent.round()
        assert instance.wire.paths() == [POLICY_PATH, EVENTS_PATH]
        assert instance.account().delivered == {"PageViewed": 4}
        # The pin goes, and with it all that hangs on it; events wait.
        vendor.vendor_keys.write_text(public_key_text(Ed25519PrivateKey.generate()))
        instance.clock.ahead += FRESH_SECONDS
        instance.record()
        assert instance.agent.round() is Left.SOME
        assert EVENTS_PATH not in instance.wire.paths()
        assert instance.account().pending == {"PageViewed": 1}
        # The new key itself is pinned.
        vendor.vendor_keys.write_text(public_key_text(load_or_create_key(vendor.signing_key)))
        instance.clock.ahead += 60
        instance.agent.round()
        assert instance.account().delivered == {"PageViewed": 5}
        instance.close()


class Stub(httpx.BaseTransport):
    """A gateway that says whatever a test wants."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.policy = ""
        self.endorsements: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == TOKEN_PATH:
            return httpx.Response(200, content=b'{"access_token": "t", "expires_in": 600}')
        if request.url.path == POLICY_PATH:
            return httpx.Response(200, content=msgspec.json.encode(PolicyAnswer(policy=self.policy)))
        if request.url.path == KEYS_PATH:
            answer = KeysAnswer(key=public_key_text(self.key), endorsements=self.endorsements)
            return httpx.Response(200, content=msgspec.json.encode(answer))
        if request.url.path == PLAN_PATH:
            return httpx.Response(200, content=b"{}")
        return httpx.Response(503)


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture
def told_lies(stub: Stub, tmp_path: Path) -> Iterator[Instance]:
    """An instance whose gateway is a stub, with one event waiting."""
    pins = tmp_path / "vendor.keys"
    pins.write_text(public_key_text(stub.key))
    settings = Settings(
        recorder=RecorderSettings(outbox=str(tmp_path / "outbox")),
        agent=AgentSettings(
            gateway="https://localhost:1",
            instance=INSTANCE,
            key=str(tmp_path / "instance.pem"),
            vendor_keys=str(pins),
            state=str(tmp_path / "agent"),
        ),
    )
    instance = Instance(settings, stub)
    instance.record()
    yield instance
    instance.close()


def good(stub: Stub, **fields: Any) -> str:
    return signing.policy(stub.key, **{"issued": int(time.time()), "valid_seconds": 3_600, **fields})


def refused(instance: Instance) -> str:
    """Do a round in which nothing may leave and nothing is lost, and return why."""
    assert instance.agent.round() is Left.SOME
    assert EVENTS_PATH not in instance.wire.paths()
    assert instance.account().pending == {"PageViewed": 1}
    decision = instance.agent.decide()
    assert decision.level is Level.OFF
    return " ".join(decision.reasons)


def would_send(instance: Instance) -> bool:
    """Do a round, and tell whether an event left for the gateway, which takes none."""
    with pytest.raises(TransportError):
        instance.agent.round()
    return EVENTS_PATH in instance.wire.paths()


def lies(stub: Stub) -> dict[Doubt, str]:
    honest = good(stub)
    header, payload, signature = honest.split(".")
    now = int(time.time())
    return {
        Doubt.MALFORMED: "nothing",
        Doubt.UNKNOWN_KEY: good(Stub()),
        Doubt.WRONG_SIGNATURE: f"{header}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        Doubt.OTHER_INSTANCE: good(stub, instance="acme-2"),
        Doubt.FROM_THE_FUTURE: good(stub, issued=now + 400),
        Doubt.EXPIRED: good(stub, valid_seconds=0),
        Doubt.UNKNOWN_LEVEL: good(stub, level="everything"),
        Doubt.NO_AGREEMENT: good(stub, agreement=None),
        Doubt.UNREADABLE_PLAN: good(stub, plan_digest=hashlib.sha256(b"{}").hexdigest()),
    }


@pytest.mark.parametrize(
    "doubt", [each for each in Doubt if each not in (Doubt.NO_PIN, Doubt.REPLAYED, Doubt.CLOCK_SET_BACK)]
)
def test_a_doubt_lets_nothing_leave_and_nothing_go_until_a_good_word_is_heard(
    stub: Stub, told_lies: Instance, doubt: Doubt
) -> None:
    stub.policy = lies(stub)[doubt]
    why = refused(told_lies)
    assert doubt.sentence in why
    assert doubt.remedy in why
    stub.policy = good(stub)
    told_lies.clock.ahead += 1
    assert would_send(told_lies)


def test_a_doubt_ends_what_was_allowed_before(stub: Stub, told_lies: Instance) -> None:
    stub.policy = good(stub)
    assert would_send(told_lies)
    stub.policy = lies(stub)[Doubt.WRONG_SIGNATURE]
    assert Doubt.WRONG_SIGNATURE.sentence in refused(told_lies)
    told_lies.restart()
    assert Doubt.WRONG_SIGNATURE.sentence in refused(told_lies)


def test_without_a_pin_nobody_is_asked_and_events_wait(stub: Stub, told_lies: Instance) -> None:
    stub.policy = good(stub)
    pins = Path(told_lies.settings.agent.vendor_keys)
    kept = pins.read_text()
    pins.unlink()
    assert told_lies.agent.round() is Left.SOME
    assert told_lies.wire.requests == []
    assert Doubt.NO_PIN.sentence in refused(told_lies)
    pins.write_text(kept)
    told_lies.clock.ahead += 1
    assert would_send(told_lies)


def test_an_agent_in_doubt_asks_ever_more_rarely(stub: Stub, told_lies: Instance) -> None:
    stub.policy = "nothing"
    for _ in range(600):
        told_lies.agent.round()
        told_lies.clock.ahead += 1
    assert 10 < told_lies.wire.paths().count(POLICY_PATH) < 25


def test_an_older_policy_is_refused_also_after_a_restart(stub: Stub, told_lies: Instance) -> None:
    older, newer = good(stub, issued=int(time.time()) - 5), good(stub)
    stub.policy = newer
    assert would_send(told_lies)
    stub.policy = older
    assert Doubt.REPLAYED.sentence in refused(told_lies)
    told_lies.restart()
    assert Doubt.REPLAYED.sentence in refused(told_lies)
    stub.policy = newer
    told_lies.clock.ahead += 60
    assert would_send(told_lies)


def test_an_unknown_level_makes_what_was_allowed_before_a_repetition(stub: Stub, told_lies: Instance) -> None:
    allowed = good(stub, issued=int(time.time()) - 5)
    stub.policy = allowed
    assert would_send(told_lies)
    stub.policy = good(stub, level="everything")
    assert Doubt.UNKNOWN_LEVEL.sentence in refused(told_lies)
    told_lies.restart()
    stub.policy = allowed
    assert Doubt.REPLAYED.sentence in refused(told_lies)


def test_what_was_heard_before_a_restart_is_verified_again_from_its_bytes(stub: Stub, told_lies: Instance) -> None:
    stub.policy = good(stub)
    assert would_send(told_lies)
    told_lies.restart()
    vendor = told_lies.agent._vendor
    assert vendor.policy is not None
    assert (vendor.policy.level, vendor.doubt) == (Level.EVENTS, None)
    with closing(sqlite3.connect(Path(told_lies.settings.agent.state) / "agent.db")) as database, database:
        database.execute("update policy set policy = ?", (lies(stub)[Doubt.WRONG_SIGNATURE],))
    told_lies.restart()
    vendor = told_lies.agent._vendor
    assert (vendor.policy, vendor.doubt) == (None, Doubt.WRONG_SIGNATURE)
    # Whatever was kept, nothing leaves before the vendor was asked.
    told_lies.wire.paths()
    told_lies.wire.is_cut = True
    with pytest.raises(TransportError):
        told_lies.agent.round()
    assert told_lies.wire.requests == []


def test_a_policy_expires_although_the_clock_was_set_back(stub: Stub, told_lies: Instance) -> None:
    stub.policy = good(stub, valid_seconds=100)
    assert would_send(told_lies)
    told_lies.agent._vendor.refresh(sending=True)
    told_lies.clock.ahead += 100
    told_lies.clock.set_by = -99.0
    word = told_lies.agent._vendor.word()
    assert word is not None
    assert word.level is Level.OFF
    assert Doubt.EXPIRED.sentence in word.reasons[0]


def test_the_vendors_no_purges_and_its_silence_does_not(stub: Stub, told_lies: Instance) -> None:
    told_lies.wire.is_cut = True
    with pytest.raises(TransportError):
        told_lies.agent.round()
    assert told_lies.account().pending == {"PageViewed": 1}
    told_lies.wire.is_cut = False
    stub.policy = good(stub, level="off", agreement=None)
    assert told_lies.agent.round() is Left.NOTHING
    assert told_lies.account().dropped == {"PageViewed": {Verdict.NOT_PERMITTED: 1}}
