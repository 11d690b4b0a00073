"""Simulated processes: who is at work now, what they hold open, and the operation at which one is to die."""

from __future__ import annotations

import contextlib
import enum
import sqlite3
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class CrashError(BaseException):
    """A process ends here, as by SIGKILL: no code of ours may catch this."""


class Fault(enum.Enum):
    """What befalls a process at one of its operations on a disk."""

    BEFORE = "dies before"
    AFTER = "dies after"
    TORN = "dies in the middle of"
    FULL = "finds the disk full at"
    BROKEN = "gets an input/output error at"


class Process:
    """One process of a machine: what it holds open goes with it."""

    def __init__(self, name: str, stage: Stage) -> None:
        self.name: Final = name
        self.is_alive = True
        self.descriptors: Final[set[int]] = set()
        self.connections: Final[list[sqlite3.Connection]] = []
        self.fault: Fault | None = None
        self.countdown = 0
        self.died: Callable[[], None] = lambda: None
        """Called when a fault kills it, in the thread that it happens in."""
        self._stage = stage

    def arm(self, fault: Fault, countdown: int) -> None:
        """Let `fault` befall the operation number `countdown` from now on, beginning with 1."""
        self.fault, self.countdown = fault, countdown

    def disarm(self) -> None:
        """Let nothing befall it any more."""
        self.fault = None

    def next_fault(self, what: str) -> Fault | None:
        """Count an operation, and return what befalls it.

        Raises:
            CrashError: The process is dead already.
        """
        if not self.is_alive:
            raise CrashError
        self._stage.operations += 1
        self._stage.note(self.name, what)
        if self.fault is None:
            return None
        self.countdown -= 1
        if self.countdown > 0:
            return None
        fault, self.fault = self.fault, None
        self._stage.note(self.name, fault.value, "the last operation")
        return fault

    def crash(self) -> CrashError:
        """Mark the end, and return what has to be raised."""
        self.is_alive = False
        self.died()
        return CrashError()

    @contextlib.contextmanager
    def commit(self, what: str = "commit") -> Iterator[None]:
        """Be around a commit that is durable once it returns: one may die before and after it."""
        fault = self.next_fault(f"about to {what}")
        if fault in {Fault.BEFORE, Fault.TORN}:
            raise self.crash()
        yield
        if fault is Fault.AFTER:
            raise self.crash()


_acting: Final[ContextVar[Process | None]] = ContextVar("acting", default=None)


class Stage:
    """Who acts at the moment: the main thread says so, and every other thread is the gateway's.

    A task of an event loop acts for whoever began it.
    """

    def __init__(self) -> None:
        self.operations = 0
        self.trace: list[str] | None = None
        self.threads: Process | None = None
        """Whose all threads but the main one are."""
        self._main = threading.get_ident()

    @property
    def acting(self) -> Process | None:
        """The process in whose name the present thread acts; None: nobody's, but the simulation's own."""
        return _acting.get() if threading.get_ident() == self._main else self.threads

    @contextlib.contextmanager
    def act(self, process: Process | None) -> Iterator[None]:
        """Let the main thread act for a process."""
        before = _acting.set(process)
        try:
            yield
        finally:
            _acting.reset(before)

    @contextlib.contextmanager
    def act_with_threads(self, process: Process) -> Iterator[None]:
        """Let the main thread act for a process, and all others too, as PyIceberg writes in several."""
        before, self.threads = self.threads, process
        try:
            with self.act(process):
                yield
        finally:
            self.threads = before

    def note(self, *what: str) -> None:
        """Write a line of the trace, where one is kept."""
        if self.trace is not None:
            self.trace.append("      " + " ".join(what))


class Connection(sqlite3.Connection):
    """A connection of a simulated process, whose commits it may not live through."""

    process: Process | None = None

    def _writes(self, sql: str) -> bool:
        return not self.in_transaction and sql.lstrip()[:7].lower().startswith(("insert", "update", "delete"))

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if self.process is None or not self._writes(sql):
            return super().execute(sql, *arguments)
        with self.process.commit():
            return super().execute(sql, *arguments)

    def commit(self) -> None:
        if self.process is None or not self.in_transaction:
            super().commit()
            return
        with self.process.commit():
            super().commit()

    def __exit__(self, *exception: Any) -> Any:  # noqa: PYI036 - as sqlite3 has it
        if self.process is None or exception[0] is not None or not self.in_transaction:
            return super().__exit__(*exception)
        with self.process.commit():
            return super().__exit__(*exception)


def connecting(stage: Stage) -> Callable[..., sqlite3.Connection]:
    """Return what stands for `sqlite3.connect`."""
    really: Callable[..., Any] = sqlite3.connect

    def connect(*arguments: Any, **fields: Any) -> sqlite3.Connection:
        process = stage.acting
        if process is None:
            plain: sqlite3.Connection = really(*arguments, **fields)
            return plain
        connection: Connection = really(*arguments, factory=Connection, **fields)
        connection.process = process
        process.connections.append(connection)
        return connection

    return connect
