"""Promise 1 over generated histories: what may leave leaves, and nothing else, whatever is agreed, chosen, or breaks.

Registry, gateway and agents are the real ones, with every check and every signature; only the wire and the clock are
ours. A second and much simpler reading of what was agreed says at each step what should have been allowed.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pyarrow as pa
import pytest
import zstandard
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from harness import DIGEST, SMALL_PLAN
from heliograph.consent import level as resolution
from heliograph.consent import policy as instance_policy
from heliograph.consent.agreement import Route
from heliograph.consent.deployment import Deployment
from heliograph.consent.level import Decision, Level, Party
from heliograph.gateway.log_entries import Entry
from heliograph.gateway.log_reading import Place, read_segment, segments
from heliograph.gateway.server import open_gateway
from heliograph.instance.account import read_account
from heliograph.instance.agent import Agent
from heliograph.instance.outbox import EpochWriter
from heliograph.instance.state import Choice, State
from heliograph.instance.transport import GatewayClient, TransportError
from heliograph.keys import load_or_create_key, public_key_text
from heliograph.registry import snapshot as vendor_snapshot
from heliograph.registry.errors import RegistryError
from heliograph.registry.store import Registry
from heliograph.registry.view import RegistryView
from heliograph.settings import AgentSettings, GatewaySettings, RecorderSettings, RegistrySettings, Settings
from heliograph.wire import EVENTS_PATH, POLICY_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

BEGINNING = datetime(2026, 3, 1, tzinfo=UTC)
MEMORY = Path("/dev/shm")
"""Thousands of forced writes are quick here; what they force matters to other tests."""
ACCOUNT = "acme"
INSTANCES = {"managed": Deployment.MANAGED, "premises": Deployment.ON_PREMISES}
HEARD_SECONDS = 10
"""How old the vendor's word may be when events leave: what docs/consent.md promises."""
POLICY_SECONDS = 3_600


# A second reading of consent.


@dataclass
class Paper:
    """An agreement as people would read it."""

    start: datetime
    end: datetime | None
    struck: list[tuple[int, datetime]] = field(default_factory=list)
    """When each redline begins, in the order of recording."""
    lifted: list[tuple[int, datetime]] = field(default_factory=list)

    def holds(self, at: datetime) -> bool:
        return self.start <= at and (self.end is None or at < self.end)

    def vetoes(self, at: datetime) -> bool:
        return any(
            begins <= at and not any(later > number and begins <= lift <= at for later, lift in self.lifted)
            for number, begins in self.struck
        )


@dataclass
class Reading:
    """What was agreed, ordered and decided so far."""

    papers: dict[str, Paper] = field(default_factory=dict)
    narrowed: dict[str, Level] = field(default_factory=dict)
    kept_out: set[str] = field(default_factory=set)
    decisions: list[tuple[datetime, Level]] = field(default_factory=list)
    tampered: bool = False

    def level(self, instance: str, at: datetime) -> Level:
        """What the vendor may take from `instance`."""
        if self.tampered or instance in self.kept_out:
            return Level.OFF
        held = [paper for paper in self.papers.values() if paper.holds(at)]
        allowed = bool(held) and not any(paper.vetoes(at) for paper in held)
        decided = [level for since, level in self.decisions if since <= at]
        on_premises = INSTANCES[instance] is Deployment.ON_PREMISES
        return min(
            Level.EVENTS if allowed else Level.CRITICAL,
            self.narrowed.get(ACCOUNT, Level.EVENTS),
            self.narrowed.get(instance, Level.EVENTS),
            (decided[-1] if decided else Level.CRITICAL) if on_premises else Level.EVENTS,
        )


# The world between the two ends.


class Clock:
    """Time as it passes, for both ends; an instance's own clock may be off by some."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.seconds)


class Sent(NamedTuple):
    """A request that left an instance."""

    path: str
    at: datetime
    answered: int


class Wire(httpx.BaseTransport):
    """The network of one instance: breaks when it is told to, and remembers what left."""

    def __init__(self, world: World, instance: str) -> None:
        self._world = world
        self._instance = instance
        self.broken = False
        self.loses_answers = False
        self.sent: list[Sent] = []
        self.told: tuple[datetime, Level] | None = None
        """When the vendor last answered what may leave, and what was right to answer then."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.broken:
            raise httpx.ConnectError("the network is down")
        at, path = self._world.clock.now(), request.url.path
        status, headers, body = self._world.call(request)
        self.sent.append(Sent(path, at, status))
        if self.loses_answers:
            raise httpx.ReadError("the answer was lost")
        if path == POLICY_PATH and status == httpx.codes.OK:
            self.told = (at, self._world.reading.level(self._instance, at))
        return httpx.Response(status, headers=headers, content=body)


class Instance:
    """One instance: its product, its agent, its network, its clock, its admin."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.folder = world.folder / name
        self.wire = Wire(world, name)
        self.clock_error = timedelta()
        self.chosen = "events"
        self.recorded = 0
        self.key = load_or_create_key(self.folder / "instance.pem")
        self.writer: EpochWriter | None = None
        self.start()

    def settings(self) -> Settings:
        return Settings(
            recorder=RecorderSettings(outbox=str(self.folder / "outbox")),
            agent=AgentSettings(
                gateway="https://gateway.example",
                instance=self.name,
                key=str(self.folder / "instance.pem"),
                state=str(self.folder / "agent"),
                vendor_keys=str(self.world.pins),
                batch_events=5,
            ),
        )

    def now(self) -> datetime:
        return self.world.clock.now() + self.clock_error

    def ticks(self) -> float:
        return self.world.clock.seconds

    def start(self) -> None:
        settings = self.settings()
        client = GatewayClient(settings.agent, self.key, now=self.now, ticks=self.ticks, transport=self.wire)
        self.agent = Agent(settings, SMALL_PLAN, now=self.now, client=client, ticks=self.ticks, environment={})

    def restart(self) -> None:
        self.agent.close()
        self.start()

    def record(self, values: Sequence[int]) -> None:
        if self.writer is None:
            self.writer = EpochWriter(self.folder / "outbox", maximum_bytes=1 << 20, segment_bytes=600)
        for value in values:
            event = {"name": "SearchSubmitted", "time": self.now(), "user": f"u{value % 3}", "duration_ms": value}
            self.writer.append([event])
        self.recorded += len(values)

    def pending(self) -> int:
        return sum(self.account().pending.values())

    def account(self) -> Any:
        with contextlib.closing(State(self.folder / "agent", exclusive=False)) as state:
            return read_account(state, self.folder / "outbox", SMALL_PLAN)

    def choose(self, level: Level) -> None:
        self.chosen = level.value
        with contextlib.closing(State(self.folder / "agent", exclusive=False)) as state:
            state.add_choice(Choice(self.now(), level.value, "admin", ""))

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.agent.close()


class World:
    """Both ends in one process."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.clock = Clock()
        self.reading = Reading()
        self.runner = asyncio.Runner()
        self.settings = Settings(
            gateway=GatewaySettings(
                signing_key=str(self.folder / "signing.pem"),
                log=str(self.folder / "log"),
                segment_bytes=64 << 10,
                policy_seconds=POLICY_SECONDS,
            ),
            registry=RegistrySettings(url=f"sqlite:///{self.folder / 'registry.db'}"),
        )
        self.registry = Registry.open(self.settings.registry, now=self.clock.now)
        self.registry.add_account(ACCOUNT)
        self.pins = self.folder / "vendor.pub"
        self.pins.write_text(public_key_text(load_or_create_key(self.folder / "signing.pem")) + "\n")
        self.start_gateway()
        self.instances = {name: Instance(self, name) for name in INSTANCES}
        for name, deployment in INSTANCES.items():
            key = public_key_text(self.instances[name].key)
            self.registry.add_instance(name, account=ACCOUNT, deployment=deployment, public_key=key)

    def start_gateway(self) -> None:
        with ExitStack() as stack:
            view = RegistryView(
                self.settings.registry, poll_seconds=1e6, now=self.clock.now, monotonic=lambda: self.clock.seconds
            )
            self.view = stack.enter_context(view)
            self.app = stack.enter_context(open_gateway(self.settings.gateway, SMALL_PLAN, view, now=self.clock.now))
            self.gateway = stack.pop_all()

    def restart_gateway(self) -> None:
        self.gateway.close()
        self.start_gateway()

    def call(self, request: httpx.Request) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        self.view.refresh()
        return self.runner.run(_call(self.app, request))

    def stored(self, since: Place) -> Iterator[tuple[Place, Entry, list[int]]]:
        """Yield the deliveries in the log after a place, each with the values of its events."""
        folder = Path(self.settings.gateway.log)
        for generation in segments(folder):
            if generation < since.generation:
                continue
            offset = since.offset if generation == since.generation else 0
            for place, header, body in read_segment(folder, generation, offset):
                if isinstance(header, Entry):
                    batch = pa.ipc.open_stream(zstandard.ZstdDecompressor().decompress(body)).read_next_batch()
                    named = "duration_ms" in batch.schema.names
                    yield place, header, batch.column("duration_ms").to_pylist() if named else []

    def close(self) -> None:
        for instance in self.instances.values():
            instance.close()
        self.gateway.close()
        self.registry.close()
        self.runner.close()
        shutil.rmtree(self.folder)


async def _call(app: Any, request: httpx.Request) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Call an ASGI application as a server would."""
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": request.read(), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    headers = [(name.lower(), value) for name, value in request.headers.raw]
    scope = {"type": "http", "method": request.method, "path": request.url.path, "headers": headers}
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in messages)
    return messages[0]["status"], messages[0]["headers"], body


# What happens, and what must hold.

days = st.integers(-20, 5).map(lambda number: timedelta(days=number))
names = st.sampled_from(list(INSTANCES))
levels = st.sampled_from([Level.EVENTS, Level.EVENTS, Level.EVENTS, Level.CRITICAL, Level.OFF])
rarely = st.sampled_from([False, False, False, True])


class Histories(RuleBasedStateMachine):
    @initialize(decided=st.booleans())
    def begin(self, decided: bool) -> None:
        self.world = World()
        self.place = Place(0, 0)
        self.values: Counter[int] = Counter()
        self.unique = 0
        self.number = 0
        self.word_of_admin = dict.fromkeys(INSTANCES, Level.EVENTS)
        self.agree(start=timedelta(days=-1), length=None, struck=False)
        if decided:
            self.decide_for_premises(level=Level.EVENTS, when=timedelta(days=-1))

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()

    # What the parties do.

    @rule(start=days, length=st.none() | st.integers(1, 30), struck=rarely)
    def agree(self, start: timedelta, length: int | None, struck: bool) -> None:
        begins = self.world.clock.now() + start
        ends = None if length is None else begins + timedelta(days=length)
        agreement = self.world.registry.add_agreement(
            ACCOUNT,
            route=Route.ORDER_FORM,
            document="order form",
            terms_version="2026-01",
            terms_digest=DIGEST,
            recorded_by="legal",
            effective_from=begins,
            effective_to=ends,
            redline="events are struck" if struck else None,
        )
        paper = self.world.reading.papers[agreement.id] = Paper(begins, ends)
        if struck:
            paper.struck.append((self._next(), BEGINNING - timedelta(days=1_000)))

    @rule(data=st.data(), begins=days, lift=st.booleans())
    @precondition(lambda self: self.world.reading.papers)
    def strike_or_lift(self, data: st.DataObject, begins: timedelta, lift: bool) -> None:
        agreement = data.draw(st.sampled_from(sorted(self.world.reading.papers)))
        effective = self.world.clock.now() + begins
        try:
            self.world.registry.amend_agreement(
                agreement,
                document="amendment",
                recorded_by="legal",
                redline=None if lift else "events are struck",
                lifts_redline=lift,
                effective=effective,
            )
        except RegistryError:  # what has ended, or has been tampered with, is not amended
            return
        paper = self.world.reading.papers[agreement]
        (paper.lifted if lift else paper.struck).append((self._next(), effective))

    @rule(data=st.data(), when=days)
    @precondition(lambda self: self.world.reading.papers)
    def end_an_agreement(self, data: st.DataObject, when: timedelta) -> None:
        agreement = data.draw(st.sampled_from(sorted(self.world.reading.papers)))
        effective = self.world.clock.now() + when
        try:
            self.world.registry.end_agreement(agreement, reason="it is over", effective=effective)
        except RegistryError:  # it has ended
            return
        paper = self.world.reading.papers[agreement]
        paper.end = effective if paper.end is None else min(paper.end, effective)

    @rule(narrowed=st.sampled_from([ACCOUNT, *INSTANCES]), level=levels)
    def override(self, narrowed: str, level: Level) -> None:
        self.world.registry.set_override(narrowed, level, reason="asked for")
        self.world.reading.narrowed[narrowed] = level

    @rule(level=levels, when=days)
    def decide_for_premises(self, level: Level, when: timedelta) -> None:
        effective = self.world.clock.now() + when
        self.world.registry.decide_deployment(
            level, document="decision", reason="as decided", recorded_by="board", effective=effective
        )
        self.world.reading.decisions.append((effective, level))
        self.world.reading.decisions.sort(key=lambda each: each[0])

    @rule(name=names, out=rarely)
    def keep_out_or_let_in(self, name: str, out: bool) -> None:
        self.world.registry.set_active(name, active=not out)
        (self.world.reading.kept_out.add if out else self.world.reading.kept_out.discard)(name)

    @rule(name=names, level=levels)
    def choose(self, name: str, level: Level) -> None:
        self.world.instances[name].choose(level)
        self.word_of_admin[name] = level

    # What befalls them.

    @rule(seconds=st.sampled_from([1, 5, 11, 60, 400, POLICY_SECONDS, 90_000, 3_000_000]))
    def time_passes(self, seconds: int) -> None:
        self.world.clock.seconds += seconds

    @rule(name=names, hours=st.sampled_from([0, 0, -3, -1, 1, 3]))
    def set_a_clock(self, name: str, hours: int) -> None:
        self.world.instances[name].clock_error = timedelta(hours=hours)

    @rule(name=names, broken=rarely, loses_answers=rarely)
    def change_the_network(self, name: str, broken: bool, loses_answers: bool) -> None:
        wire = self.world.instances[name].wire
        wire.broken, wire.loses_answers = broken, loses_answers

    @rule(name=names)
    def restart_an_agent(self, name: str) -> None:
        self.world.instances[name].restart()

    @rule()
    def restart_the_gateway(self) -> None:
        self.world.restart_gateway()

    @rule(which=st.integers(0, 10))
    @precondition(lambda self: self.world.reading.papers and not self.world.reading.tampered and self.unique > 100)
    def tamper_with_a_record(self, which: int) -> None:
        tamper(self.world.folder / "registry.db", which)
        self.world.reading.tampered = True

    # What a product and its agent do.

    @rule(name=names, count=st.integers(1, 12))
    def record(self, name: str, count: int) -> None:
        values = list(range(self.unique, self.unique + count))
        self.unique += count
        self.world.instances[name].record(values)

    @rule(name=names, count=st.integers(0, 7))
    def run_after_some_use(self, name: str, count: int) -> None:
        self.record(name=name, count=count)
        self.run_the_agent(name=name)

    @rule(seconds=st.sampled_from([1, 30]))
    def use_and_run_everywhere(self, seconds: int) -> None:
        self.world.clock.seconds += seconds
        for name in INSTANCES:
            self.run_after_some_use(name=name, count=2)

    @rule(name=names)
    def run_the_agent(self, name: str) -> None:
        instance = self.world.instances[name]
        wire = instance.wire
        wire.sent.clear()
        told_before = wire.told
        succeeded = False
        with contextlib.suppress(TransportError):
            instance.agent.round()
            succeeded = True
        admin = self.word_of_admin[name]
        if admin is Level.OFF:
            assert not wire.sent, "something left at level off"
        for sent in wire.sent:
            if sent.path == EVENTS_PATH:
                assert admin is Level.EVENTS, "events left against the admin's choice"
                assert wire.told is not None, "events left before the vendor was asked"
                at, level = wire.told
                assert (sent.at - at).total_seconds() <= HEARD_SECONDS, "events left on an old word of the vendor's"
                assert level is Level.EVENTS, "events left against the vendor's word"
        told_no = wire.told is not None and wire.told != told_before and wire.told[1] is not Level.EVENTS
        # By a clock that is wrong, the vendor's word may be in doubt: then nothing leaves, and nothing is dropped.
        someone_said_no = admin is not Level.EVENTS or (told_no and not instance.clock_error)
        if succeeded and someone_said_no:
            assert instance.pending() == 0, "what may not leave is still queued"

    # What must hold after each step.

    @invariant()
    def only_what_was_allowed_is_stored_and_once(self) -> None:
        if not hasattr(self, "world"):
            return
        for place, entry, values in self.world.stored(self.place):
            self.place = place
            receipt = entry.receipt
            at = datetime.fromtimestamp(receipt.received / 1_000_000, UTC)
            assert self.world.reading.level(receipt.instance, at) is Level.EVENTS, "stored without the right to"
            assert self.word_of_admin[receipt.instance] is Level.EVENTS, "stored against the admin's choice"
            paper = self.world.reading.papers[receipt.agreement]
            assert paper.holds(at), "stored under an agreement that was not in force"
            self.values.update(values)
        assert set(self.values.values()) <= {1}, "stored twice"

    @invariant()
    def the_accounts_close(self) -> None:
        if not hasattr(self, "world"):
            return
        for instance in self.world.instances.values():
            account = instance.account()
            assert account.closes()
            assert account.recorded == instance.recorded

    def _next(self) -> int:
        self.number += 1
        return self.number


def tamper(database: Path, which: int) -> None:
    """Change a record as somebody with the database's file would, past the triggers."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        for (trigger,) in connection.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            connection.execute(f'drop trigger "{trigger}"')
        rows = connection.execute("select number, body from records where chain = ?", (ACCOUNT,)).fetchall()
        number, body = rows[which % len(rows)]
        changed = body.replace(b"struck", b"stuck!") if b"struck" in body else body[:-1] + b" }"
        connection.execute("update records set body = ? where chain = ? and number = ?", (changed, ACCOUNT, number))
        connection.execute("update changes set version = version + 1")


Histories.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestHistories = Histories.TestCase


# A mistake in the resolution, planted at either end, is found.


def without(party: Party) -> Callable[..., Decision]:
    """A resolution that does not hear one party."""

    def resolve(parties: Sequence[Party], words: Mapping[Party, Decision | None]) -> Decision:
        return resolution.resolve([each for each in parties if each is not party], words)

    return resolve


def widest(parties: Sequence[Party], words: Mapping[Party, Decision | None]) -> Decision:
    heard = [word for party in parties if (word := words.get(party)) is not None]
    word = max(heard, key=lambda word: word.level)
    return Decision(word.level, word.reasons, word.agreement or "agreement-1")


@pytest.mark.parametrize(
    ("module", "mistake"),
    [
        (vendor_snapshot, without(Party.OVERRIDE)),
        (vendor_snapshot, without(Party.DEPLOYMENT)),
        (vendor_snapshot, widest),
        (instance_policy, without(Party.ADMIN)),
    ],
    ids=["deaf to the override", "deaf to the deployment policy", "the widest decides", "deaf to the admin"],
)
def test_a_mistake_in_the_resolution_is_found(
    module: Any, mistake: Callable[..., Decision], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "resolve", mistake)
    planted = settings(
        max_examples=300,
        stateful_step_count=40,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
    )
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(Histories, settings=planted)
