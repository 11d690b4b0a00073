"""Each event is tallied as use exactly once, whatever breaks when; and at `off` not at all.

The real outbox, exporter, intake and log, as in test_once.py. The agent is killed before and after each of its
transactions and its deletions. Each event has a user of its own, so that a correct tally holds only ones.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from heliograph.consent.level import Level
from heliograph.instance.outbox import EpochWriter
from heliograph.instance.outbox_reading import EpochReader
from heliograph.instance.state import State
from heliograph.instance.transport import GatewayRefusalError, TransportError
from heliograph.instance.usage import UsageTable
from heliograph.wire import Answer, Problem
from test_once import MEMORY, DirectGateway, exporter_to

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 11, 1, tzinfo=UTC)
STEPS: list[tuple[type, str]] = [
    (State, "begin"),
    (State, "save"),
    (State, "finish"),
    (State, "_put"),
    (UsageTable, "add"),
    (UsageTable, "_merge_some"),
    (EpochReader, "release"),
    (EpochReader, "clear"),
    (EpochReader, "remove"),
]
"""What the agent may be killed before, and after: its transactions, the parts of one, and what it deletes."""


class KilledError(Exception):
    """The agent was killed here."""


def killing(step: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    def call(*arguments: Any, **fields: Any) -> None:
        if after:
            step(*arguments, **fields)
        raise KilledError

    return call


class RefusingGateway(DirectGateway):
    """Refuses whatever is delivered, for good, while it is told to."""

    refuses = False

    def deliver(self, **fields: Any) -> Answer:
        if self.refuses:
            raise GatewayRefusalError(Problem(type="bad_batch", title="No.", status=422))
        return super().deliver(**fields)


class Tallies(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.outbox = self.folder / "outbox"
        self.gateway = RefusingGateway(self.folder / "log")
        self.writers: list[EpochWriter] = []
        self.recorded: set[str] = set()
        self.never: set[str] = set()
        """Users whose events were dropped at `off`."""
        self.kept_here: set[str] = set()
        """Users whose events may be tallied, and may not leave."""
        self.unique = 0
        self._open_exporter()

    def _open_exporter(self) -> None:
        self.state = State(self.folder / "agent")
        self.exporter = exporter_to(self.gateway, self.outbox, self.state)

    def _until_killed(self, action: Callable[[], object], killed: tuple[type, str] | None, *, after: bool) -> None:
        """Do something; if the agent is killed in it, start it again."""
        try:
            if killed is None:
                action()
                return
            kind, name = killed
            with mock.patch.object(kind, name, autospec=True, side_effect=killing(getattr(kind, name), after=after)):
                action()
        except KilledError:
            self.state.close()
            self._open_exporter()

    def teardown(self) -> None:
        if not hasattr(self, "state"):
            return
        for writer in self.writers:
            writer.close()
        self.gateway.level, self.gateway.lose, self.gateway.refuses = Level.EVENTS, None, False
        while self.exporter.deliver_round():
            pass
        assert self._tallied() == Counter(self.recorded - self.never)
        self.state.usage.merge()
        assert self._tallied() == Counter(self.recorded - self.never)
        assert self._tallied(sendable_only=True) == Counter(self.recorded - self.never - self.kept_here)
        self.state.close()
        self.gateway.log.close()
        shutil.rmtree(self.folder)

    def _tallied(self, *, sendable_only: bool = False) -> Counter[str]:
        counts: Counter[str] = Counter()
        for use in self.state.usage.read(NOW.date(), days=28, sendable_only=sendable_only):
            counts[use.user] += use.events
        return counts

    @rule()
    @precondition(lambda self: len(self.writers) < 3)
    def start_a_process(self) -> None:
        self.writers.append(EpochWriter(self.outbox, maximum_bytes=1 << 20, segment_bytes=400))

    @rule(data=st.data(), good=st.integers(0, 9), undeclared=st.integers(0, 2), one_frame=st.booleans())
    @precondition(lambda self: self.writers)
    def record(self, data: st.DataObject, good: int, undeclared: int, one_frame: bool) -> None:
        writer = data.draw(st.sampled_from(self.writers))
        made = []
        for index in range(good + undeclared):
            self.unique += 1
            user = f"u{self.unique}"
            made.append({"name": "SearchSubmitted" if index < good else "Unheard", "time": NOW, "user": user})
            if index < good:
                self.recorded.add(user)
        for frame in [made] if one_frame else [[event] for event in made]:
            if frame:
                writer.append(frame)

    @rule(data=st.data())
    @precondition(lambda self: self.writers)
    def end_a_process(self, data: st.DataObject) -> None:
        writer = data.draw(st.sampled_from(self.writers))
        self.writers.remove(writer)
        data.draw(st.sampled_from([writer.close, writer.abandon]))()

    @rule(
        lose=st.sampled_from([None, None, "request", "answer"]),
        refuses=st.sampled_from([False, False, False, True]),
        killed=st.sampled_from([None, None, *STEPS]),
        after=st.booleans(),
    )
    def deliver(self, lose: str | None, refuses: bool, killed: tuple[type, str] | None, after: bool) -> None:
        self.gateway.lose, self.gateway.refuses = lose, refuses
        with contextlib.suppress(TransportError):
            self._until_killed(self.exporter.deliver_round, killed, after=after)

    @rule()
    def restart_the_gateway(self) -> None:
        self.gateway.restart()

    @rule()
    def the_gateway_forgets(self) -> None:
        """Its log is gone: the two ends differ, and the instance goes where the gateway says that it stands."""
        self.gateway.log.close()
        shutil.rmtree(self.gateway.folder)
        self.gateway.start()

    @rule(
        level=st.sampled_from(["off", "critical", "kept here"]),
        killed=st.sampled_from([None, None, *STEPS]),
        after=st.booleans(),
    )
    def purge(self, level: str, killed: tuple[type, str] | None, after: bool) -> None:
        before = self.recorded - set(self._tallied()) - self.never

        def purge() -> None:
            self.exporter.purge(tally=level != "off", sendable=level == "critical")

        self._until_killed(purge, killed, after=after)
        purge()  # an agent that was killed goes on
        if level == "off":
            self.never |= before
        if level == "kept here":
            self.kept_here |= before

    @rule(killed=st.sampled_from([None, (UsageTable, "_merge_some")]), after=st.booleans())
    def merge(self, killed: tuple[type, str] | None, after: bool) -> None:
        self._until_killed(self.state.usage.merge, killed, after=after)

    @invariant()
    def nothing_is_tallied_twice_or_against_the_level(self) -> None:
        if hasattr(self, "state"):
            tallied = self._tallied()
            assert set(tallied.values()) <= {1}
            assert tallied.keys() <= self.recorded - self.never
            assert not self._tallied(sendable_only=True).keys() & self.kept_here


Tallies.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestTallies = Tallies.TestCase
