"""A command at a real terminal: what it asks is waited for, and answered as by a person's keys."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE = 60
"""Seconds to wait for a question: starting a process can take long on a busy machine."""


class Terminal:
    """Runs ``heliograph`` with its input and output at a pseudo-terminal of its own."""

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        self._master, slave = pty.openpty()
        # In a session whose controlling terminal it is, Ctrl-C becomes a signal.
        command = ["setsid", "--ctty", str(Path(sys.executable).with_name("heliograph")), *words]
        environment = {**os.environ, "TERM": "dumb", "COLUMNS": "120"}
        self._process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environment)
        os.close(slave)
        self.shown = ""
        self._unread = ""

    def expect(self, text: str) -> None:
        """Wait until `text` is shown after what was expected before."""
        deadline = time.monotonic() + PATIENCE
        while text not in self._unread:
            ready, _, _ = select.select([self._master], [], [], max(0, deadline - time.monotonic()))
            try:
                read = os.read(self._master, 4096) if ready else b""
            except OSError:  # the other end is gone
                read = b""
            if not read:
                raise AssertionError(f"{text!r} was not shown, but: {self.shown[-2000:]}{self._unread}")
            self._unread += read.decode(errors="replace")
        before, found, self._unread = self._unread.partition(text)
        self.shown += before + found

    def answer(self, question: str, keys: str) -> None:
        """Wait for a question, and type the answer to it."""
        self.expect(question)
        os.write(self._master, f"{keys}\n".encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.write(self._master, b"\x03")

    def end(self) -> int:
        """Wait for the end, and return the exit status."""
        try:
            return self._process.wait(timeout=PATIENCE)
        finally:
            os.close(self._master)
