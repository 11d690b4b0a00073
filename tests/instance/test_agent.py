"""The agent with a real gateway and a real table: it sends what may leave now, and nothing keeps it from the rest."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from harness import INSTANCE, Vendor
from heliograph.consent.level import Level
from heliograph.event import UNDECLARED, Verdict
from heliograph.instance.account import read_account
from heliograph.instance.agent import Agent, Left
from heliograph.instance.outbox import EpochWriter
from heliograph.instance.recorder import Recorder
from heliograph.instance.state import State
from heliograph.instance.transport import TransportError, UnreachableError
from heliograph.ping import ActiveUsers, FeatureUse, Ping
from heliograph.settings import EventLogsSettings
from heliograph.wire import PingAnswer
from product_database import PLAN, insert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from heliograph.instance.account import InstanceAccount
    from heliograph.settings import Settings
    from product_database import ProductDatabase


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Vendor]:
    folder = tmp_path / "vendor"
    folder.mkdir()
    with Vendor(folder, plan=PLAN).running() as vendor:
        yield vendor


@pytest.fixture
def given(vendor: Vendor, product: ProductDatabase, tmp_path: Path) -> Settings:
    settings = vendor.agent_settings(tmp_path / "instance")
    section = product.settings(linger_seconds=0.05, pause_seconds=0.05)
    return msgspec.structs.replace(settings, event_logs=section)


def account_of(settings: Settings, folder: Path) -> InstanceAccount:
    state = State(folder / "instance" / "agent", exclusive=False)
    account = read_account(state, folder / "instance" / "outbox", PLAN)
    state.close()
    assert account.closes(), account
    return account


def failing(whole: Callable[..., Any], errors: list[Exception]) -> Callable[..., Any]:
    """Return `whole`, failing once with each of `errors`."""

    def call(*arguments: Any, **fields: Any) -> Any:
        if errors:
            raise errors.pop()
        return whole(*arguments, **fields)

    return call


def run_until(agent: Agent, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        try:
            if agent.round() is not Left.MORE:
                time.sleep(0.05)
        except TransportError:
            time.sleep(0.05)


def test_rows_of_the_table_and_recorded_events_both_arrive_and_a_drained_agent_ends(
    vendor: Vendor, product: ProductDatabase, given: Settings, tmp_path: Path
) -> None:
    writer = product.connect()
    for _ in range(12):
        insert(writer)
    insert(writer, name="Unheard")
    recorder = Recorder(given.recorder)
    recorder.record("Opened", user=7, number=1_000)
    agent = Agent(given, PLAN)
    agent.run(threading.Event(), until_drained=True)
    agent.close()
    recorder.close()
    account = account_of(given, tmp_path)
    assert account.delivered == {"Opened": 13}
    assert account.dropped == {UNDECLARED: {Verdict.UNDECLARED_EVENT: 1}}
    with vendor.http() as http:
        assert http.get("/v1/account").json()["accepted"] == {"Opened": 13}
    assert b"canary" not in vendor.stored_bytes()
    assert b"insert-" not in vendor.stored_bytes()


def test_a_drained_agent_waits_for_a_row_whose_transaction_is_still_open(
    product: ProductDatabase, given: Settings, tmp_path: Path
) -> None:
    late = product.begin()
    insert(late)
    insert(product.connect())

    def run() -> None:
        agent = Agent(given, PLAN)
        agent.run(threading.Event(), until_drained=True)
        agent.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(1.0)
    assert thread.is_alive()
    late.commit()
    thread.join(20)
    assert not thread.is_alive()
    assert account_of(given, tmp_path).delivered == {"Opened": 2}


def test_an_error_of_the_disk_keeps_nothing_from_being_sent_and_passes(
    product: ProductDatabase, given: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(product.connect())
    recorder = Recorder(given.recorder)
    recorder.record("Opened", user=7, number=1)
    errors: list[Exception] = [OSError("no disk"), OSError("no disk"), sqlite3.OperationalError("disk is full")]

    monkeypatch.setattr(State, "begin", failing(State.begin, errors))
    monkeypatch.setattr(EpochWriter, "append", failing(EpochWriter.append, [OSError("no disk")]))
    agent = Agent(given, PLAN, jitter=lambda: 0.0)
    agent.run(threading.Event(), until_drained=True)
    agent.close()
    recorder.close()
    assert not errors
    assert account_of(given, tmp_path).delivered == {"Opened": 2}


def test_an_agent_that_starts_again_reads_on_where_it_stood(
    product: ProductDatabase, given: Settings, tmp_path: Path
) -> None:
    writer = product.connect()
    for round_ in range(1, 4):
        for _ in range(5):
            insert(writer)
        agent = Agent(given, PLAN)
        agent.run(threading.Event(), until_drained=True)
        agent.close()
        assert account_of(given, tmp_path).delivered == {"Opened": 5 * round_}


def test_a_database_that_does_not_answer_keeps_nothing_else_from_being_sent(given: Settings, tmp_path: Path) -> None:
    broken = msgspec.structs.replace(given.event_logs, dsn="host=127.0.0.1 port=1 connect_timeout=2")
    settings = msgspec.structs.replace(given, event_logs=broken)
    recorder = Recorder(settings.recorder)
    recorder.record("Opened", user=7, number=1)
    agent = Agent(settings, PLAN)
    assert agent.round() is Left.MORE
    assert agent.round() is Left.SOME  # it is not drained: there may be rows
    agent.close()
    recorder.close()
    assert account_of(settings, tmp_path).delivered == {"Opened": 1}


def narrow(vendor: Vendor, level: Level) -> None:
    with vendor.registry() as registry:
        registry.set_override(INSTANCE, level, reason="the customer asked")
    time.sleep(1.2)  # the gateway looks twice a second


def used(folder: Path) -> int:
    """How many events the instance counts as use, of whatever it may send."""
    with closing(State(folder / "instance" / "agent", exclusive=False)) as state:
        today = datetime.now(UTC).date()
        return sum(use.events for use in state.usage.read(today, days=20_000, sendable_only=True))


def test_when_the_vendor_says_off_what_is_queued_is_dropped_and_the_table_left_alone(
    vendor: Vendor, product: ProductDatabase, given: Settings, tmp_path: Path
) -> None:
    recorder = Recorder(given.recorder)
    recorder.record("Opened", user=7, number=1)
    agent = Agent(given, PLAN)
    run_until(agent, lambda: account_of(given, tmp_path).delivered == {"Opened": 1})
    narrow(vendor, Level.OFF)
    insert(product.connect())
    recorder.record("Opened", user=7, number=2)
    run_until(agent, lambda: account_of(given, tmp_path).dropped != {})
    assert agent.decide().level is Level.OFF
    before = account_of(given, tmp_path)
    assert set(before.dropped["Opened"]) == {Verdict.NOT_PERMITTED}
    insert(product.connect())
    time.sleep(0.1)  # longer than the pause between looks at the table
    assert agent.round() is Left.NOTHING
    assert account_of(given, tmp_path).recorded == before.recorded
    assert used(tmp_path) == 1
    agent.close()
    recorder.close()
    stored = [entry.receipt for entry, _ in vendor.entries()]
    assert sum(sum(receipt.accepted.values()) for receipt in stored) == 1


def test_at_level_critical_the_table_is_read_and_counted_and_nothing_leaves_but_the_ping(
    vendor: Vendor, product: ProductDatabase, given: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow(vendor, Level.CRITICAL)
    clock = {"ahead": timedelta()}
    agent = Agent(given, PLAN, now=lambda: datetime.now(UTC) + clock["ahead"])
    pings: list[bytes] = []

    def send_ping(body: bytes) -> PingAnswer:
        pings.append(body)
        return PingAnswer(receipt=None, duplicate=True)

    monkeypatch.setattr(agent._client, "send_ping", send_ping)
    today = datetime.now(UTC).date()
    writer = product.connect()
    for user in range(1, 7):
        insert(writer, user_id=user, timestamp=datetime.now(UTC))
    recorder = Recorder(given.recorder)
    recorder.record("Opened", user="canary", number=1)
    assert recorder.report_facts(version="5.3.1")
    run_until(agent, lambda: used(tmp_path) == 7)
    assert agent.decide().level is Level.CRITICAL
    assert account_of(given, tmp_path).dropped == {"Opened": {Verdict.NOT_PERMITTED: 7}}
    assert pings == []
    clock["ahead"] = timedelta(days=1, hours=2)
    run_until(agent, lambda: pings != [])
    agent.close()
    recorder.close()
    ping = msgspec.json.decode(pings[0], type=Ping)
    assert ping.active_users == ActiveUsers(day=7, week=7, month=7)
    assert ping.day in {today, today + timedelta(days=1)}
    assert ping.features == {"files": FeatureUse(users=7, events=7)}
    assert b"canary" not in pings[0]
    assert vendor.entries() == []
    assert b"canary" not in vendor.stored_bytes()


def test_a_gateway_that_takes_no_pings_keeps_no_event_back(
    vendor: Vendor, given: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = msgspec.structs.replace(given, event_logs=EventLogsSettings())
    with closing(State(tmp_path / "instance" / "agent")) as state:
        state.pings.begin(datetime.now(UTC).date() - timedelta(days=3))
    agent = Agent(settings, PLAN)

    def send_ping(body: bytes) -> PingAnswer:
        raise UnreachableError("not now")

    monkeypatch.setattr(agent._client, "send_ping", send_ping)
    recorder = Recorder(settings.recorder)
    recorder.record("Opened", user=7, number=1)
    assert agent.round() is Left.MORE
    assert agent.round() is Left.SOME  # the pings wait
    recorder.record("Opened", user=7, number=2)
    assert agent.round() is Left.MORE
    agent.close()
    recorder.close()
    assert account_of(settings, tmp_path).delivered == {"Opened": 2}
    with closing(State(tmp_path / "instance" / "agent", exclusive=False)) as state:
        assert [each.settled for each in state.pings.kept()] == [False]


def test_a_policy_that_has_expired_holds_events_back_and_drops_none(
    vendor: Vendor, given: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = {"now": datetime.now(UTC)}
    agent = Agent(given, PLAN, now=lambda: moments["now"])
    run_until(agent, lambda: agent.decide().level is Level.EVENTS)
    recorder = Recorder(given.recorder)
    recorder.record("Opened", user=7, number=1)
    moments["now"] = datetime.fromtimestamp(moments["now"].timestamp() + 4_000, UTC)

    def unreachable(*_: Any, **__: Any) -> Any:
        raise TransportError("no way there")

    with monkeypatch.context() as patch:
        patch.setattr(agent._client, "policy", unreachable)
        with pytest.raises(TransportError):
            agent.round()
    assert account_of(given, tmp_path).pending == {"Opened": 1}
    moments["now"] = datetime.now(UTC)
    run_until(agent, lambda: account_of(given, tmp_path).delivered == {"Opened": 1})
    agent.close()
    recorder.close()
