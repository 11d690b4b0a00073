"""The processes of the demonstration: started, killed, started again, and stopped at the end whatever happens."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

_STOP_SECONDS: Final = 20.0


class ProcessError(Exception):
    """A process ended that should not have; the message shows the end of its log."""


class Process:
    """One process, with a log file of its own."""

    def __init__(self, name: str, arguments: Sequence[str], *, environment: Mapping[str, str], log: Path) -> None:
        self.name: Final = name
        self.kills = 0
        self._arguments = list(arguments)
        self._environment = dict(environment)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", *self._arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal is for the demonstration, which then stops the others in their order.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Return the operating system's number of the process that was started last."""
        assert self._process is not None  # noqa: S101 - a programming error
        return self._process.pid

    def status(self) -> int | None:
        """Return its exit status; None while it runs."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """Kill it without warning (SIGKILL), and start it again."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
            self.kills += 1
        self.start()

    def stop(self) -> int:
        """Ask it to end (SIGTERM), wait, and return its exit status."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def require_running(self) -> None:
        """See that it still runs.

        Raises:
            ProcessError: It has ended.
        """
        if (status := self.status()) is not None:
            raise ProcessError(f"{self.name} ended with status {status}: {self.tail()}\nits log: {self._log}")

    def tail(self) -> str:
        """Return the end of its log."""
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        return "\n".join(lines[-5:]) or "(it said nothing)"


class Processes:
    """All processes of one demonstration; leaving the block stops them."""

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self._logs = logs
        self._environment = environment
        self._all: list[Process] = []

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The last started depends on those before it.
        for process in reversed(self._all):
            process.stop()

    def start(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Process:
        """Start ``python -m ARGUMENTS``."""
        process = Process(
            name,
            arguments,
            environment={**self._environment, **(environment or {})},
            log=self._logs / f"{name}.log",
        )
        process.start()
        self._all.append(process)
        return process


def wait_until(condition: object, *, seconds: float, what: str, check: Sequence[Process] = ()) -> None:
    """Wait until `condition()` is true, looking meanwhile that the processes in `check` still run.

    Raises:
        ProcessError: One of them ended, or the time is up.
    """
    assert callable(condition)  # noqa: S101 - a programming error
    end = time.monotonic() + seconds
    while not condition():
        for process in check:
            process.require_running()
        if time.monotonic() > end:
            raise ProcessError(f"after {seconds:.0f} seconds still waiting for {what}")
        time.sleep(0.1)
