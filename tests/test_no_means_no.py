"""Over generated histories: what was recorded against somebody's word never arrives, whatever breaks when.

The real recorder, agent, outbox, intake and log; only HTTP and the product's table are replaced. Each event carries a
unique value, so that the log shows whose it is, and when it was recorded.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harness import INSTANCE, SMALL_PLAN
from heliograph.consent.level import Decision, Level
from heliograph.event import Verdict, microseconds
from heliograph.gateway.intake import Intake
from heliograph.gateway.policies import PolicySigner
from heliograph.gateway.receipts import ReceiptSigner
from heliograph.instance.account import read_account
from heliograph.instance.agent import EVENT_LOGS, Agent, Left
from heliograph.instance.erasures import read_erasures
from heliograph.instance.forgetting import forget
from heliograph.instance.opt_outs import OptOutsFile
from heliograph.instance.outbox import EpochWriter
from heliograph.instance.recorder import Recorder
from heliograph.instance.state import State
from heliograph.instance.transport import TransportError, UnreachableError
from heliograph.instance.withheld import Withheld, Word
from heliograph.keys import public_key_text
from heliograph.registry.snapshot import Permission
from heliograph.settings import AgentSettings, GatewaySettings, RecorderSettings, Settings
from heliograph.wire import ErasureAnswer, KeysAnswer, PingAnswer, PolicyAnswer, total_counts
from test_once import KEY, MEMORY, DirectGateway, Histories

NOW = datetime(2026, 11, 1, tzinfo=UTC)
USERS = ("1", "2", "3")
FURTHEST_BACK = timedelta(minutes=14)
"""A clock that was set back further makes events lie in the future, which is another verdict."""


class DeathError(BaseException):
    """The agent is killed here."""


class Recorded(NamedTuple):
    user: str | None
    time: int


class ConsentGateway(DirectGateway):
    """Also answers what may be sent, and takes orders for erasure; its own clock is never set back."""

    exporter = "0" * 32
    after: tuple[str, ...] | list[str] = ()

    def __init__(self, folder: Path, machine: NoMeansNo) -> None:
        self.is_there = True
        self.erased: list[str] = []
        self._machine = machine
        super().__init__(folder)

    def now(self) -> datetime:
        return self._machine.latest

    @property
    def clock_offset(self) -> timedelta:  # type: ignore[override] # known here, told elsewhere
        return self._machine.latest - self._machine.now

    def keys(self) -> KeysAnswer:
        return KeysAnswer(key=public_key_text(KEY), endorsements=[])

    def send_ping(self, _: bytes) -> PingAnswer:
        raise UnreachableError("pings are tested elsewhere")

    def start(self) -> None:
        super().start()
        self.intake = Intake(
            plan=SMALL_PLAN,
            log=self.log,
            permissions=self.permission,
            signer=ReceiptSigner(KEY),
            settings=GatewaySettings(),
            now=lambda: NOW + timedelta(days=300),
        )

    def policy(self) -> PolicyAnswer:
        if not self.is_there:
            raise UnreachableError("away")
        agreement = "agreement-1" if self.level is Level.EVENTS else None
        signer = PolicySigner(KEY, SMALL_PLAN, valid_seconds=3600, now=self.now)
        return signer.answer(INSTANCE, Permission("acme", Decision(self.level, (), agreement)))

    def request_erasure(self, user_id: str) -> ErasureAnswer:
        if not self.is_there:
            raise UnreachableError("away")
        self.erased.append(user_id)
        return ErasureAnswer(erasure=f"order-{len(self.erased)}", ordered=1)

    def close(self) -> None:
        """The log outlives the connection."""


class Table:
    """Stands for the product's table: rows wait until the agent reads them."""

    is_failing = False

    def __init__(self, outbox: Path) -> None:
        self.rows: list[dict[str, Any]] = []
        self._outbox = outbox
        self._writer: EpochWriter | None = None

    def use_plan(self, plan: object) -> None:
        """Its rows are events already."""

    def read(self, now: datetime) -> Left:
        if self.rows:
            self._writer = self._writer or EpochWriter(self._outbox, EVENT_LOGS, maximum_bytes=1 << 20)
            self._writer.append(self.rows)
            self.rows = []
        return Left.NOTHING

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class NoMeansNo(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.outbox = self.folder / "outbox"
        self.pins = self.folder / "vendor.pub"
        self.pins.write_text(public_key_text(KEY))
        self.gateway = ConsentGateway(self.folder / "log", self)
        self.table = Table(self.outbox)
        self.now = self.latest = NOW
        self.admin = "events"
        self.recorders: list[Recorder] = []
        self.values: dict[int, Recorded] = {}
        self.calls = 0
        self.forbidden: set[int] = set()
        self.open_no: tuple[int, int] | None = None
        self.closed: list[tuple[int, int]] = []
        self.said_no = self.wanted_out = self.dies_after = False
        self.out: dict[str, datetime] = {}
        self.until: dict[str, int] = {}
        """Up to when users were forgotten, or out before they were in again."""
        self.may: set[int] = set()
        """Those for which both is right: see where they are added."""
        self.stored_before: set[int] = set()
        self._open_agent()

    def ticks(self) -> float:
        return (self.latest - NOW).total_seconds()

    def _open_agent(self) -> None:
        self.agent = Agent(
            Settings(
                recorder=RecorderSettings(outbox=str(self.outbox)),
                agent=AgentSettings(
                    instance=INSTANCE,
                    vendor_keys=str(self.pins),
                    batch_events=5,
                    state=str(self.folder / "agent"),
                    level=self.admin,  # type: ignore[arg-type] # one of them
                ),
            ),
            SMALL_PLAN,
            now=lambda: self.now,
            ticks=self.ticks,
            environment={},
            client=self.gateway,  # type: ignore[arg-type] # stands for it
        )
        self.agent._source = self.table  # type: ignore[assignment] # stands for it
        really_tell, really_purge = self.agent._objections.withheld.tell, self.agent._exporter.purge

        def tell(word: Word, now: datetime) -> None:
            try:
                really_tell(word, now)
            except DeathError:
                if self.dies_after:  # it is written down
                    self._hear(word, microseconds(now))
                raise
            self._hear(word, microseconds(now))

        def purge(*, tally: bool = False, sendable: bool = False) -> int:
            queued = self.values.keys() - self._stored() - {row["duration_ms"] for row in self.table.rows}
            self.may |= queued  # should it be killed in the middle
            purged = really_purge(tally=tally, sendable=sendable)
            self.said_no |= purged > 0
            self.may -= queued
            self.forbidden |= queued
            return purged

        self.agent._objections.withheld.tell = tell  # type: ignore[method-assign] # looks on
        self.agent._exporter.purge = purge  # type: ignore[method-assign] # looks on

    def _hear(self, word: Word, moment: int) -> None:
        """Keep the interval as the specification has it, and forbid all with a time in it."""
        if word.refuses(Level.EVENTS):
            self.said_no = True
            low, high = self.open_no or (moment, moment + 1)
            self.open_no = min(low, moment), max(high, moment + 1)
        elif word.level is Level.EVENTS and self.open_no is not None:
            low, high = self.open_no[0], max(self.open_no[1], moment)
            self.open_no = None
            self.closed.append((min(low, moment), high))
        inside = {value for value, what in self.values.items() if self._is_withheld(what.time)}
        self.forbidden |= inside - self._stored()

    def teardown(self) -> None:
        if not hasattr(self, "agent"):
            return
        for recorder in self.recorders:
            recorder.close()
        self._drain()
        self._check_everything()
        self.agent.close()
        self.gateway.log.close()
        shutil.rmtree(self.folder)

    def _drain(self) -> None:
        self.gateway.level, self.gateway.lose, self.gateway.is_there = Level.EVENTS, None, True
        self.admin = "events"
        self.now = self.latest = self.latest + timedelta(hours=2)
        self.restart_the_agent()
        while self.agent.round() is Left.MORE or self.table.rows:
            pass

    # What happens in products.

    @rule()
    @precondition(lambda self: len(self.recorders) < 2)
    def start_a_product(self) -> None:
        settings = RecorderSettings(outbox=str(self.outbox), sync_milliseconds=1_000_000)
        self.recorders.append(Recorder(settings, now=lambda: self.now, environment={}, look_seconds=1e9))

    @rule(data=st.data(), user=st.sampled_from([*USERS, None]), bad=st.booleans(), count=st.integers(1, 3))
    @precondition(lambda self: self.recorders)
    def record(self, data: st.DataObject, user: str | None, bad: bool, count: int) -> None:
        recorder = data.draw(st.sampled_from(self.recorders))
        for _ in range(count):
            value = self._next()
            if recorder.record("SearchSubmitted", user=user, duration_ms=value, source="fax" if bad else None):
                self._note(value, user, bad=bad)

    @rule(user=st.sampled_from(USERS))
    def write_a_row(self, user: str) -> None:
        value = self._next()
        self.table.rows.append({"name": "SearchSubmitted", "time": self.now, "user": f"u:{user}", "duration_ms": value})
        self._note(value, user, bad=False)

    def _next(self) -> int:
        self.calls += 1
        return self.calls

    def _note(self, value: int, user: str | None, *, bad: bool) -> None:
        self.values[value] = Recorded(user, microseconds(self.now))
        if bad or user in self.out or self._is_withheld(microseconds(self.now)):
            self.forbidden.add(value)
        elif user is not None and self.values[value].time < self.until.get(user, 0):
            self.may.add(value)  # a clock that was set back makes it older than it is

    def _is_withheld(self, moment: int) -> bool:
        intervals = (*self.closed, *([self.open_no] if self.open_no else []))
        return any(low <= moment < high for low, high in intervals)

    @rule(data=st.data())
    @precondition(lambda self: self.recorders)
    def look(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.recorders))._watch.look()

    # What people want.

    @rule(data=st.data(), user=st.sampled_from(USERS), by_hand=st.booleans())
    def opt_out(self, data: st.DataObject, user: str, by_hand: bool) -> None:
        self.wanted_out = True
        if by_hand or not self.recorders:
            OptOutsFile(self.outbox).append(user, out=True, now=self.now)
        else:
            assert data.draw(st.sampled_from(self.recorders)).opt_out(user)
        self.out[user] = max(self.now, self.out.get(user, self.now))
        self.forbidden |= self._waiting_of(user)

    @rule(user=st.sampled_from(USERS))
    @precondition(lambda self: self.out)
    def opt_in(self, user: str) -> None:
        if user not in self.out:
            return
        OptOutsFile(self.outbox).append(user, out=False, now=self.now)
        until = microseconds(max(self.out.pop(user), self.now))
        self.until[user] = max(until, self.until.get(user, 0))
        # With a clock that was set back while the user was out, what nobody has looked at since is taken for later.
        later = {value for value in self._waiting_of(user) if self.values[value].time >= until}
        self.may |= later & self.forbidden
        self.forbidden -= later

    @rule(user=st.sampled_from(USERS))
    def forget(self, user: str) -> None:
        self.wanted_out = True
        rows = {row["duration_ms"] for row in self.table.rows}
        moment = microseconds(self.now)
        known = {what.time for what in self.values.values() if what.user == user}
        self.until[user] = max(moment, self.until.get(user, 0), *(time + 1 for time in known))
        beside = State(self.folder / "agent", exclusive=False)
        forget(beside, user, outbox=self.outbox, now=self.now)
        beside.close()
        for value in self._waiting_of(user):
            if value not in rows or self.values[value].time < moment:
                self.forbidden.add(value)
            elif value in rows:
                self.may.add(value)  # a clock that was set back, and rows that nobody has read
        mapped = self.agent._state.pseudonyms("user", [user, f"u:{user}"])
        assert mapped == {}

    def _waiting_of(self, user: str) -> set[int]:
        return {value for value, what in self.values.items() if what.user == user} - self._stored()

    @rule(level=st.sampled_from(list(Level)))
    def the_vendor_decides(self, level: Level) -> None:
        self.gateway.level = level

    @rule(level=st.sampled_from(["off", "critical", "events"]))
    def the_admin_decides(self, level: str) -> None:
        self.admin = level
        self.restart_the_agent()

    # What befalls the instance.

    @rule(minutes=st.integers(1, 90))
    def time_goes_by(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)
        self.latest = max(self.latest, self.now)

    @rule(minutes=st.integers(1, 7))
    def the_clock_is_set_back(self, minutes: int) -> None:
        self.now = max(self.now - timedelta(minutes=minutes), self.latest - FURTHEST_BACK)

    @rule(is_there=st.booleans())
    def the_gateway_comes_or_goes(self, is_there: bool) -> None:
        self.gateway.is_there = is_there

    @rule(lose=st.sampled_from([None, None, "request", "answer"]))
    def agent_round(self, lose: str | None) -> None:
        self.gateway.lose = lose
        with contextlib.suppress(TransportError):
            self.agent.round()

    @rule(
        where=st.sampled_from(
            [(State, "begin"), (State, "finish"), (State, "save"), (Withheld, "_write"), (Agent, "_withhold")]
        ),
        after=st.booleans(),
    )
    def the_agent_dies_in_a_round(self, where: tuple[Any, str], after: bool) -> None:
        owner, name = where
        really = getattr(owner, name)
        self.dies_after = after

        def die(*arguments: Any, **fields: Any) -> None:
            if after:
                really(*arguments, **fields)
            raise DeathError

        with contextlib.suppress(TransportError, DeathError), mock.patch.object(owner, name, die):
            self.agent.round()
        self.restart_the_agent()

    @rule()
    def restart_the_agent(self) -> None:
        self.agent.close()
        self._open_agent()

    # What must hold after each step.

    def _stored(self) -> set[int]:
        return {value for value, count in Histories._stored(self).items() if count}  # type: ignore[arg-type] # has all it needs

    @invariant()
    def nothing_arrives_against_somebodys_word(self) -> None:
        if hasattr(self, "agent"):
            stored = self._stored()
            assert not stored & (self.forbidden - self.may)
            assert self.stored_before <= stored <= self.values.keys()
            self.stored_before = stored

    @invariant()
    def the_account_closes(self) -> None:
        if hasattr(self, "agent"):
            assert read_account(self.agent._state, self.outbox, SMALL_PLAN).closes()

    def _check_everything(self) -> None:
        """With everything drained, all that nobody objected to has arrived, and each call is accounted for."""
        account = read_account(self.agent._state, self.outbox, SMALL_PLAN)
        assert account.pending == {}
        stored = self._stored()
        assert self.values.keys() - self.forbidden - self.may <= stored
        assert not stored & (self.forbidden - self.may)
        assert account.recorded == self.calls
        assert sum(account.delivered.values()) == len(stored) == self.calls - total_counts(account.dropped)
        verdicts = {verdict for counts in account.dropped.values() for verdict in counts}
        allowed = {Verdict.INVALID_ENVELOPE}
        allowed |= {Verdict.NOT_PERMITTED} if self.said_no else set()
        allowed |= {Verdict.OPTED_OUT} if self.wanted_out else set()
        assert verdicts <= allowed
        erasures = read_erasures(self.agent._state.connection)
        assert all(each.user_id is None and each.erasure for each in erasures)
        assert len(set(self.gateway.erased)) == len(erasures)


NoMeansNo.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestNoMeansNo = NoMeansNo.TestCase
