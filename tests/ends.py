"""Both ends of an account without a network between them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness import SMALL_PLAN
from heliograph.instance.account import InstanceAccount, read_account
from heliograph.instance.state import State
from test_once import DirectGateway, exporter_to

if TYPE_CHECKING:
    from pathlib import Path

    from heliograph.instance.outbox import EpochWriter

NOW = datetime(2026, 11, 1, tzinfo=UTC)


class Ends:
    """An outbox, an exporter, and a gateway without a network between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outbox = folder / "outbox"
        self.gateway = DirectGateway(folder / "log")
        self.state = State(folder / "agent")
        self.begin()

    def begin(self) -> None:
        self.exporter = exporter_to(self.gateway, self.outbox, self.state)

    def restart(self) -> None:
        self.state.close()
        self.state = State(self.folder / "agent")
        self.begin()

    def close(self) -> None:
        self.state.close()
        self.gateway.log.close()

    def drain(self) -> None:
        while self.exporter.deliver_round():
            pass

    def account(self) -> InstanceAccount:
        return read_account(self.state, self.outbox, SMALL_PLAN)


def append(writer: EpochWriter, *names: str) -> None:
    for name in names:
        writer.append([{"name": name, "time": NOW, "user": "u1"}])


def say(writer: EpochWriter, **recorded: int) -> None:
    writer.note_dropped({}, recorded=recorded)
