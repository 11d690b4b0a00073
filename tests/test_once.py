"""Promises 1, 3 and 4 over generated histories: every event once, every number accounted for, whatever breaks when.

The real outbox, exporter, intake and log; only HTTP is replaced, by calls that lose requests and answers on command.
Each event carries a unique value, so that a correct log holds each of them exactly once: a second one shows.
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
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harness import INSTANCE, SMALL_PLAN
from heliograph.consent.level import Decision, Level
from heliograph.difference import add
from heliograph.event import UNDECLARED, Verdict
from heliograph.gateway.intake import Intake
from heliograph.gateway.log import Log
from heliograph.gateway.log_entries import Entry
from heliograph.gateway.log_reading import read_segment, segments
from heliograph.gateway.problems import RefusalError
from heliograph.gateway.receipts import ReceiptSigner
from heliograph.instance.account import read_account, read_passed
from heliograph.instance.exporter import Exporter
from heliograph.instance.outbox import EpochWriter
from heliograph.instance.state import State
from heliograph.instance.transport import GatewayRefusalError, TransportError, UnreachableError
from heliograph.registry.snapshot import Permission
from heliograph.settings import AgentSettings, GatewaySettings, RecorderSettings
from heliograph.wire import (
    ABSENT_HEADER,
    ARROW,
    EPOCH_HEADER,
    RANGE_HEADER,
    Answer,
    Receipt,
    VerdictCounts,
    total_counts,
)

if TYPE_CHECKING:
    from heliograph.gateway.account import Account

KEY = Ed25519PrivateKey.generate()
NOW = datetime(2026, 11, 1, tzinfo=UTC)
MEMORY = Path("/dev/shm")
"""Thousands of forced writes are quick here; what they force matters to other tests."""


class DirectGateway:
    """Stands for `GatewayClient`: calls the intake, and breaks when it is told to."""

    clock_offset = timedelta()
    built_by: str | None = None
    ledger_head: str | None = None

    def clock_was_set(self) -> bool:
        return False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.level = Level.EVENTS
        self.lose: str | None = None
        self.log: Log
        self.start()

    def start(self) -> None:
        gateway = GatewaySettings(log=str(self.folder), segment_bytes=16 << 10)
        self.log = Log(self.folder, segment_bytes=gateway.segment_bytes, maximum_bytes=1 << 30)
        self.intake = Intake(
            plan=SMALL_PLAN,
            log=self.log,
            permissions=self.permission,
            signer=ReceiptSigner(KEY),
            settings=gateway,
            now=lambda: NOW,
        )

    def restart(self) -> None:
        self.log.close()
        self.start()

    def permission(self, _: str) -> Permission:
        return Permission("acme", Decision(self.level, ("as the test says",), "agreement-1"))

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
        }
        try:
            answer = asyncio.run(self.intake.take(INSTANCE, headers, body))
        except RefusalError as error:
            raise GatewayRefusalError(error.to_problem()) from error
        if lose == "answer":
            raise UnreachableError("the answer was lost")
        return answer

    def latest_receipt(self, epoch: int) -> Receipt | None:
        return self.log.account(INSTANCE).latest.get(epoch)


def exporter_to(gateway: DirectGateway, outbox: Path, state: State) -> Exporter:
    """Make an exporter of small batches that hands them to a gateway without a network between."""
    return Exporter(
        agent=AgentSettings(batch_events=7),
        recorder=RecorderSettings(outbox=str(outbox)),
        plan=SMALL_PLAN,
        state=state,
        client=gateway,  # type: ignore[arg-type] # stands for it
        now=lambda: NOW,
    )


class Histories(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.outbox = self.folder / "outbox"
        self.gateway = DirectGateway(self.folder / "log")
        self.writers: list[EpochWriter] = []
        self.recorded: Counter[str] = Counter()
        self.counted: dict[int, Counter[str]] = {}
        self.unique = 0
        self.forbidden: set[int] = set()
        self.pending_values: set[int] = set()
        self._open_exporter()

    def _open_exporter(self) -> None:
        self.state = State(self.folder / "agent")
        self.exporter = exporter_to(self.gateway, self.outbox, self.state)

    def teardown(self) -> None:
        if not hasattr(self, "state"):
            return
        for writer in self.writers:
            writer.close()
        self._drain()
        self._check_everything()
        self.state.close()
        self.gateway.log.close()
        shutil.rmtree(self.folder)

    def _drain(self) -> None:
        self.gateway.level, self.gateway.lose = Level.EVENTS, None
        while self.exporter.deliver_round():
            pass

    # What a product does.

    @rule()
    @precondition(lambda self: len(self.writers) < 3)
    def start_a_process(self) -> None:
        self.writers.append(EpochWriter(self.outbox, maximum_bytes=1 << 20, segment_bytes=400))

    @rule(data=st.data(), good=st.integers(0, 9), bad=st.integers(0, 3), one_frame=st.booleans())
    @precondition(lambda self: self.writers)
    def record(self, data: st.DataObject, good: int, bad: int, one_frame: bool) -> None:
        writer = data.draw(st.sampled_from(self.writers))
        made: list[dict[str, Any]] = []
        for index in range(good + bad):
            self.unique += 1
            event: dict[str, Any] = {
                "name": "SearchSubmitted",
                "time": NOW,
                "user": f"u{self.unique % 3}",
                "duration_ms": self.unique,
            }
            if index >= good:
                key, value = [("name", "Unheard"), ("duration_ms", -1), ("source", "fax")][index % 3]
                event[key] = value
            else:
                self.pending_values.add(self.unique)
            made.append(event)
        for frame in [made] if one_frame else [[event] for event in made]:
            if frame:
                writer.append(frame)
        names = Counter(event["name"] for event in made)
        self.counted.setdefault(writer.epoch, Counter()).update(names)
        self.recorded.update(name if name in SMALL_PLAN.events else UNDECLARED for name in names.elements())

    @rule(data=st.data())
    @precondition(lambda self: self.writers)
    def say_what_was_recorded(self, data: st.DataObject) -> None:
        writer = data.draw(st.sampled_from(self.writers))
        writer.note_dropped({}, recorded=dict(self.counted.get(writer.epoch, {})))

    @rule(data=st.data())
    @precondition(lambda self: self.writers)
    def end_a_process(self, data: st.DataObject) -> None:
        writer = data.draw(st.sampled_from(self.writers))
        self.writers.remove(writer)
        data.draw(st.sampled_from([writer.close, writer.abandon]))()

    # What the agent does, and what befalls it.

    @rule(lose=st.sampled_from([None, None, "request", "answer"]))
    def deliver(self, lose: str | None) -> None:
        self.gateway.lose = lose
        with contextlib.suppress(TransportError):
            self.exporter.deliver_round()

    @rule()
    def kill_the_agent(self) -> None:
        self.state.close()
        self._open_exporter()

    @rule()
    def restart_the_gateway(self) -> None:
        self.gateway.restart()

    @rule(level=st.sampled_from(list(Level)))
    def change_the_level(self, level: Level) -> None:
        self.gateway.level = level

    @rule()
    @precondition(lambda self: self.gateway.level is not Level.EVENTS)
    def purge(self) -> None:
        """The policy says no: what had not arrived before this may never arrive."""
        self.exporter.purge()
        self.forbidden |= self.pending_values - set(self._stored())

    # What must hold after each step.

    def _stored(self) -> Counter[int]:
        values: Counter[int] = Counter()
        for generation in segments(self.gateway.folder):
            for _, header, body in read_segment(self.gateway.folder, generation):
                if isinstance(header, Entry):
                    batch = pa.ipc.open_stream(zstandard.ZstdDecompressor().decompress(body)).read_next_batch()
                    if "duration_ms" in batch.schema.names:
                        values.update(batch.column("duration_ms").to_pylist())
        return values

    @invariant()
    def each_event_at_most_once_and_none_that_was_forbidden(self) -> None:
        if hasattr(self, "state"):
            stored = self._stored()
            assert set(stored.values()) <= {1}
            assert stored.keys() <= self.pending_values - self.forbidden

    @invariant()
    def the_instance_accounts_for_every_event(self) -> None:
        if hasattr(self, "state"):
            account = read_account(self.state, self.outbox, SMALL_PLAN)
            assert account.unexplained() == {}
            assert account.differences == []
            assert account.closes()
            assert account.recorded == self.recorded.total()
            assert account.recorded_names == dict(self.recorded)
            assert read_passed(self.state).closes()
            for epoch, progress in self.state.all_progress().items():
                receipts = list(self.state.receipts(epoch))
                counted = self.state.counted(epoch, progress)
                assert counted.delivered == add({}, *(receipt.accepted for receipt in receipts))

    @invariant()
    def the_gateway_accounts_for_every_number(self) -> None:
        if hasattr(self, "state"):
            theirs = self.gateway.log.account(INSTANCE)
            numbers = sum(receipt.last for receipt in theirs.latest.values())
            parts = sum(theirs.accepted.values()) + total_counts(theirs.rejected) + total_counts(theirs.absent)
            assert parts == numbers

    def _check_everything(self) -> None:
        """With everything drained, both ends agree, and all that was allowed has arrived."""
        account = read_account(self.state, self.outbox, SMALL_PLAN)
        theirs: Account = self.gateway.log.account(INSTANCE)
        assert account.pending == {}
        assert account.undecided == 0
        assert account.delivered == theirs.accepted
        assert set(self._stored()) == self.pending_values - self.forbidden
        assert theirs.rejected == {}
        verdicts = {verdict for counts in account.dropped.values() for verdict in counts}
        assert verdicts <= {
            Verdict.NOT_PERMITTED,
            Verdict.UNDECLARED_EVENT,
            Verdict.INVALID_PROPERTY,
            Verdict.INVALID_ENVELOPE,
        }
        assert set(account.dropped) <= {"SearchSubmitted", UNDECLARED}


Histories.TestCase.settings = settings(max_examples=250, stateful_step_count=30, deadline=None)
TestHistories = Histories.TestCase
