"""What keeps the pages safe, whatever is on them: headers of every answer, bounded bodies, forms of our own alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request

from heliograph.registry.errors import RegistryUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "strict-transport-security": "max-age=31536000",
    "referrer-policy": "no-referrer",  # the token is in the address
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-robots-tag": "noindex",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""With every answer, refusals and failures included."""

_BODY_SECONDS: Final = 10
_log: Final = structlog.get_logger("heliograph.trials")


class BodyTooLargeError(Exception):
    """The request's body is larger than what is taken at its address."""


class BodyIncompleteError(Exception):
    """The request's body did not arrive whole, or took too long."""


class Protection:
    """Adds the headers to every answer, and answers when the application fails (ASGI middleware)."""

    def __init__(self, app: ASGIApp, *, when_unavailable: Callable[[Request], Response]) -> None:
        self._app = app
        self._when_unavailable = when_unavailable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] != "http":  # there are no others here
            return
        begun = False

        async def send_protected(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            await self._app(scope, receive, send_protected)
        except Exception as error:  # noqa: BLE001 - the last line: the client gets an answer, the log no values
            # The path is not logged, as it may hold a token.
            if isinstance(error, RegistryUnavailableError):
                _log.error("trials unavailable", why=str(error))
            else:
                _log.error("trials failed", error=type(error).__name__, at=_place(error))
            if not begun:
                await self._when_unavailable(Request(scope))(scope, receive, send_protected)


async def bounded_body(request: Request, most: int) -> bytes:
    """Return the request's body, read no further than `most` bytes.

    Raises:
        BodyTooLargeError: It is larger.
        BodyIncompleteError: It did not arrive whole, or took too long.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise BodyTooLargeError
    except (TimeoutError, ClientDisconnect):
        raise BodyIncompleteError from None
    return bytes(body)


def is_from_our_page(request: Request, public_address: str) -> bool:
    """Tell whether a form was sent by a page of this server.

    Browsers say so in Sec-Fetch-Site. Those too old for it say where the page was in Origin, which may be ``null``,
    as our pages tell no referrer; then nobody knows, and the answer is no.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    return request.headers.get("origin") == public_address


def _place(error: Exception) -> str:
    """Return where an unexpected error was raised, without any of the values at hand."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"
