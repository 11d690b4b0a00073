"""Off is off: at level `off` the agent opens no connection, to the gateway or to the product's database."""

from __future__ import annotations

import contextlib
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness import INSTANCE, SMALL_PLAN
from heliograph import Recorder
from heliograph.instance.account import read_account
from heliograph.instance.agent import Agent, Left
from heliograph.instance.state import State
from heliograph.instance.transport import TransportError
from heliograph.keys import public_key_text
from heliograph.settings import AgentSettings, EventLogsSettings, RecorderSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Door:
    """A port on which somebody waits for whoever comes."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0)
        self.port = self._socket.getsockname()[1]

    def visitors(self) -> int:
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.accept()[0].close()
                count += 1
        return count

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.close()


def pinned(folder: Path) -> str:
    """Pin some key, as whoever expects a vendor does."""
    file = folder / "vendor.keys"
    file.write_text(public_key_text(Ed25519PrivateKey.generate()) + "\n")
    return str(file)


def settings(folder: Path, door: Door, level: str) -> Settings:
    return Settings(
        recorder=RecorderSettings(outbox=str(folder / "outbox")),
        agent=AgentSettings(
            gateway=f"https://127.0.0.1:{door.port}",
            instance=INSTANCE,
            key=str(folder / "instance.pem"),
            vendor_keys=pinned(folder),
            state=str(folder / "agent"),
            level=level,  # type: ignore[arg-type] # one of the three
            timeout_seconds=0.2,
        ),
        event_logs=EventLogsSettings(dsn=f"host=127.0.0.1 port={door.port} dbname=product connect_timeout=2"),
    )


def test_at_level_off_no_connection_is_opened_and_what_was_queued_is_dropped(tmp_path: Path, door: Door) -> None:
    given = settings(tmp_path, door, "off")
    recorder = Recorder(given.recorder)
    assert recorder.record("SearchSubmitted", user=1)
    recorder.close()
    agent = Agent(given, SMALL_PLAN)
    assert [agent.round() for _ in range(3)] == [Left.NOTHING] * 3
    agent.close()
    assert door.visitors() == 0
    state = State(tmp_path / "agent", exclusive=False)
    account = read_account(state, tmp_path / "outbox", SMALL_PLAN)
    used = list(state.usage.read(datetime.now(UTC).date(), days=28, sendable_only=False))
    state.close()
    assert used == []
    assert account.dropped == {"SearchSubmitted": {"not_permitted": 1}}
    assert account.pending == {}


def test_at_level_off_no_ping_is_sent_and_none_waits_any_more(tmp_path: Path, door: Door) -> None:
    given = settings(tmp_path, door, "off")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    state = State(tmp_path / "agent")
    state.pings.begin(yesterday - timedelta(days=1))
    state.pings.put(yesterday - timedelta(days=1), b"{}", datetime.now(UTC))
    state.close()
    agent = Agent(given, SMALL_PLAN)
    assert [agent.round() for _ in range(2)] == [Left.NOTHING] * 2
    agent.close()
    assert door.visitors() == 0
    state = State(tmp_path / "agent", exclusive=False)
    assert (state.pings.since(), state.pings.kept()) == (None, [])
    assert not list(state.usage.read(yesterday, days=28, sendable_only=False))
    state.close()


@pytest.mark.parametrize("level", ["critical", "events"])
def test_at_any_other_level_somebody_knocks(tmp_path: Path, door: Door, level: str) -> None:
    agent = Agent(settings(tmp_path, door, level), SMALL_PLAN)
    with pytest.raises(TransportError):
        agent.round()
    agent.close()
    assert door.visitors() == 1
