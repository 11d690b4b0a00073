"""An instance with a gateway in the same process: real but for HTTP, and quick."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import zstandard

from harness import SMALL_PLAN
from heliograph.gateway.log_entries import Entry
from heliograph.gateway.log_reading import read_segment, segments
from heliograph.instance.account import read_account
from heliograph.instance.exporter import Exporter
from heliograph.instance.forgetting import forget, scrub
from heliograph.instance.recorder import Recorder
from heliograph.instance.state import State
from heliograph.settings import AgentSettings, RecorderSettings
from test_once import DirectGateway

if TYPE_CHECKING:
    from pathlib import Path

    from heliograph.event import Verdict

BEGIN = datetime(2026, 10, 31, tzinfo=UTC)
DAY = BEGIN.date()


class Site:
    """An instance whose clock goes on by a second with everything that is done."""

    def __init__(self, folder: Path, **agent: Any) -> None:
        self.folder = folder
        self.outbox = folder / "outbox"
        self.agent = AgentSettings(**{"batch_events": 3, **agent})
        self.gateway = DirectGateway(folder / "log")
        self.time = BEGIN
        self.value = 0
        self.recorder = Recorder(
            RecorderSettings(outbox=str(self.outbox)), environment={}, look_seconds=1e9, now=self.now
        )
        self.open()

    def now(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time

    def open(self) -> None:
        self.state = State(self.folder / "agent")
        self.exporter = Exporter(
            agent=self.agent,
            recorder=RecorderSettings(outbox=str(self.outbox)),
            plan=SMALL_PLAN,
            state=self.state,
            client=self.gateway,  # type: ignore[arg-type] # stands for it
            now=self.now,
        )

    def record(self, **what: Any) -> int:
        self.value += 1
        assert self.recorder.record("SearchSubmitted", duration_ms=self.value, **what)
        return self.value

    def drain(self) -> None:
        while self.exporter.deliver_round():
            pass
        account = read_account(self.state, self.outbox, SMALL_PLAN)
        assert account.closes()
        assert account.pending == {}

    def forget(self, user: str) -> list[str]:
        """Forget a user beside the running agent, as the command line does."""
        with closing(State(self.folder / "agent", exclusive=False)) as beside:
            outcome = forget(beside, user, outbox=self.outbox, now=self.now())
            assert scrub(beside.connection)
        return outcome.random_ids

    def rows(self) -> dict[int, dict[str, Any]]:
        """The rows of the log by the value of their event."""
        found: dict[int, dict[str, Any]] = {}
        for body in self.bodies():
            rows = pa.ipc.open_stream(body).read_next_batch().to_pylist()
            found |= {row["duration_ms"]: row for row in rows}
        return found

    def bodies(self) -> list[bytes]:
        frames = (frame for each in segments(self.gateway.folder) for frame in read_segment(self.gateway.folder, each))
        return [zstandard.decompress(body) for _, header, body in frames if isinstance(header, Entry) and body]

    def users(self) -> dict[int, str]:
        return {value: row["user_id"] for value, row in sorted(self.rows().items())}

    def used_by(self) -> list[str]:
        """Who used something, an event a member."""
        used = self.state.usage.read(DAY, days=2, sendable_only=True)
        return sorted(use.user for use in used for _ in range(use.events))

    def dropped(self) -> dict[str, dict[Verdict, int]]:
        return read_account(self.state, self.outbox, SMALL_PLAN).dropped

    def close(self) -> None:
        self.recorder.close()
        self.state.close()
        self.gateway.log.close()
