"""The servers of the vendor's side: HTTPS by uvicorn, with the same bounds and the same silence everywhere.

A connection that has nothing to do is worth less than one that has: where there are as many as there may be, the one
that has been idle for longest makes room. Who is slow to shake hands or to say what is wanted is cut off.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

HEAD_SECONDS: Final = 10.0
"""How long a client may take to shake hands, and then for the headers of a request, the first or another."""
MOST_HEAD_BYTES: Final = 64 << 10
"""Of a request before its body: ours have some hundred, and at most 17 KiB."""
_TLS_END_SECONDS: Final = 5.0
_BACKLOG: Final = 2048


class Bounds(NamedTuple):
    """What the clients of one server may take of it."""

    connections: int
    """How many there may be at once; past it, the one that was idle for longest is closed."""
    keep_alive_seconds: int
    """How long an idle connection stays open."""
    grace_seconds: int = 5
    """How long requests may go on that are there when it is told to stop."""
    head_seconds: float = HEAD_SECONDS
    head_bytes: int = MOST_HEAD_BYTES


class _Watch:
    """All connections of a server: which of them are idle, and whether they are to end."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.idle: Final[dict[_Connection, None]] = {}
        """The one that has been idle for longest first."""
        self.draining = False


class _Joining:
    """A transport that joins what is written twice in a row: the head of an answer, and its body.

    Each write by itself is a record of TLS and a call of the system, and wakes the client.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""
        # What is asked for at every request is at hand without `__getattr__`.
        self.is_closing, self.pause_reading = transport.is_closing, transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        if self._held:
            data, self._held = self._held + data, b""
            self._transport.write(data)
        elif data:
            self._held = data
            self._loop.call_soon(self._flush)  # it may be all there is

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held and not self._transport.is_closing():
            self.write(b"")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Connection(HttpToolsProtocol):
    """One connection, which has to say what it wants in time."""

    def __init__(self, *arguments: Any, watch: _Watch, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._watch = watch
        self.ended: Final = self.loop.create_future()
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(cast("asyncio.Transport", _Joining(transport, self.loop)))
        self._watch.idle[self] = None
        self._await_head()
        if len(self.connections) > self._watch.bounds.connections:
            next(iter(self._watch.idle)).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.idle.pop(self, None)
        self._end_wait()
        super().connection_lost(exc)
        if not self.ended.done():
            self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > self._watch.bounds.head_bytes:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._end_wait()
        self._watch.idle.pop(self, None)
        super().on_headers_complete()
        if self._watch.draining:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        self._watch.idle[self] = None
        super().on_response_complete()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._watch.bounds.head_seconds, self.transport.abort)

    def _end_wait(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class HttpsServer(uvicorn.Server):
    """A server that listens itself, or is given connections that others have accepted."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext, watch: _Watch) -> None:
        super().__init__(config)
        self._tls = tls
        self._watch = watch
        self.up: Final = asyncio.Event()
        """Set once it takes connections."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen at the settings' address, or on `sockets`; on none of an empty list.

        Raises:
            OSError: The address is taken, or there is none such.
        """
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()
        listen = partial(
            loop.create_server,
            self._connection,
            ssl=self._tls,
            backlog=_BACKLOG,
            ssl_handshake_timeout=self._watch.bounds.head_seconds,
            ssl_shutdown_timeout=_TLS_END_SECONDS,
        )
        if sockets is None:
            self.servers = [await listen(host=self.config.host, port=self.config.port)]
        else:
            self.servers = [await listen(sock=each) for each in sockets]
        self.started = True
        self.up.set()

    async def converse(self, connection: socket.socket) -> None:
        """Serve a connection that was accepted elsewhere; returns once it has ended.

        Raises:
            OSError: It ended before anything could be said.
        """
        loop = asyncio.get_running_loop()
        protocol = self._connection()
        await loop.connect_accepted_socket(
            lambda: protocol,
            connection,
            ssl=self._tls,
            ssl_handshake_timeout=self._watch.bounds.head_seconds,
            ssl_shutdown_timeout=_TLS_END_SECONDS,
        )
        await protocol.ended

    def renew(self, certificate: str, private_key: str, *, head_seconds: float) -> None:
        """Let connections that come from now on have this certificate, and this time for a request's head.

        Raises:
            OSError: See `server_tls`.
        """
        self._tls.load_cert_chain(certificate, private_key)
        self._watch.bounds = self._watch.bounds._replace(head_seconds=head_seconds)

    def end(self) -> None:
        """End once the requests that are there have their answers."""
        self.should_exit = True

    def drain(self) -> None:
        """Let each connection end with the answer to its next request."""
        self._watch.draining = True

    def _connection(self) -> _Connection:
        make = cast("Callable[..., _Connection]", self.config.http_protocol_class)
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


def server_tls(certificate: str, private_key: str) -> ssl.SSLContext:
    """Return what TLS must be: version 1.2 or newer, with the server's certificate chain and key (PEM files).

    Raises:
        OSError: A file cannot be read, or is none of the kind; `ssl.SSLError` is one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, private_key)
    return context


def https_server(
    app: Callable[[Any, Any, Any], Coroutine[Any, Any, None]],
    tls: ssl.SSLContext,
    *,
    host: str,
    port: int,
    bounds: Bounds,
) -> HttpsServer:
    """Return a server whose ``run`` serves `app` until told to stop.

    Args:
        app: The application (ASGI 3).
        tls: See `server_tls`.
        host: Address to listen on.
        port: Port to listen on; 0: any.
        bounds: What its clients may take of it.
    """
    watch = _Watch(bounds)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=cast("Any", partial(_Connection, watch=watch)),
        loop="uvloop",
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        log_level="warning",  # whatever others set: its debugging levels tell paths and query strings
        access_log=False,  # addresses may hold tokens, and nobody's IP address is kept
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=bounds.keep_alive_seconds,
        timeout_graceful_shutdown=bounds.grace_seconds,
        ssl_context_factory=lambda *_: tls,
    )
    return HttpsServer(config, tls, watch)
