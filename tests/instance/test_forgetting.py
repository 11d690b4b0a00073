"""Opting out at the agent, and forgetting: what is queued stays, the mapping leaves the disk, the vendor is asked."""

from __future__ import annotations

import contextlib
import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow as pa
import pytest
import zstandard

from harness import SMALL_PLAN, Vendor, as_arrow, event, random_id
from heliograph.event import Verdict
from heliograph.frames import read_frames
from heliograph.instance.account import read_account
from heliograph.instance.agent import Agent
from heliograph.instance.erasures import Erasures, order_erasure, read_erasures
from heliograph.instance.exporter import Exporter
from heliograph.instance.forgetting import forget, scrub
from heliograph.instance.opt_outs import OptOutsFile
from heliograph.instance.outbox import EpochWriter
from heliograph.instance.recorder import Recorder
from heliograph.instance.refusals import OptOutsUnknownError
from heliograph.instance.state import State
from heliograph.instance.transport import GatewayClient, TransportError, UnreachableError
from heliograph.keys import load_or_create_key
from heliograph.wire import ErasureAnswer

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
CANARY = "user-canary-51c9"
SESSION = "session-canary-07aa"


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Vendor]:
    folder = tmp_path / "vendor"
    folder.mkdir()
    with Vendor(folder).running() as vendor:
        yield vendor


class Instance:
    """An instance's end, whose recorder does not look, so that events of those who are out are queued all the same."""

    def __init__(self, vendor: Vendor, folder: Path) -> None:
        self.vendor = vendor
        self.settings = vendor.agent_settings(folder, batch_events=4)
        self.outbox = folder / "outbox"
        self.recorder = Recorder(self.settings.recorder, environment={}, look_seconds=1e9)
        self.client = GatewayClient(self.settings.agent, load_or_create_key(Path(self.settings.agent.key)))
        self.open()

    def open(self) -> None:
        self.state = State(Path(self.settings.agent.state))
        self.exporter = Exporter(
            agent=self.settings.agent,
            recorder=self.settings.recorder,
            plan=SMALL_PLAN,
            state=self.state,
            client=self.client,
        )

    def record(self, value: int, **what: Any) -> None:
        assert self.recorder.record("SearchSubmitted", duration_ms=value, **what)

    def say(self, user: str, *, out: bool) -> None:
        """Opt out, or in, by hand: in another process."""
        OptOutsFile(self.outbox).append(user, out=out, now=datetime.now(UTC))

    def forget(self, user: str) -> list[str]:
        """Forget a user beside the running agent, as the command line does."""
        beside = State(Path(self.settings.agent.state), exclusive=False)
        outcome = forget(beside, user, outbox=self.outbox, now=datetime.now(UTC))
        assert scrub(beside.connection)
        beside.close()
        return outcome.random_ids

    def drain(self) -> set[int]:
        """Deliver everything, and return the values that have arrived so far."""
        while self.exporter.deliver_round():
            pass
        account = read_account(self.state, self.outbox, SMALL_PLAN)
        assert account.closes()
        assert account.pending == {}
        return {row["duration_ms"] for row in self.rows()}

    def rows(self) -> list[dict[str, Any]]:
        bodies = [zstandard.ZstdDecompressor().decompress(body) for _, body in self.vendor.entries()]
        return [row for body in bodies for row in pa.ipc.open_stream(body).read_next_batch().to_pylist()]

    def dropped(self) -> dict[str, dict[Verdict, int]]:
        return read_account(self.state, self.outbox, SMALL_PLAN).dropped

    def close(self) -> None:
        self.recorder.close()
        self.client.close()
        self.state.close()


@pytest.fixture
def instance(vendor: Vendor, tmp_path: Path) -> Iterator[Instance]:
    instance = Instance(vendor, tmp_path / "instance")
    yield instance
    instance.close()


def bytes_of(state: Path) -> bytes:
    """All bytes of the database's files, and those of what was sent, as they are and in the clear."""
    files = sorted(path for path in state.rglob("*") if path.is_file())
    frames = [frame for path in files if path.suffix == ".sent" for frame in read_frames(path.read_bytes())]
    clear = [zstandard.ZstdDecompressor().decompress(frame.body) for frame in frames]
    return b"".join([*(path.read_bytes() for path in files), *clear])


def test_what_is_queued_of_a_user_who_opts_out_stays_and_gets_no_random_id(instance: Instance) -> None:
    for value, user in enumerate(["1", "2", "u:1", "3", "1"]):
        instance.record(value, user=user)
    instance.say("1", out=True)
    assert instance.drain() == {1, 3}
    assert instance.dropped() == {"SearchSubmitted": {Verdict.OPTED_OUT: 3}}
    assert set(instance.state.pseudonyms("user", ["1", "u:1", "2", "3"])) == {"2", "3"}


def test_a_bad_event_beside_them_changes_nothing(instance: Instance) -> None:
    instance.record(0, user="1")
    instance.record(1, user="2", pattern_type="no such")
    instance.record(2, user="2", query="undeclared")
    instance.say("1", out=True)
    assert instance.drain() == {2}
    assert instance.dropped() == {"SearchSubmitted": {Verdict.OPTED_OUT: 1, Verdict.INVALID_PROPERTY: 1}}


def test_who_is_in_again_is_sent_from_then_on_only(instance: Instance) -> None:
    instance.record(0, user="1")
    instance.say("1", out=True)
    instance.record(1, user="1")
    instance.say("1", out=False)
    instance.record(2, user="1")
    assert instance.drain() == {2}


def test_events_without_a_user_in_sessions_of_one_who_is_out_stay_too(instance: Instance) -> None:
    instance.record(0, user="1", session="known before")
    instance.record(1, user="2", session="of another")
    assert instance.drain() == {0, 1}
    instance.say("1", out=True)
    instance.record(2, session="known before")
    instance.record(3, session="of another")
    instance.record(4, session="nobody's")
    instance.record(5, user="2", session="known before")  # whoever is named has the say
    instance.record(6, user="1", session="new")
    instance.record(7, session="new")
    assert instance.drain() == {0, 1, 3, 4, 5}
    instance.record(8, session="new")  # by now it is written down whose that is
    instance.close()
    instance.__init__(instance.vendor, instance.outbox.parent)  # type: ignore[misc] # as after a restart
    assert instance.drain() == {0, 1, 3, 4, 5}


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3] + b"xx\n")


def unlink(file: Path) -> None:
    file.unlink()


def forbid(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(("harm", "said"), [(damage, "damaged in line 1"), (unlink, "is gone"), (forbid, "directory")])
def test_when_it_is_not_known_who_is_out_nothing_is_sent_until_the_file_is_mended(
    instance: Instance, harm: Any, said: str
) -> None:
    instance.say("1", out=True)
    instance.record(0, user="2")
    assert instance.drain() == {0}
    harm(instance.outbox / "opt-outs")
    instance.record(1, user="2")
    with pytest.raises(OSError, match=said):
        instance.exporter.deliver_round()
    instance.state.close()
    instance.open()
    with pytest.raises(OSError, match=said):
        instance.exporter.deliver_round()
    assert {row["duration_ms"] for row in instance.rows()} == {0}
    with contextlib.suppress(OSError):
        (instance.outbox / "opt-outs").rmdir()
    (instance.outbox / "opt-outs").write_bytes(b"")
    assert instance.drain() == {0, 1}


def test_a_running_agent_waits_and_says_why(vendor: Vendor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = vendor.agent_settings(tmp_path / "instance")
    OptOutsFile(tmp_path / "instance" / "outbox").append(CANARY, out=True, now=NOW)
    damage(tmp_path / "instance" / "outbox" / "opt-outs")
    recorder = Recorder(settings.recorder, environment={})
    recorder.record("PageViewed", user=2)

    class Once:
        """Stops at the first pause."""

        stopped = False

        def is_set(self) -> bool:
            return self.stopped

        def wait(self, _: float) -> None:
            self.stopped = True

    agent = Agent(settings, SMALL_PLAN)
    agent.run(Once())  # type: ignore[arg-type] # stands for it
    agent.close()
    recorder.close()
    said = capsys.readouterr().out
    assert "nothing is sent" in said
    assert CANARY not in said
    assert vendor.entries() == []


def test_a_forgotten_user_is_nobody_and_then_somebody_new(instance: Instance) -> None:
    instance.record(0, user="1")
    instance.record(1, user="2")
    assert instance.drain() == {0, 1}
    before = {row["duration_ms"]: row["user_id"] for row in instance.rows()}
    instance.record(2, user="1")
    assert instance.forget("1") == [before[0]]
    instance.record(3, user="1")
    instance.record(4, user="2")
    assert instance.drain() == {0, 1, 3, 4}
    after = {row["duration_ms"]: row["user_id"] for row in instance.rows()}
    assert after[3] not in before.values()
    assert after[4] == before[1]
    assert instance.dropped() == {"SearchSubmitted": {Verdict.OPTED_OUT: 1}}


def test_both_keys_of_a_user_are_forgotten_with_their_sessions(instance: Instance) -> None:
    instance.record(0, user="1", session="s")
    instance.record(1, user="u:1")
    instance.record(2, session="s")
    instance.drain()
    assert instance.state.users_of(["s"]) == {"s": {"1"}}
    assert len(instance.forget("1")) == 2
    assert instance.state.users_of(["s"]) == {}
    instance.record(3, session="s")
    assert instance.drain() == {0, 1, 2, 3}


def test_what_was_queued_in_a_session_of_theirs_is_forgotten_too(instance: Instance) -> None:
    for value in range(6):
        instance.record(value, session="s")  # in other batches than the one that tells whose it is
    instance.record(6, user="1", session="s")
    instance.record(7, user="2")
    instance.forget("1")
    instance.record(8, session="s")
    assert instance.drain() == {7, 8}


def test_a_clock_that_was_set_back_before_lets_nothing_pass_that_was_queued(instance: Instance) -> None:
    ahead = datetime.now(UTC) + timedelta(minutes=5)
    instance.record(0, user="1", time=ahead)
    instance.forget("1")
    instance.record(1, user="1", time=ahead + SECOND)
    assert instance.drain() == {1}


def test_forgetting_in_the_moment_of_sending_builds_the_batch_again(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.record(0, user="1")
    instance.record(1, user="2")
    really = State.begin
    forgotten: list[list[str]] = []

    def forget_first(self: State, *arguments: Any, **fields: Any) -> None:
        if not forgotten and self is instance.state:
            forgotten.append(instance.forget("1"))
        really(self, *arguments, **fields)

    monkeypatch.setattr(State, "begin", forget_first)
    assert instance.drain() == {1}
    assert forgotten == [[]]
    assert instance.state.pseudonyms("user", ["1"]) == {}


def test_a_delivery_whose_answer_was_lost_is_repeated_without_the_forgotten_and_settled(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.record(0, user="1")
    really = GatewayClient.deliver

    def lose_the_answer(self: GatewayClient, **delivery: Any) -> Any:
        really(self, **delivery)
        raise UnreachableError("the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr(GatewayClient, "deliver", lose_the_answer)
        with pytest.raises(UnreachableError):
            instance.exporter.deliver_round()
    [user_id] = instance.forget("1")
    assert instance.drain() == {0}  # it had arrived before, under the id that the vendor is asked to erase
    assert [row["user_id"] for row in instance.rows()] == [user_id]
    assert [each.user_id for each in read_erasures(instance.state.connection)] == [user_id]


def test_nothing_of_a_forgotten_user_is_left_in_the_bytes_of_the_database(instance: Instance) -> None:
    for value in range(400):
        instance.record(value, user=f"filler-{value % 90}", session=f"filler-{value % 190}")
    instance.record(500, user=CANARY, session=SESSION)
    with instance.state.connection:  # as an agent of version 0.1.0 did
        instance.state.ids.add([("session", SESSION, random_id(7))], [])
    instance.drain()
    user_id = instance.state.pseudonyms("user", [CANARY])[CANARY]
    session_id = instance.state.pseudonyms("session", [SESSION])[SESSION]
    folder = Path(instance.settings.agent.state)
    assert all(each.encode() in bytes_of(folder) for each in (CANARY, SESSION, user_id, session_id))
    assert instance.forget(CANARY) == [user_id]
    assert all(user_id.encode() not in bytes_of(part) for part in folder.iterdir() if part.is_dir())  # what was sent
    left = bytes_of(folder)
    assert CANARY.encode() not in left
    assert SESSION.encode() not in left
    assert session_id.encode() not in left
    assert user_id.encode() in left  # until the vendor has answered
    instance.record(501, user="filler-1")
    instance.drain()
    Erasures(instance.state, Vendorless(), scrub=scrub).send(NOW)  # type: ignore[arg-type] # stands for it
    assert user_id.encode() not in bytes_of(folder)
    assert CANARY.encode() not in bytes_of(folder)


def test_what_an_earlier_version_sent_of_a_forgotten_session_is_not_kept(instance: Instance) -> None:
    kept = instance.state.kept
    for number in (1, 2):
        body = as_arrow([event(number, user_id=None, session_id=random_id(number))])
        kept.keep(f"{number:064x}", zstandard.ZstdCompressor().compress(body), NOW.date())
    assert kept.forget([random_id(1)]) == 1
    assert [each.digest for each in kept.read()] == [f"{2:064x}"]


class Vendorless:
    """Stands for the way to the gateway: answers, or fails as often as it is told to."""

    def __init__(self, *errors: TransportError) -> None:
        self.errors = list(errors)
        self.asked: list[str] = []

    def request_erasure(self, user_id: str) -> ErasureAnswer:
        self.asked.append(user_id)
        if self.errors:
            raise self.errors.pop()
        return ErasureAnswer(erasure=f"order-{len(self.asked)}", ordered=7)


def test_the_vendor_is_asked_until_it_answers_and_then_no_more(tmp_path: Path) -> None:
    state = State(tmp_path)
    order_erasure(state.connection, ["a" * 32, "b" * 32], asked=3)
    order_erasure(state.connection, ["a" * 32], asked=4)
    client = Vendorless(UnreachableError("away"))
    erasures = Erasures(state, client, scrub=scrub)  # type: ignore[arg-type] # stands for it
    erasures.send(NOW)
    erasures.send(NOW + SECOND)  # not at once
    assert client.asked == ["a" * 32]
    erasures.send(NOW - SECOND)  # unless the clock was set back
    erasures.send(NOW + 600 * SECOND)
    assert client.asked == ["a" * 32, "a" * 32, "b" * 32]
    told = [(each.user_id, each.asked, each.erasure, each.ordered) for each in read_erasures(state.connection)]
    assert told == [(None, 3, "order-2", 7), (None, 3, "order-3", 7)]
    state.close()


def test_a_file_that_is_busy_is_scrubbed_later(tmp_path: Path) -> None:
    state = State(tmp_path)
    order_erasure(state.connection, ["a" * 32], asked=3)
    answers = [True, False]
    erasures = Erasures(state, Vendorless(), scrub=lambda _: answers.pop())  # type: ignore[arg-type] # stands for it
    for _ in range(4):
        erasures.send(NOW)
    assert answers == []
    state.close()


def test_the_use_of_a_forgotten_user_is_forgotten_too_and_all_of_it_or_nothing(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in ("1", "2"):
        instance.record(0, user=user)
    instance.drain()

    def users() -> set[str]:
        today = datetime.now(UTC).date()
        return {use.user for use in instance.state.usage.read(today, days=2, sendable_only=False)}

    assert users() == {"1", "2"}
    with monkeypatch.context() as patch:
        patch.setattr("heliograph.instance.forgetting.order_erasure", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            forget(instance.state, "1", outbox=instance.outbox, now=NOW)
    assert users() == {"1", "2"}
    assert instance.state.pseudonyms("user", ["1"]) != {}
    forget(instance.state, "1", outbox=instance.outbox, now=NOW)
    assert users() == {"2"}


def test_the_order_goes_to_the_gateway_as_the_protocol_says(vendor: Vendor) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/token":
            return httpx.Response(200, json={"access_token": "t", "expires_in": 600})
        seen.append(request)
        return httpx.Response(200, json={"erasure": "order-1", "ordered": 5, "duplicate": False})

    client = vendor.client(transport=httpx.MockTransport(answer))
    user_id = secrets.token_hex(16)
    assert client.request_erasure(user_id) == ErasureAnswer(erasure="order-1", ordered=5)
    client.close()
    [request] = seen
    assert (request.method, request.url.path) == ("POST", "/v1/erasures")
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.content) == {"user_id": user_id}


def test_the_agent_asks_at_any_level_but_off(vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def request(_: GatewayClient, user_id: str) -> ErasureAnswer:
        asked.append(user_id)
        return ErasureAnswer(erasure="order-1", ordered=5)

    monkeypatch.setattr(GatewayClient, "request_erasure", request)
    for level, expected in (("off", []), ("critical", ["a" * 32])):
        agent = Agent(vendor.agent_settings(tmp_path / "instance", level=level), SMALL_PLAN)
        order_erasure(agent._state.connection, ["a" * 32], asked=1)
        agent.round()
        agent.close()
        assert asked == expected


def test_a_damaged_line_of_the_outbox_keeps_nobody_from_being_forgotten(instance: Instance) -> None:
    writer = EpochWriter(instance.outbox, maximum_bytes=1 << 20)
    writer.append([{"name": "SearchSubmitted", "time": "no time", "user": "1"}])
    writer.append([{"name": "SearchSubmitted", "time": datetime.now(UTC), "user": "1", "duration_ms": 1}])
    writer.close()
    instance.forget("1")
    assert instance.drain() == set()


def test_the_error_names_no_user(instance: Instance) -> None:
    instance.say(CANARY, out=True)
    damage(instance.outbox / "opt-outs")
    instance.record(0, user="2")
    with pytest.raises(OptOutsUnknownError) as caught:
        instance.exporter.deliver_round()
    assert CANARY not in str(caught.value)
