"""The servers of the vendor's side: HTTPS by uvicorn, with the same bounds and the same silence everywhere."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


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
    connections: int,
    keep_alive_seconds: int,
    grace_seconds: int = 5,
) -> uvicorn.Server:
    """Return a server whose ``run`` serves `app` until told to stop.

    Args:
        app: The application (ASGI 3).
        tls: See `server_tls`.
        host: Address to listen on.
        port: Port to listen on; 0: any.
        connections: How many there may be at once; more are refused with 503.
        keep_alive_seconds: How long an idle connection stays open.
        grace_seconds: How long requests may go on that are there when it is told to stop.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http="httptools",
            loop="uvloop",
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            log_level="warning",  # whatever others set: its debugging levels tell paths and query strings
            access_log=False,  # addresses may hold tokens, and nobody's IP address is kept
            server_header=False,
            proxy_headers=False,
            limit_concurrency=connections,
            timeout_keep_alive=keep_alive_seconds,
            timeout_graceful_shutdown=grace_seconds,
            ssl_context_factory=lambda *_: tls,
        )
    )
