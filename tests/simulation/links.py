"""Simulated links between workers and writer: what was sent on one waits until the simulation lets it arrive."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from simulation.processes import Fault

if TYPE_CHECKING:
    import asyncio
    import random
    from collections.abc import Iterable

    from simulation.processes import Process

_IN_PARTS: Final = 0.2
"""So often does a message arrive in two parts."""


class Way:
    """One direction of a link: the way out of one process (a `heliograph.gateway.link.Sender`), and into another.

    Args:
        sends: Whose way out it is.
        reads: Who reads what arrives.
        reader: On which.
    """

    def __init__(self, sends: Process, reads: Process, reader: asyncio.StreamReader) -> None:
        self.sends: Final = sends
        self.reads: Final = reads
        self.is_slow = False
        self._reader = reader
        self._waiting: deque[bytes] = deque()
        self._is_closed = False
        self._has_ended = False

    # What `Sender` asks for.

    def writelines(self, data: Iterable[bytes], /) -> None:
        if self._is_closed:
            return
        message = b"".join(data)
        fault = self._befalls(self.sends, f"tells {self.reads.name} {len(message)} bytes")
        if fault is Fault.BEFORE:
            raise self.sends.crash()
        self._waiting.append(message[: len(message) // 2] if fault is Fault.TORN else message)
        if fault is not None:
            raise self.sends.crash()

    def is_closing(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        self._is_closed = True

    async def wait_closed(self) -> None:
        """Return at once."""

    # What the simulation does to it.

    def has_more(self) -> bool:
        """Tell whether something can arrive, or the end."""
        if not self.reads.is_alive or self._has_ended:
            return False
        return bool(self._waiting) or self._is_closed or not self.sends.is_alive

    def arrive(self, chance: random.Random) -> None:
        """Let what was sent first arrive, or some of it; behind all of it, the end."""
        if not self._waiting:
            self._has_ended = True
            self._reader.feed_eof()
            return
        message = self._waiting.popleft()
        if len(message) > 1 and chance.random() < _IN_PARTS:
            some = chance.randrange(1, len(message))
            self._waiting.appendleft(message[some:])
            message = message[:some]
        if self._befalls(self.reads, f"hears {len(message)} bytes of {self.sends.name}") is not None:
            self.reads.crash()
            return
        self._reader.feed_data(message)

    def cut(self, chance: random.Random) -> None:
        """Let what is on its way be lost from some place on, and its end follow."""
        kept = chance.randint(0, len(self._waiting))
        while len(self._waiting) > kept:
            self._waiting.pop()
        self._is_closed = True

    @staticmethod
    def _befalls(process: Process, what: str) -> Fault | None:
        """Count an operation, and return by what fault the process dies at it; a link knows no fault of a disk."""
        if process.fault in {Fault.FULL, Fault.BROKEN}:
            return None
        return process.next_fault(what)


class Link(NamedTuple):
    """Both directions."""

    questions: Way
    """From the worker to the writer."""
    answers: Way

    def be_slow(self, *, slow: bool) -> None:
        """Let what is sent wait until nothing else moves, or no longer."""
        self.questions.is_slow = self.answers.is_slow = slow

    def cut(self, chance: random.Random) -> None:
        """Let both ends read the end, whatever was on its way."""
        for way in self:
            way.cut(chance)
