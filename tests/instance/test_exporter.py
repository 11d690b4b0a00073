"""The exporter against a real gateway over TLS: everything once, with random ids, and nothing that may not leave."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow as pa
import pytest
import zstandard

from harness import CANARY, INSTANCE, SMALL_PLAN, Vendor
from heliograph.event import UNDECLARED, Verdict
from heliograph.instance.account import read_account
from heliograph.instance.exporter import Exporter
from heliograph.instance.outbox import EpochWriter
from heliograph.instance.outbox_reading import read_epochs
from heliograph.instance.recorder import Recorder
from heliograph.instance.state import State, StateError
from heliograph.instance.transport import GatewayClient, UnreachableError
from heliograph.keys import load_or_create_key, public_key_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.instance.account import InstanceAccount
    from heliograph.settings import Settings


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Vendor]:
    folder = tmp_path / "vendor"
    folder.mkdir()
    with Vendor(folder).running() as vendor:
        yield vendor


class Instance:
    """An instance's end: a recorder, and an exporter that can be made anew as after a restart."""

    def __init__(self, vendor: Vendor, folder: Path, **agent: Any) -> None:
        self.settings: Settings = vendor.agent_settings(folder, **agent)
        self.recorder = Recorder(self.settings.recorder, version="5.3.1", source="web")
        self.folder = folder
        self._open()

    def _open(self) -> None:
        self.state = State(Path(self.settings.agent.state))
        self.client = GatewayClient(self.settings.agent, load_or_create_key(Path(self.settings.agent.key)))
        self.exporter = Exporter(
            agent=self.settings.agent,
            recorder=self.settings.recorder,
            plan=SMALL_PLAN,
            state=self.state,
            client=self.client,
        )

    def restart(self) -> None:
        self.close()
        self._open()

    def close(self) -> None:
        self.client.close()
        self.state.close()

    def drain(self) -> None:
        while self.exporter.deliver_round():
            pass

    def account(self) -> InstanceAccount:
        account = read_account(self.state, self.folder / "outbox", SMALL_PLAN)
        assert account.closes(), account
        return account


@pytest.fixture
def instance(vendor: Vendor, tmp_path: Path) -> Iterator[Instance]:
    instance = Instance(vendor, tmp_path / "instance", batch_events=50)
    yield instance
    instance.recorder.close()
    instance.close()


def stored(vendor: Vendor) -> list[dict[str, Any]]:
    """All events in the log, each with its epoch."""
    rows: list[dict[str, Any]] = []
    for entry, body in vendor.entries():
        content = zstandard.ZstdDecompressor().decompress(body)
        batch = pa.ipc.open_stream(content).read_next_batch()
        rows += [row | {"epoch": entry.receipt.epoch} for row in batch.to_pylist()]
    return rows


def test_what_was_recorded_arrives_once_and_users_are_random_ids(vendor: Vendor, instance: Instance) -> None:
    for number in range(240):
        user = f"real-user-{number % 7}"
        instance.recorder.record(
            "SearchSubmitted", user=user, session=f"real-session-{number % 13}", duration_ms=number
        )
    instance.drain()
    rows = stored(vendor)
    assert sorted(row["duration_ms"] for row in rows) == list(range(240))
    assert len({row["user_id"] for row in rows}) == 7
    assert all("session_id" not in row for row in rows)  # nobody asks for it
    by_user = {(row["duration_ms"] % 7, row["user_id"]) for row in rows}
    assert len(by_user) == 7  # one user, one id, over all batches
    assert b"real-user" not in vendor.stored_bytes()
    assert b"real-session" not in vendor.stored_bytes()
    assert instance.account().delivered == {"SearchSubmitted": 240}


def test_random_ids_stay_the_same_after_a_restart_and_follow_from_nothing(
    vendor: Vendor, instance: Instance, tmp_path: Path
) -> None:
    instance.recorder.record("PageViewed", user=1)
    instance.drain()
    instance.restart()
    instance.recorder.record("PageViewed", user=1)
    instance.drain()
    assert len({row["user_id"] for row in stored(vendor)}) == 1
    other = Instance(vendor, tmp_path / "other")
    other.recorder.record("PageViewed", user=1)
    other.drain()
    assert len({row["user_id"] for row in stored(vendor)}) == 2
    other.recorder.close()
    other.close()


def test_what_the_plan_does_not_allow_stays_on_the_instance_and_is_accounted_for_at_both_ends(
    vendor: Vendor, instance: Instance
) -> None:
    record = instance.recorder.record
    record("SearchSubmitted", user=1, duration_ms=1)
    record("Unheard", user=1)
    record("SearchSubmitted", user=1, query=CANARY, duration_ms=2)
    record("SearchSubmitted", user=1, pattern_type=CANARY)
    record("SearchSubmitted", user=1, duration_ms=10**30)
    record("SearchSubmitted", user=1, duration_ms="long")
    record("PageViewed", user=1, outcome=CANARY)
    record("PageViewed", user=1, source=CANARY)
    record("PageViewed", user=1, time=datetime.now(UTC) + timedelta(days=1))
    record("PageViewed", user=1)
    instance.drain()
    account = instance.account()
    assert account.delivered == {"SearchSubmitted": 2, "PageViewed": 1}
    assert account.dropped == {
        UNDECLARED: {Verdict.UNDECLARED_EVENT: 1},
        "SearchSubmitted": {Verdict.INVALID_PROPERTY: 3},
        "PageViewed": {Verdict.INVALID_ENVELOPE: 2, Verdict.FUTURE_TIME: 1},
    }
    theirs = instance.client.account()
    assert (theirs.accepted, theirs.absent, theirs.rejected) == (account.delivered, account.dropped, {})
    assert dict(instance.exporter.stripped) == {"SearchSubmitted": 1}
    assert CANARY.encode() not in vendor.stored_bytes()


def test_a_fraction_is_no_integer_and_an_integer_is_a_number(vendor: Vendor, instance: Instance) -> None:
    instance.recorder.record("SearchSubmitted", user=1, duration_ms=41.5)
    instance.recorder.record("SearchSubmitted", user=1, share=1)
    instance.drain()
    assert [row["share"] for row in stored(vendor)] == [1.0]
    assert instance.account().dropped == {"SearchSubmitted": {Verdict.INVALID_PROPERTY: 1}}


def test_finished_epochs_disappear_once_they_are_delivered(vendor: Vendor, instance: Instance) -> None:
    for _ in range(3):
        for _ in range(60):
            instance.recorder.record("PageViewed", user=1)
        instance.recorder.close()
    assert len(read_epochs(instance.folder / "outbox")) == 3
    instance.drain()
    instance.exporter.deliver_round()
    assert read_epochs(instance.folder / "outbox") == []
    assert instance.account().delivered == {"PageViewed": 180}


def deliver_and_lose_the_answer(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    really = GatewayClient.deliver

    def lose_the_answer(self: GatewayClient, **delivery: Any) -> Any:
        really(self, **delivery)
        raise UnreachableError("the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr(GatewayClient, "deliver", lose_the_answer)
        with pytest.raises(UnreachableError):
            instance.exporter.deliver_round()


def test_a_lost_answer_is_asked_for_again_and_nothing_counts_twice(
    vendor: Vendor, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(120):
        instance.recorder.record("SearchSubmitted", user=1, duration_ms=number)
    deliver_and_lose_the_answer(instance, monkeypatch)
    for number in range(120, 150):
        instance.recorder.record("SearchSubmitted", user=1, duration_ms=number)
    instance.restart()
    instance.drain()
    assert sorted(row["duration_ms"] for row in stored(vendor)) == list(range(150))
    assert instance.account().delivered == {"SearchSubmitted": 150}


def test_purged_events_never_leave_and_both_ends_say_why(vendor: Vendor, instance: Instance) -> None:
    record = instance.recorder.record
    for number in range(80):
        record("SearchSubmitted", user=1, duration_ms=number)
    instance.exporter.deliver_round()
    record("Unheard", user=1)
    assert instance.exporter.purge() == 31
    assert instance.account().dropped == {
        "SearchSubmitted": {Verdict.NOT_PERMITTED: 30},
        UNDECLARED: {Verdict.NOT_PERMITTED: 1},
    }
    record("SearchSubmitted", user=1, duration_ms=999)
    instance.drain()
    assert sorted(row["duration_ms"] for row in stored(vendor)) == [*range(50), 999]
    theirs = instance.client.account()
    assert theirs.absent == instance.account().dropped


def test_a_purge_after_a_lost_answer_still_finds_out_what_was_delivered(
    vendor: Vendor, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(70):
        instance.recorder.record("SearchSubmitted", user=1, duration_ms=number)
    deliver_and_lose_the_answer(instance, monkeypatch)
    assert instance.exporter.purge() == 70
    instance.recorder.record("PageViewed", user=1)
    instance.drain()
    account = instance.account()
    assert account.delivered == {"SearchSubmitted": 50, "PageViewed": 1}
    assert account.dropped == {"SearchSubmitted": {Verdict.NOT_PERMITTED: 20}}
    theirs = instance.client.account()
    assert (theirs.accepted, theirs.absent) == (account.delivered, account.dropped)


def test_a_state_from_an_old_backup_catches_up_and_delivers_nothing_twice(
    vendor: Vendor, instance: Instance, tmp_path: Path
) -> None:
    for number in range(60):
        instance.recorder.record("SearchSubmitted", user=1, duration_ms=number)
    instance.exporter.deliver_round()
    instance.close()
    shutil.copytree(instance.folder / "agent", tmp_path / "backup")
    instance._open()
    for number in range(60, 200):
        instance.recorder.record("SearchSubmitted", user=1, duration_ms=number)
    instance.drain()
    instance.close()
    shutil.rmtree(instance.folder / "agent")
    shutil.copytree(tmp_path / "backup", instance.folder / "agent")
    instance._open()
    instance.recorder.record("SearchSubmitted", user=1, duration_ms=200)
    instance.drain()
    assert sorted(row["duration_ms"] for row in stored(vendor)) == list(range(201))
    account = instance.account()
    assert account.undecided == 150
    assert account.delivered == {"SearchSubmitted": 51}


def test_a_gateway_that_lost_its_log_is_told_that_the_numbers_are_lost(vendor: Vendor, tmp_path: Path) -> None:
    instance = Instance(vendor, tmp_path / "instance")
    for _ in range(2):  # with a receipt for each
        instance.recorder.record("PageViewed", user=1)
        instance.drain()
    folder = tmp_path / "vendor2"
    folder.mkdir()
    fresh = Vendor(folder)
    shutil.copy(vendor.folder / "instance.pem", folder / "instance.pem")
    with fresh.registry() as registry:
        registry.replace_key(INSTANCE, public_key_text(load_or_create_key(folder / "instance.pem")))
    with fresh.running():
        instance.close()
        instance.settings = fresh.agent_settings(tmp_path / "instance")
        instance._open()
        instance.recorder.record("PageViewed", user=1)
        instance.drain()
        theirs = instance.client.account()
        instance.recorder.close()
        instance.close()
    assert theirs.accepted == {"PageViewed": 1}
    assert theirs.absent == {UNDECLARED: {Verdict.LOST: 2}}


def test_a_batch_that_is_too_large_is_split_until_it_passes(tmp_path: Path) -> None:
    folder = tmp_path / "vendor"
    folder.mkdir()
    with Vendor(folder, maximum_inflated_bytes=4_000).running() as vendor:
        instance = Instance(vendor, tmp_path / "instance", batch_events=500)
        for number in range(300):
            instance.recorder.record("SearchSubmitted", user=number, duration_ms=number)
        instance.drain()
        assert sorted(row["duration_ms"] for row in stored(vendor)) == list(range(300))
        assert instance.account().delivered == {"SearchSubmitted": 300}
        instance.recorder.close()
        instance.close()


@pytest.mark.parametrize("said", [b"<html>Sign in</html>", b'{"hello": 1}', b"\xff"])
def test_an_answer_that_no_gateway_gives_is_an_absent_gateway(vendor: Vendor, said: bytes) -> None:
    network = httpx.MockTransport(lambda _: httpx.Response(200, content=said))
    client = vendor.client(transport=network)
    with pytest.raises(UnreachableError, match="not one of a gateway"):
        client.policy()
    client.close()


def test_a_state_that_is_no_database_is_told_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "agent.db").write_bytes(b"no database" * 1_000)
    with pytest.raises(StateError, match="put back a copy"):
        State(tmp_path)
    assert (tmp_path / "agent.db").read_bytes() == b"no database" * 1_000


def test_events_that_the_disk_lost_are_told_as_lost(vendor: Vendor, instance: Instance) -> None:
    outbox = instance.folder / "outbox"
    writer = EpochWriter(outbox, maximum_bytes=1 << 20, segment_bytes=100)
    moment = datetime.now(UTC)
    for _ in range(6):
        writer.append([{"name": "PageViewed", "time": moment}])
    writer.close()
    [reader] = [reader for reader in read_epochs(outbox) if reader.epoch == writer.epoch]
    second = reader.folder / f"{reader.segments()[1]:020d}.segment"
    lost = reader.segments()[2] - reader.segments()[1]
    second.write_bytes(b"")
    instance.drain()
    account = instance.account()
    assert account.delivered == {"PageViewed": 6 - lost}
    assert account.dropped == {UNDECLARED: {Verdict.LOST: lost}}


def test_a_second_agent_with_the_same_state_does_not_start(instance: Instance) -> None:
    with pytest.raises(StateError, match="another agent is running"):
        State(Path(instance.settings.agent.state))
    State(Path(instance.settings.agent.state), exclusive=False).close()
