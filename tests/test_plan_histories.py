"""Plans that change at any moment: what is stored is what the plan in force let pass, once each, and accounts close.

The real recorder, agent, intake and log; only HTTP is replaced, by calls that lose requests and answers on command.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import zstandard
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from harness import INSTANCE, SMALL_PLAN, definition
from heliograph.consent.level import Decision, Level
from heliograph.gateway.intake import Intake
from heliograph.gateway.log import Log
from heliograph.gateway.log_entries import Entry
from heliograph.gateway.log_reading import read_segment, segments
from heliograph.gateway.plans import PlanInForce
from heliograph.gateway.policies import PolicySigner
from heliograph.gateway.problems import RefusalError
from heliograph.gateway.receipts import ReceiptSigner
from heliograph.instance.account import read_account
from heliograph.instance.agent import Agent
from heliograph.instance.recorder import Recorder
from heliograph.instance.transport import GatewayRefusalError, TransportError, UnreachableError
from heliograph.keys import public_key_text
from heliograph.plan.model import IntegerProperty
from heliograph.registry.snapshot import Permission
from heliograph.settings import AgentSettings, GatewaySettings, RecorderSettings, Settings
from heliograph.wire import (
    ABSENT_HEADER,
    ARROW,
    EPOCH_HEADER,
    PLAN_HEADER,
    RANGE_HEADER,
    Answer,
    PolicyAnswer,
    Receipt,
    VerdictCounts,
    total_counts,
)
from test_once import KEY, MEMORY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heliograph.plan.model import Plan

NOW = datetime.now(UTC)
NAMES = ("Opened", "Closed", "Moved")
NUMBER = IntegerProperty(description="Which.", maximum=1 << 40)


def plan_of(version: int, names: frozenset[str], extra: frozenset[str]) -> Plan:
    events = {
        name: definition("pages", properties={"n": NUMBER} | ({"extra": NUMBER} if name in extra else {}))
        for name in sorted(names)
    }
    events["Always"] = definition("pages", properties={"n": NUMBER, "extra": NUMBER})
    return replace(SMALL_PLAN, version=version, features={"pages": "Looking."}, events=events)


class Line:
    """Stands for `GatewayClient`: calls the gateway, and breaks when it is told to."""

    clock_offset = timedelta()
    built_by: str | None = None
    ledger_head: str | None = None
    exporter = "0" * 32
    after: Sequence[str] = ()

    def clock_was_set(self) -> bool:
        return False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lose: str | None = None
        self.start(plan_of(1, frozenset(), frozenset()))

    def start(self, plan: Plan) -> None:
        self.in_force = plan
        self.log = Log(self.folder, segment_bytes=16 << 10, maximum_bytes=1 << 30)
        self.take(plan)

    def take(self, plan: Plan) -> None:
        """Put a plan into force, as the gateway does: everything at once."""
        self.in_force = plan
        plans = PlanInForce(plan)
        self.intake = Intake(
            plan=plans,
            log=self.log,
            permissions=lambda _: Permission("acme", Decision(Level.EVENTS, (), "agreement-1")),
            signer=ReceiptSigner(KEY),
            settings=GatewaySettings(),
        )
        self.signer = PolicySigner(KEY, plans, valid_seconds=3_600, now=lambda: NOW)

    def policy(self) -> PolicyAnswer:
        return self.signer.answer(INSTANCE, Permission("acme", Decision(Level.EVENTS, (), "agreement-1")))

    def plan(self) -> bytes:
        if self.lose == "plan":
            self.lose = None
            raise UnreachableError("the plan was lost")
        return self.in_force.canonical()

    def deliver(self, *, epoch: int, first: int, last: int, absent: VerdictCounts, body: bytes) -> Answer:
        lose, self.lose = self.lose, None
        if lose == "request":
            raise UnreachableError("the request was lost")
        headers = {
            "content-type": ARROW,
            "content-encoding": "zstd",
            EPOCH_HEADER: str(epoch),
            RANGE_HEADER: f"{first}-{last}",
            ABSENT_HEADER: msgspec.json.encode(absent).decode(),
        } | ({} if self.built_by is None else {PLAN_HEADER: self.built_by})
        try:
            answer = asyncio.run(self.intake.take(INSTANCE, headers, body))
        except RefusalError as error:
            raise GatewayRefusalError(error.to_problem()) from error
        if lose == "answer":
            raise UnreachableError("the answer was lost")
        return answer

    def latest_receipt(self, epoch: int) -> Receipt | None:
        return self.log.account(INSTANCE).latest.get(epoch)

    def close(self) -> None:
        """The log outlives the connection."""


class PlanHistories(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        (self.folder / "vendor.keys").write_text(public_key_text(KEY))
        self.settings = Settings(
            recorder=RecorderSettings(outbox=str(self.folder / "outbox")),
            agent=AgentSettings(
                instance=INSTANCE, vendor_keys=str(self.folder / "vendor.keys"), state=str(self.folder / "agent")
            ),
        )
        self.line = Line(self.folder / "log")
        self.plans = {self.line.in_force.label: self.line.in_force}
        self.ahead = 0.0
        self.calls = 0
        self.must: dict[int, str] = {}
        """Recorded, and to arrive should the last plan declare it: names by number."""
        self.never: set[int] = set()
        self.ever: set[str] = set()
        """The names that the agent has seen declared."""
        self._open_recorder()
        self._open_agent()
        self._round()

    def _open_recorder(self) -> None:
        self.recorder = Recorder(self.settings.recorder, now=lambda: NOW, look_seconds=3_600.0)

    def _open_agent(self) -> None:
        self.agent = Agent(
            self.settings,
            None,
            now=lambda: NOW,
            ticks=lambda: self.ahead,
            environment={},
            client=self.line,  # type: ignore[arg-type] # stands for it
        )

    @rule(name=st.sampled_from([*NAMES, "Always"]), count=st.integers(1, 3))
    def record(self, name: str, count: int) -> None:
        self.recorder._watch.look()
        for _ in range(count):
            self.calls += 1
            if self.recorder.record(name, user=1, n=self.calls, extra=self.calls):
                self.must[self.calls] = name
            else:
                assert name in self.ever, "what was never declared is set aside"
        self.recorder._measure()

    @rule(names=st.frozensets(st.sampled_from(NAMES)), extra=st.frozensets(st.sampled_from(NAMES)))
    def change_the_plan(self, names: frozenset[str], extra: frozenset[str]) -> None:
        plan = plan_of(len(self.plans) + 1, names, extra)
        self.plans[plan.label] = plan
        self.line.take(plan)

    @rule(lose=st.sampled_from([None, None, "request", "answer", "plan"]))
    def round(self, lose: str | None) -> None:
        self.line.lose = lose
        self._round()

    @rule()
    def round_by_the_word_of_a_moment_ago(self) -> None:
        self._round(ahead=0.0)

    def _round(self, ahead: float = 1_000.0) -> None:
        self.ahead += ahead
        stored, went_well = self._stored(), False
        with contextlib.suppress(TransportError):
            self.agent.round()
            went_well = True
        self.line.lose = None
        plan = self.agent._plans.plan
        declared = plan.events.keys()
        if self.agent._plans.is_heard:
            withdrawn = {n for n, name in self.must.items() if name in self.ever and name not in declared}
            withdrawn -= stored.keys()
            for number in withdrawn:
                del self.must[number]
            if went_well:
                self.never |= withdrawn
            self.ever |= declared

    @rule()
    def kill_the_agent(self) -> None:
        self.agent._state.close()
        self._open_agent()

    @rule()
    def end_the_product(self) -> None:
        self.recorder.close()
        self._open_recorder()

    @rule()
    def restart_the_gateway(self) -> None:
        self.line.log.close()
        self.line.start(self.line.in_force)

    def _rows(self) -> list[tuple[str, dict[str, Any]]]:
        found = []
        for generation in segments(self.line.folder):
            for _, header, body in read_segment(self.line.folder, generation):
                if isinstance(header, Entry) and body:
                    batch = pa.ipc.open_stream(zstandard.ZstdDecompressor().decompress(body)).read_next_batch()
                    found += [(header.plan, row) for row in batch.to_pylist()]
        return found

    def _stored(self) -> Counter[int]:
        return Counter(row["n"] for _, row in self._rows())

    @invariant()
    def what_is_stored_is_what_the_plan_in_force_let_pass_once_each(self) -> None:
        if not hasattr(self, "agent"):
            return
        rows = self._rows()
        for label, row in rows:
            event = self.plans[label].events[row["name"]]
            assert {key for key in ("n", "extra") if row.get(key) is not None} <= event.properties.keys()
        stored = Counter(row["n"] for _, row in rows)
        assert set(stored.values()) <= {1}
        assert self.never.isdisjoint(stored)

    @invariant()
    def both_ends_account_for_every_event(self) -> None:
        if not hasattr(self, "agent"):
            return
        account = read_account(self.agent._state, self.folder / "outbox", self.agent._plans.plan)
        assert account.closes(), account
        assert account.recorded <= self.calls, (
            "what was dropped without a number is known once the agent has read of it"
        )
        theirs = self.line.log.account(INSTANCE)
        numbers = sum(receipt.last for receipt in theirs.latest.values())
        assert sum(theirs.accepted.values()) + total_counts(theirs.rejected) + total_counts(theirs.absent) == numbers
        assert theirs.rejected == {}, "the instance sends nothing that the gateway's plan rejects"

    def teardown(self) -> None:
        if not hasattr(self, "agent"):
            return
        self.change_the_plan(frozenset(NAMES), frozenset(NAMES))
        self.recorder.close()
        for _ in range(3):
            self._round()
        account = read_account(self.agent._state, self.folder / "outbox", self.agent._plans.plan)
        assert (account.pending, account.held, account.undecided) == ({}, {}, 0)
        assert account.recorded == self.calls
        assert account.delivered == self.line.log.account(INSTANCE).accepted
        assert self.must.keys() <= self._stored().keys(), account
        self.agent.close()
        self.line.log.close()
        shutil.rmtree(self.folder)


PlanHistories.TestCase.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)
TestPlanHistories = PlanHistories.TestCase
