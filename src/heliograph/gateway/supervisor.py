"""The main process of a gateway with several workers: it has the log and the address, and keeps the workers running.

It accepts each connection and hands it to the worker with the fewest, so that one that ends takes no connection with it
that nobody has served, and a new set of workers takes over without a refused one.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog
import uvloop

from heliograph.gateway.door import open_door
from heliograph.gateway.link import Ready, WriterService
from heliograph.gateway.metrics import serving_metrics
from heliograph.gateway.readiness import key_is_there, log_has_room, readiness
from heliograph.gateway.server import open_log
from heliograph.gateway.worker import LINGER_SECONDS
from heliograph.gateway.writer import LocalWriter

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from heliograph.gateway.link import Closed
    from heliograph.gateway.readiness import Readiness
    from heliograph.gateway.writer import Writer
    from heliograph.settings import GatewaySettings

_START_SECONDS: Final = 60.0
_END_SECONDS: Final = 10.0
"""How long a worker may take to end, after it was told to and its connections had their time."""
_SHORT_LIFE_SECONDS: Final = 10.0
_LONGEST_PAUSE_SECONDS: Final = 30.0
_BACKLOG: Final = 2048
_AT_ONCE: Final = 64
_BUSY_SECONDS: Final = 0.01
_log: Final = structlog.get_logger("heliograph.gateway")


class WorkersError(Exception):
    """The workers do not start; they have said why themselves."""


def run_supervised(settings: GatewaySettings, command: Sequence[str]) -> None:
    """Serve with several workers until told to stop (SIGINT or SIGTERM); SIGHUP replaces all of them.

    Args:
        settings: The address, the log, and how many workers.
        command: Starts a worker, with ``--link`` and ``--connections`` behind it.

    Raises:
        WorkersError: They do not start.
        BlockingIOError, LogFullError, OSError: See `heliograph.gateway.server.gateway_server`.
    """

    def ready() -> Readiness:  # the registry is asked by the workers: their /readyz tells of it
        room, key = log_has_room(settings), key_is_there(settings)
        return readiness(log=room, writer=log.is_writing, signing_key=key)

    with (
        _listener(settings) as listener,
        closing(open_log(settings, now=lambda: datetime.now(UTC))) as log,
        serving_metrics(log, settings, ready),
    ):

        async def run() -> None:
            writer = LocalWriter(log)
            async with open_door(writer, log.folder):
                await Supervisor(listener, writer, command, settings.workers).run()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())


def _listener(settings: GatewaySettings) -> socket.socket:
    [family, kind, protocol, _, address], *_ = socket.getaddrinfo(
        settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - the standard library's way to say it
    except OSError:
        listener.close()
        raise
    return listener


class _Worker:
    """One worker process, as the main process sees it."""

    def __init__(self, process: subprocess.Popen[bytes], connections: socket.socket, now: float) -> None:
        self.process: Final = process
        self.connections: Final = connections
        self.started: Final = now
        self.ready: Final[asyncio.Future[bool]] = asyncio.get_running_loop().create_future()
        """True once it takes connections; False if it ended before."""
        self.open = 0
        """Connections that it has."""
        self.is_leaving = False

    def hear(self, message: Ready | Closed) -> None:
        if not isinstance(message, Ready):
            self.open -= 1
        elif not self.ready.done():
            self.ready.set_result(True)

    def leave(self) -> None:
        """Let it end once its connections have."""
        self.is_leaving = True
        self.connections.close()


async def _all_ready(workers: list[_Worker]) -> bool:
    return all([await asyncio.shield(worker.ready) for worker in workers])


class Supervisor:
    """Keeps workers running, and hands connections out to them.

    Args:
        listener: The address, bound and listening.
        writer: Who has the log.
        command: Starts a worker.
        number: How many there are.
    """

    def __init__(self, listener: socket.socket, writer: Writer, command: Sequence[str], number: int) -> None:
        self._listener = listener
        self._writer = writer
        self._command = list(command)
        self._number = number
        self._workers: list[_Worker] = []
        """Those that take connections."""
        self._held: socket.socket | None = None
        """A connection that no worker has taken yet."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._is_accepting = False
        self._stop = asyncio.Event()
        self._pause = 0.0

    async def run(self) -> None:
        """Serve until told to stop.

        Raises:
            WorkersError: The first workers do not start.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._run(self._replace_all()))
        try:
            if not await self._replace_all():
                raise WorkersError
            await self._stop.wait()
        finally:
            self._accept_no_more()
            await self._end_all()

    async def _replace_all(self) -> bool:
        """Start a new set of workers, and let the old one end once all of the new ones take connections."""
        async with self._turn:
            started = [self._start() for _ in range(self._number)]
            if not await self._are_ready(started):
                for worker in started:
                    worker.is_leaving = True
                    worker.process.kill()
                if not self._stop.is_set():
                    _log.error("the new workers do not start", stay=len(self._workers))
                return False
            before, self._workers = self._workers, started
            self._accept()
            for worker in before:
                self._run(self._let_go(worker))
            _log.info("workers started", workers=len(started), replaced=len(before))
            return True

    async def _are_ready(self, workers: list[_Worker]) -> bool:
        stopped = asyncio.create_task(self._stop.wait())
        ready = asyncio.create_task(_all_ready(workers))
        await asyncio.wait([ready, stopped], timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        ready.cancel()
        return ready.done() and not ready.cancelled() and ready.result()

    def _start(self) -> _Worker:
        ours, theirs = socket.socketpair()
        giving, taking = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, taking:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [*self._command, "--link", str(theirs.fileno()), "--connections", str(taking.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), taking.fileno()),
            )
        giving.setblocking(False)  # noqa: FBT003 - as above
        worker = _Worker(process, giving, asyncio.get_running_loop().time())
        self._run(self._attend(worker, ours))
        return worker

    async def _attend(self, worker: _Worker, link: socket.socket) -> None:
        """Answer a worker until it ends, and start another in its place if it was not told to end."""
        await WriterService(self._writer, worker.hear).serve(link)
        await self._wait_for(worker)
        worker.connections.close()
        if not worker.ready.done():
            worker.ready.set_result(False)
        if worker not in self._workers or worker.is_leaving or self._stop.is_set():
            return
        self._workers.remove(worker)
        if not self._workers:
            self._accept_no_more()
        _log.error("a worker has ended", status=worker.process.returncode)
        lived = asyncio.get_running_loop().time() - worker.started
        self._pause = 0.0 if lived > _SHORT_LIFE_SECONDS else min(2 * self._pause + 0.1, _LONGEST_PAUSE_SECONDS)
        await self._start_another()

    async def _start_another(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._pause)
            async with self._turn:
                if self._stop.is_set() or len(self._workers) >= self._number:
                    return
                worker = self._start()
                if await self._are_ready([worker]):
                    self._workers.append(worker)
                    self._accept()
                    return
                worker.process.kill()
            self._pause = min(2 * self._pause + 0.1, _LONGEST_PAUSE_SECONDS)

    async def _let_go(self, worker: _Worker) -> None:
        worker.leave()
        await self._wait_for(worker, LINGER_SECONDS + _END_SECONDS)

    async def _end_all(self) -> None:
        for worker in self._workers:
            worker.is_leaving = True
            with contextlib.suppress(ProcessLookupError):
                worker.process.terminate()
        await asyncio.gather(*(self._wait_for(worker, _END_SECONDS) for worker in self._workers))
        if self._tasks:
            await asyncio.wait(self._tasks)

    @staticmethod
    async def _wait_for(worker: _Worker, seconds: float = _END_SECONDS) -> None:
        """Wait until a worker has ended; one that does not is killed."""
        try:
            await asyncio.to_thread(worker.process.wait, seconds)
        except subprocess.TimeoutExpired:
            _log.error("a worker does not end, and is killed")
            worker.process.kill()
            await asyncio.to_thread(worker.process.wait)

    def _accept(self) -> None:
        if not self._is_accepting and not self._stop.is_set():
            self._is_accepting = True
            asyncio.get_running_loop().add_reader(self._listener.fileno(), self._hand_out)

    def _accept_no_more(self) -> None:
        if self._is_accepting:
            self._is_accepting = False
            asyncio.get_running_loop().remove_reader(self._listener.fileno())

    def _rest(self) -> None:
        """Accept nothing for a moment."""
        self._accept_no_more()
        asyncio.get_running_loop().call_later(_BUSY_SECONDS, self._resume)

    def _resume(self) -> None:
        if self._workers:
            self._accept()

    def _hand_out(self) -> None:
        for _ in range(_AT_ONCE):
            if self._held is None:
                try:
                    self._held, _ = self._listener.accept()
                except BlockingIOError:
                    return
                except OSError:  # no descriptor is left, or the client has gone
                    self._rest()
                    return
            if not self._give(self._held):
                self._rest()
                return
            self._held.close()
            self._held = None

    def _give(self, connection: socket.socket) -> bool:
        for worker in sorted(self._workers, key=lambda each: each.open):
            with contextlib.suppress(OSError):  # it has enough to do, or has just ended
                socket.send_fds(worker.connections, [b"c"], [connection.fileno()])
                worker.open += 1
                return True
        return False

    def _run(self, work: Coroutine[object, object, object]) -> None:
        async def run() -> None:
            await work

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
