"""A vendor whose gateway runs as processes of its own, as it does in production."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from harness import SMALL_PLAN, Vendor
from heliograph.demo.home import free_port
from heliograph.instance.transport import UnreachableError
from heliograph.settings import PlanSettings, commented_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START_SECONDS = 120
"""Far more than it takes on a machine that does nothing else."""


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + START_SECONDS
    while not (found := condition()):
        assert time.monotonic() < end, f"still waiting for {what}"
        time.sleep(0.05)
    return found


class GatewayProcess:
    """A gateway with so many workers; its log of messages is a file."""

    def __init__(self, folder: Path, workers: int, **gateway: Any) -> None:
        self.vendor = Vendor(folder, port=free_port(), workers=workers, **gateway)
        self.workers = workers
        plan = folder / "plan.json"
        plan.write_bytes(SMALL_PLAN.canonical())
        settings = msgspec.structs.replace(self.vendor.settings, plan=PlanSettings(file=str(plan)))
        self.settings_file = folder / "vendor.toml"
        self.settings_file.write_text(commented_file(settings))
        self.vendor.port = settings.gateway.port
        self.messages_file = folder / "messages"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with self.messages_file.open("ab") as messages:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "heliograph.cli", "--config", str(self.settings_file), "gateway", "run"],
                stderr=messages,
                start_new_session=True,
            )
        wait_for(self.answers, "the gateway to answer")

    def answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.messages_file.read_text()
        try:
            with self.vendor.http() as http:
                return http.get("/healthz").is_success
        except (httpx.TransportError, UnreachableError):
            return False

    def worker_pids(self) -> set[int]:
        children = f"/proc/{self.pid}/task/{self.pid}/children"
        with open(children, encoding="ascii") as file:  # noqa: PTH123 - the kernel's
            return {int(pid) for pid in file.read().split() if is_running(int(pid))}

    def messages(self, event: str) -> list[dict[str, Any]]:
        lines = [line for line in self.messages_file.read_text().splitlines() if line.startswith("{")]
        return [found for found in map(json.loads, lines) if found["event"] == event]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            os.kill(self.pid, number)
        return self._process.wait(60)


@contextmanager
def gateway_process(folder: Path, workers: int, **gateway: Any) -> Iterator[GatewayProcess]:
    found = GatewayProcess(folder, workers, **gateway)
    found.start()
    try:
        yield found
    finally:
        found.end()


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - the kernel's
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
