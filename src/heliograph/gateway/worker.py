"""A worker: a process that does all that a request costs, but for the log, which is the main process's alone.

It is given connections that the main process has accepted, and hands what it has checked to the writer there.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import uvloop

from heliograph.gateway.link import Closed, Ready, RemoteWriter
from heliograph.gateway.server import build_gateway, gateway_https
from heliograph.https_server import server_tls
from heliograph.registry.view import RegistryView

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.gateway.plans import PlanInForce
    from heliograph.https_server import HttpsServer
    from heliograph.settings import Settings

LINGER_SECONDS: Final = 3.0
"""How long a worker that is replaced waits for another request on each connection, which it answers with the last."""


def run_worker(settings: Settings, plan: PlanInForce, link: int, connections: int) -> None:
    """Serve until the main process ends or hands out no more connections.

    Args:
        settings: The settings as they stand now, whatever they were when the main process was started.
        plan: What may be stored.
        link: Descriptor of the socket on which the writer answers.
        connections: Descriptor of the socket on which connections come.

    Raises:
        KeyFileError, RegistryError, OSError: See `heliograph.gateway.server.gateway_server`.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(settings, plan, socket.socket(fileno=link), socket.socket(fileno=connections)))


async def _work(settings: Settings, plan: PlanInForce, link: socket.socket, connections: socket.socket) -> None:
    def now() -> datetime:
        return datetime.now(UTC)

    tls = server_tls(settings.gateway.certificate, settings.gateway.private_key)
    writer = await RemoteWriter.connect(link)
    with RegistryView(settings.registry, now=now) as view:
        app = build_gateway(settings.gateway, plan, view, writer, now=now)
        server = gateway_https(app, tls, settings.gateway)
        tasks = [
            asyncio.create_task(_take_connections(server, writer, connections)),
            asyncio.create_task(_end_with(writer, server)),
        ]
        await server.serve(sockets=[])
        for task in tasks:
            task.cancel()


async def _end_with(writer: RemoteWriter, server: HttpsServer) -> None:
    await asyncio.wait([writer.ended])
    server.should_exit = True


async def _take_connections(server: HttpsServer, writer: RemoteWriter, connections: socket.socket) -> None:
    await server.up.wait()
    taking = _Taking(server, lambda: writer.tell(Closed()))
    writer.tell(Ready())
    await taking.until_end_of(connections)
    server.drain()
    await asyncio.sleep(LINGER_SECONDS)
    server.should_exit = True


class _Taking:
    """Takes connections from the main process, and tells when each has ended."""

    def __init__(self, server: HttpsServer, ended: Callable[[], None]) -> None:
        self._server = server
        self._ended = ended
        self._tasks: set[asyncio.Task[None]] = set()

    async def until_end_of(self, connections: socket.socket) -> None:
        """Take what comes until no more can come."""
        connections.setblocking(False)  # noqa: FBT003 - the standard library's way to say it
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        loop.add_reader(connections.fileno(), self._take_all, connections, over)
        try:
            await over
        finally:
            loop.remove_reader(connections.fileno())

    def _take_all(self, connections: socket.socket, over: asyncio.Future[None]) -> None:
        while not over.done():
            try:
                message, descriptors, _, _ = socket.recv_fds(connections, 1, 1)
            except BlockingIOError:
                return
            except OSError:
                message, descriptors = b"", []
            if not message:
                over.set_result(None)
            for descriptor in descriptors:
                task = asyncio.get_running_loop().create_task(self._converse(socket.socket(fileno=descriptor)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _converse(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):  # it shook hands badly, or not at all
                await self._server.converse(connection)
        finally:
            self._ended()
